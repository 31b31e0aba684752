/* See guard.h.  Handlers leave a kernel by a switch to the host's stack; they never return to the fiber.             */
#include "kernels/sim/guard.h"

#include <unistd.h>

#include "kernels/sim/block.h"

#if !defined(SIMGPU_ASAN) && !defined(SIMGPU_TSAN)

namespace simgpu {

enum { ALARM = SIGURG }; /* ignored by default: one that comes late does no harm */

/* A fault on a fiber is a defect of the kernel; any other ends the process, as without the simulator.                */
static void on_fault(int number, siginfo_t *info, void *) {
    scheduler *s = running_scheduler();
    if (s && s->current)
        kernel_defect("invalid memory access at %p: memory of another device, of the host, freed, or no stack left",
                      info->si_addr);
    signal(number, SIG_DFL);
}

/* On the host's stack the scheduler itself is at work: the next alarm comes soon.                                    */
static void on_alarm(int, siginfo_t *, void *) {
    scheduler *s = running_scheduler();
    if (s && s->current && !s->failed)
        kernel_defect("the kernel does not end: %g s of processor time, a thread spins here or in a loop of collectives",
                      s->watchdog_seconds);
}

static void handle(int number, void (*handler)(int, siginfo_t *, void *), struct sigaction *before) {
    struct sigaction action = {};
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER; /* the handler does not return */
    sigaction(number, &action, before);
}

signal_guard::signal_guard(double watchdog_seconds) : timed(false) {
    stack_t alternate = {};
    alternate.ss_sp = stack;
    alternate.ss_size = sizeof stack;
    sigaltstack(&alternate, &stack_before);
    handle(SIGSEGV, on_fault, &segv_before);
    handle(SIGBUS, on_fault, &bus_before);
    handle(ALARM, on_alarm, &alarm_before);
    if (watchdog_seconds <= 0) return;
    struct sigevent to_this_thread = {};
    to_this_thread.sigev_notify = SIGEV_THREAD_ID;
    to_this_thread.sigev_signo = ALARM;
    to_this_thread._sigev_un._tid = gettid();
    struct itimerspec times = {};
    times.it_value.tv_sec = (time_t)watchdog_seconds;
    times.it_value.tv_nsec = (long)((watchdog_seconds - (double)times.it_value.tv_sec) * 1e9);
    times.it_interval.tv_nsec = 10000000;
    timed = timer_create(CLOCK_THREAD_CPUTIME_ID, &to_this_thread, &timer) == 0;
    if (timed) timer_settime(timer, 0, &times, nullptr);
}

signal_guard::~signal_guard() {
    if (timed) timer_delete(timer);
    sigaction(ALARM, &alarm_before, nullptr);
    sigaction(SIGSEGV, &segv_before, nullptr);
    sigaction(SIGBUS, &bus_before, nullptr);
    sigaltstack(&stack_before, nullptr);
}

} // namespace simgpu

#endif
