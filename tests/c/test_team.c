/* Tests of the team: every task is computed once, in a slot of its own, whoever calls, joins, or interrupts. */
#include "support.h"
#include "threads/team.h"
#include <pthread.h>
#include <time.h>

enum { MEMBERS = 5, CALLERS = 4, TASKS = 300 };

typedef struct counted {
    uint32_t computed[TASKS];
    uint32_t busy[FC_MOST_SLOTS]; /* slots that compute a task just now */
    uint32_t wrong, slots;
} counted;

static void count_task(const void *call, int64_t task, int slot) {
    counted *c = (counted *)call;
    if (slot < 0 || slot >= (int)c->slots || __atomic_fetch_add(&c->busy[slot], 1, __ATOMIC_RELAXED))
        __atomic_store_n(&c->wrong, 1, __ATOMIC_RELAXED);
    for (volatile int spin = 0; spin < 300; spin++) continue;
    __atomic_fetch_add(&c->computed[task], 1, __ATOMIC_RELAXED);
    __atomic_fetch_sub(&c->busy[slot], 1, __ATOMIC_RELAXED);
}

static void *serve(void *member) {
    fc_team_serve((int)(intptr_t)member);
    return NULL;
}

/* Calls of all sizes, one after the other; whether some task was computed twice, not at all, or beside another. */
static void *call_often(void *seed) {
    uint64_t random = (uint64_t)(intptr_t)seed * 2654435761u + 1;
    counted *c = calloc(1, sizeof *c);
    for (int round = 0; round < 200; round++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        const int64_t tasks = (int64_t)(random >> 33) % (TASKS + 1);
        memset(c, 0, sizeof *c);
        c->slots = 1 + (uint32_t)(random >> 20) % (MEMBERS + 3);
        if (fc_team_run(count_task, c, tasks, (int)c->slots, NULL)) c->wrong = 1;
        for (int64_t task = 0; task < TASKS; task++)
            if (c->computed[task] != (task < tasks)) c->wrong = 1;
        if (c->wrong) {
            free(c);
            return (void *)1;
        }
    }
    free(c);
    return NULL;
}

static uint32_t asked;
static int after_three_questions(void) { return ++asked == 3; }

static void slow_task(const void *call, int64_t task, int slot) {
    (void)task, (void)slot;
    struct timespec a_while = {0, 30000000};
    nanosleep(&a_while, NULL);
    __atomic_fetch_add((uint32_t *)call, 1, __ATOMIC_RELAXED);
}

/* A call stops soon after it was told to, alone or not, and no task runs on after its end. */
static void test_interruption(int slots) {
    uint32_t computed = 0;
    asked = 0;
    if (fc_team_run(slow_task, &computed, 1000, slots, after_three_questions) != -1) fail("interruption", "", slots, 0);
    const uint32_t at_end = __atomic_load_n(&computed, __ATOMIC_RELAXED);
    if (at_end < 3 || at_end > 100) fail("tasks before an interruption", "", slots, at_end);
    nanosleep(&(struct timespec){0, 60000000}, NULL);
    if (__atomic_load_n(&computed, __ATOMIC_RELAXED) != at_end) fail("a task after the end of its call", "", slots, 0);
}

static void endless_task(const void *call, int64_t task, int slot) {
    (void)call, (void)task, (void)slot;
    while (!fc_team_stopped()) nanosleep(&(struct timespec){0, 1000000}, NULL);
}

/* Tasks that ask end within a call that was told to stop, those of other threads too; outside a task the answer is no.
 */
static void test_tasks_that_ask(int slots) {
    asked = 0;
    if (fc_team_run(endless_task, NULL, 7, slots, after_three_questions) != -1) fail("a task asks", "", slots, 0);
    if (asked != 3 || fc_team_stopped()) fail("questions of tasks", "", slots, asked);
}

static void test_calls_side_by_side(void) {
    pthread_t callers[CALLERS];
    for (intptr_t i = 0; i < CALLERS; i++) pthread_create(&callers[i], NULL, call_often, (void *)(i + 1));
    for (int i = 0; i < CALLERS; i++) {
        void *wrong;
        pthread_join(callers[i], &wrong);
        if (wrong) fail("tasks of callers side by side", "", i, fc_team_members());
    }
}

int main(void) {
    test_calls_side_by_side(); /* without a team each caller computes alone */
    test_interruption(1);
    test_tasks_that_ask(1);
    if (!fc_team_may_grow() || fc_team_may_grow()) fail("one caller alone adds threads", "", 0, 0);
    if (fc_threads_to_be_had(MEMBERS) != MEMBERS) fail("threads to be had", "", MEMBERS, 0);
    for (intptr_t member = 0; member < MEMBERS; member++) {
        pthread_t thread;
        pthread_create(&thread, NULL, serve, (void *)member);
        pthread_detach(thread);
    }
    fc_team_grown(MEMBERS);
    test_calls_side_by_side();
    nanosleep(&(struct timespec){0, 20000000}, NULL); /* by now the members sleep */
    test_calls_side_by_side();
    test_interruption(3);
    test_tasks_that_ask(3);
    return 0;
}
