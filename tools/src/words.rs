//! Figures in units that people read, and text of others on a terminal.

/// Three significant digits, and plain numbers as far as they go.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

/// Nanoseconds in the unit that fits: 217 ns, 35.0 ms, 1.24 s, 2 min 5 s.
pub(crate) fn time(ns: f64) -> String {
    let (value, unit) = match ns.abs() {
        v if v < 1e3 => (ns, "ns"),
        v if v < 1e6 => (ns / 1e3, "us"),
        v if v < 1e9 => (ns / 1e6, "ms"),
        v if v < 120e9 => (ns / 1e9, "s"),
        v => {
            let sign = if ns < 0.0 { "-" } else { "" };
            let (hours, minutes, seconds) = (v / 3600e9, v / 60e9, v / 1e9 % 60.0);
            return if hours < 2.0 {
                format!("{sign}{} min {} s", minutes as u64, seconds as u64)
            } else {
                format!("{sign}{} h {} min", hours as u64, (minutes % 60.0) as u64)
            };
        }
    };
    format!("{} {unit}", number(value))
}

/// Bytes in the unit that fits: 95 B, 1.50 KiB.
pub(crate) fn bytes(value: f64) -> String {
    let (divisor, unit) = match value.abs() {
        v if v < 1024.0 => return format!("{value:.0} B"),
        v if v < f64::from(1 << 20) => (1024.0, "KiB"),
        v if v < f64::from(1 << 30) => (f64::from(1 << 20), "MiB"),
        v if v < (1u64 << 40) as f64 => (f64::from(1 << 30), "GiB"),
        _ => ((1u64 << 40) as f64, "TiB"),
    };
    format!("{} {unit}", number(value / divisor))
}

/// `1 task`, `2 tasks`.
pub(crate) fn count(many: usize, what: &str) -> String {
    format!("{many} {}", plural(many, what))
}

/// `task`, `tasks`.
pub(crate) fn plural(many: usize, what: &str) -> String {
    if many == 1 { what.to_owned() } else { format!("{what}s") }
}

/// `12,345`.
pub(crate) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Text of another program, or from a file, for a terminal: nothing in it moves the cursor.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!([0.1234, 12.34, 1234.5].map(number), ["0.123", "12.3", "1234"]);
        let times = [217.4, 1_234.0, 98_765_432.0, 2.5e9, 119e9, 125e9, -125e9, 7_260e9];
        assert_eq!(
            times.map(time),
            [
                "217 ns",
                "1.23 us",
                "98.8 ms",
                "2.50 s",
                "119 s",
                "2 min 5 s",
                "-2 min 5 s",
                "2 h 1 min"
            ]
        );
        let sizes =
            [0.0, 12.0, 1536.0, -3.0 * 1024.0, 3.0 * 1024f64.powi(3), 2048.0 * 1024f64.powi(4)];
        assert_eq!(
            sizes.map(bytes),
            ["0 B", "12 B", "1.50 KiB", "-3.00 KiB", "3.00 GiB", "2048 TiB"]
        );
        assert_eq!([0, 999, 1_000, 12_345_678].map(grouped), ["0", "999", "1,000", "12,345,678"]);
        assert_eq!([count(1, "task"), count(2, "task")], ["1 task", "2 tasks"]);
        assert_eq!(printable("a\u{1b}[2J\nb"), "a\u{fffd}[2J\u{fffd}b");
    }
}
