//! What a configuration makes of one task: what runs in its place, and under what its result is
//! stored. Decided once, when it is called.

use std::path::PathBuf;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::cache::file::CallKey;
use crate::cache::inputs::Look;
use crate::config::snapshot::{BypassPlan, Snapshot};
use crate::protocol::args::{Arg, Args};
use crate::protocol::error::Error;
use crate::protocol::node::{NodeDesc, number_of};
use crate::protocol::options::{Hooks, Overrides};

/// Of a task that was called while a configuration was in force.
pub(crate) struct Features {
    /// For calls of its body as well.
    pub(crate) config: Arc<Snapshot>,
    /// What runs in place of its node.
    pub(crate) provider: Option<&'static NodeDesc>,
    /// Its result is stored.
    pub(crate) store: Option<StoreAs>,
}

impl Features {
    /// Of a task that the configuration says nothing of.
    pub(crate) fn of(config: Arc<Snapshot>) -> Box<Self> {
        Box::new(Self { config, provider: None, store: None })
    }
}

/// Under what a result is stored.
pub(crate) struct StoreAs {
    /// None: the call itself is the name.
    pub(crate) tag: Option<String>,
    pub(crate) lookup: Lookup,
}

/// Whether the result may be there already.
pub(crate) enum Lookup {
    /// Calls like this one are not served.
    Never,
    /// To be looked for as soon as the arguments are there.
    Due { version: String, inputs: Vec<PathBuf> },
    /// It was not there.
    Missed(Known),
}

/// A call whose arguments are known.
pub(crate) struct Known {
    pub(crate) call: CallKey,
    /// The files that count as arguments, as they were.
    pub(crate) inputs: Vec<(PathBuf, Option<Look>)>,
}

/// What is decided of a call.
pub(crate) enum Gate<'c> {
    Enter(Box<Features>),
    /// Whether it is bypassed is up to a condition, which the caller asks.
    Ask(&'c BypassPlan),
}

/// Decides what becomes of a call; `verdict` is what the condition says, once it was asked. The call
/// is changed into one of the provider if it is bypassed.
///
/// # Errors
/// What the provider is told cannot be encoded.
pub(crate) fn look_at<'c>(
    config: &'c Arc<Snapshot>,
    node: &'static NodeDesc,
    args: &mut Args,
    overrides: &mut Option<Box<Overrides>>,
    verdict: Option<bool>,
) -> Result<Gate<'c>, Error> {
    let mut features = Features::of(Arc::clone(config));
    let Some(plan) = config.plan(node) else { return Ok(Gate::Enter(features)) };
    let tag = overrides.as_ref().and_then(|over| over.tag.clone());
    let meant = plan.bypass.as_ref().filter(|bypass| bypass.means(tag.as_deref()));
    let bypass = match (meant, verdict) {
        (Some(bypass), None) if bypass.condition.is_some() => return Ok(Gate::Ask(bypass)),
        (_, Some(false)) => None,
        (bypass, _) => bypass,
    };
    if let Some(store) = plan.store.as_ref().filter(|store| store.means(tag.as_deref())) {
        // What a provider says is not what the function says; and refs inside of arguments are
        // other ones in each run.
        let serve = store.serve && bypass.is_none() && args.nested.is_empty();
        let lookup = if serve {
            let inputs = overrides.as_mut().map(|over| std::mem::take(&mut over.inputs));
            let version = store.version.clone();
            Lookup::Due { version, inputs: inputs.unwrap_or_default() }
        } else {
            Lookup::Never
        };
        if serve || tag.is_some() {
            features.store = Some(StoreAs { tag: tag.clone(), lookup });
        }
    }
    if let Some(bypass) = bypass {
        let told = bypass.bypassed(tag.as_deref(), config.cache.as_ref());
        let first = told.encode(number_of(node))?;
        args.list.insert(0, Arg::Value(first.len() as u32));
        args.bytes.insert_from_slice(0, &first);
        let over = overrides.get_or_insert_default();
        over.hooks = Hooks::default(); // they belong to the function
        over.display_name = Some(format!("BYPASS_{}", node.short_name()));
        features.provider = Some(bypass.provider);
    }
    Ok(Gate::Enter(features))
}

/// An argument of a call whose result is looked for.
pub(crate) enum Piece {
    Here(SmallVec<[u8; 64]>),
    /// The value of an object, which is held.
    Placed {
        object: u64,
        address: u64,
        len: u64,
    },
}
