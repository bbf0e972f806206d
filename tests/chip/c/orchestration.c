/* Orchestration functions; which one runs is the callable's func_name. */
#include "kernels.h"
#include <string.h>

enum { ADD = 10, SCALE = 11, COUNT = 12 };

int add(const sim_task *task) {
    return task->launch(task, ADD, (uint32_t)task->block_dim, task->tensors, task->tensor_count,
                        NULL, 0);
}

int scale(const sim_task *task) {
    return task->launch(task, SCALE, (uint32_t)task->block_dim, task->tensors, task->tensor_count,
                        task->scalars, task->scalar_count);
}

/* (t0 + t1) * s0 into t2, by way of device memory that the host never sees. */
int add_scale(const sim_task *task) {
    sim_tensor sum = task->tensors[2];
    sum.data = task->scratch(task, sum.bytes);
    if (!sum.data)
        return -2;
    sim_tensor three[3] = {task->tensors[0], task->tensors[1], sum};
    int code = task->launch(task, ADD, 3, three, 3, NULL, 0);
    if (!code)
        code = task->launch(task, SCALE, 5, &sum, 1, task->scalars, 1);
    if (!code)
        memcpy(task->tensors[2].data, sum.data, sum.bytes);
    return code;
}

/* Adds 1 to every byte of every tensor, then returns scalar 0 (as a signed number). */
int touch(const sim_task *task) {
    for (uint32_t t = 0; t < task->tensor_count; t++)
        for (uint64_t i = 0; i < task->tensors[t].bytes; i++)
            ((uint8_t *)task->tensors[t].data)[i]++;
    return task->scalar_count ? (int)(int64_t)task->scalars[0] : 0;
}

/* Tensor 0: what the task says of itself and of its last tensor. */
int look(const sim_task *task) {
    uint64_t *out = task->tensors[0].data;
    const sim_tensor *last = &task->tensors[task->tensor_count - 1];
    out[0] = task->tensor_count, out[1] = task->scalar_count;
    out[2] = (uint64_t)task->block_dim, out[3] = (uint64_t)task->device;
    out[4] = last->bytes, out[5] = last->ndims, out[6] = last->dtype;
    for (int d = 0; d < 5; d++)
        out[7 + d] = last->shape[d];
    out[12] = (uintptr_t)last->data % 64;
    out[13] = task->scalar_count ? task->scalars[task->scalar_count - 1] : 0;
    return 0;
}

/* Tensor 0: a number that static data of orchestration and child have counted to. */
int count(const sim_task *task) {
    static uint64_t calls;
    ((uint64_t *)task->tensors[0].data)[0] = ++calls;
    return task->launch(task, COUNT, 1, task->tensors, 1, NULL, 0);
}

/* What scalar 0 asks for: something that is not allowed, or the end of the process. */
int misbehave(const sim_task *task) {
    sim_tensor host = task->tensors[0];
    switch (task->scalars[0]) {
    case 0: return task->launch(task, 99, 1, task->tensors, 1, NULL, 0);
    case 1: return task->launch(task, SCALE, 0, task->tensors, 1, task->scalars, 1);
    case 2: host.data = &host; return task->launch(task, SCALE, 1, &host, 1, task->scalars, 1);
    case 3: host.bytes += 1 << 20; return task->launch(task, SCALE, 1, &host, 1, task->scalars, 1);
    case 4: return task->launch(task, SCALE, 1, NULL, 1, task->scalars, 1);
    case 5: return task->launch(task, SCALE, 1, task->tensors, 1, NULL, 1);
    case 6: return task->launch(NULL, SCALE, 1, task->tensors, 1, task->scalars, 1);
    case 7: return 7;
    case 8: return task->scratch(task, UINT64_MAX) ? 0 : -2;
    case 9: return task->scratch(task, 2u << 30) ? 0 : -2;
    case 10: return task->launch(task, ADD, 1, task->tensors, 1, NULL, 0); /* returns -5 */
    case 100: *(volatile int *)8 = 1; return 0;
    default: return 0;
    }
}
