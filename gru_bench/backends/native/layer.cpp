// One layer over a whole sequence and back, for every cell of gates.h.
//
// A thread takes some of the batch's sequences through all steps, so nobody waits for anybody within the recurrence.
// Every number is summed in an order that the number of threads does not change.
#include "gates.h"
#include "gradients.h"
#include "team.h"

Parallel gomp_parallel = nullptr;
ThreadNumber omp_thread_number = nullptr, omp_team_size = nullptr;

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

namespace {

template <class Cell>
constexpr int WIDE = Cell::GATES * Cell::VECTORS;  // vectors of a panel of the gates' products; others are NARROW
constexpr Size STRIP = 8;  // tiles of a weight gradient's left matrix that are laid out at once

template <class T>
Size panel_size(Size K, int vectors) {
    return K * vectors * LANES<T>;
}

// What one of several parts gets of a number of things.
struct Share {
    Size begin, end;
};

inline Share share(Size total, int parts, int part) {
    return {total * part / parts, total * (part + 1) / parts};
}

// How many threads share the sequences out: few sequences, fewer threads, each with work enough.
inline int groups(Size batch, int threads) { return static_cast<int>(std::min<Size>(threads, (batch + 3) / 4)); }

template <class Cell, class T>
void forward_rows(const Layer<T>& layer, const T* W_panels, const T* U_panels, Size b0, Size b1) {
    const Size B = layer.batch, D = layer.inputs, H = layer.hidden;
    const int unit_width = Cell::VECTORS * LANES<T>;
    const Size num_panels = panels(H, unit_width);
    const Size W_size = panel_size<T>(D, WIDE<Cell>), U_size = panel_size<T>(H, WIDE<Cell>);
    Vec<T> pre[TILE_ROWS<WIDE<Cell>> * WIDE<Cell>], sum[TILE_ROWS<WIDE<Cell>> * WIDE<Cell>];
    for (Size t = 0; t < layer.steps; t++) {
        const T* h_old = t ? layer.h + (t - 1) * B * H : layer.h0;
        const Size c_step = layer.saved ? B * H : 0;  // where nothing is kept, c is one step's that moves on
        const T* c_old = !Cell::MEMORY ? nullptr : t ? layer.c + (t - 1) * c_step : layer.c0;
        T* c_new = Cell::MEMORY ? layer.c + t * c_step : nullptr;
        for (Size p = 0; p < num_panels; p++) {
            const Size u = p * unit_width;
            const T* W_panel = W_panels + p * W_size;
            const T* U_panel = U_panels + p * U_size;
            Vec<T> bias[WIDE<Cell>], apart = {};
            for (int g = 0; g < Cell::GATES; g++)
                for (int v = 0; v < Cell::VECTORS; v++) {
                    int lanes = static_cast<int>(std::clamp<Size>(H - u - v * LANES<T>, 0, LANES<T>));
                    bias[g * Cell::VECTORS + v] = load(layer.b + g * H + u + v * LANES<T>, lanes);
                    if (Cell::APART && g + 1 == Cell::GATES) apart = load(layer.b_apart + u, lanes);
                }
            each_tile<WIDE<Cell>>(b0, b1, [&](Size first, int rows) {
                for (int i = 0; i < rows; i++)
                    for (int j = 0; j < WIDE<Cell>; j++) sum[i * WIDE<Cell> + j] = bias[j];
                tile<T, WIDE<Cell>>(rows, layer.x + (t * B + first) * D, D, 1, W_panel, D, sum, true);
                if (Cell::APART)
                    for (int i = 0; i < rows; i++) {
                        pre[i] = sum[i * WIDE<Cell> + WIDE<Cell> - 1];
                        sum[i * WIDE<Cell> + WIDE<Cell> - 1] = apart;
                    }
                if (h_old) tile<T, WIDE<Cell>>(rows, h_old + first * H, H, 1, U_panel, H, sum, true);
                for (int i = 0; i < rows; i++)
                    for (int v = 0; v < Cell::VECTORS; v++) {
                        const Size unit = u + v * LANES<T>, row = (first + i) * H + unit;
                        if (unit >= H) break;
                        static const T zeros[LANES<T>] = {};
                        Step<T> at;
                        at.H = H;
                        at.lanes = static_cast<int>(std::min<Size>(LANES<T>, H - unit));
                        at.h0 = h_old ? h_old + row : zeros;
                        at.c0 = c_old ? c_old + row : zeros;
                        at.h = layer.h + t * B * H + row;
                        at.c = c_new ? c_new + row : nullptr;
                        at.saved = layer.saved ? layer.saved + (t * B + first + i) * Cell::SAVED * H + unit : nullptr;
                        if (Cell::APART) at.input = pre[i];
                        if (layer.lengths && t >= layer.lengths[first + i]) {
                            store(at.h, Vec<T>{}, at.lanes);
                            if (Cell::MEMORY) store(at.c, load(at.c0, at.lanes), at.lanes);
                            if (at.saved)
                                for (int s = 0; s < Cell::SAVED; s++) store(at.saved + s * H, Vec<T>{}, at.lanes);
                            continue;
                        }
                        Vec<T> gates[Cell::GATES];
                        for (int g = 0; g < Cell::GATES; g++) gates[g] = sum[i * WIDE<Cell> + g * Cell::VECTORS + v];
                        Cell::forward(gates, at);
                    }
            });
        }
    }
    for (Size row = b0; row < b1; row++) {
        const Size last = (layer.lengths ? layer.lengths[row] : layer.steps) - 1;
        const T* h = last >= 0 ? layer.h + (last * B + row) * H : layer.h0 ? layer.h0 + row * H : nullptr;
        for (Size u = 0; u < H; u++) layer.h_last[row * H + u] = h ? h[u] : T(0);
        const Size c_row = layer.saved ? (layer.steps - 1) * B + row : row;
        if (Cell::MEMORY) std::memcpy(layer.c_last + row * H, layer.c + c_row * H, H * sizeof(T));
    }
}

// Asks for part `part` of `parts` of a row range, line after line, into the second-level cache.
template <class T>
inline void fetch(const T* base, Size begin, Size end, Size width, Size part, Size parts) {
    const char* from = reinterpret_cast<const char*>(base + begin * width);
    const Size bytes = (end - begin) * width * Size(sizeof(T));
    for (Size i = bytes * part / parts; i < bytes * (part + 1) / parts; i += 64) __builtin_prefetch(from + i, 0, 2);
}

// The dgates of two chunks of steps. They are used up chunk by chunk, while they are in the cache: those of the whole
// sequence would be written to memory and read again twice.
template <class Cell, class T>
struct Ring {
    T* base;
    Size steps, step_size;  // of a chunk; numbers of one step

    T* at(Size t) const { return base + t % (2 * steps) * step_size; }
};

// Rows of dgates that a weight gradient sums at once, and at least as many are a chunk. The gradients are read and
// written once for so many rows: where they are too large for the second-level cache, more rows pay.
template <class Cell, class T>
Size depth_of(const Layer<T>& layer) {
    const Size gradients = Cell::GATES * layer.hidden * (layer.inputs + layer.hidden) * Size(sizeof(T));
    return gradients > (Size(2) << 20) ? 512 : 256;
}

template <class Cell, class T>
Size chunk_steps(const Layer<T>& layer) {
    return std::min<Size>(layer.steps, (depth_of<Cell>(layer) + layer.batch - 1) / layer.batch);
}

// dgates of the steps [t0, t1) for the sequences [b0, b1), last step first. t0 = -1 ends with the initial state.
template <class Cell, class T>
void backward_rows(const Layer<T>& layer, const T* U_panels, Size b0, Size b1, const Ring<Cell, T>& ring, Size t0,
                   Size t1) {
    const Size B = layer.batch, H = layer.hidden, width = NARROW * LANES<T>;
    const Size num_panels = panels(H, width), U_size = panel_size<T>(Cell::GATES * H, NARROW);
    const Size row_size = Cell::SLOPES * H, before = (Cell::GATES - 1) * H;
    T* passed = layer.dh0;  // what goes past the product to the old h, until it is the initial state's gradient
    T* dc = layer.dc0;
    if (t1 == layer.steps)
        for (Size row = b0; row < b1; row++) {
            std::fill(passed + row * H, passed + (row + 1) * H, T(0));
            if (!Cell::MEMORY) continue;
            if (layer.dc_last)
                std::memcpy(dc + row * H, layer.dc_last + row * H, H * sizeof(T));
            else
                std::fill(dc + row * H, dc + (row + 1) * H, T(0));
        }
    Vec<T> sum[TILE_ROWS<NARROW> * NARROW];
    for (Size t = t1 - 1; t >= t0; t--) {
        const T* later = t + 1 < layer.steps ? ring.at(t + 1) : nullptr;
        const T* h_old = t > 0 ? layer.h + (t - 1) * B * H : layer.h0;
        const T* c_old = t > 0 ? layer.c + (t - 1) * B * H : layer.c0;
        for (Size p = 0; p < num_panels; p++) {
            const Size u = p * width;
            const T* panel = U_panels + p * U_size;
            const int vectors = narrow_vectors<T>(H, p);
            if (t > 0) {  // the tiles read short pieces of many rows, which the processor does not see coming
                fetch(layer.saved, (t - 1) * B + b0, (t - 1) * B + b1, Cell::SAVED * H, p, num_panels);
                if (layer.dh) fetch(layer.dh, (t - 1) * B + b0, (t - 1) * B + b1, H, p, num_panels);
                if (t > 1) fetch(layer.h, (t - 2) * B + b0, (t - 2) * B + b1, H, p, num_panels);
                if (Cell::MEMORY && t > 1) fetch(layer.c, (t - 2) * B + b0, (t - 2) * B + b1, H, p, num_panels);
            }
            each_tile<NARROW>(b0, b1, [&](Size first, int rows) {
                if (later) {
                    const T* a = later + first * row_size;
                    const T* last = panel + before * vectors * LANES<T>;
                    narrow_tile<T>(vectors, rows, a, row_size, 1, panel, before, sum, false);
                    narrow_tile<T>(vectors, rows, a + (Cell::SLOPES - 1) * H, row_size, 1, last, H, sum, true);
                } else {
                    std::fill(sum, sum + rows * NARROW, Vec<T>{});
                }
                for (int i = 0; i < rows; i++)
                    for (int v = 0; v < vectors; v++) {
                        const Size unit = u + v * LANES<T>, row = (first + i) * H + unit;
                        static const T zeros[LANES<T>] = {};
                        const int lanes = static_cast<int>(std::min<Size>(LANES<T>, H - unit));
                        Vec<T> dh = sum[i * vectors + v] + load(passed + row, lanes);
                        const Size length = layer.lengths ? layer.lengths[first + i] : layer.steps;
                        if (layer.dh_last && t == length - 1) dh += load(layer.dh_last + row, lanes);
                        if (t < 0) {
                            store(passed + row, dh, lanes);
                            continue;
                        }
                        Slope<T> at;
                        at.dgates = ring.at(t) + (first + i) * row_size + unit;
                        if (t >= length) {
                            for (int s = 0; s < Cell::SLOPES; s++) store(at.dgates + s * H, Vec<T>{}, lanes);
                            continue;
                        }
                        if (layer.dh) dh += load(layer.dh + t * B * H + row, lanes);
                        at.H = H;
                        at.lanes = lanes;
                        at.h0 = h_old ? h_old + row : zeros;
                        at.c0 = c_old ? c_old + row : zeros;
                        at.h = layer.h + t * B * H + row;
                        at.c = Cell::MEMORY ? layer.c + t * B * H + row : nullptr;
                        at.saved = layer.saved + (t * B + first + i) * Cell::SAVED * H + unit;
                        at.dh = dh;
                        Vec<T> memory = {};
                        if (Cell::MEMORY) memory = load(dc + row, lanes);
                        at.dc = &memory;
                        Cell::backward(at);
                        if (Cell::MEMORY) store(dc + row, memory, lanes);
                        store(passed + row, at.passed, lanes);
                    }
            });
        }
    }
}

// dx = dgates W for the rows [begin, end) of a chunk.
template <class Cell, class T>
void input_rows(const Layer<T>& layer, const T* W_panels, const T* dgates, T* dx, Size begin, Size end) {
    const Size D = layer.inputs, H = layer.hidden, width = NARROW * LANES<T>, row_size = Cell::SLOPES * H;
    const Size num_panels = panels(D, width), W_size = panel_size<T>(Cell::INPUTS * H, NARROW);
    const Size block = 8 * TILE_ROWS<NARROW>;  // stays in the second-level cache while the panels pass
    Vec<T> sum[TILE_ROWS<NARROW> * NARROW];
    for (Size from = begin; from < end; from += block)
        for (Size p = 0; p < num_panels; p++) {
            const int vectors = narrow_vectors<T>(D, p);
            each_tile<NARROW>(from, std::min(end, from + block), [&](Size first, int rows) {
                narrow_tile<T>(vectors, rows, dgates + first * row_size, row_size, 1, W_panels + p * W_size,
                               Cell::INPUTS * H, sum, false);
                for (int i = 0; i < rows; i++)
                    for (int v = 0; v < vectors; v++) {
                        const Size unit = p * width + v * LANES<T>;
                        store(dx + (first + i) * D + unit, sum[i * vectors + v],
                              static_cast<int>(std::min<Size>(LANES<T>, D - unit)));
                    }
            });
        }
}

// All weight gradients from the steps [t0, t1), for the rows [begin, end) of W and U, which have equally many.
template <class Cell, class T>
void weight_gradients(const Layer<T>& layer, const T* dgates, Size t0, Size t1, Size begin, Size end, T* room) {
    constexpr Size ROWS = TILE_ROWS<NARROW>;
    const Size B = layer.batch, D = layer.inputs, H = layer.hidden, row_size = Cell::SLOPES * H;
    const Size apart = Cell::APART ? (Cell::GATES - 1) * H : Cell::GATES * H;  // from here on U's dgates lie H further
    const Right<T> of_W = {nullptr, layer.x + t0 * B * D, 0, D, layer.dW};
    const Right<T> of_U = t0 ? Right<T>{nullptr, layer.h + (t0 - 1) * B * H, 0, H, layer.dU}
                             : Right<T>{layer.h0, layer.h, B, H, layer.dU};
    T* strip = room;
    const Size most = depth_of<Cell>(layer);
    T* W_panels = strip + STRIP * ROWS * most;
    T* U_panels = W_panels + right_size<T>(D, most);
    const Size K = (t1 - t0) * B;
    for (Size k = 0; k < K; k += most) {
        const Size depth = std::min(most, K - k);
        const T* left = dgates + k * row_size;
        pack_right(of_W, k, depth, W_panels);
        pack_right(of_U, k, depth, U_panels);
        for (Size from = begin; from < end;) {
            const Size limit = from < apart ? std::min(end, apart) : end, count = std::min(STRIP * ROWS, limit - from);
            pack_strip<T, ROWS>(left + from, row_size, depth, count, strip);
            strip_sums(strip, count, depth, layer.db + from);
            strip_times(strip, count, depth, of_W, W_panels, from);
            if (from >= apart) {
                pack_strip<T, ROWS>(left + H + from, row_size, depth, count, strip);
                strip_sums(strip, count, depth, layer.db_apart + from - apart);
            }
            strip_times(strip, count, depth, of_U, U_panels, from);
            from += count;
        }
    }
}

template <class Cell, class T>
Size weight_room(const Layer<T>& layer) {
    const Size depth = depth_of<Cell>(layer);
    return depth * STRIP * TILE_ROWS<NARROW> + right_size<T>(layer.inputs, depth) + right_size<T>(layer.hidden, depth);
}

template <class Cell, class T>
Size forward_scratch(const Layer<T>& layer) {
    const Size num_panels = panels(layer.hidden, Cell::VECTORS * LANES<T>);
    return num_panels * panel_size<T>(layer.inputs + layer.hidden, WIDE<Cell>) + LANES<T>;
}

template <class Cell, class T>
Size backward_scratch(const Layer<T>& layer) {
    const Size width = NARROW * LANES<T>, over_H = panels(layer.hidden, width), over_D = panels(layer.inputs, width);
    const Size weights = (over_H * Cell::GATES + over_D * Cell::INPUTS) * layer.hidden * width;
    const Size ring = 2 * chunk_steps<Cell>(layer) * layer.batch * Cell::SLOPES * layer.hidden;
    return weights + ring + layer.threads * weight_room<Cell>(layer) + LANES<T>;
}

// Panels start at a multiple of the vector's size.
template <class T>
T* aligned(T* from) {
    return reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(from) + VECTOR_BYTES - 1) / VECTOR_BYTES * VECTOR_BYTES);
}

template <class Cell, class T>
void forward(const Layer<T>& layer) {
    const Size D = layer.inputs, H = layer.hidden;
    const Size num_panels = panels(H, Cell::VECTORS * LANES<T>);
    const Size W_size = panel_size<T>(D, WIDE<Cell>), U_size = panel_size<T>(H, WIDE<Cell>);
    T* W_panels = aligned(layer.scratch);
    T* U_panels = W_panels + num_panels * W_size;
    with_team(static_cast<int>(layer.threads), [&](Team& team, int thread) {
        Share mine = share(num_panels, team.size, thread);
        for (Size p = mine.begin; p < mine.end; p++) {
            pack_gates(layer.W, D, H, p, Cell::GATES, Cell::VECTORS, W_panels + p * W_size);
            pack_gates(layer.U, H, H, p, Cell::GATES, Cell::VECTORS, U_panels + p * U_size);
        }
        team.wait();
        const int parts = groups(layer.batch, team.size);
        if (thread >= parts) return;
        mine = share(layer.batch, parts, thread);
        forward_rows<Cell, T>(layer, W_panels, U_panels, mine.begin, mine.end);
    });
}

template <class Cell, class T>
void backward(const Layer<T>& layer) {
    const Size D = layer.inputs, H = layer.hidden, width = NARROW * LANES<T>;
    const Size over_H = panels(H, width), over_D = panels(D, width);
    const Size U_size = panel_size<T>(Cell::GATES * H, NARROW), W_size = panel_size<T>(Cell::INPUTS * H, NARROW);
    T* U_panels = aligned(layer.scratch);
    T* W_panels = U_panels + over_H * U_size;
    const Size steps = chunk_steps<Cell>(layer), B = layer.batch, step_size = B * Cell::SLOPES * H;
    const Ring<Cell, T> ring = {W_panels + over_D * W_size, steps, step_size};
    T* rooms = ring.base + 2 * steps * step_size;
    const Size room = weight_room<Cell>(layer);
    with_team(static_cast<int>(layer.threads), [&](Team& team, int thread) {
        Share mine = share(over_H, team.size, thread);
        for (Size p = mine.begin; p < mine.end; p++)
            pack_columns(layer.U, H, Cell::GATES * H, H, p, NARROW, narrow_vectors<T>(H, p), U_panels + p * U_size);
        mine = share(over_D, team.size, thread);
        for (Size p = mine.begin; layer.dx && p < mine.end; p++)
            pack_columns(layer.W, D, Cell::INPUTS * H, D, p, NARROW, narrow_vectors<T>(D, p), W_panels + p * W_size);
        const Share weights = share(Cell::GATES * H, team.size, thread);
        const Size count = weights.end - weights.begin, apart = std::max(weights.begin, (Cell::GATES - 1) * H);
        std::fill_n(layer.dW + weights.begin * D, count * D, T(0));
        std::fill_n(layer.dU + weights.begin * H, count * H, T(0));
        std::fill_n(layer.db + weights.begin, count, T(0));
        if (Cell::APART && apart < weights.end)
            std::fill_n(layer.db_apart + apart - (Cell::GATES - 1) * H, weights.end - apart, T(0));
        team.wait();
        const int parts = groups(B, team.size);
        const Share rows = thread < parts ? share(B, parts, thread) : Share{0, 0};
        for (Size t1 = layer.steps; t1 > 0;) {
            const Size t0 = (t1 - 1) / steps * steps;  // at multiples: a chunk lies in one half of the ring
            backward_rows<Cell, T>(layer, U_panels, rows.begin, rows.end, ring, t0, t1);
            team.wait();  // also ends the products of the chunk before, whose half is written next
            const Share chunk = share((t1 - t0) * B, team.size, thread);
            if (layer.dx)
                input_rows<Cell, T>(layer, W_panels, ring.at(t0), layer.dx + t0 * B * D, chunk.begin, chunk.end);
            weight_gradients<Cell, T>(layer, ring.at(t0), t0, t1, weights.begin, weights.end, rooms + thread * room);
            t1 = t0;
        }
        backward_rows<Cell, T>(layer, U_panels, rows.begin, rows.end, ring, -1, 0);
    });
}

}  // namespace

extern "C" {

void set_threads(Parallel parallel, ThreadNumber number, ThreadNumber size) {
    gomp_parallel = parallel;
    omp_thread_number = number;
    omp_team_size = size;
}

int vector_bytes() { return VECTOR_BYTES; }

// Found by the cell's name and the number of bytes of its floating type.
#define CELL(NAME, CELL, T, BYTES)                                                                               \
    int64_t NAME##_forward_scratch_##BYTES(const Layer<T>* layer) { return forward_scratch<CELL, T>(*layer); }   \
    int64_t NAME##_backward_scratch_##BYTES(const Layer<T>* layer) { return backward_scratch<CELL, T>(*layer); } \
    int NAME##_saved_##BYTES() { return CELL::SAVED; }                                                           \
    void NAME##_forward_##BYTES(const Layer<T>* layer) { forward<CELL, T>(*layer); }                             \
    void NAME##_backward_##BYTES(const Layer<T>* layer) { backward<CELL, T>(*layer); }

#define BOTH(NAME, ...)               \
    CELL(NAME, __VA_ARGS__, float, 4) \
    CELL(NAME, __VA_ARGS__, double, 8)

BOTH(RNN_tanh, Plain<Tanh>)
BOTH(RNN_sigmoid, Plain<Sigmoid>)
BOTH(RNN_relu, Plain<Relu>)
BOTH(LSTM, LSTM)
BOTH(GRU, GRU)
BOTH(GRUArticle, GRUArticle)
BOTH(GRUNoReset, GRUNoReset)
}
