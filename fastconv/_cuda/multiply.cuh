// A warp's share of the product of two tiles in shared memory, for each arithmetic.
#pragma once
#include "elements.cuh"

// How a tile lies in shared memory: element (row, k) of the first factor, or (column, k) of the second. The pitch, in
// elements, is such that the threads of a warp read from different banks.
template <typename Type, bool K_RUNS_, int PITCH> struct Tile {
    typedef Type Element;
    static constexpr bool K_RUNS = K_RUNS_;
    const Element *first;

    FC_MEMBER const Element *at(int index, int k) const {
        return first + (K_RUNS ? index * PITCH + k : k * PITCH + index);
    }
};

// Every multiplier sums ROWS x COLUMNS elements in each thread, sum(i, j) at (row(i), column(j)) of the warp's tile.
// RUN columns at a time are neighbors. Most have multiplied when `multiply` returns.
struct Multiplies {
    static constexpr bool GOES_ON = false;
    FC_MEMBER static void wait() {}
    FC_MEMBER static void publish() {}
};

// Fused multiply-adds, or integers: threads lie 4 x 8, and their elements as far apart.
template <typename Element, int TILE_M, int TILE_N> struct ScalarMultiplier : Multiplies {
    typedef typename Element::sum Sum;
    static constexpr int ROWS = TILE_M / 4, COLUMNS = TILE_N / 8;
    static constexpr int RUN = 1;
    Sum sums[ROWS][COLUMNS] = {};

    FC_MEMBER static int row(int i) { return 4 * i + lane_id() / 8; }
    FC_MEMBER static int column(int j) { return 8 * j + lane_id() % 8; }
    FC_MEMBER Sum sum(int i, int j) const { return sums[i][j]; }

    template <int TILE_K, typename A, typename B>
    FC_MEMBER void multiply(const A &a, const B &b, int first_row, int first_column) {
#pragma unroll 4
        for (int k = 0; k < TILE_K; k++) {
            Sum left[ROWS], right[COLUMNS];
#pragma unroll
            for (int i = 0; i < ROWS; i++) left[i] = widened(*a.at(first_row + row(i), k));
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) right[j] = widened(*b.at(first_column + column(j), k));
#pragma unroll
            for (int i = 0; i < ROWS; i++)
#pragma unroll
                for (int j = 0; j < COLUMNS; j++) sums[i][j] = multiply_add(left[i], right[j], sums[i][j]);
        }
    }
};

// Where tensor cores leave sums in float32: 16x8 elements in four of each thread.
template <int TILE_M, int TILE_N> struct Fragments : Multiplies {
    typedef float Sum;
    static constexpr int ROWS = TILE_M / 8, COLUMNS = TILE_N / 4;
    static constexpr int DOWN = TILE_M / 16, ACROSS = TILE_N / 8;
    static constexpr int RUN = 2;
    float sums[DOWN][ACROSS][4] = {};

    FC_MEMBER static int row(int i) { return 8 * i + lane_id() / 4; }
    FC_MEMBER static int column(int j) { return 8 * (j / 2) + 2 * (lane_id() % 4) + j % 2; }
    FC_MEMBER float sum(int i, int j) const { return sums[i / 2][j / 2][2 * (i % 2) + j % 2]; }
};

// Tensor cores: float16 and bfloat16.
template <typename Element, int TILE_M, int TILE_N> struct HalfMultiplier : Fragments<TILE_M, TILE_N> {
    typedef Fragments<TILE_M, TILE_N> Base;

    template <int TILE_K, typename A, typename B>
    FC_MEMBER void multiply(const A &a, const B &b, int first_row, int first_column) {
        // The four 8x8 matrices of a fragment: the row and the column of the first element that this thread points at.
        const int near = lane_id() % 8 + lane_id() / 8 % 2 * 8, far = lane_id() / 16 * 8;
        const int low = lane_id() % 8 + lane_id() / 16 * 8, high = lane_id() / 8 % 2 * 8;
#pragma unroll
        for (int k = 0; k < TILE_K; k += 16) {
            unsigned left[Base::DOWN][4], right[Base::ACROSS][2];
#pragma unroll
            for (int i = 0; i < Base::DOWN; i++) {
                // Rows 0-7 and 8-15 at k 0-7, then the same at k 8-15.
                const Element *source =
                    A::K_RUNS ? a.at(first_row + 16 * i + near, k + far) : a.at(first_row + 16 * i + high, k + low);
                load_matrices<!A::K_RUNS>(left[i], source);
            }
#pragma unroll
            for (int j = 0; j < Base::ACROSS; j += 2) {
                // Columns 0-7 at k 0-7 and k 8-15, then columns 8-15.
                unsigned both[4];
                const Element *source =
                    B::K_RUNS ? b.at(first_column + 8 * j + low, k + high) : b.at(first_column + 8 * j + far, k + near);
                load_matrices<!B::K_RUNS>(both, source);
                right[j][0] = both[0], right[j][1] = both[1];
                right[j + 1][0] = both[2], right[j + 1][1] = both[3];
            }
#pragma unroll
            for (int i = 0; i < Base::DOWN; i++)
#pragma unroll
                for (int j = 0; j < Base::ACROSS; j++)
                    multiply_halves<Element::BRAIN>(this->sums[i][j], left[i], right[j]);
        }
    }
};

#if FC_ARCH >= 800

// A float32 as the sum of two numbers of 11 bits, what the lower one cannot hold being below 2^-22 of the value.
struct TwoParts {
    unsigned high, low;
};

FC_DEVICE unsigned rounded_to_tf32(unsigned bits) { return (bits + 0x1000) & 0xffffe000; }

FC_DEVICE TwoParts split(float x) {
    unsigned bits = bits_of(x);
    TwoParts parts = {rounded_to_tf32(bits), 0};
    float rest = x - float_of(parts.high);
    if (fabsf(rest) <= 3.4028234e38f) {
        parts.low = rounded_to_tf32(bits_of(rest));
    } else if ((bits & 0x7fffffff) < 0x7f800000) { // rounded to infinity: both cut off instead
        parts.high = bits & 0xffffe000;
        parts.low = bits_of(x - float_of(parts.high)) & 0xffffe000;
    } else { // infinity has no rest; of NaN all bits are set, lest those that are dropped make it one
        parts.high = (bits & 0x7fffffff) > 0x7f800000 ? 0x7fffffff : bits;
    }
    return parts;
}

// Tensor cores: float32 rounded to 11 bits (PARTS 1); or the sum of two such numbers (PARTS 2), without the product of
// the lower ones. Tensor cores do not round sums to nearest, so those of a tile are summed apart and added.
template <int PARTS, int TILE_M, int TILE_N> struct Tf32Multiplier : Fragments<TILE_M, TILE_N> {
    typedef Fragments<TILE_M, TILE_N> Base;

    template <int TILE_K, typename A, typename B>
    FC_MEMBER void multiply(const A &a, const B &b, int first_row, int first_column) {
        const int line = lane_id() / 4, position = lane_id() % 4;
        float parts[Base::DOWN][Base::ACROSS][4] = {};
#pragma unroll
        for (int k = 0; k < TILE_K; k += 8) {
            unsigned left[PARTS][Base::DOWN][4], right[PARTS][Base::ACROSS][2];
#pragma unroll
            for (int i = 0; i < Base::DOWN; i++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    int row = first_row + 16 * i + line + 8 * (e % 2);
                    keep(a.at(row, k + position + 4 * (e / 2))->value, left, i, e);
                }
#pragma unroll
            for (int j = 0; j < Base::ACROSS; j++)
#pragma unroll
                for (int e = 0; e < 2; e++)
                    keep(b.at(first_column + 8 * j + line, k + position + 4 * e)->value, right, j, e);
            if constexpr (PARTS == 2) {
                // Infinity times a lower part of 0 would be NaN.
                if (any_of_warp(!are_finite(left[0]) || !are_finite(right[0]))) {
                    unsigned finite_left[Base::DOWN][4], finite_right[Base::ACROSS][2];
                    keep_finite(left[0], finite_left);
                    keep_finite(right[0], finite_right);
                    multiply_all(parts, left[1], finite_right);
                    multiply_all(parts, finite_left, right[1]);
                } else {
                    multiply_all(parts, left[1], right[0]);
                    multiply_all(parts, left[0], right[1]);
                }
                multiply_all(parts, left[0], right[0]);
            } else {
                multiply_all(this->sums, left[0], right[0]);
            }
        }
        if constexpr (PARTS == 2) {
#pragma unroll
            for (int i = 0; i < Base::DOWN; i++)
#pragma unroll
                for (int j = 0; j < Base::ACROSS; j++)
#pragma unroll
                    for (int e = 0; e < 4; e++) this->sums[i][j][e] += parts[i][j][e];
        }
    }

    FC_MEMBER static void multiply_all(float (&sums)[Base::DOWN][Base::ACROSS][4],
                                       const unsigned (&left)[Base::DOWN][4],
                                       const unsigned (&right)[Base::ACROSS][2]) {
#pragma unroll
        for (int i = 0; i < Base::DOWN; i++)
#pragma unroll
            for (int j = 0; j < Base::ACROSS; j++) multiply_tf32(sums[i][j], left[i], right[j]);
    }

    template <int COUNT, int SIZE> FC_MEMBER static bool are_finite(const unsigned (&fragments)[COUNT][SIZE]) {
        unsigned largest = 0;
#pragma unroll
        for (int i = 0; i < COUNT; i++)
#pragma unroll
            for (int e = 0; e < SIZE; e++) {
                unsigned size = fragments[i][e] & 0x7fffffff;
                largest = size > largest ? size : largest;
            }
        return largest < 0x7f800000;
    }

    template <int COUNT, int SIZE>
    FC_MEMBER static void keep_finite(const unsigned (&fragments)[COUNT][SIZE], unsigned (&finite)[COUNT][SIZE]) {
#pragma unroll
        for (int i = 0; i < COUNT; i++)
#pragma unroll
            for (int e = 0; e < SIZE; e++)
                finite[i][e] = (fragments[i][e] & 0x7fffffff) < 0x7f800000 ? fragments[i][e] : 0;
    }

    template <int COUNT, int SIZE>
    FC_MEMBER static void keep(float value, unsigned (&fragments)[PARTS][COUNT][SIZE], int index, int element) {
        if constexpr (PARTS == 2) {
            TwoParts both = split(value);
            fragments[0][index][element] = both.high;
            fragments[1][index][element] = both.low;
        } else {
            const unsigned bits = bits_of(value), size = bits & 0x7fffffff;
            // What would round to infinity is cut off; of NaN all bits are set.
            const unsigned finite = size < 0x7f7ff000 ? rounded_to_tf32(bits) : bits & 0xffffe000;
            fragments[0][index][element] = size <= 0x7f800000 ? finite : 0x7fffffff;
        }
    }
};

// Tensor cores: float64.
template <int TILE_M, int TILE_N> struct DoubleMultiplier : Multiplies {
    typedef double Sum;
    static constexpr int ROWS = TILE_M / 8, COLUMNS = TILE_N / 4, ACROSS = TILE_N / 8;
    static constexpr int RUN = 2;
    double sums[ROWS][ACROSS][2] = {};

    FC_MEMBER static int row(int i) { return 8 * i + lane_id() / 4; }
    FC_MEMBER static int column(int j) { return 8 * (j / 2) + 2 * (lane_id() % 4) + j % 2; }
    FC_MEMBER double sum(int i, int j) const { return sums[i][j / 2][j % 2]; }

    template <int TILE_K, typename A, typename B>
    FC_MEMBER void multiply(const A &a, const B &b, int first_row, int first_column) {
        const int line = lane_id() / 4, position = lane_id() % 4;
#pragma unroll
        for (int k = 0; k < TILE_K; k += 4) {
            double left[ROWS], right[ACROSS];
#pragma unroll
            for (int i = 0; i < ROWS; i++) left[i] = a.at(first_row + 8 * i + line, k + position)->value;
#pragma unroll
            for (int j = 0; j < ACROSS; j++) right[j] = b.at(first_column + 8 * j + line, k + position)->value;
#pragma unroll
            for (int i = 0; i < ROWS; i++)
#pragma unroll
                for (int j = 0; j < ACROSS; j++) multiply_doubles(sums[i][j], left[i], right[j]);
        }
    }
};

#endif

#if FC_WARPGROUPS

// Tensor cores that read both factors from shared memory: float16 and bfloat16, by four warps one below the other. They
// go on while the next tiles are copied.
template <typename Element, int TILE_M, int TILE_N> struct WarpgroupMultiplier : Fragments<TILE_M, TILE_N> {
    static constexpr bool GOES_ON = true;
    static constexpr int GROUP_M = 4 * TILE_M;
    static_assert(GROUP_M == 64 && TILE_N == 128, "a warpgroup's product has 64 rows and 128 columns");

    template <int TILE_K, typename A, typename B>
    FC_MEMBER void multiply(const A &a, const B &b, int first_row, int first_column) {
        const int row = first_row / GROUP_M * GROUP_M;
        hold_sums();
        begin_products();
#pragma unroll
        for (int k = 0; k < TILE_K; k += 16)
            multiply_by_warpgroup<Element::BRAIN, !A::K_RUNS, !B::K_RUNS>(this->sums[0], described<TILE_K>(a, row, k),
                                                                          described<TILE_K>(b, first_column, k));
        commit_products();
    }

    FC_MEMBER void wait() {
        wait_for_products();
        hold_sums();
    }

    FC_MEMBER static void publish() { publish_to_tensor_cores(); }

    FC_MEMBER void hold_sums() {
#pragma unroll
        for (int j = 0; j < 16; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) hold(this->sums[0][j][e]);
    }

    // A factor from an output and a term on, the first of 64 or 16.
    template <int TILE_K, typename Factor>
    FC_MEMBER static unsigned long long described(const Factor &factor, int output, int k) {
        constexpr int LINE = 64;
        return factor_of_warpgroup(factor.first + (Factor::K_RUNS ? output * LINE + k : output * TILE_K + k * LINE),
                                   8 * LINE * sizeof(Element), Factor::K_RUNS ? 16 : TILE_K * LINE * sizeof(Element));
    }
};

#endif

// FC_ARITHMETIC, in the order of Arithmetic in planner.py.
enum Arithmetic { SCALAR, HALVES, TF32, TF32_TWICE, DOUBLES, WARPGROUPS };

template <typename Element, int ARITHMETIC, int TILE_M, int TILE_N> struct Multiplier;

template <typename Element, int TILE_M, int TILE_N>
struct Multiplier<Element, SCALAR, TILE_M, TILE_N> : ScalarMultiplier<Element, TILE_M, TILE_N> {};
template <typename Element, int TILE_M, int TILE_N>
struct Multiplier<Element, HALVES, TILE_M, TILE_N> : HalfMultiplier<Element, TILE_M, TILE_N> {};
#if FC_WARPGROUPS
template <typename Element, int TILE_M, int TILE_N>
struct Multiplier<Element, WARPGROUPS, TILE_M, TILE_N> : WarpgroupMultiplier<Element, TILE_M, TILE_N> {};
#endif
#if FC_ARCH >= 800
template <typename Element, int TILE_M, int TILE_N>
struct Multiplier<Element, TF32, TILE_M, TILE_N> : Tf32Multiplier<1, TILE_M, TILE_N> {};
template <typename Element, int TILE_M, int TILE_N>
struct Multiplier<Element, TF32_TWICE, TILE_M, TILE_N> : Tf32Multiplier<2, TILE_M, TILE_N> {};
template <typename Element, int TILE_M, int TILE_N>
struct Multiplier<Element, DOUBLES, TILE_M, TILE_N> : DoubleMultiplier<TILE_M, TILE_N> {};
#endif
