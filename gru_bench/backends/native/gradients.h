// out += left^T right over many rows: the weight gradients. Both sides are laid out in blocks of rows first.
#pragma once
#include "product.h"

namespace {

constexpr Size STRIP = 8;  // tiles of the left matrix that are laid out at once

// A right-hand matrix of the weight gradients' products: its panels, and where the gradient goes.
template <class T>
struct Right {
    Size columns;
    T *panels, *out;  // out: as many columns, added to
};

template <class T>
Size right_size(Size columns, Size depth) {
    return panels(columns, NARROW * LANES<T>) * NARROW * LANES<T> * depth;
}

// out[row + m] += left^T right for `count` columns m of left; `strip` holds them, laid out by pack_strip.
template <class T>
void strip_times(const T* strip, Size count, Size depth, const Right<T>& right, const T* panel, Size row) {
    constexpr int ROWS = TILE_ROWS<NARROW>;
    const Size width = NARROW * LANES<T>, columns = right.columns;
    Vec<T> sum[ROWS * NARROW];
    for (Size p = 0; p < panels(columns, width); p++, panel += depth * width) {
        const int vectors = narrow_vectors<T>(columns, p);
        for (Size first = 0; first < count; first += ROWS) {
            const int rows = static_cast<int>(std::min<Size>(ROWS, count - first));
            T* out = right.out + (row + first) * columns + p * width;
            for (int i = 0; i < rows; i++)  // wanted after the product; the rows lie far apart
                for (int v = 0; v < vectors; v++) __builtin_prefetch(out + i * columns + v * LANES<T>, 1, 3);
            if (vectors == NARROW)
                any_tile<T, NARROW, ROWS>(rows, strip + first * depth, 1, panel, depth, {}, sum, {strip, 0});
            else
                any_tile<T, 1, ROWS, ROWS>(rows, strip + first * depth, 1, panel, depth, {}, sum, {strip, 0});
            for (int i = 0; i < rows; i++)
                for (int v = 0; v < vectors; v++) {
                    const int lanes = static_cast<int>(std::min<Size>(LANES<T>, columns - p * width - v * LANES<T>));
                    T* to = out + i * columns + v * LANES<T>;
                    store(to, load(to, lanes) + sum[i * vectors + v], lanes);
                }
        }
    }
}

// sums[m] += the sum of left's column m
template <class T>
void strip_sums(const T* strip, Size count, Size depth, T* sums) {
    constexpr int ROWS = TILE_ROWS<NARROW>;
    for (Size first = 0; first < count; first += ROWS) {
        T total[ROWS] = {};
        for (Size k = 0; k < depth; k++)
            for (int i = 0; i < ROWS; i++) total[i] += strip[first * depth + k * ROWS + i];
        for (Size i = 0; i < std::min<Size>(ROWS, count - first); i++) sums[first + i] += total[i];
    }
}

}  // namespace
