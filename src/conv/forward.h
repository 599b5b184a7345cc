/* The methods of forward convolution, and what runs a call by the method that it names. */
#ifndef FC_CONV_FORWARD_H
#define FC_CONV_FORWARD_H

#include "conv/method.h"

/* All methods, in no order; null behind the last. */
extern const fc_method *const fc_methods[];

/* Whether fc_take_apart may make other calls of a call, and how many, at most. */
int fc_may_be_exact(const fc_forward *call);
int64_t fc_parts_at_most(const fc_forward *call);

/* Writes the call as calls for images in turn, each by the method that serves it, or as it is; returns how many. */
int64_t fc_take_apart(const fc_forward *call, fc_forward *parts);

/* Before a thread's first task of one or several calls, whose tasks it may then take in any order. */
void fc_forward_begin(void *scratch);

/* A task of a call that was prepared; or of several calls, counted through all of them. */
void fc_forward_task(const fc_forward *call, int64_t task, void *scratch);
void fc_forward_task_of(const fc_forward *calls, int count, int64_t task, void *scratch);

#endif
