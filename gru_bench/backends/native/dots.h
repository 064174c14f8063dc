// Products with a weight as it lies, row by row, for a few vectors at a time: y[b][r] += W[r] . x[b].
//
// A single step reads each weight once, so that laying weights out anew would cost more than it saves, and a copy laid
// out beforehand would have to follow every change of the weights. A row's products are summed over the lanes of a
// vector; the lanes of as many rows as a vector has lanes are then summed together, which gives one vector of results.
#pragma once
#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "vec.h"

typedef std::ptrdiff_t Size;

namespace {

constexpr int VECTORS_AT_ONCE = 4;
// Rows that are read at once with NB vectors: enough sums that wait for nothing but themselves, as few as the registers
// hold.
template <class T, int NB>
constexpr int DOT_ROWS = std::min(NB == 1 ? 8 : VECTOR_REGISTERS / 8, LANES<T>);
template <class T>
constexpr int EDGE_ROWS = DOT_ROWS<T, 1>;

template <class T>
inline Size padded(Size K) {
    return (K + LANES<T> - 1) / LANES<T> * LANES<T>;
}

template <class T, int... I>
inline Vec<T> pick(Vec<T> a, Vec<T> b, std::integer_sequence<int, I...>) {
#if defined(__clang__) || __GNUC__ >= 12
    return __builtin_shufflevector(a, b, I...);
#else
    typedef std::conditional_t<sizeof(T) == 4, int32_t, int64_t> Int;
    typedef Int Mask __attribute__((vector_size(VECTOR_BYTES)));
    return __builtin_shuffle(a, b, Mask{static_cast<Int>(I)...});
#endif
}

// Lane i: the sum of lanes i and i ^ D, of b where bit D of i is set, else of a.
template <class T, int D, int... I>
inline Vec<T> merged(Vec<T> a, Vec<T> b, std::integer_sequence<int, I...>) {
    constexpr int N = LANES<T>;
    return pick<T>(a, b, std::integer_sequence<int, (I & D ? N + I : I)...>{}) +
           pick<T>(a, b, std::integer_sequence<int, (I & D ? N + (I ^ D) : I ^ D)...>{});
}

// Merges COUNT vectors in place into the first, from lane distance D on.
template <class T, int D, int COUNT>
inline void merge(Vec<T>* v) {
    if constexpr (COUNT > 1) {
        for (int i = 0; i < COUNT; i += 2)
            v[i / 2] = merged<T, D>(v[i], v[i + 1], std::make_integer_sequence<int, LANES<T>>{});
        merge<T, 2 * D, COUNT / 2>(v);
    }
}

// A weight (rows, K) as it lies, and the vectors that it is multiplied with, each with zeros from K on up to `width`.
template <class T>
struct Operand {
    const T* W;
    Size rows, K;
    const T* x;
    Size width;  // padded(K)
};

// The dots of ROWS rows of each operand, from `row` on, with NB vectors, summed over the operands. Lane i of
// out[b * step] has a part of row i % ROWS. edge: room for as many rows of an operand.
template <class T, int NB>
inline void rows_dots(const Operand<T>* operands, int count, Size row, Size first, T* edge, Vec<T>* out, Size step) {
    constexpr int R = DOT_ROWS<T, NB>;
    Vec<T> sum[NB][R];
    for (int b = 0; b < NB; b++)
        for (int r = 0; r < R; r++) sum[b][r] = Vec<T>{};
    for (const Operand<T>* operand = operands; operand < operands + count; operand++) {
        const Size K = operand->K, width = operand->width;
        const T *W = operand->W + row * K, *x = operand->x + first * width;
        Size apart = K;
        // what is read past a row's end meets zeros of x, but must lie within the weight
        if ((row + R - 1) * K + width > operand->rows * K) {
            std::fill(edge, edge + R * width, T(0));
            for (Size r = 0; r < std::min<Size>(R, operand->rows - row); r++)
                std::copy(W + r * K, W + (r + 1) * K, edge + r * width);
            W = edge;
            apart = width;
        }
        for (Size k = 0; k < width; k += LANES<T>)
            for (int r = 0; r < R; r++) {
                const Vec<T> w = load(W + r * apart + k);
                for (int b = 0; b < NB; b++) sum[b][r] += w * load(x + b * width + k);
            }
    }
    for (int b = 0; b < NB; b++) {
        merge<T, 1, R>(sum[b]);
        out[b * step] = sum[b][0];
    }
}

// y[b][i] += the operands' row `row + i` times vector b, from `first` on, for the rows i < lanes.
template <class T, int NB>
inline void add_dots(const Operand<T>* operands, int count, Size row, int lanes, Size first, T* edge, T* y, Size ldy) {
    constexpr int R = DOT_ROWS<T, NB>, GROUPS = LANES<T> / R;
    Vec<T> part[NB][GROUPS] = {};
    for (int g = 0; g < GROUPS && g * R < lanes; g++)
        rows_dots<T, NB>(operands, count, row + g * R, first, edge, &part[0][g], GROUPS);
    for (int b = 0; b < NB; b++) {
        merge<T, R, GROUPS>(part[b]);
        T* to = y + (first + b) * ldy;
        store(to, load(to, lanes) + part[b][0], lanes);
    }
}

// The same for all vectors from `first` on.
template <class T, int NB = VECTORS_AT_ONCE>
inline void add_all_dots(const Operand<T>* operands, int count, Size row, int lanes, Size first, Size batch, T* edge,
                         T* y, Size ldy) {
    for (; first + NB <= batch; first += NB) add_dots<T, NB>(operands, count, row, lanes, first, edge, y, ldy);
    if constexpr (NB > 1) add_all_dots<T, NB - 1>(operands, count, row, lanes, first, batch, edge, y, ldy);
}

}  // namespace
