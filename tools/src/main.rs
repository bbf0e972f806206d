//! The `mailring` command: a demonstration on real data, and measurements of this machine.

mod bench;
mod cli;
mod gp;
mod output;
mod stats;
mod system;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command, Failure};

fn main() -> ExitCode {
    let cli = Cli::parse();
    output::install_tracing(cli.verbose);
    let done = match &cli.command {
        Command::Gp(options) => gp::run(options),
        Command::Bench(options) => bench::run(options),
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
