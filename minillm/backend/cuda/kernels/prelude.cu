// What every file of kernels begins with. The launcher puts it in front, and before it the lines that make one source
// serve several types:
//
//     typedef __half T;        an element of the arrays
//     typedef float W;         an element of the weights (T or float)
//     typedef float A;         the type to compute in: float, or double for double
//     constexpr int V = 8;     how many elements a thread loads at once (16 bytes), or 1 where memory is not aligned so
//
// Numbers that are no arrays come as `long long` or as `A`.

// V elements side by side, loaded and stored by one instruction.
template <class X> struct alignas(sizeof(X) * V < 16 ? sizeof(X) * V : 16) Pack {
    X values[V];
    __device__ X& operator[](int k) { return values[k]; }
};
template <class X> __device__ __forceinline__ Pack<X> load(const X* from) {
    return *reinterpret_cast<const Pack<X>*>(from);
}
template <class X> __device__ __forceinline__ void store(X* to, const Pack<X>& pack) {
    *reinterpret_cast<Pack<X>*>(to) = pack;
}

// The packs of a row that belong to this thread: i is the place of a pack's first element.
#define FOR_PACKS(i, width) for (int i = threadIdx.x * V; i < (width); i += blockDim.x * V)
#define FOR_PACK(k) _Pragma("unroll") for (int k = 0; k < V; ++k)

#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif
#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(type, name) extern __shared__ type name[]
#endif

// Combine one value a thread into one value for the block, which every thread gets: first the 32 lanes of each warp,
// then the warps. The order is always the same, so the result is too.
template <class Op> __device__ A reduce_block(A value, Op op) {
    __shared__ A of_warp[32];
    for (int offset = 16; offset; offset /= 2) value = op(value, __shfl_xor_sync(0xffffffffu, value, offset));
    const int warps = blockDim.x / 32;
    if (warps == 1) return value;
    __syncthreads();  // some thread may still be reading the result of the reduction before this one
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
    __syncthreads();
    value = of_warp[0];
    for (int warp = 1; warp < warps; ++warp) value = op(value, of_warp[warp]);
    return value;
}
struct Plus {
    __device__ A operator()(A a, A b) const { return a + b; }
};
struct Largest {
    __device__ A operator()(A a, A b) const { return fmax(a, b); }
};
__device__ __forceinline__ A sum_block(A value) { return reduce_block(value, Plus()); }
__device__ __forceinline__ A max_block(A value) { return reduce_block(value, Largest()); }

// The largest m of the first `seen` numbers of a row times `scale`, and the sum s of exp(scale x - m), in one pass:
// when a larger number comes, the sum so far shrinks. Of a row of -inf alone, m is -inf and s is 0.
__device__ void largest_and_sum(const T* x, int seen, A scale, A& m, A& s) {
    m = -INFINITY, s = 0;
    FOR_PACKS(i, seen) {
        Pack<T> xs = load(x + i);
        A values[V], larger = m;
        FOR_PACK(k) {
            values[k] = i + k < seen ? scale * A(xs[k]) : A(-INFINITY);
            larger = fmax(larger, values[k]);
        }
        // Trap: -inf - -inf is NaN; subtracting 0 instead leaves exp(-inf) = 0, and lets a NaN of the row through.
        const A base = larger == -INFINITY ? A(0) : larger;
        s *= exp(m - base);
        FOR_PACK(k) s += exp(values[k] - base);
        m = larger;
    }
    const A largest = max_block(m), base = largest == -INFINITY ? A(0) : largest;
    s = sum_block(s * exp(m - base));
    m = largest;
}
