//! `--format perfetto`: the protobuf format of Perfetto (ui.perfetto.dev). Its JSON format is a
//! legacy one, and cannot show events of one track that overlap; here each row of a worker is a track
//! of its own, and edges are flows.

use super::lanes::{Place, bands, lanes};
use super::model::{Call, Outcome, Phase, Run};

/// Field numbers of the messages, named as in `perfetto_trace.proto`.
mod field {
    pub(super) mod trace {
        pub(in super::super) const PACKET: u32 = 1;
    }
    pub(super) mod packet {
        pub(in super::super) const TIMESTAMP: u32 = 8;
        pub(in super::super) const TRUSTED_PACKET_SEQUENCE_ID: u32 = 10;
        pub(in super::super) const TRACK_EVENT: u32 = 11;
        pub(in super::super) const SEQUENCE_FLAGS: u32 = 13;
        pub(in super::super) const TRACK_DESCRIPTOR: u32 = 60;
    }
    pub(super) mod track {
        pub(in super::super) const UUID: u32 = 1;
        pub(in super::super) const NAME: u32 = 2;
        pub(in super::super) const PROCESS: u32 = 3;
        pub(in super::super) const PARENT_UUID: u32 = 5;
        pub(in super::super) const COUNTER: u32 = 8;
        pub(in super::super) const CHILD_ORDERING: u32 = 11;
        pub(in super::super) const SIBLING_ORDER_RANK: u32 = 12;
    }
    pub(super) mod process {
        pub(in super::super) const PID: u32 = 1;
        pub(in super::super) const NAME: u32 = 6;
    }
    pub(super) mod event {
        pub(in super::super) const DEBUG_ANNOTATIONS: u32 = 4;
        pub(in super::super) const TYPE: u32 = 9;
        pub(in super::super) const TRACK_UUID: u32 = 11;
        pub(in super::super) const CATEGORIES: u32 = 22;
        pub(in super::super) const NAME: u32 = 23;
        pub(in super::super) const COUNTER_VALUE: u32 = 30;
        pub(in super::super) const FLOW_IDS: u32 = 47;
        pub(in super::super) const TERMINATING_FLOW_IDS: u32 = 48;
    }
    pub(super) mod annotation {
        pub(in super::super) const STRING_VALUE: u32 = 6;
        pub(in super::super) const DOUBLE_VALUE: u32 = 5;
        pub(in super::super) const NAME: u32 = 10;
    }
}

const SLICE_BEGIN: u64 = 1;
const SLICE_END: u64 = 2;
const INSTANT: u64 = 3;
const COUNTER: u64 = 4;

/// Children stand in the order of their rank.
const EXPLICIT: u64 = 3;
/// The packet depends on none before it.
const INCREMENTAL_STATE_CLEARED: u64 = 1;

/// Waits have tracks of their own up to here; more of them only count.
const MOST_WAITING: usize = 64;

/// A protobuf message that is being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn key(&mut self, field: u32, wire: u64) {
        self.varint(u64::from(field) << 3 | wire);
    }

    fn number(&mut self, field: u32, value: u64) -> &mut Self {
        self.key(field, 0);
        self.varint(value);
        self
    }

    fn fixed(&mut self, field: u32, value: u64) -> &mut Self {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(&mut self, field: u32, value: &[u8]) -> &mut Self {
        self.key(field, 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
        self
    }

    fn text(&mut self, field: u32, value: &str) -> &mut Self {
        self.bytes(field, value.as_bytes())
    }

    fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) -> &mut Self {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(field, &inner.0)
    }
}

/// What happens on a track. Events of a track are made in their order, which the sort by time keeps:
/// a slice may have no length.
struct Event {
    at: i64,
    message: Message,
}

struct Writer {
    trace: Message,
    events: Vec<Event>,
    /// The next free number of a track.
    next: u64,
    epoch: i64,
}

/// Of the process, which all other tracks are below.
const ROOT: u64 = 1;

pub(super) fn trace(run: &Run) -> Vec<u8> {
    let mut writer =
        Writer { trace: Message::default(), events: Vec::new(), next: ROOT + 1, epoch: run.epoch };
    writer.process(run);
    writer.counters(run);
    writer.attempts(run);
    writer.waits(run);
    writer.marks(run);
    writer.end()
}

impl Writer {
    fn packet(&mut self, write: impl FnOnce(&mut Message)) {
        let first = self.trace.0.is_empty();
        self.trace.message(field::trace::PACKET, |packet| {
            packet.number(field::packet::TRUSTED_PACKET_SEQUENCE_ID, 1);
            if first {
                packet.number(field::packet::SEQUENCE_FLAGS, INCREMENTAL_STATE_CLEARED);
            }
            write(packet);
        });
    }

    fn process(&mut self, run: &Run) {
        let name = match &run.about.host {
            Some(host) => format!("{} on {host}", run.title()),
            None => run.title().to_owned(),
        };
        let pid = run.about.pid.and_then(|pid| i32::try_from(pid).ok()).unwrap_or(1);
        self.packet(|packet| {
            packet.message(field::packet::TRACK_DESCRIPTOR, |track| {
                track.number(field::track::UUID, ROOT);
                track.message(field::track::PROCESS, |process| {
                    process.number(field::process::PID, pid as u64);
                    process.text(field::process::NAME, &name);
                });
                track.number(field::track::CHILD_ORDERING, EXPLICIT);
            });
        });
    }

    /// A new track below the process; they stand in the order in which they are made.
    fn track(&mut self, name: &str, is_counter: bool) -> u64 {
        let uuid = self.next;
        self.next += 1;
        self.packet(|packet| {
            packet.message(field::packet::TRACK_DESCRIPTOR, |track| {
                track.number(field::track::UUID, uuid);
                track.text(field::track::NAME, name);
                track.number(field::track::PARENT_UUID, ROOT);
                track.number(field::track::SIBLING_ORDER_RANK, uuid);
                if is_counter {
                    track.message(field::track::COUNTER, |_| {});
                }
            });
        });
        uuid
    }

    fn event(&mut self, at: i64, kind: u64, track: u64, write: impl FnOnce(&mut Message)) {
        let mut message = Message::default();
        message.number(field::event::TYPE, kind).number(field::event::TRACK_UUID, track);
        write(&mut message);
        self.events.push(Event { at, message });
    }

    fn slice(&mut self, track: u64, from: i64, to: i64, write: impl FnOnce(&mut Message)) {
        self.event(from, SLICE_BEGIN, track, write);
        self.event(to, SLICE_END, track, |_| {});
    }

    /// How many run, and how many wait for what.
    fn counters(&mut self, run: &Run) {
        let mut changes: Vec<Vec<(i64, i64)>> = vec![Vec::new(); run.reasons.len()];
        for span in run.calls.iter().flat_map(|call| &call.spans) {
            changes[span.reason].extend([(span.from, 1), (span.to, -1)]);
        }
        let mut order: Vec<_> = (0..changes.len()).collect();
        order.sort_by_key(|&reason| reason != Phase::Running as usize);
        for reason in order {
            let mut changes = std::mem::take(&mut changes[reason]);
            if changes.is_empty() {
                continue;
            }
            changes.sort_unstable();
            let track = self.track(&format!("calls: {}", run.reasons[reason].label), true);
            let mut value = 0;
            for (place, &(at, change)) in changes.iter().enumerate() {
                value += change;
                if changes.get(place + 1).is_none_or(|next| next.0 > at) {
                    self.event(at, COUNTER, track, |event| {
                        event.number(field::event::COUNTER_VALUE, value as u64);
                    });
                }
            }
        }
    }

    fn attempts(&mut self, run: &Run) {
        // An edge is a flow with a number: out of the producer, into the consumer.
        let mut outgoing: Vec<Vec<u64>> = vec![Vec::new(); run.calls.len()];
        let mut incoming: Vec<Vec<u64>> = vec![Vec::new(); run.calls.len()];
        let mut flow = 0;
        for (at, call) in run.calls.iter().enumerate() {
            for &from in call.deps.iter().chain(&call.caller) {
                flow += 1;
                outgoing[from].push(flow);
                incoming[at].push(flow);
            }
        }
        for band in bands(run) {
            let tracks: Vec<_> = (0..band.rows)
                .map(|row| match row {
                    0 => self.track(&band.name, false),
                    _ => self.track(&format!("{} ({})", band.name, row + 1), false),
                })
                .collect();
            for place in band.places {
                let Place { call: at, which, row } = place;
                let (call, attempt, track) = (&run.calls[at], place.attempt(run), tracks[row]);
                let (from, to) = (attempt.start, attempt.end);
                let is_first = which == 0;
                let is_last = which + 1 == call.attempts.len();
                self.event(from, SLICE_BEGIN, track, |event| {
                    event.text(field::event::NAME, run.name(call));
                    event.text(
                        field::event::CATEGORIES,
                        match attempt.outcome {
                            Outcome::Done | Outcome::Served => "call",
                            Outcome::Failed => "failed",
                            Outcome::Cancelled => "cancelled",
                            Outcome::Unfinished => "unfinished",
                        },
                    );
                    annotate(event, run, call, which);
                    // Flows leave by the attempt that made the value, and arrive at the first.
                    for &flow in outgoing[at].iter().filter(|_| is_last) {
                        event.fixed(field::event::FLOW_IDS, flow);
                    }
                    for &flow in incoming[at].iter().filter(|_| is_first) {
                        event.fixed(field::event::TERMINATING_FLOW_IDS, flow);
                    }
                });
                if let Some(done) = attempt.setup_done.filter(|&done| done > from && done < to) {
                    self.slice(track, from, done, |event| {
                        event.text(field::event::NAME, "set-up");
                        event.text(field::event::CATEGORIES, "setup");
                    });
                }
                self.event(to, SLICE_END, track, |_| {});
            }
        }
    }

    /// What calls wait for, as slices, if few enough wait at once to be read.
    fn waits(&mut self, run: &Run) {
        let is_wait = |reason: usize| {
            !matches!(run.reasons[reason].phase, Phase::SetUp | Phase::Running | Phase::Lost)
        };
        let mut waits: Vec<_> = run
            .calls
            .iter()
            .flat_map(|call| {
                let spans = call.spans.iter().filter(|span| is_wait(span.reason));
                spans.map(move |span| (span.from, span.to, span.reason, call))
            })
            .collect();
        waits.sort_by_key(|&(from, to, ..)| (from, to));
        let (places, count) = lanes(waits.iter().map(|&(from, to, ..)| (from, to)));
        if count > MOST_WAITING {
            return;
        }
        let tracks: Vec<_> =
            (1..=count).map(|lane| self.track(&format!("waiting ({lane})"), false)).collect();
        for ((from, to, reason, call), lane) in waits.into_iter().zip(places) {
            self.slice(tracks[lane], from, to, |event| {
                let label = &run.reasons[reason].label;
                event.text(field::event::NAME, &format!("{}: {label}", run.name(call)));
                event.text(field::event::CATEGORIES, "waiting");
                annotation(event, "call_id", &call.id);
            });
        }
    }

    /// Moments: deaths of workers, calls that were served, what bodies said.
    fn marks(&mut self, run: &Run) {
        let served: Vec<_> =
            run.calls.iter().filter(|call| call.outcome == Outcome::Served).collect();
        if run.deaths.len() + run.remarks.len() + served.len() == 0 {
            return;
        }
        let track = self.track("events", false);
        for death in &run.deaths {
            let worker = death.worker.map_or("a worker", |worker| &run.workers[worker].id);
            self.event(death.at, INSTANT, track, |event| {
                event.text(field::event::NAME, &format!("{worker} died: {}", death.how));
                event.text(field::event::CATEGORIES, "death");
            });
        }
        for call in served {
            self.event(call.end, INSTANT, track, |event| {
                event.text(field::event::NAME, &format!("served: {}", run.name(call)));
                event.text(field::event::CATEGORIES, "served");
                annotation(event, "call_id", &call.id);
            });
        }
        for remark in &run.remarks {
            self.event(remark.at, INSTANT, track, |event| {
                event.text(field::event::NAME, &remark.kind);
                event.text(field::event::CATEGORIES, "event");
                for (key, value) in &remark.fields {
                    annotation(event, key, &super::builder::plain(value));
                }
            });
        }
    }

    fn end(mut self) -> Vec<u8> {
        let mut events = std::mem::take(&mut self.events);
        events.sort_by_key(|event| event.at);
        for event in events {
            let nanoseconds = (self.epoch + event.at).max(0) as u64 * 1000;
            self.packet(|packet| {
                packet.number(field::packet::TIMESTAMP, nanoseconds);
                packet.bytes(field::packet::TRACK_EVENT, &event.message.0);
            });
        }
        self.trace.0
    }
}

fn annotation(event: &mut Message, name: &str, value: &str) {
    event.message(field::event::DEBUG_ANNOTATIONS, |annotation| {
        annotation.text(field::annotation::NAME, name);
        annotation.text(field::annotation::STRING_VALUE, value);
    });
}

fn annotate(event: &mut Message, run: &Run, call: &Call, which: usize) {
    let attempt = &call.attempts[which];
    annotation(event, "call_id", &call.id);
    annotation(event, "func", &run.functions[call.func]);
    annotation(event, "outcome", attempt.outcome.name());
    if call.retried() {
        annotation(event, "attempt", &format!("{} of {}", which + 1, call.attempts.len()));
    }
    let texts = [("tag", &call.tag), ("error", &attempt.error), ("bypassed", &call.bypassed)];
    for (name, text) in texts {
        if let Some(text) = text {
            annotation(event, name, text);
        }
    }
    if !call.resources.is_empty() {
        annotation(event, "resources", &call.resources);
    }
    for (key, value) in &call.extra {
        let Some(number) = value.as_f64() else {
            annotation(event, key, &super::builder::plain(value));
            continue;
        };
        event.message(field::event::DEBUG_ANNOTATIONS, |annotation| {
            annotation.text(field::annotation::NAME, key);
            annotation.fixed(field::annotation::DOUBLE_VALUE, number.to_bits());
        });
    }
}
