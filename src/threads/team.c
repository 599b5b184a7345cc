/* The team: jobs that callers post, and the threads that join them. */
#include "threads/team.h"
#include "base/float_mode.h"
#include "threads/work_stealing.h"
#include "threads/wait.h"
#include <stddef.h>
#include <string.h>
#ifndef _WIN32
#include <pthread.h>
#endif

/* Nanoseconds. */
enum {
    LEAST_SPIN = 2000,     /* of a thread without work, whose next call seldom comes soon */
    MOST_SPIN = 100000,    /* where calls follow one another: a sleeping thread is back after some 50 us */
    SPIN_AT_END = 50000,   /* of a caller for those that compute its last tasks */
    LOOK_ROUND = 50000000, /* between two questions whether the caller is interrupted */
};
#define FOREVER ((int64_t)3600000000000) /* of a thread's sleep, which then looks round and sleeps again */

enum { PAUSES = 16 }; /* between two looks at the clock */

enum {
    JOBS = 64,         /* at a time; further callers compute alone */
    MOST_QUEUES = 128, /* of a job's tasks, a cache line each; more threads than that share them */
};

/* The state of a job, in one word, so that a thread joins it, and its caller closes it, in one step. */
#define OPEN (1u << 31)     /* threads may join */
#define SLEEPING (1u << 30) /* its caller sleeps until the last of them has left */
enum {
    WANTED = 20, /* the first of ten bits: how many may join */
    JOINED = 10, /* how many have joined */
    RUNNING = 0, /* how many have not left */
    COUNT = (1 << 10) - 1,
};

typedef struct job {
    uint32_t state;
    uint32_t taken; /* whether a caller has it; jobs are never freed, so a late look at one finds memory */
    fc_task_function run;
    const void *call;
    fc_task_queue *queues;
    int queue_count;
    uint32_t stopped; /* the caller was interrupted: no further task is begun */
    char line[24];    /* jobs lie in cache lines of their own */
} job;

static job jobs[JOBS] __attribute__((aligned(64)));
static uint32_t posted __attribute__((aligned(64)));   /* calls so far; threads without work sleep while it stays */
static uint32_t sleepers __attribute__((aligned(64))); /* threads without work that sleep, or are about to */
static uint32_t members, growing;
static uint32_t forks; /* how often this process was forked from another */

static int field(uint32_t state, int first) { return (int)(state >> first & COUNT); }

/* What a thread computes a task of, and how it learns that it need not. */
typedef struct work {
    job *of;                  /* NULL outside a task */
    int (*interrupted)(void); /* NULL for all threads but the caller's */
    int64_t looked;           /* when that was last asked */
    fc_float_mode callers;    /* in which it is asked: it may run a handler of a signal */
} work;
static _Thread_local work at_hand;

int fc_team_stopped(void) {
    const work w = at_hand;
    if (!w.of) return 0;
    if (w.interrupted && fc_now() - w.looked > LOOK_ROUND) {
        const fc_float_mode ours = fc_float_mode_enter();
        fc_float_mode_leave(w.callers);
        if (w.interrupted()) __atomic_store_n(&w.of->stopped, 1, __ATOMIC_RELAXED);
        fc_float_mode_leave(ours);
        at_hand.looked = fc_now();
    }
    return (int)__atomic_load_n(&w.of->stopped, __ATOMIC_RELAXED);
}

/* Takes tasks until there are none; -1 if it was interrupted. */
static int take_tasks(job *j, int slot, int preferred, int (*interrupted)(void)) {
    const work outer = at_hand; /* where a handler of a signal makes a call */
    at_hand = (work){.of = j, .interrupted = interrupted, .callers = fc_float_mode_enter()};
    fc_float_mode_leave(at_hand.callers);
    if (interrupted) at_hand.looked = fc_now();
    int stopped;
    while (!(stopped = fc_team_stopped())) {
        const int64_t task = fc_next_task(j->queues, j->queue_count, preferred);
        if (task < 0) break;
        j->run(j->call, task, slot);
    }
    at_hand = outer;
    return stopped ? -1 : 0;
}

/* Joins a job that wants more threads, and computes of it what is left; 0 if there is none. */
static int join_one(int member) {
    for (int i = 0; i < JOBS; i++) {
        job *j = &jobs[i];
        uint32_t state = __atomic_load_n(&j->state, __ATOMIC_RELAXED);
        while (state & OPEN && field(state, JOINED) < field(state, WANTED)) {
            const uint32_t joined = state + (1u << JOINED) + (1u << RUNNING);
            if (!__atomic_compare_exchange_n(&j->state, &state, joined, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
                continue;
            /* A member prefers the same tasks in every equal call, whichever slot it gets. */
            take_tasks(j, 1 + field(state, JOINED), (1 + member) % j->queue_count, NULL);
            const uint32_t before = __atomic_fetch_sub(&j->state, 1u << RUNNING, __ATOMIC_ACQ_REL);
            if (before & SLEEPING && field(before, RUNNING) == 1) fc_wake(&j->state, 1);
            return 1;
        }
    }
    return 0;
}

void fc_team_serve(int member) {
    int64_t spin = MOST_SPIN / 2;
    for (;;) {
        const uint32_t seen = __atomic_load_n(&posted, __ATOMIC_ACQUIRE);
        if (join_one(member)) continue;
        const int64_t start = fc_now();
        int awake = 0;
        while (!awake && fc_now() - start < spin)
            for (int i = 0; i < PAUSES && !awake; i++) {
                fc_pause();
                awake = __atomic_load_n(&posted, __ATOMIC_ACQUIRE) != seen;
            }
        if (!awake) {
            __atomic_fetch_add(&sleepers, 1, __ATOMIC_SEQ_CST);
            while (__atomic_load_n(&posted, __ATOMIC_SEQ_CST) == seen) fc_sleep_while(&posted, seen, FOREVER);
            __atomic_fetch_sub(&sleepers, 1, __ATOMIC_SEQ_CST);
        }
        /* It spins longer where a little more would have found the next call, and less where all was in vain. */
        spin = fc_now() - start < MOST_SPIN ? 2 * spin : spin / 2;
        spin = spin < LEAST_SPIN ? LEAST_SPIN : spin > MOST_SPIN ? MOST_SPIN : spin;
    }
}

void fc_team_rest(void) {
    uint32_t never = 0;
    for (;;) fc_sleep_while(&never, 0, FOREVER);
}

/* A job that no other caller has, or NULL. */
static job *take_job(void) {
    for (int i = 0; i < JOBS; i++)
        if (!__atomic_load_n(&jobs[i].taken, __ATOMIC_RELAXED) &&
            !__atomic_exchange_n(&jobs[i].taken, 1, __ATOMIC_ACQUIRE))
            return &jobs[i];
    return NULL;
}

static void post(job *j, int wanted) {
    __atomic_store_n(&j->state, OPEN | (uint32_t)wanted << WANTED, __ATOMIC_RELEASE);
    __atomic_fetch_add(&posted, 1, __ATOMIC_SEQ_CST);
    const int asleep = (int)__atomic_load_n(&sleepers, __ATOMIC_SEQ_CST);
    if (asleep) fc_wake(&posted, wanted < asleep ? wanted : asleep);
}

/* Waits until those who joined have left. */
static void wait_for_end(job *j, int (*interrupted)(void)) {
    uint32_t state = __atomic_and_fetch(&j->state, ~OPEN, __ATOMIC_ACQ_REL);
    const int64_t start = fc_now();
    while (field(state, RUNNING) && fc_now() - start < SPIN_AT_END)
        for (int i = 0; i < PAUSES && field(state, RUNNING); i++) {
            fc_pause();
            state = __atomic_load_n(&j->state, __ATOMIC_ACQUIRE);
        }
    if (!field(state, RUNNING)) return;
    state = __atomic_or_fetch(&j->state, SLEEPING, __ATOMIC_ACQ_REL);
    while (field(state, RUNNING)) {
        fc_sleep_while(&j->state, state, LOOK_ROUND);
        state = __atomic_load_n(&j->state, __ATOMIC_ACQUIRE);
        if (field(state, RUNNING) && interrupted && interrupted()) {
            __atomic_store_n(&j->stopped, 1, __ATOMIC_RELAXED);
            interrupted = NULL; /* once is enough */
        }
    }
}

int fc_team_run(fc_task_function run, const void *call, int64_t tasks, int slots, int (*interrupted)(void)) {
    fc_task_queue queues[MOST_QUEUES];
    job alone, *j = NULL;
    if (tasks < slots) slots = (int)tasks;
    if (slots > 1 && fc_team_members() > 0) j = take_job();
    if (!j) {
        slots = 1;
        j = &alone;
    }
    j->run = run;
    j->call = call;
    j->queues = queues;
    j->queue_count = slots < MOST_QUEUES ? slots : MOST_QUEUES;
    j->stopped = 0;
    fc_split_tasks(queues, j->queue_count, tasks);
    if (j == &alone) return take_tasks(j, 0, 0, interrupted);
    const uint32_t process = forks;
    post(j, slots - 1);
    const int was_interrupted = take_tasks(j, 0, 0, interrupted);
    if (process == forks)
        wait_for_end(j, was_interrupted ? NULL : interrupted); /* an exception is not asked for twice */
    if (process != forks) return -1; /* a handler of a signal forked this process: the others are in its parent */
    const int stopped = (int)j->stopped;
    __atomic_store_n(&j->state, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&j->taken, 0, __ATOMIC_RELEASE);
    return stopped ? -1 : 0;
}

int fc_team_members(void) { return (int)__atomic_load_n(&members, __ATOMIC_ACQUIRE); }

#ifdef _WIN32

int fc_threads_to_be_had(int wanted) { return wanted; }
static void forget_in_children(void) {}

#else

static void *wait_for_order(void *order) {
    while (!__atomic_load_n((uint32_t *)order, __ATOMIC_ACQUIRE)) fc_sleep_while(order, 0, FOREVER);
    return NULL;
}

int fc_threads_to_be_had(int wanted) {
    pthread_t threads[FC_MOST_SLOTS];
    uint32_t order = 0;
    int had = 0;
    if (wanted > FC_MOST_SLOTS) wanted = FC_MOST_SLOTS;
    while (had < wanted && !pthread_create(&threads[had], NULL, wait_for_order, &order)) had++;
    __atomic_store_n(&order, 1, __ATOMIC_RELEASE);
    fc_wake(&order, had);
    for (int i = 0; i < had; i++) pthread_join(threads[i], NULL);
    return had;
}

/* In a child, where the caller alone exists. */
static void forget(void) {
    fc_forget_sleepers();
    memset(jobs, 0, sizeof jobs);
    posted = sleepers = members = growing = 0;
    forks++;
}

static void forget_in_children(void) {
    static int done;
    if (!done) done = !pthread_atfork(NULL, NULL, forget);
}

#endif

int fc_team_may_grow(void) {
    if (__atomic_exchange_n(&growing, 1, __ATOMIC_ACQUIRE)) return 0;
    forget_in_children();
    return 1;
}

void fc_team_grown(int count) {
    __atomic_store_n(&members, (uint32_t)count, __ATOMIC_RELEASE);
    __atomic_store_n(&growing, 0, __ATOMIC_RELEASE);
}
