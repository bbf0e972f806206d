/* A simulation context: a symbol that a runtime looks for, and a count of how often it was loaded,
 * kept where it survives the library. */
#include <stdio.h>
#include <stdlib.h>

static int loads;

__attribute__((constructor)) static void load(void) {
    const char *count = getenv("CONTEXT_LOADS");
    char text[16];
    loads = 1 + (count ? atoi(count) : 0);
    snprintf(text, sizeof text, "%d", loads);
    setenv("CONTEXT_LOADS", text, 1);
}

int simulation_context(void) { return loads; }
