//! scratch: cost of submit and of running, apart
use mailring::abi::*;
use mailring::*;
use std::time::Instant;
fn main() {
    let mut b = Executor::builder().workers(1).slot_window(4096);
    let nop = b.register("nop", |_a, _c, _x| Ok::<(), AbiError>(())).unwrap();
    let exec = b.build().unwrap();
    let buf = exec.buffer::<u64>(1 << 16).unwrap();
    let pid = exec.worker_pids()[0] as i32;
    let ins: Vec<_> = (0..1024).map(|i| buf.view(i + 5000, &[1]).unwrap()).collect();
    let outs: Vec<_> = (0..4096).map(|i| buf.view(i + 10000, &[1]).unwrap()).collect();
    let n = 4_000u64;
    for what in ["independent", "chain", "args only", "no args"] {
      let mut v = Vec::new();
      for _ in 0..30 {
        let mut sub = 0.0;
        unsafe { libc_kill(pid, 19) };
        std::thread::sleep(std::time::Duration::from_millis(5));
        let mut t2 = Instant::now();
        exec.run(|o| {
            let t = Instant::now();
            for i in 0..n {
                match what {
                    "independent" => { o.submit(nop, TaskArgs::new().input(ins[i as usize % 1024]).output(outs[i as usize % 4096]).scalar(i), CallConfig::default())?; }
                    "chain" => { o.submit(nop, TaskArgs::new().inout(outs[0]).scalar(i), CallConfig::default())?; }
                    "no args" => { o.submit(nop, TaskArgs::new(), CallConfig::default())?; }
                    _ => { std::hint::black_box(TaskArgs::new().input(ins[i as usize % 1024]).output(outs[i as usize % 4096]).scalar(i)); }
                }
            }
            sub = t.elapsed().as_nanos() as f64 / n as f64;
            unsafe { libc_kill(pid, 18) };
            t2 = Instant::now();
            Ok(())
        }).unwrap();
        let drain = t2.elapsed().as_nanos() as f64 / n as f64;
        v.push((sub, drain));
      }
      let mut a: Vec<f64> = v.iter().map(|x| x.0).collect(); a.sort_by(f64::total_cmp);
      let mut b: Vec<f64> = v.iter().map(|x| x.1).collect(); b.sort_by(f64::total_cmp);
      println!("{what}: submit {:.1} ns (min {:.1}), drain {:.1} ns", a[a.len()/2], a[0], b[b.len()/2]);
    }
}
unsafe extern "C" { #[link_name = "kill"] fn libc_kill(pid: i32, sig: i32) -> i32; }
