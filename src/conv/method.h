/* A convolution as one call, forward or a phase of an input gradient, and what computes it: a method. */
#ifndef FC_CONV_METHOD_H
#define FC_CONV_METHOD_H

#include "layout/staging.h"
#include "winograd/grid.h"
#include <stddef.h>

typedef struct fc_forward fc_forward;

/* One way to compute a convolution, in tasks that may run in any order, on any threads. */
typedef struct fc_method {
    const char *name; /* as plans have it */
    int holds;        /* 1: a thread's scratch keeps what a task has made ready for the next one (fc_held) */

    /* Decides how the work is split and where everything lies in scratch; before all else. */
    void (*prepare)(fc_forward *call, int threads);
    void (*task)(const fc_forward *call, int64_t task, void *scratch);

    /* How all filters are packed for several calls, in tasks, and how many bytes that takes; null: they cannot be. */
    int64_t (*packed_size)(const fc_forward *call);
    int64_t (*pack_tasks)(const fc_forward *call);
    void (*pack)(const fc_forward *call, int64_t task, void *packed);

    /* How the filters are measured at every call, before the tasks, into `magnitudes`; null: they are not. */
    int64_t (*magnitudes_size)(const fc_forward *call);
    void (*measure)(const fc_forward *call, void *magnitudes);

    /* Whether the filters have so few bits that another method may sum some images exactly; null: this one does as
     * well. How such a call becomes calls for images in turn, each by the method that serves it; returns how many. */
    int (*may_be_exact)(const fc_forward *call);
    int64_t (*take_apart)(const fc_forward *call, fc_forward *parts);
} fc_method;

enum { FC_MOST_PARTS = 1 << 20 /* calls that take_apart makes, at most: the last has all images that are left */ };

/* How outputs are cut into regions, one a task (regions.h). */
typedef struct fc_regions {
    int64_t images;        /* n, or 1 where a range of output rows may run across images */
    int64_t row_tasks;     /* ranges of output rows, an image */
    int64_t column_tasks;  /* ranges of the columns of an output row */
    int64_t channel_tasks; /* ranges of panels of output channels, a group */
    int64_t panels;        /* panels of output channels, a group */
    int64_t panel_width;   /* output channels of a panel */
    int64_t pixels;        /* output pixels of a region, at most */
    int in_place;          /* 1: sums are built in y itself; 0: in scratch, and converted or transposed at the end */
    fc_staging staging;    /* of a region's input; no bytes: its windows are read in place, from x itself */
    int64_t sums_bytes;    /* of a region's sums in scratch */
} fc_regions;

/* What each method's `prepare` leaves for its tasks. Nothing here can change a bit of the result. */
typedef struct fc_implicit_gemm_split {
    fc_regions regions;
    int x_in_place; /* 1: windows are read in place */
    int unpacked;   /* 1: panels of whole vectors are read where the caller has them */
    fc_sum kc;      /* the sum cut into ranges of terms, whose filters are packed together */
    int64_t nc;     /* output channels whose filters are packed together */
    int64_t mc;     /* pixels whose register tiles read one panel after another while it is in the first cache */
    int64_t zeros_bytes, indirection_bytes, packed_bytes;
} fc_implicit_gemm_split;

typedef struct fc_spatial_split {
    fc_regions regions;
    int64_t conversion_bytes; /* of a row that is converted, within the staged bytes */
    int64_t packed_bytes;
} fc_spatial_split;

typedef struct fc_kn2row_split {
    fc_regions regions;
    int x_in_place; /* 1: pixels are read in place */
    int64_t indirection_bytes, filters_bytes, products_bytes;
} fc_kn2row_split;

typedef struct fc_depthwise_split {
    int x_in_place; /* 1: x is read in place */
    int y_in_place; /* 1: y is written in place */
    int64_t row_tasks, channel_tasks;
    fc_staging staging;
    int64_t packed_bytes, sums_bytes;
} fc_depthwise_split;

typedef struct fc_narrow_groups_split {
    int x_in_place; /* 1: channels are repeated from where the caller has them; 0: a row is made dense first */
    int y_in_place; /* 1: y is written in place */
    int64_t row_tasks;
    fc_staging staging;
    int64_t packed_bytes, sums_bytes, row_bytes;
} fc_narrow_groups_split;

/* Where things are in the scratch of a task of Winograd's, in bytes. */
typedef struct fc_winograd_layout {
    int64_t zeros, outliers, tiles, products, filters, outputs, direct_sums, patch, magnitudes, replacement, size;
} fc_winograd_layout;

typedef struct fc_winograd_split {
    int x_in_place;        /* 1: x is read in place */
    int y_in_place;        /* 1: y is written in place */
    int64_t tile_tasks;    /* ranges of the tiles of all images */
    int64_t channel_tasks; /* ranges of panels */
    int64_t nc;            /* output channels whose products are computed before they are transformed */
    int64_t kc;            /* input channels whose filters a task transforms at a time */
    fc_grid grid;          /* of the tiles, and of a task's */
    fc_winograd_layout at;
    fc_implicit_gemm_split replacement; /* for direct sums of one tile */
    int64_t replacement_bytes;
} fc_winograd_split;

struct fc_forward {
    /* what to compute; set by the caller */
    fc_problem problem; /* pointwise.c makes it one of a single row of pixels */
    fc_sum sum;
    fc_winograd tile; /* of method winograd; `sum` is then what outputs get where tiles do not serve */
    const fc_kernels *kernels;
    fc_tensor x, y;
    fc_filters w; /* of x's dtype */
    const fc_method *method;
    fc_epilogue epilogue;   /* its bias is of the accumulator's type, one for each output channel */
    const void *magnitudes; /* as the method's `measure` left them; null: tiles are not checked */
    const void *packed;     /* all filters, as the method's `pack` left them for an equal call; or null */

    int64_t first_task; /* of several calls: the number of tasks of those before; set by who runs them together */

    /* set by the method's `prepare`; the tasks for packing only where there are some */
    int64_t tasks;
    int64_t pack_tasks;    /* to be done before all others, with `packed` set to their result */
    int64_t scratch_bytes; /* what one thread needs, aligned to 64 */
    union {                /* the method's own */
        fc_implicit_gemm_split implicit_gemm;
        fc_spatial_split spatial;
        fc_kn2row_split kn2row;
        fc_depthwise_split depthwise;
        fc_narrow_groups_split narrow_groups;
        fc_winograd_split winograd;
    };
};

enum { FC_HEADER = 64 /* bytes at the start of scratch: an fc_held */ };

/* What a thread's scratch holds for its next task, if anything: of this call, packed filters from this channel on or,
 * with Winograd's method, this range of tiles, transformed. */
typedef struct fc_held {
    const fc_forward *call;
    int64_t index;
} fc_held;

static inline void fc_hold_nothing(void *scratch) { *(fc_held *)scratch = (fc_held){0}; }

/* What a call's method does with it; see fc_method. */
static inline void fc_prepare(fc_forward *call, int threads) {
    call->pack_tasks = 0;
    call->method->prepare(call, threads);
}
static inline int fc_can_pack(const fc_forward *call) { return call->method->pack != NULL; }
static inline int64_t fc_packed_size(const fc_forward *call) { return call->method->packed_size(call); }
static inline int64_t fc_pack_tasks(const fc_forward *call) { return call->method->pack_tasks(call); }
static inline void fc_pack(const fc_forward *call, int64_t task, void *packed) {
    call->method->pack(call, task, packed);
}
static inline int64_t fc_magnitudes_size(const fc_forward *call) {
    return call->method->measure ? call->method->magnitudes_size(call) : 0;
}
static inline void fc_measure(const fc_forward *call, void *magnitudes) { call->method->measure(call, magnitudes); }

/* The kernels of the type in which the call's sums are formed. */
static inline const fc_arithmetic *fc_call_arithmetic(const fc_forward *call) {
    return fc_arithmetic_of(call->kernels, call->x.dtype);
}

static inline fc_input fc_input_of(const fc_forward *call) {
    return (fc_input){call->kernels, &call->problem, &call->sum, &call->x};
}

/* Output channels of a panel of filters, and panels of a group. */
static inline int64_t fc_panel_width(const fc_forward *call) { return fc_call_arithmetic(call)->nr; }
static inline int64_t fc_panels(const fc_forward *call) {
    return fc_ceil_div(fc_group_outputs(&call->problem), fc_panel_width(call));
}

#endif
