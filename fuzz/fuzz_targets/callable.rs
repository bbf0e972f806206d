//! Any bytes as a callable of a core or of a chip. What is accepted is used, found by its address
//! alone, and built again.
#![no_main]

#[path = "../../tests/abi/walk.rs"]
mod walk;

use libfuzzer_sys::fuzz_target;
use mailring::abi::{ChipCallable, ChipCallableView, CoreCallable, CoreCallableView};

fuzz_target!(|data: &[u8]| {
    if let Ok(core) = CoreCallableView::read(data) {
        walk::walk_core(data, &core);
        // SAFETY: a callable that was read lies there.
        let same = unsafe { CoreCallableView::from_ptr(data.as_ptr()) }.expect("it was read");
        assert_eq!(same.as_bytes().as_ptr_range(), core.as_bytes().as_ptr_range());
        let built = build(&core);
        let again = built.view();
        assert_eq!((again.signature(), again.binary()), (core.signature(), core.binary()));
    }
    if let Ok(chip) = ChipCallableView::read(data) {
        walk::walk_chip(data, &chip);
        // SAFETY: as above.
        let same = unsafe { ChipCallableView::from_ptr(data.as_ptr()) }.expect("it was read");
        assert_eq!(same.as_bytes().as_ptr_range(), chip.as_bytes().as_ptr_range());
        rebuild(&chip);
    }
});

fn build(core: &CoreCallableView<'_>) -> CoreCallable {
    CoreCallable::build(core.signature(), core.binary()).expect("it was as large before")
}

fn rebuild(chip: &ChipCallableView<'_>) {
    let (func, config) = (chip.func_name(), chip.config_name());
    let mut builder = ChipCallable::builder(&*func).config_name(&*config);
    builder = builder.signature(chip.signature()).binary(chip.binary());
    for (func_id, core) in chip.children() {
        builder = builder.child(func_id, build(&core));
    }
    let built = builder.build().expect("it was as large before");
    let again = built.view();
    walk::walk_chip(built.as_bytes(), &again);
    let read = ChipCallableView::read(built.as_bytes()).expect("it was built here");
    assert_eq!(read.as_bytes().len(), built.as_bytes().len());
    assert_eq!((again.signature(), again.binary()), (chip.signature(), chip.binary()));
    assert_eq!(again.children().len(), chip.children().len());
    for ((new_id, new), (old_id, old)) in again.children().zip(chip.children()) {
        assert_eq!(new_id, old_id);
        assert_eq!((new.signature(), new.binary()), (old.signature(), old.binary()));
    }
    // Names with replaced characters may have grown beyond their place.
    let kept = |new: &str, old: &str| new == old || (old.len() > 63 && old.starts_with(new));
    assert!(kept(&again.func_name(), &func) && kept(&again.config_name(), &config));
}
