// The forward pass of cells that reset the state before the candidate's recurrent product: two sweeps over the units in
// each step, since the second product waits for all of the reset state.
#pragma once
#include "layer.h"

namespace {  // else the loader would share static data between libraries made for other vectors

// Weights of some gates, laid out by pack_gates.
template <class T>
struct Packed {
    T *W, *U;
    Size W_size, U_size;  // of a panel
};

template <class Cell, class T>
Packed<T> packed(const Layer<T>& layer, int gates, T* at) {
    const Size W_size = panel_size<T>(layer.inputs, gates * Cell::VECTORS);
    const Size U_size = panel_size<T>(layer.hidden, gates * Cell::VECTORS);
    return {at, at + panels(layer.hidden, Cell::VECTORS * LANES<T>) * W_size, W_size, U_size};
}

// Calls use(row, unit, lanes, gates) with bias + x W + state U of each vector of units. A null state is zero.
template <int GATES, int VECTORS, class T, class Use>
void sweep(const Layer<T>& layer, Size t, Size b0, Size b1, const T* bias, const Packed<T>& weights, const T* state,
           Use use) {
    constexpr int WIDTH = GATES * VECTORS;
    const Size B = layer.batch, D = layer.inputs, H = layer.hidden;
    Vec<T> start[WIDTH], sum[TILE_ROWS<WIDTH> * WIDTH];
    for (Size p = 0; p < panels(H, VECTORS * LANES<T>); p++) {
        const Size u = p * VECTORS * LANES<T>;
        for (int g = 0; g < GATES; g++)
            for (int v = 0; v < VECTORS; v++) {
                int lanes = static_cast<int>(std::clamp<Size>(H - u - v * LANES<T>, 0, LANES<T>));
                start[g * VECTORS + v] = load(bias + g * H + u + v * LANES<T>, lanes);
            }
        each_tile<WIDTH>(b0, b1, [&](Size first, int rows) {
            for (int i = 0; i < rows; i++)
                for (int j = 0; j < WIDTH; j++) sum[i * WIDTH + j] = start[j];
            tile<T, WIDTH>(rows, layer.x + (t * B + first) * D, D, 1, weights.W + p * weights.W_size, D, sum, true);
            if (state) tile<T, WIDTH>(rows, state + first * H, H, 1, weights.U + p * weights.U_size, H, sum, true);
            for (int i = 0; i < rows; i++)
                for (int v = 0; v < VECTORS; v++) {
                    const Size unit = u + v * LANES<T>;
                    if (unit >= H) break;
                    Vec<T> gates[GATES];
                    for (int g = 0; g < GATES; g++) gates[g] = sum[i * WIDTH + g * VECTORS + v];
                    use(first + i, unit, static_cast<int>(std::min<Size>(LANES<T>, H - unit)), gates);
                }
        });
    }
}

// `now` holds what one step keeps, where nothing is kept for the way back: SAVED numbers a unit and sequence.
template <class Cell, class T>
void forward_rows_before(const Layer<T>& layer, const Packed<T>& gates, const Packed<T>& last, T* now, Size b0,
                         Size b1) {
    const Size B = layer.batch, H = layer.hidden, row_size = KEPT<Cell> * H;
    for (Size t = 0; t < layer.steps; t++) {
        const T* h_old = t ? layer.h + (t - 1) * B * H : layer.h0;
        T* saved = layer.saved ? layer.saved + t * B * row_size : now;
        T* reset = layer.saved ? resets<Cell>(layer) + t * B * H : now + B * row_size;
        auto at_unit = [&](Size row, Size unit, int lanes) {
            static const T zeros[LANES<T>] = {};
            Step<T> at = {};
            at.H = H;
            at.lanes = lanes;
            at.h0 = h_old ? h_old + row * H + unit : zeros;
            at.h = layer.h + (t * B + row) * H + unit;
            at.saved = saved + row * row_size + unit;
            return at;
        };
        auto is_over = [&](Size row) { return layer.lengths && t >= layer.lengths[row]; };
        sweep<Cell::GATES - 1, Cell::VECTORS>(
            layer, t, b0, b1, layer.b, gates, h_old, [&](Size row, Size unit, int lanes, const Vec<T>* sum) {
                Step<T> at = at_unit(row, unit, lanes);
                store(reset + row * H + unit, is_over(row) ? Vec<T>{} : Cell::reset(sum, at), lanes);
            });
        sweep<1, Cell::VECTORS>(
            layer, t, b0, b1, layer.b + (Cell::GATES - 1) * H, last, h_old ? reset : nullptr,
            [&](Size row, Size unit, int lanes, const Vec<T>* sum) {
                Step<T> at = at_unit(row, unit, lanes);
                if (is_over(row))
                    store(at.h, Vec<T>{}, lanes);
                else
                    Cell::forward(sum, at);
            });
    }
}

}  // namespace
