// What a kernel computes: a convolution of windows gathered from a source, with strides for everything in memory.
#pragma once
#include "positions.cuh"

// The sizes are those of one group; strides are in elements. Field for field, GATHER in convolutions.py.
//
// Forward and for the input's gradient (one phase of it), output (n, y, x, f) is the sum over taps (i, j) and channels
// c of source(n, y * step_h + i * reach_h + start_h, x * step_w + j * reach_w + start_w, c) * filter(i, j, c, f). For
// the filters' gradient the same products are summed over outputs, with the output's gradient as the filter's factor.
struct Gather {
    long long pixels; // outputs of all images
    long long source_image, source_row, source_column;
    long long result_image, result_row, result_column;
    long long filter_row, filter_column, filter_channel, filter_output;
    long long filter_group;               // from one group's filters to the next's
    long long filter_start, result_start; // the first elements that count
    long long slice_pixels, slice_stride; // of the filters' gradient: each slice of pixels is summed apart
    long long first_block;                // of a launch, for this
    int rows, columns;                    // of outputs
    int height, width;                    // of the source
    int taps_h, taps_w;
    int channels, outputs, groups;
    int step_h, step_w;
    int reach_h, reach_w;
    int start_h, start_w;
    int column_tiles; // of the product
    int activation;
    int wide; // whether runs of 16 bytes of the result are aligned, and no row ends within one
};

// What one launch computes, one after the other.
struct Gathers {
    Gather parts[FC_PARTS];

    // The part that a block belongs to.
    FC_MEMBER const Gather &of_block(unsigned block) const {
        int part = 0;
#pragma unroll
        for (int i = 1; i < FC_PARTS; i++) part += block >= parts[i].first_block;
        return parts[part];
    }
};

// How far a tap lies from the first. Terms behind the last are in taps that do not exist, for which this may wrap.
FC_DEVICE int distance(int tap, int reach) { return (int)((unsigned)tap * (unsigned)reach); }

// The source's row or column that a tap meets.
FC_DEVICE bool is_inside(const Gather &p, int y, int x) {
    return (unsigned)y < (unsigned)p.height && (unsigned)x < (unsigned)p.width;
}

FC_DEVICE long long terms_of(const Gather &p) { return (long long)p.taps_h * p.taps_w * p.channels; }

FC_DEVICE long long result_offset(const Gather &p, const Position &at) {
    return at.outer * p.result_image + at.middle * p.result_row + at.inner * p.result_column;
}
