"""The C side as Cython sees it: the headers in src/."""

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

    ctypedef struct fc_winograd:
        int64_t rows, columns
        int64_t block, halves

    ctypedef enum fc_dtype:
        FC_F32, FC_F64, FC_I32, FC_F16, FC_BF16

    ctypedef struct fc_tensor:
        void *data
        fc_dtype dtype
        int64_t stride_n, stride_h, stride_w, stride_c

    ctypedef struct fc_filters:
        const void *data
        int64_t group, h, w, depth, column

cdef extern from "kernels.h" nogil:
    ctypedef struct fc_kernels:
        const char *name
        int fused

    ctypedef enum fc_activation:
        FC_LINEAR, FC_RELU, FC_RELU6, FC_LEAKY_RELU, FC_SILU, FC_HARD_SWISH, FC_SIGMOID, FC_TANH,
        FC_GELU, FC_GELU_TANH

    ctypedef struct fc_epilogue:
        const void *bias
        int bias_of_rows
        fc_activation activation
        double slope

    int fc_kernels_count()
    const fc_kernels *fc_kernels_built(int index)
    int fc_kernels_supported(int index)

cdef extern from "method.h" nogil:
    ctypedef struct fc_method:
        const char *name

    ctypedef struct fc_forward:
        fc_problem problem
        fc_sum sum
        fc_winograd winograd
        const fc_kernels *kernels
        fc_tensor x, y
        fc_filters w
        const fc_method *method
        fc_epilogue epilogue
        const void *magnitudes
        const void *packed
        int64_t tasks, pack_tasks
        int64_t scratch_bytes

    void fc_prepare(fc_forward *call, int threads)
    bint fc_can_pack(const fc_forward *call)
    int64_t fc_packed_size(const fc_forward *call)
    int64_t fc_pack_tasks(const fc_forward *call)
    void fc_pack(const fc_forward *call, int64_t task, void *packed)
    int64_t fc_magnitudes_size(const fc_forward *call)
    void fc_weigh(const fc_forward *call, void *magnitudes)

cdef extern from "forward.h" nogil:
    const fc_method *fc_methods[]
    void fc_forward_begin(void *scratch)
    void fc_forward_task_of(const fc_forward *calls, int64_t task, void *scratch)

cdef extern from "implicit_gemm.h" nogil:
    const fc_method fc_implicit_gemm

cdef extern from "winograd.h" nogil:
    const fc_method fc_winograd_forward

cdef extern from "winograd_filters.h" nogil:
    cdef enum:
        FC_WIDEST

cdef extern from "kernels.h" nogil:
    cdef enum:
        FC_IMAGE_LANES

cdef extern from "winograd_gradient.h" nogil:
    cdef enum:
        FC_RANGE

cdef extern from "pack.h" nogil:
    int fc_dtype_size(fc_dtype dtype)

cdef extern from "epilogue.h" nogil:
    ctypedef struct fc_finishing:
        const fc_kernels *kernels
        fc_dtype dtype
        fc_epilogue epilogue
        int64_t biases
        int64_t elements, columns
        const void *source
        void *result
        int64_t tasks

    void fc_finishing_split(fc_finishing *call)
    void fc_finishing_task(const fc_finishing *call, int64_t task)

cdef extern from "pool.h" nogil:
    ctypedef struct fc_pool:
        const fc_kernels *kernels
        int average, gradient
        int64_t n, h, w, c, oh, ow
        int64_t kh, kw, stride_h, stride_w, pad_top, pad_left
        fc_tensor x
        void *y
        int64_t *places
        const void *dy
        void *dx
        fc_dtype dtype
        int64_t tasks

    void fc_pool_split(fc_pool *call, int threads)
    void fc_pool_task(const fc_pool *call, int64_t task)

cdef extern from "elementwise.h" nogil:
    ctypedef struct fc_normalization:
        const void *x
        const void *y
        const void *dy
        void *result
        int64_t channels, radius
        double bias, alpha, beta

    void fc_normalize(
        const fc_kernels *kernels,
        fc_dtype dtype,
        const fc_normalization *call,
        int64_t first_pixel,
        int64_t end_pixel,
    )
    ctypedef struct fc_activation_grad:
        const fc_kernels *kernels
        fc_dtype dtype
        fc_activation activation
        double parameter
        const void *dy
        const void *x
        void *dx

    void fc_activation_grad_range(const fc_activation_grad *call, int64_t first, int64_t end)

cdef extern from "filter_method.h" nogil:
    ctypedef enum fc_verdict:
        FC_SOUND
        FC_NOT_FINITE
        FC_UNEVEN

    ctypedef struct fc_filter_method:
        const char *name

    ctypedef struct fc_pixel_sum:
        int64_t rows, columns, slices, portions

    ctypedef struct fc_backprop_filter:
        const fc_filter_method *method
        fc_forward forward
        fc_pixel_sum pixels
        int64_t portion
        void *w
        int64_t tasks, sums
        int64_t scratch_bytes, partial_bytes

    void fc_prepare_filter(fc_backprop_filter *call, int threads)
    void fc_filter_task(const fc_backprop_filter *call, int64_t task, void *scratch, void *partial)
    fc_verdict fc_filter_verdict(const fc_backprop_filter *call, void *partial)

cdef extern from "backprop_filter.h" nogil:
    const fc_filter_method *fc_filter_methods[]

cdef extern from "pixel_blocks.h" nogil:
    void fc_sum_slices(const fc_backprop_filter *call, int64_t sum, void *partial)
