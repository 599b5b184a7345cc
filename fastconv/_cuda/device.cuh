// What the kernels ask of the machine: PTX in wrappers, each with a body for the host, on which the tests run them.
#pragma once

#ifdef FC_HOST
#include "host.h"
#define FC_CALLED static
#define FC_ARCH FC_HOST_ARCH
#else
#define FC_ARCH __CUDA_ARCH__
#define FC_CALLED static __device__ __noinline__
#define FC_EXPORT(kernel)
#define FC_SHARED(name) extern __shared__ __align__(1024) unsigned char name[]
#endif

#define FC_DEVICE static __device__ __forceinline__
#define FC_MEMBER __device__ __forceinline__

// Of a warp's 32 threads.
FC_DEVICE int lane_id() { return threadIdx.x & 31; }
FC_DEVICE int warp_id() { return threadIdx.x >> 5; }

// --- Bits ---

FC_DEVICE unsigned bits_of(float value) {
#ifdef FC_HOST
    return fc_host::cast<unsigned>(value);
#else
    return __float_as_uint(value);
#endif
}

FC_DEVICE float float_of(unsigned bits) {
#ifdef FC_HOST
    return fc_host::cast<float>(bits);
#else
    return __uint_as_float(bits);
#endif
}

FC_DEVICE float half_to_float(unsigned short bits) {
#ifdef FC_HOST
    return fc_host::half_to_float(bits);
#else
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
#endif
}

FC_DEVICE unsigned short float_to_half(float value) {
#ifdef FC_HOST
    return fc_host::float_to_half(value);
#else
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
#endif
}

// Whether it is so in any thread of the warp.
FC_DEVICE bool any_of_warp(bool mine) {
#ifdef FC_HOST
    return fc_host::any_of_warp(mine);
#else
    return __any_sync(0xffffffff, mine);
#endif
}

// Waits for the warp, whose writes to shared memory can then be read.
FC_DEVICE void warp_barrier() {
#ifdef FC_HOST
    fc_host::any_of_warp(false);
#else
    __syncwarp();
#endif
}

// --- Copies from global to shared memory ---
// They are asynchronous from sm_80 on: what was copied can be read after commit, wait and __syncthreads.

// 2, 4, 8 or 16 bytes, aligned; zeros where the source is not inside. It must be a valid address all the same.
template <int BYTES> FC_DEVICE void copy_async(void *shared, const void *global, bool inside) {
    static_assert(BYTES == 2 || BYTES == 4 || BYTES == 8 || BYTES == 16, "a copy has 2, 4, 8 or 16 bytes");
#ifdef FC_HOST
    fc_host::copy_later(shared, global, BYTES, inside);
#else
#if FC_ARCH >= 800
    if constexpr (BYTES > 2) {
        unsigned target = (unsigned)__cvta_generic_to_shared(shared);
        int bytes = inside ? BYTES : 0;
        if constexpr (BYTES == 16)
            asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(target), "l"(global), "r"(bytes)
                         : "memory");
        else
            asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(target), "l"(global), "n"(BYTES),
                         "r"(bytes)
                         : "memory");
        return;
    }
#endif
    if constexpr (BYTES == 16)
        *(uint4 *)shared = inside ? *(const uint4 *)global : make_uint4(0, 0, 0, 0);
    else if constexpr (BYTES == 8)
        *(uint2 *)shared = inside ? *(const uint2 *)global : make_uint2(0, 0);
    else if constexpr (BYTES == 4)
        *(unsigned *)shared = inside ? *(const unsigned *)global : 0;
    else
        *(unsigned short *)shared = inside ? *(const unsigned short *)global : 0;
#endif
}

// Ends a group of copies of this thread.
FC_DEVICE void commit_copies() {
#ifdef FC_HOST
    fc_host::commit_copies();
#elif FC_ARCH >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until no more than so many groups of this thread's copies, the latest, are under way.
template <int GROUPS> FC_DEVICE void wait_for_copies() {
#ifdef FC_HOST
    fc_host::wait_for_copies(GROUPS);
#elif FC_ARCH >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS) : "memory");
#endif
}

// --- Matrices of fragments ---
// In all of them, thread t of a warp holds row t / 4 of the fragment, and of its columns, or those of the transposed
// second factor, those from t % 4 on that the PTX manual lists.

// Four 8x8 matrices of 2-byte elements, with the addresses of their rows in threads 0-7, 8-15, 16-23 and 24-31.
template <bool TRANSPOSED> FC_DEVICE void load_matrices(unsigned (&fragment)[4], const void *row) {
#ifdef FC_HOST
    fc_host::load_matrices(fragment, row, TRANSPOSED);
#else
    unsigned source = (unsigned)__cvta_generic_to_shared(row);
    if constexpr (TRANSPOSED)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
                     : "r"(source)
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
                     : "r"(source)
                     : "memory");
#endif
}

// sum += a * b: 16x16 times 16x8, float16 or bfloat16, summed in float32.
template <bool BRAIN> FC_DEVICE void multiply_halves(float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#ifdef FC_HOST
    fc_host::multiply_halves(sum, a, b, BRAIN);
#elif FC_ARCH >= 800
    if constexpr (BRAIN)
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    else
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    for (int half = 0; half < 2; half++)
        asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
            : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
            : "r"(a[2 * half]), "r"(a[2 * half + 1]), "r"(b[half]));
#endif
}

#if FC_ARCH >= 800
// sum += a * b: 16x8 times 8x8, TF32 in the upper bits of float32, summed in float32.
FC_DEVICE void multiply_tf32(float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#ifdef FC_HOST
    fc_host::multiply_tf32(sum, a, b);
#else
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// sum += a * b: 8x4 times 4x8, in double precision.
FC_DEVICE void multiply_doubles(double (&sum)[2], double a, double b) {
#ifdef FC_HOST
    fc_host::multiply_doubles(sum, a, b);
#else
    asm("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0,%1}, {%2}, {%3}, {%0,%1};"
        : "+d"(sum[0]), "+d"(sum[1])
        : "d"(a), "d"(b));
#endif
}
#endif

// --- Warpgroups, of four warps, on sm_90a ---
// What they multiply lies in shared memory in lines of 128 bytes, whose eighths are swapped: line l has its eighth e at
// e ^ l % 8. Eight lines, 1024 bytes and aligned so, are an atom.
#if FC_WARPGROUPS

// Describes a factor: from `start` on, atoms are `next` bytes apart; and `far` bytes where 64 elements of a line are
// outputs, not terms, and are followed by more.
FC_DEVICE unsigned long long factor_of_warpgroup(const void *start, int next, int far) {
#ifdef FC_HOST
    unsigned address = fc_host::shared_address(start);
#else
    unsigned address = (unsigned)__cvta_generic_to_shared(start);
#endif
    return (unsigned long long)((address & 0x3ffff) >> 4) | (unsigned long long)(far >> 4) << 16 |
           (unsigned long long)(next >> 4) << 32 | 1ull << 62;
}

// What threads have copied can be read by tensor cores after the next barrier.
FC_DEVICE void publish_to_tensor_cores() {
#ifndef FC_HOST
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

// Keeps the compiler from moving a sum, which it takes for known once a product was begun, past this.
FC_DEVICE void hold(float &sum) {
#ifndef FC_HOST
    asm volatile("" : "+f"(sum)::"memory");
#endif
}

// Before the first product of a group: sums may be written.
FC_DEVICE void begin_products() {
#ifndef FC_HOST
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}

FC_DEVICE void commit_products() {
#ifdef FC_HOST
    fc_host::commit_products();
#else
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}

// Waits for all products, whose sums can then be read.
FC_DEVICE void wait_for_products() {
#ifdef FC_HOST
    fc_host::wait_for_products();
#else
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
#endif
}

// sum += a * b: 64x16 times 16x128, float16 or bfloat16, summed in float32; each thread holds the sums of two rows, as
// multiply_halves leaves them. Under way until it was waited for. The flags tell which factors have outputs side by
// side.
template <bool BRAIN, bool A_OUTPUTS_RUN, bool B_OUTPUTS_RUN>
FC_DEVICE void multiply_by_warpgroup(float (&sum)[16][4], unsigned long long a, unsigned long long b) {
#ifdef FC_HOST
    fc_host::multiply_by_warpgroup(sum, a, b, BRAIN, A_OUTPUTS_RUN, B_OUTPUTS_RUN);
#else
#define FC_FOUR(j) "+f"(sum[j][0]), "+f"(sum[j][1]), "+f"(sum[j][2]), "+f"(sum[j][3])
#define FC_SUMS                                                                                                        \
    FC_FOUR(0), FC_FOUR(1), FC_FOUR(2), FC_FOUR(3), FC_FOUR(4), FC_FOUR(5), FC_FOUR(6), FC_FOUR(7), FC_FOUR(8),        \
        FC_FOUR(9), FC_FOUR(10), FC_FOUR(11), FC_FOUR(12), FC_FOUR(13), FC_FOUR(14), FC_FOUR(15)
#define FC_PRODUCT(TYPE)                                                                                               \
    "{.reg .pred add; setp.eq.u32 add, 0, 0; wgmma.mma_async.sync.aligned.m64n128k16.f32." TYPE "." TYPE               \
    " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, " \
    "%24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, "   \
    "%46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "                      \
    "%64, %65, add, 1, 1, %66, %67;}"
    if constexpr (BRAIN)
        asm volatile(FC_PRODUCT("bf16") : FC_SUMS : "l"(a), "l"(b), "n"((int)A_OUTPUTS_RUN), "n"((int)B_OUTPUTS_RUN));
    else
        asm volatile(FC_PRODUCT("f16") : FC_SUMS : "l"(a), "l"(b), "n"((int)A_OUTPUTS_RUN), "n"((int)B_OUTPUTS_RUN));
#endif
}
#endif
