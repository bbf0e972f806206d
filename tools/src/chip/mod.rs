//! `mailring chip`: what is in a callable of a chip, and making one from shared objects.

mod inspect;
mod pack;

use clap::{Args, Subcommand};
use mailring::abi::ArgDirection;

use crate::cli::Failure;

/// Examples under the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  mailring attention --save attend.bin && mailring chip inspect attend.bin
  mailring chip pack --func run --signature in,out,scalar --child 0=add.so:in,out orch.so -o run.bin
  mailring chip inspect --json - run.bin";

const INSPECT_EXAMPLES: &str = "\
Examples:
  mailring chip inspect run.bin
  mailring chip inspect --core child.bin
  mailring chip inspect --json - run.bin | grep func_id

Exit codes: 0 read, 1 the file holds no such callable (the field at fault is named), 2 bad arguments";

const PACK_EXAMPLES: &str = "\
Examples:
  mailring chip pack --func run orch.so -o run.bin
  mailring chip pack --func run --signature in,in,inout,scalar \\
      --child 0=add.so:in,in,out --child 1=scale.so:inout,scalar orch.so -o run.bin

Exit codes: 0 written, 1 a file cannot be read or written, 2 bad arguments";

/// Options of `mailring chip`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Print what is in a callable
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect(inspect::Options),
    /// Make a callable from shared objects
    #[command(after_help = PACK_EXAMPLES)]
    Pack(pack::Options),
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    match &options.command {
        Command::Inspect(options) => inspect::run(options),
        Command::Pack(options) => pack::run(options),
    }
}

/// A signature as people write it: `in,inout,scalar`; `-` without entries.
fn signature_text(signature: &[ArgDirection]) -> String {
    let words: Vec<_> = signature.iter().map(|d| d.name().to_ascii_lowercase()).collect();
    if words.is_empty() { "-".to_owned() } else { words.join(",") }
}
