/* The platform of a backend on simulated GPUs (kernels/cuda/parts.h), and its set-up from text:
 *     [N x]SIZE[+LIBRARY[+MORE]][:GBps[:TFLOPS[:LINK_GBps]]][,..]      "2x512M"   "1G:900:80:25,512M:450:40:12"
 * LIBRARY: there is a cuBLAS, which works in so many bytes of the arena, and whose handle takes MORE beside it.
 * SIZE with K M G = 1024^n.  GBps (10^9 bytes/s) of device memory, TFLOPS (10^12 flop/s) of f16 matrix products, GBps of
 * the link to the host and between devices; what is not given is unknown to plans and costs no time.                 */
#include "kernels/cuda/parts.h"
#include "kernels/sim/instance.h"

#include <stdio.h>
#include <stdlib.h>

const char *const platform_name = "sim";
double (*const platform_clock)(void) = simgpu_seconds;
void (*const platform_host_work)(double seconds) = simgpu_host_work;

/* ---- set-up ---- */

enum { MOST_DEVICES = 16 };
static const uint64_t most_bytes = (uint64_t)1 << 40;

/* Reads a number of the text: digits, a point; false: there is none.                                                 */
static bool read_number(const char **text, double *x) {
    char *end;
    if (!(**text >= '0' && **text <= '9')) return false;
    for (const char *c = *text; *c && *c != ',' && *c != ':'; c++)
        if (*c == 'x' || *c == 'e' || *c == 'E' || *c == 'p') return false; /* strtod reads more than decimals */
    *x = strtod(*text, &end);
    *text = end;
    return true;
}

static bool read_size(const char **text, size_t *bytes) {
    double x;
    if (!read_number(text, &x)) return false;
    int shift = **text == 'K' || **text == 'k' ? 10 : **text == 'M' || **text == 'm' ? 20 : **text == 'G' || **text == 'g' ? 30 : 0;
    if (shift) ++*text;
    x *= (double)((uint64_t)1 << shift);
    *bytes = x >= 1 && x <= (double)most_bytes ? (size_t)x : 0;
    return *bytes > 0;
}

/* One item of the list: its device and how many of it.                                                               */
static bool read_device(const char **text, int *n, simgpu_device *d) {
    double rates[3] = { 0, 0, 0 };
    char *end;
    *n = 1;
    if (**text >= '1' && **text <= '9') {
        long count = strtol(*text, &end, 10);
        if (*end == 'x') {
            if (count > MOST_DEVICES) return false;
            *n = (int)count;
            *text = end + 1;
        }
    }
    *d = {};
    if (!read_size(text, &d->bytes)) return false;
    for (size_t *more : { &d->library_bytes, &d->library_overhead })
        if (**text == '+' && !read_size(&++*text, more)) return false;
    for (int i = 0; i < 3 && **text == ':'; i++) {
        ++*text;
        if (!read_number(text, &rates[i])) return false;
    }
    d->memory_rate = rates[0] * 1e9;
    d->flop_rate = rates[1] * 1e12;
    d->link_rate = d->peer_rate = rates[2] * 1e9;
    return **text == 0 || **text == ',';
}

static bool read_devices(const char *text, std::vector<simgpu_device> *devices) {
    for (;;) {
        simgpu_device d;
        int n;
        if (!read_device(&text, &n, &d)) return false;
        devices->insert(devices->end(), (size_t)n, d);
        if (devices->size() > MOST_DEVICES) return false;
        if (*text == 0) return true;
        text++;
    }
}

/* The same text again keeps the devices, with what tests have armed on them; another makes new ones.                 */
bool platform_waits(int) { return false; } /* kernels run one after another */

llmrun_status platform_set_up(const lr_backend_host *services, const char *config, int n_open, llmrun_error *err) {
    static std::mutex lock;
    static std::string current;
    std::lock_guard<std::mutex> guard(lock);
    std::vector<simgpu_device> devices;
    std::string text = config ? config : "";
    if (simgpu::simulator && text == current) return LLMRUN_OK;
    if (!read_devices(text.c_str(), &devices))
        return services->fail(err, LLMRUN_ARG,
                              "sim: expected simulated GPUs as [N x]SIZE[:GBps[:TFLOPS[:LINK_GBps]]][,..], such as "
                              "2x512M, at most %d, got \"%.100s\"",
                              (int)MOST_DEVICES, text.c_str());
    if (n_open > 0)
        return services->fail(err, LLMRUN_ARG, "sim: %d devices of \"%.100s\" are open, they cannot become \"%.100s\"",
                              n_open, current.c_str(), text.c_str());
    if (simgpu_config_devices((int)devices.size(), devices.data()) != 0) {
        current.clear();
        return services->fail(err, LLMRUN_NOMEM, "sim: the system does not reserve addresses for \"%.100s\"",
                              text.c_str());
    }
    current = text;
    return LLMRUN_OK;
}

/* ---- the rest ---- */

static const simgpu_device &spec(int index) { return simgpu::simulator->devices[(size_t)index].spec; }

static void fill_rates(int index, lr_device_info *info) {
    info->read_bytes_per_s = spec(index).memory_rate;
    info->flops_per_s = spec(index).flop_rate;
    info->link_bytes_per_s = spec(index).link_rate;
}

cudaError_t platform_describe(int index, int, lr_device_info *info) {
    simgpu::api_call call;
    info->free_bytes = info->total_bytes - simgpu::simulator->devices[(size_t)index].used;
    info->granule_bytes = 256;
    info->overhead_bytes = 0;
    info->library_bytes = spec(index).library_bytes;
    fill_rates(index, info);
    return cudaSuccess;
}

uint64_t platform_used_bytes(const lr_device *d) {
    simgpu::api_call call;
    return simgpu::simulator->devices[(size_t)d->index].used;
}

bool platform_rates(const lr_device *d, lr_device_info *rates) {
    simgpu::api_call call;
    fill_rates(d->index, rates);
    return true;
}

cudaError_t platform_arena_open(lr_device *d, uint64_t bytes) { return cudaMalloc(&d->arena, bytes); }
cudaError_t platform_arena_close(lr_device *d) { return cudaFree(d->arena); }

void platform_join(lr_device *d, lr_device *from) {
    int reaches = 0;
    if (cudaDeviceCanAccessPeer(&reaches, d->index, from->index) == cudaSuccess && reaches)
        cudaDeviceEnablePeerAccess(from->index, 0);
    cudaGetLastError(); /* enabled already */
}

/* Where a kernel broke: the first line of the last report.                                                           */
const char *platform_detail(cudaError_t e) {
    if (e != cudaErrorLaunchFailure && e != cudaErrorIllegalAddress) return "";
    static thread_local char line[256];
    snprintf(line, sizeof line, "%.*s", (int)strcspn(simgpu_report(), "\n"), simgpu_report());
    return line;
}
