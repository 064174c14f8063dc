// One step of a whole stack of layers, for inference: nothing is kept. See dots.h for its products.
#include <exception>
#include <vector>

#include "dots.h"
#include "gates.h"
#include "subnormal.h"

namespace {

// Mirrored by stepper.py.
template <class T>
struct StepLayer {
    const T *W, *b, *U, *b_apart;
    int64_t inputs;
};

template <class T>
struct StepStack {
    int64_t layers, batch, hidden;
    const StepLayer<T>* layer;
};

// Scratch memory of one thread, which grows to the largest stack that it ran.
template <class T>
T* room(Size size) {
    static thread_local std::vector<T> memory;
    if (static_cast<Size>(memory.size()) < size + LANES<T>) memory.resize(size + LANES<T>);
    return reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(memory.data()) + VECTOR_BYTES - 1) / VECTOR_BYTES *
                                VECTOR_BYTES);
}

// Rows of K numbers, each followed by zeros up to ldx.
template <class T>
void pad(const T* from, Size rows, Size K, Size ldx, T* to) {
    for (Size r = 0; r < rows; r++, from += K, to += ldx) {
        std::copy(from, from + K, to);
        std::fill(to + K, to + ldx, T(0));
    }
}

// Calls use(gate, unit, lanes) for each vector of units of the gates [begin, end), every other time from last to
// first: of weights too large for the cache, those read last are still there.
template <class T, class Use>
void each_block(int begin, int end, Size H, bool backwards, Use use) {
    const Size blocks = (H + LANES<T> - 1) / LANES<T>, all = (end - begin) * blocks;
    for (Size i = 0; i < all; i++) {
        const Size at = backwards ? all - 1 - i : i, unit = at % blocks * LANES<T>;
        use(begin + static_cast<int>(at / blocks), unit, static_cast<int>(std::min<Size>(LANES<T>, H - unit)));
    }
}

// x (batch, inputs) and the old state to the new one, all (batch, hidden). A null state is zero.
template <class Cell, class T>
void step_layer(const StepLayer<T>& layer, Size B, Size H, bool backwards, const T* x, const T* h0, const T* c0, T* h,
                T* c) {
    constexpr int LAST = Cell::GATES - 1, SPLIT = Cell::BEFORE ? LAST : Cell::GATES;
    const Size D = layer.inputs, G = Cell::GATES * H, ldx = padded<T>(D), ldh = padded<T>(H);
    const Size edge_size = EDGE_ROWS<T> * std::max(ldx, ldh), kept = Cell::BEFORE ? Cell::SAVED * H : 0;
    T* edge = room<T>(edge_size + B * (ldx + ldh + G + H + kept));
    T *x_padded = edge + edge_size, *h_padded = x_padded + B * ldx, *sums = h_padded + B * ldh;
    T *apart = sums + B * G, *now = apart + B * H;
    const Operand<T> operands[] = {{layer.W, G, D, x_padded, ldx}, {layer.U, G, H, h_padded, ldh}};
    pad(x, B, D, ldx, x_padded);
    if (h0) pad(h0, B, H, ldh, h_padded);
    for (Size row = 0; row < B; row++) {
        std::copy(layer.b, layer.b + G, sums + row * G);
        if (Cell::APART) std::copy(layer.b_apart, layer.b_apart + H, apart + row * H);
    }
    auto add = [&](int gate, Size unit, int lanes) {
        const Size row = gate * H + unit;
        if (Cell::APART && gate == LAST) {
            add_all_dots(operands, 1, row, lanes, 0, B, edge, sums + row, G);
            if (h0) add_all_dots(operands + 1, 1, row, lanes, 0, B, edge, apart + unit, H);
        } else {
            add_all_dots(operands, h0 ? 2 : 1, row, lanes, 0, B, edge, sums + row, G);
        }
    };
    each_block<T>(0, SPLIT, H, backwards, add);
    auto each_vector = [&](auto use) {
        for (Size row = 0; row < B; row++)
            for (Size u = 0; u < H; u += LANES<T>) {
                static const T zeros[LANES<T>] = {};
                Step<T> at = {};
                at.H = H;
                at.lanes = static_cast<int>(std::min<Size>(LANES<T>, H - u));
                at.h0 = h0 ? h0 + row * H + u : zeros;
                at.c0 = c0 ? c0 + row * H + u : zeros;
                at.h = h + row * H + u;
                at.c = Cell::MEMORY ? c + row * H + u : nullptr;
                at.saved = Cell::BEFORE ? now + row * kept + u : nullptr;
                use(row, u, at);
            }
    };
    if constexpr (Cell::BEFORE) {
        each_vector([&](Size row, Size u, Step<T>& at) {
            Vec<T> gates[SPLIT];
            for (int g = 0; g < SPLIT; g++) gates[g] = load(sums + row * G + g * H + u, at.lanes);
            store(h_padded + row * ldh + u, Cell::reset(gates, at), at.lanes);
        });
        each_block<T>(LAST, Cell::GATES, H, backwards, add);
        each_vector([&](Size row, Size u, Step<T>& at) {
            Vec<T> last = load(sums + row * G + LAST * H + u, at.lanes);
            Cell::forward(&last, at);
        });
    } else {
        each_vector([&](Size row, Size u, Step<T>& at) {
            Vec<T> gates[Cell::GATES];
            for (int g = 0; g < Cell::GATES; g++) gates[g] = load(sums + row * G + g * H + u, at.lanes);
            if (Cell::APART) {
                at.input = gates[LAST];
                gates[LAST] = load(apart + row * H + u, at.lanes);
            }
            Cell::forward(gates, at);
        });
    }
}

// States are (layers, batch, hidden); c0 and c are there for cells with a memory. out: the last layer's h again. Zero,
// or one where there is no memory.
template <class Cell, class T>
int step_stack(const StepStack<T>& stack, const T* x, const T* h0, const T* c0, T* out, T* h, T* c) try {
    const NoSubnormals mode;
    const Size B = stack.batch, H = stack.hidden, size = B * H;
    static thread_local bool backwards = false;
    backwards = !backwards;
    for (Size i = 0; i < stack.layers; i++, h += size) {
        step_layer<Cell, T>(stack.layer[i], B, H, backwards, x, h0, c0, h, c);
        x = h;
        if (h0) h0 += size;
        if (c0) c0 += size;
        if (c) c += size;
    }
    std::copy(x, x + size, out);
    return 0;
} catch (const std::exception&) {
    return 1;
}

}  // namespace

extern "C" {

// Found by the cell's name and the number of bytes of its floating type.
#define CELL(NAME, CELL, T, BYTES)                                                                                 \
    int NAME##_step_##BYTES(const StepStack<T>* stack, const T* x, const T* h0, const T* c0, T* out, T* h, T* c) { \
        return step_stack<CELL, T>(*stack, x, h0, c0, out, h, c);                                                  \
    }

#define BOTH(NAME, ...)               \
    CELL(NAME, __VA_ARGS__, float, 4) \
    CELL(NAME, __VA_ARGS__, double, 8)

EVERY_CELL(BOTH)
}
