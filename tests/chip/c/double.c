/* A host runtime that writes down how it is called, to the file DOUBLE_LOG. What it returns is in
 * the environment: DOUBLE_NULL, DOUBLE_SIZE, DOUBLE_SET_DEVICE, DOUBLE_RUN, DOUBLE_FINALIZE. With
 * -DWITHOUT_x it lacks the function x; with -DNEEDS_CONTEXT it needs a simulation context. */
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char context;

static void note(const char *format, ...) {
    const char *path = getenv("DOUBLE_LOG");
    int file = path ? open(path, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
    if (file < 0)
        return;
    va_list list;
    va_start(list, format);
    vdprintf(file, format, list);
    va_end(list);
    close(file);
}

static long number(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text ? atol(text) : otherwise;
}

__attribute__((unused)) static void bytes(const char *name, const uint8_t *first, size_t size) {
    char *text = malloc(2 * size + 1);
    for (size_t i = 0; i < size; i++)
        sprintf(text + 2 * i, "%02x", first[i]);
    note("%s %s\n", name, size ? text : "-");
    free(text);
}

__attribute__((constructor)) static void load(void) { note("load\n"); }
__attribute__((destructor)) static void unload(void) { note("unload\n"); }

#ifdef NEEDS_CONTEXT
int simulation_context(void);
#endif

#ifndef WITHOUT_create_device_context
void *create_device_context(void) {
    note("create_device_context\n");
#ifdef NEEDS_CONTEXT
    note("simulation context %d\n", simulation_context());
#endif
    return number("DOUBLE_NULL", 0) ? NULL : &context;
}
#endif

#ifndef WITHOUT_destroy_device_context
void destroy_device_context(void *given) {
    note("destroy_device_context%s\n", given == &context ? "" : " of another context");
}
#endif

#ifndef WITHOUT_get_runtime_size
size_t get_runtime_size(void) {
    note("get_runtime_size\n");
    return (size_t)number("DOUBLE_SIZE", 1000);
}
#endif

#ifndef WITHOUT_set_device
int set_device(void *given, int device) {
    note("set_device %d%s\n", device, given == &context ? "" : " of another context");
    return (int)number("DOUBLE_SET_DEVICE", 0);
}
#endif

#ifndef WITHOUT_run_runtime
int run_runtime(void *given, void *buffer, void *callable, void *args, int block_dim,
                int aicpu_thread_num, int device, const uint8_t *aicpu, size_t aicpu_size,
                const uint8_t *aicore, size_t aicore_size, int profiling, int dump) {
    size_t size = (size_t)number("DOUBLE_SIZE", 1000), used = 0;
    for (size_t i = 0; i < size; i++)
        used += ((uint8_t *)buffer)[i] != 0;
    memset(buffer, 0xff, size);
    note("run_runtime%s\n", given == &context ? "" : " of another context");
    note("numbers %d %d %d %d %d\n", block_dim, aicpu_thread_num, device, profiling, dump);
    note("buffer at %d of 64, %zu bytes used\n", (int)((uintptr_t)buffer % 64), used);
    bytes("aicpu", aicpu, aicpu_size);
    bytes("aicore", aicore, aicore_size);
    bytes("callable", callable, (size_t)number("DOUBLE_CALLABLE", 0));
    note("callable at %d of 64\n", (int)((uintptr_t)callable % 64));
    bytes("args", args, 1672);
    return (int)number("DOUBLE_RUN", 0);
}
#endif

#ifndef WITHOUT_finalize_device
int finalize_device(void *given) {
    note("finalize_device%s\n", given == &context ? "" : " of another context");
    return (int)number("DOUBLE_FINALIZE", 0);
}
#endif
