// The forward pass, chunk by chunk of steps: first the input's part of the gates for all tokens of a chunk, which are
// many rows at once, then the recurrence, in which a thread takes its rows through the chunk and waits for nobody.
#pragma once
#include "rows.h"
#include "team.h"

namespace {

// Some neighbouring gates of a cell: their weights, laid out by pack_gates, and the input's part of them for two chunks
// of tokens: for each panel, for each token, its `wide` vectors.
template <class T>
struct Gates {
    Size first;  // of the cell's gates
    int count, wide;
    T *W, *U, *projected;
    Size W_size, U_size, projected_size;  // of a panel
};

template <class Cell, class T>
class Forward {
  public:
    Forward(const Layer<T>& layer, const Rows& rows) : layer(layer), rows(rows) {
        T* at = aligned(layer.scratch);
        auto take = [&](Size count) {
            T* taken = at;
            at += count;
            return taken;
        };
        auto lay_out = [&](Size first, Size count) {
            Gates<T> part;
            part.first = first;
            part.count = static_cast<int>(count);
            part.wide = part.count * Cell::VECTORS;
            part.W = take(num_panels * (part.W_size = panel_size<T>(D, part.wide)));
            part.U = take(num_panels * (part.U_size = panel_size<T>(H, part.wide)));
            part.projected = take(num_panels * (part.projected_size = panel_size<T>(2 * tokens, part.wide)));
            return part;
        };
        gates = lay_out(0, FIRST);
        last = lay_out(FIRST, Cell::GATES - FIRST);
        inputs = take(layer.lengths ? tokens * D : 0);
        running = take(layer.lengths ? 2 * B * H : 0);
        now = at;
    }

    // Numbers of scratch memory.
    static Size scratch(const Layer<T>& layer) {
        const Size B = layer.batch, D = layer.inputs, H = layer.hidden;
        const Size tokens = chunk_tokens(layer.steps, B, most(layer));
        const Size in_panels = panels(H, UNITS) * Cell::GATES * UNITS * (D + H + 2 * tokens);
        const Size ragged = layer.lengths ? tokens * D + 2 * B * H : 0;
        const Size kept = Cell::BEFORE && !layer.saved ? B * Cell::SAVED * H : 0;
        return in_panels + ragged + kept + LANES<T>;
    }

    void run(Team& team, int thread) const {
        const Share some = share(num_panels, team.size, thread);
        for (Size p = some.begin; p < some.end; p++)
            for (const Gates<T>& part : {gates, last}) {
                const T *W = layer.W + part.first * H * D, *U = layer.U + part.first * H * H;
                pack_gates(W, D, H, p, part.count, Cell::VECTORS, part.W + p * part.W_size);
                pack_gates(U, H, H, p, part.count, Cell::VECTORS, part.U + p * part.U_size);
            }
        team.wait();
        const Mine mine = rows_of(B, team.size, thread);
        if (rows.ragged && layer.h0)
            for (Size i = 0; i < mine.count(B); i++) {
                const T* start = layer.h0 + rows.sequence(mine.row(i)) * H;
                std::copy(start, start + H, running + (B + mine.row(i)) * H);
            }
        const std::vector<Size> cuts = rows.cuts(most(layer));
        for (Size chunk = 0; chunk + 1 < static_cast<Size>(cuts.size()); chunk++) {
            const Size t0 = cuts[chunk], t1 = cuts[chunk + 1], from = rows.first(t0), count = rows.first(t1) - from;
            const Size half = team.size > 1 ? chunk % 2 * tokens : 0;
            project(from, half, share(count, team.size, thread));
            team.wait();  // also ends the steps of the chunk before, whose half is written next
            for (Size t = t0; t < t1; t++) step(t, half + rows.first(t) - from, mine);
        }
        for (Size i = 0; i < mine.count(B); i++) last_state(mine.row(i));
        rows.clear_padding(layer.h, layer.steps, H, team.size, thread);
    }

  private:
    static constexpr int FIRST = Cell::BEFORE ? Cell::GATES - 1 : Cell::GATES;  // the last may wait for the reset state
    static constexpr int UNITS = Cell::VECTORS * LANES<T>;

    const Layer<T>& layer;
    const Rows& rows;
    const Size B = layer.batch, D = layer.inputs, H = layer.hidden;
    const Size num_panels = panels(H, UNITS), tokens = chunk_tokens(layer.steps, B, most(layer));
    Gates<T> gates, last;
    T* inputs;   // of a chunk, where lengths differ
    T* running;  // h of two steps in the order of rows, where lengths differ
    T* now;      // what one step keeps where nothing is kept for the way back

    // Tokens of a chunk: half of the second-level cache is for the rest.
    static Size most(const Layer<T>& layer) {
        return std::max<Size>((Size(128) << 10) / (Cell::GATES * layer.hidden * Size(sizeof(T))), 1);
    }

    // The input's part of the gates for some tokens of the chunk that begins with token `from`.
    void project(Size from, Size half, Share some) const {
        const T* x = layer.x + from * D;
        if (rows.ragged) {
            x = inputs;
            for (Size k = some.begin; k < some.end; k++) {
                const T* at = layer.x + rows.place(from + k) * D;
                std::copy(at, at + D, inputs + k * D);
            }
        }
        project_part<FIRST>(gates, x, half, some);
        if constexpr (Cell::BEFORE) project_part<1>(last, x, half, some);
    }

    template <int COUNT>
    void project_part(const Gates<T>& part, const T* x, Size half, Share some) const {
        constexpr int WIDE = COUNT * Cell::VECTORS;
        for (Size p = 0; p < num_panels; p++) {
            Vec<T> bias[WIDE];
            for (int g = 0; g < COUNT; g++)
                for (int v = 0; v < Cell::VECTORS; v++) {
                    const Size unit = p * UNITS + v * LANES<T>;
                    const int lanes = static_cast<int>(std::clamp<Size>(H - unit, 0, LANES<T>));
                    bias[g * Cell::VECTORS + v] = load(layer.b + (part.first + g) * H + unit, lanes);
                }
            product<T, WIDE>(x + some.begin * D, D, some.end - some.begin, part.W + p * part.W_size, D, {bias, 0},
                             at_token<WIDE>(part, p, half + some.begin));
        }
    }

    template <int WIDE>
    Vec<T>* at_token(const Gates<T>& part, Size p, Size token) const {
        return reinterpret_cast<Vec<T>*>(part.projected + p * part.projected_size) + token * WIDE;
    }

    // One step of this thread's rows; `token` is where the step's begin in `projected`.
    void step(Size t, Size token, Mine mine) const {
        const Size row_size = KEPT<Cell> * H, first = rows.first(t), before = t ? rows.first(t - 1) : 0;
        const T* h_old = t == 0 && !layer.h0 ? nullptr
                         : rows.ragged       ? running + (t + 1) % 2 * B * H
                         : t                 ? layer.h + (t - 1) * B * H
                                             : layer.h0;
        T* reset = !Cell::BEFORE ? nullptr : layer.saved ? resets<Cell>(layer, rows) + first * H : now + B * row_size;
        auto at_unit = [&](Size row, Size unit) {
            const T* c_old = !t ? layer.c0 ? layer.c0 + rows.sequence(row) * H : nullptr
                                : layer.c + (layer.saved ? before + row : row) * H;
            Step<T> at;
            at.H = H;
            at.lanes = static_cast<int>(std::min<Size>(LANES<T>, H - unit));
            at.h0 = h_old ? h_old + row * H + unit : zeros<T>();
            at.c0 = Cell::MEMORY && c_old ? c_old + unit : zeros<T>();
            at.h = layer.h + rows.place(first + row) * H + unit;
            at.c = Cell::MEMORY ? layer.c + (layer.saved ? first + row : row) * H + unit : nullptr;
            at.saved = layer.saved   ? layer.saved + (first + row) * row_size + unit
                       : Cell::BEFORE ? now + row * row_size + unit
                                      : nullptr;
            return at;
        };
        auto finish = [&](Size row, Size unit, const Vec<T>* sum, Vec<T> input) {
            Step<T> at = at_unit(row, unit);
            at.input = input;
            Cell::forward(sum, at);
            if (rows.ragged) store(running + (t % 2 * B + row) * H + unit, load(at.h, at.lanes), at.lanes);
        };
        const Size count = mine.count(rows.alive(t));
        if constexpr (Cell::BEFORE) {
            sweep<FIRST>(gates, token, mine, count, h_old, [&](Size row, Size unit, const Vec<T>* sum, Vec<T>) {
                Step<T> at = at_unit(row, unit);
                store(reset + row * H + unit, Cell::reset(sum, at), at.lanes);
            });
            sweep<1>(last, token, mine, count, h_old ? reset : nullptr, finish);
        } else {
            sweep<FIRST>(gates, token, mine, count, h_old, finish);
        }
    }

    // Calls use(row, unit, sum, input) for each vector of units: the gates with their recurrent part, from `state`'s
    // rows (null: zeros), and the input's part of a last gate that is kept apart.
    template <int COUNT, class Use>
    void sweep(const Gates<T>& part, Size token, Mine mine, Size count, const T* state, Use use) const {
        constexpr int WIDE = COUNT * Cell::VECTORS, VECTORS = Cell::VECTORS, LAST = (COUNT - 1) * VECTORS;
        Vec<T> sum[MOST_ROWS<WIDE> * WIDE], apart[VECTORS] = {};
        for (Size p = 0; p < num_panels; p++) {
            const Size first = p * UNITS;
            const Vec<T>* projected = at_token<WIDE>(part, p, token);
            for (int v = 0; Cell::APART && v < VECTORS; v++) {
                const Size unit = first + v * LANES<T>;
                apart[v] = load(layer.b_apart + unit, static_cast<int>(std::clamp<Size>(H - unit, 0, LANES<T>)));
            }
            each_piece(count, row_block<WIDE>(H), [&](Size from, Size block) {
                Start<T> start = {projected + mine.row(from) * WIDE, mine.parts * WIDE};
                if (Cell::APART || !state) {
                    for (Size i = 0; i < block; i++)
                        for (int j = 0; j < WIDE; j++)
                            sum[i * WIDE + j] =
                                Cell::APART && j >= LAST ? apart[j - LAST] : start.from[i * start.row + j];
                    start = {sum, WIDE};
                }
                if (state)
                    product<T, WIDE>(state + mine.row(from) * H, mine.parts * H, block, part.U + p * part.U_size, H,
                                     start, sum);
                for (Size i = 0; i < block; i++)
                    for (int v = 0; v < VECTORS && first + v * LANES<T> < H; v++) {
                        const Size row = mine.row(from + i);
                        Vec<T> of_unit[COUNT];
                        for (int g = 0; g < COUNT; g++) of_unit[g] = sum[i * WIDE + g * VECTORS + v];
                        use(row, first + v * LANES<T>, of_unit, projected[row * WIDE + LAST + v]);
                    }
            });
        }
    }

    // The states at a row's last step.
    void last_state(Size row) const {
        const Size sequence = rows.sequence(row);
        const Size end = (layer.lengths ? layer.lengths[sequence] : layer.steps) - 1;
        const Size token = end < 0 ? 0 : rows.first(end) + row;
        auto put = [&](T* to, const T* from) {
            if (from)
                std::copy(from, from + H, to + sequence * H);
            else
                std::fill_n(to + sequence * H, H, T(0));
        };
        auto start = [&](const T* state) { return state ? state + sequence * H : nullptr; };
        put(layer.h_last, end < 0 ? start(layer.h0) : layer.h + rows.place(token) * H);
        if (Cell::MEMORY) put(layer.c_last, end < 0 ? start(layer.c0) : layer.c + (layer.saved ? token : row) * H);
    }
};

}  // namespace
