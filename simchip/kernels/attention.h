/* What the kernels of tiled attention share: numbers that the host knows too, and the ways to look
 * at a tensor. All tensors are FLOAT32, rows one after the other. */
#ifndef ATTENTION_H
#define ATTENTION_H
#include <string.h>

#include "simchip.h"

enum { FLOAT32 = 0 };

/* Status codes of the runtime, negated. */
enum { FAILED = -1, INVALID_ARGS = -5 };

/* Function ids of the children. */
enum { QK = 0, SOFTMAX = 1, PV = 2, NORMALISE = 3, MERGE = 4, COMBINE = 5 };

/* Flags of a step over keys: its state is not there yet; its result is final. */
enum { FIRST = 1, LAST = 2 };

/* Rows [first, end) of a matrix: what one block works on. */
typedef struct rows {
    uint32_t first, end;
} rows;

static inline rows rows_of(uint32_t block, uint32_t blocks, uint32_t count)
{
    rows part = { (uint32_t)((uint64_t)count * block / blocks),
                  (uint32_t)((uint64_t)count * (block + 1) / blocks) };
    return part;
}

static inline float *floats(const sim_tensor *tensor)
{
    return (float *)tensor->data;
}

/* Whether the tensor is FLOAT32 and has room for so many elements. */
static inline int holds(const sim_tensor *tensor, uint64_t count)
{
    return tensor->dtype == FLOAT32 && (count == 0 || tensor->data != NULL)
        && tensor->bytes / sizeof(float) >= count;
}

static inline int is_vector(const sim_tensor *tensor, uint32_t length)
{
    return tensor->ndims == 1 && tensor->shape[0] == length && holds(tensor, length);
}

static inline int is_matrix(const sim_tensor *tensor, uint32_t height, uint32_t width)
{
    return tensor->ndims == 2 && tensor->shape[0] == height && tensor->shape[1] == width
        && holds(tensor, (uint64_t)height * width);
}

/* A number that travels in the low half of a scalar. */
static inline float as_float(uint64_t scalar)
{
    uint32_t bits = (uint32_t)scalar;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

#endif
