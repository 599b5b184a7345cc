/* A convolution as one call, forward or a phase of an input gradient, and what computes it: a method. */
#ifndef FC_METHOD_H
#define FC_METHOD_H

#include "pack.h"
#include <stddef.h>

typedef struct fc_forward fc_forward;

/* One way to compute a convolution, in tasks that may run in any order, on any threads. `prepare` comes first. */
typedef struct fc_method {
    const char *name; /* as plans have it */
    int holds;        /* whether a thread's scratch keeps what a task has made ready for the next one: fc_held */
    void (*prepare)(fc_forward *call, int threads);
    void (*task)(const fc_forward *call, int64_t task, void *scratch);

    /* How all filters are packed for several calls, in tasks, and how many bytes that takes; null: they cannot be. */
    int64_t (*packed_size)(const fc_forward *call);
    int64_t (*pack_tasks)(const fc_forward *call);
    void (*pack)(const fc_forward *call, int64_t task, void *packed);

    /* What is found out about the filters at every call, before the tasks, for `magnitudes` to have; null: nothing. */
    int64_t (*magnitudes_size)(const fc_forward *call);
    void (*weigh)(const fc_forward *call, void *magnitudes);
} fc_method;

struct fc_forward {
    /* what to compute; set by the caller */
    fc_problem problem;
    fc_sum sum;
    fc_winograd winograd; /* where that is the method; `sum` is then what outputs get where it does not serve */
    const fc_kernels *kernels;
    fc_tensor x, y;
    fc_filters w; /* of x's dtype */
    const fc_method *method;
    fc_epilogue epilogue;   /* its bias is of the arithmetic type, one for each output channel */
    const void *magnitudes; /* as the method's `weigh` left them; null: tiles are not weighed */
    const void *packed;     /* all filters, as the method's `pack` left them for an equal call; or null */

    /* how the work is split; set by the method's `prepare`. Nothing here can change a bit of the result. */
    int direct;            /* filters' windows are read in place, from x itself; else x is staged by strips */
    int in_place;          /* sums are built in y itself; else in scratch, and converted or transposed at the end */
    int64_t images;        /* 1 where a strip of output rows may run across images, else n */
    int64_t row_tasks;     /* strips of output rows, an image; in Winograd's, ranges of the tiles of all */
    int64_t column_tasks;  /* pieces of an output row */
    int64_t channel_tasks; /* ranges of filter panels, a group */
    int64_t panels;        /* panels of output channels in a group, where outputs are cut into regions */
    int64_t panel;         /* channels of a panel there */
    int64_t tasks;
    int64_t pack_tasks;      /* to be done before all other tasks, with `packed` set to their result; 0: none */
    int64_t pixels;          /* most output pixels in a task; in Winograd's, tiles */
    fc_sum ranges;           /* blocks of blocks: the filters of each are packed together, */
    int64_t columns_at_once; /* for so many output channels; in Winograd's, `chunk` input channels, if by each task */
    int64_t together;        /* pixels whose tiles share a panel while it is in the first cache */
    int64_t room_bytes;      /* of a strip: where image filters convert halves */
    int64_t strip_row_bytes, strip_bytes, table_bytes, packed_bytes, sums_bytes;
    int64_t scratch_bytes; /* what one thread needs, aligned to 64 */
};

enum {
    FC_HEADER = 64, /* bytes at the start of scratch: an fc_held */
    FC_TASKS = 4    /* a thread, for all to end together though one is interrupted */
};

/* What of a call a thread's scratch holds for its next task, if any: packed filters from this channel on or, in
 * Winograd's, this range of tiles, transformed. */
typedef struct fc_held {
    const fc_forward *call;
    int64_t index;
} fc_held;

/* What a call's method does with it; see fc_method. */
static inline void fc_prepare(fc_forward *call, int threads) { call->method->prepare(call, threads); }
static inline int fc_can_pack(const fc_forward *call) { return call->method->pack != NULL; }
static inline int64_t fc_packed_size(const fc_forward *call) { return call->method->packed_size(call); }
static inline int64_t fc_pack_tasks(const fc_forward *call) { return call->method->pack_tasks(call); }
static inline void fc_pack(const fc_forward *call, int64_t task, void *packed) {
    call->method->pack(call, task, packed);
}
static inline int64_t fc_magnitudes_size(const fc_forward *call) {
    return call->method->weigh ? call->method->magnitudes_size(call) : 0;
}
static inline void fc_weigh(const fc_forward *call, void *magnitudes) { call->method->weigh(call, magnitudes); }

/* Scratch that holds nothing. */
static inline void fc_hold_nothing(void *scratch) { *(fc_held *)scratch = (fc_held){0}; }

/* The kernels of the call's arithmetic type. */
static inline const fc_gemm *fc_arithmetic_of(const fc_forward *call) {
    return fc_arithmetic(call->kernels, call->x.dtype);
}

#endif
