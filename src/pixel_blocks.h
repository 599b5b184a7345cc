/* How the output pixels are summed that a gradient of filters adds up: blocks, slices of blocks, and their sums. */
#ifndef FC_PIXEL_BLOCKS_H
#define FC_PIXEL_BLOCKS_H

#include "filter_method.h"
#include "strip.h"

/* Blocks in a row of an image, and rows of them. */
int64_t fc_column_blocks(const fc_backprop_filter *call);
int64_t fc_row_blocks(const fc_backprop_filter *call);

/* Sets what follows from the slices: in_place, sums and partial_bytes. */
void fc_split_slices(fc_backprop_filter *call);

/* The blocks of a slice of the portion at hand: first to end - 1. */
void fc_blocks_of_slice(const fc_backprop_filter *call, int64_t slice, int64_t *first, int64_t *end);

/* The output pixels of one block. */
fc_region fc_pixel_block(const fc_backprop_filter *call, int64_t index, int64_t group);

/* Adds up the slices of a range of the gradient and, after the last portion, stores it. */
void fc_sum_slices(const fc_backprop_filter *call, int64_t sum, void *partial);

#endif
