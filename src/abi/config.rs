//! The call configuration (12 bytes).

use std::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use super::AbiError;

const WHAT: &str = "call configuration";

/// How a callable is to be launched; workers that call functions only pass it on.
///
/// ```text
///  0           4                  8             9              10       12
/// | block_dim | aicpu_thread_num | profiling u8 | dump tensor u8 | padding |
/// ```
///
/// ```
/// use mailring::abi::CallConfig;
/// let mut config = CallConfig::new(8, 2);
/// config.enable_profiling = 1;
/// assert_eq!(CallConfig::from_bytes(bytemuck::bytes_of(&config))?, config);
/// # Ok::<(), mailring::abi::AbiError>(())
/// ```
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct CallConfig {
    /// Blocks of a launch.
    pub block_dim: i32,
    /// Control threads of a launch.
    pub aicpu_thread_num: i32,
    /// 1 to profile.
    pub enable_profiling: u8,
    /// 1 to dump tensors.
    pub enable_dump_tensor: u8,
    padding: [u8; 2],
}

const _: () = {
    assert!(size_of::<CallConfig>() == 12 && align_of::<CallConfig>() == 4);
    assert!(offset_of!(CallConfig, block_dim) == 0);
    assert!(offset_of!(CallConfig, aicpu_thread_num) == 4);
    assert!(offset_of!(CallConfig, enable_profiling) == 8);
    assert!(offset_of!(CallConfig, enable_dump_tensor) == 9);
    assert!(offset_of!(CallConfig, padding) == 10);
};

impl CallConfig {
    /// A launch without profiling and dumps.
    #[must_use]
    pub const fn new(block_dim: i32, aicpu_thread_num: i32) -> Self {
        Self {
            block_dim,
            aicpu_thread_num,
            enable_profiling: 0,
            enable_dump_tensor: 0,
            padding: [0; 2],
        }
    }

    /// Reads the bytes of another program's configuration, aligned or not. Padding is ignored.
    ///
    /// # Errors
    /// Not 12 bytes, or as [`check`](Self::check).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, AbiError> {
        let mut config: Self = bytemuck::try_pod_read_unaligned(bytes).map_err(|_| {
            AbiError::WrongSize { what: WHAT, need: size_of::<Self>(), have: bytes.len() }
        })?;
        config.padding = [0; 2];
        config.check()?;
        Ok(config)
    }

    /// Whether a chip runtime can make something of it.
    ///
    /// # Errors
    /// A negative number of blocks or threads; a switch that is neither 0 nor 1. It names the field.
    pub fn check(&self) -> Result<(), AbiError> {
        let within = |field, value: i64, limit| {
            if (0..=limit as i64).contains(&value) {
                Ok(())
            } else {
                Err(AbiError::BadCount { what: WHAT, field, value, limit })
            }
        };
        within("block_dim", self.block_dim.into(), i32::MAX as usize)?;
        within("aicpu_thread_num", self.aicpu_thread_num.into(), i32::MAX as usize)?;
        within("enable_profiling", self.enable_profiling.into(), 1)?;
        within("enable_dump_tensor", self.enable_dump_tensor.into(), 1)
    }
}

impl Default for CallConfig {
    fn default() -> Self {
        Self::new(24, 3)
    }
}

impl PartialEq for CallConfig {
    /// Padding does not count.
    fn eq(&self, other: &Self) -> bool {
        (self.block_dim, self.aicpu_thread_num) == (other.block_dim, other.aicpu_thread_num)
            && self.enable_profiling == other.enable_profiling
            && self.enable_dump_tensor == other.enable_dump_tensor
    }
}

impl Eq for CallConfig {}
