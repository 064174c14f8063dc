// The forward pass. A thread takes its rows through all steps and waits for nobody, chunk by chunk of steps: first the
// input's part of the gates for all of its tokens in a chunk, which are many rows at once, then the recurrence.
#pragma once
#include "rounded.h"
#include "rows.h"
#include "team.h"

namespace {

// Some neighbouring gates of a cell, and their weights as laid out by pack_gates.
template <class T>
struct Gates {
    Size first;  // of the cell's gates
    int count, wide;  // gates; vectors of a panel
    T *W, *U;
    Size W_size, U_size;  // of a panel
};

template <class Cell, class T, bool MIXED = false>
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
            return part;
        };
        gates = lay_out(0, FIRST);
        last = lay_out(FIRST, Cell::GATES - FIRST);
        const Size tokens = all_tokens(layer);
        projected = take(tokens * columns);
        inputs = take(tokens * D);
        running = take(layer.lengths ? 2 * B * H : 0);
        rounded = take(MIXED ? 2 * B * H : 0);
        now = at;
    }

    // Numbers of scratch memory.
    static Size scratch(const Layer<T>& layer) {
        const Size B = layer.batch, D = layer.inputs, H = layer.hidden;
        const Size columns = panels(H, UNITS) * Cell::GATES * UNITS;
        const Size of_threads = all_tokens(layer) * (columns + D), ragged = layer.lengths ? 2 * B * H : 0;
        const Size kept = Cell::BEFORE && !layer.saved ? B * Cell::SAVED * H : 0;
        const Size mixed = MIXED ? 2 * B * H : 0;
        return columns * (D + H) + of_threads + ragged + mixed + kept + LANES<T>;
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
        const Mine mine = rows_of(rows, team.size, thread);
        if (rows.ragged && layer.h0)
            for (Size i = 0; i < mine.count(B); i++) {
                const T* start = layer.h0 + rows.sequence(mine.row(i)) * H;
                std::copy(start, start + H, running + (B + mine.row(i)) * H);
            }
        if constexpr (MIXED)
            for (Size i = 0; layer.h0 && i < mine.count(B); i++)
                round_row(layer.h0 + rows.sequence(mine.row(i)) * H, H, rounded + (B + mine.row(i)) * H);
        const Size tokens = room_tokens(layer, parts_of(B, team.size));
        const Room room = {projected + thread * tokens * columns, inputs + thread * tokens * D, tokens};
        for (Size t = 0; t < rows.steps && mine.count(rows.alive(t));) {
            Size end = t, count = 0, token = 0;
            do count += mine.count(rows.alive(end++));
            while (end < rows.steps && count + mine.count(rows.alive(end)) <= most(layer));
            project(t, end, count, mine, room);
            for (; t < end; t++) {
                step(t, token, mine, room);
                token += mine.count(rows.alive(t));
            }
        }
        for (Size i = 0; i < mine.count(B); i++) last_state(mine.row(i));
        rows.clear_padding(layer.h, layer.steps, H, team.size, thread);
    }

  private:
    // A thread's memory for one chunk: the input's part of its gates, and its inputs where they do not lie together.
    struct Room {
        T *projected, *inputs;
        Size tokens;  // that have room
    };

    static constexpr int FIRST = Cell::BEFORE ? Cell::GATES - 1 : Cell::GATES;  // the last may wait for the reset state
    static constexpr int UNITS = Cell::VECTORS * LANES<T>;

    const Layer<T>& layer;
    const Rows& rows;
    const Size B = layer.batch, D = layer.inputs, H = layer.hidden;
    const Size num_panels = panels(H, UNITS), columns = num_panels * Cell::GATES * UNITS;
    Gates<T> gates, last;
    T *projected, *inputs;  // of all threads
    T* running;             // h of two steps in the order of rows, where lengths differ
    T* rounded;             // h of two steps as it is multiplied, in mixed precision
    T* now;                 // what one step keeps where nothing is kept for the way back

    // Tokens of a thread's chunk at most, or those of one step: what is computed of them stays in the cache.
    static Size most(const Layer<T>& layer) {
        return std::max<Size>((Size(128) << 10) / (Cell::GATES * layer.hidden * Size(sizeof(T))), 1);
    }

    // Tokens of a chunk of one of several parts of the batch: one step's, or more steps that are not more than `most`.
    static Size room_tokens(const Layer<T>& layer, Size parts) {
        const Size rows = (layer.batch + parts - 1) / parts;
        return std::min(layer.steps * rows, std::max(most(layer), rows));
    }

    // As many as all rooms have, also where there are fewer threads than were asked for: fewer parts have more rows.
    static Size all_tokens(const Layer<T>& layer) {
        const Size B = layer.batch, parts = parts_of(B, layer.threads);
        return std::min(layer.steps * (B + parts), parts * (most(layer) + 1) + B);
    }

    // The input's part of the gates for a thread's `count` tokens of the steps [t0, t1).
    void project(Size t0, Size t1, Size count, Mine mine, Room room) const {
        const T* x = layer.x + rows.first(t0) * D;
        if (mine.size < B || rows.ragged) {
            T* to = room.inputs;
            for (Size t = t0; t < t1; t++)
                for (Size i = 0; i < mine.count(rows.alive(t)); i++, to += D) {
                    const T* from = layer.x + rows.place(rows.first(t) + mine.row(i)) * D;
                    std::copy(from, from + D, to);
                }
            x = room.inputs;
        }
        project_part<FIRST>(gates, x, count, room);
        if constexpr (Cell::BEFORE) project_part<1>(last, x, count, room);
    }

    template <int COUNT>
    void project_part(const Gates<T>& part, const T* x, Size count, Room room) const {
        constexpr int WIDE = COUNT * Cell::VECTORS;
        for (Size p = 0; p < num_panels; p++) {
            Vec<T> bias[WIDE];
            for (int g = 0; g < COUNT; g++)
                for (int v = 0; v < Cell::VECTORS; v++) {
                    const Size unit = p * UNITS + v * LANES<T>;
                    const int lanes = static_cast<int>(std::clamp<Size>(H - unit, 0, LANES<T>));
                    bias[g * Cell::VECTORS + v] = load(layer.b + (part.first + g) * H + unit, lanes);
                }
            product<T, WIDE>(x, D, count, part.W + p * part.W_size, D, {bias, 0}, at_token<WIDE>(part, p, 0, room));
        }
    }

    // For each panel, for each token, its vectors; those of the last gate, where it waits, after all others.
    template <int WIDE>
    Vec<T>* at_token(const Gates<T>& part, Size p, Size token, Room room) const {
        T* from = room.projected + part.first * num_panels * UNITS * room.tokens;
        return reinterpret_cast<Vec<T>*>(from) + (p * room.tokens + token) * WIDE;
    }

    // One step of this thread's rows; `token` counts those of its chunk before.
    void step(Size t, Size token, Mine mine, Room room) const {
        const Size row_size = KEPT<Cell> * H, first = rows.first(t), before = t ? rows.first(t - 1) : 0;
        const T* h_old = t == 0 && !layer.h0 ? nullptr
                         : rows.ragged       ? running + (t + 1) % 2 * B * H
                         : t                 ? layer.h + (t - 1) * B * H
                                             : layer.h0;
        const T* multiplied = MIXED && h_old ? rounded + (t + 1) % 2 * B * H : h_old;
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
            if constexpr (MIXED) {
                Vec<T> h = load(at.h, at.lanes);
                store(rounded + (t % 2 * B + row) * H + unit, to_bf16(h), at.lanes);
            }
            if (rows.ragged) store(running + (t % 2 * B + row) * H + unit, load(at.h, at.lanes), at.lanes);
        };
        // what is stored of a row, asked for before its product
        auto fetch_unit = [&](Size row, Size unit) {
            const Size token = first + row;
            for (int s = 0; layer.saved && s < KEPT<Cell>; s++)
                fetch_to_write(layer.saved + (token * KEPT<Cell> + s) * H + unit);
            fetch_to_write(layer.h + rows.place(token) * H + unit);
            if (Cell::MEMORY && layer.saved) fetch_to_write(layer.c + token * H + unit);
        };
        const Size count = mine.count(rows.alive(t));
        if constexpr (Cell::BEFORE) {
            auto keep_reset = [&](Size row, Size unit, const Vec<T>* sum, Vec<T>) {
                Step<T> at = at_unit(row, unit);
                store(reset + row * H + unit, operand<MIXED, T>(Cell::reset(sum, at)), at.lanes);
            };
            sweep<FIRST>(gates, token, room, mine, count, multiplied, fetch_unit, keep_reset);
            sweep<1>(last, token, room, mine, count, h_old ? reset : nullptr, [](Size, Size) {}, finish);
        } else {
            sweep<FIRST>(gates, token, room, mine, count, multiplied, fetch_unit, finish);
        }
    }

    // Calls use(row, unit, sum, input) for each vector of units: the gates with their recurrent part, from `state`'s
    // rows (null: zeros), and the input's part of a last gate that is kept apart. Before, fetch(row, unit).
    template <int COUNT, class Fetch, class Use>
    void sweep(const Gates<T>& part, Size token, Room room, Mine mine, Size count, const T* state, Fetch fetch,
               Use use) const {
        constexpr int WIDE = COUNT * Cell::VECTORS, VECTORS = Cell::VECTORS, LAST = (COUNT - 1) * VECTORS;
        Vec<T> sum[MOST_ROWS<WIDE> * WIDE], apart[VECTORS] = {};
        for (Size p = 0; p < num_panels; p++) {
            const Size first = p * UNITS;
            const Vec<T>* projected = at_token<WIDE>(part, p, token, room);
            for (int v = 0; Cell::APART && v < VECTORS; v++) {
                const Size unit = first + v * LANES<T>;
                apart[v] = load(layer.b_apart + unit, static_cast<int>(std::clamp<Size>(H - unit, 0, LANES<T>)));
            }
            each_piece(count, row_block<WIDE>(H), [&](Size from, Size block) {
                for (Size i = 0; i < block; i++)
                    for (int v = 0; v < VECTORS && first + v * LANES<T> < H; v++)
                        fetch(mine.row(from + i), first + v * LANES<T>);
                Start<T> start = {projected + from * WIDE, WIDE};
                if (Cell::APART || !state) {
                    for (Size i = 0; i < block; i++)
                        for (int j = 0; j < WIDE; j++)
                            sum[i * WIDE + j] =
                                Cell::APART && j >= LAST ? apart[j - LAST] : start.from[i * start.row + j];
                    start = {sum, WIDE};
                }
                if (state)
                    product<T, WIDE>(state + mine.row(from) * H, mine.stride * H, block, part.U + p * part.U_size, H,
                                     start, sum);
                for (Size i = 0; i < block; i++)
                    for (int v = 0; v < VECTORS && first + v * LANES<T> < H; v++) {
                        const Size row = mine.row(from + i);
                        Vec<T> of_unit[COUNT];
                        for (int g = 0; g < COUNT; g++) of_unit[g] = sum[i * WIDE + g * VECTORS + v];
                        use(row, first + v * LANES<T>, of_unit, projected[(from + i) * WIDE + LAST + v]);
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
