// Another element type:  y = x,  rounded to the nearest where W holds fewer digits than T.

extern "C" __global__ void cast(const T* x, W* y, long long n) {
    const long long i = (blockIdx.x * (long long)blockDim.x + threadIdx.x) * V;
    if (i >= n) return;
    Pack<T> xs = load(x + i);
    Pack<W> ys;
    FOR_PACK(k) ys[k] = W(A(xs[k]));
    store(y + i, ys);
}
