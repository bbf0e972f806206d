//! What a call may say besides its arguments.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::node::NodeDesc;
use crate::resources::{Resources, labelled, quantity};

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

/// A hook: a node, and its encoded arguments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Hook {
    pub(super) node: u32,
    pub(super) args: Vec<Vec<u8>>,
}

/// Both hooks of a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Hooks {
    pub(super) setup: Option<Hook>,
    pub(super) cleanup: Option<Hook>,
}

/// What a call overrides. Nothing set: as the node says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Overrides {
    pub(super) cpus: Option<i64>,
    pub(super) labels: Option<Vec<(String, i64)>>,
    pub(super) max_retries: Option<i32>,
    pub(super) retry_on: Vec<String>,
    pub(super) strategy: Strategy,
    pub(super) deadline: Option<Duration>,
    pub(super) priority: Option<i32>,
    pub(super) tag: Option<String>,
    pub(super) display_name: Option<String>,
    pub(super) wait_infeasible: bool,
    pub(super) hooks: Hooks,
    /// The first invalid option; reported when it is used.
    pub(super) bad: Option<Error>,
}

impl Overrides {
    pub(super) fn cpus(&mut self, cpus: f64) {
        match quantity("cpus", cpus) {
            Ok(cpus) => self.cpus = Some(cpus),
            Err(why) => self.complain(Error::Quantity(why)),
        }
    }

    pub(super) fn resource(&mut self, label: &str, amount: f64) {
        match labelled(label, amount) {
            Ok(amount) => {
                let labels = self.labels.get_or_insert_default();
                labels.retain(|(known, _)| known != label);
                labels.push((label.to_owned(), amount));
            }
            Err(why) => self.complain(Error::Quantity(why)),
        }
    }

    pub(super) fn deadline(&mut self, deadline: Duration) {
        if deadline.is_zero() {
            self.complain(Error::Invalid("a deadline of 0 s leaves no time to run".to_owned()));
        }
        self.deadline = Some(deadline);
    }

    pub(super) fn complain(&mut self, why: Error) {
        self.bad.get_or_insert(why);
    }

    /// What is asked for by this call of this node.
    pub(super) fn merged(&self, node: &NodeDesc) -> Result<Merged, Error> {
        if let Some(why) = &self.bad {
            return Err(why.clone());
        }
        let labels = match &self.labels {
            Some(labels) => labels.clone(),
            None => node.resources.iter().map(|&(l, q)| (l.to_owned(), q)).collect(),
        };
        let resources =
            Resources { cpus: self.cpus.unwrap_or(node.cpus.max(0)), labels, bad: None };
        resources.check_range()?; // a body's own process may have been written over
        Ok(Merged {
            resources,
            max_retries: self.max_retries.unwrap_or(node.max_retries),
            priority: self.priority.unwrap_or(node.priority),
        })
    }
}

/// A node's options with a call's in front.
pub(super) struct Merged {
    pub(super) resources: Resources,
    /// -1: without limit.
    pub(super) max_retries: i32,
    pub(super) priority: i32,
}
