/* The element types of tensors: how each is stored, and in which type its sums are formed. */
#ifndef FC_BASE_DTYPE_H
#define FC_BASE_DTYPE_H

typedef enum fc_dtype { FC_F32, FC_F64, FC_I32, FC_F16, FC_BF16, FC_DTYPES } fc_dtype;

typedef struct fc_dtype_record {
    int size; /* bytes of an element as stored */
    fc_dtype
        accumulator; /* the type of sums, biases and staged elements; where it is another, elements are converted */
} fc_dtype_record;

static const fc_dtype_record fc_dtypes[FC_DTYPES] = {
    [FC_F32] = {4, FC_F32}, [FC_F64] = {8, FC_F64},  [FC_I32] = {4, FC_I32}, /* sums of integers wrap */
    [FC_F16] = {2, FC_F32}, [FC_BF16] = {2, FC_F32},
};

static inline int fc_dtype_size(fc_dtype dtype) { return fc_dtypes[dtype].size; }
static inline fc_dtype fc_accumulator(fc_dtype dtype) { return fc_dtypes[dtype].accumulator; }
static inline int fc_is_converted(fc_dtype dtype) { return fc_accumulator(dtype) != dtype; }

#endif
