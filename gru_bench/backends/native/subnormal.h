// Subnormal numbers, below 1.2e-38 in float32, count as zero while a call runs: what is read as well as what is computed.
//
// Gradients that vanish over many steps, or behind saturated gates, become subnormal before they are zero, and a
// processor computes with such numbers tens of times slower. What they add to a sum is below anything that a float32 of
// ordinary size can hold. One thing is not small: a ReLU whose input is subnormal has the slope of one at zero.
#pragma once
#include <cstdint>

namespace {

// Sets the mode of this thread, and puts back what its owner had. Each thread of a team has a mode of its own.
class NoSubnormals {
  public:
    NoSubnormals() : before(read() & ZERO) { write(read() | ZERO); }
    ~NoSubnormals() { write((read() & ~ZERO) | before); }  // what else was noted meanwhile, as an overflow, stays
    NoSubnormals(const NoSubnormals&) = delete;
    NoSubnormals& operator=(const NoSubnormals&) = delete;

  private:
    // The compiler does not know that arithmetic depends on these; that none of it moves past them follows from the
    // memory that it reads and writes.
    // GRU_BENCH_KEEP_SUBNORMALS is there to measure what this class gains, and to show what it changes.
#if defined(__x86_64__) && !defined(GRU_BENCH_KEEP_SUBNORMALS)
    typedef uint32_t Mode;
    static constexpr Mode ZERO = 0x8040;  // MXCSR: flush to zero, denormals are zero
    static Mode read() {
        Mode mode;
        asm volatile("stmxcsr %0" : "=m"(mode) : : "memory");
        return mode;
    }
    static void write(Mode mode) { asm volatile("ldmxcsr %0" : : "m"(mode) : "memory"); }
#elif defined(__aarch64__) && !defined(GRU_BENCH_KEEP_SUBNORMALS)
    typedef uint64_t Mode;
    static constexpr Mode ZERO = Mode(1) << 24;  // FPCR: both
    static Mode read() {
        Mode mode;
        asm volatile("mrs %0, fpcr" : "=r"(mode) : : "memory");
        return mode;
    }
    static void write(Mode mode) { asm volatile("msr fpcr, %0" : : "r"(mode) : "memory"); }
#else
    typedef uint32_t Mode;
    static constexpr Mode ZERO = 0;
    static Mode read() { return 0; }
    static void write(Mode) {}
#endif

    const Mode before;
};

}  // namespace
