//! Binaries from memory to functions: each is copied into a memory file and loaded from there.

use std::collections::HashMap;
use std::error::Error;
use std::ffi::{CString, c_char, c_int};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};
use std::rc::Rc;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use mailring::abi::ChipCallableView;

use crate::interface::{SimKernel, SimOrchestration};
use crate::status::{Failure, GENERAL, failure};

/// What every child exports.
const KERNEL: &str = "kernel_entry";
/// Callables that are remembered as a whole; their libraries stay in any case.
const PROGRAMS: usize = 64;

/// Everything that a device has loaded, by content.
#[derive(Default)]
pub(crate) struct Loader {
    libraries: HashMap<Box<[u8]>, Rc<Loaded>>,
    /// Most recently used last.
    programs: Vec<Rc<Program>>,
}

/// The functions of a callable.
pub(crate) struct Program {
    bytes: Box<[u8]>,
    pub(crate) orchestration: SimOrchestration,
    children: Vec<(i32, SimKernel)>,
    _libraries: Vec<Rc<Loaded>>,
}

impl Program {
    pub(crate) fn child(&self, func_id: i32) -> Option<SimKernel> {
        self.children.iter().find(|(id, _)| *id == func_id).map(|&(_, kernel)| kernel)
    }
}

impl Loader {
    /// The functions of this callable.
    pub(crate) fn program(
        &mut self,
        callable: &ChipCallableView<'_>,
    ) -> Result<Rc<Program>, Failure> {
        let bytes = callable.as_bytes();
        if let Some(at) = self.programs.iter().rposition(|known| *known.bytes == *bytes) {
            let program = self.programs.remove(at);
            self.programs.push(Rc::clone(&program));
            return Ok(program);
        }
        let program = Rc::new(self.load_program(callable)?);
        if self.programs.len() >= PROGRAMS {
            self.programs.remove(0);
        }
        self.programs.push(Rc::clone(&program));
        Ok(program)
    }

    fn load_program(&mut self, callable: &ChipCallableView<'_>) -> Result<Program, Failure> {
        let mut libraries = Vec::new();
        let mut load = |what: &str, binary: &[u8]| {
            let library =
                self.library(binary).map_err(|why| failure(GENERAL, format!("{what}: {why}")))?;
            libraries.push(Rc::clone(&library));
            Ok::<_, Failure>(library)
        };
        let name = callable.func_name();
        let library = load("orchestration", callable.binary())?;
        // SAFETY: whoever packs a callable vouches for the type of the function it names.
        let orchestration =
            unsafe { library.function::<SimOrchestration>("orchestration", &name) }?;
        let mut children: Vec<(i32, SimKernel)> = Vec::new();
        for (func_id, child) in callable.children() {
            let what = format!("child {func_id}");
            if children.iter().any(|(known, _)| *known == func_id) {
                return Err(crate::status::invalid(format!("{what} is there twice")));
            }
            let library = load(&what, child.binary())?;
            // SAFETY: as above, for kernels.
            children.push((func_id, unsafe { library.function::<SimKernel>(&what, KERNEL) }?));
        }
        let bytes = callable.as_bytes().into();
        Ok(Program { bytes, orchestration, children, _libraries: libraries })
    }

    fn library(&mut self, binary: &[u8]) -> Result<Rc<Loaded>, String> {
        if let Some(known) = self.libraries.get(binary) {
            return Ok(Rc::clone(known));
        }
        let loaded = Rc::new(Loaded::new(binary)?);
        self.libraries.insert(binary.into(), Rc::clone(&loaded));
        Ok(loaded)
    }
}

/// A library, with the memory file that it was loaded from. The file stays open as long as the
/// library is there: the loader knows libraries by name, and the name is that of a descriptor.
struct Loaded {
    /// Taken when it is closed.
    library: Option<Library>,
    file: Option<File>,
}

impl Loaded {
    fn new(binary: &[u8]) -> Result<Self, String> {
        let mut file = memory_file().map_err(|why| format!("memfd_create: {why}"))?;
        file.write_all(binary).map_err(|why| format!("writing a memory file: {why}"))?;
        let path = name_of(&file);
        // SAFETY: runs what the library does when it is loaded; whoever packs a callable vouches
        // for its binaries.
        let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL) };
        let library = library.map_err(|error| {
            let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            format!("dlopen: {why}")
        })?;
        Ok(Self { library: Some(library), file: Some(file) })
    }

    /// # Safety
    /// `F` is the type of that function.
    unsafe fn function<F: Copy>(&self, what: &str, name: &str) -> Result<F, Failure> {
        let missing = |_| failure(GENERAL, format!("{what} has no function `{name}`"));
        let library = self.library.as_ref().ok_or(()).map_err(missing)?;
        let text = CString::new(name).map_err(|_| missing(()))?;
        // SAFETY: as the caller says.
        let found = unsafe { library.get::<F>(text.as_bytes_with_nul()) };
        found.map(|function| *function).map_err(|_| missing(()))
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        drop(self.library.take());
        let Some(file) = self.file.take() else { return };
        // A library may refuse to leave (it says so itself, or has thread-local data). Then its
        // name must not be used again, and the descriptor stays.
        // SAFETY: loads nothing; only asks whether it is there.
        let stays = unsafe { Library::open(Some(name_of(&file)), RTLD_NOW | libc::RTLD_NOLOAD) };
        if stays.is_ok() {
            std::mem::forget(file);
        }
    }
}

fn name_of(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn memory_file() -> std::io::Result<File> {
    const NAME: *const c_char = c"simchip-binary".as_ptr();
    const MFD_EXEC: u32 = 0x10;
    let make = |flags: u32| -> std::io::Result<File> {
        // SAFETY: a string that ends; the descriptor is new and ours.
        unsafe {
            let fd: c_int = libc::memfd_create(NAME, flags);
            if fd < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(File::from_raw_fd(fd))
        }
    };
    // Kernels before 6.3 do not know that one may ask for what they always give.
    make(libc::MFD_CLOEXEC | MFD_EXEC).or_else(|_| make(libc::MFD_CLOEXEC))
}
