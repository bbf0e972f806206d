//! Uses everything that a view of a callable offers. Fuzzing includes this file as well.

use mailring::abi::{ChipCallableView, CoreCallableView};

/// Whether `part` lies in `whole`, by address.
fn inside(whole: &[u8], part: &[u8]) -> bool {
    let (whole, part) = (whole.as_ptr_range(), part.as_ptr_range());
    whole.start <= part.start && part.end <= whole.end
}

/// Uses everything that a core callable offers; all of it lies in `bytes`.
pub(crate) fn walk_core(bytes: &[u8], core: &CoreCallableView<'_>) {
    assert!(inside(bytes, core.as_bytes()) && inside(core.as_bytes(), core.binary()));
    assert_eq!(core.as_bytes().len(), 128 + core.binary().len());
    let count = core.signature().len();
    assert!(count <= 16);
    for (index, &direction) in core.signature().iter().enumerate() {
        assert_eq!(core.direction(index), Ok(direction));
    }
    assert!(core.direction(count).is_err());
    assert!(format!("{core:?}").contains("binary_bytes"));
}

/// The same for a chip callable. No two parts of it overlap.
pub(crate) fn walk_chip(bytes: &[u8], chip: &ChipCallableView<'_>) {
    assert!(inside(bytes, chip.as_bytes()) && inside(chip.as_bytes(), chip.binary()));
    assert!(chip.signature().len() <= 16 && chip.direction(16).is_err());
    assert!(!chip.func_name().contains('\0') && !chip.config_name().contains('\0'));
    let count = chip.children().len();
    assert!(count <= 32 && chip.children().count() == count);
    assert!(chip.child(count).is_err() && chip.child_offset(count).is_err());
    let mut parts = vec![chip.binary().as_ptr_range()];
    for (index, (func_id, child)) in chip.children().enumerate() {
        assert!(inside(chip.as_bytes(), child.as_bytes()));
        walk_core(chip.as_bytes(), &child);
        let (again, same) = chip.child(index).expect("it was listed");
        assert_eq!((again, same.as_bytes().as_ptr()), (func_id, child.as_bytes().as_ptr()));
        let offset = child.as_bytes().as_ptr() as usize - chip.binary().as_ptr() as usize;
        assert_eq!(chip.child_offset(index), Ok(offset as u32));
        assert!(offset.is_multiple_of(64));
        parts.push(child.as_bytes().as_ptr_range());
    }
    parts.sort_by_key(|part| (part.start, part.end));
    assert!(parts.windows(2).all(|two| two[0].end <= two[1].start), "parts overlap");
    assert!(format!("{chip:?}").contains("children"));
}
