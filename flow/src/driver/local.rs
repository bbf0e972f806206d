//! A call in this process, with what the configuration makes of it: bypassed, served, stored.

use std::cell::RefCell;
use std::path::PathBuf;

use super::host::Host;
use super::parts::features::{Features, Lookup};
use crate::cache::file::{CallKey, Head};
use crate::cache::inputs::{Inputs, Look};
use crate::cache::key::KeyWriter;
use crate::cache::store::{Cache, call_tag};
use crate::protocol::args::{Arg, Args};
use crate::protocol::call_context::{CallContext, Captured};
use crate::protocol::codec::{Aligned, is_misplaced};
use crate::protocol::error::{Error, Raised, TaskError};
use crate::protocol::handle::Side;
use crate::protocol::node::NodeDesc;
use crate::protocol::options::Overrides;
use crate::protocol::value::Encoded;

/// Calls a node here: its encoded value. In a body, which has no `host`, it simply runs. Whoever calls
/// holds what the arguments name.
///
/// # Errors
/// As for a call and its value.
pub(crate) fn call_here(
    host: Option<&Host>,
    side: &Side,
    node: &'static NodeDesc,
    args: &mut Args,
    overrides: &Overrides,
) -> Result<Captured, Error> {
    if let Some(why) = &overrides.bad {
        return Err(why.clone());
    }
    let mut overrides = Some(Box::new(overrides.clone()));
    let features = host.map(|host| host.features_of(node, args, &mut overrides)).transpose()?;
    let Some(Features { config, provider, store }) = features.flatten().map(|all| *all) else {
        return run(node, &values(side, args)?);
    };
    let values = values(side, args)?;
    let count = |served: u64, bypassed: u64| {
        host.into_iter().for_each(|host| host.count(served, bypassed));
    };
    count(0, provider.is_some().into());
    let runs = provider.unwrap_or(node);
    let Some((store, cache)) = store.zip(config.cache.as_ref()) else { return run(runs, &values) };
    let call = match &store.lookup {
        Lookup::Due { version, inputs } => {
            let mut known = Inputs::load(cache.directory());
            let mut key = KeyWriter::default();
            let same = values.iter().all(|value| key.argument(value.bytes()));
            let mut looks = Vec::new();
            for path in inputs {
                let content = known.content(path).map_err(Error::system("reading an input"))?;
                let (look, hash) = content.unzip();
                key.file(hash);
                looks.push((path, look));
            }
            same.then(|| (key.finish(node.name, version), looks))
        }
        Lookup::Never | Lookup::Missed(_) => None,
    };
    let (call, looks) = call.unzip();
    let Some(tag) = store.tag.or_else(|| call.as_ref().map(call_tag)) else {
        return run(runs, &values);
    };
    if let Some(value) = call.as_ref().and_then(|call| find(cache, &tag, call)) {
        count(1, 0);
        return Ok(Captured { bytes: value.into(), named: Vec::new() });
    }
    let value = run(runs, &values)?;
    let as_it_was =
        |(path, look): (&PathBuf, Option<Look>)| Look::at(path).is_ok_and(|it| it == look);
    if value.named.is_empty() && looks.into_iter().flatten().all(as_it_was) {
        let head = Head { tag, call };
        if let Err(error) = cache.store(&head, &value.bytes) {
            tracing::warn!(tag = head.tag, %error, "cache: not stored");
        }
    }
    Ok(value)
}

fn find(cache: &Cache, tag: &str, call: &CallKey) -> Option<Vec<u8>> {
    let (of, value) = cache.load(tag).ok()??;
    (of.as_ref() == Some(call)).then_some(value)
}

/// An argument where bodies can read it.
enum Argument {
    There(Encoded),
    Moved(Aligned, usize),
}

impl Argument {
    fn new(encoded: Encoded) -> Self {
        // SAFETY: whoever calls `call_here` holds the object.
        let bytes = unsafe { encoded.bytes() };
        if is_misplaced(bytes) {
            return Self::Moved(Aligned::copy_of(bytes), bytes.len());
        }
        Self::There(encoded)
    }

    fn bytes(&self) -> &[u8] {
        match self {
            // SAFETY: as above.
            Self::There(encoded) => unsafe { encoded.bytes() },
            Self::Moved(aligned, len) => &aligned.bytes()[..*len],
        }
    }
}

/// The arguments, once all are there.
fn values(side: &Side, args: &Args) -> Result<Vec<Argument>, Error> {
    let mut values = args.values();
    let one = |arg: &Arg| match (arg, values.next().flatten()) {
        (Arg::Ref(id), _) => side.encoded(*id, None),
        (Arg::Value(_), value) => Ok(Encoded::Copied(value.unwrap_or_default().to_vec())),
    };
    let all: Result<Vec<Encoded>, Error> = args.list.iter().map(one).collect();
    Ok(all?.into_iter().map(Argument::new).collect())
}

fn run(node: &'static NodeDesc, values: &[Argument]) -> Result<Captured, Error> {
    let parts: Vec<&[u8]> = values.iter().map(Argument::bytes).collect();
    let actor = RefCell::new(None);
    let mut call_context = CallContext::new(node.signature(), &parts, &actor, None);
    call_context.capture();
    let failed = |Raised(cause): Raised| {
        Error::from(TaskError {
            task: 0,
            name: node.short_name().to_owned(),
            worker: None,
            attempt: 1,
            cause,
            below: None,
            backtrace: None,
            output: Vec::new(),
        })
    };
    (node.run)(&mut call_context)
        .map_err(|raised| failed(Raised::at_node(raised, node.file, node.line)))?;
    Ok(call_context.captured())
}
