/* What NVML, the driver's management library, says of a device without a context.  It is opened at run time: all
 * functions answer false or 0 where it is missing.                                                                   */
#ifndef LR_CUDA_NVML_H
#define LR_CUDA_NVML_H

#include <stdint.h>

/* bus_id: as cudaDeviceGetPCIBusId writes it.                                                                        */
bool nvml_memory(const char *bus_id, uint64_t *free_bytes, uint64_t *total_bytes);
/* Bytes that this process has on the device; 0: not known.                                                           */
uint64_t nvml_used_bytes(const char *bus_id);

#endif
