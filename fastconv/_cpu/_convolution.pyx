# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, freethreading_compatible=True
"""Convolutions and gradients of filters: what a plan knows, as the C side takes it, and what a call adds to that."""

import numpy

cimport cython
cimport numpy as cnp
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from fastconv._cpu._core cimport (
    FC_REPLACE_ALL, FC_SOUND, fc_backprop_filter, fc_can_pack, fc_dtype, fc_filters, fc_forward, fc_pack_tasks,
    fc_packed_size, fc_part, fc_place_part, fc_problem, fc_sum, fc_tensor, fc_winograd, filter_method_of, kernels,
    method_of, run_backprop_filter, run_forward, run_pack,
)
from fastconv._cpu._layers cimport epilogue_of
from fastconv._cpu._tensors cimport (
    check_arrays, dtype_of, filters_of, images, part_of, problem_of, sum_of, tensor, winograd_of,
)

from fastconv._cpu._core import instruction_set
from fastconv._cpu._layers import apply_epilogue

cnp.import_array()


@cython.final
cdef class Convolution:
    """A convolution in parts, forward or, where `gradient`, of its input's gradient: one problem, dtype and layout.

    `parts` holds for each the planner's Part, its Summation, the name of a method in src/conv/forward.c, and the
    planner's WinogradTile for that of "winograd", else None. Cells that belong to no part become zero; there are none
    where `complete`.
    """
    cdef fc_problem problem
    cdef fc_forward *calls  # those of the parts, but for what a call adds
    cdef fc_part *places
    cdef list views  # which of the filters each part has, as a key
    cdef int count
    cdef str name
    cdef fc_dtype dtype
    cdef int number  # NumPy's, of the dtype
    cdef bint channels_first
    cdef bint complete
    cdef bint gradient

    def __cinit__(self, problem, list parts, bint complete, bint gradient, str dtype, bint channels_first):
        cdef int index
        self.problem = problem_of(problem)
        self.complete = complete
        self.gradient = gradient
        self.name = dtype
        self.dtype = dtype_of(dtype)
        self.number = numpy.dtype(dtype).num
        self.channels_first = channels_first
        self.views = []
        self.count = <int>len(parts)
        self.calls = <fc_forward *>calloc(max(self.count, 1), sizeof(fc_forward))
        self.places = <fc_part *>calloc(max(self.count, 1), sizeof(fc_part))
        if self.calls == NULL or self.places == NULL:
            raise MemoryError(f"no memory for {self.count} parts")
        for index in range(self.count):
            part, sum, method, winograd_tile = parts[index]
            self.places[index] = part_of(part)
            self.views.append(part[7:])
            self.calls[index].problem = problem_of(part.problem)
            self.calls[index].sum = sum_of(sum)
            self.calls[index].tile = winograd_of(winograd_tile)
            self.calls[index].method = method_of(method)

    def __dealloc__(self):
        free(self.calls)
        free(self.places)

    def run(self, cnp.ndarray a, cnp.ndarray b, cnp.ndarray result, int threads, epilogue):
        """Computes a dense array from behaved 4-D ones: y from x and w or, where `gradient`, dx from w and dy.

        They may have any number of images. `epilogue` is None or the call's EpilogueArguments.
        """
        cdef fc_forward one
        cdef fc_forward *calls = &one
        if self.count > 1:
            calls = <fc_forward *>malloc(self.count * sizeof(fc_forward))
            if calls == NULL:
                raise MemoryError(f"no memory for {self.count} parts")
        try:
            memcpy(calls, self.calls, self.count * sizeof(fc_forward))
            self.place(calls, a, b, result)
            if not self.complete:
                self.fill(result, threads, epilogue)
            if epilogue is not None:
                self.add_epilogue(calls, threads, epilogue)
            run_forward(calls, self.count, threads)
        finally:
            if calls != &one:
                free(calls)

    cdef int place(self, fc_forward *calls, cnp.ndarray a, cnp.ndarray b, cnp.ndarray result) except -1:
        """Gives the calls their arrays, which are checked."""
        cdef fc_problem p = self.problem
        cdef cnp.ndarray source = b if self.gradient else a
        cdef cnp.ndarray w = a if self.gradient else b
        cdef fc_tensor x, y
        cdef fc_filters filters
        cdef int index
        p.n = images(source)
        if self.gradient:
            check_arrays(self.channels_first, &p, self.number, result, w, source, result)
            x = tensor(source, self.dtype, self.channels_first, p.oh, p.ow, p.f)
            y = tensor(result, self.dtype, self.channels_first, p.h, p.w, p.c)
        else:
            check_arrays(self.channels_first, &p, self.number, source, w, result, result)
            x = tensor(source, self.dtype, self.channels_first, p.h, p.w, p.c)
            y = tensor(result, self.dtype, self.channels_first, p.oh, p.ow, p.f)
        filters = filters_of(w, p.f // p.groups)  # after the checks: until then it may have other dimensions
        if self.gradient:
            filters.depth, filters.column = filters.column, filters.depth
        for index in range(self.count):
            calls[index].kernels = kernels()
            fc_place_part(&calls[index], &self.places[index], p.n, &x, &y, &filters)
        return 0

    cdef int fill(self, cnp.ndarray result, int threads, epilogue) except -1:
        """Fills the result with what cells have that belong to no part."""
        cdef cnp.npy_intp *shape = cnp.PyArray_DIMS(result)
        result.fill(0)
        if epilogue is not None:
            columns = shape[2] * shape[3] if self.channels_first else shape[3]
            apply_epilogue(
                result, result, columns, self.channels_first, self.name, epilogue.bias, epilogue.activation, threads
            )
        return 0

    cdef int add_epilogue(self, fc_forward *calls, int threads, epilogue) except -1:
        """Gives the calls their biases and activations, and packed filters if there are any."""
        cdef int64_t channels = self.problem.c if self.gradient else self.problem.f
        cdef int64_t first
        cdef int index
        for index in range(self.count):
            calls[index].epilogue = epilogue_of(epilogue.bias, epilogue.activation, self.dtype, channels)
            if epilogue.bias is not None:
                first = self.places[index].group * calls[index].problem.f
                calls[index].epilogue.bias = <const char *>calls[index].epilogue.bias + first * cnp.PyArray_ITEMSIZE(
                    <cnp.ndarray>epilogue.bias
                )
            if epilogue.packings is not None and fc_can_pack(&calls[index]):
                use_packed(&calls[index], epilogue.packings, self.views[index], threads)
        return 0


cdef int use_packed(fc_forward *call, dict packings, view, int threads) except -1:
    """Takes the packed filters from `packings`, where they are put when they are first wanted.

    `view` tells which of the filters these are, and in what order.
    """
    cdef fc_sum *sum = &call.sum
    cdef fc_winograd *tile = &call.tile
    cdef fc_problem *p = &call.problem
    key = (
        view, p.kh, p.kw, p.c, p.f, p.groups, sum.folded, sum.block_runs, sum.chunk,
        <size_t>call.method, tile.rows, tile.columns, tile.rows and p.stride_h, instruction_set(),
        call.w.h, call.w.w, call.w.depth, call.w.column,  # a reshaped bank has the same packings, and other steps
    )
    found = packings.get(key)
    cdef cnp.ndarray buffer
    if found is None:
        buffer = numpy.empty(fc_packed_size(call) + 64, numpy.uint8)
        run_pack(call, fc_pack_tasks(call), aligned(buffer), threads)
        found = packings.setdefault(key, buffer)
    buffer = <cnp.ndarray>found
    call.packed = aligned(buffer)
    return 0


cdef void *aligned(cnp.ndarray buffer) noexcept:
    """The first cache line that begins in the buffer."""
    return <void *>((<size_t>cnp.PyArray_DATA(buffer) + 63) // 64 * 64)


@cython.final
cdef class BackpropFilter:
    """The gradient of a convolution's filters, for one problem, dtype and layout.

    `method` names one of src/conv/backprop_filter.c; that of "winograd" takes the planner's WinogradTile.
    """
    cdef fc_backprop_filter call  # but for what a call adds
    cdef fc_dtype dtype
    cdef int number  # NumPy's, of the dtype
    cdef bint channels_first

    def __cinit__(self, problem, sum, pixels, str method, winograd_tile, str dtype, bint channels_first):
        self.call.problem = problem_of(problem)
        self.call.sum = sum_of(sum)
        self.call.method = filter_method_of(method)
        self.call.tile = winograd_of(winograd_tile)
        (self.call.pixels.rows, self.call.pixels.columns, self.call.pixels.slices, self.call.pixels.portions) = pixels
        self.dtype = dtype_of(dtype)
        self.number = numpy.dtype(dtype).num
        self.channels_first = channels_first

    def run(self, cnp.ndarray x, cnp.ndarray dy, cnp.ndarray dw, int threads, epilogue):
        """Computes dw, a dense array, from behaved 4-D arrays x and dy; there is no epilogue.

        Returns None, or what direct sums are to replace: "all" or those that are "not finite".
        """
        cdef fc_backprop_filter call = self.call
        cdef fc_problem *p = &call.problem
        check_arrays(self.channels_first, p, self.number, x, dw, dy, dw)
        call.kernels = kernels()
        call.x = tensor(x, self.dtype, self.channels_first, p.h, p.w, p.c)
        call.dy = tensor(dy, self.dtype, self.channels_first, p.oh, p.ow, p.f)
        call.dw = cnp.PyArray_DATA(dw)
        cdef int outcome = run_backprop_filter(&call, threads)
        return None if outcome == FC_SOUND else "all" if outcome == FC_REPLACE_ALL else "not finite"
