/* The blocks of a sum (fc_sum), counted in their order. */
#ifndef FC_BASE_BLOCKS_H
#define FC_BASE_BLOCKS_H

#include "base/problem.h"
#include "base/arith.h"

/* Terms of the longest block, and the number of blocks. */
static inline int64_t fc_block_terms(const fc_sum *sum) {
    return sum->block_runs > 1 ? sum->block_runs * sum->run_length : sum->chunk;
}
static inline int64_t fc_block_count(const fc_sum *sum) {
    return fc_ceil_div(sum->runs, sum->block_runs) * fc_ceil_div(sum->run_length, sum->chunk);
}

/* One block: the runs from first_run on, run_count of them; of each, `length` terms from first_term on. */
typedef struct fc_block {
    int64_t first_run, run_count, first_term, length;
} fc_block;

static inline fc_block fc_block_at(const fc_sum *sum, int64_t index) {
    const int64_t parts = fc_ceil_div(sum->run_length, sum->chunk);
    const int64_t run = index / parts * sum->block_runs, term = index % parts * sum->chunk;
    return (fc_block){run, fc_min(sum->block_runs, sum->runs - run), term, fc_min(sum->chunk, sum->run_length - term)};
}

/* The sum cut more coarsely: into ranges of up to so many blocks, all of one run or of whole runs. */
static inline fc_sum fc_coarser_blocks(const fc_sum *sum, int64_t blocks) {
    const int64_t parts = fc_ceil_div(sum->run_length, sum->chunk);
    fc_sum ranges = *sum;
    if (blocks < parts) {
        ranges.chunk = fc_min(blocks * sum->chunk, sum->run_length);
    } else {
        ranges.block_runs = fc_min(blocks / parts * sum->block_runs, sum->runs);
        ranges.chunk = sum->run_length;
    }
    return ranges;
}

/* The number of terms before a block's first one. */
static inline int64_t fc_first_term(const fc_sum *sum, const fc_block *b) {
    return b->first_run * sum->run_length + b->first_term;
}

#endif
