/* Winograd's minimal filtering: transformed tiles times transformed filters, cell by cell, in place of 3x3 taps.
 *
 * A tile of m x m outputs takes (m + 2) x (m + 2) products for each pair of channels in place of 9 m x m. A task
 * transforms a range of tiles; then, for each panel of output channels, it multiplies each cell of all those tiles with
 * the cell's filters, and transforms the products back. Outputs that this does not serve are replaced by direct sums:
 * those that come out non-finite, and, as every output of a tile 4 high or wide rounds with all of its cells, the tiles
 * whose values are too uneven. */
#include "winograd.h"
#include "epilogue.h"
#include "float_mode.h"
#include "pack.h"
#include "sizes.h"
#include "split.h"
#include <string.h>

enum {
    TAPS = 3,
    CELLS = TAPS + 3, /* of a tile, along an axis, at most */
    LINE = 16,        /* floats of a cache line; planes of cells begin an odd number of lines apart, so that the cells
                         of a tile do not share a set of the first cache */
    CHUNK = 16,       /* channels of filters that are laid out for their transform at a time */

    /* Filters are transformed once for all tasks, or by each task as it needs them, panel by panel and part by part, in
     * the second cache: that pays where a thread has all tiles. A transform costs the products of about 3 tiles. */
    TILES_AT_ONCE = 64,
    FEWEST_TILES = 28, /* that make up for reading a panel of filters from the third cache */
    CACHED = 1 << 19,  /* bytes of transformed tiles and products, of more tiles than those */
    MOST = 1 << 23,    /* bytes of transformed tiles */

    TINY = 27, /* the exponent of 2^-100 */
    UNEVEN = 8 /* binary orders of magnitude between a window's largest value and the tile's: the error of the tile's
                  values is then 2^-24 * 2^8 of the window's */
};

/* How the images and a range of their tiles are laid out; sizes and steps count elements. */
typedef struct grid {
    int64_t m_rows, m_columns, rows, columns, cells; /* outputs and cells of a tile */
    int64_t high, wide, tiles;                       /* tiles of an image, and of all */
    int64_t pitch, plane;                            /* of transformed tiles */
    int64_t products_plane;
    int rung; /* index of the transforms */
} grid;

static int64_t odd_lines(int64_t elements) { return (fc_parts(elements, LINE) | 1) * LINE; }

static grid grid_of(const fc_forward *call) {
    const fc_problem *p = &call->problem;
    const int64_t m_rows = call->winograd.rows, m_columns = call->winograd.columns;
    grid g = {.m_rows = m_rows, .m_columns = m_columns, .rows = m_rows + TAPS - 1, .columns = m_columns + TAPS - 1};
    g.cells = g.rows * g.columns;
    g.high = fc_parts(p->oh, m_rows);
    g.wide = fc_parts(p->ow, m_columns);
    g.tiles = p->n * g.high * g.wide;
    g.pitch = odd_lines(p->c);
    g.plane = odd_lines(call->pixels * g.pitch);
    g.products_plane = odd_lines(call->pixels * fc_panel_width(call));
    g.rung = 2 * (m_rows == 4) + (m_columns == 4);
    return g;
}

/* Transformed filters: [panel][cell][channel][column], of some channels, with a line between cells. */
static int64_t filter_plane(const fc_forward *call, int64_t channels) { return channels * fc_panel_width(call) + LINE; }

static int in_place(const fc_forward *call) { return call->y.stride_c == 1 && !fc_is_half(call->y.dtype); }

/* Where things are in scratch, in bytes. */
typedef struct layout {
    int64_t zeros, uneven, tiles, products, filters, outputs, strict, patch, peaks, direct, size;
} layout;

static layout layout_of(const fc_forward *call, const grid *g) {
    const int64_t part = fc_least(call->winograd.part, call->problem.c), size = sizeof(float);
    const int64_t tile = g->m_rows * g->m_columns * fc_panel_width(call) * size;
    const int64_t segment = g->rows * (fc_least(call->pixels, g->wide) * g->m_columns + TAPS - 1);
    fc_forward direct = *call;
    fc_direct_split(&direct, g->m_rows, g->m_columns);
    layout l = {.zeros = FC_HEADER};
    l.uneven = l.zeros + g->pitch * size;
    l.tiles = l.uneven + fc_aligned(call->pixels);
    l.products = l.tiles + g->cells * g->plane * size;
    l.filters = l.products + g->cells * g->products_plane * size;
    l.outputs = l.filters + (call->packed || call->pack_tasks ? 0 : g->cells * filter_plane(call, part) * size);
    l.strict = l.outputs + tile;
    l.patch = l.strict + tile;
    l.peaks = l.patch + (call->direct ? 0 : segment * g->pitch * size);
    l.direct = l.peaks + fc_aligned(segment * (int64_t)sizeof(uint32_t));
    l.size = l.direct + direct.scratch_bytes;
    return l;
}

void fc_winograd_split(fc_forward *call, int threads) {
    call->direct = fc_windows_in_place(call);
    call->pixels = 1;
    grid g = grid_of(call);
    const int64_t panels = fc_panels(call), cell_bytes = g.cells * (int64_t)sizeof(float);
    const int together = g.tiles <= TILES_AT_ONCE && g.tiles * g.pitch * cell_bytes <= MOST;
    if (together && panels >= threads && !call->packed) {
        call->row_tasks = 1;
        call->channel_tasks = fc_least(panels, FC_TASKS * threads);
    } else {
        call->pack_tasks = call->packed ? 0 : fc_transform_tasks(call);
        const int64_t cached = CACHED / ((g.pitch + fc_panel_width(call)) * cell_bytes);
        const int64_t most = MOST > g.pitch * cell_bytes ? MOST / (g.pitch * cell_bytes) : 1;
        const int64_t rows = call->kernels->winograd.rows, few = fc_parts(FEWEST_TILES, rows) * rows;
        const int64_t each = fc_least(most, cached / rows * rows > few ? cached / rows * rows : few);
        call->row_tasks = fc_parts(g.tiles, each);
        if (call->row_tasks > 1 || panels < threads) call->row_tasks = fc_parts(call->row_tasks, threads) * threads;
        call->row_tasks = fc_least(call->row_tasks, g.tiles);
        /* Tasks of one range of tiles that run at the same time each transform it. */
        const int scarce = threads > 1 && call->row_tasks < 2 * threads;
        call->channel_tasks = scarce ? fc_least(panels, fc_parts(FC_TASKS * threads, call->row_tasks)) : 1;
    }
    call->pixels = fc_parts(g.tiles, call->row_tasks);
    call->tasks = call->row_tasks * call->channel_tasks;
    call->in_place = in_place(call);
    g = grid_of(call);
    call->scratch_bytes = layout_of(call, &g).size;
}

/* Transforms the filters of some channels and of one panel's columns. */
static void transform_panel(const fc_forward *call, const grid *g, int64_t panel, int64_t first, int64_t channels,
                            float *to, int64_t plane) {
    const fc_filters *w = &call->w;
    const int64_t width = fc_panel_width(call), size = fc_dtype_size(call->x.dtype), f = panel * width;
    const int lanes = call->kernels->f32.lanes, columns = (int)fc_least(width, call->problem.f - f);
    const int vectors = columns > lanes ? 2 : 1;
    const int readable = w->column == 1 && columns == vectors * lanes && !fc_is_half(call->x.dtype);
    fc_winograd_filter_fn *const transform = call->kernels->winograd.filter[g->rung];
    const char *from = (const char *)w->data + (first * w->depth + f * w->column) * size;
    if (readable) {
        transform(&(fc_taps){from, w->depth, w->h, w->w}, channels, vectors, to, plane);
        return;
    }
    float dense[TAPS * TAPS * CHUNK * 2 * LINE]; /* [tap][channel][column] */
    const int64_t tap = CHUNK * vectors * lanes;
    for (int64_t c = 0; c < channels; c += CHUNK, from += CHUNK * w->depth * size, to += tap) {
        const int64_t count = fc_least(CHUNK, channels - c);
        for (int i = 0; i < TAPS * TAPS; i++)
            fc_pack_panels(call->kernels, call->x.dtype, from + (i / TAPS * w->h + i % TAPS * w->w) * size, w->depth,
                           w->column, count, columns, vectors * lanes, dense + i * tap, 0);
        transform(&(fc_taps){dense, vectors * lanes, TAPS * tap, tap}, count, vectors, to, plane);
    }
}

int64_t fc_transformed_size(const fc_forward *call) {
    const grid g = grid_of(call);
    return fc_panels(call) * g.cells * filter_plane(call, call->problem.c) * (int64_t)sizeof(float);
}

/* A part of the channels for a panel. */
int64_t fc_transform_tasks(const fc_forward *call) {
    return fc_panels(call) * fc_parts(call->problem.c, call->winograd.part);
}

void fc_transform_filters(const fc_forward *call, int64_t task, void *transformed) {
    const fc_float_mode callers = fc_float_mode_enter();
    const grid g = grid_of(call);
    const int64_t parts = fc_parts(call->problem.c, call->winograd.part), plane = filter_plane(call, call->problem.c);
    const int64_t panel = task / parts, first = task % parts * call->winograd.part, width = fc_panel_width(call);
    const int64_t used = call->problem.f - panel * width > call->kernels->f32.lanes ? width : width / 2;
    transform_panel(call, &g, panel, first, fc_least(call->winograd.part, call->problem.c - first),
                    (float *)transformed + panel * g.cells * plane + first * used, plane);
    fc_float_mode_leave(callers);
}

/* What one task works with. */
typedef struct work {
    const fc_forward *call;
    grid g;
    layout at;
    char *scratch;
    int64_t first, end; /* tiles */
} work;

/* A tile's place. */
typedef struct place {
    int64_t image, y, x;   /* its first output */
    int64_t rows, columns; /* outputs inside the image */
} place;

static place place_of(const work *k, int64_t tile) {
    const grid *g = &k->g;
    const fc_problem *p = &k->call->problem;
    const int64_t y = tile / g->wide % g->high * g->m_rows, x = tile % g->wide * g->m_columns;
    return (place){tile / g->wide / g->high, y, x, fc_least(g->m_rows, p->oh - y), fc_least(g->m_columns, p->ow - x)};
}

/* Whether some output's window holds only values that are small beside the tile's largest, or that is not finite, or so
 * small that differences are flushed to zero. */
static int is_uneven(const grid *g, const place *at, const uint32_t *peaks, int64_t row) {
    uint32_t most = 0, least = UINT32_MAX;
    for (int64_t i = 0; i < g->rows; i++)
        for (int64_t j = 0; j < g->columns; j++)
            if (peaks[i * row + j] > most) most = peaks[i * row + j];
    for (int64_t i = 0; i < at->rows; i++) {
        uint32_t columns[CELLS];
        for (int64_t j = 0; j < g->columns; j++) {
            const uint32_t *of = peaks + i * row + j;
            columns[j] = of[0] > of[row] ? of[0] : of[row];
            if (of[2 * row] > columns[j]) columns[j] = of[2 * row];
        }
        for (int64_t j = 0; j < at->columns; j++) {
            uint32_t window = columns[j] > columns[j + 1] ? columns[j] : columns[j + 1];
            if (columns[j + 2] > window) window = columns[j + 2];
            if (window < least) least = window;
        }
    }
    if (most && most >> 23 < TINY) return 1;
    return most >> 23 == 0xff || (most >> 23) > (least >> 23) + UNEVEN;
}

/* Transforms `count` tiles of one row of tiles, from `tile` on. */
static void spread_row(const work *k, int64_t tile, int64_t count) {
    const fc_forward *call = k->call;
    const fc_problem *p = &call->problem;
    const grid *g = &k->g;
    const place start = place_of(k, tile);
    const int64_t top = start.y - p->pad_top, left = start.x - p->pad_left;
    const int64_t wide = count * g->m_columns + TAPS - 1;
    const int64_t from_y = top < 0 ? -top : 0, end_y = fc_least(g->rows, p->h - top);
    const int64_t from_x = left < 0 ? -left : 0, end_x = fc_least(wide, p->w - left);
    const int weighed = g->m_rows > 2 || g->m_columns > 2;
    uint32_t *const peaks = (uint32_t *)(k->scratch + k->at.peaks);
    const char *const zeros = k->scratch + k->at.zeros;

    uintptr_t origin; /* of the first tile's first cell */
    int64_t row, column;
    if (call->direct) {
        const fc_view view = fc_direct_view(call, 0);
        row = view.tap_row;
        column = view.tap_column;
        origin = view.origin + (uintptr_t)(start.image * view.image + start.y * row + start.x * column);
    } else {
        const fc_tensor *x = &call->x;
        const int64_t size = fc_dtype_size(x->dtype);
        char *const patch = k->scratch + k->at.patch;
        column = g->pitch * (int64_t)sizeof(float);
        row = wide * column;
        origin = (uintptr_t)patch;
        for (int64_t i = from_y; i < end_y && from_x < end_x; i++)
            fc_stage_pixels(
                call->kernels, x->dtype,
                (const char *)x->data +
                    (start.image * x->stride_n + (top + i) * x->stride_h + (left + from_x) * x->stride_w) * size,
                x->stride_w, x->stride_c, end_x - from_x, p->c, patch + i * row + from_x * column, g->pitch);
    }
    for (int64_t i = 0; i < g->rows && weighed; i++)
        for (int64_t j = 0; j < wide; j++) {
            const int inside = i >= from_y && i < end_y && j >= from_x && j < end_x;
            peaks[i * wide + j] =
                inside ? call->kernels->winograd.peak((const void *)(origin + (uintptr_t)(i * row + j * column)), p->c)
                       : 0;
        }
    for (int64_t t = 0; t < count; t++) {
        const void *cells[CELLS * CELLS];
        const int64_t first = t * g->m_columns, done = tile + t - k->first;
        for (int64_t i = 0; i < g->rows; i++)
            for (int64_t j = 0; j < g->columns; j++) {
                const int inside = i >= from_y && i < end_y && first + j >= from_x && first + j < end_x;
                cells[i * g->columns + j] =
                    inside ? (const void *)(origin + (uintptr_t)(i * row + (first + j) * column)) : zeros;
            }
        call->kernels->winograd.input[g->rung](cells, p->c, (float *)(k->scratch + k->at.tiles) + done * g->pitch,
                                               g->plane);
        const place at = place_of(k, tile + t);
        k->scratch[k->at.uneven + done] = weighed && is_uneven(g, &at, peaks + first, wide);
    }
}

/* The direct sums of a tile's outputs, for a panel, in place of all that it has or of those that are not finite. */
static void replace(const work *k, const place *at, int64_t channel, int64_t columns, int all, float *outputs) {
    const grid *g = &k->g;
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

/* Transforms a panel's products back, and stores them. */
static void gather(const work *k, int64_t panel) {
    const fc_forward *call = k->call;
    const fc_tensor *y = &call->y;
    const grid *g = &k->g;
    const int64_t width = fc_panel_width(call), channel = panel * width, size = fc_dtype_size(y->dtype);
    const int64_t columns = fc_least(width, call->problem.f - channel);
    const int64_t pitch = columns > call->kernels->f32.lanes ? width : width / 2;
    const float *products = (const float *)(k->scratch + k->at.products);
    float *const outputs = (float *)(k->scratch + k->at.outputs);
    fc_winograd_output_fn *const transform = call->kernels->winograd.output[g->rung];
    for (int64_t tile = k->first; tile < k->end; tile++, products += pitch) {
        const place at = place_of(k, tile);
        const int uneven = k->scratch[k->at.uneven + tile - k->first];
        char *to = (char *)y->data +
                   (at.image * y->stride_n + at.y * y->stride_h + at.x * y->stride_w + channel * y->stride_c) * size;
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

/* Filters that will be transformed next, prefetched meanwhile: no hardware prefetcher sees their short, distant rows
 * coming. Each call of the products asks for a line of every channel of one tap. */
typedef struct prefetch {
    const char *first; /* null: nothing */
    int64_t asked;
} prefetch;

static void aim(const work *k, prefetch *soon, fc_products *p) {
    const fc_filters *w = &k->call->w;
    const int64_t lines = fc_panel_width(k->call) / LINE + 1, tap = soon->asked / lines, line = soon->asked % lines;
    p->ahead = NULL;
    if (!soon->first || tap >= TAPS * TAPS) return;
    p->ahead = soon->first + (tap / TAPS * w->h + tap % TAPS * w->w + line * LINE) * (int64_t)sizeof(float);
    p->ahead_step = w->depth * (int64_t)sizeof(float);
    soon->asked++;
}

/* The products of all tiles with a panel of filters, of some channels; `next`: the filters that come then, if known. */
static void multiply(const work *k, int64_t columns, int64_t first, int64_t channels, const float *filters,
                     int64_t plane, const char *next) {
    const fc_forward *call = k->call;
    const grid *g = &k->g;
    const fc_winograd_kernels *kernels = &call->kernels->winograd;
    const int64_t tiles = k->end - k->first, groups = fc_parts(tiles, kernels->rows);
    const int lanes = call->kernels->f32.lanes, vectors = columns > lanes ? 2 : 1;
    fc_products_fn *const *products = vectors == 2 ? kernels->products2 : kernels->products1;
    fc_products p = {.pitch = g->pitch,
                     .channels = channels,
                     .block = call->winograd.block,
                     .part = call->winograd.part,
                     .accumulate = first > 0};
    prefetch soon = {next, 0};
    for (int64_t cell = 0; cell < g->cells; cell++) {
        p.u = filters + cell * plane;
        for (int64_t group = 0; group < groups; group++) {
            const int64_t tile = tiles * group / groups, end = tiles * (group + 1) / groups;
            p.v = (const float *)(k->scratch + k->at.tiles) + cell * g->plane + tile * g->pitch + first;
            p.m = (float *)(k->scratch + k->at.products) + cell * g->products_plane + tile * vectors * lanes;
            aim(k, &soon, &p);
            products[end - tile - 1](&p);
        }
    }
}

void fc_winograd_task(const fc_forward *call, int64_t task, void *scratch) {
    const fc_float_mode callers = fc_float_mode_enter();
    const int64_t range = task / call->channel_tasks, channel_task = task % call->channel_tasks;
    work k = {.call = call, .g = grid_of(call), .scratch = scratch};
    const grid *g = &k.g;
    k.at = layout_of(call, g);
    k.first = g->tiles * range / call->row_tasks;
    k.end = g->tiles * (range + 1) / call->row_tasks;
    fc_held *const held = scratch;
    if (held->call != call || held->index != range) {
        memset(k.scratch + k.at.zeros, 0, (size_t)g->pitch * sizeof(float));
        for (int64_t tile = k.first, count; tile < k.end; tile += count) {
            count = fc_least(k.end - tile, g->wide - tile % g->wide);
            spread_row(&k, tile, count);
        }
        *held = (fc_held){call, range};
    }
    const int64_t panels = fc_panels(call), width = fc_panel_width(call), c = call->problem.c;
    const int64_t part = call->winograd.part, end = panels * (channel_task + 1) / call->channel_tasks;
    for (int64_t panel = panels * channel_task / call->channel_tasks; panel < end; panel++) {
        const int64_t columns = fc_least(width, call->problem.f - panel * width);
        if (call->packed) {
            const int64_t plane = filter_plane(call, c);
            multiply(&k, columns, 0, c, (const float *)call->packed + panel * g->cells * plane, plane, NULL);
        } else {
            float *const filters = (float *)(k.scratch + k.at.filters);
            const int64_t plane = filter_plane(call, fc_least(part, c));
            for (int64_t first = 0; first < c; first += part) {
                const int64_t channels = fc_least(part, c - first);
                transform_panel(call, g, panel, first, channels, filters, plane);
                const int more = first + part < c;
                const int64_t soon = (more ? first + part : 0) * call->w.depth + (panel + !more) * width;
                const int known = call->w.column == 1 && !fc_is_half(call->x.dtype) && (more || panel + 1 < end);
                multiply(&k, columns, first, channels, filters, plane,
                         known ? (const char *)call->w.data + soon * (int64_t)sizeof(float) : NULL);
            }
        }
        gather(&k, panel);
    }
    fc_float_mode_leave(callers);
}
