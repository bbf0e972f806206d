//! A call as conditions and providers see it.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cache::store::{Cache, Place};
use crate::protocol::args::{Arg, Parts};
use crate::protocol::call_context::CallContext;
use crate::protocol::codec::{self, Buffer, Fault, Value};
use crate::protocol::error::{Cause, Error, Raised};
use crate::protocol::handle::Endpoint;
use crate::protocol::node::{NODES, NodeDesc, by_number};
use crate::protocol::refs;

/// Says whether a call is bypassed, in the process that calls. It is a function, or a closure that
/// captures nothing, since calls from inside of bodies ask it in their worker.
pub type Condition = fn(&Dispatch<'_>) -> Result<bool, Error>;

/// A call that may be bypassed, as its [`Condition`] sees it.
pub struct Dispatch<'c> {
    pub(crate) tag: Option<&'c str>,
    pub(crate) data: Option<&'c Path>,
    pub(crate) cache: Option<Cache>,
    pub(crate) args: &'c Parts,
    pub(crate) flow: &'c dyn Endpoint,
}

impl std::fmt::Debug for Dispatch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let arguments = self.args.list.len();
        write!(
            f,
            "Dispatch {{ tag: {:?}, data: {:?}, {arguments} arguments }}",
            self.tag, self.data
        )
    }
}

impl Dispatch<'_> {
    /// The tag of the call.
    pub fn tag(&self) -> Option<&str> {
        self.tag
    }

    /// The data file of the function.
    pub fn data(&self) -> Option<&Path> {
        self.data
    }

    /// The cache of the configuration.
    pub fn cache(&self) -> Option<&Cache> {
        self.cache.as_ref()
    }

    /// Whether the cache has an entry with the tag of the call: what a provider that reads the
    /// cache needs.
    pub fn is_cached(&self) -> bool {
        let cached = |cache: &Cache| self.tag.is_some_and(|tag| cache.has(tag));
        self.cache.as_ref().is_some_and(cached)
    }

    /// An argument. `None` for a ref whose value is not there yet: nothing waits here.
    ///
    /// # Errors
    /// There is no such argument, it is not a `T`, or it has failed.
    pub fn arg<T: DeserializeOwned>(&self, index: usize) -> Result<Option<T>, Error> {
        let what = || format!("argument {index}");
        let failed = |fault: Fault| Error::Decode { what: what(), why: fault.to_string() };
        match (self.args.list.get(index), self.args.values().nth(index)) {
            (Some(Arg::Value(_)), Some(Some(bytes))) => {
                refs::decode(bytes, None).map(Some).map_err(failed)
            }
            (Some(Arg::Ref(id)), _) => {
                let mut value = None;
                let looked = self.flow.encoded_each(&[*id], Some(Instant::now()), &mut |bytes| {
                    value = Some(refs::decode(bytes, None).map_err(failed)?);
                    Ok(())
                });
                match looked {
                    Ok(()) => Ok(value),
                    Err(Error::Timeout(..)) => Ok(None),
                    Err(error) => Err(error),
                }
            }
            _ => Err(Error::Invalid(format!("the call has no {}", what()))),
        }
    }
}

/// A call that is bypassed, as its provider sees it: the first parameter of a provider, before those
/// of the function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bypassed {
    tag: Option<String>,
    data: Option<PathBuf>,
    cache: Option<Place>,
    node: u32,
}

impl Bypassed {
    /// One for a direct call of a provider, as in a test of it.
    pub fn new(tag: Option<&str>, data: Option<&Path>, cache: Option<&Cache>) -> Self {
        Self {
            tag: tag.map(str::to_owned),
            data: data.map(Path::to_owned),
            cache: cache.map(Cache::place),
            node: u32::MAX,
        }
    }

    /// As the first of encoded arguments.
    pub(crate) fn encode(self, node: u32) -> Result<Buffer, Error> {
        let mut encoded = Buffer::new();
        codec::encode(&Self { node, ..self }, &mut encoded).map_err(|fault| Error::Encode {
            what: "what a provider is told of its call".to_owned(),
            why: fault.to_string(),
        })?;
        Ok(encoded)
    }

    /// The tag of the call.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The data file of the function.
    pub fn data(&self) -> Option<&Path> {
        self.data.as_deref()
    }

    /// The cache of the configuration.
    pub fn cache(&self) -> Option<Cache> {
        self.cache.as_ref().map(Cache::of)
    }

    /// The content of the data file.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn bytes(&self) -> Result<Vec<u8>, Error> {
        let path = self.data.as_deref();
        let path =
            path.ok_or_else(|| Error::Invalid("the function has no data file".to_owned()))?;
        std::fs::read(path).map_err(|error| Error::System {
            what: format!("reading the data file {}", path.display()),
            why: error.to_string(),
        })
    }

    /// The same, as text.
    ///
    /// # Errors
    /// As for [`bytes`](Self::bytes), or it is not UTF-8.
    pub fn text(&self) -> Result<String, Error> {
        String::from_utf8(self.bytes()?).map_err(|error| Error::Decode {
            what: "the data file".to_owned(),
            why: error.to_string(),
        })
    }

    /// What the cache has under the tag of the call.
    ///
    /// # Errors
    /// There is no cache, no tag, or no entry (which a [`Condition`] can find out before: see
    /// [`Dispatch::is_cached`]); the entry is not a `T`.
    pub fn cached<T: Value>(&self) -> Result<T, Error> {
        let missing = |what: &str| Error::Invalid(format!("{what}, so nothing can be replayed"));
        let cache = self.cache().ok_or_else(|| missing("the configuration has no cache"))?;
        let tag = self.tag.as_deref().ok_or_else(|| missing("the call has no tag"))?;
        let value = cache.read(tag)?;
        value.ok_or_else(|| missing(&format!("the cache has no entry \"{tag}\"")))
    }
}

/// The provider of functions for which none is registered: the value is what the data file says.
#[linkme::distributed_slice(NODES)]
pub(crate) static FILE: NodeDesc = NodeDesc {
    name: "mailring::data_file",
    file: file!(),
    line: line!(),
    params: &["call"],
    run: complete_from_file,
    ..NodeDesc::PLAIN
};

fn complete_from_file(call_context: &mut CallContext<'_>) -> Result<(), Raised> {
    let call: Bypassed = call_context.arg(0)?;
    let failed = |error: Error| Raised(Cause::Codec(error.to_string()));
    let bytes = call.bytes().map_err(failed)?;
    let node = by_number(call.node);
    let node = node.ok_or_else(|| failed(Error::Invalid("no function to bypass".to_owned())))?;
    (node.read_data)(call_context, &bytes)
}
