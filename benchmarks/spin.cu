// Keeps one thread of a device busy for so many cycles, while the host fills its queue.
extern "C" __global__ void spin(long long cycles) {
    for (long long start = clock64(); clock64() - start < cycles;) {
    }
}
