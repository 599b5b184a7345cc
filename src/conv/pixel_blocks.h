/* How the output pixels are summed that a gradient of filters adds up: blocks, slices of blocks, and their sums. */
#ifndef FC_CONV_PIXEL_BLOCKS_H
#define FC_CONV_PIXEL_BLOCKS_H

#include "base/axis.h"
#include "conv/filter_method.h"

/* Blocks in a row of an image, rows of them, and all of them. */
int64_t fc_column_blocks(const fc_backprop_filter *call);
int64_t fc_row_blocks(const fc_backprop_filter *call);
int64_t fc_pixel_blocks(const fc_backprop_filter *call);

/* Sets what follows from the slices: in_place, sums and partial_bytes. */
void fc_split_slices(fc_backprop_filter *call);

/* The blocks of a slice of the portion at hand. */
fc_range fc_blocks_of_slice(const fc_backprop_filter *call, int64_t slice);

/* Where a slice is summed: [term][f] of the accumulator's type. */
char *fc_slice_sums(const fc_backprop_filter *call, int64_t slice, void *partial);

/* The output pixels of one block. */
fc_region fc_pixel_block(const fc_backprop_filter *call, int64_t index, int64_t group);

/* Adds up the slices of a range of the gradient and, after the last portion, stores it. */
void fc_sum_slices(const fc_backprop_filter *call, int64_t sum, void *partial);

#endif
