// One layer's memory as layer.py hands it over, and how its weights are laid out.
#pragma once
#include "gates.h"

// Mirrored by layer.py. Row-major; time, then sequence, then unit.
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

template <class Cell>
constexpr int WIDE = Cell::GATES * Cell::VECTORS;  // vectors of a panel of the gates' products; others are NARROW

template <class T>
Size panel_size(Size K, int vectors) {
    return K * vectors * LANES<T>;
}

// Numbers a unit that lie side by side in `saved`; those of the reset state follow after all of these, for all steps.
template <class Cell>
constexpr int KEPT = Cell::SAVED - (Cell::BEFORE ? 1 : 0);

template <class Cell, class T>
T* resets(const Layer<T>& layer) {
    return layer.saved + layer.steps * layer.batch * KEPT<Cell> * layer.hidden;
}
