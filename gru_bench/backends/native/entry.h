// One layer over a whole sequence and back, as Python calls it. Each floating type is a file of its own, so that they are
// compiled side by side.
//
// A thread takes some of the batch's sequences through the recurrence; all other products are shared evenly. Every
// number is summed in an order that the number of threads does not change.
#pragma once
#include <exception>

#include "backward.h"
#include "forward.h"
#include "subnormal.h"

namespace {

// Zero, or one where there is no memory. The constructors take all that is needed: of what a thread throws nobody hears.
template <class Way, class T>
int run(const Layer<T>& layer) try {
    const Rows rows(layer);
    const Way way(layer, rows);
    with_team(static_cast<int>(layer.threads), [&](Team& team, int thread) {
        const NoSubnormals mode;
        way.run(team, thread);
    });
    return 0;
} catch (const std::exception&) {  // bad_alloc, or length_error of a size that cannot be
    return 1;
}

}  // namespace

// Found by the cell's name, the way and the number of bytes of its floating type, or `mixed`: bfloat16 products of float32.
#define CELL(NAME, CELL, T, MIXED, TYPE)                                                                               \
    int64_t NAME##_forward_scratch_##TYPE(const Layer<T>* layer) { return Forward<CELL, T, MIXED>::scratch(*layer); }   \
    int64_t NAME##_backward_scratch_##TYPE(const Layer<T>* layer) { return Backward<CELL, T, MIXED>::scratch(*layer); } \
    int NAME##_saved_##TYPE() { return CELL::SAVED; }                                                                  \
    int NAME##_forward_##TYPE(const Layer<T>* layer) { return run<Forward<CELL, T, MIXED>>(*layer); }                   \
    int NAME##_backward_##TYPE(const Layer<T>* layer) { return run<Backward<CELL, T, MIXED>>(*layer); }
