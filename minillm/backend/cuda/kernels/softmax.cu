// Softmax and its logarithm along rows, one block a row.
//
//     y = exp(x - m) / s,       m = max(x),  s = sum(exp(x - m))        dx = y (dy - sum(dy y))
//     y = (x - m) - log(s)                                              dx = dy - exp(y) sum(dy)

extern "C" __global__ void softmax_forward(const T* x, T* y, long long width) {
    x += blockIdx.x * width;
    y += blockIdx.x * width;
    A m, s;
    largest_and_sum(x, width, 1, m, s);
    FOR_PACKS(i, width) {
        Pack<T> xs = load(x + i);
        FOR_PACK(k) xs[k] = T(exp(A(xs[k]) - m) / s);
        store(y + i, xs);
    }
}

extern "C" __global__ void log_softmax_forward(const T* x, T* y, long long width) {
    x += blockIdx.x * width;
    y += blockIdx.x * width;
    A m, s;
    largest_and_sum(x, width, 1, m, s);
    const A log_s = log(s);
    FOR_PACKS(i, width) {
        Pack<T> xs = load(x + i);
        FOR_PACK(k) xs[k] = T(A(xs[k]) - m - log_s);
        store(y + i, xs);
    }
}

extern "C" __global__ void softmax_backward(const T* dy, const T* y, T* dx, long long width) {
    const long long row = blockIdx.x * width;
    A dot = 0;
    FOR_PACKS(i, width) {
        Pack<T> dys = load(dy + row + i), ys = load(y + row + i);
        FOR_PACK(k) dot += A(dys[k]) * A(ys[k]);
    }
    dot = sum_block(dot);
    FOR_PACKS(i, width) {
        Pack<T> dys = load(dy + row + i), ys = load(y + row + i);
        FOR_PACK(k) ys[k] = T(A(ys[k]) * (A(dys[k]) - dot));
        store(dx + row + i, ys);
    }
}

extern "C" __global__ void log_softmax_backward(const T* dy, const T* y, T* dx, long long width) {
    const long long row = blockIdx.x * width;
    A total = 0;
    FOR_PACKS(i, width) {
        Pack<T> dys = load(dy + row + i);
        FOR_PACK(k) total += A(dys[k]);
    }
    total = sum_block(total);
    FOR_PACKS(i, width) {
        Pack<T> dys = load(dy + row + i), ys = load(y + row + i);
        FOR_PACK(k) ys[k] = T(A(dys[k]) - exp(A(ys[k])) * total);
        store(dx + row + i, ys);
    }
}
