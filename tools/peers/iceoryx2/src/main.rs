//! iceoryx2: two processes that exchange messages without copies. There are no tasks: a message
//! there and one back is what a task would need at least.
//!
//! Prints lines of a key and a value.

use std::error::Error;
use std::hint::spin_loop;
use std::time::Instant;

use iceoryx2::port::backpressure_strategy::BackpressureStrategy;
use iceoryx2::prelude::*;

const TRIPS: usize = 20_000;
const MESSAGES: u64 = 100_000;
const ROUNDS: usize = 9;
/// Messages that may be under way.
const BUFFER: usize = 256;

/// Asks for an answer.
const ANSWER: u64 = 1;
const END: u64 = 2;

type Failed = Box<dyn Error>;

struct Ends {
    _node: Node<ipc::Service>,
    to: iceoryx2::port::publisher::Publisher<ipc::Service, u64, ()>,
    from: iceoryx2::port::subscriber::Subscriber<ipc::Service, u64, ()>,
    services:
        [iceoryx2::service::port_factory::publish_subscribe::PortFactory<ipc::Service, u64, ()>; 2],
}

impl Ends {
    fn open(to: &str, from: &str) -> Result<Self, Failed> {
        let mut config = Config::default();
        let root = std::env::var("PEER_TEMP")?;
        config.global.set_root_path(&Path::new(root.as_bytes())?);
        config.global.prefix = FileName::new(std::env::var("PEER_PREFIX")?.as_bytes())?;
        let node = NodeBuilder::new()
            .config(&config)
            .create::<ipc::Service>()?;
        let service = |name: &str| -> Result<_, Failed> {
            Ok(node
                .service_builder(&name.try_into()?)
                .publish_subscribe::<u64>()
                .subscriber_max_buffer_size(BUFFER)
                .enable_safe_overflow(false)
                .open_or_create()?)
        };
        let services = [service(to)?, service(from)?];
        let to = services[0]
            .publisher_builder()
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .create()?;
        let from = services[1]
            .subscriber_builder()
            .buffer_size(BUFFER)
            .create()?;
        Ok(Self {
            _node: node,
            to,
            from,
            services,
        })
    }

    /// Until the other side is there as well.
    fn meet(&self) {
        let there = |at: usize| {
            let ports = self.services[at].dynamic_config();
            ports.number_of_publishers() > 0 && ports.number_of_subscribers() > 0
        };
        while !(there(0) && there(1)) {
            std::thread::yield_now();
        }
    }

    fn send(&self, message: u64) -> Result<(), Failed> {
        let sample = self.to.loan_uninit()?;
        sample.write_payload(message).send()?;
        Ok(())
    }

    fn receive(&self) -> Result<u64, Failed> {
        loop {
            if let Some(sample) = self.from.receive()? {
                return Ok(*sample);
            }
            spin_loop();
        }
    }
}

fn main() -> Result<(), Failed> {
    set_log_level(LogLevel::Error);
    if std::env::args().nth(1).as_deref() == Some("other") {
        return answer();
    }
    let mut other = std::process::Command::new(std::env::current_exe()?)
        .arg("other")
        .spawn()?;
    let done = ask();
    if done.is_err() {
        let _ = other.kill();
    }
    other.wait()?;
    done
}

fn answer() -> Result<(), Failed> {
    // SAFETY: takes numbers only. Without the parent nobody would ever say that it is over.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let ends = Ends::open("back", "there")?;
    ends.meet();
    loop {
        match ends.receive()? {
            END => return Ok(()),
            ANSWER => ends.send(0)?,
            _ => {}
        }
    }
}

fn ask() -> Result<(), Failed> {
    let ends = Ends::open("there", "back")?;
    ends.meet();
    let trip = |_| -> Result<u64, Failed> {
        let begin = Instant::now();
        ends.send(ANSWER)?;
        ends.receive()?;
        Ok(begin.elapsed().as_nanos() as u64)
    };
    (0..TRIPS / 10).try_for_each(|nth| trip(nth).map(drop))?;
    let mut trips = (0..TRIPS).map(trip).collect::<Result<Vec<_>, _>>()?;
    trips.sort_unstable();
    println!("rtt_ns_p50 {}", trips[TRIPS / 2]);
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        (1..MESSAGES).try_for_each(|_| ends.send(0))?;
        ends.send(ANSWER)?;
        ends.receive()?;
        times.push(begin.elapsed().as_nanos() as f64 / MESSAGES as f64);
    }
    times.sort_unstable_by(f64::total_cmp);
    println!("independent_ns {:.1}", times[ROUNDS / 2]);
    ends.send(END)
}
