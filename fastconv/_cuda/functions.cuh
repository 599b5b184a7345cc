// Elementary functions under one name for both precisions.
#pragma once
#include "device.cuh"

FC_DEVICE float exponential(float x) { return expf(x); }
FC_DEVICE double exponential(double x) { return exp(x); }
FC_DEVICE float exponential_less_one(float x) { return expm1f(x); }
FC_DEVICE double exponential_less_one(double x) { return expm1(x); }
FC_DEVICE float hyperbolic_tangent(float x) { return tanhf(x); }
FC_DEVICE double hyperbolic_tangent(double x) { return tanh(x); }
FC_DEVICE float complementary_error(float x) { return erfcf(x); }
FC_DEVICE double complementary_error(double x) { return erfc(x); }
