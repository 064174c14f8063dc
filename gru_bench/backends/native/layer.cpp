// One layer over a whole sequence and back, for every cell of gates.h.
//
// A thread takes some of the batch's sequences through the recurrence; all other products are shared evenly. Every
// number is summed in an order that the number of threads does not change.
#include <exception>

#include "backward.h"
#include "forward.h"

Parallel gomp_parallel = nullptr;
ThreadNumber omp_thread_number = nullptr, omp_team_size = nullptr;

namespace {

// Zero, or one where there is no memory. The constructors take all that is needed: of what a thread throws nobody hears.
template <class Way, class T>
int run(const Layer<T>& layer) try {
    const Rows rows(layer);
    const Way way(layer, rows);
    with_team(static_cast<int>(layer.threads), [&](Team& team, int thread) { way.run(team, thread); });
    return 0;
} catch (const std::exception&) {  // bad_alloc, or length_error of a size that cannot be
    return 1;
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
#define CELL(NAME, CELL, T, BYTES)                                                                                \
    int64_t NAME##_forward_scratch_##BYTES(const Layer<T>* layer) { return Forward<CELL, T>::scratch(*layer); }   \
    int64_t NAME##_backward_scratch_##BYTES(const Layer<T>* layer) { return Backward<CELL, T>::scratch(*layer); } \
    int NAME##_saved_##BYTES() { return CELL::SAVED; }                                                            \
    int NAME##_forward_##BYTES(const Layer<T>* layer) { return run<Forward<CELL, T>>(*layer); }                   \
    int NAME##_backward_##BYTES(const Layer<T>* layer) { return run<Backward<CELL, T>>(*layer); }

#define BOTH(NAME, ...)               \
    CELL(NAME, __VA_ARGS__, float, 4) \
    CELL(NAME, __VA_ARGS__, double, 8)

BOTH(RNN_tanh, Plain<Tanh>)
BOTH(RNN_sigmoid, Plain<Sigmoid>)
BOTH(RNN_relu, Plain<Relu>)
BOTH(LSTM, LSTM)
BOTH(GRU, GRU)
BOTH(GRUResetBefore, GRUResetBefore)
BOTH(MGU, MGU)
BOTH(GRUArticle, GRUArticle)
BOTH(GRUNoReset, GRUNoReset)
}
