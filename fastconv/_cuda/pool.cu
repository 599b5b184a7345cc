// Pooling of images, and its gradients, a thread for each result; sums run in the order of the CPU's.
#include "elements.cuh"
#include "positions.cuh"

typedef FC_ELEMENT Element;
typedef Element::sum Sum;

// Field for field, POOL in pools.py; strides are in elements.
struct Pool {
    long long image, row, column, channel;                             // strides of the images
    long long result_image, result_row, result_column, result_channel; // of what has one cell for each window
    long long count;                                                   // results
    int height, width, channels;
    int rows, columns; // windows
    int size_h, size_w;
    int step_h, step_w;
    int start_h, start_w;
    int unused;
};

struct Range {
    int first, end;
};

// The cells of a window that are inside an image, along one axis.
FC_DEVICE Range cells_of(int window, int step, int start, int size, int limit) {
    int first = window * step + start, end = first + size;
    Range found = {first < 0 ? 0 : first, end > limit ? limit : end};
    return found;
}

// The windows that hold a cell, along one axis.
FC_DEVICE Range windows_of(int cell, int step, int start, int size, int limit) {
    int before = cell - start - size; // a window that starts here ends just before the cell
    int first = before < 0 ? 0 : before / step + 1, end = (cell - start) / step + 1;
    Range found = {first, end > limit ? limit : end};
    return found;
}

// What maxima and sums of cells are: NaN is larger than all numbers.
template <typename Real> struct Order {
    FC_MEMBER static Real lowest() { return -Real(1) / Real(0); }
    FC_MEMBER static bool is_better(Real x, Real best) { return x > best || (x != x && best == best); }
    FC_MEMBER static Real added(Real x, Real y) { return x + y; }
};

template <> struct Order<long long> {
    FC_MEMBER static long long lowest() { return -9223372036854775807LL - 1; }
    FC_MEMBER static bool is_better(long long x, long long best) { return x > best; }
    FC_MEMBER static long long added(long long x, long long y) { return (unsigned long long)x + y; } // may wrap
};

// The largest, or the mean, of each window; and where `places` is not null, the first place of the largest,
// row * width + column. Those lie side by side, channels last.
extern "C" __global__ void fc_pool(const Pool p, const Element *images, Element *result, long long *places) {
    const long long index = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (index >= p.count) return;
    const long long pixel = quotient(index, p.channels);
    const int channel = (int)(index - pixel * p.channels);
    const Position at = position_soon(pixel, p.rows, p.columns);
    const Range rows = cells_of(at.middle, p.step_h, p.start_h, p.size_h, p.height);
    const Range columns = cells_of(at.inner, p.step_w, p.start_w, p.size_w, p.width);
    images += at.outer * p.image + channel * p.channel;
    Sum best = FC_AVERAGE ? Sum(0) : Order<Sum>::lowest();
    long long place = -1;
    for (int y = rows.first; y < rows.end; y++)
        for (int x = columns.first; x < columns.end; x++) {
            const Sum cell = widened(images[y * p.row + x * p.column]);
            if (FC_AVERAGE) {
                best += cell;
            } else if (place < 0 || Order<Sum>::is_better(cell, best)) {
                best = cell;
                place = (long long)y * p.width + x;
            }
        }
    if (FC_AVERAGE) best /= Sum((rows.end - rows.first) * (columns.end - columns.first));
    if (places) places[index] = place;
    narrow(best, result[at.outer * p.result_image + at.middle * p.result_row + at.inner * p.result_column +
                        channel * p.result_channel]);
}
FC_EXPORT(fc_pool)

// The gradient of each cell of the images: a share of each window's that holds it, or all of those whose place it is.
extern "C" __global__ void fc_pool_gradient(const Pool p, const Element *gradient, Element *result,
                                            const long long *places) {
    const long long index = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (index >= p.count) return;
    const long long pixel = quotient(index, p.channels);
    const int channel = (int)(index - pixel * p.channels);
    const Position at = position_soon(pixel, p.height, p.width);
    const Range rows = windows_of(at.middle, p.step_h, p.start_h, p.size_h, p.rows);
    const Range columns = windows_of(at.inner, p.step_w, p.start_w, p.size_w, p.columns);
    const long long place = (long long)at.middle * p.width + at.inner;
    gradient += at.outer * p.result_image + channel * p.result_channel;
    Sum sum = 0;
    for (int y = rows.first; y < rows.end; y++)
        for (int x = columns.first; x < columns.end; x++) {
            const Sum whole = widened(gradient[y * p.result_row + x * p.result_column]);
            if (FC_AVERAGE) {
                const Range down = cells_of(y, p.step_h, p.start_h, p.size_h, p.height);
                const Range across = cells_of(x, p.step_w, p.start_w, p.size_w, p.width);
                sum += whole / Sum((down.end - down.first) * (across.end - across.first));
            } else if (places[((at.outer * (long long)p.rows + y) * p.columns + x) * p.channels + channel] == place) {
                sum = Order<Sum>::added(sum, whole);
            }
        }
    narrow(sum, result[at.outer * p.image + at.middle * p.row + at.inner * p.column + channel * p.channel]);
}
FC_EXPORT(fc_pool_gradient)
