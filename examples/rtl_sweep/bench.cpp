// The test bench of dot.v: a memory that answers in order after a latency that depends on the workload.
// Prints "cycles N" when the sum is what it must be.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>

#include "Vdot.h"
#include "verilated.h"

double sc_time_stamp() { return 0; }

static uint32_t next(uint32_t &state) {
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

// LANES bytes from a port of any width.
template <class Port> static void put(Port &port, const uint8_t *bytes) {
    memset(&port, 0, sizeof port);
    memcpy(&port, bytes, LANES);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s near|far|jitter\n", argv[0]);
        return 2;
    }
    const bool far = !strcmp(argv[1], "far"), jitter = !strcmp(argv[1], "jitter");
    if (!far && !jitter && strcmp(argv[1], "near")) {
        fprintf(stderr, "unknown workload %s\n", argv[1]);
        return 2;
    }
    const uint32_t elements = 1 << 16, words = elements / LANES;
    struct Answer {
        uint64_t due;
        uint32_t word;
    };
    std::deque<Answer> memory;
    uint8_t *a = new uint8_t[elements], *b = new uint8_t[elements];
    uint32_t state = 12345;
    uint64_t expected = 0, cycle = 0, last = 0;
    for (uint32_t i = 0; i < elements; i++) {
        a[i] = next(state);
        b[i] = next(state);
        expected += uint64_t(a[i]) * b[i];
    }

    Vdot dot;
    auto tick = [&] {
        dot.clk = 0;
        dot.eval();
        dot.clk = 1;
        dot.eval();
        cycle++;
    };
    dot.reset = 1;
    tick();
    dot.reset = 0;
    dot.start = 1;
    dot.words = words;
    tick();
    dot.start = 0;
    cycle = 0;
    for (;;) {
        const bool answers = !memory.empty() && memory.front().due <= cycle;
        dot.response = answers;
        if (answers) {
            put(dot.a, a + uint64_t(memory.front().word) * LANES);
            put(dot.b, b + uint64_t(memory.front().word) * LANES);
            memory.pop_front();
        }
        dot.accepted = 1;
        dot.clk = 0;
        dot.eval();
        if (dot.done) break;
        if (dot.request) {
            const uint64_t latency = far ? 24 : jitter ? 1 + next(state) % 31 : 4;
            last = cycle + latency > last ? cycle + latency : last + 1; // answers come in order
            memory.push_back({last, dot.address});
        }
        dot.clk = 1;
        dot.eval();
        cycle++;
    }
    if (dot.sum != expected) {
        fprintf(stderr, "the sum is %llu, not %llu\n", (unsigned long long)dot.sum,
                (unsigned long long)expected);
        return 1;
    }
    printf("cycles %llu\n", (unsigned long long)cycle);
    return 0;
}
