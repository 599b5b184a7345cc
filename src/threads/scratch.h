/* Memory that a call needs while it runs. */
#ifndef FC_THREADS_SCRATCH_H
#define FC_THREADS_SCRATCH_H

#include <stddef.h>

/* So many bytes, from a cache line's first on; NULL if there is no memory. */
void *fc_take_scratch(size_t bytes);
void fc_give_scratch(void *scratch);

/* What the last call took. */
size_t fc_scratch_bytes(void);

#endif
