//! The `mailring` command: demonstrations on real data and on simulated chips, measurements of this
//! machine, and a look into callables of chips, into programs that run and into what a profiled run did.

mod attention;
mod bench;
mod chip;
mod cli;
mod gp;
mod live;
mod output;
mod stats;
mod system;
mod trace;
mod watch;
mod words;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command, Failure};

fn main() -> ExitCode {
    let cli = Cli::parse();
    output::install_tracing(cli.verbose);
    let done = match &cli.command {
        Command::Gp(options) => gp::run(options),
        Command::Attention(options) => attention::run(options),
        Command::Bench(options) => bench::run(options),
        Command::BenchSection(options) => bench::run_section(options),
        Command::Chip(options) => chip::run(options),
        Command::Top(options) => live::top(options),
        Command::Clean(options) => live::clean(options),
        Command::Trace(options) => trace::run(options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(why)) => cli::refuse(&why),
        Err(Failure::Failed(why)) => {
            eprintln!("mailring: {why}");
            ExitCode::FAILURE
        }
    }
}
