/* Scratch is kept from call to call, for fresh pages cost more than small convolutions: one buffer, taken by one call
 * at a time; a call that finds it taken allocates its own. Its first line holds its size. */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* madvise */
#endif
#include "threads/scratch.h"
#include <stdlib.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

enum { LINE = 64 };
#define MOST_KEPT ((size_t)64 << 20)
/* Pages of 4 KB lie where they may, and may fill few sets of a second cache: a layer of 512 channels then takes twice
 * as long in one process as in another. */
#define HUGE_PAGE ((size_t)2 << 20)

static void *kept;
static size_t taken;

static void *allocate(size_t bytes) {
    const size_t unit = bytes < HUGE_PAGE / 2 ? LINE : HUGE_PAGE, size = (bytes + unit - 1) / unit * unit;
#ifdef _WIN32
    void *memory = _aligned_malloc(size, unit);
#else
    void *memory = aligned_alloc(unit, size);
#endif
#ifdef __linux__
    if (memory && unit == HUGE_PAGE) madvise(memory, size, MADV_HUGEPAGE);
#endif
    return memory;
}

static void release(void *memory) {
#ifdef _WIN32
    _aligned_free(memory);
#else
    free(memory);
#endif
}

void *fc_take_scratch(size_t bytes) {
    char *base = __atomic_exchange_n(&kept, NULL, __ATOMIC_ACQ_REL);
    __atomic_store_n(&taken, bytes, __ATOMIC_RELAXED);
    if (base && *(size_t *)base < bytes) {
        release(base);
        base = NULL;
    }
    if (!base) {
        base = allocate(bytes + LINE);
        if (!base) return NULL;
        *(size_t *)base = bytes;
    }
    return base + LINE;
}

void fc_give_scratch(void *scratch) {
    void *base = (char *)scratch - LINE;
    if (*(size_t *)base <= MOST_KEPT) base = __atomic_exchange_n(&kept, base, __ATOMIC_ACQ_REL);
    release(base);
}

size_t fc_scratch_bytes(void) { return __atomic_load_n(&taken, __ATOMIC_RELAXED); }
