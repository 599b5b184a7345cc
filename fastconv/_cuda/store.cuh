// How a block's sums leave it: through shared memory, so that neighboring threads write neighboring results.
#pragma once
#include "factors.cuh"
#include "epilogue.cuh"
#include "multiply.cuh"

constexpr int WARP_M = TILE_M / WARPS_M, WARP_N = TILE_N / WARPS_N, STAGES = FC_STAGES;

typedef Multiplier<Element, FC_ARITHMETIC, WARP_M, WARP_N> Product;

#if FC_DIRECTION == 2
typedef Sum Result;
#else
typedef Element Result;
#endif

// The block's sums take the place of its tiles, all at once or in passes over each warp's rows.
constexpr int SUMS_BYTES = TILE_M * TILE_N * (int)sizeof(Sum), TILES_BYTES = STAGES * STAGE * SIZE;
constexpr int PASSES = SUMS_BYTES <= TILES_BYTES ? 1 : SUMS_BYTES <= 2 * TILES_BYTES ? 2 : 4;
static_assert(SUMS_BYTES <= PASSES * TILES_BYTES, "a pass fits in the tiles' memory");
constexpr int PASS_M = WARP_M / PASSES, PASS_ROWS = Product::ROWS / PASSES;
static_assert(PASS_M * PASSES == WARP_M && PASS_ROWS * PASSES == Product::ROWS, "passes have the same rows");

// Where a sum lies among those of its warp. Four rows of a column, as well as 16 bytes of eight neighbors down or
// across, lie in different banks.
FC_DEVICE int sum_index(int row, int column) { return row * WARP_N + (column ^ (row % 4 * 8 + row % 2 * 4)); }

// The rows of a result that are outputs, from one on, so many apart.
struct OutputRows {
    const Gather &p;
    Position at, step;
    long long left;
    int apart;

    FC_MEMBER OutputRows(const Gather &p, long long first, int apart)
        : p(p), at(position_of(first, p.rows, p.columns)), left(p.pixels - first), apart(apart) {
        const Position none = {0, 0, 0};
        step = position_behind(none, apart, p.rows, p.columns);
    }

    FC_MEMBER bool exist() const { return left > 0; }
    FC_MEMBER long long offset() const { return result_offset(p, at); }

    FC_MEMBER void next() {
        advance(at, step, p.rows, p.columns);
        left -= apart;
    }
};

// Those that are terms.
struct TermRows {
    const Gather &p;
    long long row, end;
    int apart;

    FC_MEMBER TermRows(const Gather &p, long long first, int apart)
        : p(p), row(first), end(terms_of(p)), apart(apart) {}

    FC_MEMBER bool exist() const { return row < end; }
    FC_MEMBER long long offset() const { return row * p.result_column; }
    FC_MEMBER void next() { row += apart; }
};

// Writes what `epilogue` makes of a warp's sums, RUN neighbors at a time; `bias` may be null.
template <int RUN, typename ResultRows, typename Epilogue>
FC_DEVICE void store_runs(const Gather &p, const Sum *sums, Result *result, long long first_row, int first_column,
                          const Sum *bias, const Epilogue &epilogue) {
    constexpr int READ = RUN * sizeof(Sum) <= 16 ? RUN : 16 / sizeof(Sum); // sums at a time
    constexpr int ACROSS = WARP_N / RUN < 32 ? WARP_N / RUN : 32, DOWN = 32 / ACROSS;
    for (int across = lane_id() % ACROSS * RUN; across < WARP_N; across += ACROSS * RUN) {
        const int column = first_column + across;
        if (column >= p.outputs) break;
        Sum shift[RUN];
#pragma unroll
        for (int e = 0; e < RUN; e++) shift[e] = bias ? bias[column + e] : Sum(0);
        ResultRows rows(p, first_row + lane_id() / ACROSS, DOWN);
        for (int row = lane_id() / ACROSS; row < PASS_M && rows.exist(); row += DOWN) {
            Run<Result, RUN> run;
#pragma unroll
            for (int first = 0; first < RUN; first += READ) {
                const auto read = *(const Run<Sum, READ> *)(sums + sum_index(row, across + first));
#pragma unroll
                for (int e = 0; e < READ; e++) run.elements[first + e] = epilogue(read.elements[e] + shift[first + e]);
            }
            *(Run<Result, RUN> *)(result + rows.offset() + column) = run;
            rows.next();
        }
    }
}

// Writes what `epilogue` makes of all the block's sums, of which the warp's first is in this row and column.
template <typename ResultRows, typename Epilogue>
FC_DEVICE void store(const Gather &p, const Product &product, Element *shared, Result *result, long long first_row,
                     int first_column, const Sum *bias, const Epilogue &epilogue) {
    Sum *sums = (Sum *)shared + warp_id() * PASS_M * WARP_N;
    __syncthreads(); // all warps have multiplied the last tiles
#pragma unroll
    for (int pass = 0; pass < PASSES; pass++) {
#pragma unroll
        for (int i = 0; i < PASS_ROWS; i++)
#pragma unroll
            for (int j = 0; j < Product::COLUMNS; j += Product::RUN) {
                Run<Sum, Product::RUN> run;
#pragma unroll
                for (int e = 0; e < Product::RUN; e++) run.elements[e] = product.sum(pass * PASS_ROWS + i, j + e);
                *(Run<Sum, Product::RUN> *)(sums + sum_index(Product::row(i), Product::column(j))) = run;
            }
        warp_barrier();
        if (p.wide)
            store_runs<16 / sizeof(Result), ResultRows>(p, sums, result, first_row, first_column, bias, epilogue);
        else
            store_runs<1, ResultRows>(p, sums, result, first_row, first_column, bias, epilogue);
        warp_barrier();
        first_row += PASS_M;
    }
}
