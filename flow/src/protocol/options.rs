//! What a call may say besides its arguments, and where it may run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::resources::{labelled, quantity};

/// How a worker is chosen for a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Strategy {
    /// Workers are filled to one half, in order; then the one with the most free.
    #[default]
    Default,
    /// In turn over all workers that have room.
    Spread,
    /// This worker (`group/index`, or a group's name for any of its workers).
    Worker {
        /// Its name.
        name: String,
        /// If it can never run the task, another may.
        soft: bool,
    },
    /// A bundle of a placement group.
    Placed {
        /// The group.
        group: u64,
        /// Which bundle, or any.
        bundle: Option<usize>,
    },
}

/// How the bundles of a group are laid over workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Packing {
    /// On as few workers as possible.
    #[default]
    Pack,
    /// On different workers as far as possible.
    Spread,
    /// All on one worker, or not at all.
    StrictPack,
    /// All on different workers, or not at all.
    StrictSpread,
}

/// A hook: a node, and its encoded arguments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Hook {
    pub(crate) node: u32,
    pub(crate) args: Vec<Vec<u8>>,
}

/// Both hooks of a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Hooks {
    pub(crate) setup: Option<Hook>,
    pub(crate) cleanup: Option<Hook>,
}

/// What a call overrides. Nothing set: as the node says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Overrides {
    pub(crate) cpus: Option<i64>,
    pub(crate) labels: Option<Vec<(String, i64)>>,
    pub(crate) max_retries: Option<i32>,
    pub(crate) retry_on: Vec<String>,
    pub(crate) strategy: Strategy,
    pub(crate) deadline: Option<Duration>,
    pub(crate) priority: Option<i32>,
    pub(crate) tag: Option<String>,
    pub(crate) display_name: Option<String>,
    pub(crate) wait_infeasible: bool,
    pub(crate) hooks: Hooks,
    /// Files whose content counts as an argument.
    pub(crate) inputs: Vec<PathBuf>,
    /// The first invalid option; reported when it is used.
    pub(crate) bad: Option<Error>,
}

impl Overrides {
    pub(crate) fn cpus(&mut self, cpus: f64) {
        match quantity("cpus", cpus) {
            Ok(cpus) => self.cpus = Some(cpus),
            Err(why) => self.complain(Error::Quantity(why)),
        }
    }

    pub(crate) fn resource(&mut self, label: &str, amount: f64) {
        match labelled(label, amount) {
            Ok(amount) => {
                let labels = self.labels.get_or_insert_default();
                labels.retain(|(known, _)| known != label);
                labels.push((label.to_owned(), amount));
            }
            Err(why) => self.complain(Error::Quantity(why)),
        }
    }

    pub(crate) fn deadline(&mut self, deadline: Duration) {
        if deadline.is_zero() {
            self.complain(Error::Invalid("a deadline of 0 s leaves no time to run".to_owned()));
        }
        self.deadline = Some(deadline);
    }

    /// A file whose content counts: the one that the path means in this process.
    pub(crate) fn input(&mut self, path: &Path) {
        match std::path::absolute(path) {
            Ok(path) => self.inputs.push(path),
            Err(error) => {
                let why = format!("invalid input \"{}\": {error}", path.display());
                self.complain(Error::Invalid(why));
            }
        }
    }

    pub(crate) fn complain(&mut self, why: Error) {
        self.bad.get_or_insert(why);
    }
}
