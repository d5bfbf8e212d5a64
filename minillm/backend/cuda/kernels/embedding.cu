// The gradient of a table: the rows of dy whose id is v are added up, and the sum is added to dw[v].
//
// `sorted` holds the ids in ascending order and `order` the rows of dy that they stand for, so the rows of one id are a
// run. A block belongs to a place in that order and to 32 V columns; only the one at the start of a run has work. Its
// 8 warps take every eighth row of the run and add up their sums in the end: a common word is not one long chain, and
// the order of adding is always the same.

constexpr int WARPS = 8;

extern "C" __global__ void embedding_gradient(const T* dy, const long long* order, const long long* sorted, T* dw,
                                              long long n, long long width) {
    __shared__ A sums[WARPS][32 * V];
    const long long strips = (width + 32 * V - 1) / (32 * V), first = blockIdx.x / strips;
    const long long id = sorted[first];
    if (first && sorted[first - 1] == id) return;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const long long column = (blockIdx.x % strips * 32 + lane) * V;
    A total[V] = {};
    if (column < width) {
        for (long long at = first + warp; at < n && sorted[at] == id; at += WARPS) {
            Pack<T> dys = load(dy + order[at] * width + column);
            FOR_PACK(k) total[k] += A(dys[k]);
        }
    }
    FOR_PACK(k) sums[warp][lane * V + k] = total[k];
    __syncthreads();
    if (warp || column >= width) return;
    Pack<T> result = load(dw + id * width + column);
    FOR_PACK(k) {
        for (int other = 1; other < WARPS; ++other) total[k] += sums[other][lane * V + k];
        result[k] = T(A(result[k]) + total[k]);
    }
    store(dw + id * width + column, result);
}
