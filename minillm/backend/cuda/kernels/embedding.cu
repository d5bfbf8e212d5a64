// The gradient of a table: the rows of dy whose id is v are added up, and the sum is added to dw[v].
//
// First the rows are put in order, by id and then as they stand, in three steps:
//
//     counts[v] = how many ids are v,     starts[v] = counts[0] + ... + counts[v - 1],
//     order[starts[v]], order[starts[v] + 1], ... = the places i with ids[i] = v, ascending;    sorted[j] = ids[order[j]]
//
// CuPy would sort, too, but waits for the card while it does.

struct alignas(16) Ids {
    int values[4];
};
constexpr int TILE = 1024;  // ids that a block looks through at a time

// `counts` must be zero. Threads add in any order: of whole numbers the sum is the same.
extern "C" __global__ void count_ids(const long long* ids, int* counts, long long n) {
    const long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i < n) atomicAdd(counts + ids[i], 1);
}

// One block of at most 1024 threads. Each has a stretch of the table; what comes before it is found by adding the sums
// of the stretches at distance 1, 2, 4, ...
extern "C" __global__ void starts_of_ids(int* counts, long long table) {
    __shared__ int sums[1024];
    const int thread = threadIdx.x, threads = blockDim.x;
    const long long length = (table + threads - 1) / threads, first = thread * length;
    const long long last = first + length < table ? first + length : table;
    int total = 0;
    for (long long v = first; v < last; ++v) total += counts[v];
    sums[thread] = total;
    __syncthreads();
    for (int distance = 1; distance < threads; distance *= 2) {
        const int before = thread >= distance ? sums[thread - distance] : 0;
        __syncthreads();
        sums[thread] += before;
        __syncthreads();
    }
    int start = sums[thread] - total;
    for (long long v = first; v < last; ++v) {
        const int count = counts[v];
        counts[v] = start;
        start += count;
    }
}

// A thread belongs to a row v of the table. It looks at all ids in turn until it has found every v.
extern "C" __global__ void order_of_ids(const long long* ids, const int* starts, long long* order, long long* sorted,
                                        long long n, long long table) {
    __shared__ Ids tile[TILE / 4];
    const long long v = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    long long at = v < table ? starts[v] : 0;
    const long long end = v >= table ? 0 : v + 1 < table ? starts[v + 1] : n;
    for (long long begin = 0; begin < n; begin += TILE) {
        __syncthreads();
        for (int j = threadIdx.x; j < TILE; j += blockDim.x) {
            tile[j / 4].values[j % 4] = begin + j < n ? int(ids[begin + j]) : -1;
        }
        __syncthreads();
        for (int j = 0; j < TILE && at < end; j += 4) {
            const Ids four = tile[j / 4];
            _Pragma("unroll") for (int k = 0; k < 4; ++k) {
                if (four.values[k] == v) {
                    order[at] = begin + j + k;
                    sorted[at++] = v;
                }
            }
        }
    }
}

// The rows of one id are a run in that order. A block belongs to a place in it and to 32 V columns; only the one at the
// start of a run has work. Its 8 warps take every eighth row of the run and add up their sums in the end: a common word
// is not one long chain, and the order of adding is always the same.

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
