// One more token for each of B texts of one length n: what a GPT computes then, beside products and norms.
//
//     x[b] = tokens[ids[b]] + positions[n]
//
//     K[b, h, n] = k[b, h],   V[b, h, n] = v[b, h]                     the token's own key and value join the cache
//     y[b, h] = sum over j <= n of p[j] V[b, h, j],   p = softmax over j <= n of (scale q[b, h] . K[b, h, j])
//
// The ids and n are read from memory of the card, so that the launches are the same for every token.

extern "C" __global__ void embed_token(const T* tokens, const T* positions, const long long* n, const long long* ids,
                                       T* x, long long width) {
    tokens += ids[blockIdx.x] * width;
    positions += *n * width;
    x += blockIdx.x * width;
    FOR_PACKS(i, width) {
        Pack<T> xs = load(tokens + i), others = load(positions + i);
        FOR_PACK(k) xs[k] = T(A(xs[k]) + A(others[k]));
        store(x + i, xs);
    }
}

constexpr int KEYS = 4, MOST_WARPS = 16;
#define FOR_KEYS(u) _Pragma("unroll") for (int u = 0; u < KEYS; ++u)

// One block for each (b, h). As many lanes as a head has packs (rounded up to a power of 2) share a key; such a group
// loads KEYS keys and values before it computes with any, as the way to memory is long. It keeps the largest score m of
// its keys, the sum s of exp(score - m) and, in parts of one pack a lane, the sum of exp(score - m) V: what there is
// shrinks when a larger score comes. At the end the sums of all groups are added.
extern "C" __global__ void decode_attention(const T* qkv, T* keys, T* values, const long long* n, T* y,
                                            long long heads, long long capacity, long long head_width, long long lanes,
                                            A scale) {
    __shared__ A m_of[MOST_WARPS], s_of[MOST_WARPS], total_of[MOST_WARPS][32 * V];
    const int width = head_width, count = heads, row = blockIdx.x / count, head = blockIdx.x % count;
    const int last = *n, warp = threadIdx.x / 32, warps = blockDim.x / 32, lane = threadIdx.x % 32;
    const int share = lanes, groups = 32 / share, group = lane / share;
    const int place = lane % share * V;  // where this lane's part of a head begins
    const bool idle = place >= width;    // of 24 numbers in packs of 8, say, the fourth lane has none
    const int i = idle ? 0 : place;

    keys += blockIdx.x * capacity * width + i;
    values += blockIdx.x * capacity * width + i;
    const T* q = qkv + (row * 3LL * count + head) * width + i;  // qkv is (B, 3, H, D)
    const T *own_key = q + count * width, *own_value = own_key + count * width;
    A part[V], total[V], m = -INFINITY, s = 0;
    Pack<T> qs = load(q);
    FOR_PACK(k) part[k] = scale * A(qs[k]), total[k] = 0;
    // The same number of rounds for all lanes of a warp, as they show each other what they have.
    for (int first = warp * groups * KEYS; first <= last; first += warps * groups * KEYS) {
        Pack<T> ks[KEYS], vs[KEYS];
        FOR_KEYS(u) {
            // A group beyond the end loads the last key once more and does not count it. No thread reads the place
            // in the cache that another one may be writing: the last key comes from where the product left it.
            const int j = first + u * groups + group;
            ks[u] = load(j < last ? keys + j * width : own_key);
            vs[u] = load(j < last ? values + j * width : own_value);
        }
        A scores[KEYS], larger = m;
        FOR_KEYS(u) {
            scores[u] = 0;
            FOR_PACK(k) scores[u] += part[k] * A(ks[u][k]);
            if (idle) scores[u] = 0;
        }
        for (int offset = share / 2; offset; offset /= 2) {
            FOR_KEYS(u) scores[u] += __shfl_xor_sync(0xffffffffu, scores[u], offset);
        }
        FOR_KEYS(u) {
            const int j = first + u * groups + group;
            if (j > last) scores[u] = -INFINITY;
            if (j == last && !idle) {
                store(keys + j * width, ks[u]);
                store(values + j * width, vs[u]);
            }
            larger = fmax(larger, scores[u]);
        }
        // Trap: -inf - -inf is NaN; subtracting 0 instead leaves exp(-inf) = 0.
        const A base = larger == -INFINITY ? A(0) : larger, shrink = exp(m - base);
        s *= shrink;
        FOR_PACK(k) total[k] *= shrink;
        FOR_KEYS(u) {
            if (first + u * groups + group > last) continue;
            const A weight = exp(scores[u] - base);
            s += weight;
            FOR_PACK(k) total[k] += weight * A(vs[u][k]);
        }
        m = larger;
    }

    // The groups of a warp, then the warps.
    A largest = m;
    for (int offset = share; offset < 32; offset *= 2) {
        largest = fmax(largest, __shfl_xor_sync(0xffffffffu, largest, offset));
    }
    const A shrink = exp(m - (largest == -INFINITY ? A(0) : largest));
    s *= shrink;
    FOR_PACK(k) total[k] *= shrink;
    for (int offset = share; offset < 32; offset *= 2) {
        s += __shfl_xor_sync(0xffffffffu, s, offset);
        FOR_PACK(k) total[k] += __shfl_xor_sync(0xffffffffu, total[k], offset);
    }
    if (lane == 0) m_of[warp] = largest, s_of[warp] = s;
    if (group == 0 && !idle) FOR_PACK(k) total_of[warp][place + k] = total[k];
    __syncthreads();
    for (int c = threadIdx.x; c < width; c += blockDim.x) {
        A highest = m_of[0], sum = 0, weights = 0;
        for (int w = 1; w < warps; ++w) highest = fmax(highest, m_of[w]);
        for (int w = 0; w < warps; ++w) {
            const A weight = exp(m_of[w] - highest);
            weights += weight * s_of[w];
            sum += weight * total_of[w][c];
        }
        y[blockIdx.x * head_width + c] = T(sum / weights);
    }
}
