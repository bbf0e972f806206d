//! The example of the README: two tasks with typed parameters, one of which waits for the others.

use mailring::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut builder = Executor::builder().workers(2);
    let fill = builder.task("fill", |mut out: Out<u64>, start: u64| {
        out.iter_mut().zip(start..).for_each(|(x, value)| *x = value);
    })?;
    let add = builder.task("add", |x: In<u64>, y: In<u64>, mut sum: Out<u64>| {
        sum.iter_mut().zip(x.iter().zip(y.iter())).for_each(|(sum, (x, y))| *sum = x + y);
    })?;
    let exec = builder.build()?; // forks the workers
    let [a, b, sum] = [exec.buffer(1000)?, exec.buffer(1000)?, exec.buffer(1000)?];
    exec.run(|s| {
        s.spawn(fill, (&a, 1))?;
        s.spawn(fill, (&b, 100))?;
        s.spawn(add, (&a, &b, &sum)) // waits for both `fill`s: it reads what they write
    })?;
    println!("sum[0] = {}, sum[999] = {}", sum.to_vec()?[0], sum.to_vec()?[999]);
    assert_eq!(sum.to_vec()?[999], 2099);
    Ok(())
}
