/* Winograd's minimal filtering: transformed tiles times transformed filters, cell by cell, in place of taps.
 *
 * A tile of m x m outputs, 2 or 4, takes (m + 2) x (m + 2) products for each pair of channels in place of 9 m x m; with
 * stride 2, one of 2 x 2 takes 5 x 5. Of larger filters each sub-kernel, of 3x3 taps or so, has the pixels that it
 * meets transformed as if they were further channels. Filters of one row or column are transformed along the other axis
 * alone.
 *
 * A task transforms a range of tiles. Then, for a bundle of panels of output channels, it multiplies, cell by cell, all
 * those tiles with the cell's filters, and transforms the products to outputs. Direct sums replace outputs that this
 * does not serve: those that come out non-finite, and those of tiles in which the outlier check (outliers.h) finds
 * values that would spoil them. */
#include "winograd/forward.h"
#include "base/float_mode.h"
#include "conv/epilogue.h"
#include "conv/implicit_gemm.h"
#include "winograd/exact.h"
#include "winograd/filters.h"
#include "winograd/tiles.h"
#include <string.h>

/* Which task transforms which filters: each transforms those that it needs, a bundle of panels and a part of the
 * channels at a time, in the second cache. With 256 channels and more, writing transformed filters to memory and
 * reading them again would take as long as all else. Few filters of many tiles, and those of fewer panels than threads,
 * are transformed once for all tasks. */

/* Tiles that are multiplied at a time, at most. */
static int64_t most_rows(const fc_forward *call) { return call->kernels->winograd.mr[call->tile.halves - 1]; }

static int64_t products_plane(const fc_winograd_split *s) { return fc_odd_lines(s->grid.most_tiles * s->nc); }

static fc_winograd_layout layout_of(const fc_forward *call) {
    const fc_winograd_split *s = &call->winograd;
    const fc_grid *g = &s->grid;
    const int64_t size = sizeof(float), outputs = g->m_rows * g->m_columns * fc_panel_width(call) * size;
    const int64_t filters = g->cells * fc_filter_plane(s->nc, s->kc) * size;
    const int64_t segment = fc_segment_pixels(&call->problem, g);
    fc_winograd_layout l = {.zeros = FC_HEADER};
    l.outliers = l.zeros + g->pitch * size;
    l.tiles = l.outliers + fc_round_up(g->most_tiles);
    l.products = l.tiles + g->sub.count * g->blocks * g->block * size;
    l.filters = l.products + g->cells * products_plane(s) * size;
    l.outputs = l.filters + (call->packed || call->pack_tasks ? 0 : filters);
    l.direct_sums = l.outputs + outputs;
    l.patch = l.direct_sums + outputs;
    l.magnitudes = l.patch + (s->x_in_place ? 0 : segment * g->pitch * size);
    l.replacement = l.magnitudes + fc_round_up(segment * size);
    l.size = l.replacement + s->replacement_bytes;
    return l;
}

/* Decides how many panels are a bundle, and how many channels a part: their transformed filters, and the products of a
 * task's tiles with them, stay in the second cache, while the tiles pass through it. */
static void set_bundle_and_part(fc_forward *call) {
    fc_winograd_split *const s = &call->winograd;
    const int64_t held = call->kernels->tuning.winograd_part_bytes, tiles = s->grid.most_tiles;
    const int64_t width = fc_panel_width(call), bytes = s->grid.cells * width * (int64_t)sizeof(float);
    const int64_t block = call->tile.block, fit = held / (bytes * (block + tiles));
    const int64_t bundle = fit < 1 ? 1 : fc_min(fit, FC_BUNDLE / width);
    const int64_t blocks = (held / (bytes * bundle) - tiles) / block;
    s->nc = fc_min(s->nc, bundle * width);
    s->kc = fc_min(call->problem.c, fc_max(blocks, 1) * block);
}

/* Bytes that each tile takes: transformed, as products with so many columns, and its pixels, staged. */
static int64_t bytes_a_tile(const fc_forward *call, int64_t columns) {
    const fc_grid *g = &call->winograd.grid;
    const int64_t pixels = g->reach_rows * g->m_columns * call->problem.stride_w;
    const int64_t staged = call->winograd.x_in_place ? 0 : pixels * g->pitch;
    return (g->cells * (g->depth + columns) + staged) * (int64_t)sizeof(float);
}

/* Ranges of tiles for tasks that share the transformed filters. */
static int64_t ranges_of_shared(const fc_forward *call, int threads) {
    const fc_tuning *tuning = &call->kernels->tuning;
    const int64_t columns = fc_min(fc_panels(call) * fc_panel_width(call), tuning->winograd_columns);
    const int64_t fit = tuning->winograd_task_bytes / bytes_a_tile(call, columns);
    const int64_t ranges = fc_ceil_div(call->winograd.grid.tiles, fc_max(fit, tuning->winograd_task_tiles));
    const int64_t nearest = (2 * ranges + threads - 1) / (2 * threads) * threads; /* multiple of the threads */
    if (nearest) return nearest;
    return ranges > 1 || fc_panels(call) < threads ? threads : ranges;
}

/* Ranges of tiles for tasks that transform filters of their own, whose products are those of a bundle. */
static int64_t ranges_of_own(const fc_forward *call, int threads) {
    const fc_tuning *tuning = &call->kernels->tuning;
    const int64_t tiles = call->winograd.grid.tiles;
    if (tiles <= tuning->winograd_own_tiles) return 1;
    const int64_t ranges = fc_ceil_div(tiles, tuning->winograd_most_tiles);
    const int64_t more = fc_min(threads, tiles / tuning->winograd_least_tiles);
    return ranges < more ? more : ranges > threads ? fc_ceil_div(ranges, threads) * threads : ranges;
}

/* Splits the tiles into ranges, a task each, or one for each of several ranges of panels. */
static void split_tiles(fc_forward *call, int shared, int threads) {
    const fc_tuning *tuning = &call->kernels->tuning;
    fc_winograd_split *const s = &call->winograd;
    const int64_t panels = fc_panels(call), rows = most_rows(call);
    const int64_t groups = fc_ceil_div(s->grid.tiles, rows); /* of tiles that are multiplied at a time */
    const int64_t bytes = bytes_a_tile(call, shared ? tuning->winograd_columns : FC_BUNDLE) * rows;
    const int64_t fewest = fc_ceil_div(groups, fc_max(tuning->winograd_most_bytes / bytes, 1));
    const int64_t ranges = shared ? ranges_of_shared(call, threads) : ranges_of_own(call, threads);
    s->tile_tasks = fc_min(ranges < fewest ? fc_ceil_div(fewest, threads) * threads : ranges, groups);
    s->grid = fc_grid_of(&call->problem, &call->tile, fc_ceil_div(groups, s->tile_tasks) * rows);
    /* Tasks of one range of tiles that run at the same time each transform it. */
    const int scarce = threads > 1 && s->tile_tasks < 2 * threads;
    s->channel_tasks = scarce ? fc_min(panels, fc_ceil_div(FC_TASKS * threads, s->tile_tasks)) : 1;
    call->tasks = s->tile_tasks * s->channel_tasks;
}

static void prepare(fc_forward *call, int threads) {
    const fc_tuning *tuning = &call->kernels->tuning;
    const fc_input in = fc_input_of(call);
    fc_winograd_split *const s = &call->winograd;
    s->x_in_place = fc_windows_in_place(&in);
    s->y_in_place = call->y.stride_c == 1 && !fc_is_converted(call->y.dtype);
    s->grid = fc_grid_of(&call->problem, &call->tile, 1);
    const int64_t panels = fc_panels(call);
    const int once = s->grid.tiles > tuning->winograd_own_tiles
                         ? fc_transformed_size(call) <= tuning->winograd_shared_bytes
                         : panels < threads;
    const int shared = once || call->packed;
    call->pack_tasks = once && !call->packed ? fc_transform_tasks(call) : 0;
    split_tiles(call, shared, threads);
    s->nc = fc_ceil_div(panels, s->channel_tasks) * fc_panel_width(call);
    if (shared)
        s->nc = fc_min(s->nc, tuning->winograd_columns);
    else
        set_bundle_and_part(call);
    s->replacement = fc_direct_split(call, s->grid.m_rows, s->grid.m_columns, &s->replacement_bytes);
    s->at = layout_of(call);
    call->scratch_bytes = s->at.size;
}

/* What one task works with. */
typedef struct work {
    const fc_forward *call;
    const fc_winograd_split *split;
    const fc_grid *grid;
    char *scratch;
    fc_range tiles;
} work;

/* Replaces a tile's outputs of some channels by direct sums: all, or those that are not finite. */
static void replace(const work *k, const fc_place *at, int64_t channel, int64_t columns, int all, float *outputs) {
    const fc_grid *g = k->grid;
    const fc_region region = {.image = at->image,
                              .row = at->y,
                              .rows = at->rows,
                              .column = at->x,
                              .columns = at->columns,
                              .channel = channel,
                              .channels = columns};
    const float *sum = (const float *)(k->scratch + k->split->at.direct_sums);
    fc_direct_sums(k->call, &k->split->replacement, &region, k->scratch + k->split->at.replacement, (void *)sum);
    for (int64_t i = 0; i < at->rows; i++)
        for (int64_t j = 0; j < at->columns; j++) {
            float *output = outputs + (i * g->m_columns + j) * columns;
            for (int64_t f = 0; f < columns; f++, sum++)
                if (all || output[f] - output[f] != 0) output[f] = *sum;
        }
}

static char *place_in(const fc_tensor *y, const fc_place *at, int64_t channel) {
    const int64_t pixel = at->image * y->stride_n + at->y * y->stride_h + at->x * y->stride_w;
    return (char *)y->data + (pixel + channel * y->stride_c) * fc_dtype_size(y->dtype);
}

/* Prefetches a tile's outputs of some channels that lie side by side. */
static void prefetch_outputs(const fc_tensor *y, const fc_place *at, int64_t channel, int64_t columns) {
    char *const first = place_in(y, at, channel);
    for (int64_t i = 0; i < at->rows; i++)
        for (int64_t j = 0; j < at->columns; j++)
            for (int64_t f = 0; f < columns; f += FC_LINE_FLOATS)
                __builtin_prefetch(first + (i * y->stride_h + j * y->stride_w + f) * (int64_t)sizeof(float), 1);
}

/* Stores a tile's outputs of some channels, [pixel][channel] in scratch, with the epilogue. */
static void store_outputs(const work *k, const fc_place *at, int64_t channel, int64_t columns, float *outputs) {
    const fc_forward *call = k->call;
    const fc_grid *g = k->grid;
    const fc_tensor *y = &call->y;
    const char *const to = place_in(y, at, channel);
    fc_apply_epilogue(call, channel, outputs, g->m_rows * g->m_columns, columns, columns);
    for (int64_t i = 0; i < at->rows; i++) {
        const fc_matrix pixels = fc_matrix_of(to + i * y->stride_h * fc_dtype_size(y->dtype), at->columns, columns,
                                              y->stride_w, y->stride_c);
        fc_store_pixels(call->kernels, y->dtype, outputs + i * g->m_columns * columns, &pixels);
    }
}

/* Transforms the products of a panel, the bundle's `index`th, to outputs, and stores these. */
static void transform_outputs(const work *k, int64_t panel, int64_t index) {
    const fc_forward *call = k->call;
    const fc_tensor *y = &call->y;
    const fc_grid *g = k->grid;
    const int64_t width = fc_panel_width(call), channel = panel * width, plane = products_plane(k->split);
    const int64_t columns = fc_min(width, call->problem.f - channel);
    const int64_t pitch = columns > call->kernels->f32.lanes ? width : width / 2;
    const float *products = (const float *)(k->scratch + k->split->at.products) + index * g->most_tiles * width;
    float *const outputs = (float *)(k->scratch + k->split->at.outputs);
    const char *const outliers = k->scratch + k->split->at.outliers;
    fc_winograd_output_fn *const transform = call->kernels->winograd.output[g->tile_index];
    fc_place at, next = fc_place_of(&call->problem, g, k->tiles.first);
    for (int64_t tile = k->tiles.first; tile < k->tiles.end; tile++, products += pitch) {
        const int outlier = outliers[tile - k->tiles.first];
        at = next;
        next = fc_next_place(&call->problem, g, at);
        if (k->split->y_in_place && tile + 1 < k->tiles.end) prefetch_outputs(y, &next, channel, columns);
        if (k->split->y_in_place && at.rows == g->m_rows && at.columns == g->m_columns && !outlier) {
            char *const to = place_in(y, &at, channel);
            if (transform(products, plane, (int)columns, to, y->stride_h, y->stride_w)) {
                for (int64_t i = 0; i < at.rows; i++)
                    fc_apply_epilogue(call, channel, to + i * y->stride_h * (int64_t)sizeof(float), at.columns, columns,
                                      y->stride_w);
                continue;
            }
        }
        const int finite = transform(products, plane, (int)columns, outputs, g->m_columns * columns, columns);
        if (outlier || !finite) replace(k, &at, channel, columns, outlier, outputs);
        store_outputs(k, &at, channel, columns, outputs);
    }
}

/* Filters that will be transformed next, prefetched meanwhile: no hardware prefetcher sees their short, distant rows
 * coming. Each group of tiles asks for a line of every channel of one tap. */
typedef struct next_filters {
    const char *first;
    int64_t channels;
    int64_t rows, columns; /* of taps */
    int64_t lines, asked;  /* of a tap's channel, and of all taps */
} next_filters;

static const next_filters nothing = {.lines = 1};

static next_filters next_filters_of(const work *k, const fc_filter_part *next) {
    const fc_forward *call = k->call;
    if (!next->panels || call->w.column != 1 || fc_is_converted(call->x.dtype)) return nothing;
    const fc_filters *w = &call->w;
    const fc_sub_kernel one = fc_sub_kernel_at(&call->problem, &k->grid->sub, next->first / call->problem.c);
    const int64_t width = fc_panel_width(call), column = next->panel * width;
    const int64_t columns = fc_min(next->panels * width, call->problem.f - column);
    const int64_t at = fc_filter_offset(w, &one, next->first % call->problem.c, column);
    return (next_filters){.first = (const char *)((const float *)w->data + at),
                          .channels = next->channels,
                          .rows = one.rows,
                          .columns = one.columns,
                          .lines = columns / FC_LINE_FLOATS + 1};
}

static void prefetch_filters(const work *k, next_filters *next, fc_products *p) {
    const fc_filters *w = &k->call->w;
    const int64_t tap = next->asked / next->lines, line = next->asked % next->lines;
    p->prefetch_groups = 0;
    if (tap >= next->rows * next->columns) return;
    const int64_t at = tap / next->columns * w->h + tap % next->columns * w->w + line * FC_LINE_FLOATS;
    p->prefetch = next->first + at * (int64_t)sizeof(float);
    p->prefetch_groups = fc_min(p->panels * p->groups, next->lines - line);
    p->prefetch_each = next->channels;
    p->prefetch_step = w->depth * (int64_t)sizeof(float);
    p->prefetch_jump = FC_LINE_FLOATS * (int64_t)sizeof(float);
    next->asked += p->prefetch_groups;
}

/* Prefetches the next panel of filters that were transformed before, while one is multiplied: they are too many for
 * hardware to keep up. This is possible where panels lie side by side. */
static void prefetch_panel(fc_products *p, int64_t columns) {
    const int64_t line = FC_LINE_FLOATS * (int64_t)sizeof(float);
    p->prefetch = (const char *)p->u + p->channels * columns * (int64_t)sizeof(float);
    p->prefetch_groups = p->u_panel == p->channels * columns ? p->panels * p->groups : 0;
    p->prefetch_each = fc_ceil_div(p->channels * columns, FC_LINE_FLOATS * p->groups);
    p->prefetch_step = line;
    p->prefetch_jump = p->prefetch_each * line;
}

/* Computes the products of all tiles with some panels of one width, at one cell; v, u and m in `p` are those of the
 * first tile. */
static void multiply_cell(const work *k, fc_products *p, int vectors, next_filters *next) {
    const fc_forward *call = k->call;
    const fc_winograd_kernels *kernels = &call->kernels->winograd;
    const int64_t tiles = fc_range_count(k->tiles), groups = fc_ceil_div(tiles, most_rows(call));
    const int64_t rows = tiles / groups, longer = tiles % groups; /* so many groups have a tile more */
    const int64_t columns = vectors * call->kernels->f32.lanes;
    const float *const v = p->v;
    float *const m = p->m;
    for (int64_t group = 0, tile = 0; group < groups; group += p->groups) {
        const int64_t count = rows + (group < longer); /* tiles of each of these groups */
        p->groups = (group < longer ? longer : groups) - group;
        p->v = v + tile * call->tile.block;
        p->m = m + tile * columns;
        tile += p->groups * count;
        if (call->packed)
            prefetch_panel(p, columns);
        else
            prefetch_filters(k, next, p);
        kernels->products[call->tile.halves - 1][vectors - 1][count - 1](p);
    }
}

/* Computes the products of all tiles with a part of the filters, which are in the bank from its channel `at` on. */
static void multiply(const work *k, const fc_filter_part *of, const fc_transformed *filters, int64_t at,
                     next_filters next) {
    const fc_forward *call = k->call;
    const fc_grid *g = k->grid;
    const int lanes = call->kernels->f32.lanes;
    const int64_t c = call->problem.c, block = call->tile.block, plane = products_plane(k->split);
    const int64_t first_block = of->first / c * g->blocks + of->first % c / block;
    const int64_t width = fc_panel_width(call), left = call->problem.f - of->panel * width;
    const int64_t narrow = left - (of->panels - 1) * width <= lanes; /* the last panel has one vector */
    fc_products p = {.v_block = g->block,
                     .u_panel = filters->panel,
                     .channels = of->channels,
                     .block = block,
                     .m_panel = g->most_tiles * width,
                     .accumulate = of->first > 0};
    for (int64_t cell = 0; cell < g->cells; cell++)
        for (int64_t i = 0; i < of->panels; i += p.panels) {
            const int vectors = narrow && i + 1 == of->panels ? 1 : 2;
            p.panels = vectors == 1 ? 1 : of->panels - narrow;
            p.v = (const float *)(k->scratch + k->split->at.tiles) + first_block * g->block + cell * g->plane;
            p.u = filters->u + cell * filters->plane + i * filters->panel + at * vectors * lanes;
            p.m = (float *)(k->scratch + k->split->at.products) + cell * plane + i * p.m_panel;
            multiply_cell(k, &p, vectors, &next);
        }
}

/* Computes the products of all tiles with a bundle of panels, whose filters are transformed part by part. The next
 * bundle has `next` panels. */
static void transform_and_multiply(const work *k, fc_filter_part bundle, int64_t next) {
    const fc_forward *call = k->call;
    const int64_t c = call->problem.c, part = k->split->kc, step = part * fc_panel_width(call);
    const fc_transformed filters = {(float *)(k->scratch + k->split->at.filters), step,
                                    fc_filter_plane(k->split->nc, part)};
    for (int64_t all = k->grid->sub.count * c; bundle.first < all; bundle.first += bundle.channels) {
        bundle.channels = fc_min(part, c - bundle.first % c);
        fc_transform_panels(call, &bundle, &filters, 0);
        fc_filter_part after = bundle;
        after.first += bundle.channels;
        if (after.first == all) after = (fc_filter_part){.panel = bundle.panel + bundle.panels, .panels = next};
        after.channels = fc_min(part, c - after.first % c);
        multiply(k, &bundle, &filters, 0, next_filters_of(k, &after));
    }
}

/* Computes the products of all tiles with a bundle of filters that were transformed before: all sub-kernels at once, if
 * blocks of channels do not end with one that is not whole. */
static void multiply_packed(const work *k, fc_filter_part bundle) {
    const int64_t c = k->call->problem.c, all = k->grid->sub.count * c;
    const fc_transformed filters = fc_transformed_from(k->call, k->call->packed, bundle.panel);
    bundle.channels = c % k->call->tile.block ? c : all;
    for (; bundle.first < all; bundle.first += bundle.channels) multiply(k, &bundle, &filters, bundle.first, nothing);
}

static void transform_inputs(const work *k) {
    const fc_forward *call = k->call;
    const fc_winograd_layout *at = &k->split->at;
    fc_filter_magnitudes filters;
    if (call->magnitudes) filters = fc_filter_magnitudes_at(call, call->magnitudes);
    const fc_tile_input in = {.kernels = call->kernels,
                              .problem = &call->problem,
                              .grid = k->grid,
                              .x = call->x,
                              .block = call->tile.block,
                              .x_in_place = k->split->x_in_place,
                              .filters = call->magnitudes ? &filters : NULL};
    const fc_tile_transform to = {.zeros = k->scratch + at->zeros,
                                  .patch = k->scratch + at->patch,
                                  .magnitudes = (float *)(k->scratch + at->magnitudes),
                                  .tiles = (float *)(k->scratch + at->tiles),
                                  .outliers = k->scratch + at->outliers};
    memset(k->scratch + at->zeros, 0, (size_t)k->grid->pitch * sizeof(float));
    fc_transform_tiles(&in, k->tiles, &to);
}

static void compute(const fc_forward *call, int64_t task, void *scratch) {
    const fc_float_mode callers = fc_float_mode_enter();
    const fc_winograd_split *s = &call->winograd;
    const int64_t range = task / s->channel_tasks, channel_task = task % s->channel_tasks;
    const int64_t rows = most_rows(call), groups = fc_ceil_div(s->grid.tiles, rows); /* whole ones but the last */
    const int64_t end_tile = fc_split_start(groups, s->tile_tasks, range + 1) * rows;
    const work k = {.call = call,
                    .split = s,
                    .grid = &s->grid,
                    .scratch = scratch,
                    .tiles = {fc_split_start(groups, s->tile_tasks, range) * rows, fc_min(end_tile, s->grid.tiles)}};
    fc_held *const held = scratch;
    if (held->call != call || held->index != range) {
        transform_inputs(&k);
        *held = (fc_held){call, range};
    }
    const int64_t panels = fc_panels(call), most = s->nc / fc_panel_width(call);
    const int64_t end = fc_split_start(panels, s->channel_tasks, channel_task + 1);
    for (int64_t panel = fc_split_start(panels, s->channel_tasks, channel_task), count; panel < end; panel += count) {
        count = fc_min(most, end - panel);
        const fc_filter_part bundle = {.panel = panel, .panels = count};
        if (call->packed)
            multiply_packed(&k, bundle);
        else
            transform_and_multiply(&k, bundle, fc_min(most, end - panel - count));
        for (int64_t i = 0; i < count; i++) transform_outputs(&k, panel + i, i);
    }
    fc_float_mode_leave(callers);
}

const fc_method fc_winograd_method = {
    .name = "winograd",
    .holds = 1,
    .prepare = prepare,
    .task = compute,
    .packed_size = fc_transformed_size,
    .pack_tasks = fc_transform_tasks,
    .pack = fc_transform_filters,
    .magnitudes_size = fc_filter_magnitudes_size,
    .measure = fc_measure_filters,
    .may_be_exact = fc_filters_may_be_exact,
    .take_apart = fc_take_images_apart,
};
