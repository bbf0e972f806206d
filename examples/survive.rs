//! A worker is killed in the middle of a task, again and again, and the sum is still right.
//!
//! Each task adds to an account that it reads and writes, so a half-done attempt would show. The
//! account is saved before a body and restored before another attempt (`snapshot`).

use std::time::Duration;

use mailring::abi::{AbiError, CallConfig, TaskArgs};
use mailring::{Executor, TaskOptions};

const TASKS: u64 = 200;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut builder = Executor::builder().workers(2);
    let deposit = builder.register("deposit", |args, _config, context| {
        let half = args.get::<u64>(0, 0)? + 1;
        args.set(0, 0, half)?; // from here on the account is wrong ...
        if context.attempt() == 1 && context.task().0 % 10 == 0 {
            std::process::abort(); // ... and nobody lives to put it right
        }
        std::thread::sleep(Duration::from_micros(50));
        args.set(0, 0, half + 1)?;
        Ok::<(), AbiError>(())
    })?;
    let exec = builder.build()?;
    let account = exec.buffer::<u64>(1)?;
    let options = TaskOptions::new().retries(2).snapshot();
    exec.run(|orch| {
        for _ in 0..TASKS {
            let args = TaskArgs::new().inout(&account);
            orch.submit_with(deposit, args, CallConfig::default(), &options)?;
        }
        Ok(())
    })?;
    let stats = exec.stats();
    println!(
        "{TASKS} deposits of 2, {} workers died on the way, the account holds {}",
        stats.deaths,
        account.to_vec()?[0]
    );
    assert_eq!(account.to_vec()?, [2 * TASKS]);
    assert_eq!(stats.deaths, TASKS / 10);
    Ok(())
}
