/* The gradient of the filters by Winograd's minimal filtering: the products of transformed tiles of the input and of
 * the output's gradient, summed cell by cell over all tiles, and transformed to taps at the end.
 *
 * That is the forward algorithm transposed, with its tiles, pieces and interpolation points. A task has a range of
 * input channels and one of output channels, whose sums at every cell it keeps, and goes through the tiles of one
 * slice: some blocks of them at a time are transformed, and multiplied while they are in the caches.
 *
 * Every tap's sum rounds with products of other taps in the same tiles. Where some of these are far larger than all of
 * its own, as with an outlier in a corner that the tap never meets, that would spoil it. The largest values of tiles
 * tell, of each input channel beside those of all output gradients, and of each of these beside those of all inputs. */
#include "winograd_gradient.h"
#include "float_mode.h"
#include "pack.h"
#include "sizes.h"
#include "winograd_tiles.h"
#include <string.h>

enum { INPUT, OUTPUT, NEITHER }; /* the factors: input and output gradient */

static int larger(int a, int b) { return a > b ? a : b; }

enum {
    UNIT = 16,   /* channels of which ranges consist, but for the last */
    RANGE = 128, /* most terms or columns of a range, but for 16 channels of many pieces, which take fewer columns: a
                    task's sums, with 36 cells, take 2.4 MB; */
    NARROW = 32, /* and fewest, where there are not enough tasks */
    REACH = FC_WIDEST + FC_TILE_OUTPUTS, /* pixels that a tile's windows cover, along an axis, and more */
    ROUNDOFF = 24,                       /* of a float, in binary orders of magnitude */
    UNKNOWN = 0xff,                      /* an exponent that was not looked at yet */
    CHANNELS = 64                        /* that are weighed together */
};

static int64_t panel_width(const fc_backprop_filter *call) { return 2 * call->forward.kernels->f32.lanes; }
static int64_t channel_units(const fc_backprop_filter *call) { return fc_parts(call->forward.problem.c, UNIT); }
static int64_t panels(const fc_backprop_filter *call) { return fc_parts(call->forward.problem.f, panel_width(call)); }

/* The call's forward pass as it is for some of its channels. */
static fc_forward with_channels(const fc_backprop_filter *call, int64_t first, int64_t channels) {
    fc_forward part = call->forward;
    part.x.data = (char *)part.x.data + first * part.x.stride_c * fc_dtype_size(part.x.dtype);
    part.problem.c = channels;
    part.winograd.block = fc_parts(channels, UNIT) * UNIT;
    return part;
}

/* Most channels and columns of a range. */
static int64_t most_channels(const fc_backprop_filter *call) {
    return fc_least(fc_parts(channel_units(call), call->term_tasks) * UNIT, call->forward.problem.c);
}
static int64_t most_columns(const fc_backprop_filter *call) {
    return fc_parts(panels(call), call->channel_tasks) * panel_width(call);
}

/* Where things are in a thread's scratch, in bytes; it begins with zeros, of a pixel. */
typedef struct layout {
    int64_t tiles, gradients, sums, chunk, patch, outputs, taps, table, size;
    int64_t gradients_plane, sums_plane; /* elements from cell to cell */
} layout;

static layout layout_of(const fc_backprop_filter *call) {
    const int64_t size = sizeof(float), columns = most_columns(call), channels = most_channels(call);
    const fc_forward part = with_channels(call, 0, channels);
    const fc_grid g = fc_grid_of(&part);
    layout l = {.gradients_plane = fc_odd_lines(columns * part.pixels), .sums_plane = fc_odd_lines(columns * channels)};
    l.tiles = fc_aligned((columns > g.pitch ? columns : g.pitch) * size);
    l.gradients = l.tiles + g.pieces.count * g.block * size;
    l.sums = l.gradients + g.cells * l.gradients_plane * size;
    l.chunk = l.sums + g.pieces.count * g.cells * l.sums_plane * size;
    l.patch = l.chunk + fc_aligned(channels * panel_width(call) * size);
    l.outputs = l.patch + (part.direct ? 0 : fc_segment_pixels(&part, &g) * g.pitch * size);
    l.taps = l.outputs + fc_aligned(g.m_rows * g.m_columns * columns * size);
    l.table = l.taps + fc_aligned(g.pieces.rows * g.pieces.columns * columns * size);
    l.size = l.table + fc_aligned(part.winograd.block * (int64_t)sizeof(void *));
    return l;
}

/* Where things are in what all threads share, in bytes: the slices' sums; for each task whether its are finite; and of
 * both factors exponents of largest values, of the channels of each tile, of each tile and of each pixel. */
typedef struct shared {
    int64_t finite, channels[2], tiles[2], pixels[2], size;
} shared;

static shared shared_of(const fc_backprop_filter *call) {
    const fc_problem *p = &call->forward.problem;
    const int64_t tiles = fc_grid_of(&call->forward).tiles, sums = call->sums ? fc_terms(p) * p->f : 0;
    shared s = {.finite = fc_aligned(call->pixels.slices * sums * (int64_t)sizeof(float))};
    s.channels[INPUT] = s.finite + call->tasks;
    s.channels[OUTPUT] = s.channels[INPUT] + tiles * p->c;
    s.tiles[INPUT] = s.channels[OUTPUT] + tiles * p->f;
    s.tiles[OUTPUT] = s.tiles[INPUT] + tiles;
    s.pixels[INPUT] = s.tiles[OUTPUT] + tiles;
    s.pixels[OUTPUT] = s.pixels[INPUT] + p->n * p->h * p->w;
    s.size = fc_aligned(s.pixels[OUTPUT] + p->n * p->oh * p->ow);
    return s;
}

void fc_winograd_gradient_split(fc_backprop_filter *call, int threads) {
    fc_forward *forward = &call->forward;
    const fc_problem *p = &forward->problem;
    forward->direct = fc_windows_in_place(forward);
    forward->pixels = 1;
    fc_grid g = fc_grid_of(forward);
    const int64_t block = call->pixels.columns, slices = call->pixels.slices;
    call->blocks = fc_parts(g.tiles, block);
    call->term_tasks = fc_parts(p->c * g.pieces.count, RANGE);
    call->term_tasks = fc_least(call->term_tasks, channel_units(call));
    const int64_t terms = most_channels(call) * g.pieces.count; /* many, where there are many pieces */
    call->channel_tasks = fc_parts(p->f, terms > RANGE ? RANGE * RANGE / terms : RANGE);
    while (threads > 1 && slices * call->term_tasks * call->channel_tasks < 2 * threads) {
        const int64_t channels = p->c / call->term_tasks, columns = p->f / call->channel_tasks;
        if (channels >= columns && channels >= 2 * NARROW)
            call->term_tasks *= 2;
        else if (columns >= 2 * NARROW)
            call->channel_tasks *= 2;
        else
            break;
    }
    call->term_tasks = fc_least(call->term_tasks, channel_units(call));
    call->channel_tasks = fc_least(call->channel_tasks, panels(call));
    call->tasks = slices * call->term_tasks * call->channel_tasks;
    forward->pixels = call->pixels.rows * block;
    fc_split_slices(call);
    call->partial_bytes = shared_of(call).size;
    call->scratch_bytes = layout_of(call).size;
}

/* What one task works with: some channels, columns and blocks of tiles. */
typedef struct work {
    const fc_backprop_filter *call;
    fc_forward part;
    fc_grid g;
    layout at;
    char *scratch;
    int64_t channel, channels, column, columns;
} work;

/* Transforms the output's gradient of some tiles: [cell][panel][tile][column]; `exponents`, if wanted, are of the
 * largest values. */
static void spread_gradients(const work *k, int64_t first, int64_t end, uint8_t *exponents) {
    const fc_forward *forward = &k->part;
    const fc_tensor *y = &forward->y;
    const fc_grid *g = &k->g;
    const int64_t width = panel_width(k->call), size = fc_dtype_size(y->dtype);
    const int readable = y->stride_c == 1 && y->dtype == FC_F32;
    float *to = (float *)(k->scratch + k->at.gradients), *const staged = (float *)(k->scratch + k->at.outputs);
    for (int64_t tile = first; tile < end; tile++, to += width) {
        const fc_place at = fc_place_of(forward, g, tile);
        const void *cells[FC_TILE_OUTPUTS * FC_TILE_OUTPUTS];
        for (int64_t i = 0; i < g->m_rows; i++) {
            const int64_t row = at.image * y->stride_n + (at.y + i) * y->stride_h + at.x * y->stride_w;
            const char *from = (const char *)y->data + (row + k->column * y->stride_c) * size;
            float *const pixels = staged + i * g->m_columns * k->columns;
            if (!readable && i < at.rows)
                fc_stage_pixels(forward->kernels, y->dtype, from, y->stride_w, y->stride_c, at.columns, k->columns,
                                pixels, k->columns);
            for (int64_t j = 0; j < g->m_columns; j++) {
                const void *pixel = readable ? (const void *)(from + j * y->stride_w * size) : pixels + j * k->columns;
                cells[i * g->m_columns + j] = i < at.rows && j < at.columns ? pixel : k->scratch;
            }
        }
        if (exponents) {
            memset(exponents, 0, (size_t)k->columns);
            fc_raise_exponents(forward->kernels, cells, g->m_rows * g->m_columns, k->columns, exponents);
            exponents += forward->problem.f;
        }
        forward->kernels->winograd.gradient[g->rung](cells, k->columns, width, to, (end - first) * width,
                                                     k->at.gradients_plane);
    }
}

/* Adds the sum of the products of some tiles to the sums: [piece][cell][panel][channel][column]. */
static void multiply(const work *k, int64_t tiles, int is_first) {
    const fc_grid *g = &k->g;
    const fc_gemm *gemm = &k->part.kernels->f32;
    const int64_t width = panel_width(k->call);
    const int64_t groups = fc_parts(k->channels, gemm->rows), rows = k->channels / groups;
    const int64_t longer = k->channels % groups; /* so many groups have a channel more */
    const void **const table = (const void **)(k->scratch + k->at.table);
    float *const chunk = (float *)(k->scratch + k->at.chunk);
    fc_tiles tile = {.run_count = 1,
                     .run_length = tiles,
                     .block_runs = 1,
                     .chunk = k->call->pixels.columns,
                     .step = k->part.winograd.block,
                     .filters_stride = width,
                     .sums_stride = width,
                     .ahead = k->scratch};
    for (int64_t piece = 0; piece < g->pieces.count; piece++)
        for (int64_t cell = 0; cell < g->cells; cell++) {
            const float *inputs = (const float *)(k->scratch + k->at.tiles) + piece * g->block + cell * g->plane;
            const float *gradients = (const float *)(k->scratch + k->at.gradients) + cell * k->at.gradients_plane;
            float *sums = (float *)(k->scratch + k->at.sums) + (piece * g->cells + cell) * k->at.sums_plane;
            for (int64_t c = 0; c < k->channels; c++) table[c] = inputs + c;
            for (int64_t f = 0; f < k->columns; f += width, gradients += tiles * width, sums += k->channels * width) {
                const int64_t columns = fc_parts(fc_least(width, k->columns - f), gemm->lanes) * gemm->lanes;
                tile.columns = (int)columns; /* whole vectors, else their other lanes might not be finite */
                tile.filters = gradients;
                fc_gemm_fn *const *kernels = tile.columns > gemm->lanes ? gemm->tile2 : gemm->tile1;
                for (int64_t group = 0, c = 0; group < groups; group += tile.count) {
                    const int64_t each = rows + (group < longer);
                    tile.count = (group < longer ? longer : groups) - group;
                    tile.runs = table + c;
                    tile.sums = (is_first ? sums : chunk) + c * width;
                    c += tile.count * each;
                    kernels[each - 1](&tile);
                }
                if (!is_first) gemm->add_sums(chunk, k->channels * width, sums);
            }
        }
}

/* Transforms the sums of a panel, for a channel, to the gradients of the taps of a piece; tells whether these are
 * finite.
 */
static int gather_taps(const work *k, const fc_piece *piece, const float *sums, int64_t columns, float *to) {
    const fc_problem *p = &k->call->forward.problem;
    const fc_grid *g = &k->g;
    const int64_t column = p->c * p->f, row = p->kw * column;
    fc_winograd_output_fn *const transform = k->part.kernels->winograd.taps[g->rung];
    if (piece->rows == g->pieces.rows && piece->columns == g->pieces.columns)
        return transform(sums, k->at.sums_plane, (int)columns, to, row, column);
    float *const taps = (float *)(k->scratch + k->at.taps);
    const int finite = transform(sums, k->at.sums_plane, (int)columns, taps, g->pieces.columns * columns, columns);
    for (int64_t i = 0; i < piece->rows; i++)
        for (int64_t j = 0; j < piece->columns; j++)
            memcpy(to + i * row + j * column, taps + (i * g->pieces.columns + j) * columns,
                   (size_t)columns * sizeof(float));
    return finite; /* those of taps past the filter's end too, which will be looked at once more */
}

static int gather(const work *k, float *to) {
    const fc_problem *p = &k->call->forward.problem;
    const fc_grid *g = &k->g;
    const int64_t width = panel_width(k->call);
    int finite = 1;
    for (int64_t index = 0; index < g->pieces.count; index++) {
        const fc_piece piece = fc_piece_at(&k->part, index);
        const float *sums = (const float *)(k->scratch + k->at.sums) + index * g->cells * k->at.sums_plane;
        const int64_t tap = (piece.row * p->kw + piece.column) * p->c + k->channel;
        for (int64_t f = 0; f < k->columns; f += width)
            for (int64_t c = 0; c < k->channels; c++, sums += width)
                finite &= gather_taps(k, &piece, sums, fc_least(width, k->columns - f),
                                      to + (tap + c) * p->f + k->column + f);
    }
    return finite;
}

void fc_winograd_gradient_task(const fc_backprop_filter *call, int64_t task, void *scratch, void *partial) {
    const fc_float_mode callers = fc_float_mode_enter();
    const fc_problem *p = &call->forward.problem;
    const int64_t ranges = call->term_tasks * call->channel_tasks, slices = call->pixels.slices;
    const int64_t slice = task / ranges, term_task = task / call->channel_tasks % call->term_tasks;
    const int64_t channel_task = task % call->channel_tasks, width = panel_width(call);
    work k = {.call = call, .scratch = scratch, .at = layout_of(call)};
    k.channel = fc_part_start(channel_units(call), call->term_tasks, term_task) * UNIT;
    k.channels = fc_least(fc_part_start(channel_units(call), call->term_tasks, term_task + 1) * UNIT, p->c) - k.channel;
    k.column = fc_part_start(panels(call), call->channel_tasks, channel_task) * width;
    k.columns = fc_least(fc_part_start(panels(call), call->channel_tasks, channel_task + 1) * width, p->f) - k.column;
    k.part = with_channels(call, k.channel, k.channels);
    k.g = fc_grid_of(&k.part);
    memset(scratch, 0, (size_t)k.at.tiles);
    const shared s = shared_of(call);
    uint8_t *const inputs = channel_task ? NULL : (uint8_t *)partial + s.channels[INPUT] + k.channel;
    uint8_t *const outputs = term_task ? NULL : (uint8_t *)partial + s.channels[OUTPUT] + k.column;
    fc_spread spread = {.zeros = scratch,
                        .patch = k.scratch + k.at.patch,
                        .tiles = (float *)(k.scratch + k.at.tiles),
                        .exponents_pitch = p->c};

    const int64_t start = fc_part_start(call->blocks, slices, slice);
    const int64_t blocks = fc_part_start(call->blocks, slices, slice + 1) - start;
    const int64_t chunks = fc_parts(blocks, call->pixels.rows), block = call->pixels.columns;
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        const int64_t first = (start + fc_part_start(blocks, chunks, chunk)) * block;
        const int64_t end = fc_least((start + fc_part_start(blocks, chunks, chunk + 1)) * block, k.g.tiles);
        spread.exponents = inputs ? inputs + first * p->c : NULL;
        fc_spread_tiles(&k.part, &k.g, first, end, &spread);
        spread_gradients(&k, first, end, outputs ? outputs + first * p->f : NULL);
        multiply(&k, end - first, chunk == 0);
    }
    float *const sums = call->in_place ? call->w : (float *)partial + slice * fc_terms(p) * p->f;
    ((char *)partial)[s.finite + task] = (char)gather(&k, sums);
    fc_float_mode_leave(callers);
}

/* One of the factors, input or output gradient, with exponents of its largest values. */
typedef struct factor {
    const fc_tensor *of;
    int64_t h, w, channels;
    const uint8_t *of_channels; /* [tile][channel] */
    uint8_t *of_tiles, *of_pixels;
} factor;

/* What evenness is told from. */
typedef struct scales {
    const fc_backprop_filter *call;
    fc_grid g;
    factor factors[2];
    int floor; /* of taps that have no products of a channel: what the least of them has of all channels */
} scales;

/* The exponent of a pixel's largest value, of some channels; 0 outside the image. */
static int exponent_of(const scales *k, const factor *f, int64_t image, int64_t y, int64_t x, int64_t first,
                       int64_t channels) {
    float values[FC_LINE * FC_LINE];
    const int64_t most = sizeof(values) / sizeof(values[0]), pixel = (image * f->h + y) * f->w + x;
    if (y < 0 || y >= f->h || x < 0 || x >= f->w) return 0;
    if (channels == f->channels && f->of_pixels[pixel] != UNKNOWN) return f->of_pixels[pixel];
    int exponent = 0;
    for (int64_t c = first, count; c < first + channels; c += count) {
        const int64_t at = image * f->of->stride_n + y * f->of->stride_h + x * f->of->stride_w + c * f->of->stride_c;
        const void *cell = values;
        uint8_t found[FC_LINE * FC_LINE] = {0};
        count = fc_least(most, first + channels - c);
        fc_stage_pixels(k->call->forward.kernels, f->of->dtype,
                        (const char *)f->of->data + at * fc_dtype_size(f->of->dtype), f->of->stride_w, f->of->stride_c,
                        1, count, values, count);
        fc_raise_exponents(k->call->forward.kernels, &cell, 1, count, found);
        for (int64_t i = 0; i < count; i++) exponent = larger(exponent, found[i]);
    }
    if (channels == f->channels) f->of_pixels[pixel] = (uint8_t)exponent;
    return exponent;
}

/* Raises the taps' weights to those of their products in one tile, sums of exponents: of one channel of a factor, if of
 * either, and the other's largest values. */
static void weigh_taps(const scales *k, int own, int64_t channel, int64_t tile, int *taps) {
    const fc_problem *p = &k->call->forward.problem;
    const fc_grid *g = &k->g;
    const fc_place at = fc_place_of(&k->call->forward, g, tile);
    const int64_t top = at.y * p->stride_h - p->pad_top, left = at.x * p->stride_w - p->pad_left;
    const factor *in = &k->factors[INPUT], *out = &k->factors[OUTPUT];
    const int64_t first_in = own == INPUT ? channel : 0, ins = own == INPUT ? 1 : in->channels;
    const int64_t first_out = own == OUTPUT ? channel : 0, outs = own == OUTPUT ? 1 : out->channels;
    int inputs[REACH][REACH];
    for (int64_t i = 0; i < g->reach_rows; i++)
        for (int64_t j = 0; j < g->reach_columns; j++)
            inputs[i][j] = exponent_of(k, in, at.image, top + i, left + j, first_in, ins);
    for (int64_t y = 0; y < at.rows; y++)
        for (int64_t x = 0; x < at.columns; x++) {
            const int output = exponent_of(k, out, at.image, at.y + y, at.x + x, first_out, outs);
            for (int64_t i = 0; i < p->kh && output; i++)
                for (int64_t j = 0; j < p->kw; j++) {
                    const int input = inputs[y * p->stride_h + i][x * p->stride_w + j];
                    if (input) taps[i * p->kw + j] = larger(taps[i * p->kw + j], input + output);
                }
        }
}

/* The least of all taps' weights, where those that have no products count as `none`. */
static int least_of(const scales *k, const int *taps, int none) {
    const int64_t count = k->call->forward.problem.kh * k->call->forward.problem.kw;
    int least = UINT16_MAX;
    for (int64_t tap = 0; tap < count; tap++) {
        const int weight = taps[tap] ? taps[tap] : none;
        least = weight < least ? weight : least;
    }
    return least;
}

/* The largest product that a tile may hold of one channel: a sum of exponents, or 0. */
static int weight_of(int own, int other) { return own && other ? own + other : 0; }

static int weight_in(const factor *f, const factor *other, int64_t channel, int64_t tile) {
    return weight_of(f->of_channels[tile * f->channels + channel], other->of_tiles[tile]);
}

/* Of the tiles' products with one channel of a factor, the largest, the largest with values that might be flushed, and
 * the first tile that holds the largest. */
typedef struct weight {
    int most, tiny;
    int64_t tile;
} weight;

/* Whether each tap has products of this channel that are not much smaller than the largest that any tile may hold. One
 * that has none at all, as of a channel that is zero but at the image's border, may err as those of all channels do.
 * Mostly the tile that holds it tells that. Values that are flushed may be no larger than what rounding loses, 2^-24 of
 * a tap's largest. */
static int channel_is_even(const scales *k, int own, int64_t channel, const weight *w) {
    const factor *f = &k->factors[own], *other = &k->factors[1 - own];
    int taps[FC_WIDEST * FC_WIDEST] = {0};
    const int enough = larger(w->most - FC_UNEVEN_BY, w->tiny + ROUNDOFF);
    if (w->most == 0) return 1;
    weigh_taps(k, own, channel, w->tile, taps);
    for (int most = w->most; most >= enough && most > 0 && least_of(k, taps, 0) < enough; most--)
        for (int64_t tile = 0; tile < k->g.tiles; tile++)
            if (weight_in(f, other, channel, tile) == most) weigh_taps(k, own, channel, tile, taps);
    if (least_of(k, taps, 0) >= enough) return 1;
    /* The other tiles raise no tap enough, but tell which have no products at all. */
    for (int64_t tile = 0; tile < k->g.tiles && least_of(k, taps, enough) >= enough; tile++)
        if (weight_in(f, other, channel, tile)) weigh_taps(k, own, channel, tile, taps);
    return least_of(k, taps, k->floor) >= enough;
}

/* The same for every channel of a factor. */
static int factor_is_even(const scales *k, int own) {
    const factor *f = &k->factors[own], *other = &k->factors[1 - own];
    for (int64_t first = 0; first < f->channels; first += CHANNELS) {
        const int64_t channels = fc_least(CHANNELS, f->channels - first);
        weight weights[CHANNELS] = {{0}};
        for (int64_t tile = 0; tile < k->g.tiles; tile++)
            for (int64_t c = 0; c < channels; c++) {
                const int mine = f->of_channels[tile * f->channels + first + c], others = other->of_tiles[tile];
                const int found = weight_of(mine, others);
                if (found > weights[c].most) weights[c] = (weight){found, weights[c].tiny, tile};
                if (mine < FC_TINY || others < FC_TINY) weights[c].tiny = larger(weights[c].tiny, found);
            }
        for (int64_t c = 0; c < channels; c++)
            if (!channel_is_even(k, own, first + c, &weights[c])) return 0;
    }
    return 1;
}

static int is_even(const fc_backprop_filter *call, void *partial) {
    const fc_problem *p = &call->forward.problem;
    const shared s = shared_of(call);
    scales k = {.call = call,
                .g = fc_grid_of(&call->forward),
                .factors = {{&call->forward.x, p->h, p->w, p->c, NULL, NULL, NULL},
                            {&call->forward.y, p->oh, p->ow, p->f, NULL, NULL, NULL}}};
    for (int i = 0; i < 2; i++) {
        factor *const f = &k.factors[i];
        f->of_channels = (uint8_t *)partial + s.channels[i];
        f->of_tiles = (uint8_t *)partial + s.tiles[i];
        f->of_pixels = (uint8_t *)partial + s.pixels[i];
        memset(f->of_pixels, UNKNOWN, (size_t)(p->n * f->h * f->w));
        for (int64_t tile = 0; tile < k.g.tiles; tile++) {
            uint8_t most = 0;
            for (int64_t c = 0; c < f->channels; c++) {
                const uint8_t exponent = f->of_channels[tile * f->channels + c];
                most = exponent > most ? exponent : most;
            }
            f->of_tiles[tile] = most;
        }
    }
    int most = 0, taps[FC_WIDEST * FC_WIDEST] = {0};
    int64_t largest = 0;
    for (int64_t tile = 0; tile < k.g.tiles; tile++) {
        const int found = weight_of(k.factors[INPUT].of_tiles[tile], k.factors[OUTPUT].of_tiles[tile]);
        if (found > most) most = found, largest = tile;
    }
    weigh_taps(&k, NEITHER, 0, largest, taps);
    k.floor = least_of(&k, taps, 0);
    return factor_is_even(&k, INPUT) && factor_is_even(&k, OUTPUT);
}

fc_verdict fc_winograd_gradient_verdict(const fc_backprop_filter *call, void *partial) {
    if (!is_even(call, partial)) return FC_UNEVEN;
    for (int64_t task = 0; task < call->tasks; task++)
        if (!((const char *)partial)[shared_of(call).finite + task]) return FC_NOT_FINITE;
    return FC_SOUND;
}
