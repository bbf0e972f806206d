//! The argument block of a chip runtime: writing what is in use, beside copying the whole block.

use std::hint::black_box;
use std::time::Instant;

use mailring::abi::{
    AbiError, ChipStorageTaskArgs, ContinuousTensor, DataType, TaskArgsView, view_to_chip_storage,
};

/// Nanoseconds a call: `(two tensors and a scalar, all 1672 bytes)`.
pub(super) fn used_and_full(calls: usize) -> Result<(f64, f64), AbiError> {
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
    }
}
