// What each cell does with one vector of units of one sequence in one step, there and back. The equations are those of
// gru_bench/cells/, where they are stated to be read; the tests hold the two together.
//
// `sum` holds the gates' products with the old state, the input's part already added; all pointers are at the units.
#pragma once
#include "product.h"

// One step of one sequence. Gates lie H apart.
template <class T>
struct Step {
    Size H;
    int lanes;         // valid units of this vector
    const T *h0, *c0;  // the old state
    T *h, *c;          // the new one
    T* saved;          // kept for the way back; null where there is none
    Vec<T> input;      // the input's part of a candidate whose recurrent part is kept apart
};

// The same step on the way back.
template <class T>
struct Slope {
    Size H;
    int lanes;
    const T *h0, *c0, *h, *c, *saved;
    T* dgates;
    Vec<T> dh, *dc;     // dc: in, of the new memory; out, of the old
    Vec<T> passed;      // out: what goes to the old h outside of the product
};

// A cell tells:
//   GATES      products with the old state, as stacked in U
//   VECTORS    vectors of units of one gate that share a panel
//   SAVED      numbers a unit that are kept for the way back, besides h and c
//   SLOPES     numbers a unit in dgates
//   INPUTS     the first of them that belong to the input's product; the recurrent product's are the first GATES - 1
//              and the last
//   MEMORY     whether there is a second state
//   APART      whether the last gate's recurrent part is kept apart from the input's, with a bias of its own
//   BEFORE     whether the last gate's recurrent product is of a reset state, which waits for the other gates. The reset
//              state is the last of SAVED. `reset` gives it from the other gates, `forward` gets the last gate alone;
//              after `backward`, `reset_backward` gets the gradient of the reset state and adds to what is passed

template <class Squash>
struct Plain {
    static constexpr int GATES = 1, VECTORS = 2, SAVED = 0, SLOPES = 1, INPUTS = 1;
    static constexpr bool MEMORY = false, APART = false, BEFORE = false;

    template <class T>
    static void forward(const Vec<T>* sum, Step<T>& at) {
        store(at.h, Squash::value(sum[0]), at.lanes);
    }

    template <class T>
    static void backward(Slope<T>& at) {
        store(at.dgates, at.dh * Squash::slope(load(at.h, at.lanes)), at.lanes);
        at.passed = Vec<T>{};
    }
};

struct Tanh {
    template <class V>
    static V value(V x) { return tanh(x); }
    template <class V>
    static V slope(V y) { return 1 - y * y; }
};

struct Sigmoid {
    template <class V>
    static V value(V x) { return sigmoid(x); }
    template <class V>
    static V slope(V y) { return y * (1 - y); }
};

struct Relu {
    template <class V>
    static V value(V x) { return x < 0 ? V{} : x; }  // not a number stays what it is
    template <class V>
    static V slope(V y) { return y > 0 ? V{} + 1 : V{}; }
};

struct LSTM {
    static constexpr int GATES = 4, VECTORS = 1, SAVED = 4, SLOPES = 4, INPUTS = 4;
    static constexpr bool MEMORY = true, APART = false, BEFORE = false;

    template <class T>
    static void forward(const Vec<T>* sum, Step<T>& at) {
        Vec<T> i = sigmoid(sum[0]), f = sigmoid(sum[1]), g = tanh(sum[2]), o = sigmoid(sum[3]);
        Vec<T> c = f * load(at.c0, at.lanes) + i * g;
        store(at.c, c, at.lanes);
        store(at.h, o * tanh(c), at.lanes);
        if (!at.saved) return;
        store(at.saved, i, at.lanes);
        store(at.saved + at.H, f, at.lanes);
        store(at.saved + 2 * at.H, g, at.lanes);
        store(at.saved + 3 * at.H, o, at.lanes);
    }

    template <class T>
    static void backward(Slope<T>& at) {
        Size H = at.H;
        int n = at.lanes;
        Vec<T> i = load(at.saved, n), f = load(at.saved + H, n);
        Vec<T> g = load(at.saved + 2 * H, n), o = load(at.saved + 3 * H, n);
        Vec<T> squashed = tanh(load(at.c, n));  // cheaper again than kept
        Vec<T> dc = *at.dc + at.dh * o * (1 - squashed * squashed);
        store(at.dgates, dc * g * i * (1 - i), n);
        store(at.dgates + H, dc * load(at.c0, n) * f * (1 - f), n);
        store(at.dgates + 2 * H, dc * i * (1 - g * g), n);
        store(at.dgates + 3 * H, at.dh * squashed * o * (1 - o), n);
        *at.dc = dc * f;
        at.passed = Vec<T>{};
    }
};

struct GRU {
    static constexpr int GATES = 3, VECTORS = 1, SAVED = 4, SLOPES = 4, INPUTS = 3;
    static constexpr bool MEMORY = false, APART = true, BEFORE = false;

    template <class T>
    static void forward(const Vec<T>* sum, Step<T>& at) {
        Vec<T> r = sigmoid(sum[0]), z = sigmoid(sum[1]), n = tanh(at.input + r * sum[2]);
        store(at.h, n + z * (load(at.h0, at.lanes) - n), at.lanes);
        if (!at.saved) return;
        store(at.saved, r, at.lanes);
        store(at.saved + at.H, z, at.lanes);
        store(at.saved + 2 * at.H, n, at.lanes);
        store(at.saved + 3 * at.H, sum[2], at.lanes);
    }

    template <class T>
    static void backward(Slope<T>& at) {
        Size H = at.H;
        int lanes = at.lanes;
        Vec<T> r = load(at.saved, lanes), z = load(at.saved + H, lanes), n = load(at.saved + 2 * H, lanes);
        Vec<T> dn = at.dh * (1 - z) * (1 - n * n);
        store(at.dgates, dn * load(at.saved + 3 * H, lanes) * r * (1 - r), lanes);
        store(at.dgates + H, at.dh * (load(at.h0, lanes) - n) * z * (1 - z), lanes);
        store(at.dgates + 2 * H, dn, lanes);
        store(at.dgates + 3 * H, dn * r, lanes);
        at.passed = at.dh * z;
    }
};

struct GRUArticle {
    static constexpr int GATES = 3, VECTORS = 1, SAVED = 3, SLOPES = 3, INPUTS = 3;
    static constexpr bool MEMORY = false, APART = false, BEFORE = false;

    template <class T>
    static void forward(const Vec<T>* sum, Step<T>& at) {
        Vec<T> r = sigmoid(sum[0]), z = sigmoid(sum[1]), n = tanh(sum[2]);
        store(at.h, (1 - z) * r * n, at.lanes);
        if (!at.saved) return;
        store(at.saved, r, at.lanes);
        store(at.saved + at.H, z, at.lanes);
        store(at.saved + 2 * at.H, n, at.lanes);
    }

    template <class T>
    static void backward(Slope<T>& at) {
        Size H = at.H;
        int lanes = at.lanes;
        Vec<T> r = load(at.saved, lanes), z = load(at.saved + H, lanes), n = load(at.saved + 2 * H, lanes);
        store(at.dgates, at.dh * (1 - z) * n * r * (1 - r), lanes);
        store(at.dgates + H, -at.dh * r * n * z * (1 - z), lanes);
        store(at.dgates + 2 * H, at.dh * (1 - z) * r * (1 - n * n), lanes);
        at.passed = Vec<T>{};
    }
};

struct GRUNoReset {
    static constexpr int GATES = 2, VECTORS = 1, SAVED = 2, SLOPES = 2, INPUTS = 2;
    static constexpr bool MEMORY = false, APART = false, BEFORE = false;

    template <class T>
    static void forward(const Vec<T>* sum, Step<T>& at) {
        Vec<T> z = sigmoid(sum[0]), n = tanh(sum[1]);
        store(at.h, n + z * (load(at.h0, at.lanes) - n), at.lanes);
        if (!at.saved) return;
        store(at.saved, z, at.lanes);
        store(at.saved + at.H, n, at.lanes);
    }

    template <class T>
    static void backward(Slope<T>& at) {
        int lanes = at.lanes;
        Vec<T> z = load(at.saved, lanes), n = load(at.saved + at.H, lanes);
        store(at.dgates, at.dh * (load(at.h0, lanes) - n) * z * (1 - z), lanes);
        store(at.dgates + at.H, at.dh * (1 - z) * (1 - n * n), lanes);
        at.passed = at.dh * z;
    }
};

struct GRUResetBefore {
    static constexpr int GATES = 3, VECTORS = 2, SAVED = 4, SLOPES = 3, INPUTS = 3;
    static constexpr bool MEMORY = false, APART = false, BEFORE = true;

    template <class T>
    static Vec<T> reset(const Vec<T>* sum, Step<T>& at) {
        Vec<T> r = sigmoid(sum[0]);
        store(at.saved, r, at.lanes);
        store(at.saved + at.H, sigmoid(sum[1]), at.lanes);
        return r * load(at.h0, at.lanes);
    }

    template <class T>
    static void forward(const Vec<T>* sum, Step<T>& at) {
        Vec<T> z = load(at.saved + at.H, at.lanes), n = tanh(sum[0]);
        store(at.h, n + z * (load(at.h0, at.lanes) - n), at.lanes);
        store(at.saved + 2 * at.H, n, at.lanes);
    }

    template <class T>
    static void backward(Slope<T>& at) {
        Size H = at.H;
        int lanes = at.lanes;
        Vec<T> z = load(at.saved + H, lanes), n = load(at.saved + 2 * H, lanes);
        store(at.dgates + H, at.dh * (load(at.h0, lanes) - n) * z * (1 - z), lanes);
        store(at.dgates + 2 * H, at.dh * (1 - z) * (1 - n * n), lanes);
        at.passed = at.dh * z;
    }

    template <class T>
    static void reset_backward(Vec<T> dreset, Slope<T>& at) {
        Vec<T> r = load(at.saved, at.lanes);
        store(at.dgates, dreset * load(at.h0, at.lanes) * r * (1 - r), at.lanes);
        at.passed += dreset * r;
    }
};

struct MGU {
    static constexpr int GATES = 2, VECTORS = 2, SAVED = 3, SLOPES = 2, INPUTS = 2;
    static constexpr bool MEMORY = false, APART = false, BEFORE = true;

    template <class T>
    static Vec<T> reset(const Vec<T>* sum, Step<T>& at) {
        Vec<T> f = sigmoid(sum[0]);
        store(at.saved, f, at.lanes);
        return f * load(at.h0, at.lanes);
    }

    template <class T>
    static void forward(const Vec<T>* sum, Step<T>& at) {
        Vec<T> f = load(at.saved, at.lanes), n = tanh(sum[0]), h = load(at.h0, at.lanes);
        store(at.h, h + f * (n - h), at.lanes);
        store(at.saved + at.H, n, at.lanes);
    }

    template <class T>
    static void backward(Slope<T>& at) {
        int lanes = at.lanes;
        Vec<T> f = load(at.saved, lanes), n = load(at.saved + at.H, lanes);
        store(at.dgates, at.dh * (n - load(at.h0, lanes)) * f * (1 - f), lanes);
        store(at.dgates + at.H, at.dh * f * (1 - n * n), lanes);
        at.passed = at.dh * (1 - f);
    }

    template <class T>
    static void reset_backward(Vec<T> dreset, Slope<T>& at) {
        int lanes = at.lanes;
        Vec<T> f = load(at.saved, lanes);
        store(at.dgates, load(at.dgates, lanes) + dreset * load(at.h0, lanes) * f * (1 - f), lanes);
        at.passed += dreset * f;
    }
};

// Every cell by its name in Python. A new cell is a line here.
#define EVERY_CELL(WITH)         \
    WITH(RNN_tanh, Plain<Tanh>)           \
    WITH(RNN_sigmoid, Plain<Sigmoid>)     \
    WITH(RNN_relu, Plain<Relu>)           \
    WITH(LSTM, LSTM)                      \
    WITH(GRU, GRU)                        \
    WITH(GRUResetBefore, GRUResetBefore)  \
    WITH(MGU, MGU)                        \
    WITH(GRUArticle, GRUArticle)          \
    WITH(GRUNoReset, GRUNoReset)
