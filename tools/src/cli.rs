//! The command line: what can be asked for, and how a command ends.

use std::fmt::Display;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::{attention, bench, chip, gp, live, trace};

/// Exit codes, for scripts; shown under every help.
const EXIT_CODES: &str = "\
Exit codes:
  0  all went well
  1  a run failed, or a result is not what it must be
  2  bad arguments

Colour and progress appear on a terminal only; NO_COLOR turns colour off there too.";

/// Runs graphs of tasks on forked workers through shared memory: demonstrations on real data and on
/// simulated chips, measurements of this machine, and a look into callables of chips and into what a
/// profiled run did.
#[derive(Parser, Debug)]
#[command(name = "mailring", version, after_help = concat!(
    "Examples:\n",
    "  mailring gp\n",
    "  mailring gp --kill 20\n",
    "  mailring attention --chips 2\n",
    "  mailring bench --quick --json bench.json\n",
    "  mailring chip inspect FILE\n",
    "  mailring top NAME\n",
    "  mailring clean --dry-run\n",
    "  mailring trace run.log\n",
))]
pub(crate) struct Cli {
    /// Say on stderr what the library does; twice for more
    #[arg(short, long, global = true, display_order = 900, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Gaussian-process regression on the wine quality data, by a graph of matrix tiles
    #[command(after_help = gp::EXAMPLES, after_long_help = format!("{}\n\n{EXIT_CODES}", gp::EXAMPLES))]
    Gp(gp::Options),
    /// Attention of several heads on simulated chips: as a graph of tiles, and as groups
    #[command(after_help = attention::EXAMPLES,
              after_long_help = format!("{}\n\n{EXIT_CODES}", attention::EXAMPLES))]
    Attention(attention::Options),
    /// Measure this machine, the engine on it, and other schedulers, side by side
    #[command(after_help = bench::EXAMPLES, after_long_help = format!("{}\n\n{EXIT_CODES}", bench::help()))]
    Bench(bench::Options),
    /// One section of the bench, in a process of its own
    #[command(name = bench::COMMAND, hide = true)]
    BenchSection(bench::SectionOptions),
    /// Look into callables of chips, and make them
    #[command(after_help = chip::EXAMPLES, after_long_help = format!("{}\n\n{EXIT_CODES}", chip::EXAMPLES))]
    Chip(chip::Options),
    /// Show what a running executor or flow does, live
    #[command(after_help = live::TOP_EXAMPLES,
              after_long_help = format!("{}\n\n{EXIT_CODES}", live::TOP_EXAMPLES))]
    Top(live::TopOptions),
    /// Find and remove what killed runs have left
    #[command(after_help = live::CLEAN_EXAMPLES,
              after_long_help = format!("{}\n\n{EXIT_CODES}", live::CLEAN_EXAMPLES))]
    Clean(live::CleanOptions),
    /// Show what a profiled run did and where its time went: a page, a picture, a table
    Trace(trace::Options),
}

/// Where figures go, besides the report.
#[derive(Args, Debug, Default)]
pub(crate) struct Json {
    /// Also write the figures to FILE as JSON (`-`: to stdout, instead of the report)
    #[arg(long = "json", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Invalid arguments: exit code 2.
    Usage(String),
    /// Everything else: exit code 1.
    Failed(String),
}

impl Failure {
    /// For `map_err`: the error's words behind what was tried.
    pub(crate) fn of<E: Display>(tried: &str) -> impl FnOnce(E) -> Self {
        move |error| Self::Failed(format!("{tried}: {error}"))
    }
}

/// Ends the process as clap does for arguments that it refuses itself.
pub(crate) fn refuse(why: &str) -> ! {
    Cli::command().error(ErrorKind::ValueValidation, why).exit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for bad in [&["gp", "--tile", "0"][..], &["gp", "--workers", "0"], &["gp", "--mode", "x"]] {
            let words = std::iter::once("mailring").chain(bad.iter().copied());
            assert!(Cli::try_parse_from(words).is_err(), "{bad:?}");
        }
    }
}
