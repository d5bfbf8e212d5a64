// The gradient of a table: the rows of dy whose id is v are added up, and the sum is added to dw[v].
//
// First the rows are put in order, by id and then as they stand:
//
//     counts[v] = how many ids are v,     starts[v] = counts[0] + ... + counts[v - 1]
//     ranks[i] = how many ids before place i are the same as ids[i]
//     order[starts[ids[i]] + ranks[i]] = i,     sorted[j] = ids[order[j]]
//
// CuPy would sort, too, but waits for the card while it does.

struct alignas(16) Ids {
    int values[4];
};
constexpr int TILE = 1024;  // ids that a block looks through

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

// A block has 1024 places and a tile of ids at or before them; a thread counts in the tile what is like its own. `ranks`
// must be zero; as whole numbers they are the same in whatever order the blocks add to them.
extern "C" __global__ void ranks_of_ids(const long long* ids, int* ranks, long long n) {
    __shared__ Ids tile[TILE / 4];
    // Block b of the pairs (place, tile), counted (0, 0), (1, 0), (1, 1), (2, 0), ...
    int place = int((sqrt(8.0f * blockIdx.x + 1.0f) - 1.0f) / 2.0f);
    while (place * (place + 1LL) / 2 > blockIdx.x) --place;
    while ((place + 1LL) * (place + 2LL) / 2 <= blockIdx.x) ++place;
    const long long first = (blockIdx.x - place * (place + 1LL) / 2) * TILE, i = place * (long long)TILE + threadIdx.x;
    const int at = threadIdx.x;
    tile[at / 4].values[at % 4] = first + at < n ? int(ids[first + at]) : -1;
    __syncthreads();
    if (i >= n) return;
    const int own = int(ids[i]), before = i - first < TILE ? int(i - first) : TILE;
    int found = 0;
    for (int j = 0; j < before; j += 4) {
        const Ids four = tile[j / 4];
        _Pragma("unroll") for (int k = 0; k < 4; ++k) found += j + k < before && four.values[k] == own;
    }
    if (found) atomicAdd(ranks + i, found);
}

extern "C" __global__ void order_of_ids(const long long* ids, const int* starts, const int* ranks, long long* order,
                                        long long* sorted, long long n) {
    const long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i >= n) return;
    const int at = starts[ids[i]] + ranks[i];
    order[at] = i;
    sorted[at] = ids[i];
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
