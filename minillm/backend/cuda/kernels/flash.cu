// Attention that keeps no array of queries x keys (Dao, "FlashAttention-2", 2023), on tensor cores, for 16-bit types.
//
//     S = scale Q K^T,   P = softmax(S),   Y = P V
//
// A block has 64 queries and walks through the keys, a tile at a time. It keeps, of each row of S so far, the largest m
// and the sum l of exp(S - m), and Y times l; when a larger S comes, both sums shrink. What is kept for the way back is
// L = m + log(l) of each query. With it P = exp(S - L) is computed again, tile by tile:
//
//     dV = P^T dY,   dP = dY V^T,   dS = P (dP - delta),  delta = sum(dY Y),   dQ = scale dS K,   dK = scale dS^T Q
//
// One kernel has 64 queries a block and makes dQ, another 64 keys and makes dK and dV: each computes P, but nobody adds
// to what another block wrote, so the sums are made in the same order every time. Exponents are of 2: `factor` is
// scale / log(2).
//
// Numbers of tensor cores: a warp multiplies A (16, 16) and B (16, 8) and adds to C (16, 8). Lane `lane` holds, with
// g = lane / 4 and t = 2 (lane % 4), of C the places (g, t), (g, t + 1), (g + 8, t), (g + 8, t + 1); of A the same in
// its left half and then in its right half, two numbers a register. So a result C is an A without any exchange.

constexpr int STEPS = HEAD_DIM / 16;  // products of depth 16 along a head
constexpr int ROW = HEAD_DIM + 8;     // a row in shared memory: 16 bytes more, so that 8 rows lie in different banks
constexpr int ROWS = 64;              // of a block: 16 for each of its 4 warps
constexpr int THREADS = 128;
constexpr int KEYS = HEAD_DIM <= 96 ? 32 : 16;     // of a tile, forward and for dQ
constexpr int QUERIES = HEAD_DIM <= 64 ? 32 : 16;  // of a tile, for dK and dV
// Tiles in shared memory: one to compute with, two that arrive. Who waits for a tile also waits until nobody reads the
// one before any more, and the next copy goes there.
constexpr int SLOTS = 3;

#define PLACE(x) long long x##_batch, long long x##_head, long long x##_row
#define AT_HEAD(x) (head / int(heads) * x##_batch + head % int(heads) * x##_head)

// --- what the lanes of a warp do together; the tests have functions of the same names for the CPU ---------------------
#ifdef ON_CPU_TENSOR_CORES
ON_CPU_TENSOR_CORES(T)
#else
#if BFLOAT
#define KIND "bf16"
#else
#define KIND "f16"
#endif
__device__ __forceinline__ void multiply_add(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." KIND "." KIND ".f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// Four matrices (8, 8) from shared memory: lane i says where row i % 8 of matrix i / 8 is, and gets two numbers of each.
__device__ __forceinline__ void load_matrices(unsigned (&m)[4], const T* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(unsigned(__cvta_generic_to_shared(row))));
}
__device__ __forceinline__ void load_transposed(unsigned (&m)[4], const T* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(unsigned(__cvta_generic_to_shared(row))));
}
__device__ __forceinline__ unsigned two(float low, float high) {
    unsigned both;
    asm("cvt.rn." KIND "x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}
__device__ __forceinline__ float power_of_2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
// Copies of 16 bytes that go on in the background; zeros where there is nothing.
__device__ __forceinline__ void copy_16(T* to, const T* from, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(unsigned(__cvta_generic_to_shared(to))),
                 "l"(from), "r"(there ? 16 : 0)
                 : "memory");
}
__device__ __forceinline__ void end_of_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int LATER> __device__ __forceinline__ void wait_for_groups() {  // all but the last LATER
    asm volatile("cp.async.wait_group %0;" ::"n"(LATER) : "memory");
}
#endif

struct alignas(8) Two {
    float values[2];
};
// The sum of the products of two pairs in registers.
__device__ __forceinline__ float dot(unsigned x, unsigned y) {
    const T *a = reinterpret_cast<const T*>(&x), *b = reinterpret_cast<const T*>(&y);
    return float(a[0]) * float(b[0]) + float(a[1]) * float(b[1]);
}

// --- matrices ---------------------------------------------------------------------------------------------------------
// Rows first .. first + 15 of x as A, straight from global memory; zeros from row `limit` on.
__device__ __forceinline__ void load_rows(unsigned (&a)[STEPS][4], const T* x, int stride, int first,
                                          int limit) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4 * 2;
    _Pragma("unroll") for (int s = 0; s < STEPS; ++s) {
        _Pragma("unroll") for (int r = 0; r < 4; ++r) {
            const int row = first + g + r % 2 * 8;
            const T* from = x + (long long)row * stride + 16 * s + t + r / 2 * 8;
            a[s][r] = row < limit ? *reinterpret_cast<const unsigned*>(from) : 0u;
        }
    }
}

// The same with the opposite sign: a negative scale. Then the largest S is `factor` times the largest product.
__device__ __forceinline__ void negate(unsigned (&a)[STEPS][4]) {
    _Pragma("unroll") for (int s = 0; s < STEPS; ++s) {
        _Pragma("unroll") for (int r = 0; r < 4; ++r) a[s][r] ^= 0x80008000u;
    }
}

// Rows first .. first + N - 1 of x to shared memory; zeros from row `limit` on.
template <int N>
__device__ __forceinline__ void copy_tile(T* to, const T* x, int stride, int first, int limit) {
    constexpr int PIECES = HEAD_DIM / 8, AT_ONCE = THREADS / PIECES;  // rows that the block copies at once
    const int row = threadIdx.x / PIECES, column = threadIdx.x % PIECES * 8;
    if (row >= AT_ONCE) return;
    x += column, to += row * ROW + column;
    _Pragma("unroll") for (int i = 0; i < N; i += AT_ONCE) {
        if (i + AT_ONCE > N && i + row >= N) continue;
        const bool there = first + i + row < limit;
        copy_16(to + i * ROW, x + (long long)(there ? first + i + row : 0) * stride, there);
    }
}

// c (16, N) += a (16, HEAD_DIM) x^T, x (N, HEAD_DIM) in shared memory.
template <int N>
__device__ __forceinline__ void add_product_turned(float (&c)[N / 8][4], const unsigned (&a)[STEPS][4], const T* x) {
    const int lane = threadIdx.x % 32;
    x += (lane / 16 * 8 + lane % 8) * ROW + lane / 8 % 2 * 8;
    _Pragma("unroll") for (int s = 0; s < STEPS; ++s) {
        _Pragma("unroll") for (int i = 0; i < N / 16; ++i) {
            unsigned b[4];
            load_matrices(b, x + 16 * i * ROW + 16 * s);
            multiply_add(c[2 * i], a[s], b[0], b[1]);
            multiply_add(c[2 * i + 1], a[s], b[2], b[3]);
        }
    }
}

// c (16, HEAD_DIM) += p x, p (16, N) as a product left it, x (N, HEAD_DIM) in shared memory.
template <int N>
__device__ __forceinline__ void add_product(float (&c)[2 * STEPS][4], const float (&p)[N / 8][4], const T* x) {
    const int lane = threadIdx.x % 32;
    x += (lane / 8 % 2 * 8 + lane % 8) * ROW + lane / 16 * 8;
    _Pragma("unroll") for (int j = 0; j < N / 16; ++j) {
        const float(&left)[4] = p[2 * j], (&right)[4] = p[2 * j + 1];
        const unsigned a[4] = {two(left[0], left[1]), two(left[2], left[3]), two(right[0], right[1]),
                               two(right[2], right[3])};
        _Pragma("unroll") for (int i = 0; i < STEPS; ++i) {
            unsigned b[4];
            load_transposed(b, x + 16 * j * ROW + 16 * i);
            multiply_add(c[2 * i], a, b[0], b[1]);
            multiply_add(c[2 * i + 1], a, b[2], b[3]);
        }
    }
}

// Write c times `by` to rows first .. first + 15 of x.
__device__ __forceinline__ void store_rows(T* x, const float (&c)[2 * STEPS][4], float by0, float by1, int stride,
                                           int first, int limit) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4 * 2;
    _Pragma("unroll") for (int half = 0; half < 2; ++half) {
        const int row = first + g + 8 * half;
        const float by = half ? by1 : by0;
        if (row >= limit) continue;
        _Pragma("unroll") for (int i = 0; i < 2 * STEPS; ++i) {
            *reinterpret_cast<unsigned*>(x + (long long)row * stride + 8 * i + t) = two(c[i][2 * half] * by, c[i][2 * half + 1] * by);
        }
    }
}

// The four lanes that hold a row of C combine their numbers.
__device__ __forceinline__ float sum_row(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}
__device__ __forceinline__ float max_row(float x) {
    x = fmax(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmax(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

// --- forward ----------------------------------------------------------------------------------------------------------
extern "C" __global__ void __launch_bounds__(THREADS, HEAD_DIM <= 64 ? 4 : 2)
    flash_forward(const T* q, const T* k, const T* v, T* y, float* statistics, PLACE(q), PLACE(k), PLACE(v), PLACE(y),
                  long long heads, long long all_heads, long long many_queries, long long many_keys, long long causal,
                  float factor) {
    alignas(16) __shared__ T tiles[SLOTS][2][KEYS * ROW];  // keys, values
    // Late queries see more keys: they begin first.
    const int queries = int(many_queries), keys = int(many_keys), head = int(blockIdx.x) % int(all_heads);
    const int first = ((queries + ROWS - 1) / ROWS - 1 - int(blockIdx.x) / int(all_heads)) * ROWS;
    const int mine = first + threadIdx.x / 32 * 16;
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4 * 2;
    q += AT_HEAD(q), k += AT_HEAD(k), v += AT_HEAD(v);
    const int n = ((causal && first + ROWS < keys ? first + ROWS : keys) + KEYS - 1) / KEYS;
    auto fetch = [&](int j, int slot) {
        if (j < n) {
            copy_tile<KEYS>(tiles[slot][0], k, int(k_row), j * KEYS, keys);
            copy_tile<KEYS>(tiles[slot][1], v, int(v_row), j * KEYS, keys);
        }
        end_of_group();
    };
    fetch(0, 0);
    fetch(1, 1);
    unsigned a[STEPS][4];
    load_rows(a, q, int(q_row), mine, queries);
    if (factor < 0) negate(a), factor = -factor;
    float out[2 * STEPS][4] = {}, m[2] = {-INFINITY, -INFINITY}, l[2] = {0, 0};
    for (int j = 0, slot = 0; j < n; ++j, slot = slot == SLOTS - 1 ? 0 : slot + 1) {
        wait_for_groups<1>();
        __syncthreads();
        fetch(j + 2, slot == 0 ? SLOTS - 1 : slot - 1);
        float s[KEYS / 8][4] = {};
        add_product_turned<KEYS>(s, a, tiles[slot][0]);
        // Column c of the tile is seen by row g of the warp if c < there, and c <= own.
        const int there = keys - j * KEYS, own = causal ? mine + g - j * KEYS : KEYS;
        if (there < KEYS || (causal && mine < (j + 1) * KEYS - 1)) {
            _Pragma("unroll") for (int i = 0; i < KEYS / 8; ++i) {
                _Pragma("unroll") for (int e = 0; e < 4; ++e) {
                    const int c = 8 * i + t + e % 2;
                    if (c >= there || c > own + e / 2 * 8) s[i][e] = -INFINITY;
                }
            }
        }
        _Pragma("unroll") for (int half = 0; half < 2; ++half) {
            float larger = -INFINITY;
            _Pragma("unroll") for (int i = 0; i < KEYS / 8; ++i) {
                larger = fmax(larger, fmax(s[i][2 * half], s[i][2 * half + 1]));
            }
            larger = fmax(m[half], max_row(larger) * factor);
            // Trap: -inf - -inf is NaN; subtracting 0 instead leaves 0.
            const float base = larger == -INFINITY ? 0.0f : larger, shrink = power_of_2(m[half] - base);
            m[half] = larger;
            l[half] *= shrink;
            _Pragma("unroll") for (int i = 0; i < KEYS / 8; ++i) {
                _Pragma("unroll") for (int e = 2 * half; e < 2 * half + 2; ++e) {
                    s[i][e] = power_of_2(s[i][e] * factor - base);
                    l[half] += s[i][e];
                }
            }
            _Pragma("unroll") for (int i = 0; i < 2 * STEPS; ++i) {
                out[i][2 * half] *= shrink;
                out[i][2 * half + 1] *= shrink;
            }
        }
        add_product<KEYS>(out, s, tiles[slot][1]);
    }
    l[0] = sum_row(l[0]), l[1] = sum_row(l[1]);
    store_rows(y + AT_HEAD(y), out, 1 / l[0], 1 / l[1], int(y_row), mine, queries);
    _Pragma("unroll") for (int half = 0; half < 2; ++half) {
        const int query = mine + g + 8 * half;
        if (t == 0 && query < queries) statistics[(long long)head * queries + query] = m[half] + log2(l[half]);
    }
}

// --- backward ---------------------------------------------------------------------------------------------------------
// `statistics` holds L of all heads, and behind it delta, which this kernel writes for the next.
extern "C" __global__ void __launch_bounds__(THREADS, HEAD_DIM <= 64 ? 3 : 2)
    flash_backward_queries(const T* q, const T* k, const T* v, const T* dy, const T* y, float* statistics, T* dq,
                           PLACE(q), PLACE(k), PLACE(v), PLACE(dy), PLACE(y), PLACE(dq),
                           long long heads, long long all_heads, long long many_queries, long long many_keys,
                           long long causal, float factor, float scale) {
    alignas(16) __shared__ T tiles[SLOTS][2][KEYS * ROW];  // keys, values
    const int queries = int(many_queries), keys = int(many_keys), head = int(blockIdx.x) % int(all_heads);
    const int first = ((queries + ROWS - 1) / ROWS - 1 - int(blockIdx.x) / int(all_heads)) * ROWS;
    const int mine = first + threadIdx.x / 32 * 16;
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4 * 2;
    q += AT_HEAD(q), k += AT_HEAD(k), v += AT_HEAD(v), dy += AT_HEAD(dy), y += AT_HEAD(y);
    statistics += (long long)head * queries;
    const int n = ((causal && first + ROWS < keys ? first + ROWS : keys) + KEYS - 1) / KEYS;
    auto fetch = [&](int j, int slot) {
        if (j < n) {
            copy_tile<KEYS>(tiles[slot][0], k, int(k_row), j * KEYS, keys);
            copy_tile<KEYS>(tiles[slot][1], v, int(v_row), j * KEYS, keys);
        }
        end_of_group();
    };
    fetch(0, 0);
    fetch(1, 1);
    unsigned a[STEPS][4], b[STEPS][4];
    load_rows(a, q, int(q_row), mine, queries);
    load_rows(b, dy, int(dy_row), mine, queries);
    float L[2], delta[2] = {0, 0}, out[2 * STEPS][4] = {};
    {
        unsigned c[STEPS][4];
        load_rows(c, y, int(y_row), mine, queries);
        _Pragma("unroll") for (int s = 0; s < STEPS; ++s) {
            _Pragma("unroll") for (int r = 0; r < 4; ++r) delta[r % 2] += dot(b[s][r], c[s][r]);
        }
    }
    _Pragma("unroll") for (int half = 0; half < 2; ++half) {
        const int query = mine + g + 8 * half;
        delta[half] = sum_row(delta[half]);
        L[half] = query < queries ? statistics[query] : 0.0f;
        if (t == 0 && query < queries) statistics[all_heads * queries + query] = delta[half];
    }
    if (factor < 0) negate(a), factor = -factor;
    for (int j = 0, slot = 0; j < n; ++j, slot = slot == SLOTS - 1 ? 0 : slot + 1) {
        wait_for_groups<1>();
        __syncthreads();
        fetch(j + 2, slot == 0 ? SLOTS - 1 : slot - 1);
        float s[KEYS / 8][4] = {}, dp[KEYS / 8][4] = {};
        add_product_turned<KEYS>(s, a, tiles[slot][0]);
        add_product_turned<KEYS>(dp, b, tiles[slot][1]);
        // Column c of the tile is seen by row g of the warp if c < there, and c <= own.
        const int there = keys - j * KEYS, own = causal ? mine + g - j * KEYS : KEYS;
        _Pragma("unroll") for (int i = 0; i < KEYS / 8; ++i) {
            _Pragma("unroll") for (int e = 0; e < 4; ++e) {
                s[i][e] = power_of_2(s[i][e] * factor - L[e / 2]) * (dp[i][e] - delta[e / 2]);
            }
        }
        if (there < KEYS || (causal && mine < (j + 1) * KEYS - 1)) {
            _Pragma("unroll") for (int i = 0; i < KEYS / 8; ++i) {
                _Pragma("unroll") for (int e = 0; e < 4; ++e) {
                    const int c = 8 * i + t + e % 2;
                    if (c >= there || c > own + e / 2 * 8) s[i][e] = 0;
                }
            }
        }
        add_product<KEYS>(out, s, tiles[slot][0]);
    }
    store_rows(dq + AT_HEAD(dq), out, scale, scale, int(dq_row), mine, queries);
}

// The rows of S and dP are keys here, their columns queries: P^T and dS^T are what the last products need.
extern "C" __global__ void __launch_bounds__(THREADS, HEAD_DIM <= 64 ? 3 : 2)
    flash_backward_keys(const T* q, const T* k, const T* v, const T* dy, const float* statistics, T* dk,
                        T* dv, PLACE(q), PLACE(k), PLACE(v), PLACE(dy), PLACE(dk), PLACE(dv), long long heads,
                        long long all_heads, long long many_queries, long long many_keys, long long causal,
                        float factor, float scale) {
    alignas(16) __shared__ T tiles[SLOTS][2][QUERIES * ROW];  // queries, gradients of results
    alignas(8) __shared__ float kept[SLOTS][2][QUERIES];      // L, delta
    // Early keys are seen by more queries: they begin first.
    const int queries = int(many_queries), keys = int(many_keys), head = int(blockIdx.x) % int(all_heads);
    const int first = int(blockIdx.x) / int(all_heads) * ROWS, mine = first + threadIdx.x / 32 * 16;
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4 * 2;
    q += AT_HEAD(q), k += AT_HEAD(k), v += AT_HEAD(v), dy += AT_HEAD(dy);
    statistics += (long long)head * queries;
    const int start = causal ? first / QUERIES : 0, n = (queries + QUERIES - 1) / QUERIES;
    auto fetch = [&](int j, int slot) {
        const int begin = j * QUERIES, i = threadIdx.x, query = begin + i % QUERIES;
        if (j < n) {
            copy_tile<QUERIES>(tiles[slot][0], q, int(q_row), begin, queries);
            copy_tile<QUERIES>(tiles[slot][1], dy, int(dy_row), begin, queries);
            if (i < 2 * QUERIES) {
                const float* from = statistics + (i < QUERIES ? 0 : all_heads * queries);
                kept[slot][i / QUERIES][i % QUERIES] = query < queries ? from[query] : 0.0f;
            }
        }
        end_of_group();
    };
    fetch(start, 0);
    fetch(start + 1, 1);
    unsigned a[STEPS][4], b[STEPS][4];
    load_rows(a, k, int(k_row), mine, keys);
    load_rows(b, v, int(v_row), mine, keys);
    if (factor < 0) negate(a), factor = -factor;
    float sum_k[2 * STEPS][4] = {}, sum_v[2 * STEPS][4] = {};
    for (int j = start, slot = 0; j < n; ++j, slot = slot == SLOTS - 1 ? 0 : slot + 1) {
        wait_for_groups<1>();
        __syncthreads();
        fetch(j + 2, slot == 0 ? SLOTS - 1 : slot - 1);
        float p[QUERIES / 8][4] = {}, ds[QUERIES / 8][4] = {};
        add_product_turned<QUERIES>(p, a, tiles[slot][0]);
        add_product_turned<QUERIES>(ds, b, tiles[slot][1]);
        _Pragma("unroll") for (int i = 0; i < QUERIES / 8; ++i) {
            const Two L = *reinterpret_cast<const Two*>(&kept[slot][0][8 * i + t]);
            const Two delta = *reinterpret_cast<const Two*>(&kept[slot][1][8 * i + t]);
            _Pragma("unroll") for (int e = 0; e < 4; ++e) {
                p[i][e] = power_of_2(p[i][e] * factor - L.values[e % 2]);
                ds[i][e] = p[i][e] * (ds[i][e] - delta.values[e % 2]);
            }
        }
        // Row g of the warp is seen by column c of the tile if c < there, and c >= own.
        const int there = queries - j * QUERIES, own = causal ? mine + g - j * QUERIES : -16;
        if (there < QUERIES || (causal && j * QUERIES < mine + 15)) {
            _Pragma("unroll") for (int i = 0; i < QUERIES / 8; ++i) {
                _Pragma("unroll") for (int e = 0; e < 4; ++e) {
                    const int c = 8 * i + t + e % 2;
                    if (c >= there || c < own + e / 2 * 8) p[i][e] = ds[i][e] = 0;
                }
            }
        }
        add_product<QUERIES>(sum_v, p, tiles[slot][1]);
        add_product<QUERIES>(sum_k, ds, tiles[slot][0]);
    }
    store_rows(dk + AT_HEAD(dk), sum_k, scale, scale, int(dk_row), mine, keys);
    store_rows(dv + AT_HEAD(dv), sum_v, 1.0f, 1.0f, int(dv_row), mine, keys);
}
