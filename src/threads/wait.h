/* How a thread sleeps until another changes a word, and what time it is, on each system. */
#ifndef FC_THREADS_WAIT_H
#define FC_THREADS_WAIT_H

#include <stdint.h>

/* Sleeps while the word has this value, for so many nanoseconds at most; it may wake without a reason. */
void fc_sleep_while(uint32_t *word, uint32_t value, int64_t nanoseconds);

/* Wakes up to so many threads that sleep because of the word. */
void fc_wake(uint32_t *word, int count);

/* In a forked child, where those that slept do not exist. */
void fc_forget_sleepers(void);

/* Nanoseconds since some moment. */
int64_t fc_now(void);

/* Tells the CPU that this thread spins. */
static inline void fc_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory"); /* waits some 10 ns; yield is no operation on most cores */
#endif
}

#endif
