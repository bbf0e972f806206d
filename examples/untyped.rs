//! The example `hello` without types: arguments by number, elements read and written one by one.

use mailring::Executor;
use mailring::abi::{AbiError, CallConfig, TaskArgs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut builder = Executor::builder().workers(2);
    let fill = builder.register("fill", |args, _config, _context| {
        let value = args.scalar(0)?;
        (0..args.elements::<u64>(0)?.1).try_for_each(|i| args.set(0, i, value + i as u64))
    })?;
    let add = builder.register("add", |args, _config, _context| {
        for i in 0..args.elements::<u64>(2)?.1 {
            args.set(2, i, args.get::<u64>(0, i)? + args.get::<u64>(1, i)?)?;
        }
        Ok::<(), AbiError>(())
    })?;
    let exec = builder.build()?; // forks the workers
    let [a, b, sum] = [exec.buffer::<u64>(1000)?, exec.buffer(1000)?, exec.buffer(1000)?];
    let config = CallConfig::default();
    exec.run(|orch| {
        orch.submit(fill, TaskArgs::new().output(&a).scalar(1), config)?;
        orch.submit(fill, TaskArgs::new().output(&b).scalar(100), config)?;
        orch.submit(add, TaskArgs::new().input(&a).input(&b).output(&sum), config)?;
        Ok(()) // `add` waits for both `fill`s: it names the bytes that they write
    })?;
    println!("sum[0] = {}, sum[999] = {}", sum.to_vec()?[0], sum.to_vec()?[999]);
    assert_eq!(sum.to_vec()?[999], 2099);
    Ok(())
}
