//! What tells calls apart: all that their results may depend on, as a hash.

use super::file::CallKey;
use crate::protocol::codec;

/// Takes the arguments of a call, and then what its files contain.
#[derive(Default)]
pub(crate) struct KeyWriter(blake3::Hasher);

impl KeyWriter {
    /// The next argument, encoded. False if it names something that is another in each run.
    #[must_use]
    pub(crate) fn argument(&mut self, bytes: &[u8]) -> bool {
        self.0.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        codec::is_self_contained(bytes)
    }

    /// A hash of what the next file contains; `None` if there is none.
    pub(crate) fn file(&mut self, content: Option<[u8; 32]>) {
        self.0.update(&[content.is_some().into()]).update(&content.unwrap_or_default());
    }

    /// The call.
    pub(crate) fn finish(self, function: &str, version: &str) -> CallKey {
        CallKey {
            function: function.to_owned(),
            version: version.to_owned(),
            arguments: *self.0.finalize().as_bytes(),
        }
    }
}
