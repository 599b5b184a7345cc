/* Weighs filters once a call, and tiles one by one. */
#include "winograd_outliers.h"
#include "float_mode.h"
#include "pack.h"
#include "sizes.h"
#include <float.h>
#include <math.h>
#include <string.h>

enum {
    COLUMNS = 16,        /* filters, and channels, that are looked at together */
    FEWEST_SAMPLES = 16, /* channels from whose filters each tap's magnitude is estimated: one for every 32 outputs, */
    MOST_SAMPLES = 64,   /* within these bounds, as looking at all channels takes long */
    PIXELS = 32,
    TAPS_OF_CHANNELS = 3 /* in which each channel's filters are looked at */
};

/* The most that a tile's errors may be, beside those of an even one. Even noise has 1, at a corner of the image 1.9. */
#define MOST_UNEVEN 4.0f
/* Taps are as good as even if the least of a filter's is this part of their root mean square: tiles whose outputs round
 * with their own cells alone need no weighing then. */
#define EVEN_TAPS 0.2f
/* From this share of a tile's magnitude on, one value dominates it. Five and more equal values in different channels
 * escape; eight of them erred up to 5 times as much as a plain sum. Noise, also with half of its values zeros, stays
 * far below in any tile. */
#define DOMINANT 0.2f

static int64_t taps_of(const fc_forward *call) { return call->problem.kh * call->problem.kw; }
static int64_t columns_of(const fc_forward *call) { return fc_parts(call->problem.f, COLUMNS) * COLUMNS; }

/* Memory: of_channels, in whole cache lines; of_taps; least, and behind it the two numbers. */
static int64_t channels_end(const fc_forward *call) { return fc_parts(call->problem.c, FC_LINE) * FC_LINE; }
static int64_t taps_end(const fc_forward *call) { return channels_end(call) + taps_of(call) * columns_of(call); }

int64_t fc_filter_magnitudes_size(const fc_forward *call) {
    return fc_aligned((taps_end(call) + taps_of(call) + 2) * (int64_t)sizeof(float));
}

fc_filter_magnitudes fc_filter_magnitudes_at(const fc_forward *call, const void *memory) {
    const float *numbers = memory, *least = numbers + taps_end(call);
    return (fc_filter_magnitudes){.of_channels = numbers,
                                  .of_taps = numbers + channels_end(call),
                                  .least = least,
                                  .columns = columns_of(call),
                                  .sum_of_least = least[taps_of(call)],
                                  .tiny = least[taps_of(call) + 1]};
}

static const char *tap_at(const fc_forward *call, int64_t tap, int64_t channel, int64_t column) {
    const fc_filters *w = &call->w;
    const int64_t at = tap / call->problem.kw * w->h + tap % call->problem.kw * w->w;
    return (const char *)w->data + (at + channel * w->depth + column * w->column) * fc_dtype_size(call->x.dtype);
}

/* A block of filters at one tap, [channel][column], where it lies or, of another layout or dtype, in the room. */
typedef struct block {
    const float *first;
    int64_t row;
} block;

static block block_at(const fc_forward *call, int64_t tap, int64_t channel, int64_t channels, int64_t column,
                      int64_t columns, float *room) {
    const void *from = tap_at(call, tap, channel, column);
    if (call->w.column == 1 && !fc_is_half(call->x.dtype)) return (block){from, call->w.depth};
    fc_stage_pixels(call->kernels, call->x.dtype, from, call->w.depth, call->w.column, channels, columns, room,
                    columns);
    return (block){room, columns};
}

/* Adds up each channel's magnitudes at one tap, of some columns from `first` on. */
static void weigh_channels(const fc_forward *call, int64_t tap, int64_t first, float *sums) {
    const int64_t c = call->problem.c, columns = fc_least(COLUMNS, call->problem.f - first);
    float room[COLUMNS * COLUMNS], ones[COLUMNS], found[COLUMNS];
    for (int i = 0; i < COLUMNS; i++) ones[i] = 1;
    for (int64_t channel = 0, some; channel < c; channel += some) {
        some = fc_least(COLUMNS, c - channel);
        const block w = block_at(call, tap, channel, some, first, columns, room);
        const void *rows[COLUMNS];
        for (int64_t i = 0; i < some; i++) rows[i] = w.first + i * w.row;
        call->kernels->winograd.magnitudes(rows, some, ones, columns, 0, found);
        for (int64_t i = 0; i < some; i++) sums[channel + i] += found[i];
    }
}

/* The magnitude of all filters of a channel, where the few that were looked at are zeros. */
static float magnitude_of_channel(const fc_forward *call, int64_t channel) {
    float values[COLUMNS], sum = 0;
    for (int64_t tap = 0; tap < taps_of(call); tap++)
        for (int64_t f = 0, some; f < call->problem.f; f += some) {
            some = fc_least(COLUMNS, call->problem.f - f);
            fc_stage_pixels(call->kernels, call->x.dtype, tap_at(call, tap, channel, f), call->w.depth, call->w.column,
                            1, some, values, COLUMNS);
            for (int64_t i = 0; i < some; i++) sum += fabsf(values[i]);
        }
    return sum * (TAPS_OF_CHANNELS * COLUMNS) / ((float)taps_of(call) * (float)call->problem.f);
}

/* Adds up each column's magnitudes at one tap, of some channels from `first` on, divided by the channels' own. */
static void weigh_columns(const fc_forward *call, int64_t tap, int64_t first, const float *of_channels, float *sums) {
    const int64_t f = call->problem.f, channels = fc_least(COLUMNS, call->problem.c - first);
    const int64_t most = call->w.column == 1 ? f : COLUMNS; /* together */
    float room[COLUMNS * COLUMNS], inverse[COLUMNS];
    for (int64_t i = 0; i < channels; i++) inverse[i] = of_channels[first + i] > 0 ? 1 / of_channels[first + i] : 0;
    for (int64_t column = 0, some; column < f; column += some) {
        some = fc_least(fc_is_half(call->x.dtype) ? COLUMNS : most, f - column);
        const block w = block_at(call, tap, first, channels, column, some, room);
        call->kernels->winograd.add_sizes(w.first, w.row, channels, some, inverse, sums + column);
    }
}

void fc_weigh_filters(const fc_forward *call, void *memory) {
    const fc_float_mode callers = fc_float_mode_enter();
    const fc_problem *p = &call->problem;
    const int64_t taps = taps_of(call), columns = columns_of(call), groups = fc_parts(p->f, COLUMNS);
    float *const of_channels = memory, *const of_taps = of_channels + channels_end(call);
    float *const least = of_channels + taps_end(call);
    memset(memory, 0, (size_t)fc_filter_magnitudes_size(call));
    /* At a few taps, each with other filters. */
    const int64_t looks = fc_least(TAPS_OF_CHANNELS, taps);
    for (int64_t i = 0; i < looks; i++) {
        const int64_t tap = looks > 1 ? i * (taps - 1) / (looks - 1) : 0, group = groups * i / looks;
        weigh_channels(call, tap, group * COLUMNS, of_channels);
    }
    float largest = 0;
    for (int64_t c = 0; c < p->c; c++) {
        if (of_channels[c] == 0) of_channels[c] = magnitude_of_channel(call, c);
        if (!(of_channels[c] < FLT_MAX)) of_channels[c] = FLT_MAX; /* tiles will not be finite, and replaced */
        largest = of_channels[c] > largest ? of_channels[c] : largest;
    }
    const int64_t blocks = fc_parts(p->c, COLUMNS), wanted = p->oh * p->ow / PIXELS;
    const int64_t samples = wanted < FEWEST_SAMPLES ? FEWEST_SAMPLES : fc_least(wanted, MOST_SAMPLES);
    const int64_t sampled = fc_least(blocks, samples / COLUMNS);
    for (int64_t tap = 0; tap < taps; tap++)
        for (int64_t i = 0; i < sampled; i++)
            weigh_columns(call, tap, i * blocks / sampled * COLUMNS, of_channels, of_taps + tap * columns);
    for (int64_t tap = 0; tap < taps; tap++) least[tap] = 1;
    for (int64_t first = 0; first < columns; first += COLUMNS) {
        float factors[COLUMNS] = {0}, known[COLUMNS]; /* nothing is known of a filter of zeros: as if it were even */
        float most[COLUMNS] = {0};
        for (int64_t tap = 0; tap < taps; tap++)
            for (int i = 0; i < COLUMNS; i++) {
                const float weight = of_taps[tap * columns + first + i];
                most[i] = weight > most[i] ? weight : most[i];
            }
        for (int i = 0; i < COLUMNS; i++) most[i] = most[i] > 0 ? 1 / most[i] : 0; /* whose squares do not overflow */
        for (int64_t tap = 0; tap < taps; tap++)
            for (int i = 0; i < COLUMNS; i++) {
                const float weight = of_taps[tap * columns + first + i] * most[i];
                factors[i] += weight * weight;
            }
        for (int i = 0; i < COLUMNS; i++) {
            const float root = sqrtf(factors[i] / (float)taps);
            known[i] = root > 0 && root < FLT_MAX;
            factors[i] = known[i] != 0 ? most[i] / root : 0;
        }
        for (int64_t tap = 0; tap < taps; tap++)
            for (int i = 0; i < COLUMNS; i++) {
                float *const weight = &of_taps[tap * columns + first + i];
                *weight = known[i] != 0 ? *weight * factors[i] : 1;
                least[tap] = *weight < least[tap] ? *weight : least[tap];
            }
    }
    for (int64_t tap = 0; tap < taps; tap++) least[taps] += least[tap];
    least[taps + 1] = 0x1p-90f * (largest > 1 ? largest : 1);
    fc_float_mode_leave(callers);
}

int fc_tiles_are_weighed(const fc_forward *call, const fc_grid *g, const fc_filter_magnitudes *filters) {
    const fc_problem *p = &call->problem;
    if (g->reach_columns > 2 * g->m_columns * p->stride_w) return 1; /* tile_magnitudes takes neighbors' columns */
    if (g->m_rows > 2 || g->m_columns > 2 || p->kh % g->pieces.rows || p->kw % g->pieces.columns) return 1;
    for (int64_t tap = 0; tap < taps_of(call); tap++)
        if (filters->least[tap] < EVEN_TAPS) return 1;
    return 0;
}

void fc_find_dominated(const fc_forward *call, const fc_filter_magnitudes *filters, const fc_tile_row *row,
                       char *uneven) {
    float sums[FC_WEIGHED_TILES], largest[FC_WEIGHED_TILES];
    call->kernels->winograd.tile_magnitudes(row, filters->of_channels, call->problem.c, sums, largest);
    /* Where sums are not finite nothing is told, and finite outputs keep their bits. */
    for (int64_t t = 0; t < row->tiles; t++) uneven[t] = largest[t] > DOMINANT * sums[t];
}

/* The sum of a window's magnitudes, each times its tap's factor. */
static float window_sum(const fc_problem *p, const float *factors, const float *first, int64_t row) {
    float sum = 0;
    for (int64_t i = 0; i < p->kh; i++)
        for (int64_t j = 0; j < p->kw; j++) sum += factors[i * p->kw + j] * first[i * row + j];
    return sum;
}

int fc_is_uneven(const fc_forward *call, const fc_grid *g, const fc_filter_magnitudes *filters, const fc_place *at,
                 const float *magnitudes, int64_t row) {
    const fc_problem *p = &call->problem;
    const int64_t taps = taps_of(call);
    float least = FLT_MAX, most = 0, squares = 0;
    int finite = 1;
    for (int64_t i = 0; i < g->reach_rows; i++)
        for (int64_t j = 0; j < g->reach_columns; j++) {
            const float magnitude = magnitudes[i * row + j];
            finite &= magnitude <= FLT_MAX;
            least = magnitude < least ? magnitude : least;
            most = magnitude > most ? magnitude : most;
        }
    if (!finite || (most > 0 && most < filters->tiny)) return 1;
    if (most == 0) return 0;
    /* A window's sum must be (taps * root of the mean square) / MOST_UNEVEN; mostly it is, whatever the root. */
    const float share = (float)taps / MOST_UNEVEN;
    if (least * filters->sum_of_least >= share * most) return 0;
    const float scale = 1 / most; /* of squares that do not overflow */
    for (int64_t i = 0; i < g->reach_rows; i++)
        for (int64_t j = 0; j < g->reach_columns; j++) {
            const float part = magnitudes[i * row + j] * scale;
            squares += part * part;
        }
    const float root = most * sqrtf(squares / (float)(g->reach_rows * g->reach_columns)), enough = share * root;
    if (least * filters->sum_of_least >= enough) return 0;
    for (int64_t i = 0; i < at->rows; i++)
        for (int64_t j = 0; j < at->columns; j++) {
            const float *first = magnitudes + i * p->stride_h * row + j * p->stride_w;
            if (window_sum(p, filters->least, first, row) >= enough) continue;
            float window[FC_WIDEST * FC_WIDEST];
            for (int64_t y = 0; y < p->kh; y++)
                memcpy(window + y * p->kw, first + y * row, (size_t)p->kw * sizeof(float));
            if (call->kernels->winograd.least(filters->of_taps, filters->columns, taps, window) < enough) return 1;
        }
    return 0;
}
