//! One call of `run_runtime`: check, load, copy in, run, copy back.

use std::ffi::{c_int, c_void};
use std::mem::offset_of;
use std::time::Duration;

use mailring::abi::{ArgDirection, ChipCallableView, ChipStorageTaskArgs, ContinuousTensor};
use mailring::limits::{CHIP_MAX_SCALAR_ARGS, CHIP_MAX_TENSOR_ARGS};

use crate::context::{Context, Device, read};
use crate::fault::Fault;
use crate::interface::{SimTask, SimTensor};
use crate::job::{Job, launch, scratch};
use crate::status::{Failure, GENERAL, HEAP, failure, invalid};

/// What lies in the runtime buffer while a task runs: the arguments as its functions see them.
#[repr(C, align(64))]
struct Runtime {
    tensors: [SimTensor; CHIP_MAX_TENSOR_ARGS],
    scalars: [u64; CHIP_MAX_SCALAR_ARGS],
}

/// Bytes of the runtime buffer.
pub(crate) const RUNTIME_BYTES: usize = size_of::<Runtime>();

/// What `run_runtime` was called with.
pub(crate) struct Call {
    pub(crate) runtime_buffer: *mut c_void,
    pub(crate) callable: *const u8,
    pub(crate) args: *const u8,
    pub(crate) block_dim: c_int,
    pub(crate) aicpu_thread_num: c_int,
    pub(crate) device: c_int,
    /// Name, address, size. This chip carries its control program itself and runs neither.
    pub(crate) binaries: [(&'static str, *const u8, usize); 2],
    /// Name and value. This chip has nothing to profile or dump.
    pub(crate) switches: [(&'static str, c_int); 2],
}

/// Where a tensor lies on both sides.
struct Transfer {
    host: *mut u8,
    device: *mut u8,
    bytes: usize,
    back: bool,
}

impl Call {
    /// # Safety
    /// As `run_runtime`.
    pub(crate) unsafe fn run(&self, context: &mut Context) -> Result<(), Failure> {
        let device = self.check(context)?;
        obey(device.id)?;
        // SAFETY: as the caller says.
        let (args, callable) =
            unsafe { (arguments(self.args)?, ChipCallableView::from_ptr(self.callable)?) };
        let back = directions(&args, callable.signature())?;
        let program = device.loader.program(&callable)?;
        device.memory.clear();
        let mut transfers = Vec::with_capacity(args.tensors()?.len());
        for (index, (tensor, back)) in args.tensors()?.iter().zip(back).enumerate() {
            transfers.push(place(device, index, tensor, back)?);
        }
        let runtime: *mut Runtime = self.runtime_buffer.cast();
        // SAFETY: the buffer has the size of a `Runtime`, is aligned (checked) and ours for the
        // call; the counts are within the arrays.
        unsafe {
            let tensors = (&raw mut (*runtime).tensors).cast::<SimTensor>();
            for (index, (tensor, transfer)) in args.tensors()?.iter().zip(&transfers).enumerate() {
                tensors.add(index).write(describe(tensor, transfer)?);
            }
            let scalars = (&raw mut (*runtime).scalars).cast::<u64>();
            scalars.copy_from_nonoverlapping(args.scalars()?.as_ptr(), args.scalars()?.len());
        }
        for transfer in &transfers {
            // SAFETY: the host side is the caller's word, the device side was taken for this.
            unsafe { transfer.device.copy_from_nonoverlapping(transfer.host, transfer.bytes) };
        }
        let job = Job { program: &program, memory: &device.memory, device: device.id };
        let task = SimTask {
            tensors: self.runtime_buffer.cast(),
            scalars: self.runtime_buffer.wrapping_byte_add(offset_of!(Runtime, scalars)).cast(),
            tensor_count: transfers.len() as u32,
            scalar_count: args.scalars()?.len() as u32,
            block_dim: self.block_dim,
            device: device.id,
            chip: (&raw const job).cast_mut().cast(),
            launch,
            scratch,
        };
        // SAFETY: the callable's binary exports this function with this type, as whoever packed it
        // vouches; the task and all it points to outlive the call.
        let code = unsafe { (program.orchestration)(&raw const task) };
        if code != 0 {
            let why = format!("`{}` returned {code}", callable.func_name());
            return Err(failure(if code < 0 { code } else { GENERAL }, why));
        }
        for transfer in transfers.iter().filter(|transfer| transfer.back) {
            // SAFETY: as on the way in.
            unsafe { transfer.host.copy_from_nonoverlapping(transfer.device, transfer.bytes) };
        }
        Ok(())
    }

    /// Everything that can be seen without following a pointer, and the buffer.
    fn check<'a>(&self, context: &'a mut Context) -> Result<&'a mut Device, Failure> {
        let device = context.device.as_mut().ok_or_else(|| invalid("no device is set"))?;
        if device.id != self.device {
            return Err(invalid(format!("device {} is set, not {}", device.id, self.device)));
        }
        let given = [
            ("runtime buffer", self.runtime_buffer.cast_const().cast()),
            ("callable", self.callable),
            ("argument block", self.args),
        ];
        if let Some((what, _)) = given.iter().find(|(_, pointer)| pointer.is_null()) {
            return Err(invalid(format!("the {what} is null")));
        }
        for (what, first, size) in self.binaries {
            if first.is_null() && size > 0 {
                return Err(invalid(format!("the {what} binary is null, of {size} bytes")));
            }
        }
        for (what, number) in
            [("block_dim", self.block_dim), ("aicpu_thread_num", self.aicpu_thread_num)]
        {
            if number < 1 {
                return Err(invalid(format!("{what} is {number}; it takes at least 1")));
            }
        }
        for (what, switch) in self.switches {
            if !(0..=1).contains(&switch) {
                return Err(invalid(format!("{what} is {switch}, neither 0 nor 1")));
            }
        }
        let buffer: *const Runtime = self.runtime_buffer.cast_const().cast();
        if !buffer.is_aligned() {
            return Err(invalid(format!("the runtime buffer at {buffer:p} is not aligned to 64")));
        }
        // SAFETY: it has the size that `get_runtime_size` said, and is ours for the call.
        let bytes = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), RUNTIME_BYTES) };
        if bytes.iter().any(|&byte| byte != 0) {
            return Err(invalid("the runtime buffer is not all zeros"));
        }
        Ok(device)
    }
}

/// Fails, waits or dies, if that is asked for.
fn obey(device: i32) -> Result<(), Failure> {
    for fault in read(Some(device))? {
        match fault {
            Fault::Run(code) => return Err(failure(code, "run_runtime fails on demand")),
            Fault::Slow(more) => std::thread::sleep(more),
            Fault::Hang => loop {
                std::thread::sleep(Duration::from_secs(3600));
            },
            Fault::Abort => std::process::abort(),
            Fault::Crash => {
                let nowhere: *mut u8 = std::ptr::without_provenance_mut(std::hint::black_box(8));
                // SAFETY: it is not: the kernel is to end this process.
                unsafe { nowhere.write_volatile(1) };
            }
            Fault::Create
            | Fault::Size
            | Fault::SetDevice(_)
            | Fault::Finalize(_)
            | Fault::Scratch => {}
        }
    }
    Ok(())
}

/// Copies the part of an argument block that is in use: the rest may never have been written.
///
/// # Safety
/// An argument block lies at `block`.
unsafe fn arguments(block: *const u8) -> Result<ChipStorageTaskArgs, Failure> {
    /// The counts come last: tensors, scalars, then these.
    const COUNTS: usize = size_of::<ChipStorageTaskArgs>() - 8;
    const SCALARS: usize = CHIP_MAX_TENSOR_ARGS * size_of::<ContinuousTensor>();
    if !block.cast::<ChipStorageTaskArgs>().is_aligned() {
        return Err(invalid(format!("the argument block at {block:p} is not aligned to 8")));
    }
    // SAFETY: the block is there and aligned; the counts are always written.
    let [tensors, scalars] = unsafe { block.add(COUNTS).cast::<[i32; 2]>().read() };
    let within = |what, count: i32, limit: usize| {
        let fits = usize::try_from(count).ok().filter(|&count| count <= limit);
        fits.ok_or_else(|| invalid(format!("{what} is {count}; possible are 0 to {limit}")))
    };
    let tensors = within("tensor_count", tensors, CHIP_MAX_TENSOR_ARGS)?;
    let scalars = within("scalar_count", scalars, CHIP_MAX_SCALAR_ARGS)?;
    let mut args = ChipStorageTaskArgs::new();
    for index in 0..tensors {
        // SAFETY: as many tensors are written as the count says.
        args.add_tensor(unsafe { block.cast::<ContinuousTensor>().add(index).read() })?;
    }
    for index in 0..scalars {
        // SAFETY: the same for scalars.
        args.add_scalar(unsafe { block.add(SCALARS).cast::<u64>().add(index).read() })?;
    }
    args.view()?; // shapes, types, addresses
    Ok(args)
}

/// Which tensors are copied back. Entries of a signature go with the arguments in order: tensors,
/// then scalars. A tensor without an entry is copied back.
fn directions(
    args: &ChipStorageTaskArgs,
    signature: &[ArgDirection],
) -> Result<Vec<bool>, Failure> {
    let (tensors, scalars) = (args.tensors()?.len(), args.scalars()?.len());
    let mut back = vec![true; tensors];
    for (index, direction) in signature.iter().enumerate() {
        let is_scalar = *direction == ArgDirection::Scalar;
        match back.get_mut(index) {
            Some(back) if !is_scalar => *back = *direction != ArgDirection::In,
            None if is_scalar && index - tensors < scalars => {}
            _ => {
                let name = direction.name();
                return Err(invalid(format!(
                    "entry {index} of the signature is {name}, and there are {tensors} tensors \
                     and then {scalars} scalars"
                )));
            }
        }
    }
    Ok(back)
}

/// Takes device memory for a tensor.
fn place(
    device: &Device,
    index: usize,
    tensor: &ContinuousTensor,
    back: bool,
) -> Result<Transfer, Failure> {
    let bytes = tensor.nbytes()?;
    if bytes > 0 && tensor.data() == 0 {
        return Err(invalid(format!("tensor {index} ({bytes} bytes) is at address 0")));
    }
    let taken = usize::try_from(bytes).ok().and_then(|bytes| device.memory.take(bytes));
    let Some(taken) = taken else {
        let size = device.memory.size();
        let why = format!("tensor {index} ({bytes} bytes) does not fit the {size} of the device");
        return Err(failure(HEAP, why));
    };
    let host = match bytes {
        0 => std::ptr::NonNull::<u8>::dangling().as_ptr(),
        _ => std::ptr::with_exposed_provenance_mut(tensor.data() as usize),
    };
    Ok(Transfer { host, device: taken.as_ptr(), bytes: bytes as usize, back })
}

fn describe(tensor: &ContinuousTensor, transfer: &Transfer) -> Result<SimTensor, Failure> {
    let mut shape = [0; 5];
    let dimensions = tensor.shape();
    shape.iter_mut().zip(dimensions).for_each(|(to, from)| *to = *from);
    Ok(SimTensor {
        data: transfer.device.cast(),
        bytes: transfer.bytes as u64,
        shape,
        ndims: dimensions.len() as u32,
        dtype: tensor.dtype()? as u32,
    })
}
