/* How a thread sleeps until another changes a word: futexes on Linux, their like on Windows, else a condition. */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* syscall */
#endif
#include "threads/wait.h"
#include <stddef.h>

#if defined(__linux__)

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#if !defined(SYS_futex) && defined(SYS_futex_time64)
#define SYS_futex SYS_futex_time64
#endif

void fc_sleep_while(uint32_t *word, uint32_t value, int64_t nanoseconds) {
    const struct timespec most = {(time_t)(nanoseconds / 1000000000), (long)(nanoseconds % 1000000000)};
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, &most, NULL, 0);
}

void fc_wake(uint32_t *word, int count) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0); }

void fc_forget_sleepers(void) {}

#elif defined(_WIN32)

#include <windows.h>
#pragma comment(lib, "synchronization")

void fc_forget_sleepers(void) {}

void fc_sleep_while(uint32_t *word, uint32_t value, int64_t nanoseconds) {
    const int64_t milliseconds = nanoseconds / 1000000 + 1;
    WaitOnAddress(word, &value, sizeof value, milliseconds < INFINITE ? (DWORD)milliseconds : INFINITE);
}

void fc_wake(uint32_t *word, int count) {
    if (count == 1)
        WakeByAddressSingle(word);
    else
        WakeByAddressAll(word);
}

#elif defined(__wasm__)

/* There are no threads: nobody waits. */
void fc_sleep_while(uint32_t *word, uint32_t value, int64_t nanoseconds) { (void)word, (void)value, (void)nanoseconds; }
void fc_wake(uint32_t *word, int count) { (void)word, (void)count; }
void fc_forget_sleepers(void) {}

#else

#include <pthread.h>
#include <time.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER; /* some word, whichever */

void fc_forget_sleepers(void) {
    pthread_mutex_init(&mutex, NULL); /* another thread of the parent may have held it */
    pthread_cond_init(&changed, NULL);
}

void fc_sleep_while(uint32_t *word, uint32_t value, int64_t nanoseconds) {
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    nanoseconds += end.tv_nsec;
    end.tv_sec += (time_t)(nanoseconds / 1000000000);
    end.tv_nsec = (long)(nanoseconds % 1000000000);
    pthread_mutex_lock(&mutex);
    if (__atomic_load_n(word, __ATOMIC_SEQ_CST) == value) pthread_cond_timedwait(&changed, &mutex, &end);
    pthread_mutex_unlock(&mutex);
}

void fc_wake(uint32_t *word, int count) {
    (void)word, (void)count;    /* all are woken, as their words may differ */
    pthread_mutex_lock(&mutex); /* nobody is between a look at the word and sleep */
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

#endif

#ifdef _WIN32
int64_t fc_now(void) {
    static int64_t rate; /* the same whoever writes it */
    LARGE_INTEGER found;
    if (!rate) {
        QueryPerformanceFrequency(&found);
        rate = found.QuadPart;
    }
    QueryPerformanceCounter(&found);
    return found.QuadPart / rate * 1000000000 + found.QuadPart % rate * 1000000000 / rate;
}
#else
#include <time.h>
int64_t fc_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
#endif
