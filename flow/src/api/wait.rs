//! Waiting for some of many, and finding those that are stuck.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

use crate::api::reference::ObjectRef;
use crate::protocol::error::Error;
use crate::{Cancel, Flow, Pending};

/// How a ref's task is dispatched again.
type Resubmit<T> = Box<dyn FnMut() -> Result<ObjectRef<T>, Error> + Send>;

/// A ref, and how to dispatch its task again if it is stuck.
pub struct TrackedRef<T> {
    /// The ref; another one after a resubmission.
    pub reference: ObjectRef<T>,
    /// A name for messages.
    pub label: String,
    /// When it was submitted, or submitted again.
    pub submitted_at: Instant,
    /// How often it was submitted again.
    pub retries: u32,
    submit: Option<Resubmit<T>>,
}

impl<T> TrackedRef<T> {
    /// A ref that cannot be dispatched again.
    pub fn new(reference: ObjectRef<T>) -> Self {
        let submitted_at = Instant::now();
        Self { reference, label: String::new(), submitted_at, retries: 0, submit: None }
    }

    /// One that `submit` can dispatch again.
    #[must_use]
    pub fn resubmit_with(
        mut self,
        submit: impl FnMut() -> Result<ObjectRef<T>, Error> + Send + 'static,
    ) -> Self {
        self.submit = Some(Box::new(submit));
        self
    }

    /// The same with a name.
    #[must_use]
    pub fn label(mut self, label: &str) -> Self {
        label.clone_into(&mut self.label);
        self
    }
}

impl<T> PartialEq for TrackedRef<T> {
    fn eq(&self, other: &Self) -> bool {
        self.reference == other.reference
    }
}

impl<T> Eq for TrackedRef<T> {}

impl<T> Hash for TrackedRef<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.reference.hash(state);
    }
}

/// What [`wait`] does.
#[derive(Clone, Debug)]
pub struct WaitOptions {
    /// Refs that must be complete, at least 1 (default 1).
    pub num_returns: usize,
    /// How long to wait at most (default: without limit).
    pub timeout: Option<Duration>,
    /// Without progress for this long it returns; and a task that is stuck for this long is
    /// recognised (default: never).
    pub pending_timeout: Option<Duration>,
    /// Cancels stuck tasks and submits them again, if they can be (default: no).
    pub retry: bool,
    /// Resubmissions of one ref (default 1).
    pub max_retries: u32,
    /// A task is stuck only if nothing waits for the same resources with good reason (default: no).
    pub require_demand_absent: bool,
    /// A task is stuck only if this part of every resource that it needs is free (default 0.5).
    pub min_free_fraction: f64,
    /// Cancels stuck tasks that are not submitted again (default: no).
    pub cancel_on_stuck: bool,
    /// Logs what it finds (default: no).
    pub print_logs: bool,
}

impl Default for WaitOptions {
    fn default() -> Self {
        Self {
            num_returns: 1,
            timeout: None,
            pending_timeout: None,
            retry: false,
            max_retries: 1,
            require_demand_absent: false,
            min_free_fraction: 0.5,
            cancel_on_stuck: false,
            print_logs: false,
        }
    }
}

/// Waits until `num_returns` of the refs are complete, takes those out of `tracked` and returns
/// them; the others stay. Both are in the order in which they were. Fewer are returned when the
/// time is over, or nothing has moved for `pending_timeout`.
///
/// A task is *stuck* when it has waited for a worker longer than `pending_timeout`, and all
/// workers together have what it needs free, `min_free_fraction` of each resource at least.
///
/// Each call goes over the whole list. To take very many one by one, use a [`WaitSet`], whose
/// [`wait_with`](WaitSet::wait_with) does the same and costs what is ready.
///
/// # Errors
/// `num_returns` is 0 or more than there are, a ref is there twice, an invalid fraction; the
/// flow is closed; what `submit` returned. `tracked` is as it was then.
pub fn wait<T>(
    flow: &Flow,
    tracked: &mut Vec<TrackedRef<T>>,
    options: &WaitOptions,
) -> Result<Vec<TrackedRef<T>>, Error> {
    if tracked.is_empty() {
        return Ok(Vec::new());
    }
    check(tracked, options)?;
    let mut set = WaitSet::new(flow)?;
    for one in tracked.iter() {
        flow.own(&one.reference)?;
    }
    let mut added = Ok(());
    for one in tracked.drain(..) {
        added = added.and(set.add_tracked(one));
    }
    let ready = added.and_then(|()| set.wait_with(options));
    tracked.extend(set.into_pending());
    ready
}

fn check<T>(tracked: &[TrackedRef<T>], options: &WaitOptions) -> Result<(), Error> {
    options.check(tracked.len())?;
    let mut ids: Vec<u64> = tracked.iter().map(|one| one.reference.handle().id()).collect();
    ids.sort_unstable();
    if ids.windows(2).any(|two| two[0] == two[1]) {
        let why = "the same ref is there twice; wait for each once";
        return Err(Error::Invalid(why.to_owned()));
    }
    Ok(())
}

impl WaitOptions {
    fn check(&self, refs: usize) -> Result<(), Error> {
        if self.num_returns == 0 || self.num_returns > refs {
            return Err(Error::Invalid(format!(
                "num_returns = {} of {refs} refs; it is at least 1 and at most all of them",
                self.num_returns
            )));
        }
        if self.min_free_fraction.is_nan() {
            return Err(Error::Invalid("min_free_fraction is not a number".to_owned()));
        }
        Ok(())
    }
}

/// Anything that errors on the way: not stuck.
fn is_stuck<T>(flow: &Flow, reference: &ObjectRef<T>, options: &WaitOptions) -> bool {
    let waits = matches!(
        flow.pending(reference),
        Ok(Pending::Resources { .. } | Pending::NoProcess { .. } | Pending::Infeasible { .. })
    );
    match flow.driver() {
        Some(host) if waits => host.could_be_placed(
            reference.handle().id(),
            options.min_free_fraction,
            options.require_demand_absent,
        ),
        _ => false,
    }
}

/// Many refs, of which one takes those that are complete as they come: each is registered once, so
/// that a wait costs what is ready and not what is there.
///
/// ```rust,standalone_crate
/// use mailring::flow::{Flow, Resources, WaitSet, node};
///
/// #[node]
/// fn double(n: u64) -> u64 {
///     2 * n
/// }
///
/// # fn main() -> Result<(), mailring::flow::Error> {
/// let flow = Flow::builder().workers("cpu", 1, Resources::cpus(1.0)).build()?;
/// let mut set = WaitSet::new(&flow)?;
/// for n in 0..100u64 {
///     set.add(double::remote(&flow, n)?)?;
/// }
/// let mut sum = 0;
/// while !set.is_empty() {
///     for done in set.wait(1, None)? {
///         sum += done.get()?;
///     }
/// }
/// assert_eq!(sum, 9900);
/// # Ok(())
/// # }
/// ```
pub struct WaitSet<T> {
    flow: Flow,
    set: u32,
    next: u64,
    /// In the order in which they were added.
    members: BTreeMap<u64, TrackedRef<T>>,
    /// Those of them that are complete.
    ready: BTreeSet<u64>,
    /// The same, in the order in which they became so.
    fresh: Vec<u64>,
}

impl<T> WaitSet<T> {
    /// An empty set.
    ///
    /// # Errors
    /// The flow is closed.
    pub fn new(flow: &Flow) -> Result<Self, Error> {
        let flow = flow.clone();
        let set = flow.driver().map_or(Ok(0), |host| host.new_set())?;
        let (members, ready, fresh) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        Ok(Self { flow, set, next: 0, members, ready, fresh })
    }

    /// One more ref.
    ///
    /// # Errors
    /// It is of another flow; the flow is closed.
    pub fn add(&mut self, reference: ObjectRef<T>) -> Result<(), Error> {
        self.add_tracked(TrackedRef::new(reference))
    }

    /// One more, which can be dispatched again.
    ///
    /// # Errors
    /// It is of another flow; the flow is closed. It is in the set in any case.
    pub fn add_tracked(&mut self, tracked: TrackedRef<T>) -> Result<(), Error> {
        let (id, number) = (self.flow.own(&tracked.reference), self.next);
        self.members.insert(number, tracked);
        self.next += 1;
        self.watch(id?, number)
    }

    fn watch(&self, id: u64, number: u64) -> Result<(), Error> {
        self.flow.driver().map_or(Ok(()), |host| host.watch(self.set, id, number))
    }

    /// Refs that have not been taken.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether all have been taken.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Those that have not been taken, in the order in which they were added.
    pub fn into_pending(mut self) -> Vec<TrackedRef<T>> {
        let members = std::mem::take(&mut self.members);
        self.leave(&members);
        members.into_values().collect()
    }

    /// Takes those that are complete, in the order in which they became so, as soon as there are
    /// `at_least` of them; or those that there are after `timeout`.
    ///
    /// # Errors
    /// `at_least` is 0 or more than are in the set; the flow is closed.
    pub fn wait(
        &mut self,
        at_least: usize,
        timeout: Option<Duration>,
    ) -> Result<Vec<ObjectRef<T>>, Error> {
        if at_least == 0 || at_least > self.len() {
            return Err(Error::Invalid(format!(
                "a wait for {at_least} of {} refs; it is for at least 1 and at most all of them",
                self.len()
            )));
        }
        self.collect_ready(
            at_least,
            timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
        )?;
        self.ready.clear();
        // Some may have been taken by `wait_with`.
        let fresh = std::mem::take(&mut self.fresh);
        let taken = fresh.into_iter().filter_map(|number| self.members.remove(&number));
        Ok(taken.map(|tracked| tracked.reference).collect())
    }

    /// Takes `num_returns` that are complete, the first in the order in which they were added; or
    /// fewer when the time is over, or nothing has moved for `pending_timeout`. Stuck tasks are
    /// dealt with as [`wait`] says.
    ///
    /// # Errors
    /// As for [`wait`].
    pub fn wait_with(&mut self, options: &WaitOptions) -> Result<Vec<TrackedRef<T>>, Error> {
        options.check(self.len())?;
        let start = Instant::now();
        let end = options.timeout.and_then(|timeout| start.checked_add(timeout));
        let mut moved = start;
        loop {
            let slice = options.pending_timeout.and_then(|pending| {
                let slice = (pending / 4).clamp(Duration::from_millis(1), Duration::from_secs(1));
                Instant::now().checked_add(slice)
            });
            let before = self.ready.len();
            self.collect_ready(options.num_returns, [slice, end].into_iter().flatten().min())?;
            let now = Instant::now();
            if self.ready.len() > before {
                moved = now;
            }
            if self.ready.len() >= options.num_returns || end.is_some_and(|end| now >= end) {
                return Ok(self.take(options.num_returns));
            }
            let still = |pending: &Duration| now.duration_since(moved) >= *pending;
            if let Some(pending) = options.pending_timeout.filter(still) {
                if !self.deal_with_stuck(pending, options)? {
                    return Ok(self.take(options.num_returns));
                }
                moved = now;
            }
        }
    }

    /// Hears which have become complete, until `need` are or the time is over.
    fn collect_ready(&mut self, need: usize, until: Option<Instant>) -> Result<(), Error> {
        let missing = need.saturating_sub(self.ready.len());
        let handled = match self.flow.driver() {
            Some(host) => host.take_ready(self.set, missing, until)?,
            None => {
                let ids: Vec<u64> =
                    self.members.values().map(|one| one.reference.handle().id()).collect();
                let ready = self.flow.side().wait_some(&ids, need, until)?;
                let numbers = self.members.keys().zip(ready).filter(|(_, ready)| *ready);
                numbers.map(|(number, _)| *number).collect()
            }
        };
        for number in handled {
            if self.members.contains_key(&number) && self.ready.insert(number) {
                self.fresh.push(number);
            }
        }
        Ok(())
    }

    /// Takes the first `most` that are ready.
    fn take(&mut self, most: usize) -> Vec<TrackedRef<T>> {
        let first: Vec<u64> = self.ready.iter().copied().take(most).collect();
        for number in &first {
            self.ready.remove(number);
        }
        if self.ready.is_empty() {
            self.fresh.clear();
        }
        first.iter().filter_map(|number| self.members.remove(number)).collect()
    }

    /// True when one was submitted again, so that there is something to wait for.
    fn deal_with_stuck(&mut self, pending: Duration, options: &WaitOptions) -> Result<bool, Error> {
        let mut again = Vec::new();
        let waiting = self.members.iter_mut().filter(|(number, _)| !self.ready.contains(number));
        for (number, one) in waiting {
            if one.submitted_at.elapsed() < pending
                || !is_stuck(&self.flow, &one.reference, options)
            {
                continue;
            }
            if options.print_logs {
                tracing::info!(label = one.label, retries = one.retries, "a task is stuck");
            }
            let may = options.retry && one.retries < options.max_retries;
            match one.submit.as_mut().filter(|_| may) {
                Some(submit) => {
                    let _ = self.flow.cancel(&one.reference, Cancel::forced());
                    let old = std::mem::replace(&mut one.reference, submit()?);
                    one.submitted_at = Instant::now();
                    one.retries += 1;
                    again.push((*number, old.handle().id(), self.flow.own(&one.reference)?));
                }
                None => {
                    if options.retry {
                        tracing::warn!(label = one.label, "a stuck task is not submitted again");
                    }
                    if options.cancel_on_stuck {
                        let _ = self.flow.cancel(&one.reference, Cancel::forced());
                    }
                }
            }
        }
        for &(number, old, new) in &again {
            if let Some(host) = self.flow.driver() {
                host.forget_member(self.set, old, number);
            }
            self.watch(new, number)?;
        }
        Ok(!again.is_empty())
    }

    fn leave(&self, members: &BTreeMap<u64, TrackedRef<T>>) {
        if let Some(host) = self.flow.driver() {
            let left = members.iter().map(|(number, one)| (*number, one.reference.handle().id()));
            host.drop_set(self.set, left);
        }
    }
}

impl<T> Drop for WaitSet<T> {
    fn drop(&mut self) {
        self.leave(&self.members);
    }
}
