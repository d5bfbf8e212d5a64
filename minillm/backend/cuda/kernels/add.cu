// A sum of two arrays of one shape:  z = x + y,  of type T; y may be of fewer bits.

extern "C" __global__ void add(const T* x, const W* y, T* z, long long n) {
    const long long i = (blockIdx.x * (long long)blockDim.x + threadIdx.x) * V;
    if (i >= n) return;
    Pack<T> xs = load(x + i);
    Pack<W> ys = load(y + i);
    FOR_PACK(k) xs[k] = T(A(xs[k]) + A(ys[k]));
    store(z + i, xs);
}
