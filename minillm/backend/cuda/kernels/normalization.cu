// Layer norm and RMS norm.
//
//     h = (x - mean) r,  r = 1 / sqrt(mean((x - mean)^2) + eps),  y = h w + b        (RMS norm: mean = 0, no b)
//
//     dx = r (g - mean(g) - h mean(g h)) with g = dy w,   dw = sum over rows of dy h,   db = sum over rows of dy
//
// In a residual block, x + f(norm(x)), x gets a gradient from the sum, too: `other`, which is added to dx here.
//
// One block computes one row at a time. A row is read again from the cache for each of its passes: only the first
// pass waits for memory.

// The type of dy: under autocast that of the products which the norm feeds, of 16 bits, where x is a float.
#ifndef GRADIENT
#define GRADIENT T
#endif

template <bool CENTRED>
__device__ void norm_forward(const T* x, const W* w, const W* b, T* y, A* means, A* rs, int width, A eps) {
    x += blockIdx.x * (long long)width;
    y += blockIdx.x * (long long)width;
    A mean = 0, squares = 0;
    if (CENTRED) {
        FOR_PACKS(i, width) {
            Pack<T> xs = load(x + i);
            FOR_PACK(k) mean += A(xs[k]);
        }
        mean = sum_block(mean) / A(width);
    }
    // A pass of its own: E[x^2] - E[x]^2 would lose everything for rows such as 1e6 .. 1e6 + 3.
    FOR_PACKS(i, width) {
        Pack<T> xs = load(x + i);
        FOR_PACK(k) squares += (A(xs[k]) - mean) * (A(xs[k]) - mean);
    }
    const A r = A(1) / sqrt(sum_block(squares) / A(width) + eps);
    FOR_PACKS(i, width) {
        Pack<T> xs = load(x + i);
        Pack<W> ws, bs;
        if (w) ws = load(w + i);
        if (b) bs = load(b + i);
        FOR_PACK(k) {
            const A h = (A(xs[k]) - mean) * r;
            xs[k] = T((w ? h * A(ws[k]) : h) + (b ? A(bs[k]) : A(0)));
        }
        store(y + i, xs);
    }
    if (threadIdx.x == 0) {
        if (CENTRED) means[blockIdx.x] = mean;
        rs[blockIdx.x] = r;
    }
}

// A block takes rows blockIdx.x, blockIdx.x + gridDim.x, ... and adds up dw and db of its rows in shared memory, where
// each thread has columns of its own. It leaves one row of `dw_parts` (gridDim.x, width) and of `db_parts`;
// `column_sums` adds those. So nothing is added by atomics, whose order changes from run to run.
template <bool CENTRED>
__device__ void norm_backward(const GRADIENT* dy, const T* x, const W* w, const A* means, const A* rs, const T* other,
                              T* dx, A* dw_parts, A* db_parts, long long rows, int width) {
    DYNAMIC_SHARED(A, dw);
    A* db = dw + width;  // there only if db_parts is
    FOR_PACKS(i, width) FOR_PACK(k) {
        if (dw_parts) dw[i + k] = 0;
        if (db_parts) db[i + k] = 0;
    }
    for (long long row = blockIdx.x; row < rows; row += gridDim.x) {
        const T* x_row = x + row * width;
        const GRADIENT* dy_row = dy + row * width;
        const A mean = CENTRED ? means[row] : A(0), r = rs[row];
        A mean_g = 0, mean_gh = 0;
        FOR_PACKS(i, width) {
            Pack<T> xs = load(x_row + i);
            Pack<GRADIENT> dys = load(dy_row + i);
            Pack<W> ws;
            if (w) ws = load(w + i);
            FOR_PACK(k) {
                const A d = A(dys[k]), h = (A(xs[k]) - mean) * r, g = w ? d * A(ws[k]) : d;
                mean_g += g;
                mean_gh += g * h;
                if (dw_parts) dw[i + k] += d * h;
                if (db_parts) db[i + k] += d;
            }
        }
        if (!dx) continue;
        mean_g = CENTRED ? sum_block(mean_g) / A(width) : A(0);
        mean_gh = sum_block(mean_gh) / A(width);
        FOR_PACKS(i, width) {
            Pack<T> xs = load(x_row + i), others;
            Pack<GRADIENT> dys = load(dy_row + i);
            Pack<W> ws;
            if (w) ws = load(w + i);
            if (other) others = load(other + row * width + i);
            FOR_PACK(k) {
                const A d = A(dys[k]), h = (A(xs[k]) - mean) * r, g = w ? d * A(ws[k]) : d;
                xs[k] = T(r * (g - mean_g - h * mean_gh) + (other ? A(others[k]) : A(0)));
            }
            store(dx + row * width + i, xs);
        }
    }
    const long long part = blockIdx.x * (long long)width;
    FOR_PACKS(i, width) FOR_PACK(k) {
        if (dw_parts) dw_parts[part + i + k] = dw[i + k];
        if (db_parts) db_parts[part + i + k] = db[i + k];
    }
}

extern "C" __global__ void layer_norm_forward(const T* x, const W* w, const W* b, T* y, A* means, A* rs,
                                              long long width, A eps) {
    norm_forward<true>(x, w, b, y, means, rs, width, eps);
}

extern "C" __global__ void rms_norm_forward(const T* x, const W* w, T* y, A* rs, long long width, A eps) {
    norm_forward<false>(x, w, nullptr, y, nullptr, rs, width, eps);
}

extern "C" __global__ void layer_norm_backward(const GRADIENT* dy, const T* x, const W* w, const A* means, const A* rs,
                                               const T* other, T* dx, A* dw_parts, A* db_parts, long long rows,
                                               long long width) {
    norm_backward<true>(dy, x, w, means, rs, other, dx, dw_parts, db_parts, rows, width);
}

extern "C" __global__ void rms_norm_backward(const GRADIENT* dy, const T* x, const W* w, const A* rs, const T* other, T* dx,
                                             A* dw_parts, long long rows, long long width) {
    norm_backward<false>(dy, x, w, nullptr, rs, other, dx, dw_parts, nullptr, rows, width);
}

// out[c] = sum over rows of parts[r, c]. A block has 32 columns; lane c of each of its 32 warps adds every 32nd row.
extern "C" __global__ void column_sums(const A* parts, W* out, long long rows, long long width) {
    __shared__ A sums[32][33];  // 33: the lanes of a warp write and read different banks
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const long long column = blockIdx.x * 32LL + lane;
    A total = 0;
    if (column < width) {
        for (long long row = warp; row < rows; row += 32) total += parts[row * width + column];
    }
    sums[warp][lane] = total;
    __syncthreads();
    if (warp == 0 && column < width) {
        for (int other = 1; other < 32; ++other) total += sums[other][lane];
        out[column] = W(total);
    }
}
