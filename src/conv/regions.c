/* How outputs are cut into regions, for a number of threads, and how regions are stored. */
#include "conv/regions.h"

enum {
    PANEL_PIXELS = 25 /* A region has its pixels split, not its panels, if it has more than these for each panel. */
};

int64_t fc_region_rows(const fc_forward *call, const fc_regions *r) {
    return (r->images > 1 ? 1 : call->problem.n) * call->problem.oh;
}

/* Sets the sizes of the largest region, and of the scratch that it needs. */
static void measure(fc_forward *call, const fc_region_rules *rules) {
    const fc_problem *p = &call->problem;
    fc_regions *const r = rules->regions;
    const int64_t channels = fc_ceil_div(r->panels, r->channel_tasks) * r->panel_width;
    r->in_place = rules->in_place && rules->in_place(call);
    call->tasks = r->images * r->row_tasks * r->column_tasks * p->groups * r->channel_tasks;
    rules->measure(call, fc_ceil_div(fc_region_rows(call, r), r->row_tasks), fc_ceil_div(p->ow, r->column_tasks),
                   channels);
}

/* Halves the regions' rows or, where they are one row high, their columns; 0 if they are single pixels. */
static int split_pixels(fc_forward *call, const fc_region_rules *rules) {
    fc_regions *const r = rules->regions;
    const int64_t rows = fc_region_rows(call, r);
    if (r->row_tasks < rows)
        r->row_tasks = fc_min(2 * r->row_tasks, rows);
    else if (r->column_tasks < call->problem.ow)
        r->column_tasks = fc_min(2 * r->column_tasks, call->problem.ow);
    else
        return 0;
    measure(call, rules);
    return 1;
}

/* Splits regions further until all threads have tasks enough.
 *
 * A panel costs its packing, 2.5 pixels' work, unless it is packed once for all regions. A tile costs its addresses and
 * its cold inputs, about a tenth of a panel's work. What loses less is halved. */
static void split_for_threads(fc_forward *call, const fc_region_rules *rules, int threads) {
    fc_regions *const r = rules->regions;
    const int64_t least = call->kernels->tuning.region_least_pixels;
    while (call->tasks < FC_TASKS * threads) {
        const int64_t width = fc_ceil_div(r->panels, r->channel_tasks);
        const int wide = width > 1, tall = r->pixels >= 2 * least;
        if (wide && !(tall && (rules->packs_once(call, width) || r->pixels > PANEL_PIXELS * width))) {
            r->channel_tasks = fc_min(2 * r->channel_tasks, r->panels);
            measure(call, rules);
        } else if (!tall || !split_pixels(call, rules)) {
            break;
        }
    }
    /* A last round that keeps only some of the threads busy is lost time. */
    const int64_t rows = fc_region_rows(call, r);
    for (int tries = 1; tries < threads && call->tasks % threads && r->row_tasks < rows; tries++) {
        r->row_tasks++;
        measure(call, rules);
    }
}

void fc_cut_regions(fc_forward *call, const fc_region_rules *rules, int threads) {
    fc_regions *const r = rules->regions;
    const int64_t most_staged = call->kernels->tuning.region_stage_bytes;
    r->channel_tasks = 1;
    measure(call, rules);
    while ((r->staging.bytes > most_staged || r->sums_bytes > rules->most_sums) && split_pixels(call, rules)) continue;
    if (threads > 1) split_for_threads(call, rules, threads);
}

fc_region fc_locate(const fc_forward *call, const fc_regions *r, int64_t task) {
    const fc_problem *p = &call->problem;
    const int64_t channel_task = task % r->channel_tasks;
    task /= r->channel_tasks;
    const int64_t group = task % p->groups;
    task /= p->groups;
    const int64_t column_task = task % r->column_tasks;
    task /= r->column_tasks;
    const int64_t row_task = task % r->row_tasks, image = task / r->row_tasks;

    const int64_t rows = fc_region_rows(call, r), row = fc_split_start(rows, r->row_tasks, row_task);
    const int64_t column = fc_split_start(p->ow, r->column_tasks, column_task);
    const int64_t channel = fc_split_start(r->panels, r->channel_tasks, channel_task) * r->panel_width;
    const int64_t end = fc_split_start(r->panels, r->channel_tasks, channel_task + 1) * r->panel_width;
    return (fc_region){.image = image,
                       .row = row,
                       .rows = fc_split_start(rows, r->row_tasks, row_task + 1) - row,
                       .column = column,
                       .columns = fc_split_start(p->ow, r->column_tasks, column_task + 1) - column,
                       .group = group,
                       .channel = channel,
                       .channels = fc_min(end, fc_group_outputs(p)) - channel};
}

int fc_is_dense(const fc_forward *call) {
    const fc_problem *p = &call->problem;
    const fc_tensor *y = &call->y;
    return y->stride_w == p->f && (y->stride_h == p->ow * p->f || p->oh == 1) &&
           (y->stride_n == p->oh * p->ow * p->f || p->n == 1) && (y->stride_c == 1 || p->f == 1);
}

static int64_t first_channel(const fc_forward *call, const fc_region *region) {
    return region->group * fc_group_outputs(&call->problem) + region->channel;
}

void *fc_region_in_place(const fc_forward *call, const fc_region *region) {
    const fc_problem *p = &call->problem;
    const int64_t first = (region->image * p->oh + region->row) * p->ow + region->column;
    return (char *)call->y.data + (first * p->f + first_channel(call, region)) * fc_call_arithmetic(call)->size;
}

void fc_store_region(const fc_forward *call, const fc_region *region, const void *sums) {
    const fc_problem *p = &call->problem;
    const fc_tensor *y = &call->y;
    const int64_t channel = first_channel(call, region);
    const int64_t row_bytes = region->columns * region->channels * fc_call_arithmetic(call)->size;
    for (int64_t r = 0; r < region->rows; r++) {
        const int64_t row = region->image * p->oh + region->row + r;
        const int64_t at = row / p->oh * y->stride_n + row % p->oh * y->stride_h + region->column * y->stride_w;
        const char *const to = (const char *)y->data + (at + channel * y->stride_c) * fc_dtype_size(y->dtype);
        const fc_matrix pixels = fc_matrix_of(to, region->columns, region->channels, y->stride_w, y->stride_c);
        fc_store_pixels(call->kernels, y->dtype, (const char *)sums + r * row_bytes, &pixels);
    }
}
