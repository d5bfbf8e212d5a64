// float16 for the CPU: 1 bit of sign, 5 of exponent, 10 of fraction, rounded to the nearest, to even where two are
// equally near.
#pragma once
#include <cstdint>

struct __half {
    uint16_t bits;
    __half() = default;
    explicit __half(float value) {
        const uint16_t sign = __builtin_signbit(value) ? 0x8000 : 0;
        const float size = __builtin_fabsf(value);
        if (size != size) {
            bits = sign | 0x7e00;
        } else if (size >= 65520.0f) {
            bits = sign | 0x7c00;  // what would round up to 65536 is infinite
        } else {
            // In steps of the last place of its exponent (2^-24 at the least), the number is an integer.
            const int exponent = size < 0x1p-14f ? -14 : __builtin_ilogbf(size);
            const auto steps = uint16_t(__builtin_nearbyintf(__builtin_ldexpf(size, 10 - exponent)));
            bits = sign | uint16_t(((exponent + 14) << 10) + steps);  // a carry goes into the exponent by itself
        }
    }
    operator float() const {
        const int exponent = bits >> 10 & 31, fraction = bits & 1023;
        const float size = exponent == 31 ? (fraction ? __builtin_nanf("") : __builtin_inff())
                           : exponent    ? __builtin_ldexpf(1024.0f + fraction, exponent - 25)
                                         : __builtin_ldexpf(float(fraction), -24);
        return bits & 0x8000 ? -size : size;
    }
};
