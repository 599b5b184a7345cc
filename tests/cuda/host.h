// A GPU's block of threads on the host: a fiber for each thread, run in turn, with barriers, warps and delayed copies.
//
// Kernels that include device.cuh compile as C++ with FC_HOST defined. Fibers change places at every barrier and every
// operation of a warp, in one order in even blocks and in the other in odd ones. Asynchronous copies happen when they
// are waited for and no sooner, and shared memory holds NaN before it is written, so what is read too early is wrong.
// Memory that the caller protects may not be touched.
#pragma once
#include <csetjmp>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <tuple>
#include <utility>
#include <vector>

#include <csignal>
#include <sys/mman.h>
#include <ucontext.h>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define FC_SHARED(name) unsigned char *name = fc_host::machine.shared
#define FC_EXPORT(kernel)                                                                                              \
    extern "C" const char *kernel##_on_host(const unsigned *grid, const unsigned *block, size_t shared,                \
                                            void **arguments) {                                                        \
        return fc_host::launch(kernel, grid, block, shared, arguments);                                                \
    }

namespace fc_host {

struct Index {
    unsigned x, y, z;
};

struct Copy {
    void *shared;
    const void *global;
    int bytes;
    bool inside;
};

struct Warp {
    alignas(16) unsigned char slots[2][32][32]; // what each thread brings to this operation, and brought to the last
    int arrived;
    unsigned operation;
};

// That tensor cores compute for a warpgroup while its threads go on.
struct Product {
    float (*sum)[4];
    uint64_t a, b;
    bool brain, a_outputs_run, b_outputs_run;
};

struct Fiber {
    Index thread;
    int number;
    bool done;
    jmp_buf state;
    std::vector<Copy> open; // copies not committed
    std::deque<std::vector<Copy>> groups;
    std::vector<Product> products;
    size_t committed; // of them
};

constexpr size_t STACK = 256 << 10;

struct Machine {
    Index block, grid, size;
    unsigned char *shared;
    size_t shared_bytes;
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    unsigned char *stacks = nullptr;
    size_t stack_count = 0;
    Fiber *current;
    int running, arrived, waits; // waits: since anything last moved on
    size_t step;                 // from a fiber to the next
    unsigned barrier;
    jmp_buf host;
    char error[256];
    void (*body)(void *);
    void *argument;
};

static Machine machine;

[[noreturn]] static void fail(const char *what) {
    const Fiber &f = *machine.current;
    const Index &b = machine.block;
    snprintf(machine.error, sizeof machine.error, "%s, in thread (%u, %u, %u) of block (%u, %u, %u)", what, f.thread.x,
             f.thread.y, f.thread.z, b.x, b.y, b.z);
    _longjmp(machine.host, 1);
}

// Lets the next fiber that is not done go on.
static void yield() {
    Fiber *from = machine.current;
    if (++machine.waits > 4 * (int)machine.fibers.size()) fail("all threads wait for one another");
    size_t next = from->number;
    do next = (next + machine.step) % machine.fibers.size();
    while (machine.fibers[next].done);
    if ((int)next == from->number) return;
    if (_setjmp(from->state) == 0) {
        machine.current = &machine.fibers[next];
        _longjmp(machine.current->state, 1);
    }
}

static void run_fiber() {
    machine.body(machine.argument);
    Fiber &self = *machine.current;
    if (!self.open.empty() || !self.groups.empty()) fail("copies under way at the end");
    if (!self.products.empty()) fail("products under way at the end");
    self.done = true;
    machine.waits = 0;
    if (--machine.running == 0) _longjmp(machine.host, 2);
    size_t next = self.number;
    do next = (next + machine.step) % machine.fibers.size();
    while (machine.fibers[next].done);
    machine.current = &machine.fibers[next];
    _longjmp(machine.current->state, 1);
}

static void wait_until(const unsigned &counter, unsigned before) {
    while (counter == before) yield();
}

static void barrier() {
    unsigned before = machine.barrier;
    if (machine.running != (int)machine.fibers.size()) fail("a barrier that some threads have passed by");
    if (++machine.arrived == machine.running) {
        machine.arrived = machine.waits = 0;
        machine.barrier++;
    }
    wait_until(machine.barrier, before);
}

// What all threads of the warp bring to an operation.
template <typename Value> static const unsigned char (*exchange(const Value &mine))[32] {
    static_assert(sizeof(Value) <= 32, "a slot holds 32 bytes");
    Warp &warp = machine.warps[machine.current->number / 32];
    unsigned before = warp.operation;
    auto slots = warp.slots[before % 2];
    memcpy(slots[machine.current->number % 32], &mine, sizeof mine);
    if (++warp.arrived == 32) {
        warp.arrived = machine.waits = 0;
        warp.operation++;
    }
    wait_until(warp.operation, before);
    return slots;
}

static bool any_of_warp(bool mine) {
    auto slots = exchange(mine);
    bool any = false;
    for (int lane = 0; lane < 32; lane++) any |= slots[lane][0] != 0;
    return any;
}

template <typename To, typename From> static To cast(From value) {
    static_assert(sizeof(To) == sizeof(From), "of one size");
    To result;
    memcpy(&result, &value, sizeof result);
    return result;
}

static float half_to_float(uint16_t bits) {
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    float size = exponent == 31  ? (fraction ? NAN : INFINITY)
                 : exponent == 0 ? std::ldexp((float)fraction, -24)
                                 : std::ldexp((float)(fraction + 1024), exponent - 25);
    return bits >> 15 ? -size : size;
}

static uint16_t float_to_half(float value) {
    uint16_t sign = cast<uint32_t>(value) >> 16 & 0x8000;
    float size = std::fabs(value);
    if (std::isnan(value)) return sign | 0x7e00;
    if (size >= 65520) return sign | 0x7c00;
    int exponent = size < std::ldexp(1.0f, -14) ? -14 : std::ilogb(size);
    int fraction = (int)std::nearbyint(std::ldexp(size, 10 - exponent)); // with the leading 1, which may carry
    return sign | (uint16_t)((exponent + 14) * 1024 + fraction);
}

static void check_copy(const void *shared, const void *global, int bytes) {
    const unsigned char *start = (const unsigned char *)shared;
    if ((uintptr_t)shared % bytes || (uintptr_t)global % bytes) fail("a misaligned copy");
    if (start < machine.shared || start + bytes > machine.shared + machine.shared_bytes)
        fail("a copy outside shared memory");
}

static void perform(const Copy &copy) {
    if (copy.inside)
        memcpy(copy.shared, copy.global, copy.bytes);
    else
        memset(copy.shared, 0, copy.bytes);
}

static void copy_later(void *shared, const void *global, int bytes, bool inside) {
    check_copy(shared, global, bytes);
    Copy copy = {shared, global, bytes, inside};
    if (bytes > 2 && FC_HOST_ARCH >= 800)
        machine.current->open.push_back(copy);
    else
        perform(copy);
}

static void commit_copies() {
    if (FC_HOST_ARCH < 800) return;
    machine.current->groups.push_back(machine.current->open);
    machine.current->open.clear();
}

static void wait_for_copies(int left) {
    auto &groups = machine.current->groups;
    for (; (int)groups.size() > left; groups.pop_front())
        for (const Copy &copy : groups.front()) perform(copy);
}

static void load_matrices(unsigned (&fragment)[4], const void *row, bool transposed) {
    if ((uintptr_t)row % 16) fail("a misaligned row of a matrix");
    auto rows = exchange(row);
    int lane = machine.current->number % 32;
    for (int matrix = 0; matrix < 4; matrix++) {
        uint16_t pair[2];
        for (int e = 0; e < 2; e++) {
            int r = lane / 4, c = 2 * (lane % 4) + e;
            const uint16_t *source;
            memcpy(&source, rows[8 * matrix + (transposed ? c : r)], sizeof source);
            pair[e] = source[transposed ? r : c];
        }
        fragment[matrix] = pair[0] | (unsigned)pair[1] << 16;
    }
}

// A thread's own elements of sum += a * b, 16xK times Kx8, from the fragments of all: a(slot, row, k), b(slot, k,
// column).
template <typename A, typename B>
static void multiply(float (&sum)[4], const unsigned char (*slots)[32], int terms, A a, B b) {
    int lane = machine.current->number % 32;
    for (int e = 0; e < 4; e++) {
        int row = lane / 4 + 8 * (e / 2), column = 2 * (lane % 4) + e % 2;
        double products = 0;
        for (int k = 0; k < terms; k++) products += (double)a(slots, row, k) * b(slots, k, column);
        sum[e] = (float)(sum[e] + products);
    }
}

struct Factors {
    unsigned a[4], b[2];
};

static unsigned word(const unsigned char (*slots)[32], int lane, int index) {
    unsigned value;
    memcpy(&value, slots[lane] + 4 * index, 4);
    return value;
}

static void multiply_halves(float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2], bool brain) {
    Factors mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    auto number = [brain](unsigned pair, int k) {
        uint16_t bits = k % 2 ? pair >> 16 : pair & 0xffff;
        return brain ? cast<float>((uint32_t)bits << 16) : half_to_float(bits);
    };
    multiply(
        sum, exchange(mine), 16,
        [&](const unsigned char (*slots)[32], int row, int k) {
            return number(word(slots, row % 8 * 4 + k % 8 / 2, row / 8 + 2 * (k / 8)), k);
        },
        [&](const unsigned char (*slots)[32], int k, int column) {
            return number(word(slots, column * 4 + k % 8 / 2, 4 + k / 8), k);
        });
}

static void multiply_tf32(float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    Factors mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    auto number = [](unsigned bits) { return cast<float>(bits & 0xffffe000); }; // what the hardware reads
    multiply(
        sum, exchange(mine), 8,
        [&](const unsigned char (*slots)[32], int row, int k) {
            return number(word(slots, row % 8 * 4 + k % 4, row / 8 + 2 * (k / 4)));
        },
        [&](const unsigned char (*slots)[32], int k, int column) {
            return number(word(slots, column * 4 + k % 4, 4 + k / 4));
        });
}

// --- Warpgroups ---

static unsigned shared_address(const void *pointer) {
    return (unsigned)((const unsigned char *)pointer - machine.shared);
}

// Element (output, k) of a factor that a descriptor of the PTX manual tells, with lines of 128 bytes swapped.
static uint16_t element_of(uint64_t descriptor, bool outputs_run, int output, int k) {
    if (descriptor >> 62 != 1 || (descriptor >> 49 & 7)) fail("a factor that is not in aligned atoms of 128 bytes");
    unsigned start = (descriptor & 0x3fff) << 4, far = (descriptor >> 16 & 0x3fff) << 4;
    unsigned next = (descriptor >> 32 & 0x3fff) << 4;
    unsigned address = outputs_run ? start + output / 64 * far + k / 8 * next + k % 8 * 128 + output % 64 * 2
                                   : start + output / 8 * next + output % 8 * 128 + k * 2;
    address ^= (address >> 7 & 7) << 4;
    if (address + 2 > machine.shared_bytes) fail("a factor outside shared memory");
    uint16_t bits;
    memcpy(&bits, machine.shared + address, 2);
    return bits;
}

static void multiply_by_warpgroup(float (&sum)[16][4], uint64_t a, uint64_t b, bool brain, bool a_outputs_run,
                                  bool b_outputs_run) {
    machine.current->products.push_back({sum, a, b, brain, a_outputs_run, b_outputs_run});
}

static void commit_products() { machine.current->committed = machine.current->products.size(); }

static void wait_for_products() {
    Fiber &fiber = *machine.current;
    any_of_warp(true);
    if (fiber.committed != fiber.products.size()) fail("products that were not committed");
    for (const Product &p : fiber.products) {
        auto number = [&](uint16_t bits) { return p.brain ? cast<float>((uint32_t)bits << 16) : half_to_float(bits); };
        int lane = fiber.number % 32, warp = fiber.number / 32 % 4;
        for (int e = 0; e < 64; e++) {
            int row = 16 * warp + lane / 4 + e % 4 / 2 * 8, column = e / 4 * 8 + lane % 4 * 2 + e % 2;
            double products = 0;
            for (int k = 0; k < 16; k++)
                products += (double)number(element_of(p.a, p.a_outputs_run, row, k)) *
                            number(element_of(p.b, p.b_outputs_run, column, k));
            p.sum[e / 4][e % 4] = (float)(p.sum[e / 4][e % 4] + products);
        }
    }
    fiber.products.clear();
    fiber.committed = 0;
}

static void multiply_doubles(double (&sum)[2], double a, double b) {
    double mine[2] = {a, b};
    auto slots = exchange(mine);
    int lane = machine.current->number % 32;
    for (int e = 0; e < 2; e++)
        for (int k = 0; k < 4; k++) {
            double left, right;
            memcpy(&left, slots[lane / 4 * 4 + k], 8);
            memcpy(&right, slots[(2 * (lane % 4) + e) * 4 + k] + 8, 8);
            sum[e] = fma(left, right, sum[e]);
        }
}

// Runs one block; the error, or null.
static const char *run_block() {
    memset(machine.shared, 0xff, machine.shared_bytes);
    machine.running = machine.fibers.size();
    machine.arrived = machine.waits = 0;
    machine.step = (machine.block.x + machine.block.y + machine.block.z) % 2 ? machine.fibers.size() - 1 : 1;
    for (Warp &warp : machine.warps) warp.arrived = 0;
    ucontext_t contexts, back;
    for (volatile size_t i = 0; i < machine.fibers.size(); i++) {
        Fiber &fiber = machine.fibers[i];
        unsigned x = i % machine.size.x, rest = i / machine.size.x;
        fiber.thread = {x, rest % machine.size.y, rest / machine.size.y};
        fiber.number = i;
        fiber.done = false;
        fiber.open.clear();
        fiber.groups.clear();
        fiber.products.clear();
        fiber.committed = 0;
        // The context is entered once, to leave behind a state from which the fiber starts.
        getcontext(&contexts);
        contexts.uc_stack.ss_sp = machine.stacks + i * STACK;
        contexts.uc_stack.ss_size = STACK;
        contexts.uc_link = nullptr;
        static ucontext_t *returning;
        returning = &back;
        makecontext(
            &contexts,
            (void (*)()) +
                [] {
                    if (_setjmp(machine.current->state) == 0) setcontext(returning);
                    run_fiber();
                },
            0);
        machine.current = &fiber;
        swapcontext(&back, &contexts);
    }
    int ended = _setjmp(machine.host);
    if (ended == 0) {
        machine.current = &machine.fibers[0];
        _longjmp(machine.current->state, 1);
    }
    return ended == 1 ? machine.error : nullptr;
}

[[noreturn]] static void fail_at_fault(int) { fail("a read or write outside all arrays"); }

// While it lives, faults of memory end the launch.
struct FaultGuard {
    struct sigaction segment, bus;

    FaultGuard() {
        struct sigaction guard = {};
        guard.sa_handler = fail_at_fault;
        guard.sa_flags = SA_NODEFER;
        sigaction(SIGSEGV, &guard, &segment);
        sigaction(SIGBUS, &guard, &bus);
    }
    ~FaultGuard() {
        sigaction(SIGSEGV, &segment, nullptr);
        sigaction(SIGBUS, &bus, nullptr);
    }
};

template <typename... Types, size_t... Indices>
static void call(void (*kernel)(Types...), void **arguments, std::index_sequence<Indices...>) {
    kernel(*(std::remove_const_t<Types> *)arguments[Indices]...);
}

// Runs a grid, block after block; the error of the first that fails, or null.
template <typename... Types>
static const char *launch(void (*kernel)(Types...), const unsigned *grid, const unsigned *block, size_t shared,
                          void **arguments) {
    struct Call {
        void (*kernel)(Types...);
        void **arguments;
    } made = {kernel, arguments};
    machine.body = [](void *call_) {
        Call *c = (Call *)call_;
        call(c->kernel, c->arguments, std::index_sequence_for<Types...>());
    };
    machine.argument = &made;
    machine.grid = {grid[0], grid[1], grid[2]};
    machine.size = {block[0], block[1], block[2]};
    size_t threads = (size_t)block[0] * block[1] * block[2];
    machine.fibers = std::vector<Fiber>(threads);
    machine.warps = std::vector<Warp>((threads + 31) / 32);
    std::vector<unsigned char> memory(shared + 1024);
    machine.shared = memory.data() + (1024 - (uintptr_t)memory.data() % 1024);
    machine.shared_bytes = shared;
    if (machine.stack_count < threads) {
        if (machine.stacks) munmap(machine.stacks, machine.stack_count * STACK);
        machine.stacks = (unsigned char *)mmap(nullptr, threads * STACK, PROT_READ | PROT_WRITE,
                                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        machine.stack_count = threads;
    }
    FaultGuard guard;
    for (unsigned z = 0; z < grid[2]; z++)
        for (unsigned y = 0; y < grid[1]; y++)
            for (unsigned x = 0; x < grid[0]; x++) {
                machine.block = {x, y, z};
                const char *error = run_block();
                if (error) return error;
            }
    return nullptr;
}

} // namespace fc_host

#define threadIdx (fc_host::machine.current->thread)
#define blockIdx (fc_host::machine.block)
#define blockDim (fc_host::machine.size)
#define gridDim (fc_host::machine.grid)
#define __syncthreads fc_host::barrier
