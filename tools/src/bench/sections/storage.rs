//! The bytes of a task's arguments: as a blob, and as the argument block of a chip runtime, of which
//! what is in use is written, beside a copy of the whole block.

use std::hint::black_box;
use std::time::Instant;

use mailring::abi::{
    AbiError, ChipStorageTaskArgs, ContinuousTensor, DataType, TaskArgs, TaskArgsView, read_blob,
    view_to_chip_storage, write_blob,
};

use super::super::run::{Measured, Run};
use super::super::section::{Section, Unit, measured, ratio};
use crate::system::Pinned;

const CALLS: usize = 100_000;

pub(super) static SECTION: Section = Section {
    name: "storage",
    title: "The bytes of 2 tensors and a scalar",
    seconds: [0.3, 1.0, 2.0],
    figures: &[
        measured("storage.blob_write_ns", Unit::Ns, "written as a blob", "write_blob: 96 bytes"),
        measured("storage.blob_read_ns", Unit::Ns, "a view of a blob", "read_blob, checked"),
        measured(
            "storage.chip_used_ns",
            Unit::Ns,
            "written into the block of a chip",
            "view_to_chip_storage, which writes what is in use",
        ),
        measured(
            "storage.chip_full_ns",
            Unit::Ns,
            "the whole block copied",
            "1672 bytes, as a structure passed by value",
        ),
        ratio("storage_ratio", "storage.chip_used_ns", "storage.chip_full_ns", "used / whole")
            .flat(),
    ],
    panels: &[],
    bars: &[],
    measure,
};

fn measure(run: &mut Run) -> Measured {
    let _pinned = Pinned::to(run.here());
    run.rounds(|run, _| {
        let (used, full) = used_and_full(CALLS)?;
        let (write, read) = blob(CALLS)?;
        run.add("storage.blob_write_ns", write);
        run.add("storage.blob_read_ns", read);
        run.add("storage.chip_used_ns", used);
        run.add("storage.chip_full_ns", full);
        Ok(())
    })
}

/// Nanoseconds a call: `(two tensors and a scalar, all 1672 bytes)`.
fn used_and_full(calls: usize) -> Result<(f64, f64), AbiError> {
    let tensor = ContinuousTensor::new(0x1000, &[64, 64], DataType::Float32)?;
    let (tensors, scalars) = ([tensor; 2], [7]);
    let view = TaskArgsView::from_slices(&tensors, &scalars);
    let mut block = ChipStorageTaskArgs::new();
    let used = per_call(calls, || view_to_chip_storage(black_box(view), black_box(&mut block)))?;
    let other = block;
    let full = per_call(calls, || {
        *black_box(&mut block) = *black_box(&other);
        Ok(())
    })?;
    Ok((used, full))
}

/// Nanoseconds a call: `(writing, reading)`.
fn blob(calls: usize) -> Result<(f64, f64), AbiError> {
    let tensor = ContinuousTensor::new(0x1000, &[64, 64], DataType::Float32)?;
    let args = TaskArgs::new().input(tensor).output(tensor).scalar(7);
    let mut words = [0u64; 12];
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
    let write = per_call(calls, || write_blob(black_box(&args), black_box(bytes)).map(drop))?;
    let read = per_call(calls, || {
        black_box(read_blob(black_box(bytes))?);
        Ok(())
    })?;
    Ok((write, read))
}

fn per_call(calls: usize, mut call: impl FnMut() -> Result<(), AbiError>) -> Result<f64, AbiError> {
    let begin = Instant::now();
    for _ in 0..calls {
        call()?;
    }
    Ok(begin.elapsed().as_nanos() as f64 / calls as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_take_time() {
        let (used, full) = used_and_full(1000).expect("two tensors fit");
        assert!(used > 0.0 && full > 0.0);
        let (write, read) = blob(1000).expect("two tensors fit");
        assert!(write > 0.0 && read > 0.0);
    }
}
