/* What the test programs have in common. A failed check ends the program with 1. */
#ifndef CHECK_H
#define CHECK_H

#include <inttypes.h>
#include <mailring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(condition)                                                                          \
    do {                                                                                          \
        if (!(condition)) {                                                                       \
            fprintf(stderr, "%s:%d: not so: %s\n    last error: %s\n", __FILE__, __LINE__,        \
                    #condition, mr_last_error());                                                 \
            _exit(1);                                                                             \
        }                                                                                         \
    } while (0)

/* The call succeeds. */
#define OK(call)                                                                                  \
    do {                                                                                          \
        mr_status status_ = (call);                                                               \
        if (status_ != MR_OK) {                                                                   \
            fprintf(stderr, "%s:%d: %s: %s: %s\n", __FILE__, __LINE__, #call,                     \
                    mr_status_name(status_), mr_last_error());                                    \
            _exit(1);                                                                             \
        }                                                                                         \
    } while (0)

/* The call fails with this status, and its text holds this part. */
#define FAILS(status, part, call)                                                                 \
    do {                                                                                          \
        mr_status status_ = (call);                                                               \
        if (status_ != (status) || strstr(mr_last_error(), part) == NULL) {                       \
            fprintf(stderr, "%s:%d: %s: expected %s with \"%s\", not %s: %s\n", __FILE__,         \
                    __LINE__, #call, #status, part, mr_status_name(status_), mr_last_error());    \
            _exit(1);                                                                             \
        }                                                                                         \
    } while (0)

#define UNUSED(x) ((void)(x))

/* A small executor for tests. */
static inline mr_options small(uint64_t workers) {
    mr_options options;
    OK(mr_options_init(&options));
    options.workers = workers;
    options.slot_window = 256;
    options.heap_bytes = 1 << 20;
    options.buffer_bytes = 1 << 20;
    options.grace_ns = 300000000;
    return options;
}

static inline mr_tensor at(uint64_t address) {
    mr_tensor tensor;
    OK(mr_tensor_init(&tensor, (void *)(uintptr_t)address, MR_UINT64, NULL, 0));
    return tensor;
}

/* Words of shared memory. */
static inline uint64_t *words(mr_executor *exec, uint32_t count, mr_buffer **buffer) {
    void *data;
    OK(mr_buffer_new(exec, MR_UINT64, &count, 1, buffer));
    OK(mr_buffer_data(*buffer, &data, NULL));
    return (uint64_t *)data;
}

/* A shared word that others write meanwhile. */
static inline uint64_t look(const uint64_t *word) {
    return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

static inline void await(const uint64_t *word, uint64_t least) {
    int rounds = 0;
    while (look(word) < least) {
        CHECK(rounds++ < 200000);
        usleep(100);
    }
}

#endif
