//! Random arguments and callables there and back, and random bytes.

use mailring::abi::{
    ArgDirection, ChipCallable, ChipCallableView, ChipStorageTaskArgs, ContinuousTensor,
    CoreCallable, CoreCallableView, DataType, TaskArgs, TaskArgsView, TensorArgType, read_blob,
    view_to_chip_storage, write_blob,
};
use proptest::collection::vec;
use proptest::prelude::*;

use super::Placed;
use super::walk::{walk_chip, walk_core};

fn any_tensor() -> impl Strategy<Value = ContinuousTensor> {
    let shape = vec(0u32..200, 0..=5);
    (0..1u64 << 60, shape, 0..9usize).prop_map(|(data, shape, dtype)| {
        ContinuousTensor::new(data, &shape, DataType::ALL[dtype]).expect("it is small")
    })
}

fn any_args() -> impl Strategy<Value = (Vec<ContinuousTensor>, Vec<u64>)> {
    (vec(any_tensor(), 0..20), vec(any::<u64>(), 0..140))
}

fn any_signature() -> impl Strategy<Value = Vec<ArgDirection>> {
    vec((0..4usize).prop_map(|i| ArgDirection::ALL[i]), 0..=16)
}

type Core = (Vec<ArgDirection>, Vec<u8>);

fn any_core() -> impl Strategy<Value = Core> {
    (any_signature(), vec(any::<u8>(), 0..200))
}

fn build(core: &Core) -> CoreCallable {
    CoreCallable::build(&core.0, &core.1).expect("it is small")
}

#[derive(Debug)]
struct Chip {
    names: [String; 2],
    core: Core,
    children: Vec<(i32, Core)>,
}

impl Chip {
    fn build(&self) -> ChipCallable {
        let chip = ChipCallable::builder(&*self.names[0]).config_name(&*self.names[1]);
        let chip = chip.signature(&*self.core.0).binary(&*self.core.1);
        self.children
            .iter()
            .fold(chip, |chip, (id, core)| chip.child(*id, build(core)))
            .build()
            .expect("it is small")
    }
}

fn any_chip() -> impl Strategy<Value = Chip> {
    let name = "[^\\x00]{0,70}";
    ([name, name], any_core(), vec((any::<i32>(), any_core()), 0..6))
        .prop_map(|(names, core, children)| Chip { names, core, children })
}

/// As a name is kept: 63 bytes, whole characters.
fn cut(name: &str) -> &str {
    let end = name.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|&end| end < 64);
    &name[..end.last().unwrap_or(0)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..<_>::default() })]

    #[test]
    fn arguments_there_and_back((tensors, scalars) in any_args(), old in any::<u8>()) {
        let mut args = TaskArgs::new();
        for tensor in &tensors {
            args.add_tensor(*tensor, TensorArgType::Input).unwrap();
        }
        scalars.iter().for_each(|&scalar| _ = args.add_scalar(scalar));
        let mut bytes = vec![old; args.blob_len() + 5];
        let len = write_blob(&args, &mut bytes).unwrap();
        prop_assert_eq!(len, 8 + 40 * tensors.len() + 8 * scalars.len());
        prop_assert_eq!(&bytes[len..], &[old; 5]);
        let placed = Placed::new(&bytes[..len], 0);
        let view = read_blob(placed.bytes()).unwrap();
        prop_assert_eq!((view.tensors(), view.scalars()), (&tensors[..], &scalars[..]));

        let mut block: ChipStorageTaskArgs = bytemuck::pod_read_unaligned(&[old; 1672]);
        let moved = view_to_chip_storage(view, &mut block);
        prop_assert_eq!(moved.is_ok(), tensors.len() <= 16 && scalars.len() <= 128);
        if moved.is_ok() {
            let read = ChipStorageTaskArgs::from_bytes(block.as_bytes()).unwrap();
            let view = read.view().unwrap();
            prop_assert_eq!((view.tensors(), view.scalars()), (&tensors[..], &scalars[..]));
        } else {
            prop_assert_eq!(block.as_bytes(), &[old; 1672]);
        }
    }

    #[test]
    fn a_blob_of_any_bytes(
        counts in prop_oneof![Just(None), (-2..6i32, -2..6i32).prop_map(Some)],
        mut bytes in vec(any::<u8>(), 0..300),
        plain in any::<bool>(),
    ) {
        if let (Some((tensors, scalars)), 8..) = (counts, bytes.len()) {
            bytes[..4].copy_from_slice(&tensors.to_le_bytes());
            bytes[4..8].copy_from_slice(&scalars.to_le_bytes());
            if plain {
                // Descriptors that can be, so that more is accepted.
                for tensor in bytes[8..].chunks_exact_mut(40) {
                    tensor[7] = 0;
                    tensor[28..32].copy_from_slice(&2u32.to_le_bytes());
                    tensor[15..16].fill(0);
                    tensor[32] %= 9;
                }
            }
        }
        let placed = Placed::new(&bytes, 0);
        if let Ok(view) = read_blob(placed.bytes()) {
            let (tensors, scalars) = (view.tensors(), view.scalars());
            let used = 8 + 40 * tensors.len() + 8 * scalars.len();
            prop_assert!(used <= bytes.len());
            prop_assert!(tensors.iter().all(|tensor| tensor.nbytes().is_ok()));
            let again: Vec<u8> =
                [bytemuck::cast_slice(tensors), bytemuck::cast_slice::<u64, u8>(scalars)].concat();
            prop_assert_eq!(&again, &bytes[8..used]);
            let whole = TaskArgsView::from_slices(tensors, scalars);
            let mut block = ChipStorageTaskArgs::new();
            view_to_chip_storage(whole, &mut block).unwrap();
            prop_assert_eq!(block.view().unwrap().tensors(), tensors);
        }
    }

    #[test]
    fn callables_there_and_back(chip in any_chip(), shift in 0..8usize) {
        let built = chip.build();
        let placed = Placed::new(built.as_bytes(), shift);
        let view = ChipCallableView::read(placed.bytes()).unwrap();
        walk_chip(placed.bytes(), &view);
        prop_assert_eq!(view.as_bytes().len(), built.as_bytes().len());
        prop_assert_eq!(&*view.func_name(), cut(&chip.names[0]));
        prop_assert_eq!(&*view.config_name(), cut(&chip.names[1]));
        prop_assert_eq!((view.signature(), view.binary()), (&*chip.core.0, &*chip.core.1));
        let children: Vec<(i32, Core)> = view
            .children()
            .map(|(id, core)| (id, (core.signature().to_vec(), core.binary().to_vec())))
            .collect();
        prop_assert_eq!(&children, &chip.children);
        // The layout, worked out once more.
        let mut end = chip.core.1.len();
        for (index, (_, core)) in chip.children.iter().enumerate() {
            let begin = end.div_ceil(64) * 64;
            prop_assert_eq!(view.child_offset(index), Ok(begin as u32));
            end = begin + 128 + core.1.len();
        }
        prop_assert_eq!(built.as_bytes().len(), 468 + end);
        // SAFETY: a whole callable lies there and stays as it is.
        let by_address = unsafe { ChipCallableView::from_ptr(placed.bytes().as_ptr()) }.unwrap();
        prop_assert_eq!(by_address.as_bytes(), view.as_bytes());
    }

    #[test]
    fn corrupted_callables(
        chip in any_chip(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..8),
        end in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = chip.build().as_bytes().to_vec();
        for (at, value, in_header) in changes {
            let range = if in_header { 468 } else { bytes.len() };
            bytes[at.index(range)] = value;
        }
        if cut {
            bytes.truncate(end.index(bytes.len()));
        }
        if let Ok(view) = ChipCallableView::read(&bytes) {
            walk_chip(&bytes, &view);
        }
        if let Ok(view) = CoreCallableView::read(&bytes) {
            walk_core(&bytes, &view);
        }
    }

    #[test]
    fn a_core_callable_of_any_bytes(core in any_core(), at in 0..128usize, value in any::<u8>()) {
        let mut bytes = build(&core).as_bytes().to_vec();
        let view = CoreCallableView::read(&bytes).unwrap();
        prop_assert_eq!((view.signature(), view.binary()), (&*core.0, &*core.1));
        bytes[at] = value;
        if let Ok(view) = CoreCallableView::read(&bytes) {
            walk_core(&bytes, &view);
        }
    }
}
