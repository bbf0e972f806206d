//! Lines of JSON, written without a tree of values: one object a line, with a `type` and a time.

use std::fmt::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::clock::monotonic_ns;

/// What the monotonic clock has to be moved by to be the time of day.
#[derive(Clone, Copy, Debug)]
pub struct Epoch(u64);

impl Epoch {
    /// As it is now.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self((since.as_nanos() as u64).saturating_sub(monotonic_ns()))
    }

    /// A time of the monotonic clock, in microseconds since 1970.
    pub fn micros(self, monotonic_ns: u64) -> u64 {
        self.0.saturating_add(monotonic_ns) / 1000
    }
}

/// One line, at the end of a text. It is complete when it is dropped.
#[derive(Debug)]
pub struct Line<'a>(&'a mut String);

impl<'a> Line<'a> {
    /// Begins a line of this type, at a time in microseconds since 1970.
    pub fn new(out: &'a mut String, kind: &str, micros: u64) -> Self {
        out.push_str("{\"type\":");
        quote(out, kind);
        let mut line = Self(out);
        line.seconds("ts", micros);
        line
    }

    fn key(&mut self, key: &str) {
        self.0.push(',');
        quote(self.0, key);
        self.0.push(':');
    }

    /// A text.
    pub fn text(&mut self, key: &str, text: &str) -> &mut Self {
        self.key(key);
        quote(self.0, text);
        self
    }

    /// A text, if there is one.
    pub fn optional(&mut self, key: &str, text: Option<&str>) -> &mut Self {
        if let Some(text) = text {
            self.text(key, text);
        }
        self
    }

    /// A text that is written by its `Display`, which has nothing in it that is to be escaped.
    pub fn plain(&mut self, key: &str, text: impl fmt::Display) -> &mut Self {
        self.key(key);
        let _ = write!(self.0, "\"{text}\"");
        self
    }

    /// A number, `true`, `false`, or what is JSON already.
    pub fn raw(&mut self, key: &str, json: impl fmt::Display) -> &mut Self {
        self.key(key);
        let _ = write!(self.0, "{json}");
        self
    }

    /// Microseconds, as seconds with six decimals.
    pub fn seconds(&mut self, key: &str, micros: u64) -> &mut Self {
        self.key(key);
        let _ = write!(self.0, "{}.{:06}", micros / 1_000_000, micros % 1_000_000);
        self
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        self.0.push_str("}\n");
    }
}

/// Writes a text as JSON has it, with its quotes.
pub fn quote(out: &mut String, text: &str) {
    out.push('"');
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 | 0x7f => "",
            _ => continue,
        };
        out.push_str(&text[from..at]);
        if escape.is_empty() {
            let _ = write!(out, "\\u{byte:04x}");
        } else {
            out.push_str(escape);
        }
        from = at + 1;
    }
    out.push_str(&text[from..]);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped() {
        let mut out = String::new();
        Line::new(&mut out, "a\"b", 1_500_000).text("k\\", "x\n\u{1}é\u{7f}\"").raw("n", 3);
        assert_eq!(
            out,
            "{\"type\":\"a\\\"b\",\"ts\":1.500000,\"k\\\\\":\"x\\n\\u0001é\\u007f\\\"\",\"n\":3}\n"
        );
    }
}
