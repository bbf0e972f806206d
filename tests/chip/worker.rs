//! A chip worker by hand: its states, and every failure with its words.

use mailring::abi::{CallConfig, ContinuousTensor, DataType, TaskArgsView};
use mailring::chip::{ChipError, ChipRuntime, ChipWorker, run_code_name};

use crate::kit::{self, Lab, code_of, empty, run, run_with, set, words};

fn double(lab: &Lab) -> ChipRuntime {
    kit::runtime(lab.compile("double"))
}

/// A worker on a device of the double.
fn started(runtime: &ChipRuntime) -> ChipWorker {
    ChipWorker::start(runtime, 3).unwrap()
}

/// Whether the library is loaded in this process.
fn is_mapped(runtime: &ChipRuntime) -> bool {
    let path = runtime.host_runtime().to_str().unwrap().to_owned();
    std::fs::read_to_string("/proc/self/maps").unwrap().contains(&path)
}

// ---- the states of a chip worker -------------------------------------------------------

pub(crate) fn config_has_its_defaults() {
    let mut config = CallConfig::default();
    let seen = (config.block_dim, config.aicpu_thread_num, config.enable_profiling);
    assert_eq!((seen, config.enable_dump_tensor), ((24, 3, 0), 0));
    (config.block_dim, config.aicpu_thread_num, config.enable_profiling) = (32, 4, 1);
    let shown = format!("{config:?}");
    for part in ["block_dim: 32", "aicpu_thread_num: 4", "enable_profiling: 1"] {
        assert!(shown.contains(part), "{shown}");
    }
}

pub(crate) fn begins_without_runtime_and_device() {
    let worker = ChipWorker::new();
    assert!(!worker.is_initialized());
    assert_eq!(worker.device(), None);
    assert!(format!("{worker:?}").contains("new"));
}

pub(crate) fn run_before_set_device() {
    let lab = Lab::new();
    let mut worker = ChipWorker::new();
    assert!(words(run(&mut worker, &empty(), &[], &[])).contains("device not set"));
    worker.init(&double(&lab)).unwrap();
    assert!(worker.is_initialized());
    assert!(words(run(&mut worker, &empty(), &[], &[])).contains("device not set"));
}

pub(crate) fn set_device_before_init() {
    assert!(words(ChipWorker::new().set_device(0)).contains("not initialized"));
}

pub(crate) fn reset_device_is_idempotent() {
    let lab = Lab::new();
    let mut worker = ChipWorker::new();
    worker.reset_device().unwrap();
    worker.init(&double(&lab)).unwrap();
    worker.reset_device().unwrap();
    worker.set_device(1).unwrap();
    for _ in 0..3 {
        worker.reset_device().unwrap();
        assert_eq!(worker.device(), None);
    }
    assert!(words(run(&mut worker, &empty(), &[], &[])).contains("device not set"));
    worker.set_device(2).unwrap(); // another one may follow
    assert_eq!(worker.device(), Some(2));
    run(&mut worker, &empty(), &[], &[]).unwrap();
}

pub(crate) fn finalize_is_idempotent() {
    let lab = Lab::new();
    let mut worker = ChipWorker::new();
    worker.finalize().unwrap();
    worker.finalize().unwrap();
    let mut worker = started(&double(&lab));
    for _ in 0..3 {
        worker.finalize().unwrap();
        assert!(!worker.is_initialized());
        assert_eq!(worker.device(), None);
    }
    worker.reset_device().unwrap();
}

pub(crate) fn nothing_after_finalize() {
    let lab = Lab::new();
    let runtime = double(&lab);
    let mut worker = started(&runtime);
    worker.finalize().unwrap();
    assert!(!is_mapped(&runtime), "the library was closed");
    for said in [
        words(worker.init(&runtime)),
        words(worker.set_device(0)),
        words(run(&mut worker, &empty(), &[], &[])),
    ] {
        assert!(said.contains("finalized"), "{said}");
    }
    let mut unused = ChipWorker::new();
    unused.finalize().unwrap();
    assert!(words(unused.init(&runtime)).contains("finalized"));
}

pub(crate) fn a_missing_library_is_a_dlopen_error() {
    let lab = Lab::new();
    let missing = lab.path("libnothing.so");
    let mut worker = ChipWorker::new();
    let said = words(worker.init(&kit::runtime(&missing)));
    assert!(said.contains("dlopen") && said.contains("host runtime"), "{said}");
    assert!(said.contains(missing.to_str().unwrap()), "{said}");
    std::fs::write(&missing, "no library at all").unwrap();
    assert!(words(worker.init(&kit::runtime(&missing))).contains("dlopen"));
    // Nothing has happened: the same worker takes a library that is one.
    worker.init(&double(&lab)).unwrap();
}

// ---- the other states -------------------------------------------------------------------------

pub(crate) fn init_twice() {
    let lab = Lab::new();
    let runtime = double(&lab);
    let mut worker = ChipWorker::new();
    worker.init(&runtime).unwrap();
    assert!(words(worker.init(&runtime)).contains("initialized already"));
    worker.set_device(0).unwrap();
    assert!(words(worker.init(&runtime)).contains("initialized already"));
    run(&mut worker, &empty(), &[], &[]).unwrap();
}

pub(crate) fn set_device_twice() {
    let lab = Lab::new();
    let mut worker = started(&double(&lab));
    let said = words(worker.set_device(4));
    assert!(said.contains("device 3 is set already"), "{said}");
    assert_eq!(worker.device(), Some(3));
    run(&mut worker, &empty(), &[], &[]).unwrap();
}

// ---- failures of the runtime ------------------------------------------------------------------

pub(crate) fn each_missing_symbol_is_named() {
    let lab = Lab::new();
    for symbol in [
        "create_device_context",
        "destroy_device_context",
        "get_runtime_size",
        "set_device",
        "run_runtime",
        "finalize_device",
    ] {
        let object = lab.compile_as(symbol, "double", &[&format!("-DWITHOUT_{symbol}")]);
        let runtime = kit::runtime(object);
        let mut worker = ChipWorker::new();
        let error = worker.init(&runtime).unwrap_err();
        assert!(
            matches!(&error, ChipError::MissingSymbol { symbol: named, .. } if *named == symbol),
            "{error}"
        );
        assert!(error.to_string().contains(&format!("no symbol `{symbol}`")), "{error}");
        assert!(!worker.is_initialized());
        assert!(!is_mapped(&runtime), "the library was closed");
    }
}

pub(crate) fn a_null_context() {
    let lab = Lab::new();
    let runtime = double(&lab);
    let mut worker = ChipWorker::new();
    set("DOUBLE_NULL", "1");
    let said = words(worker.init(&runtime));
    assert!(said.contains("create_device_context returned null"), "{said}");
    assert!(!is_mapped(&runtime));
    set("DOUBLE_NULL", "0");
    worker.init(&runtime).unwrap();
}

pub(crate) fn a_missing_binary_is_named() {
    let lab = Lab::new();
    let (there, missing) = (lab.path("there"), lab.path("missing"));
    std::fs::write(&there, [1, 2]).unwrap();
    let (there, missing) = (there.to_str().unwrap(), missing.to_str().unwrap());
    for (aicpu, aicore, named) in [(missing, there, "AICPU"), (there, missing, "AICore")] {
        let runtime = double(&lab).aicpu(aicpu).aicore(aicore);
        let said = words(ChipWorker::new().init(&runtime));
        assert!(said.contains(named) && said.contains(missing), "{said}");
        assert!(said.contains("No such file"), "{said}");
        assert!(!is_mapped(&runtime));
    }
    let said = words(ChipWorker::new().init(&double(&lab).aicpu("/")));
    assert!(said.contains("AICPU binary `/`"), "{said}");
}

pub(crate) fn a_missing_simulation_context() {
    let lab = Lab::new();
    let runtime = double(&lab).sim_context(lab.path("libcontext.so"));
    let said = words(ChipWorker::new().init(&runtime));
    assert!(said.contains("dlopen of the simulation context"), "{said}");
}

/// A runtime that needs the context finds no symbol without it: dlopen says which.
pub(crate) fn a_context_that_is_left_out() {
    let lab = Lab::new();
    let object = lab.compile_as("needs", "double", &["-DNEEDS_CONTEXT"]);
    let said = words(ChipWorker::new().init(&kit::runtime(object)));
    assert!(said.contains("dlopen") && said.contains("simulation_context"), "{said}");
}

pub(crate) fn sizes_that_cannot_be() {
    let lab = Lab::new();
    let runtime = double(&lab);
    for size in ["0", "-1", "9223372036854775807"] {
        set("DOUBLE_SIZE", size);
        let said = words(ChipWorker::new().init(&runtime));
        assert!(said.contains("get_runtime_size returned"), "{said}");
        assert!(!is_mapped(&runtime));
    }
}

pub(crate) fn set_device_fails() {
    let lab = Lab::new();
    let mut worker = ChipWorker::new();
    worker.init(&double(&lab)).unwrap();
    for code in [-1, -5, 7, 507_033] {
        set("DOUBLE_SET_DEVICE", code.to_string());
        let error = worker.set_device(6).unwrap_err();
        assert_eq!(error.to_string(), format!("set_device failed with code {code} (device 6)"));
        assert_eq!(worker.device(), None);
    }
    assert!(words(run(&mut worker, &empty(), &[], &[])).contains("device not set"));
    set("DOUBLE_SET_DEVICE", "0");
    worker.set_device(6).unwrap();
}

const CODES: [(i32, &str); 11] = [
    (-1, "scope deadlock, or a failure without a code of its own"),
    (-2, "heap ring deadlock"),
    (-3, "flow-control deadlock"),
    (-4, "dependency pool overflow"),
    (-5, "invalid arguments"),
    (-6, "dependency overflow"),
    (-7, "invalid sync start"),
    (-8, "tensor wait time-out"),
    (-9, "explicit fatal error"),
    (-100, "scheduler failure"),
    (-42, "no documented code"),
];

pub(crate) fn run_fails_with_each_code() {
    let lab = Lab::new();
    let mut worker = started(&double(&lab));
    for (code, name) in CODES {
        assert_eq!(run_code_name(code), name);
        set("DOUBLE_RUN", code.to_string());
        let error = run(&mut worker, &empty(), &[], &[]).unwrap_err();
        let said = format!("run_runtime failed with code {code} ({name}) on device 3");
        assert_eq!(error.to_string(), said);
        assert_eq!(code_of(Err(error)), code);
    }
    set("DOUBLE_RUN", "5"); // whatever is not 0 is a failure
    assert_eq!(code_of(run(&mut worker, &empty(), &[], &[])), 5);
    set("DOUBLE_RUN", "0");
    run(&mut worker, &empty(), &[], &[]).unwrap();
}

pub(crate) fn finalize_device_fails() {
    let lab = Lab::new();
    let runtime = double(&lab);
    let mut worker = started(&runtime);
    set("DOUBLE_FINALIZE", "-3");
    let said = words(worker.reset_device());
    assert_eq!(said, "finalize_device failed with code -3 (device 3)");
    worker.reset_device().unwrap(); // it was let go all the same
    worker.set_device(4).unwrap();
    let said = words(worker.finalize());
    assert_eq!(said, "finalize_device failed with code -3 (device 4)");
    assert!(!is_mapped(&runtime), "the rest was done");
    worker.finalize().unwrap();
}

pub(crate) fn start_names_the_device() {
    let lab = Lab::new();
    let said = words(ChipWorker::start(&kit::runtime(lab.path("missing.so")), 7));
    assert!(said.starts_with("device 7: dlopen of the host runtime"), "{said}");
    set("DOUBLE_SET_DEVICE", "-9");
    let said = words(ChipWorker::start(&double(&lab), 7));
    assert_eq!(said, "set_device failed with code -9 (device 7)");
}

// ---- arguments and programs -------------------------------------------------------------------

pub(crate) fn too_many_arguments() {
    let lab = Lab::new();
    let mut worker = started(&double(&lab));
    let tensor = ContinuousTensor::new(64, &[1], DataType::Int8).unwrap();
    let config = CallConfig::default();
    let (tensors, scalars) = ([tensor; 16], [1; 128]);
    run_with(&mut worker, &empty(), &tensors, &scalars, &config).unwrap();
    for (tensors, scalars, said) in
        [(17, 0, "17 tensors"), (100, 0, "100 tensors"), (0, 129, "129 scalars")]
    {
        let (tensors, scalars) = (vec![tensor; tensors], vec![1; scalars]);
        let error = run_with(&mut worker, &empty(), &tensors, &scalars, &config).unwrap_err();
        assert!(matches!(error, ChipError::Args(_)) && error.to_string().contains(said), "{error}");
    }
    run_with(&mut worker, &empty(), &tensors, &scalars, &config).unwrap();
    // Nobody answers for these addresses.
    let full = TaskArgsView::from_slices(&tensors, &scalars);
    let error = worker.run_callable(&empty(), full, &config).unwrap_err();
    assert!(error.to_string().contains("tensor 0 names 0x40"), "{error}");
}

pub(crate) fn programs_have_numbers_and_names() {
    let mut chips = kit::runtime("nothing.so").devices([4, 2]);
    assert_eq!(chips.register("a", empty()).unwrap().0, 0);
    assert_eq!(chips.register("b", empty()).unwrap().0, 1);
    let said = words(chips.register("a", empty()));
    assert!(said.contains("`a` is registered already"), "{said}");
    assert_eq!(chips.register("c", empty()).unwrap().0, 2);
    assert_eq!(chips.program_names().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(chips.device_ids(), [4, 2]);
    assert!(chips.program(2.into()).is_ok());
    let said = words(chips.program(3.into()).map(drop));
    assert!(said.contains("callable 3") && said.contains("3 are registered"), "{said}");
}
