// Convolution of groups of few channels, depthwise above all: bound by memory, so each thread sums its own outputs.
#include "epilogue.cuh"
#include "gather.cuh"

typedef FC_ELEMENT Element;
typedef Element::sum Sum;

#if FC_DIRECTION == 2

// Of the filters' gradient, LANES threads sum every LANES-th pixel of a slice for each of 32 neighboring channels.
constexpr int LANES = 8;

extern "C" __global__ void __launch_bounds__(32 * LANES)
    fc_direct(const Gathers all, const Element *source, const Element *gradient, Sum *result) {
    FC_SHARED(memory);
    Sum *sums = (Sum *)memory;
    const Gather &p = all.parts[0];
    const int outputs = p.outputs * p.groups;
    const int column = blockIdx.x % p.column_tiles * 32 + lane_id(), first = warp_id();
    const long long row = blockIdx.x / p.column_tiles, slice = blockIdx.z;
    Sum sum = 0;
    if (column < outputs) {
        const Position term = position_of(row, p.taps_w, p.channels);
        const int y = term.outer * p.reach_h + p.start_h, x = term.middle * p.reach_w + p.start_w;
        const long long start = slice * p.slice_pixels + first, next = (slice + 1) * p.slice_pixels;
        const long long end = next < p.pixels ? next : p.pixels;
        const Position none = {0, 0, 0}, step = position_behind(none, LANES, p.rows, p.columns);
        Position at = position_of(start, p.rows, p.columns);
        source += (long long)(column / p.outputs) * p.channels + term.inner;
        for (long long pixel = start; pixel < end; pixel += LANES) {
            const int row_y = at.middle * p.step_h + y, column_x = at.inner * p.step_w + x;
            if (is_inside(p, row_y, column_x)) {
                const Element *cell =
                    source + at.outer * p.source_image + row_y * p.source_row + column_x * p.source_column;
                sum = multiply_add(widened(*cell), widened(gradient[pixel * p.filter_channel + column]), sum);
            }
            advance(at, step, p.rows, p.columns);
        }
    }
    sums[first * 32 + lane_id()] = sum;
    __syncthreads();
    if (first == 0 && column < outputs) {
        for (int lane = 1; lane < LANES; lane++) sum += sums[lane * 32 + lane_id()];
        result[slice * p.slice_stride + row * outputs + column] = sum;
    }
}

#else

// FC_WIDE neighboring outputs of a pixel; more than one where each channel has one filter.
constexpr int WIDE = FC_WIDE;
typedef Run<Element, WIDE> Vector;

extern "C" __global__ void __launch_bounds__(256, 2)
    fc_direct(const Gathers all, const Element *source, const Element *filter, Element *result, const Sum *bias) {
    const Gather &p = all.of_block(blockIdx.x);
    const int outputs = p.outputs * p.groups;
    const long long index = (blockIdx.x - p.first_block) * 256 + threadIdx.x;
    const long long pixel = quotient(index, outputs / WIDE);
    const int column = (int)(index - pixel * (outputs / WIDE)) * WIDE;
    if (pixel >= p.pixels) return;
    const int group = column / p.outputs;
    const Position at = position_soon(pixel, p.rows, p.columns);
    const int first_y = at.middle * p.step_h + p.start_h, first_x = at.inner * p.step_w + p.start_w;
    source += at.outer * p.source_image + (long long)group * p.channels;
    filter += p.filter_start + group * p.filter_group + column % p.outputs * p.filter_output;
    Sum sums[WIDE] = {};
    for (int i = 0; i < p.taps_h; i++)
        for (int j = 0; j < p.taps_w; j++) {
            const int y = first_y + i * p.reach_h, x = first_x + j * p.reach_w;
            if (!is_inside(p, y, x)) continue;
            const Element *cell = source + y * p.source_row + x * p.source_column;
            const Element *tap = filter + i * p.filter_row + j * p.filter_column;
            if constexpr (WIDE == 1) {
                for (int c = 0; c < p.channels; c++)
                    sums[0] = multiply_add(widened(cell[c]), widened(tap[c * p.filter_channel]), sums[0]);
            } else {
                const Vector cells = *(const Vector *)cell, taps = *(const Vector *)tap;
#pragma unroll
                for (int e = 0; e < WIDE; e++)
                    sums[e] = multiply_add(widened(cells.elements[e]), widened(taps.elements[e]), sums[e]);
            }
        }
    Epilogue<Element> epilogue(p.activation);
    Vector results;
#pragma unroll
    for (int e = 0; e < WIDE; e++) results.elements[e] = epilogue(bias ? sums[e] + bias[column + e] : sums[e]);
    const long long offset =
        p.result_start + at.outer * p.result_image + at.middle * p.result_row + at.inner * p.result_column + column;
    *(Vector *)(result + offset) = results;
}

#endif
FC_EXPORT(fc_direct)
