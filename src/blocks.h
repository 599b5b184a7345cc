/* The blocks of a sum, one after the other. */
#ifndef FC_BLOCKS_H
#define FC_BLOCKS_H

#include "problem.h"
#include "sizes.h"

/* Terms of the longest block, and the number of blocks. */
static inline int64_t fc_block_terms(const fc_sum *sum) {
    return sum->block_runs > 1 ? sum->block_runs * sum->run_length : sum->chunk;
}
static inline int64_t fc_block_count(const fc_sum *sum) {
    return fc_parts(sum->runs, sum->block_runs) * fc_parts(sum->run_length, sum->chunk);
}

/* One block of the sum: `run_count` runs from `first_run` on, of each of them `length` terms from `first_term` on. */
typedef struct fc_block {
    int64_t first_run, run_count, first_term, length;
} fc_block;

static inline fc_block fc_block_at(const fc_sum *sum, int64_t index) {
    const int64_t pieces = fc_parts(sum->run_length, sum->chunk);
    const int64_t run = index / pieces * sum->block_runs, term = index % pieces * sum->chunk;
    return (fc_block){run, fc_least(sum->block_runs, sum->runs - run), term,
                      fc_least(sum->chunk, sum->run_length - term)};
}

/* Blocks of up to so many of the sum's blocks: pieces of one run, or whole runs. */
static inline fc_sum fc_ranges(const fc_sum *sum, int64_t blocks) {
    const int64_t pieces = fc_parts(sum->run_length, sum->chunk);
    fc_sum ranges = *sum;
    if (blocks < pieces) {
        ranges.chunk = fc_least(blocks * sum->chunk, sum->run_length);
    } else {
        ranges.block_runs = fc_least(blocks / pieces * sum->block_runs, sum->runs);
        ranges.chunk = sum->run_length;
    }
    return ranges;
}

static inline int64_t fc_first_term(const fc_sum *sum, const fc_block *b) {
    return b->first_run * sum->run_length + b->first_term;
}

#endif
