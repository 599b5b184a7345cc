/* The team: threads that wait for calls and take tasks of them, beside the threads that make the calls.
 *
 * A caller posts a job, takes its tasks, and is joined by those of the team that are free. It waits for no thread that
 * has not begun a task, so a thread that other processes keep from running delays nobody. A thread without work spins
 * for some microseconds, lest calls in a row wake it each time, and then sleeps. */
#ifndef FC_THREADS_TEAM_H
#define FC_THREADS_TEAM_H

#include <stdint.h>

enum { FC_MOST_SLOTS = 1024 }; /* threads of a job */

/* Computes a task. Those that run at one time have different slots, from 0 on; a slot's scratch is the task's own. */
typedef void (*fc_task_function)(const void *call, int64_t task, int slot);

/* Computes all tasks of a call on this thread, in slot 0, and on others in slots below `slots`. -1 if `interrupted`,
 * which is asked now and then, told to stop: then some tasks were not computed; else 0. */
int fc_team_run(fc_task_function run, const void *call, int64_t tasks, int slots, int (*interrupted)(void));

/* Whether the call whose task this thread computes was interrupted: the task may end early, as nobody uses the result.
 * Tasks of more than some 50 ms ask now and then. */
int fc_team_stopped(void);

/* What a thread of the team does, until the process ends; the members are numbered from 0 on. */
void fc_team_serve(int member);

/* What the thread does that started them: it sleeps until the process ends. */
void fc_team_rest(void);

/* How many threads may join a job. In a forked child, where they do not exist, none. */
int fc_team_members(void);

/* Whether the caller is the one to add threads, as nobody else just does; then it must say fc_team_grown, with as many
 * members as there are in the end. */
int fc_team_may_grow(void);
void fc_team_grown(int members);

/* How many of so many threads the system lets this process have at once, now. */
int fc_threads_to_be_had(int wanted);

#endif
