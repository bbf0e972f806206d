//! scratch: one pattern for long
use mailring::abi::*;
use mailring::*;
use std::time::Instant;
fn main() {
    let what = std::env::args().nth(1).unwrap();
    let mut b = Executor::builder().workers(1).pin_cpus(true);
    let nop = b.register("nop", |_a, _c, _x| Ok::<(), AbiError>(())).unwrap();
    let exec = b.build().unwrap();
    let buf = exec.buffer::<u64>(1 << 16).unwrap();
    let ins: Vec<_> = (0..1024).map(|i| buf.view(i + 5000, &[1]).unwrap()).collect();
    let outs: Vec<_> = (0..4096).map(|i| buf.view(i + 10000, &[1]).unwrap()).collect();
    unsafe { let mut s: [u64;16] = [0;16]; s[0]=1; sched_setaffinity(0, 128, s.as_ptr()); }
    let n = 5_000_000u64;
    for _ in 0..2 {
    let t = Instant::now();
    exec.run(|o| {
            for i in 0..n {
                match &*what {
                    "ind" => { o.submit(nop, TaskArgs::new().input(ins[i as usize % 1024]).output(outs[i as usize % 4096]).scalar(i), CallConfig::default())?; }
                    "chain" => { o.submit(nop, TaskArgs::new().inout(outs[0]).scalar(i), CallConfig::default())?; }
                    "rtt" => { if i > n/10 { break; } let h = o.submit(nop, TaskArgs::new().output(outs[0]).scalar(i), CallConfig::default())?; o.wait(&h)?; }
                    _ => { o.submit(nop, TaskArgs::new(), CallConfig::default())?; }
                }
            }
            Ok(())
    }).unwrap();
    println!("{what} {:.1} {:?}", t.elapsed().as_nanos() as f64 / n as f64, exec.stats().sleeps);
    }
}
unsafe extern "C" { fn sched_setaffinity(pid: i32, n: usize, s: *const u64) -> i32; }
