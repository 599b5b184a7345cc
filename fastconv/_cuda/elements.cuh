// The element types of tensors, and the arithmetic type in which each is summed.
#pragma once
#include "device.cuh"

struct float16 {
    unsigned short bits;
    typedef float sum;
    static constexpr bool BRAIN = false;
};

struct bfloat16 {
    unsigned short bits;
    typedef float sum;
    static constexpr bool BRAIN = true;
};

struct float32 {
    float value;
    typedef float sum;
};

struct float64 {
    double value;
    typedef double sum;
};

struct int32 {
    int value;
    typedef unsigned sum; // unsigned arithmetic wraps
};

// For pools alone.
struct int64 {
    long long value;
    typedef long long sum;
};

// Neighbors that are read or written at once.
template <typename Type, int COUNT> struct alignas(COUNT * sizeof(Type)) Run {
    Type elements[COUNT];
};

FC_DEVICE float widened(float16 x) { return half_to_float(x.bits); }
FC_DEVICE float widened(bfloat16 x) { return float_of((unsigned)x.bits << 16); }
FC_DEVICE float widened(float32 x) { return x.value; }
FC_DEVICE double widened(float64 x) { return x.value; }
FC_DEVICE long long widened(int64 x) { return x.value; }
FC_DEVICE unsigned widened(int32 x) { return (unsigned)x.value; }

FC_DEVICE void narrow(float sum, float16 &result) { result.bits = float_to_half(sum); }

// To the nearest, ties to even; NaN stays NaN.
FC_DEVICE void narrow(float sum, bfloat16 &result) {
    unsigned bits = bits_of(sum);
    bool is_nan = (bits & 0x7fffffff) > 0x7f800000;
    result.bits = is_nan ? (bits >> 16) | 0x40 : (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

FC_DEVICE void narrow(float sum, float32 &result) { result.value = sum; }
FC_DEVICE void narrow(double sum, float64 &result) { result.value = sum; }
FC_DEVICE void narrow(long long sum, int64 &result) { result.value = sum; }
FC_DEVICE void narrow(unsigned sum, int32 &result) { result.value = (int)sum; }

// a * b + sum, rounded once.
FC_DEVICE float multiply_add(float a, float b, float sum) { return fmaf(a, b, sum); }
FC_DEVICE double multiply_add(double a, double b, double sum) { return fma(a, b, sum); }
FC_DEVICE unsigned multiply_add(unsigned a, unsigned b, unsigned sum) { return a * b + sum; }
