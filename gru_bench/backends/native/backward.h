// The backward pass, chunk by chunk of steps, the last first: dgates of a chunk, in which a thread takes its rows back
// through the steps, then all products with them, which the threads share evenly.
#pragma once
#include "gradients.h"
#include "rounded.h"
#include "rows.h"
#include "team.h"

namespace {

template <class Cell, class T, bool MIXED = false>
class Backward {
  public:
    Backward(const Layer<T>& layer, const Rows& rows) : layer(layer), rows(rows) {
        T* at = aligned(layer.scratch);
        auto take = [&](Size count) {
            T* taken = at;
            at += count;
            return taken;
        };
        U_panels = take(over_H * panel_size<T>(Cell::GATES * H, NARROW));
        W_panels = take(over_D * panel_size<T>(Cell::INPUTS * H, NARROW));
        for (int half = 0; half < 2; half++) {
            of_W[half] = {D, take(right_size<T>(D, tokens)), layer.dW};
            of_U[half] = {H, take(right_size<T>(H, tokens)), layer.dU};
            if (Cell::BEFORE) of_reset[half] = {H, take(right_size<T>(H, tokens)), layer.dU};
        }
        strips = take(layer.threads * STRIP_ROWS * 2 * most(layer));
        for (T*& half : ring) half = take(tokens * row_size);
    }

    // Numbers of scratch memory.
    static Size scratch(const Layer<T>& layer) {
        const Size D = layer.inputs, H = layer.hidden, tokens = chunk_tokens(layer.steps, layer.batch, most(layer));
        const Size weights = right_size<T>(H, Cell::GATES * H) + right_size<T>(D, Cell::INPUTS * H);
        const Size rights = right_size<T>(D, tokens) + (Cell::BEFORE ? 2 : 1) * right_size<T>(H, tokens);
        const Size dgates = tokens * row_of(H);
        const Size strips = layer.threads * STRIP_ROWS * 2 * most(layer);
        return weights + 2 * (rights + dgates) + strips + 3 * LANES<T>;  // to be aligned, and read beyond by pack_strip
    }

    void run(Team& team, int thread) const {
        Share mine = share(over_H, team.size, thread);
        for (Size p = mine.begin; p < mine.end; p++)
            pack_columns([&](Size k) { return layer.U + k * H; }, Cell::GATES * H, H, p, NARROW,
                         narrow_vectors<T>(H, p), U_panels + p * panel_size<T>(Cell::GATES * H, NARROW));
        mine = share(over_D, team.size, thread);
        for (Size p = mine.begin; layer.dx && p < mine.end; p++)
            pack_columns([&](Size k) { return layer.W + k * D; }, Cell::INPUTS * H, D, p, NARROW,
                         narrow_vectors<T>(D, p), W_panels + p * panel_size<T>(Cell::INPUTS * H, NARROW));
        const Share weights = share(Cell::GATES * H, team.size, thread);
        clear(weights);
        const Mine some = rows_of(rows, team.size, thread);
        start(some);
        team.wait();
        const T* later = nullptr;  // dgates of the step after
        for (Size chunk = static_cast<Size>(cuts.size()) - 2; chunk >= 0; chunk--) {
            const Size half = chunk % 2, from = rows.first(cuts[chunk]), count = rows.first(cuts[chunk + 1]) - from;
            for (Size t = cuts[chunk + 1] - 1; t >= cuts[chunk]; t--) {
                T* dgates = ring[half] + (rows.first(t) - from) * row_size;
                step(t, some, later, dgates);
                later = dgates;
            }
            pack_rights(half, from, count, team.size, thread);
            team.wait();  // also ends the products of the chunk before, whose half is written next
            if (layer.dx) input_gradient(ring[half], from, share(count, team.size, thread));
            weight_gradients(half, count, weights, strips + thread * STRIP_ROWS * 2 * most(layer));
        }
        step(-1, some, later, nullptr);
        if (layer.dx) rows.clear_padding(layer.dx, layer.steps, D, team.size, thread);
    }

  private:
    // Numbers from one token's dgates to the next: a vector more than they are. Rows that lie a power of two apart
    // would all want the same places in the cache, and pack_strip reads whole vectors.
    static Size row_of(Size hidden) { return Cell::SLOPES * hidden + LANES<T>; }

    static constexpr Size STRIP_ROWS = STRIP * TILE_ROWS<NARROW>;

    const Layer<T>& layer;
    const Rows& rows;
    const Size B = layer.batch, D = layer.inputs, H = layer.hidden, row_size = row_of(H);
    const Size over_H = panels(H, NARROW * LANES<T>), over_D = panels(D, NARROW * LANES<T>);
    const Size tokens = chunk_tokens(layer.steps, B, most(layer));
    const std::vector<Size> cuts = rows.cuts(most(layer));  // here: nothing in `run` may throw
    const std::vector<T> none = std::vector<T>(H);          // a state of zeros
    T *U_panels, *W_panels, *strips;
    // dgates of two chunks, and what the weight gradients multiply them with. They are used up chunk by chunk, while
    // they are in the cache: those of the whole sequence would be written to memory and read again twice.
    T* ring[2];
    Right<T> of_W[2], of_U[2], of_reset[2];

    // Tokens of a chunk. The weights' gradients are read and written once for so many: where they are too large for
    // the second-level cache, more tokens pay.
    static Size most(const Layer<T>& layer) {
        const Size gradients = Cell::GATES * layer.hidden * (layer.inputs + layer.hidden) * Size(sizeof(T));
        return gradients > (Size(2) << 20) ? 512 : 256;
    }

    void clear(Share weights) const {
        const Size count = weights.end - weights.begin, apart = std::max(weights.begin, (Cell::GATES - 1) * H);
        std::fill_n(layer.dW + weights.begin * D, count * D, T(0));
        std::fill_n(layer.dU + weights.begin * H, count * H, T(0));
        std::fill_n(layer.db + weights.begin, count, T(0));
        if (Cell::APART && apart < weights.end)
            std::fill_n(layer.db_apart + apart - (Cell::GATES - 1) * H, weights.end - apart, T(0));
    }

    // dh0 holds what goes past the product to the old h, until it is the initial state's gradient; likewise dc0.
    void start(Mine some) const {
        for (Size i = 0; i < some.count(B); i++) {
            const Size at = rows.sequence(some.row(i)) * H;
            std::fill_n(layer.dh0 + at, H, T(0));
            if (!Cell::MEMORY) continue;
            if (layer.dc_last)
                std::copy(layer.dc_last + at, layer.dc_last + at + H, layer.dc0 + at);
            else
                std::fill_n(layer.dc0 + at, H, T(0));
        }
    }

    // Row `row` of the state before step t, in a tensor of all steps and one of the start; both by the caller's order.
    const T* before(Size t, Size row) const {
        if (t > 0) return layer.h + rows.place(rows.first(t - 1) + row) * H;
        return layer.h0 ? layer.h0 + rows.sequence(row) * H : none.data();
    }

    Slope<T> slope(Size t, Size row, Size unit, T* dgates) const {
        const Size token = rows.first(t) + row;
        Slope<T> at;
        at.H = H;
        at.lanes = static_cast<int>(std::min<Size>(LANES<T>, H - unit));
        at.h0 = before(t, row) + unit;
        at.h = layer.h + rows.place(token) * H + unit;
        at.saved = layer.saved + token * KEPT<Cell> * H + unit;
        at.dgates = dgates + row * row_size + unit;
        if (!Cell::MEMORY) return at;
        const T* c_old = t > 0      ? layer.c + (rows.first(t - 1) + row) * H
                         : layer.c0 ? layer.c0 + rows.sequence(row) * H
                                    : none.data();
        at.c0 = c_old + unit;
        at.c = layer.c + token * H + unit;
        return at;
    }

    // Asks for what a vector of units of step t reads, while a product keeps the processor busy: short pieces of many
    // rows, which it does not see coming.
    void fetch_unit(Size t, Size row, Size unit) const {
        const Size token = rows.first(t) + row;
        for (int s = 0; s < KEPT<Cell>; s++) fetch(layer.saved + (token * KEPT<Cell> + s) * H + unit);
        if (layer.dh) fetch(layer.dh + rows.place(token) * H + unit);
        fetch(before(t, row) + unit);
        if (Cell::MEMORY && t > 0) fetch(layer.c + (rows.first(t - 1) + row) * H + unit);
    }

    // dgates of step t for this thread's rows, from those of the step after; t = -1 ends with the initial state.
    void step(Size t, Mine some, const T* later, T* dgates) const {
        const Size count = some.count(rows.alive(t)), going = some.count(rows.alive(t + 1));
        const Size last = (Cell::GATES - 1) * H;
        Vec<T> sum[MOST_ROWS<NARROW> * NARROW];
        for (Size p = 0; p < over_H; p++) {
            const int vectors = narrow_vectors<T>(H, p);
            const T* panel = U_panels + p * panel_size<T>(Cell::GATES * H, NARROW);
            each_piece(count, row_block<NARROW>(Cell::GATES * H), [&](Size from, Size block) {
                for (Size i = 0; t >= 0 && i < block; i++)
                    for (int v = 0; v < vectors; v++) fetch_unit(t, some.row(from + i), (p * NARROW + v) * LANES<T>);
                const Size on = std::clamp<Size>(going - from, 0, block);
                if (on) {
                    const T* a = later + some.row(from) * row_size;
                    const Size apart = (Cell::SLOPES - 1) * H, stride = some.stride * row_size;
                    if (Cell::BEFORE || !Cell::APART) {
                        narrow_product<T>(vectors, a, stride, on, panel, Cell::BEFORE ? last : last + H, {}, sum);
                    } else {
                        narrow_product<T>(vectors, a, stride, on, panel, last, {}, sum);
                        narrow_product<T>(vectors, a + apart, stride, on, panel + last * vectors * LANES<T>, H,
                                          {sum, vectors}, sum);
                    }
                }
                std::fill(sum + on * vectors, sum + block * vectors, Vec<T>{});
                for (Size i = 0; i < block; i++)
                    for (int v = 0; v < vectors; v++)
                        unit_back(t, some.row(from + i), (p * NARROW + v) * LANES<T>, from + i >= going, dgates,
                                  sum[i * vectors + v]);
            });
        }
        if (t < 0) return;
        if constexpr (Cell::BEFORE) {
            round_gates(Cell::SLOPES - 1, some, count, dgates);
            reset_back(t, some, count, dgates);
            round_gates(0, some, count, dgates);
        } else {
            round_gates(0, some, count, dgates);
        }
    }

    // dgates from the gate `first` on as they are multiplied.
    void round_gates(int first, Mine some, Size count, T* dgates) const {
        if constexpr (MIXED)
            for (Size i = 0; i < count; i++) {
                T* row = dgates + some.row(i) * row_size;
                round_row(row + first * H, (Cell::SLOPES - first) * H, row + first * H);
            }
    }

    // One vector of units: `dh` is what comes through the product; `ends` where this is the row's last step.
    void unit_back(Size t, Size row, Size unit, bool ends, T* dgates, Vec<T> dh) const {
        const Size at_state = rows.sequence(row) * H + unit;
        const int lanes = static_cast<int>(std::min<Size>(LANES<T>, H - unit));
        dh += load(layer.dh0 + at_state, lanes);
        if (ends && layer.dh_last) dh += load(layer.dh_last + at_state, lanes);
        if (t < 0) {
            store(layer.dh0 + at_state, dh, lanes);
            return;
        }
        Slope<T> at = slope(t, row, unit, dgates);
        if (layer.dh) dh += load(layer.dh + rows.place(rows.first(t) + row) * H + unit, lanes);
        at.dh = dh;
        Vec<T> memory = {};
        if (Cell::MEMORY) memory = load(layer.dc0 + at_state, lanes);
        at.dc = &memory;
        Cell::backward(at);
        if (Cell::MEMORY) store(layer.dc0 + at_state, memory, lanes);
        store(layer.dh0 + at_state, at.passed, lanes);
    }

    // Through the reset state of step t, whose product with the last gate's weights waits for all units' dgates.
    void reset_back(Size t, Mine some, Size count, T* dgates) const {
        Vec<T> sum[MOST_ROWS<NARROW> * NARROW];
        for (Size p = 0; p < over_H; p++) {
            const int vectors = narrow_vectors<T>(H, p);
            const T* panel = U_panels + p * panel_size<T>(Cell::GATES * H, NARROW);
            each_piece(count, row_block<NARROW>(H), [&](Size from, Size block) {
                const T* last = dgates + some.row(from) * row_size + (Cell::SLOPES - 1) * H;
                narrow_product<T>(vectors, last, some.stride * row_size, block,
                                  panel + (Cell::GATES - 1) * H * vectors * LANES<T>, H, {}, sum);
                for (Size i = 0; i < block; i++)
                    for (int v = 0; v < vectors; v++) {
                        const Size row = some.row(from + i), unit = (p * NARROW + v) * LANES<T>;
                        T* passed = layer.dh0 + rows.sequence(row) * H + unit;
                        Slope<T> at = slope(t, row, unit, dgates);
                        at.passed = load(passed, at.lanes);
                        Cell::reset_backward(sum[i * vectors + v], at);
                        store(passed, at.passed, at.lanes);
                    }
            });
        }
    }

    // dx = dgates W for some tokens of a chunk. As many of them as stay in the second-level cache meet all panels.
    void input_gradient(const T* dgates, Size from, Share some) const {
        const Size K = Cell::INPUTS * H;
        Vec<T> sum[MOST_ROWS<NARROW> * NARROW];
        each_piece(some.end - some.begin, MOST_ROWS<NARROW>, [&](Size first, Size group) {
            for (Size p = 0; p < over_D; p++)
                each_piece(group, row_block<NARROW>(K), [&](Size next, Size block) {
                    const Size k = some.begin + first + next;
                    const int vectors = narrow_vectors<T>(D, p);
                    narrow_product<T>(vectors, dgates + k * row_size, row_size, block,
                                      W_panels + p * panel_size<T>(K, NARROW), K, {}, sum);
                    for (Size i = 0; i < block; i++)
                        for (int v = 0; v < vectors; v++) {
                            const Size unit = (p * NARROW + v) * LANES<T>;
                            store(layer.dx + rows.place(from + k + i) * D + unit, sum[i * vectors + v],
                                  static_cast<int>(std::min<Size>(LANES<T>, D - unit)));
                        }
                });
        });
    }

    // A thread's share of the right-hand matrices of a chunk, laid out as pieces of `depth` tokens are multiplied.
    void pack_rights(Size half, Size from, Size count, int threads, int thread) const {
        auto pack = [&](const Right<T>& right, auto row) {
            each_piece(count, 2 * most(layer), [&](Size k, Size depth) {
                T* panels = right.panels + right_size<T>(right.columns, k);
                const Share mine = share(depth, threads, thread);
                for (Size i = mine.begin; i < mine.end; i++)
                    pack_row(row(from + k + i), i, depth, right.columns, panels,
                             [](Vec<T> x) { return operand<MIXED, T>(x); });
            });
        };
        pack(of_W[half], [&](Size k) { return layer.x + rows.place(k) * D; });
        pack(of_U[half], [&](Size k) {
            const Size place = rows.place(k);
            return place >= B ? layer.h + (place - B) * H : layer.h0 ? layer.h0 + place * H : none.data();
        });
        if constexpr (Cell::BEFORE)
            pack(of_reset[half], [&](Size k) { return resets<Cell>(layer, rows) + k * H; });
    }

    // All weight gradients from a chunk, for some rows of W and U, which have equally many.
    void weight_gradients(Size half, Size count, Share weights, T* strip) const {
        constexpr int ROWS = TILE_ROWS<NARROW>;
        // from here on U's dgates lie H further, or belong to the reset state
        const Size apart = Cell::APART || Cell::BEFORE ? (Cell::GATES - 1) * H : Cell::GATES * H;
        each_piece(count, 2 * most(layer), [&](Size k, Size depth) {
            const T* left = ring[half] + k * row_size;
            auto times = [&](const Right<T>& right, Size from, Size columns) {
                strip_times(strip, columns, depth, right, right.panels + right_size<T>(right.columns, k), from);
            };
            for (Size from = weights.begin; from < weights.end;) {
                const Size limit = from < apart ? std::min(weights.end, apart) : weights.end;
                const Size columns = std::min(STRIP_ROWS, limit - from);
                pack_strip<T, ROWS>(left + from, row_size, depth, columns, strip);
                strip_sums(strip, columns, depth, layer.db + from);
                times(of_W[half], from, columns);
                if (Cell::APART && from >= apart) {
                    pack_strip<T, ROWS>(left + H + from, row_size, depth, columns, strip);
                    strip_sums(strip, columns, depth, layer.db_apart + from - apart);
                }
                times(Cell::BEFORE && from >= apart ? of_reset[half] : of_U[half], from, columns);
                from += columns;
            }
        });
    }
};

}  // namespace
