// The last step of the filters' gradient: slices' sums added in their order, and rounded.
#include "elements.cuh"

typedef FC_ELEMENT Element;
typedef Element::sum Sum;

extern "C" __global__ void fc_sum_slices(const Sum *sums, Element *result, long long count, long long slices) {
    long long index = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (index >= count) return;
    Sum total = 0;
    for (long long slice = 0; slice < slices; slice++) total += sums[slice * count + index];
    narrow(total, result[index]);
}
FC_EXPORT(fc_sum_slices)
