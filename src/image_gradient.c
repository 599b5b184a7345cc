/* The gradient of filters for images of few channels: lanes hold neighbouring output pixels.
 *
 * Each tap of each channel and output is a sum over pixels. A block's pixels are dealt out to FC_IMAGE_LANES sums along
 * its rows, on every instruction set, which are added up in a tree at its end. Inputs and output gradients are staged
 * as planes, one for each channel, the input's padded at the sides; rows above and below the image are skipped. */
#include "image_gradient.h"
#include "float_mode.h"
#include "pixel_blocks.h"
#include "sizes.h"
#include "team.h"
#include <string.h>

/* What one task works with; rows of planes follow each other channel by channel. */
typedef struct work {
    const fc_backprop_filter *call;
    char *x, *y, *sums;
    int64_t size, top; /* of an element; the first input row that is staged */
} work;

static int64_t input_columns(const fc_problem *p, int64_t columns) { return columns + p->kw - 1; }
static int64_t input_rows(const fc_problem *p, int64_t rows) { return fc_least(rows + p->kh - 1, p->h); }

static void prepare(fc_backprop_filter *call, int threads) {
    (void)threads; /* the slices are the tasks */
    fc_forward *forward = &call->forward;
    const fc_problem *p = &forward->problem;
    const fc_pixel_sum *pixels = &call->pixels;
    const int64_t size = fc_arithmetic(forward->kernels, forward->x.dtype)->size;
    call->blocks = p->n * fc_parts(p->oh, pixels->rows) * fc_parts(p->ow, pixels->columns);
    call->tasks = pixels->slices;
    fc_split_slices(call);
    forward->strip_bytes = fc_aligned(input_rows(p, pixels->rows) * p->c * input_columns(p, pixels->columns) * size);
    call->packed_bytes = fc_aligned(pixels->rows * p->f * pixels->columns * size);
    call->scratch_bytes = forward->strip_bytes + call->packed_bytes;
}

/* Some pixels of one row as rows of planes, `pitch` elements from each to the next. */
static void stage_row(const work *k, const fc_tensor *from, int64_t at, int64_t columns, int64_t channels, char *to,
                      int64_t pitch) {
    const char *first = (const char *)from->data + at * fc_dtype_size(from->dtype);
    fc_stage_pixels(k->call->forward.kernels, from->dtype, first, from->stride_c, from->stride_w, channels, columns, to,
                    pitch);
}

/* Stages what a block reads. */
static void stage_block(work *k, const fc_region *region) {
    const fc_problem *p = &k->call->forward.problem;
    const fc_tensor *x = &k->call->forward.x, *y = &k->call->forward.y;
    const int64_t columns = input_columns(p, region->columns), left = region->column - p->pad_left;
    const int64_t first = fc_least(columns, left < 0 ? -left : 0), end = fc_least(columns, p->w - left);
    const int64_t top = region->row - p->pad_top, bottom = fc_least(top + region->rows + p->kh - 1, p->h);
    k->top = top < 0 ? 0 : top;
    char *to = k->x;
    for (int64_t row = k->top; row < bottom; row++, to += p->c * columns * k->size) {
        if (first > 0 || end < columns) memset(to, 0, (size_t)(p->c * columns * k->size));
        if (end > first)
            stage_row(k, x, region->image * x->stride_n + row * x->stride_h + (left + first) * x->stride_w, end - first,
                      p->c, to + first * k->size, columns);
    }
    to = k->y;
    for (int64_t row = region->row; row < region->row + region->rows; row++, to += p->f * region->columns * k->size)
        stage_row(k, y, region->image * y->stride_n + row * y->stride_h + region->column * y->stride_w, region->columns,
                  p->f, to, region->columns);
}

/* Adds one row of taps' sums over the block. */
static void add_tap_row(const work *k, const fc_region *region, int64_t i) {
    const fc_problem *p = &k->call->forward.problem;
    const fc_gemm *gemm = fc_arithmetic(k->call->forward.kernels, k->call->forward.x.dtype);
    const int64_t columns = input_columns(p, region->columns), meets = region->row + i - p->pad_top;
    const int64_t first = meets < 0 ? -meets : 0, end = fc_least(region->rows, p->h - meets);
    if (first >= end) return;
    fc_image_gradient g = {.rows = end - first,
                           .columns = region->columns,
                           .x_row = p->c * columns,
                           .y_row = p->f * region->columns,
                           .y_plane = region->columns,
                           .tap = p->c * p->f};
    const char *const x = k->x + (meets + first - k->top) * g.x_row * k->size, *const y =
                                                                                   k->y + first * g.y_row * k->size;
    for (int64_t c = 0; c < p->c; c++)
        for (int64_t j = 0; j < p->kw; j += g.taps) {
            g.taps = (int)fc_least(FC_IMAGE_TAPS, p->kw - j);
            g.x = x + (c * columns + j) * k->size;
            for (int64_t f = 0; f < p->f; f += g.outputs) {
                g.outputs = (int)fc_least(FC_IMAGE_OUTPUTS, p->f - f);
                g.y = y + f * region->columns * k->size;
                g.sums = k->sums + (((i * p->kw + j) * p->c + c) * p->f + f) * k->size;
                gemm->image_gradient(&g);
            }
        }
}

static void compute(const fc_backprop_filter *call, int64_t task, void *scratch, void *partial) {
    const fc_float_mode callers = fc_float_mode_enter();
    const fc_forward *forward = &call->forward;
    const fc_problem *p = &forward->problem;
    work k = {.call = call, .x = scratch, .size = fc_arithmetic(forward->kernels, forward->x.dtype)->size};
    k.y = k.x + forward->strip_bytes;
    const int64_t bytes = fc_terms(p) * p->f * k.size;
    k.sums = call->in_place ? call->w : (char *)partial + task * bytes;
    memset(k.sums, 0, (size_t)bytes);
    int64_t start, end;
    fc_blocks_of_slice(call, task, &start, &end);
    for (int64_t b = start; b < end && !fc_team_stopped(); b++) {
        const fc_region region = fc_pixel_block(call, b, 0);
        stage_block(&k, &region);
        for (int64_t i = 0; i < p->kh; i++) add_tap_row(&k, &region, i);
    }
    fc_float_mode_leave(callers);
}

const fc_filter_method fc_image_filter_gradient = {.name = "image_filter", .prepare = prepare, .task = compute};
