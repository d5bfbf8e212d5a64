// Dropout without a mask in memory: which elements are dropped is a function of the seed and of their number, so the
// backward pass asks again.
//
//     y = x keep / (1 - p),   keep = uniform(seed, i) >= p              dx = dy keep / (1 - p)
//
// The numbers come from Philox 4x32 with 10 rounds: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011.

struct Four {
    unsigned values[4];
};

// Four random words for a counter: each round multiplies two words, and mixes the halves of the products with the key.
__device__ Four philox(unsigned long long seed, unsigned long long counter) {
    unsigned a = unsigned(counter), b = unsigned(counter >> 32), c = 0, d = 0;
    unsigned key0 = unsigned(seed), key1 = unsigned(seed >> 32);
    for (int round = 0; round < 10; ++round) {
        const unsigned high0 = __umulhi(0xD2511F53u, a), low0 = 0xD2511F53u * a;
        const unsigned high1 = __umulhi(0xCD9E8D57u, c), low1 = 0xCD9E8D57u * c;
        a = high1 ^ b ^ key0, b = low1;
        c = high0 ^ d ^ key1, d = low0;
        key0 += 0x9E3779B9u;  // the golden ratio
        key1 += 0xBB67AE85u;  // the root of 3
    }
    return Four{{a, b, c, d}};
}

// Element i has word i % 4 of counter i / 4; its first 24 bits are a number in [0, 1). In a recording, whose arguments
// stay as they are, the seed lies in memory.
extern "C" __global__ void dropout(const T* x, T* y, unsigned long long seed, const unsigned long long* recorded, A p,
                                   A scale, long long n) {
    const long long i = (blockIdx.x * (long long)blockDim.x + threadIdx.x) * V;
    if (i >= n) return;
    if (recorded) seed = *recorded;
    Pack<T> xs = load(x + i);
    Four words;
    FOR_PACK(k) {
        if (k % 4 == 0) words = philox(seed, (unsigned long long)(i + k) / 4);
        const unsigned word = words.values[V < 4 ? (i + k) % 4 : k % 4];
        xs[k] = T(A(xs[k]) * ((word >> 8) * A(1.0 / (1 << 24)) >= p ? scale : A(0)));
    }
    store(y + i, xs);
}
