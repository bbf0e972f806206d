//! What a task does with a tensor: the tags of arguments.

/// What a task does with a tensor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(i32)]
pub enum TensorArgType {
    /// Reads it.
    #[default]
    Input = 0,
    /// Writes all of it without reading. Address 0: allocated from the heap ring.
    Output = 1,
    /// Reads and writes it.
    InOut = 2,
    /// Writes all of it without reading; never allocated.
    OutputExisting = 3,
    /// Not looked at for dependencies.
    NoDep = 4,
}

impl TensorArgType {
    /// Whether the former bytes matter to the task.
    #[inline]
    pub fn reads(self) -> bool {
        matches!(self, Self::Input | Self::InOut)
    }

    /// Whether the task changes bytes.
    #[inline]
    pub fn writes(self) -> bool {
        matches!(self, Self::Output | Self::InOut | Self::OutputExisting)
    }
}
