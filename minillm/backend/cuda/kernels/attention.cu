// The weights of attention, between the two matrix products, and their gradient. One block a query.
//
//     P = softmax(scale S) over the keys that a query may see        dS = scale P (dP - delta), delta = sum(P dP)
//
// With `causal` query t sees the keys 0 .. t. There is no array for the mask: a place is hidden by its number. Both
// kernels write over what they read: S becomes P, dP becomes dS. Hidden places become 0.

extern "C" __global__ void attention_weights(T* scores, long long queries, long long keys, long long causal, A scale) {
    const long long query = blockIdx.x % queries;
    const int seen = causal && query + 1 < keys ? query + 1 : keys;
    T* row = scores + blockIdx.x * keys;
    A m, s;
    largest_and_sum(row, seen, scale, m, s);
    FOR_PACKS(i, keys) {
        Pack<T> values;
        if (i < seen) values = load(row + i);
        FOR_PACK(k) values[k] = i + k < seen ? T(exp(scale * A(values[k]) - m) / s) : T(A(0));
        store(row + i, values);
    }
}

extern "C" __global__ void attention_gradient(T* dp, const T* p, long long queries, long long keys, long long causal,
                                              A scale) {
    const long long query = blockIdx.x % queries;
    const int seen = causal && query + 1 < keys ? query + 1 : keys;
    T* dp_row = dp + blockIdx.x * keys;
    const T* p_row = p + blockIdx.x * keys;
    A delta = 0;
    FOR_PACKS(i, seen) {
        Pack<T> dps = load(dp_row + i), ps = load(p_row + i);
        FOR_PACK(k) delta += i + k < seen ? A(dps[k]) * A(ps[k]) : A(0);
    }
    delta = sum_block(delta);
    FOR_PACKS(i, keys) {
        Pack<T> dps, ps;
        if (i < seen) dps = load(dp_row + i), ps = load(p_row + i);
        FOR_PACK(k) dps[k] = i + k < seen ? T(scale * A(ps[k]) * (A(dps[k]) - delta)) : T(A(0));
        store(dp_row + i, dps);
    }
}
