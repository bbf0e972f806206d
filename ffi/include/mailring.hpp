// mailring for C++17: owners of handles, exceptions for errors, functions of any kind. A thin layer
// over mailring.h, which explains what everything does; header only.
//
//     mailring::builder builder(mailring::options().workers(2));
//     auto twice = builder.add("twice", [](const mailring::view &args, const mailring::context &) {
//         for (auto &x : args.elements<float>(0)) x *= 2;
//     });
//     mailring::executor exec(std::move(builder));
//     mailring::buffer<float> data(exec, {1000});
//     exec.run([&](mailring::run &run) { run.submit(twice, mailring::args().inout(data)); });
//
// An exception that leaves the function of a task fails the task with its text. One that leaves
// the function of a run leaves executor::run when the tasks of the run are through.
#ifndef MAILRING_HPP
#define MAILRING_HPP

#include <mailring.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace mailring {

// What a function of mailring.h said when it failed.
class error : public std::runtime_error {
public:
    error(mr_status status, const std::string &what) : std::runtime_error(what), status_(status) {}
    mr_status status() const noexcept { return status_; }

private:
    mr_status status_;
};

// A task failed.
class task_error : public error {
public:
    task_error(const std::string &what, const mr_failure &failure)
        : error(MR_ERR_TASK, what), task(failure.task), kind(failure.kind),
          attempt(failure.attempt), worker(failure.worker), member(failure.member),
          name(failure.name), message(failure.message) {}

    std::uint64_t task;
    mr_failure_kind kind;
    std::uint32_t attempt;
    std::int32_t worker, member; // -1: none
    std::string name, message;
};

// Throws the last error of this thread unless the status is MR_OK.
inline void check(mr_status status) {
    if (status == MR_OK) {
        return;
    }
    std::string what = mr_last_error();
    mr_failure failure = {};
    failure.size = sizeof failure;
    if (status == MR_ERR_TASK && mr_last_failure(&failure) == MR_OK) {
        throw task_error(what, failure);
    }
    throw error(status, what);
}

// The element type of a C++ type.
template <class T> struct dtype_of;
template <> struct dtype_of<float> { static constexpr mr_dtype value = MR_FLOAT32; };
template <> struct dtype_of<double> { static constexpr mr_dtype value = MR_FLOAT64; };
template <> struct dtype_of<std::int8_t> { static constexpr mr_dtype value = MR_INT8; };
template <> struct dtype_of<std::uint8_t> { static constexpr mr_dtype value = MR_UINT8; };
template <> struct dtype_of<std::int16_t> { static constexpr mr_dtype value = MR_INT16; };
template <> struct dtype_of<std::uint16_t> { static constexpr mr_dtype value = MR_INT16; };
template <> struct dtype_of<std::int32_t> { static constexpr mr_dtype value = MR_INT32; };
template <> struct dtype_of<std::uint32_t> { static constexpr mr_dtype value = MR_INT32; };
template <> struct dtype_of<std::int64_t> { static constexpr mr_dtype value = MR_INT64; };
template <> struct dtype_of<std::uint64_t> { static constexpr mr_dtype value = MR_UINT64; };

// Elements one after the other.
template <class T> class span {
public:
    span(T *first, std::size_t size) : first_(first), size_(size) {}
    T *begin() const { return first_; }
    T *end() const { return first_ + size_; }
    T *data() const { return first_; }
    std::size_t size() const { return size_; }
    T &operator[](std::size_t i) const { return first_[i]; }

private:
    T *first_;
    std::size_t size_;
};

// The dimensions of a tensor: {2, 3}, a vector, an array, or anything else with data() and size()
// of std::uint32_t. Copied.
class shape {
public:
    shape(std::initializer_list<std::uint32_t> dims) : shape(dims.begin(), dims.size()) {}
    template <class C, class = decltype(static_cast<const std::uint32_t *>(
                           std::declval<const C &>().data()))>
    shape(const C &dims) : shape(dims.data(), dims.size()) {}
    template <std::size_t N> shape(const std::uint32_t (&dims)[N]) : shape(dims, N) {}
    shape(const std::uint32_t *first, std::size_t size) : size_(size) {
        std::copy_n(first, std::min<std::size_t>(size, MR_MAX_DIMS), dims_); // more are refused
    }
    const std::uint32_t *data() const { return dims_; }
    std::size_t size() const { return size_; }

private:
    std::uint32_t dims_[MR_MAX_DIMS] = {};
    std::size_t size_;
};

// A tensor at an address (nullptr: to be allocated by the submit).
template <class T> mr_tensor tensor(const shape &dims, T *data = nullptr) {
    mr_tensor made;
    check(mr_tensor_init(&made, data, dtype_of<std::remove_const_t<T>>::value, dims.data(),
                         dims.size()));
    return made;
}

namespace detail {
inline std::uint64_t nanoseconds(std::chrono::nanoseconds time) {
    return static_cast<std::uint64_t>(std::max<std::int64_t>(time.count(), 0));
}
inline const char *text(const std::string &text) { return text.empty() ? nullptr : text.c_str(); }
} // namespace detail

// Owns a handle.
template <class H, mr_status (*End)(H *)> class owner {
public:
    owner() = default;
    explicit owner(H *handle) : handle_(handle) {}
    owner(owner &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    owner &operator=(owner &&other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    ~owner() {
        if (handle_ != nullptr && End(handle_) != MR_OK) {
            // There is nobody to tell; mr_last_error has it.
        }
    }
    H *get() const { return handle_; }
    H *release() { return std::exchange(handle_, nullptr); }
    H **out() { return &handle_; }

private:
    H *handle_ = nullptr;
};

// ---- what the function of a task sees --------------------------------------------------------

// The arguments.
class view {
public:
    explicit view(const mr_task_args_view *args) : args_(args) {}
    std::size_t tensors() const { return static_cast<std::size_t>(args_->tensor_count); }
    std::size_t scalars() const { return static_cast<std::size_t>(args_->scalar_count); }
    const mr_tensor &tensor(std::size_t i) const {
        return i < tensors() ? args_->tensors[i] : throw std::out_of_range("no such tensor");
    }
    std::uint64_t scalar(std::size_t i) const {
        return i < scalars() ? args_->scalars[i] : throw std::out_of_range("no such scalar");
    }
    template <class T> span<T> elements(std::size_t i) const {
        if (tensor(i).dtype != dtype_of<std::remove_const_t<T>>::value) {
            throw std::invalid_argument("the tensor has elements of another type");
        }
        const auto index = static_cast<std::int32_t>(i);
        return {static_cast<T *>(mr_view_data(args_, index)), mr_view_elements(args_, index)};
    }

private:
    const mr_task_args_view *args_;
};

// The task, and its group.
class context {
public:
    explicit context(const mr_task_context *raw) : raw_(raw) {}
    std::uint64_t task() const { return raw_->task; }
    std::uint32_t worker() const { return raw_->worker; }
    std::uint32_t attempt() const { return raw_->attempt; }
    std::uint32_t member() const { return raw_->member; }
    std::uint32_t members() const { return raw_->members; }
    bool cancelled() const { return raw_->cancelled(raw_) != 0; }
    // Throws when a member will not come.
    void barrier() const {
        if (raw_->barrier(raw_) != 0) {
            throw std::runtime_error("another member of the group does not come");
        }
    }
    std::uint64_t load(std::uint32_t i) const { return raw_->load(raw_, i); }
    void store(std::uint32_t i, std::uint64_t value) const { raw_->store(raw_, i, value); }
    std::uint64_t fetch_add(std::uint32_t i, std::uint64_t value) const {
        return raw_->fetch_add(raw_, i, value);
    }
    const mr_task_context *raw() const { return raw_; }

private:
    const mr_task_context *raw_;
};

using function = std::function<void(const view &, const context &)>;

namespace detail {
extern "C" inline int call_function(const mr_task_args_view *args, const mr_call_config *,
                                    const mr_task_context *raw, void *user) {
    try {
        (*static_cast<const function *>(user))(view(args), context(raw));
        return 0;
    } catch (const std::exception &thrown) {
        raw->fail(raw, thrown.what());
    } catch (...) {
        raw->fail(raw, "an exception that is not a std::exception");
    }
    return 1;
}
extern "C" inline void end_function(void *user) { delete static_cast<const function *>(user); }
} // namespace detail

// ---- building --------------------------------------------------------------------------------

// Options of an executor. The common ones have a function; all are members of raw.
struct options {
    options() { check(mr_options_init(&raw)); }
    options &&workers(std::uint64_t count) && { return set(&mr_options::workers, count); }
    options &&sub_workers(std::uint64_t count) && { return set(&mr_options::sub_workers, count); }
    options &&slot_window(std::uint64_t slots) && { return set(&mr_options::slot_window, slots); }
    options &&heap_bytes(std::uint64_t bytes) && { return set(&mr_options::heap_bytes, bytes); }
    options &&buffer_bytes(std::uint64_t bytes) && { return set(&mr_options::buffer_bytes, bytes); }
    options &&threads() && {
        raw.mode = MR_MODE_THREAD;
        return std::move(*this);
    }

    mr_options raw;

private:
    options &&set(std::uint64_t mr_options::*member, std::uint64_t value) {
        raw.*member = value;
        return std::move(*this);
    }
};

// A chip as a host sees it: see mr_chip_runtime. What is empty is not there.
struct chip_runtime {
    std::string host_runtime;
    std::vector<std::int32_t> devices; // one worker of kind MR_NEXT_LEVEL for each
    std::string aicpu, aicore, sim_context;
};

// A kernel of a program of a chip; an empty signature is not said.
struct chip_kernel {
    std::int32_t func_id = 0;
    std::string file;
    std::vector<mr_direction> signature;
};

// A program of a chip, which tasks can name: see mr_chip_program.
struct chip_program {
    std::string function, file;
    std::vector<mr_direction> signature;
    std::vector<chip_kernel> kernels;
    std::string config_function; // empty: none
};

class builder {
public:
    explicit builder(const options &chosen) { check(mr_builder_new(&chosen.raw, handle_.out())); }

    // A function under a name that no other has. It is destroyed with the executor.
    mr_callable add(const char *name, function body) {
        mr_callable callable = 0;
        auto kept = std::make_unique<function>(std::move(body));
        check(mr_register_with(get(), name, detail::call_function, kept.get(), detail::end_function,
                               &callable));
        kept.release();
        return callable;
    }
    // Workers that drive chips, instead of workers in the options.
    void chips(const chip_runtime &chips) {
        mr_chip_runtime raw = {};
        raw.size = sizeof raw;
        raw.host_runtime = chips.host_runtime.c_str();
        raw.aicpu = detail::text(chips.aicpu);
        raw.aicore = detail::text(chips.aicore);
        raw.sim_context = detail::text(chips.sim_context);
        raw.devices = chips.devices.data();
        raw.device_count = chips.devices.size();
        check(mr_builder_chips(get(), &raw));
    }
    // A program of the chips under a name that no other has; after chips.
    mr_callable add_chip(const char *name, const chip_program &program) {
        std::vector<mr_chip_kernel> kernels;
        for (const chip_kernel &kernel : program.kernels) {
            kernels.push_back({kernel.func_id, 0, kernel.signature.data(), kernel.signature.size(),
                               kernel.file.c_str()});
        }
        mr_chip_program raw = {};
        raw.size = sizeof raw;
        raw.function = program.function.c_str();
        raw.config_function = detail::text(program.config_function);
        raw.signature = program.signature.data();
        raw.signature_count = program.signature.size();
        raw.file = program.file.c_str();
        raw.kernels = kernels.data();
        raw.kernel_count = kernels.size();
        mr_callable callable = 0;
        check(mr_register_chip(get(), name, &raw, &callable));
        return callable;
    }
    mr_builder *get() const { return handle_.get(); }

private:
    friend class executor;
    owner<mr_builder, mr_builder_free> handle_;
};

class run;
class pending;
class executor;

// A graph that was run once, to be replayed: executor::record.
class recording {
public:
    std::size_t tasks() const { return count().first; }
    // Pieces of memory that it names.
    std::size_t memory() const { return count().second; }
    // The number in the recording of a task that was submitted while it was recorded.
    std::size_t index(const mr_task &task) const {
        std::size_t index = 0;
        check(mr_recording_index(get(), &task, &index));
        return index;
    }
    mr_recording *get() const { return handle_.get(); }

private:
    friend class executor;
    std::pair<std::size_t, std::size_t> count() const {
        std::pair<std::size_t, std::size_t> count;
        check(mr_recording_count(get(), &count.first, &count.second));
        return count;
    }
    owner<mr_recording, mr_recording_free> handle_;
};

// The memory and the scalars of a replay: at first those that were recorded.
class bindings {
public:
    explicit bindings(const recording &graph) { check(mr_bindings_new(graph.get(), handle_.out())); }
    // Puts a tensor in the place of the piece of memory in which the recorded one lies.
    bindings &replace(const mr_tensor &recorded, const mr_tensor &tensor) {
        check(mr_bindings_replace(get(), &recorded, &tensor));
        return *this;
    }
    bindings &scalar(std::size_t task, std::size_t scalar, std::uint64_t value) {
        check(mr_bindings_scalar(get(), task, scalar, value));
        return *this;
    }
    mr_bindings *get() const { return handle_.get(); }

private:
    owner<mr_bindings, mr_bindings_free> handle_;
};

class executor {
public:
    explicit executor(builder &&from) {
        check(mr_build(from.handle_.release(), handle_.out()));
    }

    // Opens a run, lets fill(run&) fill it, closes it, and waits for all its tasks.
    template <class F> void run(F &&fill);
    // Opens a run that ends, or is detached, by hand.
    mailring::run begin();
    // As run, and records what was submitted.
    template <class F> recording record(F &&fill);
    // Runs a recording: with its memory and its scalars, or with others.
    void replay(const recording &graph) { check(mr_run_recording(get(), graph.get(), nullptr)); }
    void replay(const recording &graph, const bindings &with) {
        check(mr_run_recording(get(), graph.get(), with.get()));
    }

    std::size_t workers(mr_worker_kind kind = MR_NEXT_LEVEL) const {
        std::size_t count = 0;
        check(mr_executor_workers(get(), kind, &count));
        return count;
    }
    mr_stats stats() const {
        mr_stats stats = {};
        stats.size = sizeof stats;
        check(mr_executor_stats(get(), &stats));
        return stats;
    }
    mr_callable add_library(const char *path, const char *symbol) {
        mr_callable callable = 0;
        check(mr_register_library(get(), path, symbol, &callable));
        return callable;
    }
    // Ends it when all tasks are through, or throws when the time has passed; it has ended then, too.
    void close(std::chrono::nanoseconds time) {
        check(mr_executor_close_for(handle_.release(), detail::nanoseconds(time)));
    }
    mr_executor *get() const { return handle_.get(); }

private:
    owner<mr_executor, mr_executor_close> handle_;
};

// Shared memory for elements.
template <class T> class buffer {
public:
    buffer(const executor &exec, const shape &dims) {
        check(mr_buffer_new(exec.get(), dtype_of<T>::value, dims.data(), dims.size(),
                            handle_.out()));
        look();
    }
    // Over the first bytes of a memfd or file, which stays the caller's own.
    static buffer import(const executor &exec, int fd, const shape &dims) {
        buffer made;
        check(mr_buffer_import(exec.get(), fd, dtype_of<T>::value, dims.data(), dims.size(),
                               made.handle_.out()));
        made.look();
        return made;
    }
    operator mr_tensor() const {
        mr_tensor tensor;
        check(mr_buffer_tensor(handle_.get(), &tensor));
        return tensor;
    }
    // The part that begins at element first.
    mr_tensor part(std::size_t first, const shape &dims) const {
        mr_tensor tensor = mailring::tensor<T>(dims, data_ + first);
        std::uint64_t bytes = 0;
        check(mr_tensor_bytes(&tensor, &bytes));
        if (first > size_ || bytes > (size_ - first) * sizeof(T)) {
            throw std::out_of_range("the part is not inside the buffer");
        }
        return tensor;
    }
    T *begin() const { return data_; }
    T *end() const { return data_ + size_; }
    std::size_t size() const { return size_; }
    T &operator[](std::size_t i) const { return data_[i]; }

private:
    buffer() = default;
    void look() {
        void *data = nullptr;
        std::size_t bytes = 0;
        check(mr_buffer_data(handle_.get(), &data, &bytes));
        data_ = static_cast<T *>(data);
        size_ = bytes / sizeof(T);
    }

    owner<mr_buffer, mr_buffer_free> handle_;
    T *data_ = nullptr;
    std::size_t size_ = 0;
};

// Arguments of a task: tensors, then scalars. Arrays of this program; nothing to free.
class args {
public:
    args &input(const mr_tensor &tensor) { return add(tensor, MR_INPUT); }
    args &output(const mr_tensor &tensor) { return add(tensor, MR_OUTPUT); }
    args &inout(const mr_tensor &tensor) { return add(tensor, MR_INOUT); }
    args &output_existing(const mr_tensor &tensor) { return add(tensor, MR_OUTPUT_EXISTING); }
    args &no_dep(const mr_tensor &tensor) { return add(tensor, MR_NO_DEP); }
    args &add(const mr_tensor &tensor, mr_tag tag) {
        if (!scalars_.empty()) {
            throw error(MR_ERR_ARGS, "a tensor after a scalar: tensors come first");
        }
        tensors_.push_back(tensor);
        tags_.push_back(tag);
        return *this;
    }
    args &scalar(std::uint64_t value) {
        scalars_.push_back(value);
        return *this;
    }
    args &clear() {
        tensors_.clear();
        tags_.clear();
        scalars_.clear();
        return *this;
    }
    // What to submit; valid until these arguments change.
    mr_submission submission(mr_callable callable, const mr_call_config *config,
                             const mr_task_options *options) const {
        return {sizeof(mr_submission), callable,        tensors_.data(), tags_.data(),
                tensors_.size(),       scalars_.data(), scalars_.size(), config,
                options};
    }
    // The same as a handle.
    owner<mr_args, mr_args_free> handle() const {
        owner<mr_args, mr_args_free> made;
        check(mr_args_new(made.out()));
        for (std::size_t i = 0; i < tensors_.size(); i++) {
            check(mr_args_add_tensor(made.get(), &tensors_[i], tags_[i]));
        }
        for (std::uint64_t scalar : scalars_) {
            check(mr_args_add_scalar(made.get(), scalar));
        }
        return made;
    }

private:
    std::vector<mr_tensor> tensors_;
    std::vector<mr_tag> tags_;
    std::vector<std::uint64_t> scalars_;
};

struct task_options : mr_task_options {
    task_options() { check(mr_task_options_init(this)); }
};

// ---- the log ---------------------------------------------------------------------------------

// Tells a function what the library does, line by line, for as long as it lives: any thread of this
// process, several at the same time. The function may not end it; what it throws is lost. One at a
// time: a second one takes the place of the first, and the end of either is the end of both.
class log {
public:
    using function = std::function<void(mr_log_level, const char *)>;

    log(mr_log_level level, function told) : told_(std::make_unique<function>(std::move(told))) {
        check(mr_set_log(level, call, told_.get()));
    }
    log(const log &) = delete;
    log &operator=(const log &) = delete;
    ~log() {
        if (mr_set_log(MR_LOG_OFF, nullptr, nullptr) != MR_OK) {
            // There is nobody to tell; mr_last_error has it.
        }
    }

private:
    static void call(mr_log_level level, const char *line, void *told) noexcept {
        try {
            (*static_cast<const function *>(told))(level, line);
        } catch (...) {
        }
    }

    std::unique_ptr<function> told_;
};

// ---- runs ------------------------------------------------------------------------------------

// A detached run.
class pending {
public:
    bool done() const {
        int done = 0;
        check(mr_pending_done(handle_.get(), &done));
        return done != 0;
    }
    void wait() const { check(mr_pending_wait(handle_.get(), MR_FOREVER, nullptr)); }
    // False when the time has passed.
    bool wait_for(std::chrono::nanoseconds time) const {
        int finished = 0;
        check(mr_pending_wait(handle_.get(), detail::nanoseconds(time), &finished));
        return finished != 0;
    }
    // Becomes readable when the run is done; belongs to this object.
    int fd() const {
        int fd = -1;
        check(mr_pending_fd(handle_.get(), &fd));
        return fd;
    }
    bool failed() const {
        int failed = 0;
        check(mr_pending_failed(handle_.get(), &failed));
        return failed != 0;
    }
    std::uint64_t cancel() const {
        std::uint64_t cancelled = 0;
        check(mr_pending_cancel(handle_.get(), &cancelled));
        return cancelled;
    }

private:
    friend class run;
    owner<mr_pending, mr_pending_free> handle_;
};

// An open run. One that is dropped without end() or detach() is ended, and its errors are lost.
class run {
public:
    mr_task submit(mr_callable callable, const args &with,
                   const mr_task_options *options = nullptr,
                   const mr_call_config *config = nullptr) {
        mr_task task;
        const mr_submission asked = with.submission(callable, config, options);
        check(mr_submit(get(), &asked, &task));
        return task;
    }
    mr_task submit_group(mr_callable callable, const std::vector<const args *> &members,
                         const mr_task_options *options = nullptr,
                         const mr_call_config *config = nullptr) {
        std::vector<owner<mr_args, mr_args_free>> handles;
        std::vector<const mr_args *> list;
        for (const args *member : members) {
            handles.push_back(member->handle());
            list.push_back(handles.back().get());
        }
        mr_task task;
        check(mr_submit_group(get(), callable, list.data(), list.size(), config, options, &task));
        return task;
    }
    mr_tensor output(const mr_task &task, std::size_t index = 0) const {
        mr_tensor tensor;
        check(mr_task_tensor(get(), &task, index, &tensor));
        return tensor;
    }
    template <class T> mr_tensor alloc(const shape &dims) {
        mr_tensor tensor;
        check(mr_alloc(get(), dtype_of<T>::value, dims.data(), dims.size(), &tensor));
        return tensor;
    }
    template <class F> void scope(F &&fill) {
        check(mr_scope_begin(get()));
        struct end {
            mr_run_handle *run;
            ~end() {
                if (mr_scope_end(run) != MR_OK) {
                    // It ends with the run.
                }
            }
        } at_end{get()};
        std::forward<F>(fill)(*this);
    }
    // Submits the tasks of a recording, in the innermost scope.
    void replay(const recording &graph) {
        check(mr_replay(get(), graph.get(), nullptr, nullptr, 0));
    }
    void replay(const recording &graph, const bindings &with) {
        check(mr_replay(get(), graph.get(), with.get(), nullptr, 0));
    }
    void wait(const mr_task &task) { check(mr_wait(get(), &task)); }
    // False when the time has passed.
    bool wait_for(const mr_task &task, std::chrono::nanoseconds time) {
        int finished = 0;
        check(mr_wait_for(get(), &task, detail::nanoseconds(time), &finished));
        return finished != 0;
    }
    bool failed() const {
        int failed = 0;
        check(mr_run_failed(get(), &failed));
        return failed != 0;
    }
    bool cancel(const mr_task &task) {
        int open = 0;
        check(mr_cancel(get(), &task, &open));
        return open != 0;
    }
    // Cancels what was submitted in the innermost scope; how many had not completed.
    std::uint64_t cancel_scope() {
        std::uint64_t cancelled = 0;
        check(mr_cancel_scope(get(), &cancelled));
        return cancelled;
    }
    void end() { check(mr_run_end(handle_.release())); }
    pending detach() {
        pending detached;
        check(mr_run_detach(handle_.get(), detached.handle_.out()));
        handle_.release();
        return detached;
    }
    mr_run_handle *get() const { return handle_.get(); }

private:
    friend class executor;
    owner<mr_run_handle, mr_run_end> handle_;
};

inline run executor::begin() {
    mailring::run opened;
    check(mr_run_begin(get(), opened.handle_.out()));
    return opened;
}

template <class F> void executor::run(F &&fill) {
    mailring::run opened = begin();
    try {
        std::forward<F>(fill)(opened);
    } catch (...) {
        opened = mailring::run(); // its tasks first
        throw;
    }
    opened.end();
}

template <class F> recording executor::record(F &&fill) {
    struct call {
        std::remove_reference_t<F> &fill;
        std::exception_ptr thrown;
    } call{fill, nullptr};
    recording graph;
    const mr_run_body body = [](mr_run_handle *handle, void *user) -> int {
        auto &to = *static_cast<struct call *>(user);
        mailring::run opened;
        *opened.handle_.out() = handle;
        try {
            to.fill(opened);
        } catch (...) {
            to.thrown = std::current_exception();
        }
        opened.handle_.release(); // it is ended by mr_record
        return to.thrown ? 1 : 0;
    };
    const mr_status status = mr_record(get(), body, &call, graph.handle_.out());
    if (call.thrown) {
        std::rethrow_exception(call.thrown);
    }
    check(status);
    return graph;
}

} // namespace mailring

#endif // MAILRING_HPP
