// Cross-entropy of rows of logits, one block a row.
//
//     l = log(sum(exp(x - m))) - (x[target] - m),  m = max(x)          dx = (softmax(x) - one_hot(target)) dl
//
// The logits are read once in the forward pass and once in the backward pass; of every row only m and the sum s are
// kept. The loss is of type W. Rows whose target is `ignored` are not read at all: they have a loss and a gradient of 0.

extern "C" __global__ void cross_entropy_forward(const T* x, const long long* target, A* losses, A* ms, A* ss,
                                                 long long classes, long long ignored) {
    const long long row = blockIdx.x, at = target[row];
    x += row * classes;
    A m = 0, s = 1;
    if (at != ignored) largest_and_sum(x, classes, 1, m, s);
    if (threadIdx.x == 0) {
        losses[row] = at == ignored ? A(0) : log(s) - (A(x[at]) - m);
        ms[row] = m;
        ss[row] = s;
    }
}

// The sum of all losses, or their mean over the targets that count: one block, always in the same order.
extern "C" __global__ void cross_entropy_total(const A* losses, const long long* target, W* loss, A* count,
                                               long long rows, long long ignored, long long is_mean) {
    A total = 0, counted = 0;
    for (long long row = threadIdx.x; row < rows; row += blockDim.x) {
        total += losses[row];
        counted += target[row] == ignored ? A(0) : A(1);
    }
    total = sum_block(total);
    counted = sum_block(counted);
    if (threadIdx.x == 0) {
        *count = counted;
        *loss = W(is_mean ? total / counted : total);
    }
}

// dl is dy, one number for all rows (or one each, where `dy_step` is 1), divided by `count` unless that is null.
extern "C" __global__ void cross_entropy_backward(const W* dy, const T* x, const long long* target, const A* ms,
                                                  const A* ss, const A* count, T* dx, long long classes,
                                                  long long ignored, long long dy_step) {
    const long long row = blockIdx.x, at = target[row];
    const A m = ms[row], dl = A(dy[row * dy_step]) / (count ? *count : A(1)), share = dl / ss[row];
    x += row * classes;
    dx += row * classes;
    FOR_PACKS(i, classes) {
        Pack<T> xs;
        if (at != ignored) xs = load(x + i);
        FOR_PACK(k) {
            xs[k] = at == ignored ? T(A(0)) : T(exp(A(xs[k]) - m) * share - (i + k == at ? dl : A(0)));
        }
        store(dx + i, xs);
    }
}
