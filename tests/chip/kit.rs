//! What the chip tests have in common: shared objects compiled in passing, programs, a runtime.

use std::path::{Path, PathBuf};
use std::process::Command;

use mailring::abi::{
    ArgDirection, CallConfig, ChipCallable, ContinuousTensor, CoreCallable, Element, TaskArgsView,
};
use mailring::chip::{ChipError, ChipRuntime, ChipWorker};

pub(crate) use ArgDirection::{In, InOut, Out, Scalar};

/// Shared objects of one test, in a directory that goes with it.
pub(crate) struct Lab {
    directory: tempfile::TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Compiles `tests/chip/c/SOURCE.c`, with options, to a shared object of this name.
    pub(crate) fn compile_as(&self, name: &str, source: &str, options: &[&str]) -> PathBuf {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let object = self.path(&format!("{name}.so"));
        let done = Command::new("cc")
            .args(["-std=gnu11", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-I"])
            .arg(root.join("simchip/include"))
            .args(options)
            .arg(root.join("tests/chip/c").join(source).with_extension("c"))
            .arg("-o")
            .arg(&object)
            .output()
            .expect("a C compiler called cc");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        object
    }

    pub(crate) fn compile(&self, source: &str) -> PathBuf {
        self.compile_as(source, source, &[])
    }

    /// The orchestration function `name` with all kernels of the tests as children.
    pub(crate) fn program(&self, name: &str, signature: &[ArgDirection]) -> ChipCallable {
        let object = |source: &str| {
            let made = self.path(&format!("{source}.so"));
            if made.exists() { made } else { self.compile(source) }
        };
        let kernel = |source| CoreCallable::from_file(&[], object(source)).unwrap();
        ChipCallable::builder(name)
            .signature(signature)
            .binary_file(object("orchestration"))
            .unwrap()
            .child(10, kernel("add"))
            .child(11, kernel("scale"))
            .child(12, kernel("count"))
            .build()
            .unwrap()
    }
}

/// A variable of this test's process and all below it.
pub(crate) fn set(name: &str, value: impl AsRef<std::ffi::OsStr>) {
    // SAFETY: a test's process has one thread until it builds an executor.
    unsafe { std::env::set_var(name, value) };
}

/// The simulated chip.
pub(crate) fn simulated() -> ChipRuntime {
    let library = mailring_simchip::library_path();
    runtime(library.expect("libmailring_simchip.so, which cargo builds with the tests"))
}

/// A runtime of this library.
pub(crate) fn runtime(library: impl Into<PathBuf>) -> ChipRuntime {
    // SAFETY: the simulated chip, or one of these tests' own.
    unsafe { ChipRuntime::new(library) }
}

/// A worker for this device of the simulated chip.
pub(crate) fn simulated_worker(device: i32) -> ChipWorker {
    ChipWorker::start(&simulated(), device).unwrap()
}

/// Memory of this process that a chip reads and writes behind the compiler's back.
pub(crate) struct Cells<T> {
    first: *mut T,
    len: usize,
}

impl<T: Element> Cells<T> {
    pub(crate) fn new(values: &[T]) -> Self {
        let first = Box::into_raw(values.to_vec().into_boxed_slice()).cast();
        Self { first, len: values.len() }
    }

    pub(crate) fn tensor(&self) -> ContinuousTensor {
        let data = self.first.expose_provenance() as u64;
        ContinuousTensor::new(data, &[self.len as u32], T::DTYPE).unwrap()
    }

    pub(crate) fn get(&self) -> Vec<T> {
        // SAFETY: allocated for as many elements, and freed when this is dropped.
        (0..self.len).map(|i| unsafe { self.first.add(i).read_volatile() }).collect()
    }
}

impl<T> Drop for Cells<T> {
    fn drop(&mut self) {
        let all = std::ptr::slice_from_raw_parts_mut(self.first, self.len);
        // SAFETY: from `Box::into_raw` of as many elements.
        drop(unsafe { Box::from_raw(all) });
    }
}

pub(crate) fn run(
    worker: &mut ChipWorker,
    callable: &ChipCallable,
    tensors: &[ContinuousTensor],
    scalars: &[u64],
) -> Result<(), ChipError> {
    run_with(worker, callable, tensors, scalars, &CallConfig::new(4, 3))
}

pub(crate) fn run_with(
    worker: &mut ChipWorker,
    callable: &ChipCallable,
    tensors: &[ContinuousTensor],
    scalars: &[u64],
    config: &CallConfig,
) -> Result<(), ChipError> {
    let args = TaskArgsView::from_slices(tensors, scalars);
    // SAFETY: these tests name `Cells` of their own, or give a runtime that touches no tensors.
    unsafe { worker.run_callable_on(callable, args, config) }
}

/// The code that `run_runtime` returned.
#[track_caller]
pub(crate) fn code_of(result: Result<(), ChipError>) -> i32 {
    match result {
        Err(ChipError::Run { code, .. }) => code,
        other => panic!("expected a code of run_runtime, not {other:?}"),
    }
}

pub(crate) fn empty() -> ChipCallable {
    ChipCallable::builder("nothing").build().unwrap()
}

/// The words of an error, which must be one.
#[track_caller]
pub(crate) fn words<T>(result: Result<T, ChipError>) -> String {
    match result {
        Ok(_) => panic!("expected an error"),
        Err(error) => error.to_string(),
    }
}
