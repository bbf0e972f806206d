//! The configuration of caching and bypass, as programs put it together.

use std::path::Path;
use std::sync::Arc;

use crate::cache::store::Cache;
use crate::config::call::Condition;
use crate::config::snapshot::{Additions, File, Snapshot};
use crate::protocol::error::Error;
use crate::protocol::node::NodeDesc;

/// Which results are stored, and which functions are bypassed: a YAML file, and what the program
/// adds to it. [`Flow::configure`](crate::Flow::configure) puts it in force.
///
/// ```yaml
/// cache:
///   simulate: true                 # under the tag of each call
///   compile: {serve: true}         # and used again by itself, for the same arguments
///   Board::measure:
///     cache: true
///     tags: ["final_.*"]           # regular expressions for the whole tag
/// bypass:
///   synthesize: {bypass: true, data: golden/netlist.txt}
/// ```
///
/// The guide (`docs/flows.md`, "Cross-cutting features") explains each setting.
#[derive(Clone, Debug, Default)]
pub struct Config {
    file: Arc<File>,
    added: Additions,
}

impl Config {
    /// Reads a file. Paths in it are relative to its directory.
    ///
    /// # Errors
    /// [`Error::Config`] with line and column: it is not YAML, or not of this form; a function does
    /// not exist; a pattern is not a regular expression; a data file does not exist.
    /// [`Error::System`]: it cannot be read.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        let file = Arc::new(File::load(path.as_ref())?);
        Ok(Self { file, ..Self::default() })
    }

    /// The same for a text.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    pub fn parse(text: &str) -> Result<Self, Error> {
        Ok(Self { file: Arc::new(File::parse(text)?), ..Self::default() })
    }

    /// The cache in which results are stored.
    #[must_use]
    pub fn cache(mut self, cache: &Cache) -> Self {
        self.added.cache = Some(cache.clone());
        self
    }

    /// This node runs in place of those with this name.
    pub(super) fn add_provider(&mut self, name: &str, provider: &'static NodeDesc) {
        self.added.providers.push((name.to_owned(), provider));
    }

    /// This condition is asked for those with this name.
    pub(super) fn add_condition(&mut self, name: &str, condition: Condition) {
        self.added.conditions.push((name.to_owned(), condition));
    }

    pub(crate) fn snapshot(&self) -> Result<Arc<Snapshot>, Error> {
        Snapshot::new(&self.file, &self.added)
    }
}
