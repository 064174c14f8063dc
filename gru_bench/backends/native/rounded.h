// Mixed precision: what is multiplied is rounded to bfloat16, and stays in float32's place. The product of two such
// numbers is exact in float32, so these are bfloat16 products with float32 sums.
#pragma once
#include "product.h"

namespace {

// To the nearest, of two equally near ones the even one; not a number stays what it is.
inline Vec<float> to_bf16(Vec<float> x) {
    typedef uint32_t Bits __attribute__((vector_size(VECTOR_BYTES)));
    Bits bits;
    std::memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
    Vec<float> rounded;
    std::memcpy(&rounded, &bits, sizeof rounded);
    return x == x ? rounded : x;
}

template <bool MIXED, class T>
inline Vec<T> operand(Vec<T> x) {
    if constexpr (MIXED)
        return to_bf16(x);
    else
        return x;
}

inline void round_row(const float* from, Size count, float* to) {
    for (Size i = 0; i < count; i += LANES<float>) {
        const int lanes = static_cast<int>(std::min<Size>(LANES<float>, count - i));
        store(to + i, to_bf16(load(from + i, lanes)), lanes);
    }
}

}  // namespace
