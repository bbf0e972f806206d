/* Orchestration of tiled attention: what the callables of this binary launch, and on what.
 *
 *   attend   qk -> softmax -> pv for every tile of the keys, then maybe normalise
 *   merge    merge, then maybe normalise
 *   combine  combine
 *
 * Kernels check the shapes they are given. */
#include "attention.h"

static int launch(const sim_task *task, int32_t child, uint32_t height, const sim_tensor *tensors,
                  uint32_t tensor_count, const uint64_t *scalars, uint32_t scalar_count)
{
    uint32_t blocks = task->block_dim > 0 ? (uint32_t)task->block_dim : 1;
    if (blocks > height)
        blocks = height;
    if (blocks == 0)
        return 0;
    return task->launch(task, child, blocks, tensors, tensor_count, scalars, scalar_count);
}

static sim_tensor shaped(void *data, uint32_t height, uint32_t width)
{
    sim_tensor tensor = { .data = data,
                          .bytes = (uint64_t)height * width * sizeof(float),
                          .shape = { height, width },
                          .ndims = 2,
                          .dtype = FLOAT32 };
    return tensor;
}

static int normalise(const sim_task *task, const sim_tensor *o, const sim_tensor *l)
{
    const sim_tensor tensors[] = { *o, *l };
    return launch(task, NORMALISE, o->shape[0], tensors, 2, NULL, 0);
}

/* tensors: Q [rows, dim], K [keys, dim], V [keys, dim], O [rows, dim], m [rows], l [rows];
 * scalars: scale, flags, keys of a tile */
int attend(const sim_task *task)
{
    if (task->tensor_count != 6 || task->scalar_count != 3)
        return INVALID_ARGS;
    const sim_tensor *q = &task->tensors[0], *k = &task->tensors[1], *v = &task->tensors[2];
    const sim_tensor *o = &task->tensors[3], *m = &task->tensors[4], *l = &task->tensors[5];
    uint32_t height = q->shape[0], dim = q->shape[1], keys = k->shape[0];
    if (!is_matrix(q, height, dim) || !is_matrix(k, keys, dim) || !is_matrix(v, keys, dim))
        return INVALID_ARGS;
    uint64_t flags = task->scalars[1], tile = task->scalars[2];
    if (tile == 0 || keys == 0)
        return INVALID_ARGS;
    if (tile > keys)
        tile = keys;
    void *score_memory = task->scratch(task, height * tile * sizeof(float));
    void *fade_memory = task->scratch(task, height * sizeof(float));
    if (score_memory == NULL || fade_memory == NULL)
        return FAILED;
    sim_tensor fade = { .data = fade_memory,
                        .bytes = height * sizeof(float),
                        .shape = { height },
                        .ndims = 1,
                        .dtype = FLOAT32 };
    for (uint64_t first = 0; first < keys; first += tile) {
        uint32_t width = (uint32_t)(keys - first < tile ? keys - first : tile);
        uint64_t skipped = first * dim;
        sim_tensor scores = shaped(score_memory, height, width);
        sim_tensor k_tile = shaped(floats(k) + skipped, width, dim);
        sim_tensor v_tile = shaped(floats(v) + skipped, width, dim);
        uint64_t step = first == 0 ? flags & FIRST : 0;
        const sim_tensor of_qk[] = { *q, k_tile, scores };
        const sim_tensor of_softmax[] = { scores, *m, *l, fade };
        const sim_tensor of_pv[] = { scores, v_tile, fade, *o };
        int failed = launch(task, QK, height, of_qk, 3, task->scalars, 1);
        if (failed == 0)
            failed = launch(task, SOFTMAX, height, of_softmax, 4, &step, 1);
        if (failed == 0)
            failed = launch(task, PV, height, of_pv, 4, &step, 1);
        if (failed != 0)
            return failed;
    }
    return flags & LAST ? normalise(task, o, l) : 0;
}

/* tensors: O, m, l of one state, which takes in O, m, l of another;  scalars: flags */
int merge(const sim_task *task)
{
    if (task->tensor_count != 6 || task->scalar_count != 1)
        return INVALID_ARGS;
    uint32_t height = task->tensors[0].shape[0];
    int failed = launch(task, MERGE, height, task->tensors, 6, NULL, 0);
    if (failed != 0 || !(task->scalars[0] & LAST))
        return failed;
    return normalise(task, &task->tensors[0], &task->tensors[2]);
}

/* tensors: partial O [members, rows, dim], weights [members, rows], O [rows, dim];  no scalars */
int combine(const sim_task *task)
{
    if (task->tensor_count != 3 || task->scalar_count != 0)
        return INVALID_ARGS;
    return launch(task, COMBINE, task->tensors[2].shape[0], task->tensors, 3, NULL, 0);
}
