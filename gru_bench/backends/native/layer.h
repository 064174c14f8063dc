// One layer's memory as layer.py hands it over, and how its weights are laid out.
#pragma once
#include "gates.h"

// Mirrored by layer.py. Row-major; time, then sequence, then unit. `saved` and `c` are the compiled code's own: one row
// a token, in the order of rows.h.
template <class T>
struct Layer {
    int64_t steps, batch, inputs, hidden, threads;
    const T *x, *W, *b, *U, *b_apart;
    const T *h0, *c0;        // null: zeros
    const int64_t* lengths;  // from 0; null: all of them `steps`
    T *saved, *h, *c;        // saved null: nothing is kept, and c is the running (batch, hidden) memory alone
    T *h_last, *c_last;
    T* scratch;  // forward_scratch or backward_scratch numbers
    // the way back; dh0 and dc0 are always there
    const T *dh, *dh_last, *dc_last;  // any may be null: zeros
    T* dx;                            // null: not wanted
    T *dW, *db, *dU, *db_apart, *dh0, *dc0;
};

namespace {  // else the loader would share static data between libraries made for other vectors

template <class T>
Size panel_size(Size K, int vectors) {
    return K * vectors * LANES<T>;
}

// Numbers a unit that lie side by side in `saved`; those of the reset state follow after all of these, for all tokens.
template <class Cell>
constexpr int KEPT = Cell::SAVED - (Cell::BEFORE ? 1 : 0);

// What one of several parts gets of a number of things.
struct Share {
    Size begin, end;
};

inline Share share(Size total, int parts, int part) {
    return {total * part / parts, total * (part + 1) / parts};
}

// Panels start at a multiple of the vector's size.
template <class T>
T* aligned(T* from) {
    return reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(from) + VECTOR_BYTES - 1) / VECTOR_BYTES * VECTOR_BYTES);
}

template <class T>
inline const T* zeros() {
    static const T some[LANES<T>] = {};
    return some;
}

}  // namespace
