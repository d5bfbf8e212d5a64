// A step of Adam, and the norm of all gradients, in one launch for many parameters.
//
// A table says what each block works on: one row a block, with the addresses of a piece of each array and the number
// of its elements. Pieces are cut on the host; see launcher.py.

// Pack number i of a piece with n elements; the last one may be short.
__device__ __forceinline__ Pack<T> load_piece(const T* from, long long i, long long n) {
    if (i + V <= n) return load(from + i);
    Pack<T> pack;
    FOR_PACK(k) pack[k] = i + k < n ? from[i + k] : T(A(0));
    return pack;
}
__device__ __forceinline__ void store_piece(T* to, long long i, long long n, const Pack<T>& pack) {
    if (i + V <= n) return store(to + i, pack);
    FOR_PACK(k) {
        if (i + k < n) to[i + k] = pack.values[k];
    }
}
#define FOR_PACKS_OF_PIECE(i, n) for (long long i = threadIdx.x * V; i < (n); i += blockDim.x * V)

// g = sign dw + penalty w                      Adam's weight decay: an L2 penalty
// m <- beta1 m + (1 - beta1) g                 the mean of recent gradients
// v <- beta2 v + (1 - beta2) g^2               the mean of their squares
// w <- shrink w - size m / (sqrt(v) + eps)     AdamW's weight decay is `shrink`; both corrections are in size and eps
extern "C" __global__ void adam(const long long* table, A beta1, A rest1, A beta2, A rest2, A size, A eps, A shrink,
                                A penalty, A sign) {
    const long long *row = table + blockIdx.x * 5, n = row[4];
    T *w = reinterpret_cast<T*>(row[0]), *m = reinterpret_cast<T*>(row[2]), *v = reinterpret_cast<T*>(row[3]);
    const T* dw = reinterpret_cast<const T*>(row[1]);
    FOR_PACKS_OF_PIECE(i, n) {
        Pack<T> ws = load_piece(w, i, n), gs = load_piece(dw, i, n);
        Pack<T> ms = load_piece(m, i, n), vs = load_piece(v, i, n);
        FOR_PACK(k) {
            const A g = sign * A(gs[k]) + penalty * A(ws[k]);
            const A mean = beta1 * A(ms[k]) + rest1 * g, square = beta2 * A(vs[k]) + rest2 * (g * g);
            ms[k] = T(mean), vs[k] = T(square);
            ws[k] = T(shrink * A(ws[k]) - size * (mean / (sqrt(square) + eps)));
        }
        store_piece(w, i, n, ws), store_piece(m, i, n, ms), store_piece(v, i, n, vs);
    }
}

// parts[b] = sum of g^2 over piece b
extern "C" __global__ void sums_of_squares(const long long* table, A* parts) {
    const long long *row = table + blockIdx.x * 2, n = row[1];
    const T* g = reinterpret_cast<const T*>(row[0]);
    A total = 0;
    FOR_PACKS_OF_PIECE(i, n) {
        Pack<T> gs = load_piece(g, i, n);
        FOR_PACK(k) total += A(gs[k]) * A(gs[k]);
    }
    total = sum_block(total);
    if (threadIdx.x == 0) parts[blockIdx.x] = total;
}

// norm = sqrt(sum(parts)), by one block, always in the same order
extern "C" __global__ void norm_of_parts(const A* parts, A* norm, long long n) {
    A total = 0;
    for (long long i = threadIdx.x; i < n; i += blockDim.x) total += parts[i];
    total = sum_block(total);
    if (threadIdx.x == 0) *norm = sqrt(total);
}

// g <- g min(1, most / (norm + 1e-6)); where the norm is NaN or infinite the gradients stay as they are. Every block
// reads the norm on the device: the host need not wait for it.
extern "C" __global__ void clip(const long long* table, const A* norm, A most) {
    const A factor = most / (*norm + A(1e-6));
    if (!isfinite(*norm) || !(factor < 1)) return;
    const long long *row = table + blockIdx.x * 2, n = row[1];
    T* g = reinterpret_cast<T*>(row[0]);
    FOR_PACKS_OF_PIECE(i, n) {
        Pack<T> gs = load_piece(g, i, n);
        FOR_PACK(k) gs[k] = T(A(gs[k]) * factor);
        store_piece(g, i, n, gs);
    }
}
