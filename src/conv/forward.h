/* The methods of forward convolution, and what runs a call by the method that it names. */
#ifndef FC_CONV_FORWARD_H
#define FC_CONV_FORWARD_H

#include "conv/method.h"

/* All methods, in no order; null behind the last. */
extern const fc_method *const fc_methods[];

/* Before a thread's first task of one or several calls, whose tasks it may then take in any order. */
void fc_forward_begin(void *scratch);

/* A task of a call that was prepared; or of several calls, counted through all of them. */
void fc_forward_task(const fc_forward *call, int64_t task, void *scratch);
void fc_forward_task_of(const fc_forward *calls, int count, int64_t task, void *scratch);

#endif
