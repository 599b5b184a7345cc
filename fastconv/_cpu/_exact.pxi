"""Images that are summed directly though Winograd's method would serve: part of _core.pyx, which includes it.

Their sums are exact so.
"""

cdef extern from "few_bits.h" nogil:
    ctypedef struct fc_bits:
        pass
    const fc_bits fc_no_bits
    int FC_EXACT_BITS
    int fc_bit_count(fc_bits bits)
    bint fc_add_bits_of_image(
        const fc_kernels *kernels, const fc_tensor *x, int64_t image, int64_t h, int64_t w, int64_t c, int most,
        fc_bits *seen,
    )
    bint fc_add_bits_of_filters(
        const fc_kernels *kernels, fc_dtype dtype, const fc_filters *w, const fc_problem *p, int most, fc_bits *seen
    )


cdef int bits_of_filters(const fc_forward *call) noexcept nogil:
    """How many bits hold all filters of a call by Winograd's method; 0 if they are too many, or all zeros."""
    cdef fc_bits seen = fc_no_bits
    if call.method != &fc_winograd_forward:
        return 0
    if not fc_add_bits_of_filters(call.kernels, call.x.dtype, &call.w, &call.problem, FC_EXACT_BITS - 1, &seen):
        return 0
    return fc_bit_count(seen)


cdef bint image_is_exact(const fc_forward *call, int64_t image, int bits) noexcept nogil:
    """Whether direct sums of an image are exact beside filters of so many bits, as far as products go."""
    cdef fc_bits seen = fc_no_bits
    cdef const fc_problem *p = &call.problem
    cdef int most = FC_EXACT_BITS - bits
    return fc_add_bits_of_image(call.kernels, &call.x, image, p.h, p.w, p.c, most, &seen) and fc_bit_count(seen) > 0


cdef bint gradient_is_exact(const fc_forward *call) noexcept nogil:
    """The same of the products of all images x and output gradients y, which are summed to the filters' gradient."""
    cdef fc_bits inputs = fc_no_bits
    cdef fc_bits gradients = fc_no_bits
    cdef const fc_problem *p = &call.problem
    cdef int most = FC_EXACT_BITS - 1
    cdef int64_t image
    for image in range(p.n):
        if not fc_add_bits_of_image(call.kernels, &call.y, image, p.oh, p.ow, p.f, most, &gradients):
            return False
        if not fc_add_bits_of_image(call.kernels, &call.x, image, p.h, p.w, p.c, most, &inputs):
            return False
        if fc_bit_count(inputs) + fc_bit_count(gradients) > FC_EXACT_BITS:
            return False
    return fc_bit_count(inputs) > 0 and fc_bit_count(gradients) > 0


cdef int share_out(fc_forward *calls, int count, int threads) except -1:
    """Runs the tasks of these calls on so many threads, or as many as there are tasks.

    An image's own numbers decide whether it is summed directly: those of the images beside it do not count.
    """
    cdef int index
    cdef int total = 0
    cdef bint few = False
    cdef fc_forward *apart
    with nogil:
        for index in range(count):
            few = few or bits_of_filters(&calls[index]) > 0
    if not few:
        return run_calls(calls, count, threads)
    for index in range(count):
        total += <int>min(calls[index].problem.n, 1 << 20)
    apart = <fc_forward *>calloc(total, sizeof(fc_forward))
    if apart == NULL:
        raise MemoryError(f"no memory for {total} images")
    try:
        total = 0
        with nogil:
            for index in range(count):
                total += take_apart(&calls[index], apart + total)
        return run_calls(apart, total, threads)
    finally:
        free(apart)


cdef int take_apart(const fc_forward *call, fc_forward *parts) noexcept nogil:
    """Writes the call as calls for images in turn that are summed alike; how many.

    No more than 2^20 are told apart: all further images are summed as the last of these.
    """
    cdef int bits = bits_of_filters(call)
    cdef int count = 0
    cdef int64_t image
    cdef int64_t size = fc_dtype_size(call.x.dtype)
    cdef bint is_exact
    cdef bint last = False
    for image in range(call.problem.n if bits else 0):
        is_exact = image_is_exact(call, image, bits)
        if count and (is_exact == last or image >= 1 << 20):
            parts[count - 1].problem.n += 1
            continue
        parts[count] = call[0]
        parts[count].problem.n = 1
        parts[count].x.data = <char *>call.x.data + image * call.x.stride_n * size
        parts[count].y.data = <char *>call.y.data + image * call.y.stride_n * size
        if is_exact:
            parts[count].method = &fc_implicit_gemm
            parts[count].packed = NULL
            memset(&parts[count].winograd, 0, sizeof(parts[count].winograd))
        last = is_exact
        count += 1
    if count == 0:
        parts[0] = call[0]
        count = 1
    return count
