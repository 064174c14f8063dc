// Layers in float32, and what the library is asked and told once.
#include "entry.h"

Parallel gomp_parallel = nullptr;
ThreadNumber omp_thread_number = nullptr, omp_team_size = nullptr;

extern "C" {

void set_threads(Parallel parallel, ThreadNumber number, ThreadNumber size) {
    gomp_parallel = parallel;
    omp_thread_number = number;
    omp_team_size = size;
}

int vector_bytes() { return VECTOR_BYTES; }

#define IN_FLOAT(NAME, ...) CELL(NAME, __VA_ARGS__, float, false, 4)
EVERY_CELL(IN_FLOAT)
}
