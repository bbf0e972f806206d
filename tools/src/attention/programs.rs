//! The callables that run on the chips: kernels in C, compiled when this command was built.

use mailring::Callable;
use mailring::abi::ArgDirection::{self, In, InOut, Out, Scalar};
use mailring::abi::{AbiError, ChipCallable, CoreCallable};
use mailring::chip::{ChipError, ChipRuntime};

/// The state of a query tile is not there yet (as in `attention.h`).
pub(crate) const FIRST: u64 = 1;
/// The result is final: divide by the sum.
pub(crate) const LAST: u64 = 2;

macro_rules! object {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".so"))
    };
}

/// The orchestration functions, in one binary.
const ORCHESTRATION: &[u8] = object!("orchestration");

struct Kernel {
    func_id: i32,
    signature: &'static [ArgDirection],
    binary: &'static [u8],
}

// Function ids as in `attention.h`, signatures as in the kernels' own comments.
const QK: Kernel = Kernel { func_id: 0, signature: &[In, In, Out, Scalar], binary: object!("qk") };
const SOFTMAX: Kernel = Kernel {
    func_id: 1,
    signature: &[InOut, InOut, InOut, Out, Scalar],
    binary: object!("softmax"),
};
const PV: Kernel =
    Kernel { func_id: 2, signature: &[In, In, In, InOut, Scalar], binary: object!("pv") };
const NORMALISE: Kernel =
    Kernel { func_id: 3, signature: &[InOut, In], binary: object!("normalise") };
const MERGE: Kernel =
    Kernel { func_id: 4, signature: &[InOut, InOut, InOut, In, In, In], binary: object!("merge") };
const COMBINE: Kernel =
    Kernel { func_id: 5, signature: &[In, In, Out], binary: object!("combine") };

/// Takes keys and values into the state of a tile of queries: Q, K, V, then O, m and l; scale,
/// flags, keys of a tile.
pub(crate) fn attend() -> Result<ChipCallable, AbiError> {
    let signature = [In, In, In, InOut, InOut, InOut, Scalar, Scalar, Scalar];
    program("attend", &signature, &[QK, SOFTMAX, PV, NORMALISE])
}

/// Takes one state into another: O, m, l of both; flags.
fn merge() -> Result<ChipCallable, AbiError> {
    program("merge", &[InOut, InOut, InOut, In, In, In, Scalar], &[MERGE, NORMALISE])
}

/// Adds up what the members of a group have: partial O, weights, O.
fn combine() -> Result<ChipCallable, AbiError> {
    program("combine", &[In, In, Out], &[COMBINE])
}

fn program(
    name: &'static str,
    signature: &[ArgDirection],
    children: &[Kernel],
) -> Result<ChipCallable, AbiError> {
    let mut builder = ChipCallable::builder(name).signature(signature).binary(ORCHESTRATION);
    for child in children {
        let core = CoreCallable::build(child.signature, child.binary)?;
        builder = builder.child(child.func_id, core);
    }
    builder.build()
}

/// The numbers of the callables in a runtime.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Programs {
    pub(crate) attend: Callable,
    pub(crate) merge: Callable,
    pub(crate) combine: Callable,
}

impl Programs {
    pub(crate) fn register(runtime: &mut ChipRuntime) -> Result<Self, ChipError> {
        Ok(Self {
            attend: runtime.register("attend", attend()?)?,
            merge: runtime.register("merge", merge()?)?,
            combine: runtime.register("combine", combine()?)?,
        })
    }
}

#[cfg(test)]
mod chip_tests {
    use super::*;

    #[test]
    fn callables_carry_shared_objects_with_their_functions() {
        for (made, children) in [(attend(), 4), (merge(), 2), (combine(), 1)] {
            let made = made.expect("a callable");
            let view = made.view();
            let name = view.func_name().into_owned();
            assert!(view.binary().starts_with(b"\x7fELF"), "{name}");
            let finds = |binary: &[u8], symbol: &str| {
                let symbol = [b"\0", symbol.as_bytes(), b"\0"].concat();
                binary.windows(symbol.len()).any(|window| window == symbol)
            };
            assert!(finds(view.binary(), &name), "{name}");
            assert_eq!(view.children().len(), children, "{name}");
            for (func_id, core) in view.children() {
                assert!(finds(core.binary(), "kernel_entry"), "{name}, child {func_id}");
            }
        }
    }
}
