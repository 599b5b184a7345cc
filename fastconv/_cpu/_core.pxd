"""The C side as Cython sees it: the headers in src/, and the functions of _core.pyx that compute calls on threads."""

from libc.stdint cimport int64_t


cdef extern from "base/dtype.h" nogil:
    ctypedef enum fc_dtype:
        FC_F32, FC_F64, FC_I32, FC_F16, FC_BF16

    int fc_dtype_size(fc_dtype dtype)
    fc_dtype fc_accumulator(fc_dtype dtype)

cdef extern from "base/problem.h" nogil:
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

    ctypedef struct fc_tensor:
        void *data
        fc_dtype dtype
        int64_t stride_n, stride_h, stride_w, stride_c

    ctypedef struct fc_filters:
        const void *data
        int64_t group, h, w, depth, column

cdef extern from "kernels/spatial.h" nogil:
    cdef enum:
        FC_SPATIAL_LANES

cdef extern from "kernels/epilogue.h" nogil:
    ctypedef enum fc_activation:
        FC_LINEAR, FC_RELU, FC_RELU6, FC_LEAKY_RELU, FC_SILU, FC_HARD_SWISH, FC_SIGMOID, FC_TANH,
        FC_GELU, FC_GELU_TANH

    ctypedef struct fc_epilogue:
        const void *bias
        int bias_of_rows
        fc_activation activation
        double slope

cdef extern from "kernels/kernels.h" nogil:
    ctypedef struct fc_kernels:
        const char *name
        int fused

    int fc_kernels_count()
    const fc_kernels *fc_kernels_built(int index)
    int fc_kernels_supported(int index)

cdef extern from "conv/method.h" nogil:
    ctypedef struct fc_method:
        const char *name

    ctypedef struct fc_forward:
        fc_problem problem
        fc_sum sum
        fc_winograd tile
        const fc_kernels *kernels
        fc_tensor x, y
        fc_filters w
        const fc_method *method
        fc_epilogue epilogue
        const void *magnitudes
        const void *packed
        int64_t tasks, first_task, pack_tasks
        int64_t scratch_bytes

    void fc_prepare(fc_forward *call, int threads)
    bint fc_can_pack(const fc_forward *call)
    int64_t fc_packed_size(const fc_forward *call)
    int64_t fc_pack_tasks(const fc_forward *call)
    void fc_pack(const fc_forward *call, int64_t task, void *packed)
    int64_t fc_magnitudes_size(const fc_forward *call)
    void fc_measure(const fc_forward *call, void *magnitudes)

cdef extern from "conv/part.h" nogil:
    ctypedef struct fc_part:
        int64_t x_row, x_column, y_row, y_column, y_step_h, y_step_w
        int64_t tap_row, tap_column, tap_step_h, tap_step_w
        int64_t group

    void fc_place_part(
        fc_forward *call, const fc_part *part, int64_t n, const fc_tensor *x, const fc_tensor *y, const fc_filters *w
    )

cdef extern from "conv/forward.h" nogil:
    const fc_method *fc_methods[]
    bint fc_may_be_exact(const fc_forward *call)
    int64_t fc_parts_at_most(const fc_forward *call)
    int64_t fc_take_apart(const fc_forward *call, fc_forward *parts)
    void fc_forward_begin(void *scratch)
    void fc_forward_task_of(const fc_forward *calls, int count, int64_t task, void *scratch)

cdef extern from "conv/filter_method.h" nogil:
    ctypedef enum fc_outcome:
        FC_SOUND
        FC_REPLACE_NOT_FINITE
        FC_REPLACE_ALL

    ctypedef struct fc_filter_method:
        const char *name

    ctypedef struct fc_pixel_sum:
        int64_t rows, columns, slices, portions

    ctypedef struct fc_backprop_filter:
        const fc_filter_method *method
        const fc_kernels *kernels
        fc_problem problem
        fc_sum sum
        fc_winograd tile
        fc_pixel_sum pixels
        fc_tensor x, dy
        void *dw
        int64_t portion
        int64_t tasks, sum_tasks
        int64_t scratch_bytes, partial_bytes

    bint fc_filter_is_exact(const fc_backprop_filter *call)
    void fc_prepare_filter(fc_backprop_filter *call, int threads)
    void fc_filter_task(const fc_backprop_filter *call, int64_t task, void *scratch, void *partial)
    fc_outcome fc_filter_outcome(const fc_backprop_filter *call, void *partial)

cdef extern from "conv/backprop_filter.h" nogil:
    const fc_filter_method *fc_filter_methods[]

cdef extern from "conv/pixel_blocks.h" nogil:
    void fc_sum_slices(const fc_backprop_filter *call, int64_t sum, void *partial)

cdef extern from "winograd/grid.h" nogil:
    cdef enum:
        FC_WIDEST

cdef extern from "winograd/backprop_filter.h" nogil:
    cdef enum:
        FC_RANGE

cdef extern from "layers/epilogue.h" nogil:
    ctypedef struct fc_epilogue_pass:
        const fc_kernels *kernels
        fc_dtype dtype
        fc_epilogue epilogue
        int64_t biases
        int64_t elements, columns
        const void *source
        void *result
        int64_t tasks

    void fc_epilogue_pass_split(fc_epilogue_pass *call)
    void fc_epilogue_pass_task(const fc_epilogue_pass *call, int64_t task)

cdef extern from "layers/pool.h" nogil:
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

cdef extern from "layers/elementwise.h" nogil:
    cdef enum:
        FC_NORMALIZATION_RADIUS

    ctypedef struct fc_normalization:
        const void *x
        const void *y
        const void *dy
        void *result
        int64_t channels, radius
        double bias, alpha, beta

    ctypedef struct fc_normalization_call:
        const fc_kernels *kernels
        fc_dtype dtype
        fc_normalization operands
        int64_t pixels
        int64_t tasks

    void fc_normalization_split(fc_normalization_call *call)
    void fc_normalization_task(const fc_normalization_call *call, int64_t task)

    ctypedef struct fc_activation_grad:
        const fc_kernels *kernels
        fc_dtype dtype
        fc_activation activation
        double parameter
        const void *dy
        const void *x
        void *dx
        int64_t count
        int64_t tasks

    void fc_activation_grad_split(fc_activation_grad *call)
    void fc_activation_grad_task(const fc_activation_grad *call, int64_t task)


cdef const fc_kernels *kernels() noexcept
cdef const fc_method *method_of(str name) except NULL
cdef const fc_filter_method *filter_method_of(str name) except NULL
cdef int run_forward(fc_forward *calls, int count, int threads) except -1
cdef int run_pack(const fc_forward *call, int64_t tasks, void *packed, int threads) except -1
cdef int run_backprop_filter(fc_backprop_filter *call, int threads) except -1
cdef int run_epilogue_pass(fc_epilogue_pass *call, int threads) except -1
cdef int run_pool(fc_pool *call, int threads) except -1
cdef int run_normalization(fc_normalization_call *call, int threads) except -1
cdef int run_activation_grad(fc_activation_grad *call, int threads) except -1
