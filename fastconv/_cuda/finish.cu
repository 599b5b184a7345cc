// Bias and activation of a tensor in place, or of the zeros that sums of nothing are.
#include "finish.cuh"

typedef FC_ELEMENT Element;
typedef Element::sum Sum;

// Channels lie side by side; the source may be null, and may be the result.
extern "C" __global__ void fc_finish(const Element *source, Element *result, const Sum *bias, long long count,
                                     long long channels, int activation) {
    const long long index = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (index >= count) return;
    Finish<Element> finish(activation);
    const Sum sum = source ? widened(source[index]) : Sum(0);
    result[index] = finish(bias ? sum + bias[index % channels] : sum);
}
FC_EXPORT(fc_finish)
