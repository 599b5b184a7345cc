/* Tasks shared out to threads: each takes its own, in order, and then what others have left.
 *
 * A thread's own are the same in every equal call, so what they read and write may still be in its core's cache. */
#ifndef FC_THREADS_WORK_STEALING_H
#define FC_THREADS_WORK_STEALING_H

#include <stdint.h>

typedef struct fc_task_queue {
    int64_t next, end;
    char line[48]; /* shares lie in cache lines of their own */
} fc_task_queue;

static inline void fc_split_tasks(fc_task_queue *shares, int threads, int64_t tasks) {
    for (int t = 0; t < threads; t++) {
        shares[t].next = tasks * t / threads;
        shares[t].end = tasks * (t + 1) / threads;
    }
}

/* A task for this thread; -1 when there are none. */
static inline int64_t fc_next_task(fc_task_queue *shares, int threads, int thread) {
    for (int i = 0; i < threads; i++) {
        fc_task_queue *share = &shares[(thread + i) % threads];
        if (__atomic_load_n(&share->next, __ATOMIC_RELAXED) >= share->end) continue;
        const int64_t task = __atomic_fetch_add(&share->next, 1, __ATOMIC_RELAXED);
        if (task < share->end) return task;
    }
    return -1;
}

#endif
