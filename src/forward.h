/* The forward convolution as independent tasks: call fc_forward_split once, then fc_forward_task for each task. */
#ifndef FC_FORWARD_H
#define FC_FORWARD_H

#include "kernels.h"

/* What the lanes of a vector hold, and so the method. */
typedef enum fc_lanes {
    FC_CHANNELS,  /* of one output pixel */
    FC_PIXELS,    /* neighbouring ones: fc_image_filter, for 1 group, folded sums, stride and dilation 1
                     along the row and, with more than 1 input channel, along the column */
    FC_DEPTHWISE, /* of one output pixel, of as many groups: fc_depthwise_task, for as many groups as input channels */
    FC_TAPS,      /* of one input pixel: fc_tap_products, for arithmetic types, 1 group, dense taps, and stride 1 */
    FC_GROUPS,    /* channels of several groups: fc_narrow_groups_task, for 4-byte arithmetic, dense taps along the row,
                     and folded sums in blocks of whole runs */
    FC_WINOGRAD   /* channels of transformed tiles: fc_winograd_task, for sums in float32 of dense taps, up to FC_WIDEST
                     along an axis, 1 group, and stride 1 or, with 3x3 taps, 2 along both axes */
} fc_lanes;

typedef struct fc_forward {
    /* what to compute; set by the caller */
    fc_problem problem;
    fc_sum sum;
    fc_winograd winograd; /* where that is the method; `sum` is then what outputs get where it does not serve */
    const fc_kernels *kernels;
    fc_tensor x, y;
    fc_filters w; /* of x's dtype */
    fc_lanes lanes;
    fc_epilogue epilogue; /* its bias is of the arithmetic type, one for each output channel */
    const void
        *magnitudes;    /* of the filters, as fc_weigh_filters left them, in Winograd's; null: tiles are not weighed */
    const void *packed; /* all filters, as fc_pack left them for an equal call; or null */

    /* how the work is split; set by fc_forward_split. Nothing here can change a bit of the result. */
    int direct;            /* filters' windows are read in place, from x itself; else x is staged by strips */
    int in_place;          /* sums are built in y itself; else in scratch, and converted or transposed at the end */
    int64_t images;        /* 1 where a strip of output rows may run across images, else n */
    int64_t row_tasks;     /* strips of output rows, an image; in Winograd's, ranges of the tiles of all */
    int64_t column_tasks;  /* pieces of an output row */
    int64_t channel_tasks; /* ranges of filter panels, a group */
    int64_t tasks;
    int64_t pack_tasks;      /* to be done before all other tasks, with `packed` set to their result; 0: none */
    int64_t pixels;          /* most output pixels in a task; in Winograd's, tiles */
    fc_sum ranges;           /* blocks of blocks: the filters of each are packed together, */
    int64_t columns_at_once; /* for so many output channels; in Winograd's, `chunk` input channels, if by each task */
    int64_t together;        /* pixels whose tiles share a panel while it is in the first cache */
    int64_t room_bytes;      /* of a strip: where image filters convert halves */
    int64_t strip_row_bytes, strip_bytes, table_bytes, packed_bytes, sums_bytes;
    int64_t scratch_bytes; /* what one thread needs, aligned to 64 */
} fc_forward;

void fc_forward_split(fc_forward *call, int threads);

/* Packs all filters of a call whose lanes hold channels, or of Winograd's, for it and others, in tasks; how many, and
 * how many bytes that takes. */
int64_t fc_packed_size(const fc_forward *call);
int64_t fc_pack_tasks(const fc_forward *call);
void fc_pack(const fc_forward *call, int64_t task, void *packed);

/* Before a thread's first task of one or several calls, whose tasks it may then take in any order. */
void fc_forward_begin(void *scratch);
void fc_forward_task(const fc_forward *call, int64_t task, void *scratch);

/* A task of several calls, counted through all of them. */
void fc_forward_task_of(const fc_forward *calls, int64_t task, void *scratch);

#endif
