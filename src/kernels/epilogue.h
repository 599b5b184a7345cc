/* The contract of the epilogue kernel (epilogue.inc): bias and activation, in place. */
#ifndef FC_KERNELS_EPILOGUE_H
#define FC_KERNELS_EPILOGUE_H

#include <stdint.h>

typedef enum fc_activation {
    FC_LINEAR,
    FC_RELU,
    FC_RELU6,
    FC_LEAKY_RELU,
    FC_SILU,
    FC_HARD_SWISH,
    FC_SIGMOID,
    FC_TANH,
    FC_GELU,     /* fastconv.nn.gelu, exact; not in an epilogue of the public interface */
    FC_GELU_TANH /* fastconv.nn.gelu, approximate; not there either */
} fc_activation;

/* Each sum gets a bias, if there are any, and then the activation. */
typedef struct fc_epilogue {
    const void *bias; /* of the arithmetic type, one for each column; null: none */
    int bias_of_rows; /* 1: there is one for each row instead */
    fc_activation activation;
    double slope; /* of FC_LEAKY_RELU below 0 */
} fc_epilogue;

/* Applies it in place to `rows` rows of `columns` elements, `stride` elements apart. */
typedef void fc_epilogue_fn(const fc_epilogue *epilogue, void *elements, int64_t rows, int64_t columns, int64_t stride);

#endif
