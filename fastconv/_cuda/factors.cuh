// The two factors of a convolution as tiles in shared memory: what each thread copies there.
#pragma once
#include "elements.cuh"
#include "gather.cuh"

typedef FC_ELEMENT Element;
typedef Element::sum Sum;

enum Direction { FORWARD, BACKPROP_INPUT, BACKPROP_FILTER };

constexpr int TILE_M = FC_TILE_M, TILE_N = FC_TILE_N, TILE_K = FC_TILE_K;
constexpr int WARPS_M = FC_WARPS_M, WARPS_N = FC_WARPS_N;
constexpr int THREADS = 32 * WARPS_M * WARPS_N;
constexpr int WIDE_A = FC_WIDE_A, WIDE_B = FC_WIDE_B; // elements in a copy

// Channels lie side by side in all tensors. They are terms of the first factor forward, and rows of it in the filters'
// gradient; the second factor's elements lie side by side along k only in the input's gradient.
constexpr bool A_K_RUNS = FC_DIRECTION != BACKPROP_FILTER, B_K_RUNS = FC_DIRECTION == BACKPROP_INPUT;
constexpr int SIZE = sizeof(Element);
constexpr int K_PAD = SIZE == 8 ? 4 : 16 / SIZE, OTHER_PAD = SIZE == 4 ? 8 : SIZE == 8 ? 4 : 8;

// Tiles are rows of so many elements, padded lest threads read from the same banks; or for warpgroups, blocks of lines
// of 128 bytes, as device.cuh describes them.
constexpr bool IN_ATOMS = FC_WARPGROUPS;
constexpr int ATOM = 128 / SIZE; // elements in a line
constexpr int A_COLUMNS = A_K_RUNS ? TILE_K : TILE_M, B_COLUMNS = B_K_RUNS ? TILE_K : TILE_N;
constexpr int A_PITCH = IN_ATOMS ? ATOM : A_COLUMNS + (A_K_RUNS ? K_PAD : OTHER_PAD);
constexpr int B_PITCH = IN_ATOMS ? ATOM : B_COLUMNS + (B_K_RUNS ? K_PAD : OTHER_PAD);
constexpr int A_LINES = A_K_RUNS ? TILE_M : TILE_K, B_LINES = B_K_RUNS ? TILE_N : TILE_K;
constexpr int A_ELEMENTS = (IN_ATOMS ? A_COLUMNS : A_PITCH) * A_LINES;
constexpr int STAGE = A_ELEMENTS + (IN_ATOMS ? B_COLUMNS : B_PITCH) * B_LINES;

// Each thread makes the copies of one column of a tile, LINES / PASS of them, PASS lines apart.
constexpr int A_ACROSS = (A_K_RUNS ? TILE_K : TILE_M) / WIDE_A, A_PASS = THREADS / A_ACROSS,
              A_COPIES = A_LINES / A_PASS;
constexpr int B_ACROSS = (B_K_RUNS ? TILE_K : TILE_N) / WIDE_B, B_PASS = THREADS / B_ACROSS,
              B_COPIES = B_LINES / B_PASS;
static_assert(!IN_ATOMS || (A_PASS % 8 == 0 && B_PASS % 8 == 0), "a thread's lines lie alike in their atoms");
static_assert(A_ACROSS * A_PASS == THREADS && A_COPIES * A_PASS == A_LINES, "threads share the first tile evenly");
static_assert(B_ACROSS * B_PASS == THREADS && B_COPIES * B_PASS == B_LINES, "threads share the second tile evenly");

// Where an element lies in a tile; in any eighth line behind it, as many pitches further on.
template <int PITCH, int LINES> FC_DEVICE int tile_index(int line, int column) {
    if constexpr (IN_ATOMS)
        return column / ATOM * (ATOM * LINES) + line * ATOM + (column % ATOM / (16 / SIZE) ^ line % 8) * (16 / SIZE) +
               column % (16 / SIZE);
    else
        return line * PITCH + column;
}

// Where this thread's first copies go.
FC_DEVICE int a_index() {
    return tile_index<A_PITCH, A_LINES>(threadIdx.x / A_ACROSS, threadIdx.x % A_ACROSS * WIDE_A);
}
FC_DEVICE int b_index() {
    return tile_index<B_PITCH, B_LINES>(threadIdx.x / B_ACROSS, threadIdx.x % B_ACROSS * WIDE_B);
}

// The first factor where outputs are rows: a thread's outputs stay, and its terms move on.
struct Windows {
    const Gather &p;
    const Element *source;
    Position term; // tap row, tap column, channel
    Position step;
    long long first[A_COPIES]; // what tap (0, 0) of each output meets
    int y[A_COPIES], x[A_COPIES];
    unsigned valid; // a bit for each output

    FC_MEMBER Windows(const Gather &p, const Element *source, long long first_pixel, int group)
        : p(p), source(source + (long long)group * p.channels), valid(0) {
        const Position none = {0, 0, 0}, block = position_of(first_pixel, p.rows, p.columns);
        term = position_behind(none, threadIdx.x % A_ACROSS * WIDE_A, p.taps_w, p.channels);
        step = position_behind(none, TILE_K, p.taps_w, p.channels);
#pragma unroll
        for (int q = 0; q < A_COPIES; q++) {
            const int ahead = threadIdx.x / A_ACROSS + q * A_PASS;
            const Position at = position_behind(block, ahead, p.rows, p.columns);
            y[q] = at.middle * p.step_h + p.start_h;
            x[q] = at.inner * p.step_w + p.start_w;
            first[q] = at.outer * p.source_image + y[q] * p.source_row + x[q] * p.source_column;
            valid |= (unsigned)(first_pixel + ahead < p.pixels) << q;
        }
    }

    FC_MEMBER void copy(Element *tile) {
        const int down = distance(term.outer, p.reach_h), right = distance(term.middle, p.reach_w);
        long long offset = down * p.source_row + right * p.source_column + term.inner;
        const bool any = term.outer < p.taps_h;
        Element *target = tile + a_index();
#pragma unroll
        for (int q = 0; q < A_COPIES; q++) {
            bool inside = any && valid >> q & 1 && is_inside(p, y[q] + down, x[q] + right);
            copy_async<WIDE_A * SIZE>(target + q * A_PASS * A_PITCH, source + (inside ? first[q] + offset : 0), inside);
        }
        advance(term, step, p.taps_w, p.channels);
    }
};

// The first factor where outputs are summed: a thread's tap and channel stay, and its outputs move on.
struct Cells {
    const Gather &p;
    const Element *source;
    bool valid;
    int y, x; // what the tap meets of output (0, 0)
    Position output[A_COPIES];
    Position step;
    long long left; // outputs from the first on, of this slice

    FC_MEMBER Cells(const Gather &p, const Element *source, long long first_row, int group, long long first_pixel,
                    long long pixels)
        : p(p), left(pixels - threadIdx.x / A_ACROSS) {
        const Position none = {0, 0, 0}, block = position_of(first_pixel, p.rows, p.columns);
        const Position first_term = position_of(first_row, p.taps_w, p.channels);
        const Position term = position_behind(first_term, threadIdx.x % A_ACROSS * WIDE_A, p.taps_w, p.channels);
        valid = term.outer < p.taps_h;
        y = valid ? term.outer * p.reach_h + p.start_h : 0;
        x = valid ? term.middle * p.reach_w + p.start_w : 0;
        this->source = source + (long long)group * p.channels + term.inner;
        step = position_behind(none, TILE_K, p.rows, p.columns);
#pragma unroll
        for (int q = 0; q < A_COPIES; q++)
            output[q] = position_behind(block, threadIdx.x / A_ACROSS + q * A_PASS, p.rows, p.columns);
    }

    FC_MEMBER void copy(Element *tile) {
        Element *target = tile + a_index();
#pragma unroll
        for (int q = 0; q < A_COPIES; q++) {
            int row = output[q].middle * p.step_h + y, column = output[q].inner * p.step_w + x;
            bool inside = valid && q * A_PASS < left && is_inside(p, row, column);
            long long offset = output[q].outer * p.source_image + row * p.source_row + column * p.source_column;
            copy_async<WIDE_A * SIZE>(target + q * A_PASS * A_PITCH, source + (inside ? offset : 0), inside);
            advance(output[q], step, p.rows, p.columns);
        }
        left -= TILE_K;
    }
};

// The second factor as rows of output channels: the filters' terms, or the outputs' gradients.
struct Rows {
    const Gather &p;
    const Element *matrix;
    const Element *source;
    bool valid;
    long long left; // rows from this thread's first on

    FC_MEMBER Rows(const Gather &p, const Element *matrix, int first_column, int group, long long first, long long rows)
        : p(p), matrix(matrix), left(rows - threadIdx.x / B_ACROSS) {
        int column = first_column + threadIdx.x % B_ACROSS * WIDE_B;
        valid = column < p.outputs;
        source = matrix + group * p.filter_group + column + (first + threadIdx.x / B_ACROSS) * p.filter_channel;
    }

    FC_MEMBER void copy(Element *tile) {
        Element *target = tile + b_index();
#pragma unroll
        for (int q = 0; q < B_COPIES; q++) {
            bool inside = valid && q * B_PASS < left;
            const Element *from = inside ? source + q * B_PASS * p.filter_channel : matrix;
            copy_async<WIDE_B * SIZE>(target + q * B_PASS * B_PITCH, from, inside);
        }
        source += TILE_K * p.filter_channel;
        left -= TILE_K;
    }
};

// The second factor where terms lie side by side: the filters, read from the output channels' side.
struct Columns {
    const Gather &p;
    const Element *source;
    Position term;
    Position step;
    long long first; // what the first column, of this thread, has at tap (0, 0)
    int left;        // columns from that one on

    FC_MEMBER Columns(const Gather &p, const Element *filters, int first_column, int group)
        : p(p), source(filters + p.filter_start + group * p.filter_group) {
        int column = first_column + threadIdx.x / B_ACROSS;
        left = p.outputs - column;
        first = column * p.filter_output;
        const Position none = {0, 0, 0};
        term = position_behind(none, threadIdx.x % B_ACROSS * WIDE_B, p.taps_w, p.channels);
        step = position_behind(none, TILE_K, p.taps_w, p.channels);
    }

    FC_MEMBER void copy(Element *tile) {
        long long offset = first + term.outer * p.filter_row + term.middle * p.filter_column + term.inner;
        bool any = term.outer < p.taps_h;
        Element *target = tile + b_index();
#pragma unroll
        for (int q = 0; q < B_COPIES; q++) {
            bool inside = any && q * B_PASS < left;
            const Element *from = source + (inside ? offset + q * B_PASS * p.filter_output : 0);
            copy_async<WIDE_B * SIZE>(target + q * B_PASS * B_PITCH, from, inside);
        }
        advance(term, step, p.taps_w, p.channels);
    }
};
