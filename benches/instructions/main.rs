//! What the hot paths cost in instructions, which neither neighbours nor the kind of machine change:
//! each row runs under callgrind in a process of its own, with its workers.

mod c;
mod callgrind;
mod engine;
mod flow;
mod growth;
mod rows;
mod stage;
mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use std::{env, fs};

use clap::Parser;
use rows::{PAIRS, ROWS, Row};
use table::{Counts, Table, Verdict};

/// Counts the instructions of the hot paths under callgrind and compares them with a table.
#[derive(Parser)]
struct Options {
    /// Only this row; may be given several times
    #[arg(long)]
    row: Vec<String>,
    /// Write the counts to FILE as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the table anew with what was counted
    #[arg(long)]
    update: bool,
    /// The table
    #[arg(long, value_name = "FILE", default_value = "benches/instructions.toml")]
    table: PathBuf,
    /// Keep callgrind's files in DIR, a directory for each row, for callgrind_annotate: out.PID.BATCH
    /// (the first batch meets everything for the first time)
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Run this row here: what runs under callgrind
    #[arg(long, hide = true)]
    inside: Option<String>,
}

/// A row takes a few seconds; one that hangs is ended.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match &options.inside {
        Some(name) => find(name)
            .and_then(|row| (row.run)(row.tasks).map(|()| true).map_err(|error| error.to_string())),
        None => compare(&options),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

fn find(name: &str) -> Result<&'static Row, String> {
    let known = || ROWS.iter().map(|row| row.name).collect::<Vec<_>>().join(", ");
    ROWS.iter()
        .find(|row| row.name == name)
        .ok_or_else(|| format!("there is no row `{name}`; there are {}", known()))
}

/// Whether nothing is over the table.
fn compare(options: &Options) -> Result<bool, String> {
    let rows: Vec<&Row> = match &options.row[..] {
        [] => ROWS.iter().collect(),
        names => names.iter().map(|name| find(name)).collect::<Result<_, _>>()?,
    };
    let mut table = Table::read(&options.table)?;
    let mut all = BTreeMap::new();
    let (mut over, mut under) = (Vec::new(), Vec::new());
    println!("{:16}{:>10}{:>8}{:>10}{:>8}", "", "submitter", "was", "worker", "was");
    for row in rows {
        let counts = count(row, options.keep.as_deref())?;
        let (expected, verdict) = table.compare(row.name, counts);
        let shown = |count: Option<u64>| count.map_or("-".to_owned(), |count| count.to_string());
        let mark = match verdict {
            Verdict::Good => "",
            Verdict::Over if expected.is_none() => "  new",
            Verdict::Over => "  OVER",
            Verdict::Under => "  under",
        };
        println!(
            "{:16}{:>10}{:>8}{:>10}{:>8}{mark:7} {}",
            row.name,
            counts.submitter,
            shown(expected.map(|counts| counts.submitter)),
            shown(counts.worker),
            shown(expected.and_then(|counts| counts.worker)),
            row.about,
        );
        match verdict {
            Verdict::Good => {}
            Verdict::Over => over.push(row.name),
            Verdict::Under => under.push(row.name),
        }
        table.update(row.name, counts);
        all.insert(row.name, counts);
    }
    let grown = grown(&all);
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&all).map_err(|error| error.to_string())?;
        fs::write(path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if options.update {
        table.write(&options.table)?;
        println!("\n{} written", options.table.display());
        return Ok(grown.is_empty());
    }
    let path = options.table.display();
    if !under.is_empty() {
        println!(
            "\nfewer instructions than {path} says, so that what is gained may be lost again \
             unseen: {}\nwrite it anew with --update",
            under.join(", ")
        );
    }
    if !over.is_empty() {
        println!(
            "\nmore instructions than {path} allows, or no entry there: {}\nlook for the cause with \
             --keep DIR and callgrind_annotate; if it is meant, write the table anew with --update",
            over.join(", ")
        );
    }
    Ok(over.is_empty() && grown.is_empty())
}

/// The rows that cost too much beside those that differ from them in nothing but how much there is.
fn grown(all: &BTreeMap<&str, Counts>) -> Vec<&'static str> {
    let mut grown = Vec::new();
    for &(few, many, most) in PAIRS {
        let (Some(few), Some(counts)) = (all.get(few), all.get(many)) else { continue };
        let ratio = |few: u64, many: u64| many as f64 / few.max(1) as f64;
        let submitter = ratio(few.submitter, counts.submitter);
        let worker = few.worker.zip(counts.worker).map_or(0.0, |(few, many)| ratio(few, many));
        let ratio = submitter.max(worker);
        if ratio > most {
            grown.push(many);
            println!("\n{many}: {ratio:.2} times what it costs among few, and {most} is allowed");
        }
    }
    grown
}

/// Runs a row under callgrind.
fn count(row: &Row, keep: Option<&Path>) -> Result<Counts, String> {
    let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", row.name);
    let temporary = tempfile::tempdir().map_err(|error| failed(&error))?;
    let place = keep.map_or(temporary.path().to_owned(), |keep| keep.join(row.name));
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place).map_err(|error| failed(&error))?;
    let own = env::current_exe().map_err(|error| failed(&error))?;
    let said = place.join("said");
    let output = fs::File::create(&said).map_err(|error| failed(&error))?;
    let mut child = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--trace-children=no"])
        .arg(format!("--callgrind-out-file={}/out.%p", place.display()))
        .arg(own)
        .args(["--inside", row.name])
        .stderr(output.try_clone().map_err(|error| failed(&error))?)
        .stdout(output)
        .spawn()
        .map_err(|error| failed(&format!("starting valgrind failed: {error}")))?;
    let until = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|error| failed(&error))? {
            break status;
        }
        if Instant::now() > until {
            let _ = child.kill();
            let _ = child.wait();
            return Err(failed(&format!("not through after {PATIENCE:?}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    if !status.success() {
        let said = fs::read_to_string(said).unwrap_or_default();
        return Err(failed(&format!("{status}\n{said}")));
    }
    let batches = read(&place).map_err(|error| failed(&error))?;
    let median = |side: &str| {
        let mut counts = batches.get(side).cloned().unwrap_or_default();
        counts.sort_unstable();
        let count = counts.get(counts.len() / 2).map(|count| count / row.tasks as u64);
        count.filter(|count| *count > 0).ok_or_else(|| failed(&format!("no counts of the {side}")))
    };
    Ok(Counts {
        submitter: median("submitter")?,
        worker: if row.worker { Some(median("worker")?) } else { None },
    })
}

/// The counts of each batch in callgrind's files, by their names.
fn read(place: &Path) -> std::io::Result<BTreeMap<String, Vec<u64>>> {
    let mut batches = BTreeMap::<_, Vec<u64>>::new();
    for file in fs::read_dir(place)? {
        let text = String::from_utf8_lossy(&fs::read(file?.path())?).into_owned();
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
        let name = value("desc: Trigger: Client Request: ");
        let total = value("totals: ").or_else(|| value("summary: "));
        if let (Some(name), Some(total)) = (name, total.and_then(|total| total.trim().parse().ok()))
        {
            batches.entry(name.to_owned()).or_default().push(total);
        }
    }
    Ok(batches)
}
