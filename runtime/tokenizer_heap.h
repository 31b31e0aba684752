/* A heap of candidate merges, least first: rank << 32 | position.  Four children a node: half the levels of a binary
 * heap, a cache line each.  The array is the caller's and never too small.                                            */
#ifndef LR_TOKENIZER_HEAP_H
#define LR_TOKENIZER_HEAP_H

#include <stddef.h>
#include <stdint.h>

static inline void lr_heap_sift_down(uint64_t *heap, size_t n, size_t i) {
    uint64_t key = heap[i];
    for (size_t child; (child = 4 * i + 1) < n; i = child) {
        size_t end = child + 4 < n ? child + 4 : n;
        for (size_t c = child + 1; c < end; c++)
            if (heap[c] < heap[child]) child = c;
        if (key <= heap[child]) break;
        heap[i] = heap[child];
    }
    heap[i] = key;
}

/* Makes a heap of n keys in any order.                                                                                */
static inline void lr_heap_order(uint64_t *heap, size_t n) {
    for (size_t i = n / 4 + 1; n && i-- > 0;)
        if (i < n) lr_heap_sift_down(heap, n, i);
}

static inline void lr_heap_push(uint64_t *heap, size_t *n, uint32_t rank, uint32_t position) {
    uint64_t key = (uint64_t)rank << 32 | position;
    size_t i = (*n)++;
    for (; i > 0 && heap[(i - 1) / 4] > key; i = (i - 1) / 4) heap[i] = heap[(i - 1) / 4];
    heap[i] = key;
}

static inline uint64_t lr_heap_pop(uint64_t *heap, size_t *n) {
    uint64_t key = heap[0];
    heap[0] = heap[--*n];
    if (*n) lr_heap_sift_down(heap, *n, 0);
    return key;
}

#endif
