/* Work stealing: each thread has a queue of tasks, which it takes in order, and then takes what others have left.
 *
 * A thread's own tasks are the same in every equal call, so what they read and write may still be in its core's cache.
 */
#ifndef FC_THREADS_WORK_STEALING_H
#define FC_THREADS_WORK_STEALING_H

#include <stdint.h>

typedef struct fc_task_queue {
    int64_t next, end;
    char line[48]; /* each queue has a cache line of its own */
} fc_task_queue;

static inline void fc_split_tasks(fc_task_queue *queues, int threads, int64_t tasks) {
    for (int t = 0; t < threads; t++) {
        queues[t].next = tasks * t / threads;
        queues[t].end = tasks * (t + 1) / threads;
    }
}

/* A task for this thread; -1 when there are none. */
static inline int64_t fc_next_task(fc_task_queue *queues, int threads, int thread) {
    for (int i = 0; i < threads; i++) {
        fc_task_queue *queue = &queues[(thread + i) % threads];
        if (__atomic_load_n(&queue->next, __ATOMIC_RELAXED) >= queue->end) continue;
        const int64_t task = __atomic_fetch_add(&queue->next, 1, __ATOMIC_RELAXED);
        if (task < queue->end) return task;
    }
    return -1;
}

#endif
