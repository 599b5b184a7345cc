// Functions of single elements, 16 bytes of them at a time: activations, their gradients, biases.
#include "epilogue.cuh"
#include "positions.cuh"

typedef FC_ELEMENT Element;
typedef Element::sum Sum;

// In the order of OPERATIONS in pointwise.py.
enum Operation {
    EPILOGUE,
    LEAKY,
    ELU,
    SWISH,
    GELU,
    GELU_TANH,
    RELU_GRADIENT,
    LEAKY_GRADIENT,
    ELU_GRADIENT,
    SWISH_GRADIENT,
    GELU_GRADIENT,
    GELU_TANH_GRADIENT
};

// Field for field, POINTWISE in pointwise.py.
struct Pointwise {
    long long count;
    long long inner, channels; // element i belongs to channel i / inner % channels
    double parameter;          // a slope, a steepness, or a limit
    int operation, activation;
    int wide; // whether runs of 16 bytes are aligned in all arrays
    int unused;
};

// x within a limit beyond which a derivative is 0 or 1, so that infinity times 0 is not NaN; NaN stays.
template <typename Real> FC_DEVICE Real cut(Real x, Real limit) { return x < -limit ? -limit : x > limit ? limit : x; }

// Of an element x, or of a gradient x and the element that it was taken at. Integers, which are summed as unsigned
// ones, have one operation beside EPILOGUE.
template <typename Real> FC_DEVICE Real value(int operation, Real x, Real at, double parameter) {
    if constexpr (Real(-1) > Real(0)) {
        return (int)at > 0 && !((int)at >= parameter) ? x : 0;
    } else {
        switch (operation) {
        case LEAKY:
            return x < 0 ? x * Real(parameter) : x;
        case ELU:
            return x < 0 ? exponential_less_one(x) : x;
        case SWISH:
            return x / (1 + exponential(-x * Real(parameter)));
        case GELU:
            return x * (complementary_error(x * Real(-0.70710678118654752)) / 2);
        case GELU_TANH:
            return x * ((1 + hyperbolic_tangent(Real(0.79788456080286536) * (x + Real(0.044715) * x * x * x))) / 2);
        case RELU_GRADIENT:
            return at > 0 && !(at >= Real(parameter)) ? x : Real(0);
        case LEAKY_GRADIENT:
            return at > 0 ? x : x * Real(parameter);
        case ELU_GRADIENT:
            return at < 0 ? x * (at + 1) : x;
        case SWISH_GRADIENT: {
            const Real z = cut(at * Real(parameter), Real(800));
            return x * (sigmoid(z) * (1 + z * sigmoid(-z)));
        }
        case GELU_GRADIENT: {
            const Real z = cut(at, Real(40)), density = Real(0.39894228040143268) * exponential(z * z / -2);
            return x * (complementary_error(z * Real(-0.70710678118654752)) / 2 + z * density);
        }
        case GELU_TANH_GRADIENT: {
            const Real z = cut(at, Real(40)), square = Real(0.044715) * z * z, twice = Real(1.5957691216057307);
            const Real inside = twice * (z + square * z), slope = twice * (1 + 3 * square);
            return x * (sigmoid(inside) * (1 + z * slope * sigmoid(-inside)));
        }
        }
        return x;
    }
}

template <int RUN>
FC_DEVICE void compute(const Pointwise &p, const Element *x, const Element *at, Element *result, const Sum *bias,
                       long long first) {
    Run<Element, RUN> run = {}, other = {};
    if (x) run = *(const Run<Element, RUN> *)(x + first);
    if (at) other = *(const Run<Element, RUN> *)(at + first);
    long long left = 0, channel = 0; // elements of the channel from the next on, where there is a bias
    if (bias) {
        const long long before = quotient(first, p.inner);
        left = (before + 1) * p.inner - first;
        channel = before - quotient(before, p.channels) * p.channels;
    }
    const Epilogue<Element> epilogue(p.activation);
#pragma unroll
    for (int e = 0; e < RUN; e++) {
        const Sum sum = widened(run.elements[e]);
        if (p.operation == EPILOGUE)
            run.elements[e] = epilogue(bias ? sum + bias[channel] : sum);
        else
            narrow(value(p.operation, sum, widened(other.elements[e]), p.parameter), run.elements[e]);
        if (bias && --left == 0) {
            left = p.inner;
            channel = channel + 1 == p.channels ? 0 : channel + 1;
        }
    }
    *(Run<Element, RUN> *)(result + first) = run;
}

// The first operand, of zeros if it is null, may be the result; the second and the bias may be null.
extern "C" __global__ void fc_pointwise(const Pointwise p, const Element *x, const Element *at, Element *result,
                                        const Sum *bias) {
    constexpr int RUN = 16 / sizeof(Element);
    const long long index = blockIdx.x * (long long)blockDim.x + threadIdx.x, first = p.wide ? index * RUN : index;
    if (p.wide && first + RUN <= p.count) {
        compute<RUN>(p, x, at, result, bias, first);
    } else {
        const long long end = p.wide ? p.count : first + 1; // fewer than a run are left
        for (long long i = first; i < end && i < p.count; i++) compute<1>(p, x, at, result, bias, i);
    }
}
FC_EXPORT(fc_pointwise)
