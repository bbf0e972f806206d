//! What the bindings of the runtime that we follow promise of these types.

use mailring::abi::{
    AbiError, ArgDirection, CallConfig, ChipCallable, ContinuousTensor, CoreCallable, DataType,
    Element, TaskArgs, TaskArgsView, TensorArgType,
};

use super::tensor;

#[test]
fn data_types_have_numbers_sizes_and_names() {
    let known = [
        (DataType::Float32, 4, "FLOAT32"),
        (DataType::Float16, 2, "FLOAT16"),
        (DataType::Int32, 4, "INT32"),
        (DataType::Int16, 2, "INT16"),
        (DataType::Int8, 1, "INT8"),
        (DataType::Uint8, 1, "UINT8"),
        (DataType::Bfloat16, 2, "BFLOAT16"),
        (DataType::Int64, 8, "INT64"),
        (DataType::Uint64, 8, "UINT64"),
    ];
    assert_eq!(DataType::ALL.len(), known.len());
    for (number, (dtype, size, name)) in known.into_iter().enumerate() {
        assert_eq!(dtype as usize, number);
        assert_eq!(DataType::try_from(number as u8), Ok(dtype));
        assert_eq!((dtype.size(), dtype.name()), (size, name));
        assert_eq!(tensor(0, &[3], dtype).nbytes(), Ok(3 * size as u64));
    }
    assert_eq!(DataType::try_from(9), Err(AbiError::UnknownDtype(9)));
}

#[test]
fn elements_say_their_type() {
    fn same<T: Element>(dtype: DataType) {
        assert_eq!((T::DTYPE, size_of::<T>()), (dtype, dtype.size()));
    }
    same::<f32>(DataType::Float32);
    same::<f64>(DataType::Uint64);
    same::<i8>(DataType::Int8);
    same::<u8>(DataType::Uint8);
    same::<i16>(DataType::Int16);
    same::<i32>(DataType::Int32);
    same::<i64>(DataType::Int64);
    same::<u64>(DataType::Uint64);
}

#[test]
fn a_tensor_is_read_and_written() {
    let empty: ContinuousTensor = bytemuck::Zeroable::zeroed();
    assert_eq!((empty.data(), empty.shape().len()), (0, 0));
    assert_eq!((empty.dtype(), empty.elements()), (Ok(DataType::Float32), Ok(1)));
    let mut t = tensor(0x1000, &[2, 3], DataType::Float32);
    assert_eq!((t.nbytes(), t.elements()), (Ok(24), Ok(6)));
    t.set_dtype(DataType::Int8).unwrap();
    assert_eq!((t.dtype(), t.nbytes()), (Ok(DataType::Int8), Ok(6)));
    t.set_shape(&[4, 5, 6]).unwrap();
    assert_eq!((t.shape(), t.nbytes()), (&[4, 5, 6][..], Ok(120)));
    t.set_shape(&[1, 2, 3, 4, 5]).unwrap();
    assert_eq!((t.shape().len(), t.nbytes()), (5, Ok(120)));
    t.set_data(0xdead);
    let before = t;
    assert_eq!(t.set_shape(&[1; 6]), Err(AbiError::TooManyDims(6)));
    assert_eq!(t.set_shape(&[u32::MAX; 3]), Err(AbiError::SizeOverflow(vec![u32::MAX; 3])));
    assert_eq!((t, t.data()), (before, 0xdead), "nothing is changed");
    let mut large = tensor(0, &[u32::MAX, u32::MAX, 1], DataType::Int8);
    assert!(matches!(large.set_dtype(DataType::Int64), Err(AbiError::SizeOverflow(_))));
    assert_eq!(large.dtype(), Ok(DataType::Int8));
    assert!(format!("{t:?}").contains("ContinuousTensor"));
}

#[test]
fn tags_have_numbers() {
    use TensorArgType::{InOut, Input, NoDep, Output, OutputExisting};
    let all = [Input, Output, InOut, OutputExisting, NoDep];
    assert_eq!(all.map(|tag| tag as i32), [0, 1, 2, 3, 4]);
    assert_eq!(TensorArgType::default(), Input);
}

#[test]
fn arguments_are_collected() {
    let mut args = TaskArgs::new();
    assert!(args.tensors().is_empty() && args.tags().is_empty() && args.scalars().is_empty());
    let tags = [
        TensorArgType::Input,
        TensorArgType::Output,
        TensorArgType::InOut,
        TensorArgType::OutputExisting,
        TensorArgType::NoDep,
    ];
    for index in 0..20 {
        let t = tensor(index + 1, &[1], DataType::Uint8);
        args.add_tensor(t, tags[index as usize % 5]).unwrap();
    }
    args.set_tag(0, TensorArgType::NoDep).unwrap();
    assert_eq!(args.tags()[..6], [tags[4], tags[1], tags[2], tags[3], tags[4], tags[0]]);
    (0..200).for_each(|scalar| _ = args.add_scalar(scalar * scalar));
    let late = args.add_tensor(tensor(1, &[1], DataType::Int8), TensorArgType::Input);
    assert_eq!(late.map(|_| ()), Err(AbiError::TensorAfterScalar { tensor: 20 }));
    assert_eq!((args.tensors().len(), args.tags().len(), args.scalars().len()), (20, 20, 200));
    assert_eq!(args.blob_len(), 8 + 20 * 40 + 200 * 8);

    let none = |what, index, count| AbiError::OutOfRange { what, index, count };
    assert_eq!(args.set_tag(20, TensorArgType::Input), Err(none("tensor", 20, 20)));
    let view = TaskArgsView::of(&args);
    assert_eq!(view.tensor(19).unwrap().data(), 20);
    assert_eq!(view.tensor(20), Err(none("tensor", 20, 20)));
    assert_eq!(
        (view.scalar(199), view.scalar(200)),
        (Ok(199 * 199), Err(none("scalar", 200, 200)))
    );
    assert_eq!(view.scalar(usize::MAX), Err(none("scalar", usize::MAX, 200)));
    args.clear();
    assert_eq!(args, TaskArgs::new());
    args.add_tensor(tensor(1, &[1], DataType::Int8), TensorArgType::Input).unwrap();
}

#[test]
fn directions_have_numbers_and_names() {
    let names = ["SCALAR", "IN", "OUT", "INOUT"];
    for (number, direction) in ArgDirection::ALL.into_iter().enumerate() {
        assert_eq!(direction as usize, number);
        assert_eq!(ArgDirection::try_from(number as i32), Ok(direction));
        assert_eq!(direction.name(), names[number]);
    }
    for number in [4, -1, i32::MIN, i32::MAX] {
        assert_eq!(ArgDirection::try_from(number), Err(AbiError::UnknownDirection(number)));
    }
}

#[test]
fn a_call_configuration_has_defaults() {
    let config = CallConfig::default();
    assert_eq!((config.block_dim, config.aicpu_thread_num), (24, 3));
    assert_eq!((config.enable_profiling, config.enable_dump_tensor), (0, 0));
    assert_eq!((config.check(), CallConfig::new(24, 3)), (Ok(()), config));
    assert!(format!("{config:?}").contains("block_dim: 24"));
}

#[test]
fn a_core_callable_is_built() {
    let core = CoreCallable::build(&[], &[]).unwrap();
    assert_eq!((core.as_bytes().len(), core.view().resolved_addr()), (128, 0));
    assert!(core.view().signature().is_empty() && core.view().binary().is_empty());
    let code: Vec<u8> = (0..10_240u32).map(|i| i as u8).collect();
    let core = CoreCallable::build(&[ArgDirection::InOut], &code).unwrap();
    assert_eq!((core.as_bytes().len(), core.view().binary()), (128 + 10_240, &code[..]));
    assert_eq!(core.as_ptr(), core.as_bytes().as_ptr());
    assert_eq!(core.view().direction(0), Ok(ArgDirection::InOut));
    let none = AbiError::OutOfRange { what: "signature entry", index: 1, count: 1 };
    assert_eq!(core.view().direction(1), Err(none));
    let none = AbiError::OutOfRange { what: "signature entry", index: usize::MAX, count: 1 };
    assert_eq!(core.view().direction(usize::MAX), Err(none));
    let shown = format!("{core:?}");
    assert!(shown.contains("InOut") && shown.contains("10240"), "{shown}");
}

#[test]
fn a_chip_callable_is_built() {
    let core = |bytes: usize| CoreCallable::build(&[ArgDirection::In], &vec![1; bytes]).unwrap();
    let chip = ChipCallable::builder("f").binary(&[0u8; 10]).build().unwrap();
    assert_eq!((chip.as_bytes().len(), chip.view().children().len()), (468 + 10, 0));
    let none = AbiError::OutOfRange { what: "child", index: 0, count: 0 };
    assert_eq!(chip.view().child(0).map(|_| ()), Err(none));

    let chip = ChipCallable::builder("run").signature(&ArgDirection::ALL).binary(&[9u8; 10]);
    let chip = chip.child(30, core(7)).child(10, core(100)).child(20, core(1)).build().unwrap();
    let view = chip.view();
    assert_eq!(chip.as_bytes().len(), 1109);
    let offsets: Vec<_> = (0..3).map(|i| view.child_offset(i).unwrap()).collect();
    assert_eq!(offsets, [64, 256, 512]);
    let children: Vec<_> = view.children().map(|(id, core)| (id, core.binary().len())).collect();
    assert_eq!(children, [(30, 7), (10, 100), (20, 1)]);
    assert_eq!(view.child(1).unwrap().1.as_bytes(), core(100).as_bytes(), "as it was given");
    let none = |index| Err(AbiError::OutOfRange { what: "child", index, count: 3 });
    assert_eq!((view.child_offset(3), view.child_offset(usize::MAX)), (none(3), none(usize::MAX)));
    assert_eq!(view.direction(4).map_err(|error| error.to_string()).unwrap_err(), {
        "there is no signature entry 4: there are 4, counted from 0"
    });
    let shown = format!("{chip:?}");
    assert!(shown.contains("\"run\"") && shown.contains("[30, 10, 20]"), "{shown}");
    // With nothing in front, the first child is first.
    let chip = ChipCallable::builder("").child(0, core(0)).build().unwrap();
    assert_eq!((chip.view().child_offset(0), chip.as_bytes().len()), (Ok(0), 468 + 128));
}

#[test]
fn a_tensor_is_printed_by_names() {
    let one = tensor(0x1000, &[2, 3], DataType::Int64);
    let text = format!("{one:?}");
    assert_eq!(text, "ContinuousTensor { data: 0x1000, shape: [2, 3], dtype: INT64 }");
    let text = format!("{:?}", TaskArgs::new().input(one));
    assert!(text.contains("INT64"), "{text}");
    // Invalid values are printed as they are.
    let text = format!("{:?}", ContinuousTensor::from_raw(0, [1; 5], 9, 200));
    for part in ["ndims: 9", "[1, 1, 1, 1, 1]", "200 (unknown)"] {
        assert!(text.contains(part), "{text}");
    }
}
