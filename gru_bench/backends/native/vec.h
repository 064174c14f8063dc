// Vectors of the machine's own width, and the two functions that gates need.
//
// GCC's and Clang's vector extensions are used in place of intrinsics: one text for AVX-512, AVX2, SSE and NEON.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

// A wheel's library runs with older systems than the one that made it: glibc 2.29 gave exp a second version, which sets
// errno in another way and is the same else, and a library that takes it does not load with glibc 2.28.
#if defined(GRU_BENCH_FOR_WHEEL) && defined(__x86_64__) && defined(__GLIBC__)
__asm__(".symver exp,exp@GLIBC_2.2.5");
#endif

#if defined(__AVX512F__)
#include <immintrin.h>
constexpr int VECTOR_BYTES = 64, VECTOR_REGISTERS = 32;
#elif defined(__AVX__)
constexpr int VECTOR_BYTES = 32, VECTOR_REGISTERS = 16;
#elif defined(__aarch64__)
constexpr int VECTOR_BYTES = 16, VECTOR_REGISTERS = 32;
#else
constexpr int VECTOR_BYTES = 16, VECTOR_REGISTERS = 16;
#endif

template <class T>
struct VectorOf {
    typedef T type __attribute__((vector_size(VECTOR_BYTES)));
    typedef T unaligned __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(T)), may_alias));
};
template <class T>
using Vec = typename VectorOf<T>::type;
template <class T>
constexpr int LANES = VECTOR_BYTES / static_cast<int>(sizeof(T));

template <class T>
inline Vec<T> load(const T* from) {
    return *reinterpret_cast<const typename VectorOf<T>::unaligned*>(from);
}

template <class T>
inline void store(T* to, Vec<T> value) {
    *reinterpret_cast<typename VectorOf<T>::unaligned*>(to) = value;
}

// The first n lanes only; the others are zero. The last vector of a row whose length is no multiple of the width.
template <class T>
inline Vec<T> load(const T* from, int n) {
    if (n >= LANES<T>) return load(from);
    Vec<T> value = {};
    std::memcpy(&value, from, n * sizeof(T));
    return value;
}

template <class T>
inline void store(T* to, Vec<T> value, int n) {
    if (n >= LANES<T>)
        store(to, value);
    else
        std::memcpy(to, &value, n * sizeof(T));
}

// Asks for a vector's memory: to be read, or to be written.
template <class T>
inline void fetch(const T* from) {
    __builtin_prefetch(from, 0, 3);
}

template <class T>
inline void fetch_to_write(T* to) {
    __builtin_prefetch(to, 1, 3);
}

template <class T>
inline Vec<T> fill(T value) {
    return value - Vec<T>{};
}

// exp(y) - 1 = scale * p + (scale - 1) with scale = 2^k and p = exp(r) - 1, |r| <= ln(2) / 2: nothing cancels near 0.
struct SplitExp {
    Vec<float> scale, p;
};

// y must lie in -87..87.
inline SplitExp split_exp(Vec<float> y) {
    typedef int32_t Ints __attribute__((vector_size(VECTOR_BYTES)));
    const float to_integer = 12582912.0f;  // 1.5 * 2^23: added, it rounds to an integer held in the lowest bits
    Vec<float> shifted = y * 1.44269504088896341f + to_integer;
    Vec<float> k = shifted - to_integer;
    Vec<float> r = y - k * 0.693145751953125f;  // ln(2) in two parts: k times the first is exact
    r = r - k * 1.42860682030941723e-6f;
    Vec<float> q = r * (1.0f / 5040) + (1.0f / 720);  // Taylor to the 7th power: next term below 6e-9
    q = q * r + (1.0f / 120);
    q = q * r + (1.0f / 24);
    q = q * r + (1.0f / 6);
    q = q * r + 0.5f;
    Ints bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << 23) + 0x3f800000;
    SplitExp split;
    std::memcpy(&split.scale, &bits, sizeof bits);
    split.p = q * r * r + r;
    return split;
}

inline Vec<float> clamp(Vec<float> x, float limit) {
    x = x > limit ? fill(limit) : x;  // not a number stays what it is
    return x < -limit ? fill(-limit) : x;
}

// 1 / x to the last bit or two, of a number that is neither zero nor very large. A division of this width takes as long
// as eight products.
inline Vec<float> reciprocal(Vec<float> x) {
#if defined(__AVX512F__)
    const Vec<float> guess = _mm512_maskz_rcp14_ps(0xffff, x);  // all lanes; the plain one warns in GCC
    return guess + guess * (1.0f - x * guess);
#else
    return 1.0f / x;
#endif
}

// 1 / (1 + exp(-x)); beyond 40 a float32 cannot tell it from 0 or 1 in a sum with anything of size 1.
inline Vec<float> sigmoid(Vec<float> x) {
    SplitExp e = split_exp(clamp(-x, 40.0f));
    return reciprocal(1.0f + (e.scale * e.p + e.scale));
}

// e / (e + 2) with e = exp(2x) - 1
inline Vec<float> tanh(Vec<float> x) {
    SplitExp e = split_exp(clamp(2.0f * x, 40.0f));
    Vec<float> minus1 = e.scale * e.p + (e.scale - 1.0f);
    return minus1 * reciprocal(minus1 + 2.0f);
}

// float64 is for checking, not for speed: the library's functions, lane by lane.
inline Vec<double> sigmoid(Vec<double> x) {
    for (int i = 0; i < LANES<double>; i++) x[i] = 1 / (1 + std::exp(-x[i]));
    return x;
}

inline Vec<double> tanh(Vec<double> x) {
    for (int i = 0; i < LANES<double>; i++) x[i] = std::tanh(x[i]);
    return x;
}
