// A block of CUDA threads on one thread of the CPU, so that the sources of the kernels run where there is no card.
//
// Every CUDA thread is a fiber with a stack of its own. A fiber runs until it waits: at __syncthreads() for its block,
// at a shuffle for its warp. When all that it waits for have arrived, it goes on. Blocks run one after the other. A
// fiber that waits for one that has ended is an error, not an endless loop. Fibers run in the order of their numbers or
// in the opposite one: where a barrier is missing, the result is wrong or the two orders give two results.
#pragma once
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <utility>
#include <ucontext.h>  // no <cmath>, no <vector>: every kernel file is compiled for several types, and they cost time

#define __global__
#define __device__
#define __shared__ static  // one block at a time
#define __forceinline__ inline
#define __launch_bounds__(...)
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(on_cpu::dynamic_shared)
#define INFINITY __builtin_inff()

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};
static dim3 gridDim, blockDim, blockIdx, threadIdx;

namespace on_cpu {
enum class Waits { no, for_warp, for_block, done };

struct Fiber {
    Waits waits = Waits::no;
    bool started = false;
    unsigned exchanges = 0;
    ucontext_t begin;
    jmp_buf state;
    char* stack = nullptr;
};
constexpr size_t STACK = 64 << 10, SHARED = 48 << 10;
constexpr unsigned MOST_THREADS = 1024;
alignas(16) static char dynamic_shared[SHARED];
static Fiber fibers[MOST_THREADS];
static uint64_t slots[2 * MOST_THREADS];  // what the lanes of a warp show each other: (warp, odd or even exchange, lane)
static jmp_buf scheduler;
static unsigned current;
static void (*body)(void*);
static void* body_argument;
static const char* trouble;

// Stop this fiber until what it waits for is there.
static __attribute__((noinline)) void wait(Waits what) {
    fibers[current].waits = what;
    if (!_setjmp(fibers[current].state)) _longjmp(scheduler, 1);
}

static void start() {
    body(body_argument);
    fibers[current].waits = Waits::done;
    _longjmp(scheduler, 1);
}

static __attribute__((noinline)) void resume(unsigned number) {
    current = number;
    threadIdx.x = number;
    Fiber& fiber = fibers[number];
    fiber.waits = Waits::no;
    if (_setjmp(scheduler)) return;
    if (fiber.started) _longjmp(fiber.state, 1);
    fiber.started = true;
    if (!fiber.stack) fiber.stack = static_cast<char*>(std::malloc(STACK));
    getcontext(&fiber.begin);
    fiber.begin.uc_stack.ss_sp = fiber.stack;
    fiber.begin.uc_stack.ss_size = STACK;
    fiber.begin.uc_link = nullptr;
    makecontext(&fiber.begin, start, 0);
    setcontext(&fiber.begin);
}

// Let the fibers first .. last - 1 go on if all of them wait for `what`; tell whether they do.
static bool release(unsigned first, unsigned last, Waits what) {
    for (unsigned i = first; i < last; ++i) {
        if (fibers[i].waits != what) return false;
    }
    for (unsigned i = first; i < last; ++i) fibers[i].waits = Waits::no;
    return true;
}

static void run_block(bool backwards) {
    const unsigned n = blockDim.x;
    for (unsigned i = 0; i < n; ++i) {
        fibers[i].waits = Waits::no;
        fibers[i].started = false;
        fibers[i].exchanges = 0;
    }
    for (;;) {
        bool moved = false, ended = true;
        for (unsigned w = 0; w < n; w += 32) {
            const unsigned first = backwards ? n - 32 - w : w;
            // A warp runs as far ahead of the others as it can: that is how a missing barrier does most harm.
            do {
                for (unsigned i = 0; i < 32; ++i) {
                    const unsigned number = first + (backwards ? 31 - i : i);
                    if (fibers[number].waits != Waits::no) continue;
                    resume(number);
                    moved = true;
                }
            } while (release(first, first + 32, Waits::for_warp));
        }
        moved |= release(0, n, Waits::for_block);
        for (unsigned i = 0; i < n; ++i) ended &= fibers[i].waits == Waits::done;
        if (ended) return;
        if (!moved) {
            trouble = "some threads wait at a barrier or a shuffle that others never reach";
            return;
        }
    }
}

static const char* launch(unsigned grid, unsigned block, size_t shared, bool backwards, void (*f)(void*), void* argument) {
    if (!grid || !block || block % 32 || block > MOST_THREADS) return "expected blocks of 32, 64, ... 1024 threads";
    if (shared > SHARED) return "more than 48 KB of shared memory";
    gridDim.x = grid, blockDim.x = block;
    trouble = nullptr, body = f, body_argument = argument;
    std::memset(dynamic_shared, 0xff, SHARED);  // NaN: what a kernel has not written it must not read
    for (unsigned b = 0; b < grid && !trouble; ++b) {
        blockIdx.x = b;
        run_block(backwards);
    }
    return trouble;
}

// One letter for each parameter of a kernel, as Python's struct has them: P pointer, q, Q, f, d.
template <class X> constexpr char letter() {
    return std::is_pointer<X>::value               ? 'P'
           : std::is_same<X, float>::value         ? 'f'
           : std::is_same<X, double>::value        ? 'd'
           : std::is_same<X, long long>::value     ? 'q'
           : std::is_same<X, unsigned long long>::value ? 'Q'
                                                   : '?';
}

template <class... P> struct Call {
    void (*kernel)(P...);
    void** arguments;
    template <size_t... I> void unpack(std::index_sequence<I...>) const {
        kernel(*static_cast<std::remove_const_t<P>*>(arguments[I])...);
    }
    static void run(void* self) { static_cast<Call*>(self)->unpack(std::index_sequence_for<P...>{}); }
};

template <class... P>
const char* call(void (*kernel)(P...), unsigned grid, unsigned block, size_t shared, bool backwards, void** arguments) {
    Call<P...> made{kernel, arguments};
    return launch(grid, block, shared, backwards, Call<P...>::run, &made);
}

template <class... P> const char* signature(void (*)(P...)) {
    static const char letters[] = {letter<std::remove_const_t<P>>()..., 0};
    return letters;
}
}  // namespace on_cpu

static inline void __syncthreads() { on_cpu::wait(on_cpu::Waits::for_block); }

template <class X> X __shfl_xor_sync(unsigned mask, X value, int offset) {
    using namespace on_cpu;
    if (mask != 0xffffffffu) trouble = "a shuffle without all lanes of the warp";
    // Two sets of slots in turn: who is fast may already show the next value while others still read this one.
    uint64_t* shown = slots + (threadIdx.x / 32 * 2 + fibers[current].exchanges++ % 2) * 32;
    std::memcpy(shown + threadIdx.x % 32, &value, sizeof(X));
    const unsigned other = (threadIdx.x % 32) ^ unsigned(offset);
    wait(Waits::for_warp);
    std::memcpy(&value, shown + other, sizeof(X));
    return value;
}

// Threads take turns at barriers alone, so nobody comes between.
static inline int atomicAdd(int* at, int value) {
    const int before = *at;
    *at += value;
    return before;
}
static inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((uint64_t(a) * b) >> 32); }
#define FOR_BOTH(name)                                                \
    static inline float name(float x) { return __builtin_##name##f(x); } \
    static inline double name(double x) { return __builtin_##name(x); }
FOR_BOTH(erf)
FOR_BOTH(exp)
FOR_BOTH(log)
FOR_BOTH(sqrt)
FOR_BOTH(tanh)
static inline bool isfinite(float x) { return __builtin_isfinite(x); }
static inline bool isfinite(double x) { return __builtin_isfinite(x); }
static inline float fmax(float a, float b) { return __builtin_fmaxf(a, b); }
static inline double fmax(double a, double b) { return __builtin_fmax(a, b); }

static inline float log2(float x) { return __builtin_log2f(x); }

// --- tensor cores: what `flash.cu` says in PTX ------------------------------------------------------------------------
// A copy that begins destroys what it will write over, and the new numbers come only when the thread waits for them: who
// reads too early, or begins a copy over what others still read, gets NaN.
namespace on_cpu {
struct Copy {
    char* to;
    const char* from;  // null: zeros
    unsigned group;
};
constexpr unsigned MOST_COPIES = 64;
static Copy copies[MOST_THREADS][MOST_COPIES];
static unsigned copying[MOST_THREADS], groups[MOST_THREADS];
static inline void begin_copy(void* to, const void* from) {
    unsigned& n = copying[threadIdx.x];
    const uint64_t places = reinterpret_cast<uint64_t>(to) | reinterpret_cast<uint64_t>(from);
    if (n == MOST_COPIES || places % 16) trouble = "a copy that cannot be made";
    if (trouble) return;
    copies[threadIdx.x][n++] = {static_cast<char*>(to), static_cast<const char*>(from), groups[threadIdx.x]};
    std::memset(to, 0xff, 16);
}
static inline void finish_copies(unsigned later) {
    Copy* mine = copies[threadIdx.x];
    unsigned kept = 0;
    for (unsigned i = 0; i < copying[threadIdx.x]; ++i) {
        if (mine[i].group + later >= groups[threadIdx.x]) mine[kept++] = mine[i];
        else if (mine[i].from) std::memcpy(mine[i].to, mine[i].from, 16);
        else std::memset(mine[i].to, 0, 16);
    }
    copying[threadIdx.x] = kept;
}
// Every lane shows `n` words, and gets what all lanes show: [lane][word].
static uint64_t shown_words[2 * MOST_THREADS][6];
static inline const uint64_t (*show(const uint64_t* words, int n))[6] {
    uint64_t(*place)[6] = shown_words + (threadIdx.x / 32 * 2 + fibers[current].exchanges++ % 2) * 32;
    std::memcpy(place[threadIdx.x % 32], words, n * sizeof(uint64_t));
    wait(Waits::for_warp);
    return place;
}
template <class T> float number(uint64_t word, int place) {
    T value;
    std::memcpy(static_cast<void*>(&value), reinterpret_cast<const char*>(&word) + 2 * place, 2);
    return float(value);
}
// c (16, 8) += a (16, 16) b (16, 8); see `flash.cu` for who holds what.
template <class T> void multiply_add(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    const uint64_t mine[6] = {a[0], a[1], a[2], a[3], b0, b1};
    const auto all = show(mine, 6);
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4 * 2;
    for (int e = 0; e < 4; ++e) {
        const int row = g + e / 2 * 8, column = t + e % 2;
        for (int k = 0; k < 16; ++k) {
            const float left = number<T>(all[row % 8 * 4 + k % 8 / 2][row / 8 + k / 8 * 2], k % 2);
            c[e] += left * number<T>(all[column * 4 + k % 8 / 2][4 + k / 8], k % 2);
        }
    }
}
template <class T> void load_matrices(unsigned (&m)[4], const T* row, bool transposed) {
    const uint64_t mine[1] = {reinterpret_cast<uint64_t>(row)};
    if (mine[0] % 16) trouble = "a row of a matrix that does not begin at a multiple of 16 bytes";
    const auto all = show(mine, 1);
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4 * 2;
    for (int i = 0; i < 4; ++i) {
        unsigned banks = 0;  // groups of four, 16 bytes
        for (int row = 0; row < 8; ++row) banks |= 1u << all[8 * i + row][0] / 16 % 8;
        if (banks != 0xff) trouble = "two rows of a matrix lie in the same banks: they are read one after the other";
        for (int e = 0; e < 2; ++e) {
            const int r = transposed ? t + e : g, column = transposed ? g : t + e;
            std::memcpy(reinterpret_cast<char*>(&m[i]) + 2 * e, reinterpret_cast<const T*>(all[8 * i + r][0]) + column, 2);
        }
    }
}
template <class T> unsigned two(float low, float high) {
    const T both[2] = {T(low), T(high)};
    unsigned made;
    std::memcpy(&made, both, 4);
    return made;
}
}  // namespace on_cpu
#define ON_CPU_TENSOR_CORES(T)                                                                                        \
    static inline void multiply_add(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {               \
        on_cpu::multiply_add<T>(c, a, b0, b1);                                                                       \
    }                                                                                                                \
    static inline void load_matrices(unsigned (&m)[4], const T* row) { on_cpu::load_matrices(m, row, false); }      \
    static inline void load_transposed(unsigned (&m)[4], const T* row) { on_cpu::load_matrices(m, row, true); }     \
    static inline unsigned two(float low, float high) { return on_cpu::two<T>(low, high); }                         \
    static inline float power_of_2(float x) { return __builtin_exp2f(x); }                                          \
    static inline void copy_16(T* to, const T* from, bool there) { on_cpu::begin_copy(to, there ? from : nullptr); }  \
    static inline void end_of_group() { ++on_cpu::groups[threadIdx.x]; }                                             \
    template <int LATER> void wait_for_groups() { on_cpu::finish_copies(LATER); }

// For each kernel of a source: how to call it and what it takes.
#define ON_CPU(name)                                                                                          \
    extern "C" const char* launch_##name(unsigned grid, unsigned block, size_t shared, int backwards, void** a) { \
        return on_cpu::call(name, grid, block, shared, backwards, a);                                         \
    }                                                                                                         \
    extern "C" const char* signature_##name() { return on_cpu::signature(name); }
