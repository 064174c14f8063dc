// The threads of one call. They are torch's own: a second pool beside it would fight for the same cores.
#pragma once
#include <sched.h>

#include <atomic>
#include <thread>

// GNU's OpenMP interface, which LLVM's and Intel's libraries offer too; found at run time in the library that torch has
// loaded, so that nothing is linked twice. Null where there is none: then every call has one thread.
typedef void (*Parallel)(void (*body)(void*), void* data, unsigned threads, unsigned flags);
typedef int (*ThreadNumber)();
extern Parallel gomp_parallel;
extern ThreadNumber omp_thread_number, omp_team_size;

class Team {
  public:
    int size = 1;

    // All threads wait for the last. Spins for a short while, then lets others run: cores may be shared.
    void wait() {
        if (size == 1) return;
        int round = rounds.load(std::memory_order_relaxed);
        if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == size) {
            arrived.store(0, std::memory_order_relaxed);
            rounds.store(round + 1, std::memory_order_release);
            return;
        }
        for (int spins = 0; rounds.load(std::memory_order_acquire) == round; spins++)
            if (spins > 4000) sched_yield();
    }

  private:
    std::atomic<int> arrived{0}, rounds{0};
};

// Calls body(team, thread) on each of `threads` threads.
template <class Body>
void with_team(int threads, Body body) {
    struct Shared {
        Body* body;
        Team team;
        std::atomic<int> sized{0};
    } shared;
    shared.body = &body;
    if (threads <= 1 || !gomp_parallel) {
        body(shared.team, 0);
        return;
    }
    gomp_parallel(
        [](void* data) {
            Shared& mine = *static_cast<Shared*>(data);
            // OpenMP may give fewer threads than asked: the first to come tells the real number
            int none = 0;
            if (omp_thread_number() == 0) {
                mine.team.size = omp_team_size();
                mine.sized.store(1, std::memory_order_release);
            }
            while (mine.sized.load(std::memory_order_acquire) == none) sched_yield();
            (*mine.body)(mine.team, omp_thread_number());
        },
        &shared, static_cast<unsigned>(threads), 0);
}
