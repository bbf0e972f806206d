// A heat equation on two worker processes: tiles of a rod, each step of a tile one task that waits
// for its neighbours' last step; two steps are recorded, and replayed. Then a step whose function
// throws.
//
//     c++ -std=c++17 stencil.cpp $(pkg-config --cflags --libs mailring) -o stencil && ./stencil
#include <mailring.hpp>

#include <cmath>
#include <cstdio>

namespace {

constexpr std::uint32_t tiles = 8, width = 100, cells = tiles * width;
constexpr int steps = 100;

// One step of one tile: arguments are the old rod with one cell to each side, and the new tile.
void step(const mailring::view &args, const mailring::context &) {
    const auto old = args.elements<const double>(0);
    const auto now = args.elements<double>(1);
    if (old.size() != now.size() + 2) {
        throw std::invalid_argument("a tile of " + std::to_string(now.size()) + " cells needs " +
                                    std::to_string(now.size() + 2) + " old ones, not " +
                                    std::to_string(old.size()));
    }
    for (std::size_t i = 0; i < now.size(); i++) {
        now[i] = old[i + 1] + 0.25 * (old[i] - 2 * old[i + 1] + old[i + 2]);
    }
}

} // namespace

int main() try {
    mailring::builder builder(mailring::options().workers(2));
    const mr_callable stepper = builder.add("step", step);
    mailring::executor exec(std::move(builder));

    // Two rods that take turns, with a fixed cell at each end.
    mailring::buffer<double> rods[2] = {{exec, {cells + 2}}, {exec, {cells + 2}}};
    for (auto &rod : rods) {
        rod[0] = 1;
    }
    const mailring::recording two = exec.record([&](mailring::run &run) {
        mailring::args args;
        for (int i = 0; i < 2; i++) {
            for (std::uint32_t tile = 0; tile < tiles; tile++) {
                args.clear();
                args.input(rods[i % 2].part(tile * width, {width + 2}));
                args.output_existing(rods[(i + 1) % 2].part(tile * width + 1, {width}));
                run.submit(stepper, args);
            }
        }
    });
    exec.run([&](mailring::run &run) {
        for (int i = 2; i < steps; i += 2) {
            run.replay(two);
        }
    });

    // The same in this process.
    std::vector<double> old(cells + 2), now(cells + 2);
    old[0] = now[0] = 1;
    for (int i = 0; i < steps; i++, std::swap(old, now)) {
        for (std::uint32_t x = 1; x <= cells; x++) {
            now[x] = old[x] + 0.25 * (old[x - 1] - 2 * old[x] + old[x + 1]);
        }
    }
    double worst = 0;
    for (std::uint32_t x = 0; x < cells + 2; x++) {
        worst = std::fmax(worst, std::fabs(old[x] - rods[steps % 2][x]));
    }
    std::printf("%d steps of %u tiles: largest difference %g\n", steps, tiles, worst);

    try {
        exec.run([&](mailring::run &run) {
            run.submit(stepper, mailring::args().input(rods[0]).output_existing(rods[1]));
        });
    } catch (const mailring::task_error &failed) {
        std::printf("`%s` failed on worker %d: %s\n", failed.name.c_str(), failed.worker,
                    failed.message.c_str());
    }
    return worst == 0 ? 0 : 1;
} catch (const std::exception &error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
}
