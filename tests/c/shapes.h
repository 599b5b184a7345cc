/* The shapes of tiles in Winograd's filtering that fc_winograd allows; the first also with stride 2. */
#ifndef FC_TEST_SHAPES_H
#define FC_TEST_SHAPES_H

#include <stdint.h>

static const int64_t fc_shapes[9][2] = {{2, 2}, {2, 4}, {4, 2}, {4, 4}, {3, 3}, {1, 3}, {1, 4}, {3, 1}, {4, 1}};

#endif
