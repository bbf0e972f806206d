//! Graphs on chips: one worker a device, each in its own process.

use std::time::Instant;

use mailring::abi::{CallConfig, ContinuousTensor, DataType};
use mailring::chip::{ChipRuntime, ChipWorker};
use mailring::{BuildError, Error, FailureKind, Mode, TaskOptions, WorkerId, WorkerKind};

use crate::kit::{In, InOut, Lab, Out, Scalar, empty, runtime, set, simulated};
use testkit::{BOTH, args, at, failed_as, small};

fn on(worker: u16) -> TaskOptions {
    TaskOptions::new().on(WorkerId(worker))
}

/// One device, in both modes.
pub(crate) fn a_graph_computes() {
    let lab = Lab::new();
    for mode in BOTH {
        let mut chips = simulated().devices([3]);
        let add = chips.register("add", lab.program("add", &[In, In, Out])).unwrap();
        let scale = chips.register("scale", lab.program("scale", &[InOut, Scalar])).unwrap();
        assert_eq!((add.0, scale.0), (0, 1));
        let exec = small(mode, 0).chip_workers(chips).build().unwrap();
        assert_eq!(exec.workers(WorkerKind::NextLevel), 1);
        let [a, b, sum] = [(); 3].map(|()| exec.buffer::<f32>(1000).unwrap());
        a.copy_from_slice(&(0..1000).map(|i| i as f32).collect::<Vec<_>>()).unwrap();
        b.copy_from_slice(&[1.0; 1000]).unwrap();
        exec.run(|orch| {
            for blocks in [1, 7, 24] {
                let config = CallConfig::new(blocks, 3);
                orch.submit(add, args().input(&a).input(&b).output(&sum), config)?;
                orch.submit(scale, args().inout(&sum).scalar(2), config)?;
                orch.submit(scale, args().inout(&b).scalar(3), config)?;
            }
            Ok(())
        })
        .unwrap();
        let expected: Vec<f32> = (0..1000).map(|i| (i as f32 + 9.0) * 2.0).collect();
        assert_eq!(sum.to_vec().unwrap(), expected, "{mode:?}");
        assert!(b.to_vec().unwrap().iter().all(|&x| x == 27.0));
    }
}

/// Tasks go to whichever device is free; dependencies hold between devices.
pub(crate) fn a_tree_on_three_devices() {
    let lab = Lab::new();
    let mut chips = simulated().devices([0, 7, 15]);
    let add = chips.register("add", lab.program("add", &[In, In, Out])).unwrap();
    let exec = small(Mode::Process, 0).chip_workers(chips).build().unwrap();
    let leaves: Vec<_> = (0..32).map(|_| exec.buffer::<f32>(500).unwrap()).collect();
    for (i, leaf) in leaves.iter().enumerate() {
        leaf.copy_from_slice(&[i as f32; 500]).unwrap();
    }
    let out = exec.buffer::<f32>(500).unwrap();
    exec.run(|orch| {
        let config = CallConfig::new(5, 3);
        let mut level: Vec<_> = leaves.iter().map(|leaf| leaf.tensor()).collect();
        while let [a, b, _, ..] = level[..] {
            // To be allocated: a slab of the run.
            let slab = ContinuousTensor::new(0, a.shape(), DataType::Float32)?;
            let sum = orch.submit(add, args().input(a).input(b).output(slab), config)?;
            level.drain(..2);
            level.push(sum.tensor(2)?);
        }
        let last = args().input(level[0]).input(level[1]).output(&out);
        orch.submit(add, last, config).map(drop)
    })
    .unwrap();
    assert_eq!(out.to_vec().unwrap(), [496.0; 500]);
}

/// Worker i drives device i of the list, and says so in what its tasks see.
pub(crate) fn workers_have_their_devices() {
    let lab = Lab::new();
    let devices = [9, 2, 14];
    let mut chips = simulated().devices(devices);
    let look = chips.register("look", lab.program("look", &[Out])).unwrap();
    let exec = small(Mode::Process, 0).sub_workers(1).chip_workers(chips).build().unwrap();
    let seen = exec.buffer::<u64>(14 * 3).unwrap();
    exec.run(|orch| {
        for worker in 0..3 {
            let mine = seen.view(14 * usize::from(worker), &[14])?;
            orch.submit_with(look, args().output(mine), CallConfig::new(6, 3), &on(worker))?;
        }
        Ok(())
    })
    .unwrap();
    for (worker, device) in devices.into_iter().enumerate() {
        let said = &seen.to_vec().unwrap()[14 * worker..][..14];
        assert_eq!(said[..7], [1, 0, 6, device as u64, 112, 1, 8]);
    }
}

/// Each call waits for the other, in memory that only the workers' processes share.
pub(crate) fn two_devices_run_at_the_same_time() {
    let lab = Lab::new();
    let mut chips = runtime(lab.compile("meet")).devices([0, 1]);
    let meet = chips.register("meet", empty()).unwrap();
    let exec = small(Mode::Process, 0).chip_workers(chips).build().unwrap();
    let words = exec.buffer::<u64>(3).unwrap();
    for round in 1..=20 {
        words.copy_from_slice(&[0; 3]).unwrap();
        exec.run(|orch| {
            for worker in 0..2 {
                let args = args().no_dep(&words).scalar(2);
                if round % 2 == 0 {
                    orch.submit_with(meet, args, CallConfig::default(), &on(worker))?;
                } else {
                    orch.submit(meet, args, CallConfig::default())?;
                }
            }
            Ok(())
        })
        .unwrap();
        let pids: Vec<u64> = exec.worker_pids().into_iter().map(u64::from).collect();
        assert_eq!(words.to_vec().unwrap(), [&[2], &pids[..]].concat(), "one device a process");
    }
}

/// One task on several chips, each member with arguments of its own.
pub(crate) fn a_group_on_chips() {
    let lab = Lab::new();
    let mut chips = simulated().devices([0, 1, 2]);
    let scale = chips.register("scale", lab.program("scale", &[InOut, Scalar])).unwrap();
    let add = chips.register("add", lab.program("add", &[In, In, Out])).unwrap();
    let exec = small(Mode::Process, 0).chip_workers(chips).build().unwrap();
    let x = exec.buffer::<f32>(300).unwrap();
    let sum = exec.buffer::<f32>(100).unwrap();
    x.copy_from_slice(&[1.0; 300]).unwrap();
    for round in 1..=10 {
        exec.run(|orch| {
            let part = |index: usize| x.view(100 * index, &[100]);
            let members = (0..3)
                .map(|index| Ok(args().inout(part(index)?).scalar(index as u64 + 1)))
                .collect::<Result<Vec<_>, Error>>()?;
            orch.submit_group(scale, members, CallConfig::new(2, 3))?;
            // It waits for all members.
            let args = args().input(part(1)?).input(part(2)?).output(&sum);
            orch.submit(add, args, CallConfig::default())?;
            Ok(())
        })
        .unwrap();
        assert_eq!(sum.to_vec().unwrap(), [2f32.powi(round) + 3f32.powi(round); 100]);
    }
    assert_eq!(x.to_vec().unwrap()[..100], [1.0; 100]);
}

/// The group fails when one chip does, and the next one forms.
pub(crate) fn a_group_fails_with_its_member() {
    let lab = Lab::new();
    let mut chips = simulated().devices([4, 5]);
    let touch = chips.register("touch", lab.program("touch", &[InOut])).unwrap();
    let exec = small(Mode::Process, 0).chip_workers(chips).build().unwrap();
    let x = exec.buffer::<u64>(2).unwrap();
    let run = |codes: [i64; 2]| {
        exec.run(|orch| {
            let member = |index: usize| args().inout(at(&x, index)).scalar(codes[index] as u64);
            orch.submit_group(touch, vec![member(0), member(1)], CallConfig::default()).map(drop)
        })
    };
    let failure = failed_as(run([0, -7]), FailureKind::Error);
    assert_eq!(failure.member, Some(1));
    assert_eq!(failure.name, "touch");
    let device = 4 + failure.worker.unwrap().0;
    let said = format!("run_runtime failed with code -7 (invalid sync start) on device {device}");
    assert_eq!(failure.message, said);
    run([0, 0]).unwrap();
}

/// Every code that a runtime has comes back as the task's own failure.
pub(crate) fn codes_name_worker_and_device() {
    let lab = Lab::new();
    let mut chips = simulated().devices([6, 8]);
    let touch = chips.register("touch", lab.program("touch", &[InOut])).unwrap();
    let exec = small(Mode::Process, 0).chip_workers(chips).build().unwrap();
    let x = exec.buffer::<u64>(1).unwrap();
    let mut fine = 0;
    for (round, (code, name)) in [
        (-1i64, "scope deadlock"),
        (-2, "heap ring deadlock"),
        (-3, "flow-control deadlock"),
        (-4, "dependency pool overflow"),
        (-5, "invalid arguments"),
        (-6, "dependency overflow"),
        (-7, "invalid sync start"),
        (-8, "tensor wait time-out"),
        (-9, "explicit fatal error"),
        (-100, "scheduler failure"),
    ]
    .into_iter()
    .enumerate()
    {
        let worker = (round % 2) as u16;
        let run = |code: i64| {
            exec.run(|orch| {
                let args = args().inout(&x).scalar(code as u64);
                orch.submit_with(touch, args, CallConfig::default(), &on(worker)).map(drop)
            })
        };
        let failure = failed_as(run(code), FailureKind::Error);
        assert_eq!(failure.worker, Some(WorkerId(worker)));
        let shown = failure.to_string();
        let device = [6, 8][usize::from(worker)];
        for part in [
            "`touch`".to_owned(),
            format!("on worker {worker}, attempt 1: run_runtime failed with code {code} ({name}"),
            format!("on device {device}"),
        ] {
            assert!(shown.contains(&part), "{shown} lacks {part}");
        }
        run(0).unwrap(); // the same worker goes on
        fine += 1;
        assert_eq!(x.get(0).unwrap(), 0x0101_0101_0101_0101 * fine, "failures copy nothing back");
    }
    assert_eq!(exec.stats().deaths, 0);
}

/// What depends on a failed chip task does not run.
pub(crate) fn dependents_of_a_failed_call_do_not_run() {
    let lab = Lab::new();
    let mut chips = simulated().devices([0, 1]);
    let touch = chips.register("touch", lab.program("touch", &[InOut])).unwrap();
    let exec = small(Mode::Process, 0).chip_workers(chips).build().unwrap();
    let x = exec.buffer::<u8>(64).unwrap();
    let result = exec.run(|orch| {
        for code in [0, 0, -9, 0, 0] {
            let args = args().inout(&x).scalar(code as u64);
            orch.submit(touch, args, CallConfig::default())?;
        }
        Ok(())
    });
    let failure = failed_as(result, FailureKind::Error);
    assert!(failure.message.contains("code -9 (explicit fatal error)"), "{failure}");
    assert_eq!(x.to_vec().unwrap(), [2; 64]);
}

pub(crate) fn too_many_tensors_fail_the_task() {
    let lab = Lab::new();
    let mut chips = simulated().devices([11]);
    let touch = chips.register("touch", lab.program("touch", &[])).unwrap();
    let exec = small(Mode::Process, 0).chip_workers(chips).build().unwrap();
    let x = exec.buffer::<u8>(17).unwrap();
    let run = |tensors: usize, scalars: u64| {
        exec.run(|orch| {
            let all = (0..tensors).fold(args(), |args, index| args.inout(at(&x, index)));
            let all = (0..scalars).fold(all, |args, _| args.scalar(0));
            orch.submit(touch, all, CallConfig::default()).map(drop)
        })
    };
    run(16, 128).unwrap();
    for (tensors, scalars, said) in [(17, 0, "17 tensors"), (0, 129, "129 scalars")] {
        let failure = failed_as(run(tensors, scalars), FailureKind::Error);
        assert!(failure.message.contains(said), "{failure}");
    }
    assert_eq!(x.to_vec().unwrap(), [&[1; 16][..], &[0]].concat());
}

/// A submit knows the programs; a worker of one's own, made from a chip worker, says it itself.
pub(crate) fn unknown_callables() {
    let lab = Lab::new();
    let mut chips = simulated().devices([0]);
    for name in ["touch", "count"] {
        chips.register(name, lab.program(name, &[])).unwrap();
    }
    let exec = small(Mode::Process, 0).chip_workers(chips.clone()).build().unwrap();
    let refused = exec.run(|orch| orch.submit(2, args(), CallConfig::default()).map(drop));
    assert!(matches!(refused, Err(Error::UnknownFunction(2))), "{refused:?}");
    drop(exec);
    let exec = small(Mode::Process, 1)
        .worker_factory(WorkerKind::NextLevel, move |_| Ok(Box::new(ChipWorker::start(&chips, 5)?)))
        .build()
        .unwrap();
    for callable in [2, u64::MAX] {
        let run = exec.run(|orch| orch.submit(callable, args(), CallConfig::default()).map(drop));
        let failure = failed_as(run, FailureKind::Error);
        let said = format!("callable {callable} is not a chip program: 2 are registered");
        assert!(failure.message.starts_with(&said), "{failure}");
    }
    exec.run(|orch| orch.submit(0, args(), CallConfig::default()).map(drop)).unwrap();
}

// ---- building ---------------------------------------------------------------------------------

pub(crate) fn devices_must_make_sense() {
    let build = |devices: &[i32], mode| {
        let chips = simulated().devices(devices.iter().copied());
        small(mode, 3).chip_workers(chips).build().map(drop)
    };
    for mode in BOTH {
        assert!(matches!(build(&[], mode), Err(BuildError::NoDevices)));
        assert!(matches!(build(&[1, 2, 1], mode), Err(BuildError::DuplicateDevice(1))));
        build(&[1], mode).unwrap();
    }
    match build(&[1, 2], Mode::Thread) {
        Err(error @ BuildError::DevicesInThreads(2)) => {
            assert!(error.to_string().contains("Mode::Process"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    let late = small(Mode::Process, 0).chip_workers(simulated().devices([0, 1])).workers(3);
    match late.build().map(drop) {
        Err(BuildError::DeviceCount { devices: 2, workers: 3 }) => {}
        other => panic!("{other:?}"),
    }
    let many = build(&(0..300).collect::<Vec<_>>(), Mode::Process);
    assert!(matches!(many, Err(BuildError::Workers(300))), "{many:?}");
}

/// A chip that does not come up is an error of `build`, with worker, device and code.
pub(crate) fn a_failed_start_is_an_error_of_build() {
    let lab = Lab::new();
    let missing = lab.path("libmissing.so");
    let build = |chips: ChipRuntime| {
        let began = Instant::now();
        let result = small(Mode::Process, 0).chip_workers(chips.devices([4, 9])).build();
        assert!(began.elapsed().as_secs() < 10);
        match result.map(drop) {
            Err(error @ BuildError::Worker { .. }) => error.to_string(),
            other => panic!("{other:?}"),
        }
    };
    // Whichever is first speaks; worker 0 has device 4, worker 1 device 9.
    let either = |said: &str, what: &str| {
        let by = |worker, device| format!("worker {worker} did not start: device {device}: {what}");
        assert!(said.starts_with(&by(0, 4)) || said.starts_with(&by(1, 9)), "{said}");
    };
    let said = build(runtime(&missing));
    either(&said, "dlopen of the host runtime");
    assert!(said.contains(missing.to_str().unwrap()), "{said}");
    either(&build(simulated().aicore(&missing)), "the AICore binary");
    for (fault, expected) in
        [("create", "create_device_context returned null"), ("size", "get_runtime_size returned 0")]
    {
        set("SIMCHIP_FAULT", fault);
        either(&build(simulated()), expected);
    }
    for (fault, expected) in [
        ("set_device=-7@9", "worker 1 did not start: set_device failed with code -7 (device 9)"),
        ("set_device=507033@4", "worker 0 did not start: set_device failed with code 507033"),
    ] {
        set("SIMCHIP_FAULT", fault);
        let said = build(simulated());
        assert!(said.starts_with(expected), "{said}");
    }
}
