// Which sequences take part in which step, where lengths differ: nothing is computed for what is padding.
//
// Rows are the sequences by length, the longest first: those that take part in a step are the first rows. A token is a
// row in a step; tokens are counted step by step. Where all lengths are equal, rows and tokens lie as the caller's.
#pragma once
#include <algorithm>
#include <numeric>
#include <vector>

#include "layer.h"

namespace {

class Rows {
  public:
    template <class T>
    explicit Rows(const Layer<T>& layer) : steps(layer.steps), batch(layer.batch) {
        const int64_t* lengths = layer.lengths;
        ragged = lengths && std::any_of(lengths, lengths + batch, [&](int64_t length) { return length != steps; });
        if (!ragged) return;
        order.resize(batch);
        std::iota(order.begin(), order.end(), Size(0));
        std::stable_sort(order.begin(), order.end(), [&](Size a, Size b) { return lengths[a] > lengths[b]; });
        steps = lengths[order[0]];
        firsts.push_back(0);
        Size count = batch;
        for (Size t = 0; t < steps; t++) {
            while (lengths[order[count - 1]] <= t) count--;
            for (Size row = 0; row < count; row++) places.push_back(t * batch + order[row]);
            firsts.push_back(firsts.back() + count);
        }
    }

    Size steps;  // of the longest sequence
    const Size batch;
    bool ragged;

    Size num_tokens() const { return first(steps); }
    // Tokens before step t.
    Size first(Size t) const { return ragged ? firsts[t] : t * batch; }
    // Rows that take part in step t; none after the last, all before the first.
    Size alive(Size t) const { return t < 0 ? batch : t >= steps ? 0 : ragged ? firsts[t + 1] - firsts[t] : batch; }
    // Where a token lies in the caller's tensors, whose rows are (T, B).
    Size place(Size token) const { return ragged ? places[token] : token; }
    // Which of the caller's sequences a row is.
    Size sequence(Size row) const { return ragged ? order[row] : row; }

    // Steps at which the sequence is cut into chunks of nearly equally many tokens, at most `most` and a step's.
    std::vector<Size> cuts(Size most) const {
        const Size chunks = std::max<Size>((num_tokens() + most - 1) / most, 1);
        std::vector<Size> found{0};
        for (Size i = 1, t = 0; i < chunks; i++) {
            while (t < steps && first(t) < num_tokens() * i / chunks) t++;
            if (t > found.back() && t < steps) found.push_back(t);
        }
        found.push_back(steps);
        return found;
    }

    // Zeros where the caller's (T, B, width) tensor is padding, for one of several parts of the steps.
    template <class T>
    void clear_padding(T* to, Size all_steps, Size width, int parts, int part) const {
        if (!ragged) return;
        const Share mine = share(all_steps, parts, part);
        for (Size t = mine.begin; t < mine.end; t++)
            for (Size row = alive(t); row < batch; row++)
                std::fill_n(to + (t * batch + order[row]) * width, width, T(0));
    }

  private:
    std::vector<Size> order, firsts, places;
};

// Tokens of a chunk at most, where `most` are asked for.
inline Size chunk_tokens(Size steps, Size batch, Size most) { return std::min(steps * batch, most + batch); }

// The rows of one thread.
struct Mine {
    Size start, stride, size;

    // How many of the first `alive` rows.
    Size count(Size alive) const { return std::clamp<Size>((alive - start + stride - 1) / stride, 0, size); }
    Size row(Size i) const { return start + i * stride; }
};

// Few rows, fewer threads that have any, each with work enough.
inline Size parts_of(Size batch, Size threads) { return std::min(threads, (batch + 3) / 4); }

// Where lengths differ a thread has every so many-th row,
// so that all have as many of the long ones; else neighbours, whose memory no other thread writes to.
inline Mine rows_of(const Rows& rows, int threads, int thread) {
    const Size batch = rows.batch, parts = parts_of(batch, threads);
    if (thread >= parts) return {0, 1, 0};
    if (rows.ragged) return {thread, parts, (batch - thread + parts - 1) / parts};
    const Share mine = share(batch, static_cast<int>(parts), thread);
    return {mine.begin, 1, mine.end - mine.begin};
}

// The reset states of all tokens in `saved`, for cells that reset before the product.
template <class Cell, class T>
T* resets(const Layer<T>& layer, const Rows& rows) {
    return layer.saved + rows.num_tokens() * KEPT<Cell> * layer.hidden;
}

}  // namespace
