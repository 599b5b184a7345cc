/* The gradient of filters for images of few channels: lanes hold neighboring output pixels.
 *
 * Each tap of each channel and output is a sum over pixels. A block's pixels are dealt out to FC_SPATIAL_LANES sums
 * along its rows, on every instruction set; a tree adds these up at the block's end. Inputs and output gradients are
 * staged as planes, one for each channel, the input's padded at the sides. Rows above and below the image are skipped.
 */
#include "conv/spatial_gradient.h"
#include "base/float_mode.h"
#include "conv/pixel_blocks.h"
#include "threads/team.h"
#include <string.h>

/* What one task works with; rows of planes follow each other channel by channel. */
typedef struct work {
    const fc_backprop_filter *call;
    const fc_arithmetic *kernels;
    char *x, *dy, *dw;
    int64_t top; /* the first input row that is staged */
} work;

static int64_t input_columns(const fc_problem *p, int64_t columns) { return columns + p->kw - 1; }

static void prepare(fc_backprop_filter *call, int threads) {
    (void)threads; /* the slices are the tasks */
    const fc_problem *p = &call->problem;
    const int64_t size = fc_filter_arithmetic(call)->size, rows = call->pixels.rows, columns = call->pixels.columns;
    fc_spatial_gradient_split *const s = &call->spatial;
    call->blocks = fc_pixel_blocks(call);
    call->tasks = call->pixels.slices;
    fc_split_slices(call);
    s->x_bytes = fc_round_up(fc_min(rows + p->kh - 1, p->h) * p->c * input_columns(p, columns) * size);
    s->dy_bytes = fc_round_up(rows * p->f * columns * size);
    call->scratch_bytes = s->x_bytes + s->dy_bytes;
}

/* Stages some pixels of one row of a tensor, from element `at` on, as rows of planes `pitch` elements apart. */
static void stage_row(const work *k, const fc_tensor *from, int64_t at, int64_t columns, int64_t channels, char *to,
                      int64_t pitch) {
    const fc_matrix planes = fc_matrix_of((const char *)from->data + at * fc_dtype_size(from->dtype), channels, columns,
                                          from->stride_c, from->stride_w);
    fc_stage_pixels(k->call->kernels, from->dtype, &planes, to, pitch);
}

/* Stages what a block reads. */
static void stage_block(work *k, const fc_region *region) {
    const fc_problem *p = &k->call->problem;
    const fc_tensor *x = &k->call->x, *dy = &k->call->dy;
    const fc_axis h = fc_axis_h(p);
    const int64_t size = k->kernels->size, columns = input_columns(p, region->columns);
    const int64_t left = region->column - p->pad_left;
    const fc_range inside = fc_axis_cells_inside(left, columns, p->w);
    const fc_range rows = fc_axis_cells(&h, (fc_range){region->row, region->row + region->rows});
    const int64_t count = fc_range_count(inside);
    k->top = rows.first;
    char *to = k->x;
    for (int64_t row = rows.first; row < rows.end; row++, to += p->c * columns * size) {
        if (count < columns) memset(to, 0, (size_t)(p->c * columns * size));
        if (count)
            stage_row(k, x, region->image * x->stride_n + row * x->stride_h + (left + inside.first) * x->stride_w,
                      count, p->c, to + inside.first * size, columns);
    }
    to = k->dy;
    for (int64_t row = region->row; row < region->row + region->rows; row++, to += p->f * region->columns * size)
        stage_row(k, dy, region->image * dy->stride_n + row * dy->stride_h + region->column * dy->stride_w,
                  region->columns, p->f, to, region->columns);
}

/* Adds one row of taps' sums over the block. */
static void add_tap_row(const work *k, const fc_region *region, int64_t i) {
    const fc_problem *p = &k->call->problem;
    const fc_axis h = fc_axis_h(p);
    const int64_t size = k->kernels->size, columns = input_columns(p, region->columns);
    const fc_range rows = fc_axis_outputs_inside(&h, (fc_range){region->row, region->row + region->rows}, i);
    if (fc_range_count(rows) == 0) return;
    fc_spatial_gradient g = {.rows = fc_range_count(rows),
                             .columns = region->columns,
                             .x_row = p->c * columns,
                             .dy_row = p->f * region->columns,
                             .dy_plane = region->columns,
                             .dw_column = p->c * p->f};
    const char *const x = k->x + (fc_axis_cell(&h, rows.first, i) - k->top) * g.x_row * size;
    const char *const dy = k->dy + (rows.first - region->row) * g.dy_row * size;
    for (int64_t c = 0; c < p->c; c++)
        for (int64_t j = 0; j < p->kw; j += g.taps) {
            g.taps = (int)fc_min(FC_SPATIAL_TAPS, p->kw - j);
            g.x = x + (c * columns + j) * size;
            for (int64_t f = 0; f < p->f; f += g.outputs) {
                g.outputs = (int)fc_min(FC_SPATIAL_OUTPUTS, p->f - f);
                g.dy = dy + f * region->columns * size;
                g.dw = k->dw + (((i * p->kw + j) * p->c + c) * p->f + f) * size;
                k->kernels->spatial_gradient(&g);
            }
        }
}

static void compute(const fc_backprop_filter *call, int64_t task, void *scratch, void *partial) {
    const fc_float_mode callers = fc_float_mode_enter();
    work k = {.call = call, .kernels = fc_filter_arithmetic(call), .x = scratch};
    k.dy = k.x + call->spatial.x_bytes;
    k.dw = fc_slice_sums(call, task, partial);
    memset(k.dw, 0, (size_t)(fc_gradients(&call->problem) * k.kernels->size));
    const fc_range blocks = fc_blocks_of_slice(call, task);
    for (int64_t b = blocks.first; b < blocks.end && !fc_team_stopped(); b++) {
        const fc_region region = fc_pixel_block(call, b, 0);
        stage_block(&k, &region);
        for (int64_t i = 0; i < call->problem.kh; i++) add_tap_row(&k, &region, i);
    }
    fc_float_mode_leave(callers);
}

const fc_filter_method fc_spatial_filter_method = {.name = "spatial", .prepare = prepare, .task = compute};
