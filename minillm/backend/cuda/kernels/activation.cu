// Activations: one number in, one number out. The forward pass keeps what it has anyway, x (for ReLU: y); the backward
// pass computes the slope from it.

// y = max(x, 0); the slope, from y, is 1 where y > 0 (and at NaN).
struct ReLU {
    static __device__ A value(A x) { return x > 0 || x != x ? x : A(0); }
    static __device__ A slope(A y) { return y <= 0 ? A(0) : A(1); }
};

// y = x h, h = (1 + tanh(u)) / 2, u = x (a + b x^2); the slope is h + 2 y (1 - h) (a + 3 b x^2).
struct GELUTanh {
    static constexpr A a = A(0.7978845608028654), b = a * A(0.044715);  // a = sqrt(2 / pi)
    static __device__ A h(A x) { return A(0.5) + A(0.5) * tanh(x * (a + b * x * x)); }
    static __device__ A value(A x) { return x * h(x); }
    static __device__ A slope(A x) {
        const A part = h(x);
        return part + 2 * x * part * (1 - part) * (a + 3 * b * x * x);
    }
};

// y = x P(x), P(x) = (1 + erf(x / sqrt(2))) / 2; the slope is P + x p with the density p = exp(-x^2 / 2) / sqrt(2 pi).
struct GELU {
    static __device__ A below(A x) { return A(0.5) + A(0.5) * erf(x * A(0.7071067811865476)); }
    static __device__ A value(A x) { return x * below(x); }
    static __device__ A slope(A x) { return below(x) + x * exp(A(-0.5) * x * x) * A(0.3989422804014327); }
};

// y = x s, s = 1 / (1 + exp(-x)); the slope is s + y (1 - s).
struct SiLU {
    static __device__ A s(A x) { return A(1) / (1 + exp(-x)); }
    static __device__ A value(A x) { return x * s(x); }
    static __device__ A slope(A x) {
        const A part = s(x);
        return part + x * part * (1 - part);
    }
};

template <class F> __device__ void forward(const T* x, T* y, long long n) {
    const long long i = (blockIdx.x * (long long)blockDim.x + threadIdx.x) * V;
    if (i >= n) return;
    Pack<T> xs = load(x + i);
    FOR_PACK(k) xs[k] = T(F::value(A(xs[k])));
    store(y + i, xs);
}

template <class F> __device__ void backward(const T* dy, const T* kept, T* dx, long long n) {
    const long long i = (blockIdx.x * (long long)blockDim.x + threadIdx.x) * V;
    if (i >= n) return;
    Pack<T> dys = load(dy + i), values = load(kept + i);
    FOR_PACK(k) dys[k] = T(A(dys[k]) * F::slope(A(values[k])));
    store(dx + i, dys);
}

extern "C" __global__ void relu_forward(const T* x, T* y, long long n) { forward<ReLU>(x, y, n); }
extern "C" __global__ void relu_backward(const T* dy, const T* y, T* dx, long long n) { backward<ReLU>(dy, y, dx, n); }

extern "C" __global__ void gelu_tanh_forward(const T* x, T* y, long long n) { forward<GELUTanh>(x, y, n); }
extern "C" __global__ void gelu_tanh_backward(const T* dy, const T* x, T* dx, long long n) {
    backward<GELUTanh>(dy, x, dx, n);
}

extern "C" __global__ void gelu_forward(const T* x, T* y, long long n) { forward<GELU>(x, y, n); }
extern "C" __global__ void gelu_backward(const T* dy, const T* x, T* dx, long long n) { backward<GELU>(dy, x, dx, n); }

extern "C" __global__ void silu_forward(const T* x, T* y, long long n) { forward<SiLU>(x, y, n); }
extern "C" __global__ void silu_backward(const T* dy, const T* x, T* dx, long long n) { backward<SiLU>(dy, x, dx, n); }
