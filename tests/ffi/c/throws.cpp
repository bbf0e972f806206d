// The layer for C++. Exceptions: it keeps them out of C; raw ones end the worker, not the host.
// argv[1], if given, is a host runtime made from host.c, which also serves as the binaries.
#include <mailring.hpp>

#include "check.h"

#include <array>
#include <atomic>
#include <sys/mman.h>
#include <sys/stat.h>

namespace {

int raw_throw(const mr_task_args_view *, const mr_call_config *, const mr_task_context *, void *) {
    throw std::runtime_error("nobody catches this");
}

struct odd {};

template <class E, class F> E caught(F &&f) {
    try {
        f();
    } catch (const E &error) {
        return error;
    }
    CHECK(!"it should have thrown");
    std::abort();
}

mailring::options small_options(std::uint64_t workers) {
    mailring::options options = mailring::options().workers(workers).slot_window(256);
    options.raw.heap_bytes = options.raw.buffer_bytes = 1 << 20;
    return options;
}

void in_mode(bool threads) {
    mailring::options options = small_options(2);
    options.raw.mode = threads ? MR_MODE_THREAD : MR_MODE_PROCESS;
    mailring::builder builder(options);
    int captured = 5;
    const mr_callable sets = builder.add("sets", [captured](const mailring::view &args,
                                                            const mailring::context &context) {
        args.elements<std::int32_t>(0)[context.member()] = captured;
    });
    const mr_callable throws = builder.add("throws", [](const mailring::view &args,
                                                        const mailring::context &) {
        if (args.scalars() == 0) {
            throw odd();
        }
        args.scalar(7);
    });
    const mr_callable meets = builder.add("meets", [](const mailring::view &args,
                                                      const mailring::context &context) {
        context.fetch_add(0, context.member() + 1);
        context.barrier();
        args.elements<std::int32_t>(0)[context.member()] =
            static_cast<std::int32_t>(context.load(0));
    });
    mr_callable raw = 0;
    mailring::check(mr_register(builder.get(), "raw", raw_throw, nullptr, &raw));
    CHECK(caught<mailring::error>([&] { builder.add("raw", nullptr); }).status() ==
          MR_ERR_DUPLICATE);

    mailring::executor exec(std::move(builder));
    mailring::buffer<std::int32_t> buffer(exec, {2});
    CHECK(exec.workers() == 2 && exec.workers(MR_SUB) == 0 && buffer.size() == 2);
    exec.run([&](mailring::run &run) {
        mr_task task = run.submit(sets, mailring::args().output(buffer.part(0, {1})));
        run.wait(task);
        CHECK(buffer[0] == 5);
        mailring::args args;
        args.no_dep(buffer);
        run.submit_group(meets, {&args, &args});
    });
    CHECK(buffer[0] == 3 && buffer[1] == 3);

    auto failed = caught<mailring::task_error>([&] {
        exec.run([&](mailring::run &run) { run.submit(throws, mailring::args().scalar(1)); });
    });
    CHECK(failed.message == "no such scalar (it returned 1)" && failed.name == "throws");
    CHECK(failed.kind == MR_FAILURE_ERROR && failed.worker >= 0 && failed.member == -1);
    failed = caught<mailring::task_error>([&] {
        exec.run([&](mailring::run &run) { run.submit(throws, mailring::args()); });
    });
    CHECK(failed.message == "an exception that is not a std::exception (it returned 1)");

    // One that leaves the function of a run: its tasks end first, then it arrives as it is.
    buffer[0] = 0;
    caught<odd>([&] {
        exec.run([&](mailring::run &run) {
            run.scope([&](mailring::run &inner) {
                inner.submit(sets, mailring::args().output(buffer.part(0, {1})));
                throw odd();
            });
        });
    });
    CHECK(buffer[0] == 5);

    // Shapes of many kinds, memory that others share, a scope that is cancelled.
    const std::vector<std::uint32_t> two{2};
    mailring::buffer<std::int32_t> other(exec, two);
    CHECK(other.size() == 2 && mailring::tensor<double>(std::array<std::uint32_t, 2>{3, 4}).ndims == 2);
    CHECK(caught<mailring::error>([&] {
              mailring::tensor<float>(std::vector<std::uint32_t>(6, 1));
          }).status() == MR_ERR_ARGUMENT);
    const int file = memfd_create("shared", MFD_CLOEXEC);
    CHECK(file >= 0 && ftruncate(file, 4096) == 0);
    auto shared = mailring::buffer<std::int32_t>::import(exec, file, {8});
    CHECK(close(file) == 0 && shared.size() == 8);
    exec.run([&](mailring::run &run) {
        const mr_task task = run.submit(sets, mailring::args().output_existing(shared.part(3, two)));
        while (!run.wait_for(task, std::chrono::milliseconds(1))) {
        }
        CHECK(shared[3] == captured && !run.failed());
        run.scope([&](mailring::run &inner) { CHECK(inner.cancel_scope() == 0); });
    });

    // By hand, with time-outs.
    mailring::run run = exec.begin();
    const mr_tensor made = run.output(
        run.submit(sets, mailring::args().output(mailring::tensor<std::int32_t>({3}))));
    CHECK(made.data != 0 && made.shapes[0] == 3);
    CHECK(run.alloc<float>({2, 2}).ndims == 2);
    mailring::pending pending = run.detach();
    while (!pending.wait_for(std::chrono::milliseconds(1))) {
    }
    pending.wait();
    CHECK(pending.fd() > 2 && !pending.failed());
    CHECK(pending.done() && pending.cancel() == 0);
    CHECK(caught<std::out_of_range>([&] { buffer.part(1, {2}); }).what() != nullptr);
    CHECK(caught<mailring::error>([&] { run.end(); }).status() == MR_ERR_HANDLE);

    if (!threads) {
        failed = caught<mailring::task_error>([&] {
            exec.run([&](mailring::run &open) { open.submit(raw, mailring::args()); });
        });
        CHECK(failed.kind == MR_FAILURE_WORKER_DIED);
        exec.run([&](mailring::run &open) {
            open.submit(sets, mailring::args().output(buffer.part(1, {1})));
        });
        CHECK(exec.stats().deaths == 1);
    }
    exec.close(std::chrono::seconds(10));
}

// What a function has captured ends with the builder or the executor, in this process alone.
void captured() {
    auto held = std::make_shared<int>(1);
    const auto uses = [held](const mailring::view &, const mailring::context &) {};
    const mailring::options options = small_options(1);
    {
        mailring::builder builder(options);
        builder.add("uses", uses);
        CHECK(held.use_count() == 3);
        CHECK(caught<mailring::error>([&] { builder.add("uses", uses); }).status() ==
              MR_ERR_DUPLICATE);
        CHECK(held.use_count() == 3);
    }
    CHECK(held.use_count() == 2);
    mailring::builder builder(options);
    builder.add("uses", uses);
    mailring::executor exec(std::move(builder));
    CHECK(held.use_count() == 3);
    exec.close(std::chrono::seconds(10));
    CHECK(held.use_count() == 2);
}

// A worker dies, and that is told; what the function throws is lost.
void logged() {
    const mailring::options options = small_options(1);
    std::atomic<int> lines{0}, deaths{0};
    {
        const mailring::log log(MR_LOG_INFO, [&](mr_log_level level, const char *line) {
            lines++;
            deaths += level == MR_LOG_WARN && strstr(line, "worker died") != nullptr;
            throw odd();
        });
        mailring::builder builder(options);
        const mr_callable dies = builder.add(
            "dies", [](const mailring::view &, const mailring::context &) { std::abort(); });
        mailring::executor exec(std::move(builder));
        caught<mailring::task_error>(
            [&] { exec.run([&](mailring::run &run) { run.submit(dies, mailring::args()); }); });
    }
    CHECK(deaths == 1 && lines > 1);
    const int seen = lines;
    mailring::executor quiet{mailring::builder(options)};
    CHECK(lines == seen);
}

void chips(const char *library) {
    mailring::builder builder(small_options(0));
    mailring::chip_program program;
    program.function = "main_of_it";
    program.file = library;
    program.signature = {MR_DIRECTION_INOUT, MR_DIRECTION_SCALAR};
    program.kernels = {{7, library, {}}};
    CHECK(caught<mailring::error>([&] { builder.add_chip("program", program); }).status() ==
          MR_ERR_MISUSE);
    mailring::chip_runtime runtime;
    runtime.host_runtime = runtime.aicore = library;
    runtime.devices = {3, 8};
    builder.chips(runtime);
    CHECK(caught<mailring::error>([&] { builder.chips(runtime); }).status() == MR_ERR_MISUSE);
    const mr_callable callable = builder.add_chip("program", program);
    CHECK(caught<mailring::error>([&] { builder.add_chip("program", program); }).status() ==
          MR_ERR_DUPLICATE);

    mailring::executor exec(std::move(builder));
    CHECK(exec.workers() == 2);
    mailring::buffer<std::uint64_t> cells(exec, {5});
    exec.run([&](mailring::run &run) {
        for (int i = 0; i < 20; i++) {
            run.submit(callable, mailring::args().inout(cells).scalar(1000000));
        }
    });
    struct stat about = {};
    CHECK(stat(library, &about) == 0);
    CHECK(cells[4] == 20 * (1000000 + static_cast<std::uint64_t>(about.st_size)));
}

} // namespace

int main(int argc, char **argv) {
    in_mode(false);
    in_mode(true);
    captured();
    logged();
    if (argc > 1) {
        chips(argv[1]);
    }
    std::puts("ok");
}
