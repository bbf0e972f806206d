//! One task on three workers at once: each sums a part, a barrier, then each sees the whole.

use mailring::Executor;
use mailring::abi::{CallConfig, TaskArgs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut builder = Executor::builder().workers(3);
    let share = builder.register("share", |args, _config, context| {
        let group = context.group().ok_or("not a group")?;
        let mut part = 0;
        for i in 0..args.elements::<u64>(0)?.1 {
            part += args.get::<u64>(0, i)?;
        }
        group.fetch_add(0, part);
        group.barrier()?;
        let whole = group.load(0);
        args.set(1, group.index(), 100 * part / whole)?; // per cent of the whole
        Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    })?;
    let exec = builder.build()?;
    let data = exec.buffer::<u64>(300)?;
    data.copy_from_slice(&(0..300).collect::<Vec<u64>>())?;
    let shares = exec.buffer::<u64>(3)?;
    let mut members = Vec::new();
    for member in 0..3 {
        let part = data.view(member * 100, &[100])?;
        // All members write to `shares`, each its own element; NO_DEP would do as well.
        members.push(TaskArgs::new().input(part).output(&shares));
    }
    exec.run(|orch| orch.submit_group(share, members, CallConfig::default()).map(drop))?;
    println!("shares in per cent: {:?}", shares.to_vec()?);
    assert_eq!(shares.to_vec()?, [11, 33, 55]);
    Ok(())
}
