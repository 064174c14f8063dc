// Matrix products whose weights are laid out once a call and used in every step.
//
// One register tile does all: `rows` rows of the left matrix times a panel of NV vectors of columns. A panel holds, for
// each k, its NV vectors one after another, zero beyond the last column.
#pragma once
#include <algorithm>
#include <cstddef>

#include "vec.h"

typedef std::ptrdiff_t Size;

namespace {  // every library its own: the loader would share what has the same name

// Rows of one tile: as many as leave registers for its sums, one side's numbers and one number of the other side.
constexpr int tile_rows(int vectors) {
    int rows = 1;
    while (rows < 12 && (rows + 1) * vectors + std::min(rows + 1, vectors) + 1 <= VECTOR_REGISTERS) rows++;
    return rows;
}
template <int NV>
constexpr int TILE_ROWS = tile_rows(NV);

// Where the sums of a product begin: row i at from + i * row. Null: at zero.
template <class T>
struct Start {
    const Vec<T>* from = nullptr;
    Size row = 0;
};

// What to ask for while a tile is computed: from here on, so many numbers further for each k.
template <class T>
struct Ahead {
    const T* from = nullptr;
    Size step = 0;
};

// out[i][v] = start[i][v] + sum over k of a[i * row + k * STEP] * panel[k][v]
//
// Meanwhile what lies `ahead` is asked for into the second-level cache.
//
// All loops but that over k are unrolled, so that the sums stay in registers from the first line to the last.
template <class T, int ROWS, int NV, int STEP>
inline void tile(const T* a, Size row, const T* panel, Size K, Start<T> start, Vec<T>* out, Ahead<T> ahead) {
    Vec<T> sum[ROWS][NV];
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 16
        for (int v = 0; v < NV; v++) sum[i][v] = start.from ? start.from[i * start.row + v] : Vec<T>{};
    for (Size k = 0; k < K; k++, a += STEP, panel += NV * LANES<T>) {
        __builtin_prefetch(ahead.from, 0, 2);
        ahead.from += ahead.step;
        if constexpr (ROWS >= NV) {
            Vec<T> b[NV];
#pragma GCC unroll 16
            for (int v = 0; v < NV; v++) b[v] = load(panel + v * LANES<T>);
#pragma GCC unroll 16
            for (int i = 0; i < ROWS; i++) {
                Vec<T> left = fill(a[i * row]);
#pragma GCC unroll 16
                for (int v = 0; v < NV; v++) sum[i][v] += left * b[v];
            }
        } else {
            Vec<T> left[ROWS];
#pragma GCC unroll 16
            for (int i = 0; i < ROWS; i++) left[i] = fill(a[i * row]);
#pragma GCC unroll 16
            for (int v = 0; v < NV; v++) {
                Vec<T> b = load(panel + v * LANES<T>);
#pragma GCC unroll 16
                for (int i = 0; i < ROWS; i++) sum[i][v] += left[i] * b;
            }
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 16
        for (int v = 0; v < NV; v++) out[i * NV + v] = sum[i][v];
}

template <class T, int NV, int STEP = 1, int ROWS = TILE_ROWS<NV>>
inline void any_tile(int rows, const T* a, Size row, const T* panel, Size K, Start<T> start, Vec<T>* out,
                     Ahead<T> ahead) {
    if (rows == ROWS)
        tile<T, ROWS, NV, STEP>(a, row, panel, K, start, out, ahead);
    else if constexpr (ROWS > 1)
        any_tile<T, NV, STEP, ROWS - 1>(rows, a, row, panel, K, start, out, ahead);
}

// Cuts `count` rows into pieces of nearly equal height, at most `most`, so that none is left with one row.
template <class Body>
inline void each_piece(Size count, Size most, Body body) {
    const Size pieces = (count + most - 1) / most;
    for (Size i = 0; i < pieces; i++) {
        const Size first = count * i / pieces;
        body(first, count * (i + 1) / pieces - first);
    }
}

// Bytes of a panel that stay in the first-level cache while rows pass, and of a panel that is taken whole.
constexpr Size PANEL_BYTES = Size(32) << 10, WHOLE_BYTES = Size(96) << 10;

// Rows that are best taken at once. With a short panel a tile's: what is stored of one goes to memory during the next.
// A long one is read in pieces, and each of them once for as many rows as have room.
template <int NV>
inline Size row_block(Size K) {
    return K * NV * VECTOR_BYTES <= WHOLE_BYTES ? TILE_ROWS<NV> : 8 * TILE_ROWS<NV>;
}

template <int NV>
constexpr int MOST_ROWS = 8 * TILE_ROWS<NV>;

// As tile, for any number of rows. Where they are more than a tile's, a piece of the panel goes through all of them
// before the next, which is asked for meanwhile; the order of the sum is the same.
template <class T, int NV>
__attribute__((noinline)) void product(const T* a, Size row, Size rows, const T* panel, Size K, Start<T> start,
                                       Vec<T>* out) {
    const Size bytes = rows > TILE_ROWS<NV> ? K * NV * VECTOR_BYTES : 0;
    const Size pieces = std::max<Size>((bytes + PANEL_BYTES - 1) / PANEL_BYTES, 1);
    for (Size i = 0; i < pieces; i++) {
        const Size k = K * i / pieces, end = K * (i + 1) / pieces;
        each_piece(rows, TILE_ROWS<NV>, [&](Size first, Size height) {
            const Start<T> here = {start.from ? start.from + first * start.row : nullptr, start.row};
            const T* piece = panel + k * NV * LANES<T>;
            // the piece after this one, or the next panel's first: as much of it as this tile is of all rows
            Ahead<T> ahead = {a, 0};
            if (pieces > 1) {
                const Size size = (end - k) * NV * LANES<T>;
                ahead = {piece + size + size * first / rows, NV * LANES<T> * height / rows + 1};
            }
            any_tile<T, NV>(static_cast<int>(height), a + first * row + k, row, piece, end - k, here, out + first * NV,
                            ahead);
        });
        start = {out, NV};
    }
}

// As product<T, NARROW>, for a panel that may be the last and have one vector only.
constexpr int NARROW = 2;

template <class T>
inline void narrow_product(int vectors, const T* a, Size row, Size rows, const T* panel, Size K, Start<T> start,
                           Vec<T>* out) {
    if (vectors == NARROW)
        product<T, NARROW>(a, row, rows, panel, K, start, out);
    else
        product<T, 1>(a, row, rows, panel, K, start, out);
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

// Row k of a matrix of `depth` rows into all of its panels, which are NARROW vectors apart, each vector changed.
template <class T, class Change>
inline void pack_row(const T* from, Size k, Size depth, Size columns, T* panel, Change change) {
    const Size width = NARROW * LANES<T>;
    for (Size p = 0; p < panels(columns, width); p++, from += width, panel += depth * width) {
        const int vectors = narrow_vectors<T>(columns, p);
        T* to = panel + k * vectors * LANES<T>;
        for (int v = 0; v < vectors; v++) {
            const int lanes = static_cast<int>(std::min<Size>(columns - p * width - v * LANES<T>, LANES<T>));
            store(to + v * LANES<T>, change(load(from + v * LANES<T>, lanes)));
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

// Columns of a matrix as tiles of ROWS of them: for each tile, for each k its ROWS numbers. What lies beyond the last
// column is whatever lies there: rows are a vector longer than what is used of them.
template <class T, int ROWS>
inline void pack_strip(const T* from, Size row, Size K, Size columns, T* strip) {
    constexpr int VECTORS = (ROWS + LANES<T> - 1) / LANES<T>;
    for (Size k = 0; k < K; k++, from += row, strip += ROWS)
        for (Size column = 0; column < columns; column += ROWS) {
            T* to = strip + column * K;
            if (k + 1 == K)
                std::memcpy(to, from + column, ROWS * sizeof(T));
            else  // whole vectors: what is too much of them is written again in the next row
                for (int v = 0; v < VECTORS; v++) store(to + v * LANES<T>, load(from + column + v * LANES<T>));
        }
}

}  // namespace
