"""What convolutions share with the layers between them."""

from libc.stdint cimport int64_t

from fastconv._cpu._core cimport fc_dtype, fc_epilogue


cdef fc_epilogue epilogue_of(bias, activation, fc_dtype dtype, int64_t biases) except *
