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

// Rows that are read at once: few enough that the processor sees each coming.
template <class T>
constexpr int ROWS = std::min(4, LANES<T>);
constexpr int VECTORS_AT_ONCE = 4;

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
// out[b * step] has a part of row i % ROWS. edge: room for ROWS rows of an operand.
template <class T, int NB>
inline void rows_dots(const Operand<T>* operands, int count, Size row, Size first, T* edge, Vec<T>* out, Size step) {
    constexpr int CHAINS = NB == 1 ? 2 : 1;  // sums that wait for nothing but themselves: enough to fill the units
    Vec<T> sum[NB][CHAINS][ROWS<T>];
    for (int b = 0; b < NB; b++)
        for (int c = 0; c < CHAINS; c++)
            for (int r = 0; r < ROWS<T>; r++) sum[b][c][r] = Vec<T>{};
    for (const Operand<T>* operand = operands; operand < operands + count; operand++) {
        const Size K = operand->K, width = operand->width;
        const T *W = operand->W + row * K, *x = operand->x + first * width;
        Size apart = K;
        // what is read past a row's end meets zeros of x, but must lie within the weight
        if ((row + ROWS<T> - 1) * K + width > operand->rows * K) {
            std::fill(edge, edge + ROWS<T> * width, T(0));
            for (Size r = 0; r < std::min<Size>(ROWS<T>, operand->rows - row); r++)
                std::copy(W + r * K, W + (r + 1) * K, edge + r * width);
            W = edge;
            apart = width;
        }
        Size k = 0;
        for (; k + CHAINS * LANES<T> <= width; k += CHAINS * LANES<T>)
            for (int c = 0; c < CHAINS; c++)
                for (int r = 0; r < ROWS<T>; r++) {
                    Vec<T> w = load(W + r * apart + k + c * LANES<T>);
                    for (int b = 0; b < NB; b++) sum[b][c][r] += w * load(x + b * width + k + c * LANES<T>);
                }
        for (; k < width; k += LANES<T>)
            for (int r = 0; r < ROWS<T>; r++) {
                Vec<T> w = load(W + r * apart + k);
                for (int b = 0; b < NB; b++) sum[b][0][r] += w * load(x + b * width + k);
            }
    }
    for (int b = 0; b < NB; b++) {
        for (int c = 1; c < CHAINS; c++)
            for (int r = 0; r < ROWS<T>; r++) sum[b][0][r] += sum[b][c][r];
        merge<T, 1, ROWS<T>>(sum[b][0]);
        out[b * step] = sum[b][0][0];
    }
}

template <class T, int NB = VECTORS_AT_ONCE>
inline void rows_dots(int vectors, const Operand<T>* operands, int count, Size row, Size first, T* edge, Vec<T>* out,
                      Size step) {
    if (vectors == NB)
        rows_dots<T, NB>(operands, count, row, first, edge, out, step);
    else if constexpr (NB > 1)
        rows_dots<T, NB - 1>(vectors, operands, count, row, first, edge, out, step);
}

// y[b][i] += the operands' row `row + i` times vector b, for the rows i < lanes, at most as many as a vector has.
template <class T>
void add_dots(const Operand<T>* operands, int count, Size row, int lanes, Size batch, T* edge, T* y, Size ldy) {
    constexpr int GROUPS = LANES<T> / ROWS<T>;
    for (Size first = 0; first < batch; first += VECTORS_AT_ONCE) {
        const int vectors = static_cast<int>(std::min<Size>(VECTORS_AT_ONCE, batch - first));
        Vec<T> part[VECTORS_AT_ONCE][GROUPS] = {};
        for (int g = 0; g < GROUPS && g * ROWS<T> < lanes; g++)
            rows_dots<T>(vectors, operands, count, row + g * ROWS<T>, first, edge, &part[0][g], GROUPS);
        for (int i = 0; i < vectors; i++) {
            merge<T, ROWS<T>, GROUPS>(part[i]);
            T* to = y + (first + i) * ldy;
            store(to, load(to, lanes) + part[i][0], lanes);
        }
    }
}

}  // namespace
