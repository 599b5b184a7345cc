/* How a forward convolution is cut into tasks, for a number of threads and the sizes of the caches. */
#include "split.h"
#include "blocks.h"
#include "depthwise.h"
#include "narrow_groups.h"
#include "pack.h"
#include "tap_products.h"
#include "winograd.h"

enum {
    PIXELS = 448,           /* of a region: enough to make up for packing its filters, 2.5 pixels' worth of work */
    FEWEST_PIXELS = 56,     /* of a region that is split further only to keep threads busy */
    PACKED = 1 << 17,       /* bytes of filters packed at once: a quarter of a small second-level cache, */
    FEWEST_COLUMNS = 64,    /* for at least so many channels, as every range of them reads the pixels again */
    IMAGE_PIXELS = 1 << 15, /* of a region of an image filter, in rows as long as possible: */
    IMAGE_COLUMNS = 1 << 12,
    TAP_ROWS = 8,           /* rows a filter row, of a region whose lanes hold taps: it reads kh - 1 more */
    TAP_PRODUCTS = 1 << 15, /* most of its products of one row: 128 KB in float32 */
    TOGETHER = 28,          /* pixels of the tiles that share a panel, or as many, within MOST_TOGETHER, as have */
    MOST_TOGETHER = 224,    /* WINDOWS bytes of terms: they and the panel stay in the first cache */
    WINDOWS = 14 << 10,
    STRIP = 1 << 20, /* bytes of a staged strip, where more than one pixel has to fit */
    SUMS = 1 << 19,  /* bytes of sums in scratch */

    VECTOR = 64,    /* bytes of the widest vector */
    WAYS = 8,       /* lines of a set of the first cache */
    ALIASED = 2048, /* pixels this many bytes apart share two of the first cache's sets */
};

const fc_gemm *fc_arithmetic_of(const fc_forward *call) { return fc_arithmetic(call->kernels, call->x.dtype); }

int64_t fc_panel_width(const fc_forward *call) { return 2 * fc_arithmetic_of(call)->lanes; }
int64_t fc_panels(const fc_forward *call) {
    return call->lanes != FC_CHANNELS && call->lanes != FC_WINOGRAD
               ? 1
               : fc_parts(call->problem.f / call->problem.groups, fc_panel_width(call));
}

/* Whether neighbouring pixels of x fall into the same sets of the first cache, more of them than a set has lines. */
static int aliased(const fc_forward *call) {
    const fc_problem *p = &call->problem;
    const int64_t step = p->stride_w * call->x.stride_w * fc_dtype_size(call->x.dtype);
    return p->c / p->groups > 1 && fc_arithmetic_of(call)->rows > WAYS && p->ow > 1 && step % ALIASED == 0;
}

/* Whether sums can be built up in y, block by block. Not where another thread writes the same pixels' other channels:
 * the cache line that both share would travel between their cores at every block. */
static int writable_in_place(const fc_forward *call) {
    const fc_problem *p = &call->problem;
    const int shared = call->channel_tasks > 1 && fc_block_count(&call->sum) > 1;
    const fc_tensor *y = &call->y;
    const int dense = y->stride_w == p->f && (y->stride_h == p->ow * p->f || p->oh == 1) &&
                      (y->stride_n == p->oh * p->ow * p->f || p->n == 1) && (y->stride_c == 1 || p->f == 1);
    if (call->lanes == FC_PIXELS) return p->f == 1 && dense && !fc_is_half(y->dtype);
    if (call->lanes == FC_TAPS) return 0;
    return !shared && !fc_is_half(y->dtype) && dense;
}

static int64_t strip_rows(const fc_forward *call) { return call->images > 1 ? 1 : call->problem.n; }

/* Scratch for regions of at most so many rows and columns of pixels, and output channels. */
static void measure_region(fc_forward *call, int64_t rows, int64_t columns, int64_t width) {
    const fc_problem *p = &call->problem;
    const fc_sum *sum = &call->sum;
    const int64_t size = fc_arithmetic_of(call)->size, panel = fc_panel_width(call);
    const int64_t columns_padded = fc_parts(width, panel) * panel;
    call->pixels = rows * columns;
    call->strip_row_bytes = call->strip_bytes = 0;
    if (!call->direct) fc_strip_size(call, rows, columns, &call->strip_row_bytes, &call->strip_bytes);
    if (call->lanes == FC_PIXELS) {
        const int64_t in = (columns + p->kw - 1) * p->c, out = (columns > p->kw ? columns : p->kw) * p->f;
        call->room_bytes = fc_is_half(call->x.dtype) ? fc_aligned((in > out ? in : out) * size) : 0;
        call->strip_bytes += 2 * VECTOR + call->room_bytes; /* a row's last vectors reach past its end */
    }
    const int64_t few = fc_least(columns_padded, FEWEST_COLUMNS > panel ? FEWEST_COLUMNS : panel);
    const int64_t blocks = PACKED / (fc_block_terms(sum) * few * size);
    call->ranges = fc_ranges(sum, blocks ? blocks : 1);
    const int64_t terms = fc_block_terms(&call->ranges), fit = PACKED / (terms * panel * size) * panel;
    call->columns_at_once = fc_least(columns_padded, fit > few ? fit : few);
    const int64_t windows = WINDOWS / (terms * size);
    call->together = windows < TOGETHER ? TOGETHER : fc_least(windows, MOST_TOGETHER);
    call->table_bytes = fc_aligned(call->together * call->ranges.block_runs * (int64_t)sizeof(void *));
    call->packed_bytes = fc_aligned(call->lanes == FC_PIXELS ? p->f * p->kh * p->kw * p->c * size
                                                             : terms * call->columns_at_once * size);
    if (call->lanes == FC_TAPS) call->packed_bytes = fc_tap_filters_size(call) + fc_tap_products_size(call, columns);
    call->sums_bytes = call->in_place ? 0 : fc_aligned(call->pixels * fc_least(width, p->f / p->groups) * size);
    call->scratch_bytes = FC_HEADER + fc_aligned(call->ranges.chunk * size) + call->table_bytes + call->packed_bytes +
                          call->strip_bytes + call->sums_bytes;
}

/* Sizes of the largest region, and of the scratch it needs. */
static void measure(fc_forward *call) {
    const fc_problem *p = &call->problem;
    const int64_t panels = fc_parts(fc_panels(call), call->channel_tasks);
    call->in_place = writable_in_place(call);
    call->tasks = call->images * call->row_tasks * call->column_tasks * p->groups * call->channel_tasks;
    measure_region(call, fc_parts(strip_rows(call) * p->oh, call->row_tasks), fc_parts(p->ow, call->column_tasks),
                   call->lanes == FC_CHANNELS ? panels * fc_panel_width(call) : p->f);
}

void fc_direct_split(fc_forward *call, int64_t rows, int64_t columns) {
    call->lanes = FC_CHANNELS;
    call->packed = NULL;
    call->epilogue = (fc_epilogue){0};
    call->direct = fc_windows_in_place(call) && !aliased(call);
    call->images = call->problem.n;
    call->in_place = 0;
    measure_region(call, rows, columns, fc_panel_width(call));
}

/* Halves the regions' rows or, where they are one row high, their columns; 0 if they are single pixels. */
static int split_pixels(fc_forward *call) {
    const int64_t rows = strip_rows(call) * call->problem.oh;
    if (call->row_tasks < rows)
        call->row_tasks = fc_least(2 * call->row_tasks, rows);
    else if (call->column_tasks < call->problem.ow)
        call->column_tasks = fc_least(2 * call->column_tasks, call->problem.ow);
    else
        return 0;
    measure(call);
    return 1;
}

void fc_forward_split(fc_forward *call, int threads) {
    const fc_problem *p = &call->problem;
    call->pack_tasks = 0;
    if (call->lanes == FC_DEPTHWISE) {
        fc_depthwise_split(call, threads);
        call->scratch_bytes += FC_HEADER;
        return;
    }
    if (call->lanes == FC_GROUPS) {
        fc_narrow_groups_split(call, threads);
        return;
    }
    if (call->lanes == FC_WINOGRAD) {
        fc_winograd_split(call, threads);
        return;
    }
    call->direct = fc_windows_in_place(call) && !aliased(call);
    call->images = call->direct && call->lanes != FC_TAPS ? 1 : p->n;

    const int64_t rows = strip_rows(call) * p->oh;
    call->column_tasks = fc_parts(p->ow, PIXELS);
    call->row_tasks = call->column_tasks > 1 ? rows : fc_parts(rows, PIXELS / p->ow);
    if (call->lanes == FC_PIXELS) {
        call->column_tasks = fc_parts(p->ow, IMAGE_COLUMNS);
        call->row_tasks = fc_parts(rows, 1 + IMAGE_PIXELS / fc_parts(p->ow, call->column_tasks));
    }
    if (call->lanes == FC_TAPS) {
        call->column_tasks = fc_parts(p->ow, 1 + TAP_PRODUCTS / (p->kh * p->kw * p->f));
        call->row_tasks = fc_parts(rows, TAP_ROWS * p->kh);
    }
    call->channel_tasks = 1;
    measure(call);
    const int64_t most_sums = call->lanes == FC_TAPS ? STRIP : SUMS;
    while ((call->strip_bytes > STRIP || call->sums_bytes > most_sums) && split_pixels(call)) continue;
    if (threads == 1) return;

    /* A panel costs its packing, 2.5 pixels' work, unless it is packed once for all regions; a tile its addresses and
     * its cold inputs, about a tenth of a panel's work. Halving whichever loses less, until there are enough tasks. */
    for (;;) {
        const int64_t width = fc_parts(fc_panels(call), call->channel_tasks);
        const int packed_once =
            fc_block_count(&call->ranges) == 1 && call->columns_at_once >= width * fc_panel_width(call);
        if (call->tasks >= FC_TASKS * threads) break;
        const int wide = width > 1, tall = call->pixels >= 2 * FEWEST_PIXELS;
        if (wide && !(tall && (packed_once || call->pixels > 25 * width))) {
            call->channel_tasks = fc_least(2 * call->channel_tasks, fc_panels(call));
            measure(call);
        } else if (!tall || !split_pixels(call)) {
            break;
        }
    }
    /* A last round that keeps only some of the threads busy is lost time. */
    for (int tries = 1; tries < threads && call->tasks % threads && call->row_tasks < rows; tries++) {
        call->row_tasks++;
        measure(call);
    }
}

fc_region fc_locate(const fc_forward *call, int64_t task) {
    const fc_problem *p = &call->problem;
    const int64_t channel_task = task % call->channel_tasks;
    task /= call->channel_tasks;
    const int64_t group = task % p->groups;
    task /= p->groups;
    const int64_t column_task = task % call->column_tasks;
    task /= call->column_tasks;
    const int64_t row_task = task % call->row_tasks, image = task / call->row_tasks;

    const int64_t rows = strip_rows(call) * p->oh, row = fc_part_start(rows, call->row_tasks, row_task);
    const int64_t column = fc_part_start(p->ow, call->column_tasks, column_task);
    const int64_t width = call->lanes == FC_CHANNELS ? fc_panel_width(call) : p->f / p->groups;
    const int64_t channel = fc_part_start(fc_panels(call), call->channel_tasks, channel_task) * width;
    const int64_t end = fc_part_start(fc_panels(call), call->channel_tasks, channel_task + 1) * width;
    return (fc_region){.image = image,
                       .row = row,
                       .rows = fc_part_start(rows, call->row_tasks, row_task + 1) - row,
                       .column = column,
                       .columns = fc_part_start(p->ow, call->column_tasks, column_task + 1) - column,
                       .group = group,
                       .channel = channel,
                       .channels = fc_least(end, p->f / p->groups) - channel};
}
