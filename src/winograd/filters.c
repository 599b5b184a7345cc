/* Transforms filters for Winograd's minimal filtering: a bundle of panels and a part of the channels at a time. */
#include "winograd/filters.h"
#include "base/float_mode.h"
#include "base/arith.h"

enum {
    CHUNK = 32, /* channels that are laid out for their transform at a time */
    PART = 32,  /* channels of a task */
};

int64_t fc_filter_plane(int64_t columns, int64_t channels) { return columns * channels + FC_LINE_FLOATS; }

static fc_sub_kernels sub_kernels_of(const fc_forward *call) { return fc_sub_kernels_of(&call->problem, &call->tile); }

static int64_t all_channels(const fc_forward *call) { return sub_kernels_of(call).count * call->problem.c; }
static int64_t all_columns(const fc_forward *call) { return fc_panels(call) * fc_panel_width(call); }

int64_t fc_filter_offset(const fc_filters *w, const fc_sub_kernel *one, int64_t channel, int64_t column) {
    return one->row * w->h + one->column * w->w + channel * w->depth + column * w->column;
}

static fc_winograd_filter_fn *transform_of(const fc_forward *call) {
    return call->kernels->winograd.filter[fc_tile_index(&call->problem, &call->tile)];
}

/* Transforms one panel of a part, whose filters are laid out densely first, to `to`. */
static void transform_panel(const fc_forward *call, const fc_sub_kernel *one, const fc_filter_part *part, int vectors,
                            float *to, int64_t plane) {
    const fc_filters *w = &call->w;
    const int64_t size = fc_dtype_size(call->x.dtype), f = part->panel * fc_panel_width(call);
    const int width = vectors * call->kernels->f32.lanes;
    const int64_t columns = fc_min(width, call->problem.f - f), tap = CHUNK * width;
    const char *from = (const char *)w->data + fc_filter_offset(w, one, part->first % call->problem.c, f) * size;
    float dense[FC_SUB_KERNEL * FC_SUB_KERNEL * CHUNK * 2 * FC_LINE_FLOATS]; /* [tap][channel][column] */
    const fc_taps taps = {dense, width, one->columns * tap, tap, (int)one->rows, (int)one->columns};
    for (int64_t c = 0; c < part->channels; c += CHUNK, from += CHUNK * w->depth * size, to += tap) {
        const int64_t count = fc_min(CHUNK, part->channels - c);
        for (int64_t i = 0; i < one->rows; i++)
            for (int64_t j = 0; j < one->columns; j++) {
                const char *const first = from + (i * w->h + j * w->w) * size;
                const fc_matrix rows = fc_matrix_of(first, count, columns, w->depth, w->column);
                fc_pack_panels(call->kernels, call->x.dtype, &rows, width, dense + (i * one->columns + j) * tap, 0);
            }
        transform_of(call)(&taps, count, vectors, to, 0, plane);
    }
}

void fc_transform_panels(const fc_forward *call, const fc_filter_part *part, const fc_transformed *to, int64_t at) {
    const fc_filters *w = &call->w;
    const int lanes = call->kernels->f32.lanes;
    const int64_t width = fc_panel_width(call), c = call->problem.c;
    const int64_t columns = fc_min(part->panels * width, call->problem.f - part->panel * width);
    const fc_sub_kernels all = sub_kernels_of(call);
    const fc_sub_kernel one = fc_sub_kernel_at(&call->problem, &all, part->first / c);
    const int readable = w->column == 1 && !fc_is_converted(call->x.dtype);
    const int64_t whole = readable ? columns / width : 0;
    if (whole) {
        const float *from = (const float *)w->data + fc_filter_offset(w, &one, part->first % c, part->panel * width);
        const fc_taps taps = {from, w->depth, w->h, w->w, (int)one.rows, (int)one.columns};
        transform_of(call)(&taps, part->channels, (int)(2 * whole), to->u + at * width, to->panel, to->plane);
    }
    for (int64_t i = whole; i * width < columns; i++) {
        const int vectors = columns - i * width > lanes ? 2 : 1;
        const fc_filter_part panel = {part->panel + i, 1, part->first, part->channels};
        transform_panel(call, &one, &panel, vectors, to->u + i * to->panel + at * vectors * lanes, to->plane);
    }
}

int64_t fc_transformed_size(const fc_forward *call) {
    const fc_sub_kernels all = sub_kernels_of(call);
    const int64_t plane = fc_filter_plane(all_columns(call), all_channels(call));
    return all.cells_high * all.cells_wide * plane * (int64_t)sizeof(float);
}

static int64_t bundles_to_transform(const fc_forward *call) { return fc_ceil_div(all_columns(call), FC_BUNDLE); }

/* A task has a bundle of panels and a part of a sub-kernel's channels. */
int64_t fc_transform_tasks(const fc_forward *call) {
    return bundles_to_transform(call) * sub_kernels_of(call).count * fc_ceil_div(call->problem.c, PART);
}

fc_transformed fc_transformed_from(const fc_forward *call, const void *packed, int64_t panel) {
    const int64_t step = all_channels(call) * fc_panel_width(call);
    return (fc_transformed){(float *)packed + panel * step, step,
                            fc_filter_plane(all_columns(call), all_channels(call))};
}

void fc_transform_filters(const fc_forward *call, int64_t task, void *transformed) {
    const fc_float_mode callers = fc_float_mode_enter();
    const int64_t bundles = bundles_to_transform(call), panels = fc_panels(call);
    const int64_t panel = fc_split_start(panels, bundles, task % bundles);
    const int64_t end = fc_split_start(panels, bundles, task % bundles + 1);
    const int64_t c = call->problem.c, part = task / bundles, parts = fc_ceil_div(c, PART);
    const int64_t channel = part % parts * PART, first = part / parts * c + channel;
    const fc_transformed to = fc_transformed_from(call, transformed, panel);
    const fc_filter_part some = {panel, end - panel, first, fc_min(PART, c - channel)};
    fc_transform_panels(call, &some, &to, first);
    fc_float_mode_leave(callers);
}
