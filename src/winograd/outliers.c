/* Measures filters once a call, and checks tiles one by one. */
#include "winograd/outliers.h"
#include "base/float_mode.h"
#include "layout/copy.h"
#include "base/arith.h"
#include <float.h>
#include <math.h>
#include <string.h>

enum {
    COLUMNS = 16,        /* filters, and channels, that are measured together */
    PIXELS = 32,         /* outputs for each channel from which the magnitudes of taps are estimated */
    FEWEST_SAMPLES = 16, /* such channels, at least */
    MOST_SAMPLES = 64,   /* such channels, at most, as measuring all takes long */
    TAPS_OF_CHANNELS = 3 /* taps at which each channel's magnitude is estimated */
};

/* How many times as large a tile's errors may be as those of its windows' own products. Uniform noise has 1, at a
 * corner of the image 1.9. */
#define MOST_ERROR 4.0f
/* No tap is much smaller than the others if a filter's least is this part of their root mean square. */
#define LEAST_TAP 0.2f
/* From this share of a tile's magnitude on, one value dominates it. Five and more equal values in different channels
 * escape; eight of them erred up to 5 times as much as a plain sum. Noise, even if half of its values are zeros, stays
 * far below in any tile. */
#define DOMINANT 0.2f

static int64_t taps_of(const fc_forward *call) { return call->problem.kh * call->problem.kw; }
static int64_t columns_of(const fc_forward *call) { return fc_ceil_div(call->problem.f, COLUMNS) * COLUMNS; }

/* Memory: of_channels, in whole cache lines; of_taps; least, and behind it sum_of_least and tiny. */
static int64_t channels_end(const fc_forward *call) {
    return fc_ceil_div(call->problem.c, FC_LINE_FLOATS) * FC_LINE_FLOATS;
}
static int64_t taps_end(const fc_forward *call) { return channels_end(call) + taps_of(call) * columns_of(call); }

int64_t fc_filter_magnitudes_size(const fc_forward *call) {
    return fc_round_up((taps_end(call) + taps_of(call) + 2) * (int64_t)sizeof(float));
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
    const int64_t at = fc_tap_offset(&call->problem, w, tap);
    return (const char *)w->data + (at + channel * w->depth + column * w->column) * fc_dtype_size(call->x.dtype);
}

/* A block of filters at one tap, [channel][column], where it lies or, of another layout or dtype, in the room. */
typedef struct block {
    const float *first;
    int64_t row;
} block;

static block block_at(const fc_forward *call, const void *from, int64_t channels, int64_t columns, float *room) {
    if (call->w.column == 1 && !fc_is_converted(call->x.dtype)) return (block){from, call->w.depth};
    const fc_matrix filters = fc_matrix_of(from, channels, columns, call->w.depth, call->w.column);
    fc_stage_pixels(call->kernels, call->x.dtype, &filters, room, columns);
    return (block){room, columns};
}

/* Adds up each channel's magnitudes at one tap, of some columns from `first` on. */
static void measure_channels(const fc_forward *call, int64_t tap, int64_t first, float *sums) {
    const int64_t c = call->problem.c, columns = fc_min(COLUMNS, call->problem.f - first);
    float room[COLUMNS * COLUMNS], ones[COLUMNS], found[COLUMNS];
    for (int i = 0; i < COLUMNS; i++) ones[i] = 1;
    for (int64_t channel = 0, some; channel < c; channel += some) {
        some = fc_min(COLUMNS, c - channel);
        const block w = block_at(call, tap_at(call, tap, channel, first), some, columns, room);
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
            some = fc_min(COLUMNS, call->problem.f - f);
            const fc_matrix filters =
                fc_matrix_of(tap_at(call, tap, channel, f), 1, some, call->w.depth, call->w.column);
            fc_stage_pixels(call->kernels, call->x.dtype, &filters, values, COLUMNS);
            for (int64_t i = 0; i < some; i++) sum += fabsf(values[i]);
        }
    return sum * (TAPS_OF_CHANNELS * COLUMNS) / ((float)taps_of(call) * (float)call->problem.f);
}

/* Adds up each column's magnitudes at one tap, of some channels from `first` on, divided by the channels' own. */
static void measure_columns(const fc_forward *call, int64_t tap, int64_t first, const float *of_channels, float *sums) {
    const int64_t f = call->problem.f, channels = fc_min(COLUMNS, call->problem.c - first);
    const int64_t most = call->w.column == 1 ? f : COLUMNS; /* together */
    float room[COLUMNS * COLUMNS], inverse[COLUMNS];
    for (int64_t i = 0; i < channels; i++) inverse[i] = of_channels[first + i] > 0 ? 1 / of_channels[first + i] : 0;
    for (int64_t column = 0, some; column < f; column += some) {
        some = fc_min(fc_is_converted(call->x.dtype) ? COLUMNS : most, f - column);
        const block w = block_at(call, tap_at(call, tap, first, column), channels, some, room);
        call->kernels->winograd.add_sizes(w.first, w.row, channels, some, inverse, sums + column);
    }
}

/* Measures every channel at a few taps, each time with other filters; returns the largest magnitude. */
static float measure_all_channels(const fc_forward *call, float *of_channels) {
    const int64_t c = call->problem.c, taps = taps_of(call), looks = fc_min(TAPS_OF_CHANNELS, taps);
    const int64_t groups = fc_ceil_div(call->problem.f, COLUMNS);
    float largest = 0;
    for (int64_t i = 0; i < looks; i++) {
        const int64_t tap = looks > 1 ? i * (taps - 1) / (looks - 1) : 0;
        measure_channels(call, tap, fc_split_start(groups, looks, i) * COLUMNS, of_channels);
    }
    for (int64_t channel = 0; channel < c; channel++) {
        float *const one = &of_channels[channel];
        if (*one == 0) *one = magnitude_of_channel(call, channel);
        if (!(*one < FLT_MAX)) *one = FLT_MAX; /* tiles will not be finite, and replaced */
        largest = *one > largest ? *one : largest;
    }
    return largest;
}

/* Measures every tap of every filter, in some channels. */
static void measure_all_taps(const fc_forward *call, const float *of_channels, float *of_taps) {
    const fc_problem *p = &call->problem;
    const int64_t blocks = fc_ceil_div(p->c, COLUMNS), wanted = p->oh * p->ow / PIXELS;
    const int64_t samples = fc_min(fc_max(wanted, FEWEST_SAMPLES), MOST_SAMPLES);
    const int64_t sampled = fc_min(blocks, samples / COLUMNS);
    for (int64_t tap = 0; tap < taps_of(call); tap++)
        for (int64_t i = 0; i < sampled; i++)
            measure_columns(call, tap, fc_split_start(blocks, sampled, i) * COLUMNS, of_channels,
                            of_taps + tap * columns_of(call));
}

/* Divides some filters' taps by the root of their mean square, and lowers `least` to the least of each tap. Nothing is
 * known of filters of zeros or of values that are not finite: they count as if all their taps were equal. */
static void normalize_taps(const fc_forward *call, float *of_taps, float *least) {
    const int64_t taps = taps_of(call), columns = columns_of(call);
    float most[COLUMNS] = {0}, squares[COLUMNS] = {0}, factors[COLUMNS];
    int known[COLUMNS];
    for (int64_t tap = 0; tap < taps; tap++)
        for (int i = 0; i < COLUMNS; i++) {
            const float magnitude = of_taps[tap * columns + i];
            most[i] = magnitude > most[i] ? magnitude : most[i];
        }
    for (int i = 0; i < COLUMNS; i++) most[i] = most[i] > 0 ? 1 / most[i] : 0; /* their squares do not overflow */
    for (int64_t tap = 0; tap < taps; tap++)
        for (int i = 0; i < COLUMNS; i++) {
            const float magnitude = of_taps[tap * columns + i] * most[i];
            squares[i] += magnitude * magnitude;
        }
    for (int i = 0; i < COLUMNS; i++) {
        const float root = sqrtf(squares[i] / (float)taps);
        known[i] = root > 0 && root < FLT_MAX;
        factors[i] = known[i] ? most[i] / root : 0;
    }
    for (int64_t tap = 0; tap < taps; tap++)
        for (int i = 0; i < COLUMNS; i++) {
            float *const magnitude = &of_taps[tap * columns + i];
            *magnitude = known[i] ? *magnitude * factors[i] : 1;
            least[tap] = *magnitude < least[tap] ? *magnitude : least[tap];
        }
}

void fc_measure_filters(const fc_forward *call, void *memory) {
    const fc_float_mode callers = fc_float_mode_enter();
    const int64_t taps = taps_of(call);
    float *const of_channels = memory, *const of_taps = of_channels + channels_end(call);
    float *const least = of_channels + taps_end(call);
    memset(memory, 0, (size_t)fc_filter_magnitudes_size(call));
    const float largest = measure_all_channels(call, of_channels);
    measure_all_taps(call, of_channels, of_taps);
    for (int64_t tap = 0; tap < taps; tap++) least[tap] = 1;
    for (int64_t first = 0; first < columns_of(call); first += COLUMNS) normalize_taps(call, of_taps + first, least);
    for (int64_t tap = 0; tap < taps; tap++) least[taps] += least[tap];
    least[taps + 1] = 0x1p-90f * (largest > 1 ? largest : 1);
    fc_float_mode_leave(callers);
}

int fc_checks_tiles(const fc_problem *p, const fc_grid *g, const fc_filter_magnitudes *filters) {
    if (g->reach_columns > 2 * g->m_columns * p->stride_w) return 1; /* tile_magnitudes takes neighbors' columns */
    if (g->m_rows > 2 || g->m_columns > 2 || p->kh % g->sub.rows || p->kw % g->sub.columns) return 1;
    for (int64_t tap = 0; tap < p->kh * p->kw; tap++)
        if (filters->least[tap] < LEAST_TAP) return 1;
    return 0;
}

void fc_find_dominated(const fc_kernels *kernels, const fc_filter_magnitudes *filters, const fc_tile_row *row,
                       int64_t channels, char *outliers) {
    float sums[FC_MEASURED_TILES], largest[FC_MEASURED_TILES];
    kernels->winograd.tile_magnitudes(row, filters->of_channels, channels, sums, largest);
    /* Sums that are not finite tell nothing: such tiles are not replaced, so that finite outputs keep their bits. */
    for (int64_t t = 0; t < row->tiles; t++) outliers[t] = largest[t] > DOMINANT * sums[t];
}

/* The sum of a window's magnitudes, each times its tap's factor. */
static float window_sum(const fc_problem *p, const float *factors, const float *first, int64_t row) {
    float sum = 0;
    for (int64_t i = 0; i < p->kh; i++)
        for (int64_t j = 0; j < p->kw; j++) sum += factors[i * p->kw + j] * first[i * row + j];
    return sum;
}

/* The least sum of a window that begins at `first`, over all filters. */
static float least_sum(const fc_kernels *kernels, const fc_problem *p, const fc_filter_magnitudes *filters,
                       const float *first, int64_t row) {
    float window[FC_WIDEST * FC_WIDEST];
    for (int64_t y = 0; y < p->kh; y++) memcpy(window + y * p->kw, first + y * row, (size_t)p->kw * sizeof(float));
    return kernels->winograd.least(filters->of_taps, filters->columns, p->kh * p->kw, window);
}

/* The root of the mean square of a tile's magnitudes, the largest of which is `most`. */
static float root_mean_square(const fc_grid *g, const fc_window_magnitudes *pixels, float most) {
    const float scale = 1 / most; /* squares do not overflow */
    float squares = 0;
    for (int64_t i = 0; i < g->reach_rows; i++)
        for (int64_t j = 0; j < g->reach_columns; j++) {
            const float part = pixels->first[i * pixels->row + j] * scale;
            squares += part * part;
        }
    return most * sqrtf(squares / (float)(g->reach_rows * g->reach_columns));
}

int fc_has_outlier(const fc_kernels *kernels, const fc_problem *p, const fc_grid *g,
                   const fc_filter_magnitudes *filters, const fc_place *at, const fc_window_magnitudes *pixels) {
    float least = FLT_MAX, most = 0;
    int finite = 1;
    for (int64_t i = 0; i < g->reach_rows; i++)
        for (int64_t j = 0; j < g->reach_columns; j++) {
            const float magnitude = pixels->first[i * pixels->row + j];
            finite &= magnitude <= FLT_MAX;
            least = magnitude < least ? magnitude : least;
            most = magnitude > most ? magnitude : most;
        }
    if (!finite || (most > 0 && most < filters->tiny)) return 1;
    if (most == 0) return 0;
    /* A window's sum must be (taps * root of the mean square) / MOST_ERROR; mostly it is, whatever the root. */
    const float share = (float)(p->kh * p->kw) / MOST_ERROR;
    if (least * filters->sum_of_least >= share * most) return 0;
    const float enough = share * root_mean_square(g, pixels, most);
    if (least * filters->sum_of_least >= enough) return 0;
    for (int64_t i = 0; i < at->rows; i++)
        for (int64_t j = 0; j < at->columns; j++) {
            const float *first = pixels->first + i * p->stride_h * pixels->row + j * p->stride_w;
            if (window_sum(p, filters->least, first, pixels->row) >= enough) continue;
            if (least_sum(kernels, p, filters, first, pixels->row) < enough) return 1;
        }
    return 0;
}
