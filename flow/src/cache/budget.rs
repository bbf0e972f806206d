//! How many bytes a cache may take.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::protocol::error::Error;

/// The most bytes that the entries of a cache take on disk.
///
/// ```
/// use mailring::flow::cache::Budget;
///
/// let budget: Budget = "1.5 GB".parse()?;
/// assert_eq!(budget, Budget::bytes(3 << 29));
/// assert!("12 parsecs".parse::<Budget>().is_err());
/// # Ok::<(), mailring::flow::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Budget(u64);

/// Units and their bytes. All are powers of 1024, whatever they are called.
const UNITS: [(&str, u32); 11] = [
    ("", 0),
    ("b", 0),
    ("bytes", 0),
    ("kb", 10),
    ("mb", 20),
    ("gb", 30),
    ("tb", 40),
    ("kib", 10),
    ("mib", 20),
    ("gib", 30),
    ("tib", 40),
];

impl Budget {
    /// So many bytes.
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// No limit.
    pub const fn unlimited() -> Self {
        Self(u64::MAX)
    }

    /// The bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl FromStr for Budget {
    type Err = Error;

    /// Reads a number and a unit: `B`, `KB` to `TB` or `KIB` to `TIB`, in any case. All are powers
    /// of 1024. Without a unit the number counts bytes.
    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = |why: &str| {
            Error::Invalid(format!(
                "invalid budget \"{text}\": {why}; write a number and a unit (B, KB, MB, GB, TB), such as \"2 GB\""
            ))
        };
        let trimmed = text.trim();
        let end = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(end);
        let unit = unit.trim().to_ascii_lowercase();
        let Some(&(_, shift)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(invalid(&format!("`{unit}` is not a unit")));
        };
        if let Ok(whole) = number.parse::<u64>() {
            let bytes = whole.checked_mul(1 << shift);
            return bytes.map(Self).ok_or_else(|| invalid("it is more than 2^64 bytes"));
        }
        let number: f64 = number.parse().map_err(|_| invalid("it has no number"))?;
        let bytes = number * (1u64 << shift) as f64;
        if bytes >= u64::MAX as f64 {
            return Err(invalid("it is more than 2^64 bytes"));
        }
        Ok(Self(bytes as u64))
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::unlimited() { f.write_str("no limit") } else { write!(f, "{} B", self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_units_are_powers_of_1024_in_any_case() {
        let bytes = |text: &str| text.parse::<Budget>().map(Budget::get);
        for (text, expected) in [
            ("0", 0),
            ("17", 17),
            ("17 B", 17),
            ("3kb", 3 << 10),
            ("3 KiB", 3 << 10),
            (" 2 Mb ", 2 << 20),
            ("2MIB", 2 << 20),
            ("1.5 GB", 3 << 29),
            ("4 TiB", 4 << 40),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_budget_is_named() {
        for (text, part) in [
            ("2 PB", "`pb` is not a unit"),
            ("-1 GB", "is not a unit"),
            ("GB", "no number"),
            ("1.2.3 MB", "no number"),
            ("", "no number"),
            ("99999999999999999999 B", "more than 2^64"),
            ("18446744073709551615 KB", "more than 2^64"),
        ] {
            let error = text.parse::<Budget>().unwrap_err().to_string();
            assert!(error.contains(part) && error.contains(&format!("\"{text}\"")), "{error}");
        }
    }
}
