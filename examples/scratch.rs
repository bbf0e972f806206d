//! scratch
use mailring::abi::*;
use mailring::*;
use std::time::Instant;
fn main() {
    for mode in [Mode::Process, Mode::Thread] {
        let workers: usize = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(1);
        let mut b = Executor::builder().workers(workers).mode(mode);
        let nop = b.register("nop", |_a, _c, _x| Ok::<(), AbiError>(())).unwrap();
        let inc = b
            .register("inc", |a, _c, _x| {
                let v = a.get::<u64>(0, 0)?;
                a.set::<u64>(0, 0, v + 1)
            })
            .unwrap();
        let t = Instant::now();
        let exec = b.build().unwrap();
        println!("{mode:?} build {:?}", t.elapsed());
        let buf = exec.buffer::<u64>(1 << 16).unwrap();
        exec.run(|o| {
            for _ in 0..1000 {
                o.submit(
                    inc,
                    TaskArgs::new().inout(buf.view(0, &[1]).unwrap()),
                    CallConfig::default(),
                )?;
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(buf.get(0), Some(1000));
        for _ in 0..2 {
            let n = 200_000;
            let mut v = Vec::with_capacity(n);
            exec.run(|o| {
                for i in 0..n {
                    let t = Instant::now();
                    let h = o.submit(
                        nop,
                        TaskArgs::new().output(buf.view(i % 1000 + 1, &[1]).unwrap()).scalar(1),
                        CallConfig::default(),
                    )?;
                    o.wait(&h)?;
                    v.push(t.elapsed().as_nanos());
                }
                Ok(())
            })
            .unwrap();
            v.sort();
            let n = 1_000_000u64;
            let ins: Vec<_> = (0..1024).map(|i| buf.view(i + 5000, &[1]).unwrap()).collect();
            let outs: Vec<_> = (0..4096).map(|i| buf.view(i + 10000, &[1]).unwrap()).collect();
            let t = Instant::now();
            exec.run(|o| {
                for i in 0..n {
                    o.submit(
                        nop,
                        TaskArgs::new()
                            .input(ins[i as usize % 1024])
                            .output(outs[i as usize % 4096])
                            .scalar(i),
                        CallConfig::default(),
                    )?;
                }
                Ok(())
            })
            .unwrap();
            let ind = t.elapsed().as_nanos() as f64 / n as f64;
            let t = Instant::now();
            let x = buf.view(77, &[1]).unwrap();
            exec.run(|o| {
                for i in 0..n {
                    o.submit(nop, TaskArgs::new().inout(x).scalar(i), CallConfig::default())?;
                }
                Ok(())
            })
            .unwrap();
            let chain = t.elapsed().as_nanos() as f64 / n as f64;
            println!("rtt {} ns, independent {ind:.1} ns, chain {chain:.1} ns", v[v.len() / 2]);
        }
        println!("{:?}", exec.stats());
    }
}
