/* Winograd's minimal filtering: transformed tiles times transformed filters, cell by cell, in place of taps.
 *
 * A tile of m x m outputs, 2 or 4, takes (m + 2) x (m + 2) products for each pair of channels in place of 9 m x m; with
 * stride 2, one of 2 x 2 takes 5 x 5. Of larger filters each piece, of 3x3 taps or so, has the pixels that it meets
 * transformed as if they were further channels; filters of one row or column are transformed along the other axis
 * alone. A task transforms a range of tiles; then, for a bundle of panels of output channels, it multiplies, cell by
 * cell, all those tiles with the cell's filters, and transforms the products back. Outputs that this does not serve are
 * replaced by direct sums: those that come out non-finite, and, where outputs round with cells outside their windows,
 * the tiles whose values are too uneven. */
#include "winograd.h"
#include "epilogue.h"
#include "float_mode.h"
#include "implicit_gemm.h"
#include "panels.h"
#include "sizes.h"
#include "winograd_outliers.h"
#include "winograd_tiles.h"
#include <string.h>

enum {
    /* Filters are transformed by each task as it needs them, a bundle of panels and a part of the channels at a time,
     * in the second cache, for memory is slow: with 256 channels and more, writing them there and reading them again
     * takes as long as all else. Few filters of many tiles, and those of fewer panels than threads, are transformed
     * once for all tasks. A transform costs the products of about 3 tiles. */
    TILES = 64,        /* few enough not to be split between threads, which take panels of them; of more, */
    SHARED = 5 << 19,  /* bytes of filters that are transformed once */
    CACHED = 3 << 17,  /* bytes of tiles and products then, */
    CACHED_TILES = 36, /* if those are of more tiles than these, which make up for reading the filters */
    HELD = 9 << 15,    /* bytes of a bundle's transformed filters and products: of a second cache of 512 KB */
    FEWEST_TILES = 32, /* that make up for transforming filters, */
    MOST_TILES = 100,  /* and that stay in the third cache, */
    MOST = 3 << 22,    /* with no more bytes of tiles, products and staged pixels than these, but for one kernel's */
    COLUMNS = 512      /* of the products with filters that were transformed before */
};

static int in_place(const fc_forward *call) { return call->y.stride_c == 1 && !fc_is_half(call->y.dtype); }

/* Tiles that are multiplied at a time. */
static int64_t most_rows(const fc_forward *call) { return call->kernels->winograd.rows[call->winograd.halves - 1]; }

/* Where things are in scratch, in bytes. */
typedef struct layout {
    int64_t zeros, uneven, tiles, products, filters, outputs, strict, patch, magnitudes, direct, size;
} layout;

static layout layout_of(const fc_forward *call, const fc_grid *g) {
    const int64_t size = sizeof(float);
    const int64_t tile = g->m_rows * g->m_columns * fc_panel_width(call) * size;
    const int64_t segment = fc_segment_pixels(call, g);
    fc_forward direct = *call;
    fc_direct_split(&direct, g->m_rows, g->m_columns);
    layout l = {.zeros = FC_HEADER};
    l.uneven = l.zeros + g->pitch * size;
    l.tiles = l.uneven + fc_aligned(call->pixels);
    l.products = l.tiles + g->pieces.count * g->blocks * g->block * size;
    l.filters = l.products + g->cells * g->products_plane * size;
    const int64_t filters = g->cells * fc_filter_plane(call->columns_at_once, call->ranges.chunk) * size;
    l.outputs = l.filters + (call->packed || call->pack_tasks ? 0 : filters);
    l.strict = l.outputs + tile;
    l.patch = l.strict + tile;
    l.magnitudes = l.patch + (call->direct ? 0 : segment * g->pitch * size);
    l.direct = l.magnitudes + fc_aligned(segment * size);
    l.size = l.direct + direct.scratch_bytes;
    return l;
}

/* How many panels are a bundle at most, and how many channels a part: their transformed filters, and the products of a
 * task's tiles with them, stay in the second cache, while the tiles pass through it. */
static void set_bundle_and_part(fc_forward *call, const fc_grid *g) {
    const int64_t width = fc_panel_width(call), bytes = g->cells * width * (int64_t)sizeof(float);
    const int64_t block = call->winograd.block, fit = HELD / (bytes * (block + call->pixels));
    const int64_t bundle = fit < 1 ? 1 : fc_least(fit, FC_BUNDLE / width);
    const int64_t blocks = (HELD / (bytes * bundle) - call->pixels) / block;
    call->columns_at_once = fc_least(call->columns_at_once, bundle * width);
    call->ranges.chunk = fc_least(call->problem.c, (blocks < 1 ? 1 : blocks) * block);
}

/* Bytes that each tile takes: transformed, as products with so many columns, and its pixels, staged. */
static int64_t bytes_a_tile(const fc_forward *call, const fc_grid *g, int64_t columns) {
    const int64_t staged = call->direct ? 0 : g->reach_rows * g->m_columns * call->problem.stride_w * g->pitch;
    return (g->cells * (g->depth + columns) + staged) * (int64_t)sizeof(float);
}

/* Ranges of tiles, for tasks that share the transformed filters. */
static int64_t ranges_of_shared(const fc_forward *call, const fc_grid *g, int threads) {
    const int64_t columns = fc_least(fc_panels(call) * fc_panel_width(call), COLUMNS);
    const int64_t fit = CACHED / bytes_a_tile(call, g, columns);
    const int64_t ranges = fc_parts(g->tiles, fit > CACHED_TILES ? fit : CACHED_TILES);
    const int64_t nearest = (2 * ranges + threads - 1) / (2 * threads) * threads; /* multiple of the threads */
    if (nearest) return nearest;
    return ranges > 1 || fc_panels(call) < threads ? threads : ranges;
}

/* And for tasks of their own, whose products are those of a bundle. */
static int64_t ranges_of_own(const fc_grid *g, int threads) {
    if (g->tiles <= TILES) return 1;
    const int64_t ranges = fc_parts(g->tiles, MOST_TILES), more = fc_least(threads, g->tiles / FEWEST_TILES);
    return ranges < more ? more : ranges > threads ? fc_parts(ranges, threads) * threads : ranges;
}

static void prepare(fc_forward *call, int threads) {
    call->direct = fc_windows_in_place(call);
    call->pixels = 1;
    fc_grid g = fc_grid_of(call);
    const int64_t panels = fc_panels(call), rows = most_rows(call);
    const int once = g.tiles > TILES ? fc_transformed_size(call) <= SHARED : panels < threads;
    const int shared = once || call->packed;
    call->pack_tasks = once && !call->packed ? fc_transform_tasks(call) : 0;
    const int64_t groups = fc_parts(g.tiles, rows); /* of tiles that are multiplied at a time, which stay together */
    const int64_t bytes = bytes_a_tile(call, &g, shared ? COLUMNS : FC_BUNDLE) * rows;
    const int64_t fewest = fc_parts(groups, bytes < MOST ? MOST / bytes : 1);
    const int64_t ranges = shared ? ranges_of_shared(call, &g, threads) : ranges_of_own(&g, threads);
    call->row_tasks = fc_least(ranges < fewest ? fc_parts(fewest, threads) * threads : ranges, groups);
    call->pixels = fc_parts(groups, call->row_tasks) * rows;
    /* Tasks of one range of tiles that run at the same time each transform it. */
    const int scarce = threads > 1 && call->row_tasks < 2 * threads;
    call->channel_tasks = scarce ? fc_least(panels, fc_parts(FC_TASKS * threads, call->row_tasks)) : 1;
    call->columns_at_once = fc_parts(panels, call->channel_tasks) * fc_panel_width(call);
    if (shared)
        call->columns_at_once = fc_least(call->columns_at_once, COLUMNS);
    else
        set_bundle_and_part(call, &g);
    call->tasks = call->row_tasks * call->channel_tasks;
    call->in_place = in_place(call);
    g = fc_grid_of(call);
    call->scratch_bytes = layout_of(call, &g).size;
}

/* What one task works with. */
typedef struct work {
    const fc_forward *call;
    fc_grid g;
    layout at;
    char *scratch;
    int64_t first, end; /* tiles */
} work;

/* To the next tile. */
static fc_place next_place(const work *k, fc_place at) {
    const fc_grid *g = &k->g;
    const fc_problem *p = &k->call->problem;
    at.x += g->m_columns;
    if (at.x >= p->ow) {
        at.x = 0;
        at.y += g->m_rows;
    }
    if (at.y >= p->oh) {
        at.y = 0;
        at.image++;
    }
    at.rows = fc_least(g->m_rows, p->oh - at.y);
    at.columns = fc_least(g->m_columns, p->ow - at.x);
    return at;
}

/* The direct sums of a tile's outputs, for a panel, in place of all that it has or of those that are not finite. */
static void replace(const work *k, const fc_place *at, int64_t channel, int64_t columns, int all, float *outputs) {
    const fc_grid *g = &k->g;
    fc_forward direct = *k->call;
    fc_direct_split(&direct, g->m_rows, g->m_columns);
    const fc_region region = {.image = at->image,
                              .row = at->y,
                              .rows = at->rows,
                              .column = at->x,
                              .columns = at->columns,
                              .channel = channel,
                              .channels = columns};
    const float *sum = (const float *)(k->scratch + k->at.strict);
    fc_direct_sums(&direct, &region, k->scratch + k->at.direct, (void *)sum);
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
static void expect(const fc_tensor *y, const fc_place *at, int64_t channel, int64_t columns) {
    char *const first = place_in(y, at, channel);
    for (int64_t i = 0; i < at->rows; i++)
        for (int64_t j = 0; j < at->columns; j++)
            for (int64_t f = 0; f < columns; f += FC_LINE)
                __builtin_prefetch(first + (i * y->stride_h + j * y->stride_w + f) * (int64_t)sizeof(float), 1);
}

/* Transforms the products of a panel, the bundle's `index`th, back, and stores them. */
static void gather(const work *k, int64_t panel, int64_t index) {
    const fc_forward *call = k->call;
    const fc_tensor *y = &call->y;
    const fc_grid *g = &k->g;
    const int64_t width = fc_panel_width(call), channel = panel * width, size = fc_dtype_size(y->dtype);
    const int64_t columns = fc_least(width, call->problem.f - channel);
    const int64_t pitch = columns > call->kernels->f32.lanes ? width : width / 2;
    const float *products = (const float *)(k->scratch + k->at.products) + index * call->pixels * width;
    float *const outputs = (float *)(k->scratch + k->at.outputs);
    fc_winograd_output_fn *const transform = call->kernels->winograd.output[g->rung];
    fc_place at, next = fc_place_of(call, g, k->first);
    for (int64_t tile = k->first; tile < k->end; tile++, products += pitch) {
        const int uneven = k->scratch[k->at.uneven + tile - k->first];
        at = next;
        next = next_place(k, at);
        if (call->in_place && tile + 1 < k->end) expect(y, &next, channel, columns);
        char *const to = place_in(y, &at, channel);
        if (call->in_place && at.rows == g->m_rows && at.columns == g->m_columns && !uneven &&
            transform(products, g->products_plane, (int)columns, to, y->stride_h, y->stride_w)) {
            for (int64_t i = 0; i < at.rows; i++)
                fc_finish(call, channel, to + i * y->stride_h * size, at.columns, columns, y->stride_w);
            continue;
        }
        const int finite =
            transform(products, g->products_plane, (int)columns, outputs, g->m_columns * columns, columns);
        if (uneven || !finite) replace(k, &at, channel, columns, uneven, outputs);
        fc_finish(call, channel, outputs, g->m_rows * g->m_columns, columns, columns);
        for (int64_t i = 0; i < at.rows; i++)
            fc_store_pixels(call->kernels, y->dtype, outputs + i * g->m_columns * columns, at.columns, columns,
                            to + i * y->stride_h * size, y->stride_w, y->stride_c);
    }
}

/* Some panels of output channels, and some input channels of one piece, which count on through the pieces. */
typedef struct share {
    int64_t panel, panels, first, channels;
} share;

/* Filters that will be transformed next, prefetched meanwhile: no hardware prefetcher sees their short, distant rows
 * coming. Each group of tiles asks for a line of every channel of one tap. */
typedef struct prefetch {
    const char *first;
    int64_t channels;
    int64_t rows, columns; /* of taps */
    int64_t lines, asked;  /* of a tap's channel, and of all taps */
} prefetch;

static const prefetch nothing = {.lines = 1};

static prefetch prefetch_of(const fc_forward *call, const share *next) {
    if (!next->panels || call->w.column != 1 || fc_is_half(call->x.dtype)) return nothing;
    const fc_filters *w = &call->w;
    const fc_piece piece = fc_piece_at(call, next->first / call->problem.c);
    const int64_t width = fc_panel_width(call), column = next->panel * width;
    const int64_t columns = fc_least(next->panels * width, call->problem.f - column);
    const int64_t at = fc_filter_offset(w, &piece, next->first % call->problem.c, column);
    return (prefetch){.first = (const char *)((const float *)w->data + at),
                      .channels = next->channels,
                      .rows = piece.rows,
                      .columns = piece.columns,
                      .lines = columns / FC_LINE + 1};
}

static void aim(const work *k, prefetch *soon, fc_products *p) {
    const fc_filters *w = &k->call->w;
    const int64_t tap = soon->asked / soon->lines, line = soon->asked % soon->lines;
    p->ahead_groups = 0;
    if (tap >= soon->rows * soon->columns) return;
    p->ahead = soon->first +
               (tap / soon->columns * w->h + tap % soon->columns * w->w + line * FC_LINE) * (int64_t)sizeof(float);
    p->ahead_groups = fc_least(p->panels * p->groups, soon->lines - line);
    p->ahead_each = soon->channels;
    p->ahead_step = w->depth * (int64_t)sizeof(float);
    p->ahead_jump = FC_LINE * (int64_t)sizeof(float);
    soon->asked += p->ahead_groups;
}

/* Of filters that were transformed before, the next panel while one is multiplied: too many for hardware to keep up.
 * Only where panels lie side by side. */
static void aim_packed(fc_products *p, int64_t columns) {
    const int64_t line = FC_LINE * (int64_t)sizeof(float);
    p->ahead = (const char *)p->u + p->channels * columns * (int64_t)sizeof(float);
    p->ahead_groups = p->u_panel == p->channels * columns ? p->panels * p->groups : 0;
    p->ahead_each = fc_parts(p->channels * columns, FC_LINE * p->groups);
    p->ahead_step = line;
    p->ahead_jump = p->ahead_each * line;
}

/* The products of all tiles with a share of the filters, which are in the bank from its channel `at` on. */
static void multiply(const work *k, const share *of, const fc_bank *filters, int64_t at, prefetch soon) {
    const fc_forward *call = k->call;
    const fc_grid *g = &k->g;
    const fc_winograd_kernels *kernels = &call->kernels->winograd;
    const int lanes = call->kernels->f32.lanes;
    const int64_t c = call->problem.c, block = call->winograd.block;
    const int64_t first_block = of->first / c * g->blocks + of->first % c / block;
    const int64_t tiles = k->end - k->first, groups = fc_parts(tiles, most_rows(call));
    const int64_t rows = tiles / groups, longer = tiles % groups; /* so many groups have a tile more */
    const int64_t width = fc_panel_width(call), left = call->problem.f - of->panel * width;
    const int64_t narrow = left - (of->panels - 1) * width <= lanes; /* the last panel: one vector */
    fc_products p = {.v_block = g->block,
                     .u_panel = filters->panel,
                     .channels = of->channels,
                     .block = block,
                     .m_panel = call->pixels * width,
                     .accumulate = of->first > 0};
    for (int64_t cell = 0; cell < g->cells; cell++) {
        const float *v = (const float *)(k->scratch + k->at.tiles) + first_block * g->block + cell * g->plane;
        float *const m = (float *)(k->scratch + k->at.products) + cell * g->products_plane;
        const float *u = filters->u + cell * filters->plane;
        for (int64_t i = 0; i < of->panels; i += p.panels) {
            const int vectors = narrow && i + 1 == of->panels ? 1 : 2;
            p.panels = vectors == 1 ? 1 : of->panels - narrow;
            p.u = u + i * filters->panel + at * vectors * lanes;
            for (int64_t group = 0, tile = 0; group < groups; group += p.groups) {
                const int64_t count = rows + (group < longer); /* tiles of each of these groups */
                p.groups = (group < longer ? longer : groups) - group;
                p.v = v + tile * block;
                p.m = m + i * p.m_panel + tile * vectors * lanes;
                tile += p.groups * count;
                if (call->packed)
                    aim_packed(&p, vectors * lanes);
                else
                    aim(k, &soon, &p);
                kernels->products[call->winograd.halves - 1][vectors - 1][count - 1](&p);
            }
        }
    }
}

/* The products of all tiles with a bundle of panels, whose filters are transformed part by part; then with the `next`,
 * of as many panels as there are. */
static void transform_and_multiply(const work *k, share bundle, int64_t next) {
    const fc_forward *call = k->call;
    const int64_t c = call->problem.c, part = call->ranges.chunk, step = part * fc_panel_width(call);
    const fc_bank filters = {(float *)(k->scratch + k->at.filters), step, fc_filter_plane(call->columns_at_once, part)};
    for (int64_t all = k->g.pieces.count * c; bundle.first < all; bundle.first += bundle.channels) {
        bundle.channels = fc_least(part, c - bundle.first % c);
        fc_transform_panels(call, bundle.panel, bundle.panels, bundle.first, bundle.channels, &filters, 0);
        share soon = bundle;
        soon.first += bundle.channels;
        if (soon.first == all) soon = (share){.panel = bundle.panel + bundle.panels, .panels = next};
        soon.channels = fc_least(part, c - soon.first % c);
        multiply(k, &bundle, &filters, 0, prefetch_of(call, &soon));
    }
}

/* The products of all tiles with a bundle of filters that were transformed before: all pieces at once, if blocks of
 * channels do not end with one that is not whole. */
static void multiply_packed(const work *k, share bundle) {
    const int64_t c = k->call->problem.c, all = k->g.pieces.count * c;
    const fc_bank filters = fc_packed_bank(k->call, k->call->packed, bundle.panel);
    bundle.channels = c % k->call->winograd.block ? c : all;
    for (; bundle.first < all; bundle.first += bundle.channels) multiply(k, &bundle, &filters, bundle.first, nothing);
}

static void compute(const fc_forward *call, int64_t task, void *scratch) {
    const fc_float_mode callers = fc_float_mode_enter();
    const int64_t range = task / call->channel_tasks, channel_task = task % call->channel_tasks;
    work k = {.call = call, .g = fc_grid_of(call), .scratch = scratch};
    const fc_grid *g = &k.g;
    k.at = layout_of(call, g);
    const int64_t rows = most_rows(call), groups = fc_parts(g->tiles, rows); /* whole ones but the last */
    k.first = groups * range / call->row_tasks * rows;
    k.end = fc_least(groups * (range + 1) / call->row_tasks * rows, g->tiles);
    fc_held *const held = scratch;
    if (held->call != call || held->index != range) {
        memset(k.scratch + k.at.zeros, 0, (size_t)g->pitch * sizeof(float));
        const fc_spread to = {.zeros = k.scratch + k.at.zeros,
                              .patch = k.scratch + k.at.patch,
                              .magnitudes = call->magnitudes ? (float *)(k.scratch + k.at.magnitudes) : NULL,
                              .tiles = (float *)(k.scratch + k.at.tiles),
                              .uneven = k.scratch + k.at.uneven};
        fc_spread_tiles(call, g, k.first, k.end, &to);
        *held = (fc_held){call, range};
    }
    const int64_t panels = fc_panels(call), end = panels * (channel_task + 1) / call->channel_tasks;
    const int64_t most = call->columns_at_once / fc_panel_width(call);
    for (int64_t panel = panels * channel_task / call->channel_tasks, count; panel < end; panel += count) {
        count = fc_least(most, end - panel);
        share bundle = {.panel = panel, .panels = count};
        if (call->packed) {
            multiply_packed(&k, bundle);
        } else {
            transform_and_multiply(&k, bundle, fc_least(most, end - panel - count));
        }
        for (int64_t i = 0; i < count; i++) gather(&k, panel + i, i);
    }
    fc_float_mode_leave(callers);
}

const fc_method fc_winograd_forward = {
    .name = "winograd",
    .holds = 1,
    .prepare = prepare,
    .task = compute,
    .packed_size = fc_transformed_size,
    .pack_tasks = fc_transform_tasks,
    .pack = fc_transform_filters,
    .magnitudes_size = fc_filter_magnitudes_size,
    .weigh = fc_weigh_filters,
};
