/* Signals while a kernel runs: a bad address and a kernel that never ends become defects of the kernel.  The sanitizers
 * have handlers of their own, in their builds the guard does nothing.                                                */
#ifndef SIMGPU_GUARD_H
#define SIMGPU_GUARD_H

#include <signal.h>
#include <time.h>

#include "kernels/sim/dialect.h"

namespace simgpu {

#if defined(SIMGPU_ASAN) || defined(SIMGPU_TSAN)
struct signal_guard {
    explicit signal_guard(double) {}
    ~signal_guard() {}
};
#else
struct signal_guard {
    explicit signal_guard(double watchdog_seconds); /* processor time of this thread; 0: no limit */
    ~signal_guard();

  private:
    struct sigaction segv_before, bus_before, alarm_before;
    stack_t stack_before;
    timer_t timer;
    bool timed;
    char stack[32 << 10];
};
#endif

} // namespace simgpu

#endif
