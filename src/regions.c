/* How outputs are cut into regions, for a number of threads, and how regions are stored. */
#include "regions.h"
#include "blocks.h"
#include "sizes.h"

enum {
    FEWEST_PIXELS = 56, /* of a region that is split further only to keep threads busy */
    STRIP = 1 << 20     /* bytes of a staged strip, where more than one pixel has to fit */
};

static int64_t strip_rows(const fc_forward *call) { return call->images > 1 ? 1 : call->problem.n; }

int64_t fc_region_rows(const fc_forward *call) { return strip_rows(call) * call->problem.oh; }

/* Sizes of the largest region, and of the scratch it needs. */
static void measure(fc_forward *call, const fc_region_rules *rules) {
    const fc_problem *p = &call->problem;
    const int64_t channels = fc_parts(call->panels, call->channel_tasks) * call->panel;
    call->in_place = rules->in_place(call);
    call->tasks = call->images * call->row_tasks * call->column_tasks * p->groups * call->channel_tasks;
    rules->measure(call, fc_parts(fc_region_rows(call), call->row_tasks), fc_parts(p->ow, call->column_tasks),
                   channels);
}

/* Halves the regions' rows or, where they are one row high, their columns; 0 if they are single pixels. */
static int split_pixels(fc_forward *call, const fc_region_rules *rules) {
    const int64_t rows = fc_region_rows(call);
    if (call->row_tasks < rows)
        call->row_tasks = fc_least(2 * call->row_tasks, rows);
    else if (call->column_tasks < call->problem.ow)
        call->column_tasks = fc_least(2 * call->column_tasks, call->problem.ow);
    else
        return 0;
    measure(call, rules);
    return 1;
}

/* Whether a region's filters, of so many panels, are packed all at once. */
static int is_packed_once(const fc_forward *call, int64_t panels) {
    return fc_block_count(&call->ranges) == 1 && call->columns_at_once >= panels * call->panel;
}

void fc_cut_regions(fc_forward *call, const fc_region_rules *rules, int threads) {
    call->channel_tasks = 1;
    measure(call, rules);
    while ((call->strip_bytes > STRIP || call->sums_bytes > rules->most_sums) && split_pixels(call, rules)) continue;
    if (threads == 1) return;

    /* A panel costs its packing, 2.5 pixels' work, unless it is packed once for all regions; a tile its addresses and
     * its cold inputs, about a tenth of a panel's work. Halving whichever loses less, until there are enough tasks. */
    for (;;) {
        const int64_t width = fc_parts(call->panels, call->channel_tasks);
        if (call->tasks >= FC_TASKS * threads) break;
        const int wide = width > 1, tall = call->pixels >= 2 * FEWEST_PIXELS;
        if (wide && !(tall && (is_packed_once(call, width) || call->pixels > 25 * width))) {
            call->channel_tasks = fc_least(2 * call->channel_tasks, call->panels);
            measure(call, rules);
        } else if (!tall || !split_pixels(call, rules)) {
            break;
        }
    }
    /* A last round that keeps only some of the threads busy is lost time. */
    const int64_t rows = fc_region_rows(call);
    for (int tries = 1; tries < threads && call->tasks % threads && call->row_tasks < rows; tries++) {
        call->row_tasks++;
        measure(call, rules);
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

    const int64_t rows = fc_region_rows(call), row = fc_part_start(rows, call->row_tasks, row_task);
    const int64_t column = fc_part_start(p->ow, call->column_tasks, column_task);
    const int64_t channel = fc_part_start(call->panels, call->channel_tasks, channel_task) * call->panel;
    const int64_t end = fc_part_start(call->panels, call->channel_tasks, channel_task + 1) * call->panel;
    return (fc_region){.image = image,
                       .row = row,
                       .rows = fc_part_start(rows, call->row_tasks, row_task + 1) - row,
                       .column = column,
                       .columns = fc_part_start(p->ow, call->column_tasks, column_task + 1) - column,
                       .group = group,
                       .channel = channel,
                       .channels = fc_least(end, p->f / p->groups) - channel};
}

int fc_is_dense(const fc_forward *call) {
    const fc_problem *p = &call->problem;
    const fc_tensor *y = &call->y;
    return y->stride_w == p->f && (y->stride_h == p->ow * p->f || p->oh == 1) &&
           (y->stride_n == p->oh * p->ow * p->f || p->n == 1) && (y->stride_c == 1 || p->f == 1);
}

static int64_t first_channel(const fc_forward *call, const fc_region *region) {
    return region->group * (call->problem.f / call->problem.groups) + region->channel;
}

void *fc_region_in_place(const fc_forward *call, const fc_region *region) {
    const fc_problem *p = &call->problem;
    const int64_t first = (region->image * p->oh + region->row) * p->ow + region->column;
    return (char *)call->y.data + (first * p->f + first_channel(call, region)) * fc_arithmetic_of(call)->size;
}

void fc_store_region(const fc_forward *call, const fc_region *region, const void *sums, int64_t stride) {
    const fc_problem *p = &call->problem;
    const fc_tensor *y = &call->y;
    const int64_t channel = first_channel(call, region);
    for (int64_t r = 0; r < region->rows; r++) {
        const int64_t row = region->image * p->oh + region->row + r;
        const int64_t at = row / p->oh * y->stride_n + row % p->oh * y->stride_h + region->column * y->stride_w;
        fc_store_pixels(
            call->kernels, y->dtype, (const char *)sums + r * region->columns * stride * fc_arithmetic_of(call)->size,
            region->columns, region->channels, (char *)y->data + (at + channel * y->stride_c) * fc_dtype_size(y->dtype),
            y->stride_w, y->stride_c);
    }
}
