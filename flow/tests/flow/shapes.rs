//! Values of all forms: what serde derives, what travels as its bytes, and refs, which are no data.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::values::MIB;
use mailring::flow::{
    ActorHandle, Cause, Error, Flow, ObjectRef, Shared, TrackedRef, actor, gather, node,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use testkit::eventually;
use testkit::flow::{failed, flow};

// ---- what serde derives -------------------------------------------------------------------------

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Job {
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(skip_serializing_if = "is_zero", default)]
    level: u32,
    retries: u32,
    args: Vec<u32>,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

#[node]
fn same_job(job: Job) -> Job {
    job
}

#[node]
fn job_as_text(job: &Job) -> String {
    format!("{job:?}")
}

pub(crate) fn fields_that_are_skipped_arrive_as_they_are() {
    let flow = flow(2);
    for (note, level) in [(None, 0), (None, 1), (Some("x".to_owned()), 0), (Some(String::new()), 2)]
    {
        let job = Job { note, level, retries: 0, args: vec![0] };
        assert_eq!(same_job::remote_blocking(&flow, &job), Ok(job.clone()));
        let made = same_job::remote(&flow, &job).unwrap();
        assert_eq!(job_as_text::remote_blocking(&flow, &made), Ok(format!("{job:?}")));
        let put = flow.put(&vec![job.clone(); 1000]).unwrap();
        assert_eq!(put.get().unwrap(), vec![job; 1000]);
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Setting {
    Switch(bool),
    Level(i64),
    Factor(f64),
    Name(String),
    Many(Vec<Setting>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Config {
    name: String,
    #[serde(flatten)]
    settings: BTreeMap<String, Setting>,
    #[serde(rename = "type")]
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Kind {
    PlainOne,
    Other { job: Job, by_number: HashMap<u32, String> },
}

fn config() -> Config {
    let many = vec![Setting::Switch(true), Setting::Level(-5), Setting::Factor(0.5)];
    Config {
        name: "n".to_owned(),
        settings: BTreeMap::from([
            ("many".to_owned(), Setting::Many(many)),
            ("text".to_owned(), Setting::Name("t".to_owned())),
        ]),
        kind: Kind::Other {
            job: Job { note: None, level: 0, retries: 9, args: vec![] },
            by_number: (0..50).map(|n| (n, n.to_string())).collect(),
        },
    }
}

#[node]
fn same_configs(configs: Vec<Config>, one: &Config) -> Result<BTreeMap<u32, Config>, String> {
    let mut all: BTreeMap<u32, Config> = (0..).zip(configs).collect();
    all.insert(100, one.clone());
    Ok(all)
}

pub(crate) fn variants_that_are_told_apart_by_what_is_in_them() {
    let flow = flow(2);
    let plain = Config { kind: Kind::PlainOne, ..config() };
    let all = same_configs::remote(&flow, [config(), plain.clone()], &plain).unwrap();
    let expected = BTreeMap::from([(0, config()), (1, plain.clone()), (100, plain)]);
    assert_eq!(all.get(), Ok(expected));
}

#[node]
fn count(limit: Option<Option<u32>>) -> Vec<Option<Option<u32>>> {
    vec![limit, None, Some(None)]
}

pub(crate) fn an_option_in_an_option() {
    let flow = flow(1);
    for limit in [None, Some(None), Some(Some(3))] {
        assert_eq!(count::remote_blocking(&flow, limit), Ok(vec![limit, None, Some(None)]));
    }
}

/// Serde writes nothing for 0, and reads nothing as an error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct NoDefault {
    #[serde(skip_serializing_if = "is_zero")]
    level: u32,
}

/// Writes a whole number, and reads that as the other variant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Confused {
    Factor(f64),
    Level(i64),
}

#[node]
fn levels(first: u8, no_default: NoDefault, confused: Vec<Confused>) -> u32 {
    u32::from(first) + no_default.level + confused.len() as u32
}

pub(crate) fn what_would_not_arrive_is_refused_by_name() {
    let flow = flow(1);
    let fine = levels::remote_blocking(&flow, 1u8, NoDefault { level: 2 }, [Confused::Factor(1.5)]);
    assert_eq!(fine, Ok(4));
    let encode = |result: Result<ObjectRef<u32>, Error>, all: &[&str]| match result {
        Err(Error::Encode { what, why }) => {
            let text = format!("{what}: {why}");
            assert!(all.iter().all(|word| text.contains(word)), "{text}");
        }
        other => panic!("{other:?}"),
    };
    encode(
        levels::remote(&flow, 1u8, NoDefault { level: 0 }, [Confused::Factor(1.5)]),
        &["argument 1", "`no_default`", "levels", "NoDefault", "missing field `level`"],
    );
    encode(
        levels::remote(&flow, 1u8, NoDefault { level: 1 }, vec![Confused::Level(5)]),
        &["argument 2", "`confused`", "Confused", "another value"],
    );
    assert!(matches!(flow.put(&NoDefault { level: 0 }), Err(Error::Encode { .. })));
    let stats = flow.stats().unwrap();
    assert_eq!((stats.tasks, stats.objects), (1, 0), "nothing was sent");
}

#[node]
fn confused() -> Result<Option<Confused>, String> {
    Ok(Some(Confused::Level(1)))
}

pub(crate) fn a_result_that_would_not_arrive() {
    let flow = flow(1);
    let error = failed(confused::remote_blocking(&flow));
    let Cause::Codec(why) = &error.cause else { panic!("{error}") };
    assert!(why.contains("Confused") && why.contains("another value"), "{why}");
}

struct Jobs(Vec<Job>);

#[actor]
#[allow(unreachable_pub, reason = "what can be called is `pub`")]
impl Jobs {
    pub fn new(first: Job) -> Self {
        Self(vec![first])
    }

    pub fn add(&mut self, job: &Job, under: &Path, weights: &[f64]) -> Result<Job, NoDefault> {
        self.0.push(job.clone());
        match weights {
            [] => Err(NoDefault { level: 1 }),
            _ => Ok(Job { note: Some(under.display().to_string()), ..self.0[0].clone() }),
        }
    }
}

impl std::fmt::Display for NoDefault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "level {}", self.level)
    }
}

pub(crate) fn an_actor_takes_and_gives_structs() {
    let flow = flow(2);
    let job = Job { note: None, level: 0, retries: 1, args: vec![0] };
    let jobs = JobsActor::new(&flow, &job).unwrap();
    let added = jobs.add(&job, Path::new("/x"), &[1.5][..]).remote_blocking();
    assert_eq!(added, Ok(Job { note: Some("/x".to_owned()), ..job.clone() }));
    let error = failed(jobs.add(&job, "y", Vec::new()).remote_blocking());
    let Cause::App(error) = error.cause else { panic!("{error}") };
    assert_eq!(error.downcast::<NoDefault>(), Some(NoDefault { level: 1 }));
}

// ---- what travels as its bytes ------------------------------------------------------------------

/// Where they are, modulo 64.
#[node]
fn places(bytes: &[u8], short: u8, doubles: &[f64], text: &str, words: &[u32]) -> Vec<usize> {
    assert_eq!(short, 3);
    let sum = bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>() as f64;
    assert_eq!(sum, doubles.iter().sum::<f64>());
    assert_eq!(text.len(), words.len());
    let places = [
        bytes.as_ptr() as usize,
        doubles.as_ptr() as usize,
        text.as_ptr() as usize,
        words.as_ptr() as usize,
    ];
    places.map(|place| place % 64).to_vec()
}

pub(crate) fn arguments_are_lent_where_they_are() {
    let flow = flow(1);
    for len in [1, 2, 3, 7, 20, 100, 256, 1000, 2047, 2048, 2049, 10_000, 100_000] {
        let (bytes, doubles) = (vec![1u8; len], vec![1.0; len]);
        let (text, words) = ("x".repeat(len), vec![7u32; len]);
        let found = places::remote_blocking(&flow, &bytes, 3u8, &doubles, &text, &words);
        assert_eq!(found, Ok(vec![0; 4]), "{len} values");
        // The same from refs to values.
        let (bytes, doubles) = (flow.put(&bytes).unwrap(), flow.put(&doubles).unwrap());
        let (text, words) = (flow.put(&text).unwrap(), flow.put(&words).unwrap());
        let found = places::remote_blocking(&flow, bytes, 3u8, doubles, text, words);
        assert_eq!(found, Ok(vec![0; 4]), "refs of {len} values");
    }
    // As floats, which a body makes of plain bytes.
    let raw: Vec<u8> = [1.5f32, 2.5].iter().flat_map(|one| one.to_ne_bytes()).collect();
    assert_eq!(sum_as_floats::remote_blocking(&flow, &raw), Ok(4.0));
}

#[node]
fn sum_as_floats(bytes: &[u8]) -> f32 {
    bytemuck::cast_slice::<u8, f32>(bytes).iter().sum()
}

#[node]
fn counting(len: usize) -> Vec<f64> {
    (0..len).map(|n| n as f64).collect()
}

#[node]
fn sum_in_place(all: &[f64]) -> Result<f64, Error> {
    if !all.as_ptr().addr().is_multiple_of(64) {
        return Ok(f64::NAN);
    }
    Ok(all.iter().sum())
}

/// A ref that arrives inside another value, and one made here.
#[node]
fn sum_of_inner(refs: Vec<ObjectRef<Vec<f64>>>) -> Result<f64, Error> {
    let flow = Flow::current()?;
    let mut sum = sum_in_place::remote_blocking(&flow, counting::remote(&flow, 10usize)?)?;
    for one in refs {
        sum += sum_in_place::remote_blocking(&flow, &one)?;
        sum += one.get()?.iter().sum::<f64>() + one.view()?.iter().sum::<f64>();
    }
    Ok(sum)
}

pub(crate) fn values_of_nodes_are_lent_where_they_are() {
    let flow = flow(2);
    for len in [0usize, 1, 2, 10, 24, 25, 300, 9_000, 1_000_000] {
        let expected = (0..len).map(|n| n as f64).sum::<f64>();
        let made = counting::remote(&flow, len).unwrap();
        assert_eq!(sum_in_place::remote_blocking(&flow, &made), Ok(expected), "not yet there");
        assert_eq!(sum_in_place::remote_blocking(&flow, &made), Ok(expected), "there");
        assert_eq!(made.get().unwrap().len(), len);
        let inner = sum_of_inner::remote_blocking(&flow, vec![made]);
        assert_eq!(inner, Ok(45.0 + 3.0 * expected));
    }
}

#[node]
fn described(text: &str, path: &Path, name: &OsStr, c: &std::ffi::CStr) -> (usize, PathBuf, bool) {
    (text.len(), path.join(name), c.to_bytes().is_empty())
}

pub(crate) fn texts_and_paths_are_lent() {
    let flow = flow(1);
    let expected = (3, PathBuf::from("/a/b"), true);
    let given = described::remote_blocking(&flow, "xyz", "/a", "b", c"");
    assert_eq!(given, Ok(expected.clone()));
    let (a, b) = (Path::new("/a"), OsStr::new("b"));
    assert_eq!(described::remote_blocking(&flow, "xyz", a, b, c""), Ok(expected.clone()));
    let owned = (PathBuf::from("/a"), OsString::from("b"), c"".to_owned());
    let given =
        described::remote_blocking(&flow, String::from("xyz"), &owned.0, &owned.1, &owned.2);
    assert_eq!(given, Ok(expected.clone()));
    let put = (flow.put(&owned.0).unwrap(), flow.put(&owned.1).unwrap());
    let made = described::remote(&flow, "xyz", put.0, &put.1, owned.2).unwrap();
    assert_eq!(made.get(), Ok(expected));
}

#[node]
fn below(directory: PathBuf, name: &Path) -> PathBuf {
    directory.join(name)
}

pub(crate) fn paths_that_are_no_text() {
    let flow = flow(1);
    let odd = PathBuf::from(OsString::from_vec(vec![b'/', 0xff, 0, b'x']));
    let joined = below::remote(&flow, &odd, odd.file_name().map(Path::new).unwrap()).unwrap();
    assert_eq!(joined.get(), Ok(odd.join(odd.file_name().unwrap())));
    assert_eq!(&*joined.view().unwrap(), odd.join(odd.file_name().unwrap()));
    // Serde has no form for it inside of other values.
    let refused = flow.put(&vec![odd]);
    assert!(
        matches!(&refused, Err(Error::Encode { why, .. }) if why.contains("UTF-8")),
        "{refused:?}"
    );
}

#[node]
fn crossed(a: [f64; 3], b: &[f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

#[node]
fn largest(all: &[u128], bytes: Vec<i8>, one: &u64) -> (u128, i8, u64) {
    (all.iter().copied().max().unwrap_or(0), bytes.iter().copied().max().unwrap_or(0), *one)
}

pub(crate) fn arrays_of_numbers() {
    let flow = flow(1);
    let up = crossed::remote(&flow, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]).unwrap();
    assert_eq!(up.get(), Ok([0.0, 0.0, 1.0]));
    assert_eq!(crossed::remote_blocking(&flow, &up, &up), Ok([0.0; 3]));
    let found = largest::remote_blocking(&flow, [1, u128::MAX], [-3i8, -2], 5u64);
    assert_eq!(found, Ok((u128::MAX, -2, 5)));
}

pub(crate) fn views_of_numbers() {
    let flow = flow(1);
    for len in [0usize, 1, 20, 100, 5_000, 100_000] {
        let made = counting::remote(&flow, len).unwrap();
        let view = made.view().unwrap();
        assert_eq!(view.as_ptr() as usize % 64, 0);
        assert_eq!(view.len(), len);
        assert!(view.iter().enumerate().all(|(n, value)| *value == n as f64));
    }
    // A view of what was put together from vectors has nothing to lend.
    let parts =
        [counting::remote(&flow, 2usize).unwrap(), counting::remote(&flow, 1usize).unwrap()];
    assert_eq!(gather(&flow, &parts).unwrap().get(), Ok(vec![vec![0.0, 1.0], vec![0.0]]));
    let numbers = [flow.put(&1u32).unwrap(), flow.put(&2u32).unwrap()];
    assert_eq!(*gather(&flow, &numbers).unwrap().view().unwrap(), [1, 2]);
}

#[node]
fn sum_of_shared(all: Shared<u64>) -> u64 {
    all[0] + all[all.len() - 1]
}

#[node]
fn sum_of_slice(all: &[u64]) -> u64 {
    all[0] + all[all.len() - 1]
}

/// A vector takes no more than its bytes, and about the time of a block that is filled by hand.
pub(crate) fn numbers_as_fast_as_a_shared_block() {
    let flow = flow(1);
    let all = vec![1u64 << 40; 4 * MIB / 8];
    let before = flow.stats().unwrap().memory_used;
    let put = flow.put(&all).unwrap();
    let taken = flow.stats().unwrap().memory_used - before;
    assert!(taken <= 4 * MIB as u64 + 4096, "{taken} bytes for {}", 4 * MIB);
    drop(put);
    let fastest = |run: &dyn Fn()| {
        let once = |_| {
            let since = Instant::now();
            run();
            since.elapsed()
        };
        (0..7).map(once).min().unwrap()
    };
    let shared = fastest(&|| {
        let block = Shared::from_slice(&flow, &all).unwrap();
        assert_eq!(sum_of_shared::remote_blocking(&flow, block), Ok(2 << 40));
    });
    let vector = fastest(&|| {
        assert_eq!(sum_of_slice::remote_blocking(&flow, &all), Ok(2 << 40));
    });
    assert!(vector < 4 * shared + Duration::from_millis(1), "{vector:?}, and shared {shared:?}");
}

#[node]
fn lines(texts: Vec<String>, pairs: &[(u8, String)], maybe: Vec<Option<Job>>) -> Vec<String> {
    let pairs = pairs.iter().map(|(n, text)| format!("{n}{text}"));
    texts.into_iter().chain(pairs).chain(maybe.iter().map(|job| format!("{job:?}"))).collect()
}

#[node]
fn text(n: u8) -> String {
    "x".repeat(n.into())
}

#[node]
fn pair(n: u8) -> (u8, String) {
    (n, n.to_string())
}

#[node]
fn maybe(n: u8) -> Option<Job> {
    (n > 1).then(|| Job { note: None, level: 0, retries: n.into(), args: vec![] })
}

pub(crate) fn gathered_values_of_all_forms() {
    let flow = flow(2);
    let numbers = 0..3u8;
    let texts: Vec<_> = numbers.clone().map(|n| text::remote(&flow, n).unwrap()).collect();
    let pairs: Vec<_> = numbers.clone().map(|n| pair::remote(&flow, n).unwrap()).collect();
    let jobs: Vec<_> = numbers.map(|n| maybe::remote(&flow, n).unwrap()).collect();
    let texts = gather(&flow, &texts).unwrap();
    let (pairs, jobs) = (gather(&flow, &pairs).unwrap(), gather(&flow, &jobs).unwrap());
    assert_eq!(texts.get().unwrap(), ["", "x", "xx"]);
    let all = lines::remote_blocking(&flow, &texts, pairs, jobs).unwrap();
    assert_eq!(all[..7], ["", "x", "xx", "00", "11", "22", "None"]);
    assert!(all[8].contains("retries: 2"), "{all:?}");
}

// ---- refs are no data ---------------------------------------------------------------------------

#[node]
fn number(value: u64) -> u64 {
    value
}

/// Reads a ref from text, wherever it is read.
#[derive(Debug)]
struct Forged(ObjectRef<u64>);

impl Serialize for Forged {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::to_string(&self.0).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Forged {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        serde_json::from_str(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// A number where a ref is read.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Either {
    Ref(ObjectRef<u64>),
    Number(u64),
    Words(Vec<u64>),
}

#[node]
fn reads_texts(texts: Vec<String>) -> Vec<String> {
    let read = |text: &String| match serde_json::from_str::<ObjectRef<u64>>(text) {
        Ok(found) => format!("{found:?}"),
        Err(error) => error.to_string(),
    };
    texts.iter().map(read).collect()
}

#[node]
fn which(all: Vec<Either>) -> Vec<u64> {
    let value = |one: Either| match one {
        Either::Ref(found) => found.get().unwrap_or(0),
        Either::Number(number) => number,
        Either::Words(words) => 1000 + words.len() as u64,
    };
    all.into_iter().map(value).collect()
}

pub(crate) fn refs_are_no_data() {
    let flow = flow(1);
    let real = number::remote(&flow, 7u64).unwrap();
    real.get().unwrap();
    let mut texts = vec![serde_json::to_string(&real).unwrap()];
    texts.extend((0..8).flat_map(|slot| {
        (0..4u64).flat_map(move |generation| {
            let id = generation << 32 | slot;
            [format!("{id}"), format!("[{id}]"), format!("[{id},{id}]")]
        })
    }));
    let texts = &texts;
    for text in texts {
        let read = serde_json::from_str::<ObjectRef<u64>>(text);
        let why = read.expect_err(text).to_string();
        assert!(why.contains("a ref is not data"), "{text}: {why}");
    }
    let read = reads_texts::remote_blocking(&flow, texts.clone()).unwrap();
    assert!(read.iter().all(|answer| !answer.contains("ObjectRef")), "{read:?}");
    let refused = flow.put(&Forged(real.clone()));
    assert!(
        matches!(&refused, Err(Error::Encode { why, .. }) if why.contains("not data")),
        "{refused:?}"
    );
    // Real ones travel in whatever serde does with them.
    let words = vec![Either::Words(vec![real.id()]), Either::Number(real.id())];
    let all = which::remote_blocking(
        &flow,
        [vec![Either::Ref(real.clone())], words].into_iter().flatten().collect::<Vec<_>>(),
    );
    assert_eq!(all, Ok(vec![7, 1001, real.id()]));
    // A count was neither added nor taken away by all this.
    assert_eq!(real.get(), Ok(7));
    drop(real);
    eventually("all objects are gone", || flow.stats().unwrap().objects == 0);
}

pub(crate) fn shared_blocks_are_no_data() {
    let flow = flow(1);
    let block = Shared::from_slice(&flow, &[1u64, 2, 3]).unwrap();
    let text = serde_json::to_string(&block).unwrap();
    let why = serde_json::from_str::<Shared<u64>>(&text).expect_err(&text).to_string();
    assert!(why.contains("a ref is not data"), "{text}: {why}");
    assert_eq!(reads_shared::remote_blocking(&flow, vec![text, "[1,2,3]".to_owned()]), Ok(0));
    // As another type it would be read from other bytes.
    let wider = flow.put(&vec![block.clone()]).unwrap();
    assert_eq!(wider.get().unwrap()[0][..], [1, 2, 3]);
    assert_eq!(sum_of_shared::remote_blocking(&flow, &block), Ok(4));
}

#[node]
fn reads_shared(texts: Vec<String>) -> usize {
    texts.iter().filter(|text| serde_json::from_str::<Shared<u64>>(text).is_ok()).count()
}

pub(crate) fn actors_are_no_data() {
    let flow = flow(1);
    let jobs =
        JobsActor::new(&flow, Job { note: None, level: 0, retries: 1, args: vec![] }).unwrap();
    let text = serde_json::to_string(jobs.raw()).unwrap();
    for text in [&text, "0"] {
        let why = serde_json::from_str::<ActorHandle<Jobs>>(text).expect_err(text).to_string();
        assert!(why.contains("a ref is not data"), "{text}: {why}");
    }
}

pub(crate) fn bytes_from_outside_name_no_refs() {
    let flow = flow(1);
    let real = number::remote(&flow, 7u64).unwrap();
    for kind in 4..=6u8 {
        let mut item = vec![0x91, 0xd7, kind];
        item.extend_from_slice(&real.id().to_be_bytes());
        let refused = flow.call_by_name::<Vec<u64>>("which", &[&item]);
        let named = |why: &str| why.contains("name a ref");
        assert!(
            matches!(&refused, Err(Error::BadArgument { why, .. }) if named(why)),
            "{refused:?}"
        );
    }
    let named = flow.call_by_name::<Vec<u64>>("which", &[&[0x92, 1, 0x91, 2]]).unwrap();
    assert_eq!(named.get(), Ok(vec![1, 1001]));
}

pub(crate) fn the_words_of_serde_are_kept() {
    let flow = flow(1);
    let by_name = |name: &str, item: &[u8]| match flow.call_by_name::<u64>(name, &[item]) {
        Err(Error::BadArgument { index: 0, name, why, .. }) => format!("{name}: {why}"),
        other => panic!("{other:?}"),
    };
    let why = by_name("same_job", &[0x81, 0xa4, b'n', b'o', b't', b'e', 1]);
    assert!(why.contains("job: invalid type: integer `1`") && why.contains("byte 7"), "{why}");
    let why = by_name("same_job", &[0x80]);
    assert!(why.contains("missing field `retries`"), "{why}");
    let wrong = flow.call_by_name::<u64>("text", &[&[3]]).unwrap().get();
    let Err(Error::Decode { why, .. }) = wrong else { panic!("{wrong:?}") };
    assert!(why.contains("a text") && why.contains("u64"), "{why}");
}

pub(crate) fn refs_as_keys() {
    let flow = flow(1);
    let refs: Vec<_> = (0..20u64).map(|n| number::remote(&flow, n).unwrap()).collect();
    let all: HashMap<ObjectRef<u64>, u64> = refs.iter().cloned().zip(0..).collect();
    for (n, one) in (0..).zip(&refs) {
        assert_eq!(all.get(one), Some(&n));
    }
    let set: HashSet<_> = refs.iter().chain(&refs).cloned().map(TrackedRef::new).collect();
    assert_eq!(set.len(), 20);
}
