//! A zoo of types, and of bytes.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::ffi::OsString;
use std::fmt::Debug;
use std::net::IpAddr;
use std::num::{NonZeroI8, NonZeroU64};
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use serde::{Deserialize, Deserializer, Serializer};

use super::*;

/// Encodes as for a call.
fn encoded<T: Value>(value: &T) -> Result<Vec<u8>, Fault> {
    let mut out = Buffer::new();
    encode(value, &mut out).map(|()| out.into_vec())
}

/// What arrives of a value.
#[track_caller]
fn arrived<T: Value>(value: &T) -> T {
    let bytes = match encoded(value) {
        Ok(bytes) => bytes,
        Err(fault) => panic!("a `{}` is refused: {fault}", std::any::type_name::<T>()),
    };
    if let [item @ .., tag::MESSAGE] = &bytes[..] {
        let mut rest = item;
        rmpv::decode::read_value(&mut rest).expect("other readers of MessagePack can read it");
        assert!(rest.is_empty());
    }
    decode(&bytes).expect("what was checked can be read")
}

#[track_caller]
fn travels<T: Value + PartialEq + Debug>(value: T) {
    assert_eq!(arrived(&value), value);
}

/// The same inside of others. Each type costs a second of building, so not for all.
#[track_caller]
fn travels_inside<T: Value + PartialEq + Debug>(value: T) {
    let list = vec![Some((value, 7u8)), None];
    assert_eq!(arrived(&list), list);
}

#[test]
fn values_inside_of_others() {
    let skips = Skips { note: None, level: 0, retries: 1, args: Vec::new(), cache: 0 };
    travels_inside(skips);
    travels_inside(Some(Some(1u8)));
    travels_inside(Untagged::Nothing);
    travels_inside(BTreeMap::from([(1u64, "one".to_owned())]));
}

/// Its refusal has these words.
#[track_caller]
fn is_refused<T: Value + Debug>(value: &T, words: &str) {
    match encoded(value) {
        Ok(bytes) => panic!("{value:?} arrives as {:?}", decode::<T>(&bytes)),
        Err(Fault(why)) => assert!(why.contains(words), "{why}"),
    }
}

// ---- fields that are skipped --------------------------------------------------------------------

fn is_zero(n: &u32) -> bool {
    *n == 0
}

#[derive(Debug, PartialEq, Clone, Default, Serialize, Deserialize)]
struct Skips {
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(skip_serializing_if = "is_zero", default)]
    level: u32,
    retries: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    args: Vec<u32>,
    #[serde(skip)]
    cache: u8,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct SkipsWithoutDefault {
    #[serde(skip_serializing_if = "is_zero")]
    level: u32,
}

fn five() -> u32 {
    5
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct SkipsToAnother {
    #[serde(skip_serializing_if = "is_zero", default = "five")]
    level: u32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct SkipsInTuple(#[serde(skip_serializing_if = "is_zero")] u32, #[serde(default)] u32);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum UntaggedSkips {
    Tuple(SkipsInTuple),
    One(u32),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct NeverSent {
    #[serde(skip_serializing)]
    level: u32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct SentUnderAnotherName {
    #[serde(rename(serialize = "a", deserialize = "b"))]
    level: Option<u32>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum SkipsVariant {
    Here(u8),
    #[serde(skip_deserializing)]
    Gone(u8),
    #[serde(skip_serializing)]
    Unsent,
    #[serde(other)]
    Other,
}

#[test]
fn fields_that_are_skipped() {
    let first = Skips { args: vec![0], ..Skips::default() };
    assert_eq!(arrived(&first), first);
    for note in [None, Some("x".to_owned())] {
        for (level, args) in [(0, vec![]), (1, vec![]), (0, vec![7]), (300, vec![1, 2])] {
            travels(Skips { note: note.clone(), level, retries: 1, args, cache: 0 });
        }
    }
    travels(SkipsWithoutDefault { level: 1 });
    is_refused(&SkipsWithoutDefault { level: 0 }, "missing field `level`");
    is_refused(&vec![SkipsWithoutDefault { level: 0 }], "SkipsWithoutDefault");
    travels(SkipsToAnother { level: 1 });
    is_refused(&SkipsToAnother { level: 0 }, "another value");
    travels(SkipsInTuple(1, 2));
    is_refused(&SkipsInTuple(0, 2), "1 parts, where there have to be 2");
    is_refused(&UntaggedSkips::Tuple(SkipsInTuple(0, 2)), "UntaggedSkips");
    is_refused(&NeverSent { level: 1 }, "missing field `level`");
    is_refused(&SentUnderAnotherName { level: Some(1) }, "another value");
    travels(SkipsVariant::Here(1));
    is_refused(&SkipsVariant::Gone(1), "SkipsVariant");
    is_refused(&SkipsVariant::Unsent, "cannot be serialized");
    travels(SkipsVariant::Other);
}

// ---- enums --------------------------------------------------------------------------------------

#[derive(Debug, PartialEq, Clone, Serialize, Deserialize)]
enum External {
    Unit,
    Newtype(u32),
    Nothing(()),
    Maybe(Option<u8>),
    Tuple(u8, String),
    Struct { a: i32, b: Option<f64> },
    Empty {},
    Deep(Box<External>),
}

#[derive(Debug, PartialEq, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Internal {
    UnitVariant,
    Newtype(Skips),
    Struct { a: i32, b: Option<Vec<u8>> },
    Map(BTreeMap<String, i8>),
}

#[derive(Debug, PartialEq, Clone, Serialize, Deserialize)]
#[serde(tag = "t", content = "c", rename_all = "kebab-case")]
enum Adjacent {
    UnitVariant,
    Newtype(u64),
    Tuple(u8, i8),
    Struct { a: Option<()>, wide: Vec<Option<u8>> },
}

#[derive(Debug, PartialEq, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    List(Vec<Untagged>),
    Pair { left: Box<Untagged>, right: Option<u8> },
    Map(BTreeMap<String, Untagged>),
    Nothing,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum LooksAlike {
    Float(f64),
    Whole(i64),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum OtherFormats {
    Address(IpAddr),
    Time(SystemTime),
    Span(Duration),
    Number(NonZeroU64),
    Wide(u128),
}

#[test]
fn enums_of_all_kinds() {
    for value in [
        External::Unit,
        External::Newtype(u32::MAX),
        External::Nothing(()),
        External::Maybe(None),
        External::Maybe(Some(1)),
        External::Tuple(1, String::new()),
        External::Struct { a: -1, b: None },
        External::Struct { a: i32::MIN, b: Some(-0.0) },
        External::Empty {},
        External::Deep(Box::new(External::Deep(Box::new(External::Unit)))),
    ] {
        travels(value.clone());
        travels(BTreeMap::from([("key".to_owned(), value)]));
    }
    travels(Internal::UnitVariant);
    travels(Internal::Newtype(Skips { retries: 2, ..Skips::default() }));
    travels(Internal::Struct { a: 0, b: Some(vec![255]) });
    travels(Internal::Map(BTreeMap::from([("a".to_owned(), -1)])));
    travels(Adjacent::UnitVariant);
    travels(Adjacent::Newtype(u64::MAX));
    travels(Adjacent::Tuple(255, -128));
    travels(Adjacent::Struct { a: Some(()), wide: vec![None, Some(0)] });
    travels(Adjacent::Struct { a: None, wide: vec![] });
}

#[test]
fn untagged_enums() {
    let leaves = [
        Untagged::Bool(true),
        Untagged::Unsigned(u64::MAX),
        Untagged::Signed(i64::MIN),
        Untagged::Float(1.0),
        Untagged::Text("1".to_owned()),
        Untagged::Bytes(vec![0, 159, 146, 150]),
        Untagged::Nothing,
    ];
    for leaf in &leaves {
        travels(leaf.clone());
        travels(Untagged::Pair { left: Box::new(leaf.clone()), right: Some(1) });
        travels(Untagged::Map(BTreeMap::from([("k".to_owned(), leaf.clone())])));
    }
    travels(Untagged::List(leaves.to_vec()));
    // What is UTF-8 reads as a text first.
    is_refused(&Untagged::Bytes(b"abc".to_vec()), "another value");
    is_refused(&LooksAlike::Whole(5), "LooksAlike");
    travels(LooksAlike::Float(5.0));
    travels(OtherFormats::Address("::1".parse().unwrap()));
    travels(OtherFormats::Span(Duration::new(1, 2)));
    travels(OtherFormats::Number(NonZeroU64::MAX));
    travels(OtherFormats::Time(SystemTime::UNIX_EPOCH + Duration::from_nanos(1)));
    // Serde's own buffer for such enums has no such numbers.
    is_refused(&OtherFormats::Wide(u128::MAX), "OtherFormats");
}

// ---- flattened ----------------------------------------------------------------------------------

#[derive(Debug, PartialEq, Clone, Serialize, Deserialize)]
struct Inner {
    x: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<IpAddr>,
}

#[derive(Debug, PartialEq, Clone, Serialize, Deserialize)]
struct Flat {
    name: String,
    #[serde(flatten)]
    inner: Inner,
    #[serde(flatten)]
    rest: HashMap<String, Untagged>,
}

#[derive(Debug, PartialEq, Clone, Serialize, Deserialize)]
struct FlatEnums {
    #[serde(flatten)]
    external: External,
    #[serde(flatten)]
    internal: Internal,
    #[serde(flatten)]
    adjacent: Adjacent,
}

/// Serde gives the fields of an enum to the map as well.
#[derive(Debug, PartialEq, Clone, Serialize, Deserialize)]
struct FlatEnumAndRest {
    #[serde(flatten)]
    internal: Internal,
    #[serde(flatten)]
    rest: BTreeMap<String, Untagged>,
}

#[derive(Debug, PartialEq, Clone, Serialize, Deserialize)]
struct FlatAgain {
    #[serde(flatten)]
    flat: Option<Flat>,
    z: (),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Twice {
    x: u8,
    #[serde(flatten)]
    inner: Inner,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Strict {
    #[serde(alias = "old")]
    new: u8,
}

#[test]
fn flattened_structs_and_maps() {
    for size in [0, 1, 14, 15, 16, 17, 300] {
        let rest = (0..size).map(|n| (format!("key {n}"), Untagged::Unsigned(n))).collect();
        let flat = Flat {
            name: "n".to_owned(),
            inner: Inner { x: 1, y: Some([127, 0, 0, 1].into()) },
            rest,
        };
        travels(flat.clone());
        travels(FlatAgain { flat: Some(flat), z: () });
    }
    travels(FlatAgain { flat: None, z: () });
    let internal = Internal::Struct { a: 1, b: None };
    travels(FlatEnums {
        external: External::Tuple(1, "x".to_owned()),
        internal: internal.clone(),
        adjacent: Adjacent::Tuple(1, 2),
    });
    is_refused(&FlatEnumAndRest { internal, rest: BTreeMap::new() }, "FlatEnumAndRest");
    is_refused(&Twice { x: 1, inner: Inner { x: 2, y: None } }, "x");
    travels(Strict { new: 1 });
}

// ---- options, nothing, newtypes -----------------------------------------------------------------

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone, Serialize, Deserialize)]
struct Wrap<T>(T);

#[derive(Debug, PartialEq, Clone, Serialize, Deserialize)]
struct Marker;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum UntaggedOption {
    Twice(Option<Option<u8>>),
    Text(String),
}

#[test]
fn options_in_options_and_nothing() {
    travels(None::<Option<u8>>);
    travels(Some(None::<u8>));
    travels(Some(Some(1u8)));
    travels(Some(Some(None::<Option<()>>)));
    travels(Some(Some(Some(Some(())))));
    travels(Some(()));
    travels(Some(Wrap(None::<u8>)));
    travels(Some(Wrap(Some(Wrap(None::<u8>)))));
    travels(vec![None, Some(None), Some(Some(Marker))]);
    travels(Marker);
    travels(());
    travels(((), [(); 3]));
    travels(Some(serde_json::Value::Null));
    travels(UntaggedOption::Twice(Some(None)));
    travels(UntaggedOption::Twice(None));
    travels(UntaggedOption::Twice(Some(Some(3))));
    travels(UntaggedOption::Text("t".to_owned()));
    travels(BTreeMap::from([(None, 1), (Some(None), 2), (Some(Some(3)), 3)]));
    travels(Wrap(Wrap(Wrap(1.5f32))));
}

// ---- numbers, texts, keys -----------------------------------------------------------------------

#[test]
fn numbers_at_their_limits() {
    macro_rules! all {
        ($($type:ty)+) => {$(
            for value in [<$type>::MIN, <$type>::MAX, 7 as $type, 0 as $type, 1 as $type] {
                travels(value);
                travels(vec![value; 3]);
                travels([value; 3]);
                travels((value, Some(value), Wrap([value; 2])));
                travels(BTreeMap::from([(value.to_string(), value)]));
            }
            travels(Vec::<$type>::new());
        )+};
    }
    all!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64);
    for n in -70_000..70_000i32 {
        assert_eq!(arrived(&Some(n)), Some(n));
    }
    for bits in [0x7fc0_0001u32, 0xff80_0001, 0x8000_0000, 0x7f80_0000, 1] {
        let value = f32::from_bits(bits);
        assert_eq!(arrived(&value).to_bits(), bits);
        assert_eq!(arrived(&Some(value)).unwrap().to_bits(), bits);
        assert_eq!(arrived(&vec![value])[0].to_bits(), bits);
    }
    for bits in [0x7ff8_0000_0000_0001u64, 0xfff0_0000_0000_0001, 1 << 63, 1] {
        let value = f64::from_bits(bits);
        assert_eq!(arrived(&value).to_bits(), bits);
        assert_eq!(arrived(&(value, 1)).0.to_bits(), bits);
    }
    travels(NonZeroI8::MIN);
    travels(true);
    travels(['\0', 'x', '\u{10ffff}']);
    travels([0u8; 32]);
    travels([[1.5f64; 4]; 4]);
    travels(RangeInclusive::new(-3i8, 3));
}

#[test]
fn texts_paths_and_bytes() {
    for len in [0, 1, 31, 32, 63, 64, 255, 256, 65_535, 65_536] {
        travels("é".repeat(len));
        travels(Some("x".repeat(len)));
        travels(serde_bytes::ByteBuf::from(vec![0xff; len]));
        travels(vec![Some(1u8); len]);
        travels((0..len).map(|n| (n, ())).collect::<BTreeMap<_, _>>());
    }
    travels("\0 \u{1f980}\u{0}".to_owned());
    travels(Cow::<str>::Owned("cow".to_owned()));
    travels(PathBuf::from("/a/b"));
    let odd = PathBuf::from(OsString::from_vec(vec![b'/', 0xff, b'x']));
    assert_eq!(arrived(&odd), odd);
    is_refused(&vec![odd.clone()], "UTF-8");
    is_refused(&(odd, 1), "UTF-8");
    travels(OsString::from_vec(vec![0xff]));
    travels(vec![OsString::from_vec(vec![0xff])]);
    travels(c"text".to_owned());
    travels(String::from("x").into_boxed_str());
    travels(VecDeque::from([1u64, 2]));
}

#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Clone, Serialize, Deserialize)]
enum Key {
    Unit,
    Newtype(u8),
    Struct { a: String },
}

#[test]
fn maps_with_any_keys_and_sets() {
    travels(HashMap::from([(1u64, 'a'), (u64::MAX, 'b')]));
    travels(BTreeMap::from([(-1i8, 1), (1, 2)]));
    travels(BTreeMap::from([((1u8, "x".to_owned()), vec![1u8])]));
    travels(BTreeMap::from([(Wrap([1u8, 2]), ())]));
    travels(HashMap::from([(true, 1), (false, 2)]));
    travels(BTreeMap::from([
        (Key::Unit, 1),
        (Key::Newtype(2), 2),
        (Key::Struct { a: "x".to_owned() }, 3),
    ]));
    travels((0..500u32).map(|n| (Key::Newtype(n as u8), n)).collect::<HashMap<_, _>>());
    travels((0..500u32).map(Wrap).collect::<BTreeSet<_>>());
    travels((0..500i16).collect::<HashSet<_>>());
    travels((0..100u8).map(Key::Newtype).collect::<HashSet<_>>());
}

// ---- types with code of their own ---------------------------------------------------------------

/// Has another form for people.
#[derive(Debug, PartialEq, Clone)]
struct TwoForms(u32);

impl Serialize for TwoForms {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&self.0.to_string())
        } else {
            serializer.serialize_u32(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for TwoForms {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map(Self).map_err(serde::de::Error::custom)
        } else {
            u32::deserialize(deserializer).map(Self)
        }
    }
}

#[derive(Debug, PartialEq, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum HasTwoForms {
    Forms { forms: TwoForms },
    Number(u64),
}

#[derive(Debug, PartialEq, Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
struct Percent(u8);

impl TryFrom<u8> for Percent {
    type Error = String;

    fn try_from(value: u8) -> Result<Self, String> {
        (value <= 100).then_some(Self(value)).ok_or_else(|| format!("{value} percent"))
    }
}

impl From<Percent> for u8 {
    fn from(percent: Percent) -> Self {
        percent.0
    }
}

mod hex {
    use super::*;

    pub(super) fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{value:x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map_err(serde::de::Error::custom)
    }
}

struct Far {
    x: u8,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Far")]
struct FarDef {
    x: u8,
}

#[derive(Serialize, Deserialize)]
struct HoldsFar(#[serde(with = "FarDef")] Far, #[serde(with = "hex")] u64);

/// Says that it has no fields, and has one.
#[derive(Debug, PartialEq)]
struct Miscounts(u8);

impl Serialize for Miscounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut fields = serializer.serialize_struct("Miscounts", 40)?;
        fields.serialize_field("value", &self.0)?;
        fields.end()
    }
}

impl<'de> Deserialize<'de> for Miscounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = BTreeMap::<String, u8>::deserialize(deserializer)?;
        Ok(Self(map["value"]))
    }
}

#[test]
fn types_with_code_of_their_own() {
    travels(TwoForms(7));
    travels(HasTwoForms::Forms { forms: TwoForms(7) });
    travels(HasTwoForms::Number(7));
    travels(Percent(100));
    is_refused(&Percent(101), "101 percent");
    let far = arrived(&HoldsFar(Far { x: 3 }, u64::MAX));
    assert_eq!((far.0.x, far.1), (3, u64::MAX));
    travels(Miscounts(3));
    travels("127.0.0.1".parse::<IpAddr>().unwrap());
    travels(Duration::new(u64::MAX, 999_999_999));
    travels(Ok::<u8, String>(1));
    travels(Err::<u8, String>("e".to_owned()));
    travels(serde_json::json!({"a": [1, -1, 1.5, null, true, "x", {"b": u64::MAX}]}));
    is_refused(&(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), "SystemTime");
}

// ---- depth --------------------------------------------------------------------------------------

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf,
    Node { children: Vec<Tree> },
}

fn tree(levels: usize) -> Tree {
    (0..levels).fold(Tree::Leaf, |inner, _| Tree::Node { children: vec![inner] })
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct List(u8, Option<Box<List>>);

#[test]
fn deep_values_travel_or_are_refused() {
    let list = |len| (0..len).fold(List(0, None), |inner, _| List(1, Some(Box::new(inner))));
    assert_eq!(arrived(&list(127)), list(127));
    assert_eq!(arrived(&tree(85)), tree(85));
    is_refused(&list(128), "nested deeper than 256 levels");
    is_refused(&tree(200), "nested deeper than 256 levels");
    // Bytes from elsewhere have the same limit.
    for byte in [0x91u8, 0x81, format::mark::FIX_ARRAY | 1] {
        let bytes = [vec![byte; 100_000], vec![format::mark::NIL, tag::MESSAGE]].concat();
        assert!(decode::<serde_json::Value>(&bytes).is_err());
        assert!(decode::<Tree>(&bytes).is_err());
    }
}

// ---- bytes --------------------------------------------------------------------------------------

#[test]
fn another_type_of_number_is_an_error_by_name() {
    let singles = encoded(&vec![1.5f32]).unwrap();
    let why = decode::<Vec<f64>>(&singles).unwrap_err().to_string();
    assert!(why.contains("a list of `f32`") && why.contains("Vec<f64>"), "{why}");
    assert!(<[f64]>::lend(&singles).is_err());
    let why = decode::<u64>(&encoded(&1u32).unwrap()).unwrap_err().to_string();
    assert!(why.contains("one `u32`") && why.contains("`u64`"), "{why}");
    let why = decode::<String>(&encoded(&1u8).unwrap()).unwrap_err().to_string();
    assert!(why.contains("String"), "{why}");
    assert!(decode::<[u16; 3]>(&encoded(&[1u16, 2]).unwrap()).is_err());
    assert_eq!(decode::<Vec<u16>>(&encoded(&[1u16, 2]).unwrap()).unwrap(), [1, 2]);
    // What is not plain itself reads plain forms.
    assert_eq!(&*decode::<Box<str>>(&encoded(&"x".to_owned()).unwrap()).unwrap(), "x");
    assert_eq!(decode::<VecDeque<u32>>(&encoded(&vec![1u32]).unwrap()).unwrap(), [1]);
}

#[test]
fn lengths_are_compared_with_what_is_there() {
    for head in [
        &[0xdd, 0xff, 0xff, 0xff, 0xff][..],
        &[0xdf, 0xff, 0xff, 0xff, 0xff],
        &[0xdb, 0xff, 0xff, 0xff, 0xff],
        &[0xc6, 0xff, 0xff, 0xff, 0xff],
        &[0xc9, 0xff, 0xff, 0xff, 0xff, 35],
        &[0xdc, 0xff, 0xff, 0],
    ] {
        let bytes = [head, &[0, tag::MESSAGE]].concat();
        assert!(decode::<Vec<Option<u64>>>(&bytes).is_err());
        assert!(decode::<HashMap<u8, String>>(&bytes).is_err());
        assert!(decode::<serde_json::Value>(&bytes).is_err());
        assert!(from_outside(&bytes[..bytes.len() - 1]).is_err());
    }
}

#[test]
fn other_writers_of_messagepack_are_read() {
    let skips = Skips { note: Some("x".to_owned()), level: 3, retries: 4, ..Skips::default() };
    let flat = Inner { x: 1, y: None };
    let lists =
        (vec![1.5f64], vec![1u8, 200], Some("t".to_owned()), External::Tuple(1, "x".to_owned()));
    let outside = |bytes: Vec<u8>| from_outside(&bytes).unwrap();
    assert_eq!(decode::<Skips>(&outside(rmp_serde::to_vec_named(&skips).unwrap())), Ok(skips));
    assert_eq!(decode::<Inner>(&outside(rmp_serde::to_vec_named(&flat).unwrap())), Ok(flat));
    let read = decode(&outside(rmp_serde::to_vec(&lists).unwrap()));
    assert_eq!(read, Ok(lists));
    assert_eq!(decode::<Vec<f64>>(&outside(rmp_serde::to_vec(&[1.0f64]).unwrap())), Ok(vec![1.0]));
    assert_eq!(decode::<u64>(&outside(vec![7])), Ok(7));
    assert_eq!(decode::<String>(&outside(vec![0xa1, b'x'])), Ok("x".to_owned()));
}

#[test]
fn gathered_values_are_a_vector() {
    fn gathered<T: Value + PartialEq + Debug>(values: Vec<T>) {
        let parts: Vec<Vec<u8>> = values.iter().map(|one| encoded(one).unwrap()).collect();
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let all = Gathered::new(&parts).unwrap();
        let mut room = vec![0; all.len()];
        all.write(&mut room);
        assert_eq!(decode::<Vec<T>>(&room).unwrap(), values);
    }
    gathered(vec![1u64, 2, 3]);
    gathered(Vec::<u64>::new());
    gathered(vec![1.5f64]);
    gathered(vec![vec![1.5f64, f64::MIN], vec![], vec![2.5; 300]]);
    gathered(vec![vec![1u8, 255], vec![]]);
    gathered(vec![[1i128, i128::MIN], [2, i128::MAX]]);
    gathered(vec!["a".to_owned(), "é".repeat(70_000)]);
    gathered(vec![PathBuf::from("/x")]);
    gathered((0..70_000u32).map(|n| Some(n % 3).filter(|n| *n > 0)).collect());
    gathered(vec![External::Unit, External::Newtype(1)]);
    gathered(vec![Some(Some(())), None, Some(None)]);
}

#[test]
fn what_is_known_well() {
    assert!(is_well_known(std::any::type_name::<HashMap<String, Vec<(u64, [u8; 4])>>>()));
    assert!(is_well_known(std::any::type_name::<Vec<crate::ObjectRef<u64>>>()));
    assert!(!is_well_known(std::any::type_name::<Vec<Option<Skips>>>()));
    assert!(!is_well_known(std::any::type_name::<serde_json::Value>()));
}

// ---- properties ---------------------------------------------------------------------------------

// Boxed: whoever compiles them is grateful.

fn leaves() -> BoxedStrategy<Untagged> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Untagged::Bool).boxed(),
        any::<u64>().prop_map(Untagged::Unsigned).boxed(),
        (i64::MIN..0).prop_map(Untagged::Signed).boxed(),
        any::<f64>().prop_map(Untagged::Float).boxed(),
        any::<String>().prop_map(Untagged::Text).boxed(),
        Just(Untagged::Nothing).boxed(),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Untagged::List).boxed(),
            (inner.clone(), any::<Option<u8>>())
                .prop_map(|(left, right)| Untagged::Pair { left: Box::new(left), right })
                .boxed(),
            proptest::collection::btree_map("[k-z]{1,3}", inner, 0..4)
                .prop_map(Untagged::Map)
                .boxed(),
        ]
    })
    .boxed()
}

fn skips() -> BoxedStrategy<Skips> {
    (any::<Option<String>>(), 0..3u32, any::<u32>(), any::<Vec<u32>>())
        .prop_map(|(note, level, retries, args)| Skips { note, level, retries, args, cache: 0 })
        .boxed()
}

fn internal() -> BoxedStrategy<Internal> {
    prop_oneof![
        Just(Internal::UnitVariant).boxed(),
        skips().prop_map(Internal::Newtype).boxed(),
        (any::<i32>(), any::<Option<Vec<u8>>>())
            .prop_map(|(a, b)| Internal::Struct { a, b })
            .boxed(),
        any::<BTreeMap<String, i8>>().prop_map(Internal::Map).boxed(),
    ]
    .boxed()
}

fn external() -> BoxedStrategy<External> {
    let leaf = prop_oneof![
        Just(External::Unit).boxed(),
        any::<u32>().prop_map(External::Newtype).boxed(),
        any::<Option<u8>>().prop_map(External::Maybe).boxed(),
        any::<(u8, String)>().prop_map(|(a, b)| External::Tuple(a, b)).boxed(),
        (any::<i32>(), any::<Option<f64>>()).prop_map(|(a, b)| External::Struct { a, b }).boxed(),
    ];
    leaf.prop_recursive(8, 8, 1, |inner| inner.prop_map(|inner| External::Deep(Box::new(inner))))
        .boxed()
}

type Mixed = (u128, Option<Option<i8>>, Vec<Option<char>>, HashMap<i32, Vec<u8>>, [i16; 3]);

proptest! {
    #[test]
    fn the_zoo_travels(
        tree in leaves(),
        skips in skips(),
        external in external(),
        internal in internal(),
        mixed in any::<Mixed>(),
        numbers in any::<Vec<i64>>(),
    ) {
        // A map that has a field of the other variant reads as that: refused, or the same.
        match encoded(&tree) {
            Ok(bytes) => prop_assert_eq!(decode::<Untagged>(&bytes).unwrap(), tree),
            Err(Fault(why)) => prop_assert!(why.contains("another value"), "{}", why),
        }
        prop_assert_eq!(arrived(&skips), skips);
        prop_assert_eq!(arrived(&external), external);
        let list = vec![Some(internal.clone())];
        match encoded(&list) {
            Ok(bytes) => prop_assert_eq!(decode::<Vec<Option<Internal>>>(&bytes).unwrap(), list),
            // A map may have the tag's own key.
            Err(_) => prop_assert!(matches!(internal, Internal::Map(_))),
        }
        prop_assert_eq!(arrived(&mixed), mixed);
        prop_assert_eq!(arrived(&numbers), numbers);
    }

    #[test]
    fn any_bytes_are_a_value_or_an_error(mut bytes in any::<Vec<u8>>(), tag in any::<u8>()) {
        for tag in [tag, tag::MESSAGE, tag::TEXT, tag::MANY | 11] {
            bytes.push(tag);
            let _ = decode::<Untagged>(&bytes);
            let _ = decode::<Flat>(&bytes);
            let _ = decode::<Vec<External>>(&bytes);
            let _ = decode::<Mixed>(&bytes);
            let _ = decode::<Vec<f64>>(&bytes);
            let _ = decode::<serde_json::Value>(&bytes);
            let _ = decode::<crate::ObjectRef<u64>>(&bytes);
            let _ = decode::<PathBuf>(&bytes);
            let _ = <[f64]>::lend(&bytes);
            let _ = <str>::lend(&bytes);
            let _ = from_outside(&bytes);
            let _ = read::fingerprint(&bytes);
            bytes.pop();
        }
    }

    #[test]
    fn a_byte_that_changed_is_a_value_or_an_error(tree in leaves(), at in any::<usize>(), byte in any::<u8>()) {
        if let Ok(mut bytes) = encoded(&tree) {
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = decode::<Untagged>(&bytes);
            let _ = from_outside(&bytes);
        }
    }
}
