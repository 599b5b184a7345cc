// Convolution as a product of matrices, of which the first is gathered from the source while it is multiplied.
//
// Forward (FC_DIRECTION 0) and in a phase of the input's gradient (1), rows are outputs, columns are output channels,
// and terms k = (tap, channel) are summed. In the filters' gradient (2), rows are (tap, channel), and outputs are
// summed. Tiles of both factors arrive in shared memory FC_STAGES - 1 steps before they are multiplied. No sum is
// split, but those over outputs, into slices that the problem tells: bits depend on no tile's size.
#include "store.cuh"

// Multiplies all steps, of which `a` and `b` copy the tiles.
template <typename A, typename B>
FC_DEVICE void multiply_steps(Product &product, A &a, B &b, long long steps, Element *shared) {
    const int first_row = warp_id() / WARPS_N * WARP_M, first_column = warp_id() % WARPS_N * WARP_N;
    for (int stage = 0; stage < STAGES - 1; stage++) {
        if (stage < steps) {
            a.copy(shared + stage * STAGE);
            b.copy(shared + stage * STAGE + A_ELEMENTS);
        }
        commit_copies();
    }
    int reading = 0, writing = STAGES - 1;
    for (long long step = 0; step < steps; step++) {
        const Tile<Element, A_K_RUNS, A_PITCH> left = {shared + reading * STAGE};
        const Tile<Element, B_K_RUNS, B_PITCH> right = {shared + reading * STAGE + A_ELEMENTS};
        product.wait();
        wait_for_copies<STAGES - 2>();
        product.publish();
        __syncthreads(); // all have copied this step's tiles, and multiplied those of the stage that is copied next
        if (Product::GOES_ON) product.template multiply<TILE_K>(left, right, first_row, first_column);
        if (step + STAGES - 1 < steps) {
            a.copy(shared + writing * STAGE);
            b.copy(shared + writing * STAGE + A_ELEMENTS);
        }
        commit_copies();
        if (!Product::GOES_ON) product.template multiply<TILE_K>(left, right, first_row, first_column);
        reading = reading + 1 == STAGES ? 0 : reading + 1;
        writing = writing + 1 == STAGES ? 0 : writing + 1;
    }
    product.wait();
    wait_for_copies<0>();
}

extern "C" __global__ void __launch_bounds__(THREADS, FC_BLOCKS)
    fc_implicit_gemm(const Gathers all, const Element *source, const Element *filter, Result *result, const Sum *bias) {
    FC_SHARED(memory);
    Element *shared = (Element *)memory;
    const Gather &p = all.of_block(blockIdx.x);
    const unsigned block = blockIdx.x - (unsigned)p.first_block;
    // Neighboring blocks read the same rows of the first factor, as far as it has them.
    const long long row_tile = block / p.column_tiles;
    const int column_tile = block % p.column_tiles;
    const int group = blockIdx.z % p.groups;
    const long long first_row = row_tile * TILE_M;
    const int first_column = column_tile * TILE_N;
    const long long warp_row = first_row + warp_id() / WARPS_N * WARP_M;
    const int warp_column = first_column + warp_id() % WARPS_N * WARP_N;
    Product product;

#if FC_DIRECTION == 2
    const int slice = blockIdx.z / p.groups;
    const long long first_pixel = slice * p.slice_pixels, rest = p.pixels - first_pixel;
    const long long pixels = rest < p.slice_pixels ? rest : p.slice_pixels;
    Cells a(p, source, first_row, group, first_pixel, pixels);
    Rows b(p, filter, first_column, group, first_pixel, pixels);
    multiply_steps(product, a, b, (pixels + TILE_K - 1) / TILE_K, shared);
    result += slice * p.slice_stride + group * p.outputs;
    store<TermRows>(p, product, shared, result, warp_row, warp_column, nullptr, [](Sum sum) { return sum; });
#else
    const long long terms = terms_of(p);
    Windows a(p, source, first_row, group);
#if FC_DIRECTION == 1
    Columns b(p, filter, first_column, group);
#else
    Rows b(p, filter, first_column, group, 0, terms);
#endif
    multiply_steps(product, a, b, (terms + TILE_K - 1) / TILE_K, shared);
    result += p.result_start + group * p.outputs;
    store<OutputRows>(p, product, shared, result, warp_row, warp_column, bias ? bias + group * p.outputs : bias,
                      Epilogue<Element>(p.activation));
#endif
}
FC_EXPORT(fc_implicit_gemm)
