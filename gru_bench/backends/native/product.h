// Matrix products whose weights are laid out once a call and used in every step.
//
// One register tile does all: `rows` rows of the left matrix times a panel of NV vectors of columns. A panel holds, for
// each k, its NV vectors one after another, zero beyond the last column.
#pragma once
#include <algorithm>
#include <cstddef>

#include "vec.h"

typedef std::ptrdiff_t Size;

// Rows of one tile: its accumulators, the NV vectors of the panel and one broadcast must fit into the registers.
template <int NV>
constexpr int TILE_ROWS = std::min(12, (VECTOR_REGISTERS - 1 - NV) / NV);

// out[i][v] (+)= sum over k of a[i * row + k * step] * panel[k][v]
//
// All loops but that over k are unrolled, so that the sums stay in registers from the first line to the last.
template <class T, int ROWS, int NV>
inline void tile(const T* a, Size row, Size step, const T* panel, Size K, Vec<T>* out, bool add) {
    Vec<T> sum[ROWS][NV];
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 16
        for (int v = 0; v < NV; v++) sum[i][v] = add ? out[i * NV + v] : Vec<T>{};
    for (Size k = 0; k < K; k++, a += step, panel += NV * LANES<T>) {
        Vec<T> b[NV];
#pragma GCC unroll 16
        for (int v = 0; v < NV; v++) b[v] = load(panel + v * LANES<T>);
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; i++) {
            Vec<T> left = fill(a[i * row]);
#pragma GCC unroll 16
            for (int v = 0; v < NV; v++) sum[i][v] += left * b[v];
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 16
        for (int v = 0; v < NV; v++) out[i * NV + v] = sum[i][v];
}

template <class T, int NV, int ROWS = TILE_ROWS<NV>>
inline void tile(int rows, const T* a, Size row, Size step, const T* panel, Size K, Vec<T>* out, bool add) {
    if (rows == ROWS)
        tile<T, ROWS, NV>(a, row, step, panel, K, out, add);
    else if constexpr (ROWS > 1)
        tile<T, NV, ROWS - 1>(rows, a, row, step, panel, K, out, add);
}

// Cuts [begin, end) into tiles of nearly equal height, so that no tile is left with one row.
template <int NV, class Body>
inline void each_tile(Size begin, Size end, Body body) {
    Size left = end - begin, tiles = (left + TILE_ROWS<NV> - 1) / TILE_ROWS<NV>;
    for (; tiles > 0; tiles--) {
        int rows = static_cast<int>((left + tiles - 1) / tiles);
        body(begin, rows);
        begin += rows;
        left -= rows;
    }
}

// Rows that a product takes at once: their sums and a piece of the panel lie in the first-level cache.
constexpr Size ROW_BLOCK = 96;

// out[i][v] (+)= a's row i times the panel, for any number of rows. Of a long panel a piece that fits into the
// first-level cache goes through all rows before the next; the order of the sum is the same.
template <class T, int NV>
__attribute__((noinline)) void product(const T* a, Size row, Size rows, const T* panel, Size K, Vec<T>* out, bool add) {
    constexpr Size DEPTH = (Size(32) << 10) / (NV * VECTOR_BYTES);
    const Size pieces = std::max<Size>((K + DEPTH - 1) / DEPTH, 1);
    for (Size i = 0; i < pieces; i++) {
        const Size k = K * i / pieces, end = K * (i + 1) / pieces;
        each_tile<NV>(0, rows, [&](Size first, int height) {
            tile<T, NV>(height, a + first * row + k, row, 1, panel + k * NV * LANES<T>, end - k, out + first * NV,
                        add || i > 0);
        });
    }
}

// As tile<T, NARROW> and product<T, NARROW>, for a panel that may be the last and have one vector only.
constexpr int NARROW = 2;

template <class T>
inline void narrow_tile(int vectors, int rows, const T* a, Size row, Size step, const T* panel, Size K, Vec<T>* out,
                        bool add) {
    if (vectors == NARROW)
        tile<T, NARROW, TILE_ROWS<NARROW>>(rows, a, row, step, panel, K, out, add);
    else
        tile<T, 1, TILE_ROWS<NARROW>>(rows, a, row, step, panel, K, out, add);
}

template <class T>
inline void narrow_product(int vectors, const T* a, Size row, Size rows, const T* panel, Size K, Vec<T>* out,
                           bool add) {
    if (vectors == NARROW)
        product<T, NARROW>(a, row, rows, panel, K, out, add);
    else
        product<T, 1>(a, row, rows, panel, K, out, add);
}

// Vectors of panel p that hold columns.
template <class T>
inline int narrow_vectors(Size columns, Size p) {
    return columns - p * NARROW * LANES<T> > LANES<T> ? NARROW : 1;
}

inline Size panels(Size columns, int lanes) { return (columns + lanes - 1) / lanes; }

// Panel `p` of a matrix of `columns` columns whose row k begins at row(k). Panels are nv vectors apart; this one has
// `vectors`, as many but perhaps for the last.
template <class T, class Row>
inline void pack_columns(Row row, Size K, Size columns, Size p, int nv, int vectors, T* panel) {
    const Size width = Size(vectors) * LANES<T>, first = p * nv * LANES<T>, here = std::min(width, columns - first);
    for (Size k = 0; k < K; k++, panel += width) {
        const T* from = row(k) + first;
        if (here == width) {
            for (int v = 0; v < vectors; v++) store(panel + v * LANES<T>, load(from + v * LANES<T>));
        } else {
            std::memcpy(panel, from, here * sizeof(T));
            std::fill(panel + here, panel + width, T(0));
        }
    }
}

// Panel `p` of a gate-stacked weight (gates * H, K), transposed: for each k the gates of the same units side by side.
// With `vectors` more than one, a gate has that many vectors of units.
template <class T>
inline void pack_gates(const T* weight, Size K, Size H, Size p, int gates, int vectors, T* panel) {
    Size width = Size(vectors) * LANES<T>, first = p * width, here = std::min(width, H - first);
    for (int g = 0; g < gates; g++)
        for (Size u = 0; u < width; u++) {
            T* to = panel + g * width + u;
            if (u < here) {
                const T* from = weight + (g * H + first + u) * K;
                for (Size k = 0; k < K; k++) to[k * gates * width] = from[k];
            } else {
                for (Size k = 0; k < K; k++) to[k * gates * width] = 0;
            }
        }
}

// Columns of a matrix as tiles of ROWS of them: for each tile, for each k its ROWS numbers, zero beyond the last.
template <class T, int ROWS>
inline void pack_strip(const T* from, Size row, Size K, Size columns, T* strip) {
    for (Size k = 0; k < K; k++, from += row, strip += ROWS) {
        Size column = 0;
        T* to = strip;
        for (; column + ROWS <= columns; column += ROWS, to += K * ROWS)
            std::memcpy(to, from + column, ROWS * sizeof(T));
        if (column < columns) {
            std::memcpy(to, from + column, (columns - column) * sizeof(T));
            std::fill(to + columns - column, to + ROWS, T(0));
        }
    }
}
