//! Any bytes as the values of flows, for types of all kinds: an argument, a result, an argument of
//! `call_by_name`. Also read in place, as bodies borrow them.
#![no_main]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use mailring::flow::__private::{Lend, from_outside_or_not, there_and_back};
use mailring::flow::ObjectRef;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
enum Tree {
    Leaf,
    Number(i64),
    Pair(Box<Tree>, Box<Tree>),
    Named { name: String, all: Vec<Tree> },
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Bool(bool),
    Number(u64),
    Float(f64),
    Text(String),
    List(Vec<Untagged>),
    Map(BTreeMap<String, Untagged>),
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Internal {
    Unit,
    Struct { a: Option<Option<i8>> },
    Map(BTreeMap<String, Untagged>),
}

#[derive(Serialize, Deserialize)]
struct Flat {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(flatten)]
    rest: BTreeMap<String, Untagged>,
}

type Mixed = (u128, i128, Option<char>, BTreeMap<i32, Vec<u8>>, [i16; 3], (), f32);

fuzz_target!(|data: &[u8]| {
    there_and_back::<Tree>(data);
    there_and_back::<Untagged>(data);
    there_and_back::<Internal>(data);
    there_and_back::<Flat>(data);
    there_and_back::<Mixed>(data);
    there_and_back::<u32>(data);
    there_and_back::<[f32; 4]>(data);
    there_and_back::<Vec<f64>>(data);
    there_and_back::<Box<[u16]>>(data);
    there_and_back::<String>(data);
    there_and_back::<PathBuf>(data);
    there_and_back::<ObjectRef<u64>>(data);
    let _ = <[f64]>::lend(data);
    let _ = <[String]>::lend(data);
    let _ = str::lend(data);
    let _ = Path::lend(data);
    if let Some(value) = from_outside_or_not(data) {
        there_and_back::<Tree>(&value);
        there_and_back::<Untagged>(&value);
        there_and_back::<Vec<f64>>(&value);
    }
});
