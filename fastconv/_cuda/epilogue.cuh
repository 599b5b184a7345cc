// What follows a sum: the bias, the activation, and rounding to the result's type.
#pragma once
#include "elements.cuh"
#include "functions.cuh"

// In the order of ACTIVATIONS in _epilogue.py.
enum Activation { NONE, RELU, RELU6, LEAKY_RELU, SILU, HARD_SWISH, SIGMOID, TANH };

template <typename Real> FC_DEVICE Real sigmoid(Real x) {
    Real e = exponential(x < 0 ? x : -x);
    return (x < 0 ? e : Real(1)) / (1 + e);
}

// Activations that are comparisons: negative numbers times `slope`, or 0 where that is 0; others up to `limit`.
template <typename Real> struct Clamp {
    Real slope, limit;

    FC_MEMBER Clamp(int activation)
        : slope(activation == RELU || activation == RELU6 ? Real(0)
                : activation == LEAKY_RELU                ? Real(0.2)
                                                          : Real(1)),
          limit(activation == RELU6 ? Real(6) : Real(1) / Real(0)) {}

    // NaN stays, as it is in no comparison.
    FC_MEMBER Real operator()(Real x) const {
        return x < 0 ? (slope == 0 ? Real(0) : slope * x) : x > limit ? limit : x;
    }
};

template <> struct Clamp<unsigned> {
    int least, limit;

    FC_MEMBER Clamp(int activation)
        : least(activation == NONE ? -2147483647 - 1 : 0), limit(activation == RELU6 ? 6 : 2147483647) {}

    FC_MEMBER unsigned operator()(unsigned sum) const {
        int x = (int)sum < least ? least : (int)sum;
        return (unsigned)(x > limit ? limit : x);
    }
};

// Those that are more. Their code is long, and would stand in a kernel for each element of a run: called, it compiles
// in less than half the time.
template <typename Real> FC_CALLED Real smooth(Real x, int activation) {
    if (activation == HARD_SWISH) {
        Real raised = x + 3 < 0 ? Real(0) : x + 3;
        return x * (raised > 6 ? Real(6) : raised) / 6;
    }
    if (activation == TANH) return hyperbolic_tangent(x);
    return activation == SILU ? x * sigmoid(x) : sigmoid(x);
}

// Integers have comparisons alone.
FC_DEVICE unsigned smooth(unsigned x, int) { return x; }

// What follows a sum.
template <typename Element> struct Epilogue {
    typedef typename Element::sum Sum;
    int activation;
    Clamp<Sum> clamp;

    FC_MEMBER Epilogue(int activation) : activation(activation), clamp(activation) {}

    FC_MEMBER Element operator()(Sum sum) const {
        Element result;
        narrow(activation > LEAKY_RELU ? smooth(sum, activation) : clamp(sum), result);
        return result;
    }
};
