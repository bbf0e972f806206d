//! Every bound of a flow that its builder sets, in one place.

/// Processes of a flow at the same time, unless the builder says otherwise.
pub const DEFAULT_FLOW_PROCESSES: usize = 256;
/// Processes of a flow, at most.
pub const MAX_FLOW_PROCESSES: usize = 4096;
/// Bytes of a flow's spill file, at most, unless the builder says otherwise.
pub const DEFAULT_SPILL_BYTES: usize = 256 << 30;
