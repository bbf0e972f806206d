//! What a body can ask of its own task: which worker, what it holds, how it is called.

#![allow(unreachable_pub, reason = "the functions of an actor are public")]

use std::collections::BTreeSet;

use mailring::flow::{self, Flow, Resources, Strategy, actor, node};
use testkit::flow::flow;

/// Name, tag, worker, index, process.
type Told = (String, Option<String>, String, usize, u32);

#[node]
fn tell() -> Told {
    let task = flow::task().unwrap();
    assert_eq!(task, flow::task().unwrap(), "the same when asked again");
    assert_eq!(task.node, "flow::task_information::tell");
    assert!(task.task > 0 && task.attempt == 1);
    (task.name, task.tag, task.worker, task.index, task.process)
}

#[node(cpus = 0.5, resources(gpu = 1, licence = 0.25))]
fn held() -> (f64, Vec<(String, f64)>, String) {
    let task = flow::task().unwrap();
    let mut labels = task.labels;
    labels.sort_by(|a, b| a.0.cmp(&b.0));
    (task.cpus, labels, task.group)
}

fn gpus() -> Flow {
    let gpu = || Resources::cpus(1.0).with("gpu", 1.0).with("licence", 1.0);
    let builder = Flow::builder().workers("cpu", 1, Resources::cpus(1.0)).workers("gpu", 2, gpu());
    builder.memory(16 << 20).build().unwrap()
}

pub(crate) fn it_knows_where_it_runs() {
    assert!(flow::task().is_none());
    let flow = gpus();
    let (cpus, labels, group) = held::remote_blocking(&flow).unwrap();
    assert_eq!((cpus, group.as_str()), (0.5, "gpu"));
    assert_eq!(labels, [("gpu".to_owned(), 1.0), ("licence".to_owned(), 0.25)]);
    let pids: Vec<i32> = flow.workers().unwrap().into_iter().flat_map(|one| one.pids).collect();
    let (.., process) = tell::remote_blocking(&flow).unwrap();
    assert!(pids.contains(&(process as i32)), "{process} of {pids:?}");
}

pub(crate) fn two_workers_of_a_group_differ() {
    let flow = gpus();
    for index in 0..2 {
        let name = format!("gpu/{index}");
        for _ in 0..3 {
            let strategy = Strategy::Worker { name: name.clone(), soft: false };
            let told = tell::options().strategy(strategy).remote(&flow).unwrap().get().unwrap();
            assert_eq!((told.2.as_str(), told.3), (name.as_str(), index));
        }
    }
}

pub(crate) fn names_and_tags() {
    let flow = flow(1);
    let told = tell::remote_blocking(&flow).unwrap();
    assert_eq!((told.0.as_str(), told.1, told.2.as_str()), ("tell", None, "cpu/0"));
    // Behind each other at one process: each is told of itself.
    let refs: Vec<_> = (0..40)
        .map(|number| {
            let named = tell::options().display_name(&format!("no {number}"));
            named.tag(&format!("tag {number}")).remote(&flow).unwrap()
        })
        .collect();
    let told: BTreeSet<_> = refs.iter().map(|one| one.get().unwrap()).map(|t| (t.0, t.1)).collect();
    let expected: BTreeSet<_> =
        (0..40).map(|n| (format!("no {n}"), Some(format!("tag {n}")))).collect();
    assert_eq!(told, expected);
}

pub struct Kept(String);

#[actor]
impl Kept {
    pub fn new() -> Self {
        Self(flow::task().unwrap().worker)
    }

    pub fn both(&self) -> (String, String) {
        (self.0.clone(), flow::task().unwrap().worker)
    }
}

#[node]
fn hook(path: &str) {
    std::fs::write(path, flow::task().unwrap().worker).unwrap();
}

pub(crate) fn in_hooks_and_actors() {
    let flow = flow(1);
    let kept = KeptActor::new(&flow).unwrap();
    let (at_first, now) = kept.both().remote_blocking().unwrap();
    assert_eq!((at_first.as_str(), now.as_str()), ("cpu/0", "cpu/0"));
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let call = tell::options().setup(&hook::NODE, (path,));
    call.remote(&flow).unwrap().get().unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap(), "cpu/0");
}

#[node]
fn outer() -> (Told, Told) {
    let own = flow::task().unwrap();
    let inner = Flow::builder().workers("below", 1, Resources::cpus(1.0)).memory(16 << 20);
    let told = tell::remote_blocking(&inner.build().unwrap()).unwrap();
    ((own.name, own.tag, own.worker, own.index, own.process), told)
}

pub(crate) fn inside_of_another() {
    let flow = flow(1);
    let (own, below) = outer::remote_blocking(&flow).unwrap();
    assert_eq!((own.0.as_str(), own.2.as_str()), ("outer", "cpu/0"));
    assert_eq!((below.0.as_str(), below.2.as_str()), ("tell", "below/0"));
}
