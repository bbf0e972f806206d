//! What a runtime sees: which calls in which order, with which bytes.

use std::path::PathBuf;

use mailring::abi::{
    ArgDirection, CallConfig, ChipCallable, ContinuousTensor, CoreCallable, DataType, TaskArgsView,
};
use mailring::chip::{ChipRuntime, ChipWorker};

use crate::kit::{self, Lab, empty, run, set};

/// The double, and what it has written down.
struct Noted {
    lab: Lab,
    log: PathBuf,
    runtime: ChipRuntime,
}

impl Noted {
    fn new() -> Self {
        let lab = Lab::new();
        let log = lab.path("log");
        set("DOUBLE_LOG", &log);
        let runtime = kit::runtime(lab.compile("double"));
        Self { lab, log, runtime }
    }

    /// The lines since the last time.
    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let _ = std::fs::remove_file(&self.log);
        text.lines().map(str::to_owned).collect()
    }

    /// The calls since the last time, without their bytes.
    fn calls(&self) -> Vec<String> {
        let details = ["numbers", "buffer", "aicpu", "aicore", "callable", "args"];
        let is_detail =
            |line: &String| details.iter().any(|name| line.starts_with(&format!("{name} ")));
        self.lines().into_iter().filter(|line| !is_detail(line)).collect()
    }

    /// What the only call since the last time said of `name`.
    #[track_caller]
    fn detail(&self, name: &str) -> String {
        let lines = self.lines();
        let line = lines.iter().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {lines:?}")).to_owned()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

pub(crate) fn from_load_to_unload() {
    let noted = Noted::new();
    let mut worker = ChipWorker::new();
    worker.init(&noted.runtime).unwrap();
    assert_eq!(noted.calls(), ["load", "create_device_context", "get_runtime_size"]);
    worker.set_device(5).unwrap();
    assert_eq!(noted.calls(), ["set_device 5"]);
    for _ in 0..3 {
        run(&mut worker, &empty(), &[], &[]).unwrap();
    }
    assert_eq!(noted.calls(), ["run_runtime"; 3]);
    worker.reset_device().unwrap();
    worker.reset_device().unwrap();
    assert_eq!(noted.calls(), ["finalize_device"]);
    worker.set_device(6).unwrap();
    assert_eq!(noted.calls(), ["set_device 6"]);
    worker.finalize().unwrap();
    worker.finalize().unwrap();
    assert_eq!(noted.calls(), ["finalize_device", "destroy_device_context", "unload"]);
    drop(worker);
    assert!(noted.calls().is_empty());
}

pub(crate) fn a_drop_finalizes() {
    let noted = Noted::new();
    drop(ChipWorker::start(&noted.runtime, 0).unwrap());
    let all = ["load", "create_device_context", "get_runtime_size", "set_device 0"];
    let end = ["finalize_device", "destroy_device_context", "unload"];
    assert_eq!(noted.calls(), [&all[..], &end].concat());
    let mut worker = ChipWorker::new();
    worker.init(&noted.runtime).unwrap();
    drop(worker);
    assert_eq!(noted.calls(), [&all[..3], &end[1..]].concat(), "no device, nothing to let go");
}

/// What fails half way is taken back in the opposite order.
pub(crate) fn a_failed_init_is_undone() {
    let noted = Noted::new();
    let refused = |runtime: &ChipRuntime, says: &str| {
        let why = ChipWorker::new().init(runtime).unwrap_err().to_string();
        assert!(why.contains(says), "{why}");
    };
    refused(&noted.runtime.clone().aicore(noted.lab.path("missing")), "missing");
    let undone = ["load", "create_device_context", "destroy_device_context", "unload"];
    assert_eq!(noted.calls(), undone);
    set("DOUBLE_NULL", "1");
    refused(&noted.runtime, "create_device_context returned null");
    assert_eq!(noted.calls(), ["load", "create_device_context", "unload"]);
    set("DOUBLE_NULL", "0");
    set("DOUBLE_SIZE", "0");
    refused(&noted.runtime, "get_runtime_size");
    let sized = [&undone[..2], &["get_runtime_size"], &undone[2..]].concat();
    assert_eq!(noted.calls(), sized);
}

pub(crate) fn launch_parameters_are_passed() {
    let noted = Noted::new();
    let mut worker = ChipWorker::start(&noted.runtime, 9).unwrap();
    let mut call = |config: &CallConfig| {
        worker.run_callable(&empty(), TaskArgsView::from_slices(&[], &[]), config).unwrap();
        noted.detail("numbers")
    };
    assert_eq!(call(&CallConfig::default()), "24 3 9 0 0");
    let mut config = CallConfig::new(-7, i32::MAX);
    config.enable_profiling = 1;
    assert_eq!(call(&config), "-7 2147483647 9 1 0");
    (config.enable_profiling, config.enable_dump_tensor) = (0, 1);
    assert_eq!(call(&config), "-7 2147483647 9 0 1");
}

pub(crate) fn binaries_are_passed() {
    let noted = Noted::new();
    let (aicpu, aicore) = (noted.lab.path("aicpu.so"), noted.lab.path("aicore.o"));
    let cores: Vec<u8> = (0..10_000u32).map(|i| (i * 7) as u8).collect();
    std::fs::write(&aicpu, b"\x01\x00\xff").unwrap();
    std::fs::write(&aicore, &cores).unwrap();
    let mut worker =
        ChipWorker::start(&noted.runtime.clone().aicpu(&aicpu).aicore(&aicore), 0).unwrap();
    // They were read when the worker was made.
    std::fs::remove_file(&aicpu).unwrap();
    std::fs::remove_file(&aicore).unwrap();
    for _ in 0..2 {
        run(&mut worker, &empty(), &[], &[]).unwrap();
        let lines = noted.lines();
        assert!(lines.contains(&"aicpu 0100ff".to_owned()));
        assert!(lines.contains(&format!("aicore {}", hex(&cores))));
    }
    let mut worker = ChipWorker::start(&noted.runtime, 0).unwrap();
    run(&mut worker, &empty(), &[], &[]).unwrap();
    let lines = noted.lines();
    assert!(lines.contains(&"aicpu -".to_owned()) && lines.contains(&"aicore -".to_owned()));
}

/// The double fills its buffer with ones each time.
pub(crate) fn the_buffer_is_zeros_each_time() {
    let noted = Noted::new();
    for size in ["1", "64", "1000", "65537"] {
        set("DOUBLE_SIZE", size);
        let mut worker = ChipWorker::start(&noted.runtime, 0).unwrap();
        for _ in 0..3 {
            run(&mut worker, &empty(), &[], &[]).unwrap();
            assert_eq!(noted.detail("buffer"), "at 0 of 64, 0 bytes used");
        }
    }
}

pub(crate) fn the_callable_is_passed() {
    let noted = Noted::new();
    let child = CoreCallable::build(&[ArgDirection::In], b"core").unwrap();
    let callable = ChipCallable::builder("entry")
        .config_name("configure")
        .signature(&[ArgDirection::In, ArgDirection::Scalar])
        .binary(b"orchestration")
        .child(42, child)
        .build()
        .unwrap();
    set("DOUBLE_CALLABLE", callable.as_bytes().len().to_string());
    let mut worker = ChipWorker::start(&noted.runtime, 0).unwrap();
    run(&mut worker, &callable, &[], &[]).unwrap();
    let lines = noted.lines();
    assert!(lines.contains(&format!("callable {}", hex(callable.as_bytes()))));
    assert!(lines.contains(&"callable at 0 of 64".to_owned()));
}

/// Byte for byte, by the offsets of the interface: tensors at 0, scalars at 640, counts at 1664.
pub(crate) fn arguments_are_passed() {
    let noted = Noted::new();
    let mut worker = ChipWorker::start(&noted.runtime, 0).unwrap();
    let mut call = |tensors: &[ContinuousTensor], scalars: &[u64]| {
        run(&mut worker, &empty(), tensors, scalars).unwrap();
        unhex(&noted.detail("args"))
    };
    let tensor = |at: u64| ContinuousTensor::new(at, &[2, 3], DataType::Bfloat16).unwrap();
    // data, shapes (2, 3, 0, 0, 0), two dimensions, BFLOAT16, padding
    let wire = |at: u64| {
        let words = [2u32, 3, 0, 0, 0, 2];
        let shape = words.into_iter().flat_map(|word| word.to_le_bytes());
        at.to_le_bytes().into_iter().chain(shape).chain([6, 0, 0, 0, 0, 0, 0, 0])
    };
    let mut expected = vec![0u8; 1672];
    assert_eq!(call(&[], &[]), expected);

    let at = [0x1122_3344_5566_7788, 64, 128];
    let first = call(&at.map(tensor), &[0xAABB, 1, 2, u64::MAX, 5]);
    expected[..120].copy_from_slice(&at.into_iter().flat_map(wire).collect::<Vec<_>>());
    for (index, scalar) in [0xAABB, 1, 2, u64::MAX, 5].into_iter().enumerate() {
        expected[640 + 8 * index..][..8].copy_from_slice(&u64::to_le_bytes(scalar));
    }
    expected[1664..].copy_from_slice(&[3, 0, 0, 0, 5, 0, 0, 0]);
    assert_eq!(first, expected);

    // Only what is used is written: all else is still what the call before has left.
    let second = call(&[tensor(256)], &[9]);
    expected[..40].copy_from_slice(&wire(256).collect::<Vec<_>>());
    expected[640] = 9;
    expected[641] = 0;
    expected[1664..].copy_from_slice(&[1, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(second, expected);

    // All places.
    let tensors: Vec<_> = (1..=16).map(|i| tensor(i << 20)).collect();
    let scalars: Vec<u64> = (0..128).map(|i| i * 0x0101_0101).collect();
    let full = call(&tensors, &scalars);
    let words: Vec<u8> = scalars.iter().flat_map(|scalar| scalar.to_le_bytes()).collect();
    assert_eq!(&full[..640], (1..=16).flat_map(|i| wire(i << 20)).collect::<Vec<_>>());
    assert_eq!(&full[640..1664], words);
    assert_eq!(&full[1664..], [16, 0, 0, 0, 128, 0, 0, 0]);
}

/// Refused arguments leave the block as it was, and the runtime is not called.
pub(crate) fn refused_arguments_touch_nothing() {
    let noted = Noted::new();
    let mut worker = ChipWorker::start(&noted.runtime, 0).unwrap();
    run(&mut worker, &empty(), &[], &[7; 3]).unwrap();
    let before = noted.detail("args");
    let tensor = ContinuousTensor::new(64, &[1], DataType::Int8).unwrap();
    for (tensors, scalars, says) in [(17, 0, "17 tensors are too many"), (2, 129, "129 scalars")] {
        let all = (vec![tensor; tensors], vec![0; scalars]);
        let why = run(&mut worker, &empty(), &all.0, &all.1).unwrap_err().to_string();
        assert!(why.contains(says), "{why}");
    }
    assert!(noted.calls().is_empty());
    run(&mut worker, &empty(), &[], &[7; 3]).unwrap();
    assert_eq!(noted.detail("args"), before);
}

/// Loaded before the runtime, with its symbols for all, once a process, and never closed.
pub(crate) fn the_simulation_context_is_loaded_once() {
    let noted = Noted::new();
    let context = noted.lab.compile("context");
    let object = noted.lab.compile_as("needs", "double", &["-DNEEDS_CONTEXT"]);
    let runtime = kit::runtime(object).sim_context(&context);
    for _ in 0..3 {
        let worker = ChipWorker::start(&runtime, 0).unwrap();
        let begin = ["load", "create_device_context", "simulation context 1"];
        assert_eq!(noted.calls()[..3], begin);
        drop(worker);
        assert_eq!(noted.calls().last().unwrap(), "unload");
    }
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(maps.contains(context.to_str().unwrap()));
}
