/* The gradient of the filters by Winograd's minimal filtering, transposed: transformed inputs times transformed output
 * gradients, cell by cell, summed over tiles and transformed to the taps' gradients.
 *
 * A task has a range of input channels, a range of panels of output channels, and the blocks of tiles of one slice. It
 * transforms some blocks of tiles at a time, and multiplies them while they are in the caches. */
#include "winograd/backprop_filter.h"
#include "base/float_mode.h"
#include "conv/pixel_blocks.h"
#include "threads/team.h"
#include "winograd/exact.h"
#include "winograd/gradient_outliers.h"
#include <string.h>

enum { UNIT = 16 /* channels of which ranges consist, but for the last */ };

static int64_t panel_width(const fc_backprop_filter *call) { return call->kernels->f32.nr; }
static int64_t channel_units(const fc_backprop_filter *call) { return fc_ceil_div(call->problem.c, UNIT); }
static int64_t panels(const fc_backprop_filter *call) { return fc_ceil_div(call->problem.f, panel_width(call)); }

/* The channels and the columns of a task, and the most that any task has. */
static fc_range channels_of(const fc_backprop_filter *call, int64_t channel_task) {
    const int64_t tasks = call->winograd.channel_tasks, units = channel_units(call);
    return (fc_range){fc_split_start(units, tasks, channel_task) * UNIT,
                      fc_min(fc_split_start(units, tasks, channel_task + 1) * UNIT, call->problem.c)};
}
static fc_range columns_of(const fc_backprop_filter *call, int64_t column_task) {
    const int64_t tasks = call->winograd.column_tasks, width = panel_width(call);
    return (fc_range){fc_split_start(panels(call), tasks, column_task) * width,
                      fc_min(fc_split_start(panels(call), tasks, column_task + 1) * width, call->problem.f)};
}
static int64_t most_channels(const fc_backprop_filter *call) {
    return fc_min(fc_ceil_div(channel_units(call), call->winograd.channel_tasks) * UNIT, call->problem.c);
}
static int64_t most_columns(const fc_backprop_filter *call) {
    return fc_ceil_div(panels(call), call->winograd.column_tasks) * panel_width(call);
}

/* The problem of some of the channels, whose tiles are one block of so many. */
static fc_problem with_channels(const fc_backprop_filter *call, int64_t channels) {
    fc_problem part = call->problem;
    part.c = channels;
    return part;
}
static int64_t block_of(int64_t channels) { return fc_ceil_div(channels, UNIT) * UNIT; }
static fc_grid grid_of(const fc_backprop_filter *call, int64_t channels) {
    const fc_problem part = with_channels(call, channels);
    fc_winograd tile = call->tile;
    tile.block = block_of(channels);
    return fc_grid_of(&part, &tile, call->pixels.rows * call->pixels.columns);
}

static fc_winograd_gradient_layout layout_of(const fc_backprop_filter *call) {
    const int64_t size = sizeof(float), columns = most_columns(call), channels = most_channels(call);
    const fc_grid g = grid_of(call, channels);
    const fc_problem part = with_channels(call, channels);
    fc_winograd_gradient_layout l = {.gradients_plane = fc_odd_lines(columns * g.most_tiles),
                                     .sums_plane = fc_odd_lines(columns * channels)};
    l.tiles = fc_round_up(fc_max(columns, g.pitch) * size);
    l.gradients = l.tiles + g.sub.count * g.block * size;
    l.sums = l.gradients + g.cells * l.gradients_plane * size;
    l.chunk = l.sums + g.sub.count * g.cells * l.sums_plane * size;
    l.patch = l.chunk + fc_round_up(channels * panel_width(call) * size);
    l.outputs = l.patch + (call->winograd.x_in_place ? 0 : fc_segment_pixels(&part, &g) * g.pitch * size);
    l.taps = l.outputs + fc_round_up(g.m_rows * g.m_columns * columns * size);
    l.indirection = l.taps + fc_round_up(g.sub.rows * g.sub.columns * columns * size);
    l.size = l.indirection + fc_round_up(block_of(channels) * (int64_t)sizeof(void *));
    return l;
}

static fc_exponents exponents_of(const fc_backprop_filter *call, void *partial) {
    return fc_place_exponents(call, (uint8_t *)partial + call->winograd.finite_at + call->tasks);
}

/* Splits channels and columns into ranges until they fit the caches and there are tasks enough for the threads. */
static void split_ranges(fc_backprop_filter *call, int threads) {
    const fc_problem *p = &call->problem;
    fc_winograd_gradient_split *const s = &call->winograd;
    const int64_t slices = call->pixels.slices, least = call->kernels->tuning.winograd_least_range;
    s->channel_tasks = fc_min(fc_ceil_div(p->c * s->grid.sub.count, FC_RANGE), channel_units(call));
    const int64_t terms = most_channels(call) * s->grid.sub.count; /* many, where there are many sub-kernels */
    s->column_tasks = fc_ceil_div(p->f, terms > FC_RANGE ? FC_RANGE * FC_RANGE / terms : FC_RANGE);
    while (threads > 1 && slices * s->channel_tasks * s->column_tasks < 2 * threads) {
        const int64_t channels = p->c / s->channel_tasks, columns = p->f / s->column_tasks;
        if (channels >= columns && channels >= 2 * least)
            s->channel_tasks *= 2;
        else if (columns >= 2 * least)
            s->column_tasks *= 2;
        else
            break;
    }
    s->channel_tasks = fc_min(s->channel_tasks, channel_units(call));
    s->column_tasks = fc_min(s->column_tasks, panels(call));
}

static void prepare(fc_backprop_filter *call, int threads) {
    const fc_input in = fc_filter_input(call);
    fc_winograd_gradient_split *const s = &call->winograd;
    const int64_t slices = call->pixels.slices;
    s->x_in_place = fc_windows_in_place(&in);
    s->grid = fc_grid_of(&call->problem, &call->tile, 1);
    call->blocks = fc_ceil_div(s->grid.tiles, call->pixels.columns);
    split_ranges(call, threads);
    call->tasks = slices * s->channel_tasks * s->column_tasks;
    fc_split_slices(call);
    s->finite_at = fc_round_up(call->sum_tasks ? slices * fc_gradients(&call->problem) * (int64_t)sizeof(float) : 0);
    call->partial_bytes = fc_round_up(s->finite_at + call->tasks + fc_exponents_size(call));
    s->at = layout_of(call);
    call->scratch_bytes = s->at.size;
}

/* What one task works with. */
typedef struct work {
    const fc_backprop_filter *call;
    const fc_winograd_gradient_layout *at;
    fc_problem problem; /* of the task's channels */
    fc_grid grid;       /* of tiles of these */
    char *scratch;
    int64_t channel, channels, column, columns;
} work;

/* The cells of a tile of the output's gradient: where they lie, or staged, or zeros outside the image. */
static void find_gradients(const work *k, int64_t tile, const void **cells) {
    const fc_tensor *dy = &k->call->dy;
    const fc_grid *g = &k->grid;
    const int64_t size = fc_dtype_size(dy->dtype);
    const int readable = dy->stride_c == 1 && !fc_is_converted(dy->dtype);
    float *const staged = (float *)(k->scratch + k->at->outputs);
    const fc_place at = fc_place_of(&k->problem, g, tile);
    for (int64_t i = 0; i < g->m_rows; i++) {
        const int64_t row = at.image * dy->stride_n + (at.y + i) * dy->stride_h + at.x * dy->stride_w;
        const char *from = (const char *)dy->data + (row + k->column * dy->stride_c) * size;
        float *const pixels = staged + i * g->m_columns * k->columns;
        if (!readable && i < at.rows) {
            const fc_matrix given = fc_matrix_of(from, at.columns, k->columns, dy->stride_w, dy->stride_c);
            fc_stage_pixels(k->call->kernels, dy->dtype, &given, pixels, k->columns);
        }
        for (int64_t j = 0; j < g->m_columns; j++) {
            const void *pixel = readable ? (const void *)(from + j * dy->stride_w * size) : pixels + j * k->columns;
            cells[i * g->m_columns + j] = i < at.rows && j < at.columns ? pixel : k->scratch;
        }
    }
}

/* Transforms the output's gradient of some tiles: [cell][panel][tile][column]; `exponents`, if wanted, are of the
 * largest values. */
static void transform_gradients(const work *k, fc_range tiles, uint8_t *exponents) {
    const fc_kernels *kernels = k->call->kernels;
    const fc_grid *g = &k->grid;
    const int64_t width = panel_width(k->call);
    float *to = (float *)(k->scratch + k->at->gradients);
    for (int64_t tile = tiles.first; tile < tiles.end; tile++, to += width) {
        const void *cells[FC_TILE_OUTPUTS * FC_TILE_OUTPUTS];
        find_gradients(k, tile, cells);
        if (exponents) {
            memset(exponents, 0, (size_t)k->columns);
            fc_raise_exponents(kernels, cells, g->m_rows * g->m_columns, k->columns, exponents);
            exponents += k->problem.f;
        }
        kernels->winograd.gradient[g->tile_index](cells, k->columns, width, to, fc_range_count(tiles) * width,
                                                  k->at->gradients_plane);
    }
}

/* Multiplies one cell of some tiles with one panel of the output's gradient there, into `sums` or, after the first
 * time, to be added to these. */
static void multiply_panel(const work *k, fc_tiles *tile, int is_first, float *sums) {
    const fc_arithmetic *gemm = &k->call->kernels->f32;
    const int64_t groups = fc_ceil_div(k->channels, gemm->mr), rows = k->channels / groups;
    const int64_t longer = k->channels % groups; /* so many groups have a channel more */
    const void **const indirection = (const void **)(k->scratch + k->at->indirection);
    float *const chunk = (float *)(k->scratch + k->at->chunk);
    fc_gemm_fn *const *kernels = fc_tiles_of(gemm, tile->columns);
    for (int64_t group = 0, c = 0; group < groups; group += tile->count) {
        const int64_t each = rows + (group < longer);
        tile->count = (group < longer ? longer : groups) - group;
        tile->batch = indirection + c;
        tile->sums = (is_first ? sums : chunk) + c * gemm->nr;
        c += tile->count * each;
        kernels[each - 1](tile);
    }
    if (!is_first) gemm->add_sums(chunk, k->channels * gemm->nr, sums);
}

/* Adds the sum of the products of some tiles to the sums: [sub-kernel][cell][panel][channel][column]. */
static void multiply(const work *k, int64_t tiles, int is_first) {
    const fc_grid *g = &k->grid;
    const fc_arithmetic *gemm = &k->call->kernels->f32;
    const int64_t width = gemm->nr;
    const void **const indirection = (const void **)(k->scratch + k->at->indirection);
    fc_tiles tile = {.batch_size = 1,
                     .k = tiles,
                     .block_runs = 1,
                     .chunk = k->call->pixels.columns,
                     .step = block_of(k->channels),
                     .filters_stride = width,
                     .sums_stride = width,
                     .prefetch = k->scratch};
    for (int64_t i = 0; i < g->sub.count; i++)
        for (int64_t cell = 0; cell < g->cells; cell++) {
            const float *inputs = (const float *)(k->scratch + k->at->tiles) + i * g->block + cell * g->plane;
            const float *gradients = (const float *)(k->scratch + k->at->gradients) + cell * k->at->gradients_plane;
            float *sums = (float *)(k->scratch + k->at->sums) + (i * g->cells + cell) * k->at->sums_plane;
            for (int64_t c = 0; c < k->channels; c++) indirection[c] = inputs + c;
            for (int64_t f = 0; f < k->columns; f += width, gradients += tiles * width, sums += k->channels * width) {
                /* Whole vectors, else their other lanes might not be finite. */
                tile.columns = (int)(fc_ceil_div(fc_min(width, k->columns - f), gemm->lanes) * gemm->lanes);
                tile.filters = gradients;
                multiply_panel(k, &tile, is_first, sums);
            }
        }
}

/* Transforms the sums of a panel, for a channel, to the gradients of a sub-kernel's taps. Tells whether they are
 * finite, and those of taps past the filter's end, too: if these are not, the others may be wrong. */
static int transform_taps(const work *k, const fc_sub_kernel *one, const float *sums, int64_t columns, float *to) {
    const fc_problem *p = &k->call->problem;
    const fc_grid *g = &k->grid;
    const int64_t column = p->c * p->f, row = p->kw * column;
    fc_winograd_output_fn *const transform = k->call->kernels->winograd.taps[g->tile_index];
    if (one->rows == g->sub.rows && one->columns == g->sub.columns)
        return transform(sums, k->at->sums_plane, (int)columns, to, row, column);
    float *const taps = (float *)(k->scratch + k->at->taps);
    const int finite = transform(sums, k->at->sums_plane, (int)columns, taps, g->sub.columns * columns, columns);
    for (int64_t i = 0; i < one->rows; i++)
        for (int64_t j = 0; j < one->columns; j++)
            memcpy(to + i * row + j * column, taps + (i * g->sub.columns + j) * columns,
                   (size_t)columns * sizeof(float));
    return finite;
}

/* Transforms all sums of the task; tells whether all gradients are finite. */
static int transform_sums(const work *k, float *dw) {
    const fc_problem *p = &k->call->problem;
    const fc_grid *g = &k->grid;
    const int64_t width = panel_width(k->call);
    int finite = 1;
    for (int64_t i = 0; i < g->sub.count; i++) {
        const fc_sub_kernel one = fc_sub_kernel_at(p, &g->sub, i);
        const float *sums = (const float *)(k->scratch + k->at->sums) + i * g->cells * k->at->sums_plane;
        const int64_t tap = (one.row * p->kw + one.column) * p->c + k->channel;
        for (int64_t f = 0; f < k->columns; f += width)
            for (int64_t c = 0; c < k->channels; c++, sums += width)
                finite &=
                    transform_taps(k, &one, sums, fc_min(width, k->columns - f), dw + (tap + c) * p->f + k->column + f);
    }
    return finite;
}

static work work_of(const fc_backprop_filter *call, int64_t channel_task, int64_t column_task, void *scratch) {
    const fc_range channels = channels_of(call, channel_task), columns = columns_of(call, column_task);
    work k = {.call = call,
              .at = &call->winograd.at,
              .scratch = scratch,
              .channel = channels.first,
              .channels = fc_range_count(channels),
              .column = columns.first,
              .columns = fc_range_count(columns)};
    k.problem = with_channels(call, k.channels);
    k.grid = grid_of(call, k.channels);
    return k;
}

static void compute(const fc_backprop_filter *call, int64_t task, void *scratch, void *partial) {
    const fc_float_mode callers = fc_float_mode_enter();
    const fc_problem *p = &call->problem;
    const fc_winograd_gradient_split *s = &call->winograd;
    const int64_t column_task = task % s->column_tasks, channel_task = task / s->column_tasks % s->channel_tasks;
    const int64_t slice = task / s->column_tasks / s->channel_tasks;
    const work k = work_of(call, channel_task, column_task, scratch);
    memset(scratch, 0, (size_t)s->at.tiles);
    const fc_exponents exponents = exponents_of(call, partial);
    /* One of the tasks that transform the same tiles tells their exponents. */
    uint8_t *const of_x = column_task ? NULL : exponents.channels[FC_INPUT] + k.channel;
    uint8_t *const of_dy = channel_task ? NULL : exponents.channels[FC_OUTPUT] + k.column;
    fc_tile_input in = {.kernels = call->kernels,
                        .problem = &k.problem,
                        .grid = &k.grid,
                        .x = call->x,
                        .block = block_of(k.channels),
                        .x_in_place = s->x_in_place};
    in.x.data = (char *)call->x.data + k.channel * call->x.stride_c * fc_dtype_size(call->x.dtype);
    fc_tile_transform to = {.zeros = scratch,
                            .patch = k.scratch + s->at.patch,
                            .tiles = (float *)(k.scratch + s->at.tiles),
                            .exponents_pitch = p->c};

    const fc_range blocks = fc_blocks_of_slice(call, slice);
    const int64_t count = fc_range_count(blocks), block = call->pixels.columns;
    const int64_t chunks = fc_ceil_div(count, call->pixels.rows);
    for (int64_t chunk = 0; chunk < chunks && !fc_team_stopped(); chunk++) {
        const int64_t first = blocks.first + fc_split_start(count, chunks, chunk);
        const int64_t end = blocks.first + fc_split_start(count, chunks, chunk + 1);
        const fc_range tiles = {first * block, fc_min(end * block, k.grid.tiles)};
        to.exponents = of_x ? of_x + tiles.first * p->c : NULL;
        fc_transform_tiles(&in, tiles, &to);
        transform_gradients(&k, tiles, of_dy ? of_dy + tiles.first * p->f : NULL);
        multiply(&k, fc_range_count(tiles), chunk == 0);
    }
    float *const dw = (float *)fc_slice_sums(call, slice, partial);
    ((char *)partial)[s->finite_at + task] = (char)transform_sums(&k, dw);
    fc_float_mode_leave(callers);
}

static fc_outcome outcome_of(const fc_backprop_filter *call, void *partial) {
    const fc_exponents exponents = exponents_of(call, partial);
    if (fc_gradient_has_outliers(call, &exponents)) return FC_REPLACE_ALL;
    for (int64_t task = 0; task < call->tasks; task++)
        if (!((const char *)partial)[call->winograd.finite_at + task]) return FC_REPLACE_NOT_FINITE;
    return FC_SOUND;
}

const fc_filter_method fc_winograd_filter_method = {
    .name = "winograd", .is_exact = fc_gradient_is_exact, .prepare = prepare, .task = compute, .outcome = outcome_of};
