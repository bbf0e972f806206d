//! Requests of the host to the fork server, and its answers.

pub(super) const SPAWN: u8 = 1;
pub(super) const REAP: u8 = 2;
pub(super) const SHUTDOWN: u8 = 3;
/// Ends a process that could not be handed over.
pub(super) const DROP: u8 = 4;

/// Bytes of a question (what, place, number of the question) and of an answer (number, code).
pub(super) const MESSAGE: usize = 8;

pub(super) fn question(op: u8, place: u16, number: u32) -> [u8; MESSAGE] {
    let ([low, high], number) = (place.to_ne_bytes(), number.to_ne_bytes());
    [op, 0, low, high, number[0], number[1], number[2], number[3]]
}

pub(super) fn word(message: &[u8; MESSAGE], at: usize) -> u32 {
    u32::from_ne_bytes([message[at], message[at + 1], message[at + 2], message[at + 3]])
}

pub(super) fn answer(number: u32, code: i32) -> [u8; MESSAGE] {
    let mut message = [0; MESSAGE];
    message[..4].copy_from_slice(&number.to_ne_bytes());
    message[4..].copy_from_slice(&code.to_ne_bytes());
    message
}
