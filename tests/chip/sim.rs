//! The simulated chip computes: kernels in C, compiled here, packed into callables, run by blocks.

use std::time::Instant;

use mailring::abi::{
    ArgDirection, CallConfig, ChipCallable, ContinuousTensor, CoreCallable, DataType, TaskArgsView,
};
use mailring::chip::ChipWorker;

use crate::kit::{
    Cells, In, InOut, Lab, Out, Scalar, code_of, run, run_with, set, simulated, simulated_worker,
    words,
};
use testkit::open_fds;

pub(crate) fn add() {
    let lab = Lab::new();
    let program = lab.program("add", &[In, In, Out]);
    let mut worker = simulated_worker(0);
    for n in [0, 1, 2, 3, 1000] {
        let a = Cells::new(&(0..n).map(|i| i as f32).collect::<Vec<_>>());
        let b = Cells::new(&(0..n).map(|i| 0.5 * i as f32).collect::<Vec<_>>());
        let sum = Cells::new(&vec![-1f32; n]);
        run(&mut worker, &program, &[a.tensor(), b.tensor(), sum.tensor()], &[]).unwrap();
        assert_eq!(sum.get(), (0..n).map(|i| 1.5 * i as f32).collect::<Vec<_>>());
    }
}

/// Every element is touched once, by the block whose part it is.
pub(crate) fn scale_by_blocks() {
    let lab = Lab::new();
    let program = lab.program("scale", &[InOut, InOut, Scalar]);
    let mut worker = simulated_worker(0);
    for blocks in [1, 2, 3, 24, 100] {
        let x = Cells::new(&(0..50).map(|i| i as f32).collect::<Vec<_>>());
        let touched = Cells::new(&[0u64; 50]);
        let tensors = [x.tensor(), touched.tensor()];
        run_with(&mut worker, &program, &tensors, &[3], &CallConfig::new(blocks, 3)).unwrap();
        assert_eq!(x.get(), (0..50).map(|i| 3.0 * i as f32).collect::<Vec<_>>());
        let by = |i: u64| (0..blocks as u64).rfind(|b| i >= 50 * b / blocks as u64).unwrap();
        let expected: Vec<u64> = (0..50).map(|i| 1 + (by(i) << 32)).collect();
        assert_eq!(touched.get(), expected, "{blocks} blocks");
    }
}

pub(crate) fn scratch_is_device_memory() {
    let lab = Lab::new();
    let program = lab.program("add_scale", &[In, In, Out, Scalar]);
    let mut worker = simulated_worker(0);
    let (a, b) = (Cells::new(&[1f32; 333]), Cells::new(&[2f32; 333]));
    let out = Cells::new(&[0f32; 333]);
    let tensors = [a.tensor(), b.tensor(), out.tensor()];
    for factor in 1..50 {
        run(&mut worker, &program, &tensors, &[factor]).unwrap();
        assert_eq!(out.get(), vec![3.0 * factor as f32; 333]);
    }
    set("SIMCHIP_FAULT", "scratch@0");
    assert_eq!(code_of(run(&mut worker, &program, &tensors, &[99])), -2);
    assert_eq!(out.get(), vec![3.0 * 49.0; 333]);
}

/// The orchestration adds 1 to every byte of all tensors; what comes back is the signature's word.
pub(crate) fn copies_follow_the_signature() {
    let lab = Lab::new();
    let mut worker = simulated_worker(0);
    let mut after = |signature: &[ArgDirection]| {
        let program = lab.program("touch", signature);
        let cells = [(); 3].map(|()| Cells::new(&[10u8, 20]));
        run(&mut worker, &program, &cells.each_ref().map(Cells::tensor), &[0]).unwrap();
        cells.map(|cell| cell.get()[0])
    };
    assert_eq!(after(&[In, Out, InOut]), [10, 11, 11]);
    assert_eq!(after(&[In, In, In, Scalar]), [10, 10, 10]);
    assert_eq!(after(&[Out, In, Out]), [11, 10, 11]);
    assert_eq!(after(&[]), [11, 11, 11], "without a signature all tensors come back");
    assert_eq!(after(&[In]), [10, 11, 11], "as far as the signature goes");
}

pub(crate) fn nothing_comes_back_after_a_failure() {
    let lab = Lab::new();
    let program = lab.program("touch", &[InOut, Out]);
    let mut worker = simulated_worker(0);
    let cells = [(); 2].map(|()| Cells::new(&[10u8]));
    let tensors = cells.each_ref().map(Cells::tensor);
    for code in [-1i64, -7, -100] {
        assert_eq!(i64::from(code_of(run(&mut worker, &program, &tensors, &[code as u64]))), code);
    }
    assert_eq!(cells.each_ref().map(|cell| cell.get()[0]), [10, 10]);
    run(&mut worker, &program, &tensors, &[0]).unwrap();
    assert_eq!(cells.each_ref().map(|cell| cell.get()[0]), [11, 11]);
}

pub(crate) fn a_task_says_what_it_is() {
    let lab = Lab::new();
    let program = lab.program("look", &[Out, In]);
    let mut worker = simulated_worker(6);
    let (out, last) = (Cells::new(&[0u64; 14]), Cells::new(&[0u16; 24]));
    let last_tensor =
        ContinuousTensor::new(last.tensor().data(), &[2, 3, 4], DataType::Bfloat16).unwrap();
    let tensors = [out.tensor(), last_tensor];
    run_with(&mut worker, &program, &tensors, &[1, 2, 77], &CallConfig::new(9, 3)).unwrap();
    assert_eq!(out.get(), [2, 3, 9, 6, 48, 3, 6, 2, 3, 4, 0, 0, 0, 77]);
}

/// Static data of binaries lives while the device is set, and is another device's own.
pub(crate) fn binaries_are_loaded_once_a_device() {
    let lab = Lab::new();
    let (program, other) = (lab.program("count", &[Out]), lab.program("count", &[InOut]));
    let mut worker = simulated_worker(0);
    let out = Cells::new(&[0u64; 2]);
    let fds = open_fds();
    let count = |worker: &mut ChipWorker, program: &ChipCallable| {
        run(worker, program, &[out.tensor()], &[]).unwrap();
        out.get()
    };
    assert_eq!(count(&mut worker, &program), [1, 1]);
    let loaded = open_fds();
    assert_eq!(loaded, fds + 4, "orchestration and three children");
    assert_eq!(count(&mut worker, &program), [2, 2]);
    assert_eq!(count(&mut worker, &other), [3, 3], "other bytes with the same binaries");
    assert_eq!(count(&mut worker, &program.clone()), [4, 4], "by content, not by address");
    assert_eq!(open_fds(), loaded);
    let mut beside = simulated_worker(1);
    assert_eq!(count(&mut beside, &program), [1, 1]);
    assert_eq!(count(&mut worker, &program), [5, 5]);
    drop(beside);
    worker.reset_device().unwrap();
    assert_eq!(open_fds(), fds, "unloaded");
    worker.set_device(0).unwrap();
    assert_eq!(count(&mut worker, &program), [1, 1], "and loaded anew");
}

/// Devices come and go without a trace.
pub(crate) fn everything_is_given_back() {
    let lab = Lab::new();
    let program = lab.program("count", &[Out]);
    let out = Cells::new(&[0u64; 2]);
    let maps = || std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    let once = || {
        let mut worker = simulated_worker(0);
        run(&mut worker, &program, &[out.tensor()], &[]).unwrap();
        assert_eq!(out.get(), [1, 1]);
    };
    once();
    let before = (open_fds(), maps());
    (0..50).for_each(|_| once());
    let after = (open_fds(), maps());
    assert_eq!(after.0, before.0);
    assert!(after.1 <= before.1 + 5, "{} mappings, then {}", before.1, after.1);
}

// ---- what it refuses --------------------------------------------------------------------------

pub(crate) fn devices_are_0_to_15() {
    for device in [0, 15] {
        assert_eq!(simulated_worker(device).device(), Some(device));
    }
    for device in [-1, 16, i32::MAX, i32::MIN] {
        let said = words(ChipWorker::start(&simulated(), device));
        assert_eq!(said, format!("set_device failed with code -5 (device {device})"));
    }
}

pub(crate) fn signatures_must_fit() {
    let lab = Lab::new();
    let mut worker = simulated_worker(0);
    let cells = [(); 2].map(|()| Cells::new(&[1u8]));
    let tensors = cells.each_ref().map(Cells::tensor);
    let mut fits = |signature: &[ArgDirection], scalars: &[u64]| {
        run(&mut worker, &lab.program("touch", signature), &tensors, scalars)
    };
    fits(&[In, Out, Scalar, Scalar], &[0, 0]).unwrap();
    fits(&[In, Out, Scalar], &[0, 0, 0]).unwrap();
    for (signature, scalars) in [
        (&[In, Out, In][..], 0),         // one tensor too few
        (&[In, Out, In], 1),             // and a scalar is none
        (&[In, Scalar], 0),              // a tensor where a scalar should be
        (&[In, Out, Scalar, Scalar], 1), // one scalar too few
        (&[In, Scalar, Out], 1),         // tensors come first
    ] {
        let code = code_of(fits(signature, &vec![0; scalars]));
        assert_eq!(code, -5, "{signature:?} {scalars}");
    }
}

pub(crate) fn tensors_must_have_an_address() {
    let lab = Lab::new();
    let program = lab.program("touch", &[]);
    let mut worker = simulated_worker(0);
    let of = |data, shape: &[u32]| ContinuousTensor::new(data, shape, DataType::Int8).unwrap();
    assert_eq!(code_of(run(&mut worker, &program, &[of(0, &[1])], &[])), -5);
    run(&mut worker, &program, &[of(0, &[0])], &[]).unwrap();
    let raw = |ndims, dtype| ContinuousTensor::from_raw(64, [1; 5], ndims, dtype);
    for tensor in [raw(6, 0), raw(1, 9), raw(u32::MAX, 0), raw(5, 255)] {
        assert_eq!(code_of(run(&mut worker, &program, &[tensor], &[])), -5);
    }
    let huge = ContinuousTensor::from_raw(64, [u32::MAX; 5], 5, 0);
    assert_eq!(code_of(run(&mut worker, &program, &[huge], &[])), -5);
}

pub(crate) fn device_memory_has_an_end() {
    let lab = Lab::new();
    let program = lab.program("touch", &[]);
    set("SIMCHIP_MEMORY", "4096");
    let mut worker = simulated_worker(0);
    let (half, more) = (Cells::new(&[1u8; 2048]), Cells::new(&[1u8; 2049]));
    run(&mut worker, &program, &[half.tensor(), half.tensor()], &[]).unwrap();
    assert_eq!(code_of(run(&mut worker, &program, &[half.tensor(), more.tensor()], &[])), -2);
    run(&mut worker, &program, &[half.tensor(), half.tensor()], &[]).unwrap();
    for nonsense in ["0", "-1", "much"] {
        set("SIMCHIP_MEMORY", nonsense);
        let said = words(ChipWorker::start(&simulated(), 1));
        assert_eq!(said, "set_device failed with code -1 (device 1)", "{nonsense}");
    }
}

pub(crate) fn launches_are_checked() {
    let lab = Lab::new();
    let program = lab.program("misbehave", &[InOut, Scalar]);
    let mut worker = simulated_worker(0);
    let x = Cells::new(&[5f32; 16]);
    let cases = [-5, -5, -5, -5, -5, -5, -5, -1, -2, -2, -5];
    for (case, expected) in cases.into_iter().enumerate() {
        let code = code_of(run(&mut worker, &program, &[x.tensor()], &[case as u64]));
        assert_eq!(code, expected, "case {case}");
    }
    assert_eq!(x.get(), [5.0; 16]);
    run(&mut worker, &program, &[x.tensor()], &[11]).unwrap();
}

pub(crate) fn binaries_must_be_loadable() {
    let lab = Lab::new();
    let mut worker = simulated_worker(0);
    let good = lab.program("touch", &[]);
    let orchestration = std::fs::read(lab.path("orchestration.so")).unwrap();
    let kernel = CoreCallable::from_file(&[], lab.path("add.so")).unwrap();
    let garbage = CoreCallable::build(&[], b"no library").unwrap();
    let no_kernel = CoreCallable::build(&[], &orchestration).unwrap();
    let of = |name: &'static str| ChipCallable::builder(name).binary(&orchestration);
    let fds = open_fds();
    for (callable, expected) in [
        (of("touch").binary(b"no library"), -1),
        (of("touch").binary(b""), -1),
        (of("nobody"), -1),
        (of(""), -1),
        (of("touch").child(1, garbage), -1),
        (of("touch").child(1, no_kernel), -1),
        (of("touch").child(1, kernel.clone()).child(1, kernel.clone()), -5),
    ] {
        let code = code_of(run(&mut worker, &callable.build().unwrap(), &[], &[]));
        assert_eq!(code, expected, "{callable:?}");
    }
    run(&mut worker, &good, &[], &[]).unwrap();
    drop(worker);
    assert!(open_fds() <= fds);
}

pub(crate) fn launch_numbers_are_checked() {
    let lab = Lab::new();
    let program = lab.program("touch", &[]);
    let mut worker = simulated_worker(0);
    let mut call = |config: CallConfig| {
        worker.run_callable(&program, TaskArgsView::from_slices(&[], &[]), &config)
    };
    call(CallConfig::new(1, 1)).unwrap();
    for config in [CallConfig::new(0, 3), CallConfig::new(-1, 3), CallConfig::new(24, 0)] {
        assert_eq!(code_of(call(config)), -5, "{config:?}");
    }
    let mut config = CallConfig::default();
    (config.enable_profiling, config.enable_dump_tensor) = (1, 1);
    call(config).unwrap();
    config.enable_profiling = 2;
    assert_eq!(code_of(call(config)), -5);
}

// ---- faults on demand -------------------------------------------------------------------------

pub(crate) fn faults_come_when_asked_for() {
    let lab = Lab::new();
    let program = lab.program("touch", &[]);
    let fault = |text: &str| set("SIMCHIP_FAULT", text);
    let start = || words(ChipWorker::start(&simulated(), 2));
    fault("create");
    assert!(start().contains("create_device_context returned null"));
    fault("size");
    assert!(start().contains("get_runtime_size returned 0"));
    fault("set_device=-7@1,set_device=-8@2");
    assert_eq!(start(), "set_device failed with code -8 (device 2)");
    fault("set_device=-7@1");
    let mut worker = simulated_worker(2);
    for (text, code) in [("run=-5", -5), ("run=-100@2", -100), ("run=-3@1, run=-4@2", -4)] {
        fault(text);
        assert_eq!(code_of(run(&mut worker, &program, &[], &[])), code);
    }
    fault("run=-5@1,crash@3,abort@4,hang@5,slow=60000@6");
    run(&mut worker, &program, &[], &[]).unwrap();
    fault("slow=80");
    let began = Instant::now();
    run(&mut worker, &program, &[], &[]).unwrap();
    assert!(began.elapsed().as_millis() >= 80);
    fault("finalize=-6");
    assert_eq!(words(worker.reset_device()), "finalize_device failed with code -6 (device 2)");
    fault("");
    worker.set_device(2).unwrap();
    run(&mut worker, &program, &[], &[]).unwrap();
    fault("rum=-5");
    assert!(start().contains("create_device_context returned null"), "no such fault");
}
