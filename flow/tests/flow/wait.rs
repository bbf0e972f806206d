//! Waiting for some of many: the function `wait`, in the driver and in bodies, and wait sets.

use std::time::{Duration, Instant};

use mailring::flow::{Error, Flow, ObjectRef, TrackedRef, WaitOptions, WaitSet, node, wait};
use testkit::flow::{Gate, app, assert_over, flow, hold};

#[node]
pub(crate) fn value(n: u64) -> u64 {
    n
}

#[node]
fn fails(n: u64) -> Result<u64, String> {
    Err(format!("number {n}"))
}

#[node]
pub(crate) fn value_after(_open: bool, n: u64) -> u64 {
    n
}

pub(crate) fn tracked(refs: &[ObjectRef<u64>]) -> Vec<TrackedRef<u64>> {
    refs.iter().map(|one| TrackedRef::new(one.clone())).collect()
}

pub(crate) fn ids<T>(list: &[TrackedRef<T>]) -> Vec<u64> {
    list.iter().map(|one| one.reference.id()).collect()
}

pub(crate) fn all_of(count: usize) -> WaitOptions {
    WaitOptions { num_returns: count, ..WaitOptions::default() }
}

// ---- parameters ---------------------------------------------------------------------------------

pub(crate) fn defaults() {
    let options = WaitOptions::default();
    assert_eq!((options.num_returns, options.timeout, options.pending_timeout), (1, None, None));
    assert_eq!((options.retry, options.max_retries), (false, 1));
    assert_eq!(
        (options.require_demand_absent, options.cancel_on_stuck, options.print_logs),
        (false, false, false)
    );
    assert!((options.min_free_fraction - 0.5).abs() < 1e-12);
    let flow = flow(1);
    let before = Instant::now();
    let one = TrackedRef::new(value::remote(&flow, 1u64).unwrap());
    assert_eq!((one.label.as_str(), one.retries), ("", 0));
    assert!(one.submitted_at >= before && one.submitted_at <= Instant::now());
    assert_eq!(one.label("name").label, "name");
}

pub(crate) fn parameters_that_cannot_be() {
    let flow = flow(1);
    let refs: Vec<_> = (0..3).map(|n| value::remote(&flow, n).unwrap()).collect();
    let mut list = tracked(&refs);
    for count in [0, 4, usize::MAX] {
        let refused = wait(&flow, &mut list, &all_of(count)).map(|_| ());
        assert!(
            matches!(&refused, Err(Error::Invalid(why)) if why.contains(&count.to_string()) && why.contains("3 refs")),
            "{refused:?}"
        );
    }
    let nan = WaitOptions { min_free_fraction: f64::NAN, ..all_of(1) };
    let refused = wait(&flow, &mut list, &nan).map(|_| ());
    assert!(
        matches!(&refused, Err(Error::Invalid(why)) if why.contains("min_free_fraction")),
        "{refused:?}"
    );
    assert_eq!(ids(&list), ids(&tracked(&refs)), "nothing has changed");
    list.push(TrackedRef::new(refs[1].clone()));
    let refused = wait(&flow, &mut list, &all_of(1)).map(|_| ());
    assert!(matches!(&refused, Err(Error::Invalid(why)) if why.contains("twice")), "{refused:?}");
    assert_eq!(list.len(), 4);
}

pub(crate) fn nothing_to_wait_for() {
    let flow = flow(1);
    for count in [0, 1, 5] {
        assert!(wait::<u64>(&flow, &mut Vec::new(), &all_of(count)).unwrap().is_empty());
    }
}

// ---- what is returned ---------------------------------------------------------------------------

pub(crate) fn at_most_so_many_in_order() {
    let flow = flow(2);
    let refs: Vec<_> = (0..10).map(|n| value::remote(&flow, n).unwrap()).collect();
    flow.get_all(&refs).unwrap();
    let mut list = tracked(&refs);
    let first = wait(&flow, &mut list, &all_of(3)).unwrap();
    assert_eq!((ids(&first), ids(&list)), (ids(&tracked(&refs[..3])), ids(&tracked(&refs[3..]))));
    let one = wait(&flow, &mut list, &WaitOptions::default()).unwrap();
    assert_eq!(one[0].reference.get(), Ok(3));
    let rest = wait(&flow, &mut list, &all_of(6)).unwrap();
    let values: Vec<u64> = rest.iter().map(|one| one.reference.get().unwrap()).collect();
    assert_eq!(values, [4, 5, 6, 7, 8, 9]);
    assert!(list.is_empty());
}

pub(crate) fn both_lists_keep_their_order() {
    let flow = flow(2);
    let gate = Gate::new();
    let open = hold::remote(&flow, gate.path(), "one").unwrap();
    let mut refs = Vec::new();
    for n in 0..6u64 {
        let late = n % 2 == 0;
        refs.push(if late {
            value_after::remote(&flow, &open, n).unwrap()
        } else {
            value::remote(&flow, n).unwrap()
        });
    }
    refs[5] = fails::remote(&flow, 5u64).unwrap();
    let mut list = tracked(&refs);
    let ready = wait(&flow, &mut list, &all_of(3)).unwrap();
    assert_eq!(ids(&ready), [&refs[1], &refs[3], &refs[5]].map(ObjectRef::id));
    assert_eq!(ids(&list), [&refs[0], &refs[2], &refs[4]].map(ObjectRef::id));
    assert_eq!(app(ready[2].reference.get()).message, "number 5", "a failure is ready as well");
    gate.open();
    assert_eq!(wait(&flow, &mut list, &all_of(3)).unwrap().len(), 3);
}

pub(crate) fn a_timeout_returns_what_is_there() {
    let flow = flow(2);
    let gate = Gate::new();
    let open = hold::remote(&flow, gate.path(), "one").unwrap();
    let refs =
        [value_after::remote(&flow, &open, 0u64).unwrap(), value::remote(&flow, 1u64).unwrap()];
    refs[1].get().unwrap();
    let mut list = tracked(&refs);
    let limit = Duration::from_millis(40);
    let start = Instant::now();
    let ready = wait(&flow, &mut list, &WaitOptions { timeout: Some(limit), ..all_of(2) }).unwrap();
    assert!(start.elapsed() >= limit);
    assert_eq!((ids(&ready), ids(&list)), (vec![refs[1].id()], vec![refs[0].id()]));
    let look = WaitOptions { timeout: Some(Duration::ZERO), ..all_of(1) };
    assert!(wait(&flow, &mut list, &look).unwrap().is_empty());
    gate.open();
    let forever = WaitOptions { timeout: Some(Duration::MAX), ..all_of(1) };
    assert_eq!(wait(&flow, &mut list, &forever).unwrap().len(), 1);
}

// ---- inside a body ------------------------------------------------------------------------------

#[node]
fn waits_inside(count: u64) -> Result<Vec<u64>, Error> {
    let flow = Flow::current()?;
    let mut list = Vec::new();
    for n in 0..count {
        list.push(TrackedRef::new(value::remote(&flow, n)?));
    }
    let mut values = Vec::new();
    while !list.is_empty() {
        let some = list.len().min(3);
        for one in
            wait(&flow, &mut list, &WaitOptions { num_returns: some, ..WaitOptions::default() })?
        {
            values.push(one.reference.get()?);
        }
    }
    let mut set = WaitSet::new(&flow)?;
    for n in 0..count {
        set.add(value::remote(&flow, 100 + n)?)?;
    }
    while !set.is_empty() {
        for one in set.wait(1, Some(Duration::from_secs(20)))? {
            values.push(one.get()?);
        }
    }
    values.sort_unstable();
    Ok(values)
}

pub(crate) fn a_body_waits() {
    let flow = flow(1);
    let values = waits_inside::remote_blocking(&flow, 20u64).unwrap();
    assert_eq!(values, (0..20).chain(100..120).collect::<Vec<u64>>());
}

// ---- sets ---------------------------------------------------------------------------------------

pub(crate) fn a_hundred_thousand_refs_one_at_a_time() {
    let flow = flow(2);
    let mut set = WaitSet::new(&flow).unwrap();
    let count = 100_000u64;
    let start = Instant::now();
    for n in 0..count {
        set.add(value::remote(&flow, n).unwrap()).unwrap();
    }
    assert_eq!(set.len(), count as usize);
    let mut sum = 0;
    let mut calls = 0;
    while !set.is_empty() {
        let ready = set.wait(1, None).unwrap();
        assert!(!ready.is_empty());
        sum += ready.iter().map(|one| one.get().unwrap()).sum::<u64>();
        calls += 1;
    }
    assert_eq!(sum, count * (count - 1) / 2);
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}, {calls} waits", start.elapsed());
    assert_eq!(flow.stats().unwrap().objects, 0);
}

/// With all the options of `wait`: one a call, in the order in which they were added once all are
/// there.
pub(crate) fn a_hundred_thousand_tracked_refs() {
    let flow = flow(2);
    let mut set = WaitSet::new(&flow).unwrap();
    let count = 100_000u64;
    let start = Instant::now();
    let refs: Vec<_> = (0..count).map(|n| value::remote(&flow, n).unwrap()).collect();
    assert_eq!(flow.get_all(&refs).unwrap().len(), refs.len());
    for one in refs {
        set.add_tracked(TrackedRef::new(one)).unwrap();
    }
    let options =
        WaitOptions { pending_timeout: Some(Duration::from_secs(10)), ..WaitOptions::default() };
    for n in 0..count {
        let ready = set.wait_with(&options).unwrap();
        assert_eq!(ready.len(), 1);
        assert_eq!(ready[0].reference.get().unwrap(), n);
    }
    let refused = set.wait_with(&options);
    assert!(
        matches!(&refused, Err(Error::Invalid(why)) if why.contains("0 refs")),
        "{:?}",
        refused.map(|_| ())
    );
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    drop(set);
    assert_eq!(flow.stats().unwrap().objects, 0);
}

pub(crate) fn a_set_with_a_timeout() {
    let flow = flow(2);
    let gate = Gate::new();
    let open = hold::remote(&flow, gate.path(), "one").unwrap();
    let mut set = WaitSet::new(&flow).unwrap();
    let quick = value::remote(&flow, 1u64).unwrap();
    quick.get().unwrap();
    set.add(value_after::remote(&flow, open, 2u64).unwrap()).unwrap();
    set.add(quick.clone()).unwrap();
    let ready = set.wait(2, Some(Duration::from_millis(30))).unwrap();
    assert_eq!(ready, [quick], "what there is");
    assert_eq!(set.len(), 1);
    assert!(set.wait(1, Some(Duration::ZERO)).unwrap().is_empty());
    gate.open();
    let ready = set.wait(1, None).unwrap();
    assert_eq!(ready[0].get(), Ok(2));
    assert!(set.is_empty());
}

pub(crate) fn a_set_and_what_cannot_be() {
    let flow = flow(1);
    let mut set = WaitSet::<u64>::new(&flow).unwrap();
    for count in [0, 1] {
        let refused = set.wait(count, None);
        assert!(
            matches!(&refused, Err(Error::Invalid(why)) if why.contains("0 refs")),
            "{refused:?}"
        );
    }
    let bad = fails::remote(&flow, 3u64).unwrap();
    set.add(bad.clone()).unwrap();
    set.add(bad).unwrap(); // twice is fine here
    let refused = set.wait(3, None);
    assert!(matches!(&refused, Err(Error::Invalid(why)) if why.contains("2 refs")), "{refused:?}");
    let ready = set.wait(2, None).unwrap();
    assert!(ready.iter().all(|one| app(one.get()).message == "number 3"));
    // A set with refs that are not complete can go, and its flow before it.
    let gate = Gate::new();
    let mut gates = WaitSet::new(&flow).unwrap();
    gates.add(hold::remote(&flow, gate.path(), "one").unwrap()).unwrap();
    gate.await_begun(1);
    drop(set);
    drop(flow);
    let closed = gates.wait(1, Some(Duration::from_millis(100)));
    match closed {
        Ok(ended) => ended.iter().for_each(|one| assert_over(one.get())),
        Err(error) => assert!(matches!(error, Error::Closed(_)), "{error:?}"),
    }
}
