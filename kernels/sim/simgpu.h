/* Control of the simulated GPUs: how many, how large, how fast, in which order things run, what fails, what time it is.
 * The CUDA runtime API is global by nature, so the simulator is too: one instance, made by simgpu_config.            */
#ifndef SIMGPU_H
#define SIMGPU_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* tests reach these in a shared object too */

/* One device.  A rate of 0 costs no time.                                                                            */
typedef struct simgpu_device {
    size_t bytes;           /* device memory: a hard limit */
    double memory_rate;     /* bytes/s of device memory */
    double flop_rate;       /* flop/s */
    double link_rate;       /* bytes/s to and from the host, each direction on its own */
    double peer_rate;       /* bytes/s from another device, with peer access; without it copies take the link twice */
    double launch_seconds;  /* added to every kernel */
    size_t library_bytes;   /* workspace that a plan gives the simulated cuBLAS; 0: there is none */
    size_t library_overhead; /* what its handle takes beside that */
} simgpu_device;

/* Makes n_devices new devices; everything before is dropped: memory, streams, events, faults, clock, reports.  The
 * schedule is forward, peer access is possible.  0 devices: no driver.  Returns 0, or -1 when out of host memory.    */
int simgpu_config_devices(int n_devices, const simgpu_device *devices);
int simgpu_config(int n_devices, size_t bytes); /* equal devices, all rates 0 */

/* Order of threads in a warp, warps in a block, blocks in a grid, streams.  RANDOM also interleaves the streams.     */
typedef enum simgpu_order { SIMGPU_FORWARD, SIMGPU_REVERSE, SIMGPU_RANDOM } simgpu_order;
void simgpu_schedule(simgpu_order order, uint64_t seed);

/* A kernel that runs for so many seconds of processor time never ends, it is a defect (default 60; 0: no limit).      */
void simgpu_watchdog(double seconds);

void simgpu_allow_peers(int allowed); /* what cudaDeviceCanAccessPeer answers */

/* ---- faults: the nth call from now (1 = the next) fails with this cudaError_t; nth 0 disarms ---- */

typedef enum simgpu_fault {
    SIMGPU_FAULT_MALLOC,      /* cudaMalloc */
    SIMGPU_FAULT_HOST_MALLOC, /* cudaMallocHost */
    SIMGPU_FAULT_CREATE,      /* streams, events and graphs */
    SIMGPU_FAULT_LAUNCH,      /* the launch of a kernel or a graph: the call itself */
    SIMGPU_FAULT_COPY,        /* cudaMemcpy*, cudaMemset*: the call itself */
    SIMGPU_FAULT_KERNEL,      /* a kernel while it runs: the error is sticky and shows at a later call */
    SIMGPU_FAULT_KINDS
} simgpu_fault;
void simgpu_fail(simgpu_fault kind, int nth, int error);

/* ---- the virtual clock ---- */

/* Seconds on the host's side: moved on by every call that waits for a device, and by host work.  The critical path
 * through streams, events, copy engines and compute engines; it does not depend on the schedule.                     */
double simgpu_seconds(void);
void simgpu_host_work(double seconds);

/* ---- observation ---- */

typedef struct simgpu_stats {
    uint64_t launches, blocks, threads, switches, barriers, collectives;
    uint64_t live_allocations, live_pinned, live_streams, live_events, live_graphs; /* 0 when nothing leaks */
    uint64_t faults_fired;
} simgpu_stats;
simgpu_stats simgpu_stat(void);
uint64_t simgpu_peak_bytes(int device); /* most bytes allocated at one time */
size_t simgpu_library_overhead(void);   /* of the calling thread's device */

/* The last defect report: what, kernel, block, thread, file:line, who waits where; "" when none.  A defect ends the
 * kernel with a sticky error, as on hardware.  Every report is also passed to the callback (NULL: none).             */
const char *simgpu_report(void);
void simgpu_on_report(void (*callback)(void *user, const char *text), void *user);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
