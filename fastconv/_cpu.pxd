"""The C side as Cython sees it: src/problem.h, src/kernels.h and src/forward.h."""

from libc.stdint cimport int64_t


cdef extern from "problem.h" nogil:
    ctypedef struct fc_problem:
        int64_t n, h, w, c
        int64_t kh, kw, f
        int64_t oh, ow
        int64_t stride_h, stride_w
        int64_t dilation_h, dilation_w
        int64_t pad_top, pad_bottom, pad_left, pad_right
        int64_t groups

    ctypedef struct fc_sum:
        int64_t folded
        int64_t runs, run_length
        int64_t block_runs, chunk

    ctypedef enum fc_dtype:
        FC_F32, FC_F64, FC_I32, FC_F16, FC_BF16

    ctypedef struct fc_tensor:
        void *data
        fc_dtype dtype
        int64_t stride_n, stride_h, stride_w, stride_c

cdef extern from "kernels.h" nogil:
    ctypedef struct fc_kernels:
        const char *name
        int fused

    int fc_kernels_count()
    const fc_kernels *fc_kernels_built(int index)
    int fc_kernels_supported(int index)

cdef extern from "forward.h" nogil:
    ctypedef struct fc_forward:
        fc_problem problem
        fc_sum sum
        const fc_kernels *kernels
        fc_tensor x, y
        const void *w
        int along_rows
        int64_t tasks
        int64_t scratch_bytes

    void fc_forward_split(fc_forward *call, int threads)
    void fc_forward_begin(void *scratch)
    void fc_forward_task(const fc_forward *call, int64_t task, void *scratch)
