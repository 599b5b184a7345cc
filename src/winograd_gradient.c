/* The gradient of the filters by Winograd's minimal filtering: the products of transformed tiles of the input and of
 * the output's gradient, summed cell by cell over all tiles, and transformed to taps at the end.
 *
 * That is the forward algorithm transposed, with its tiles, pieces and interpolation points. A task has a range of
 * input channels and one of output channels, whose sums at every cell it keeps, and goes through the tiles of one
 * slice: some blocks of them at a time are transformed, and multiplied while they are in the caches. */
#include "winograd_gradient.h"
#include "float_mode.h"
#include "pixel_blocks.h"
#include "sizes.h"
#include "team.h"
#include "winograd_evenness.h"
#include <string.h>

enum {
    UNIT = 16,  /* channels of which ranges consist, but for the last */
    NARROW = 32 /* fewest channels or columns of a range, where there are not enough tasks */
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

/* Where it is in what all threads share whether a task's gradients are finite: after the slices' sums. What tells
 * evenness follows. */
static int64_t finite_at(const fc_backprop_filter *call) {
    const int64_t sums = call->sums ? fc_terms(&call->forward.problem) * call->forward.problem.f : 0;
    return fc_aligned(call->pixels.slices * sums * (int64_t)sizeof(float));
}
static fc_exponents exponents_of(const fc_backprop_filter *call, void *partial) {
    return fc_place_exponents(&call->forward, (uint8_t *)partial + finite_at(call) + call->tasks);
}

static void prepare(fc_backprop_filter *call, int threads) {
    fc_forward *forward = &call->forward;
    const fc_problem *p = &forward->problem;
    forward->direct = fc_windows_in_place(forward);
    forward->pixels = 1;
    fc_grid g = fc_grid_of(forward);
    const int64_t block = call->pixels.columns, slices = call->pixels.slices;
    call->blocks = fc_parts(g.tiles, block);
    call->term_tasks = fc_parts(p->c * g.pieces.count, FC_RANGE);
    call->term_tasks = fc_least(call->term_tasks, channel_units(call));
    const int64_t terms = most_channels(call) * g.pieces.count; /* many, where there are many pieces */
    call->channel_tasks = fc_parts(p->f, terms > FC_RANGE ? FC_RANGE * FC_RANGE / terms : FC_RANGE);
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
    call->partial_bytes = fc_aligned(finite_at(call) + call->tasks + fc_exponents_size(forward));
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

/* Transforms the sums of a panel, for a channel, to the gradients of a piece's taps; tells whether they are finite, and
 * those of taps past the filter's end too, for which the others would be looked at in vain. */
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
    return finite;
}

/* The same for all that the task has. */
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

static void compute(const fc_backprop_filter *call, int64_t task, void *scratch, void *partial) {
    const fc_float_mode callers = fc_float_mode_enter();
    const fc_problem *p = &call->forward.problem;
    const int64_t ranges = call->term_tasks * call->channel_tasks;
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
    const fc_exponents exponents = exponents_of(call, partial);
    uint8_t *const inputs = channel_task ? NULL : exponents.channels[FC_INPUT] + k.channel;
    uint8_t *const outputs = term_task ? NULL : exponents.channels[FC_OUTPUT] + k.column;
    fc_spread spread = {.zeros = scratch,
                        .patch = k.scratch + k.at.patch,
                        .tiles = (float *)(k.scratch + k.at.tiles),
                        .exponents_pitch = p->c};

    int64_t start, end;
    fc_blocks_of_slice(call, slice, &start, &end);
    const int64_t blocks = end - start;
    const int64_t chunks = fc_parts(blocks, call->pixels.rows), block = call->pixels.columns;
    for (int64_t chunk = 0; chunk < chunks && !fc_team_stopped(); chunk++) {
        const int64_t first = (start + fc_part_start(blocks, chunks, chunk)) * block;
        const int64_t end = fc_least((start + fc_part_start(blocks, chunks, chunk + 1)) * block, k.g.tiles);
        spread.exponents = inputs ? inputs + first * p->c : NULL;
        fc_spread_tiles(&k.part, &k.g, first, end, &spread);
        spread_gradients(&k, first, end, outputs ? outputs + first * p->f : NULL);
        multiply(&k, end - first, chunk == 0);
    }
    float *const sums = call->in_place ? call->w : (float *)partial + slice * fc_terms(p) * p->f;
    ((char *)partial)[finite_at(call) + task] = (char)gather(&k, sums);
    fc_float_mode_leave(callers);
}

static fc_verdict verdict_of(const fc_backprop_filter *call, void *partial) {
    const fc_exponents exponents = exponents_of(call, partial);
    if (!fc_is_even(&call->forward, &exponents)) return FC_UNEVEN;
    for (int64_t task = 0; task < call->tasks; task++)
        if (!((const char *)partial)[finite_at(call) + task]) return FC_NOT_FINITE;
    return FC_SOUND;
}

const fc_filter_method fc_winograd_gradient = {
    .name = "winograd", .prepare = prepare, .task = compute, .verdict = verdict_of};
