"""mailring for Python, by ctypes alone: a thin layer over libmailring.so.0.

Functions of tasks are Python functions. Workers are forked in Executor(...), so they have what was
imported and defined until then; what they change besides the memory of their tensors is their own.
An exception that leaves a function fails its task with the exception's text.

`mr_build` forks from a thread of the library, and the calling thread lets go of the interpreter's lock
meanwhile, so that it is free in the workers. Another Python thread that runs at that moment would
have it there for ever, as it would have every other lock: build before starting threads.
"""

import ctypes
import os
from ctypes import (CFUNCTYPE, POINTER, Structure, byref, c_char_p, c_int, c_int32,
                    c_size_t, c_uint8, c_uint32, c_uint64, c_void_p, sizeof)

FLOAT32, FLOAT16, INT32, INT16, INT8, UINT8, BFLOAT16, INT64, UINT64 = range(9)


class _Double(int):
    """The number of UINT64, whose bits doubles have; buffers of it are seen as doubles."""


FLOAT64 = _Double(UINT64)
INPUT, OUTPUT, INOUT, OUTPUT_EXISTING, NO_DEP = range(5)
NEXT_LEVEL, SUB = range(2)
ERR_TASK = -20

_SIZES = {FLOAT32: 4, FLOAT16: 2, INT32: 4, INT16: 2, INT8: 1, UINT8: 1, BFLOAT16: 2, INT64: 8,
          UINT64: 8}
_FORMATS = {FLOAT32: "f", INT32: "i", INT16: "h", INT8: "b", UINT8: "B", INT64: "q", UINT64: "Q"}


class Tensor(Structure):
    """Where bytes lie, their shape and element type (mr_tensor)."""
    _fields_ = [("data", c_uint64), ("shapes", c_uint32 * 5), ("ndims", c_uint32),
                ("dtype", c_uint8), ("padding", c_uint8 * 7)]

    def view(self, format=None):
        """The elements, as a memoryview that can be read and written; "d" for doubles."""
        count = 1
        for n in self.shapes[:self.ndims]:
            count *= n
        memory = (ctypes.c_char * (count * _SIZES[self.dtype])).from_address(self.data)
        flat = memoryview(memory).cast("B")
        if format is not None:
            return flat.cast(format)
        return flat.cast(_FORMATS[self.dtype]) if self.dtype in _FORMATS else flat


class _View(Structure):
    _fields_ = [("tensor_count", c_int32), ("scalar_count", c_int32),
                ("tensors", POINTER(Tensor)), ("scalars", POINTER(c_uint64))]


class _Options(Structure):
    _fields_ = [("size", c_size_t), ("name", c_char_p), ("mode", c_uint32), ("hazards", c_uint32),
                ("wait", c_uint32), ("pin_cpus", c_uint32), ("workers", c_uint64),
                ("sub_workers", c_uint64), ("slot_window", c_uint64), ("heap_bytes", c_uint64),
                ("buffer_bytes", c_uint64), ("back_pressure_ns", c_uint64),
                ("grace_ns", c_uint64), ("keep_fds", POINTER(c_int)), ("keep_fd_count", c_size_t),
                ("start_timeout_ns", c_uint64), ("import_bytes", c_uint64),
                ("stack_size", c_uint64)]


class _Submission(Structure):
    _fields_ = [("size", c_size_t), ("callable", c_uint64), ("tensors", POINTER(Tensor)),
                ("tags", POINTER(c_uint32)), ("tensor_count", c_size_t),
                ("scalars", POINTER(c_uint64)), ("scalar_count", c_size_t), ("config", c_void_p),
                ("options", c_void_p)]


class _TaskOptions(Structure):
    _fields_ = [("size", c_size_t), ("name", c_char_p), ("kind", c_uint32),
                ("priority", c_uint32), ("worker", c_int32), ("retries", c_uint32),
                ("deadline_us", c_uint64), ("idempotent", c_uint32), ("snapshot", c_uint32),
                ("after", c_void_p), ("after_count", c_size_t), ("after_any", c_void_p),
                ("after_any_count", c_size_t)]


class _Failure(Structure):
    _fields_ = [("size", c_size_t), ("task", c_uint64), ("kind", c_uint32),
                ("attempt", c_uint32), ("worker", c_int32), ("member", c_int32),
                ("name", c_char_p), ("message", c_char_p), ("has", c_uint32),
                ("returned", c_int32), ("exit_status", c_int32), ("signal", c_int32)]


class _Task(Structure):
    _fields_ = [("id", c_uint64), ("run", c_uint64), ("place", c_uint64)]


class _Context(Structure):
    pass


_ASK = CFUNCTYPE(c_int, POINTER(_Context))
_Context._fields_ = [
    ("size", c_size_t), ("task", c_uint64), ("worker", c_uint32), ("attempt", c_uint32),
    ("member", c_uint32), ("members", c_uint32), ("cancelled", _ASK), ("barrier", _ASK),
    ("load", CFUNCTYPE(c_uint64, POINTER(_Context), c_uint32)),
    ("store", CFUNCTYPE(None, POINTER(_Context), c_uint32, c_uint64)),
    ("fetch_add", CFUNCTYPE(c_uint64, POINTER(_Context), c_uint32, c_uint64)),
    ("fail", CFUNCTYPE(None, POINTER(_Context), c_char_p)),
]
_FUNCTION = CFUNCTYPE(c_int, POINTER(_View), c_void_p, POINTER(_Context), c_void_p)

_beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../lib/libmailring.so.0")
_name = os.environ.get("MAILRING_LIBRARY") or (
    _beside if os.path.exists(_beside) else "libmailring.so.0")
_lib = ctypes.CDLL(_name)  # lets go of the interpreter's lock during a call


class Error(Exception):
    """What a function of mailring.h said when it failed."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class TaskError(Error):
    """A task failed: its number, name, worker, attempt, and what was said."""

    def __init__(self, message, failure):
        super().__init__(ERR_TASK, message)
        self.task, self.kind, self.attempt = failure.task, failure.kind, failure.attempt
        self.worker = failure.worker if failure.worker >= 0 else None
        self.member = failure.member if failure.member >= 0 else None
        self.name, self.said = failure.name.decode(), failure.message.decode()
        self.returned = failure.returned if failure.has & 1 else None
        self.exit_status = failure.exit_status if failure.has & 2 else None
        self.signal = failure.signal if failure.has & 4 else None


def _check(status):
    if status == 0:
        return
    message = _lib.mr_last_error().decode()
    failure = _Failure(size=sizeof(_Failure))
    if status == ERR_TASK and _lib.mr_last_failure(byref(failure)) == 0:
        raise TaskError(message, failure)
    raise Error(status, message)


def _declare(name, *arguments):
    function = getattr(_lib, name)
    function.argtypes, function.restype = arguments, c_int
    return lambda *values: _check(function(*values))


_lib.mr_last_error.restype = _lib.mr_version.restype = c_char_p
_lib.mr_last_failure.argtypes = [POINTER(_Failure)]
_out, _tensor = POINTER(c_void_p), POINTER(Tensor)
_options_init = _declare("mr_options_init", POINTER(_Options))
_task_options_init = _declare("mr_task_options_init", POINTER(_TaskOptions))
_builder_new = _declare("mr_builder_new", POINTER(_Options), _out)
_register = _declare("mr_register", c_void_p, c_char_p, _FUNCTION, c_void_p, POINTER(c_uint64))
_build = _declare("mr_build", c_void_p, _out)
_close = _declare("mr_executor_close", c_void_p)
_close_for = _declare("mr_executor_close_for", c_void_p, c_uint64)
_buffer_new = _declare("mr_buffer_new", c_void_p, c_uint32, POINTER(c_uint32), c_size_t, _out)
_buffer_tensor = _declare("mr_buffer_tensor", c_void_p, _tensor)
_buffer_free = _declare("mr_buffer_free", c_void_p)
_tensor_init = _declare("mr_tensor_init", _tensor, c_void_p, c_uint32, POINTER(c_uint32), c_size_t)
_args_new = _declare("mr_args_new", _out)
_args_free = _declare("mr_args_free", c_void_p)
_args_tensor = _declare("mr_args_add_tensor", c_void_p, _tensor, c_int32)
_args_scalar = _declare("mr_args_add_scalar", c_void_p, c_uint64)
_run_begin = _declare("mr_run_begin", c_void_p, _out)
_run_end = _declare("mr_run_end", c_void_p)
_submit = _declare("mr_submit", c_void_p, POINTER(_Submission), POINTER(_Task))
_submit_group = _declare("mr_submit_group", c_void_p, c_uint64, POINTER(c_void_p), c_size_t,
                         c_void_p, POINTER(_TaskOptions), POINTER(_Task))
_task_tensor = _declare("mr_task_tensor", c_void_p, POINTER(_Task), c_size_t, _tensor)
_wait = _declare("mr_wait", c_void_p, POINTER(_Task))


def _dims(shape):
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    return (c_uint32 * max(len(shape), 1))(*shape), len(shape)


def doubles(view):
    """What a function is given of a tensor of FLOAT64, as doubles."""
    return view.cast("B").cast("d")


def output(shape, dtype):
    """A tensor that the submit allocates."""
    made = Tensor()
    _tensor_init(byref(made), None, dtype, *_dims(shape))
    return made


class Context:
    """What a function can ask of its task."""

    def __init__(self, raw):
        self._raw = raw
        at = raw.contents
        self.task, self.worker, self.attempt = at.task, at.worker, at.attempt
        self.member, self.members = at.member, at.members

    def cancelled(self):
        return self._raw.contents.cancelled(self._raw) != 0

    def barrier(self):
        if self._raw.contents.barrier(self._raw) != 0:
            raise RuntimeError("another member of the group does not come")

    def fetch_add(self, index, value):
        return self._raw.contents.fetch_add(self._raw, index, value)

    def load(self, index):
        return self._raw.contents.load(self._raw, index)


def _callback(function):
    def body(args, _config, raw, _user):
        try:
            view = args.contents
            tensors = [view.tensors[i].view() for i in range(view.tensor_count)]
            scalars = [view.scalars[i] for i in range(view.scalar_count)]
            function(tensors, scalars, Context(raw))
            return 0
        except BaseException as error:  # must not reach C
            text = f"{type(error).__name__}: {error}".encode().replace(b"\0", b"?")
            raw.contents.fail(raw, text)
            return 1
    return _FUNCTION(body)


class Executor:
    """Workers for functions: name -> function(tensors, scalars, context).

    Submit a function by its name. Options are those of mr_options: workers=2, heap_bytes=...
    """

    def __init__(self, functions, **options):
        chosen = _Options()
        _options_init(byref(chosen))
        for name, value in options.items():
            if name not in (field for field, _ in _Options._fields_[1:]):
                raise TypeError(f"mr_options has no member {name}")
            setattr(chosen, name, value)
        builder, callable_, self._callables = c_void_p(), c_uint64(), {}
        _builder_new(byref(chosen), byref(builder))
        self._kept = []  # ctypes callbacks must outlive their last call
        for name, function in functions.items():
            self._kept.append(_callback(function))
            _register(builder, name.encode(), self._kept[-1], None, byref(callable_))
            self._callables[name] = callable_.value
        self._handle = c_void_p()
        _build(builder, byref(self._handle))

    def buffer(self, shape, dtype):
        return Buffer(self, shape, dtype)

    def run(self):
        """A run, to be used with `with`: waits for its tasks at the end."""
        return Run(self)

    def close(self):
        handle, self._handle = self._handle, c_void_p()
        _close(handle)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Buffer:
    """Shared memory: buffer.tensor to name it, buffer.view() to read and write it."""

    def __init__(self, exec_, shape, dtype):
        self._format = "d" if isinstance(dtype, _Double) else None
        self._handle, self.tensor = c_void_p(), Tensor()
        _buffer_new(exec_._handle, dtype, *_dims(shape), byref(self._handle))
        _buffer_tensor(self._handle, byref(self.tensor))

    def view(self):
        """The elements; doubles in a buffer of FLOAT64. Valid until free()."""
        return self.tensor.view(self._format)

    def part(self, first, shape):
        """The tensor of this shape that begins at element first."""
        size, made = _SIZES[self.tensor.dtype], Tensor()
        dims, ndims = _dims(shape)
        count = 1
        for n in dims[:ndims]:
            count *= n
        if first < 0 or first + count > len(self.view()):
            raise IndexError(f"elements {first} to {first + count} are not inside the buffer")
        _tensor_init(byref(made), self.tensor.data + first * size, self.tensor.dtype, dims, ndims)
        return made

    def free(self):
        handle, self._handle = self._handle, c_void_p()
        _buffer_free(handle)


def _tensor_of(value):
    return value.tensor if isinstance(value, Buffer) else value


class _Args:
    """Arguments: (tag, tensor) pairs, then integers."""

    def __init__(self, values):
        self.handle = c_void_p()
        _args_new(byref(self.handle))
        try:
            for value in values:
                if isinstance(value, int):
                    _args_scalar(self.handle, value)
                else:
                    tag, tensor = value
                    _args_tensor(self.handle, byref(_tensor_of(tensor)), tag)
        except BaseException:
            self.free()
            raise

    def free(self):
        _args_free(self.handle)


class Run:
    def __init__(self, exec_):
        self._exec, self._handle = exec_, c_void_p()

    def __enter__(self):
        _run_begin(self._exec._handle, byref(self._handle))
        return self

    def __exit__(self, kind, _value, _trace):
        handle, self._handle = self._handle, c_void_p()
        try:
            _run_end(handle)
        except Error:
            if kind is None:
                raise  # otherwise the exception that is on its way goes first

    def _options(self, options):
        if not options:
            return None
        chosen = _TaskOptions()
        _task_options_init(byref(chosen))
        for name, value in options.items():
            if name not in (field for field, _ in _TaskOptions._fields_[1:]):
                raise TypeError(f"mr_task_options has no member {name}")
            setattr(chosen, name, value.encode() if isinstance(value, str) else value)
        return chosen

    def submit(self, name, /, *values, **options):
        """Submits a function with (tag, tensor) pairs and then integers."""
        task = _Task()
        scalars = [value for value in values if isinstance(value, int)]
        tensors = values[:len(values) - len(scalars)]
        if any(isinstance(value, int) for value in tensors):
            raise TypeError("tensors come before integers")
        asked = _Submission(size=sizeof(_Submission), callable=self._exec._callables[name],
                            tensor_count=len(tensors), scalar_count=len(scalars))
        asked.tensors = (Tensor * len(tensors))(*(_tensor_of(t) for _, t in tensors))
        asked.tags = (c_uint32 * len(tensors))(*(tag for tag, _ in tensors))
        asked.scalars = (c_uint64 * len(scalars))(*scalars)
        chosen = self._options(options)
        if chosen is not None:
            asked.options = ctypes.addressof(chosen)
        _submit(self._handle, byref(asked), byref(task))
        return task

    def submit_group(self, name, /, members, **options):
        """One task with a member for each list of values."""
        task, args = _Task(), [_Args(values) for values in members]
        try:
            handles = (c_void_p * len(args))(*(one.handle for one in args))
            chosen = self._options(options)
            _submit_group(self._handle, self._exec._callables[name], handles, len(args), None,
                          None if chosen is None else byref(chosen), byref(task))
        finally:
            for one in args:
                one.free()
        return task

    def output(self, task, index=0):
        """The tensor that the submit allocated for argument index."""
        tensor = Tensor()
        _task_tensor(self._handle, byref(task), index, byref(tensor))
        return tensor

    def wait(self, task):
        _wait(self._handle, byref(task))


def version():
    return _lib.mr_version().decode()
