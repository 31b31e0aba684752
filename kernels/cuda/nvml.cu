/* NVML at run time.  See nvml.h.  The declarations are those of nvml.h in its ABI that has not changed since CUDA 11. */
#include "kernels/cuda/nvml.h"

#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

typedef struct nvmlDevice_st *nvml_device;
struct nvml_memory_info {
    unsigned long long total, free, used;
};
struct nvml_process {
    unsigned pid;
    unsigned long long used_bytes;
    unsigned gpu_instance, compute_instance;
};
enum { NVML_SUCCESS = 0, MAX_PROCESSES = 256 };

static struct {
    int (*init)(void);
    int (*handle)(const char *bus_id, nvml_device *device);
    int (*memory)(nvml_device device, nvml_memory_info *info);
    int (*processes)(nvml_device device, unsigned *n, nvml_process *list);
    bool works;
} nvml;

template <class Function> static bool find(void *library, const char *name, Function *function) {
    *function = (Function)dlsym(library, name);
    return *function != nullptr;
}

/* Stays loaded and initialized: the next question comes soon.                                                        */
static void load(void) {
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    nvml.works = library && find(library, "nvmlInit_v2", &nvml.init) &&
                 find(library, "nvmlDeviceGetHandleByPciBusId_v2", &nvml.handle) &&
                 find(library, "nvmlDeviceGetMemoryInfo", &nvml.memory) &&
                 find(library, "nvmlDeviceGetComputeRunningProcesses_v3", &nvml.processes) &&
                 nvml.init() == NVML_SUCCESS;
}

static bool device_at(const char *bus_id, nvml_device *device) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    return nvml.works && nvml.handle(bus_id, device) == NVML_SUCCESS;
}

bool nvml_memory(const char *bus_id, uint64_t *free_bytes, uint64_t *total_bytes) {
    nvml_device device;
    nvml_memory_info info;
    if (!device_at(bus_id, &device) || nvml.memory(device, &info) != NVML_SUCCESS) return false;
    *free_bytes = info.free;
    *total_bytes = info.total;
    return true;
}

/* In a container the driver may know this process by another number: a process that is alone there is this one.      */
uint64_t nvml_used_bytes(const char *bus_id) {
    nvml_device device;
    nvml_process list[MAX_PROCESSES];
    unsigned n = MAX_PROCESSES;
    if (!device_at(bus_id, &device) || nvml.processes(device, &n, list) != NVML_SUCCESS) return 0;
    for (unsigned i = 0; i < n; i++)
        if (list[i].pid == (unsigned)getpid() || n == 1)
            return list[i].used_bytes == ~0ull ? 0 : list[i].used_bytes; /* all ones: not available */
    return 0;
}
