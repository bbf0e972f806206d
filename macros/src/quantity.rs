//! Quantities: numbers with four decimals, counted in 1/10000. They are read off the digits of the
//! literal, so that 0.1 is exactly 1000.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::parse::ParseStream;
use syn::{Error, Lit, Result, Token};

/// 1, in the unit of descriptors.
pub(crate) const ONE: i64 = 10_000;

const LIMIT: i64 = 1_000_000;
const RETRIES: i64 = i32::MAX as i64;

/// A number of processors: may be 0.
pub(crate) fn cpus(input: ParseStream<'_>) -> Result<i64> {
    let wrong = "a quantity is a number from 0 to 1000000 with at most 4 decimals, such as 0.5";
    quantity(input, wrong, 0)
}

/// A quantity of a resource: 0 of it would be no request.
pub(crate) fn resource(input: ParseStream<'_>) -> Result<i64> {
    let wrong = "a quantity of a resource is a number above 0, up to 1000000, with at most \
                 4 decimals, such as 0.5";
    quantity(input, wrong, 1)
}

/// How often something is done again: from 0, or -1 for without limit.
pub(crate) fn repeats(input: ParseStream<'_>, option: &str) -> Result<i64> {
    let (negative, literal, tokens) = number(input).unwrap_or_default();
    let digits = match &literal {
        Some(Lit::Int(int)) if int.suffix().is_empty() => int.base10_parse::<i64>().ok(),
        _ => None,
    };
    match digits {
        Some(1) if negative => Ok(-1),
        Some(count @ 0..=RETRIES) if !negative => Ok(count),
        _ => Err(refuse(
            input,
            tokens,
            &format!("`{option}` is an integer from 0 to {RETRIES}, or -1: without limit"),
        )),
    }
}

/// Where a task stands among others: any number.
pub(crate) fn priority(input: ParseStream<'_>) -> Result<i32> {
    let (negative, literal, tokens) = number(input).unwrap_or_default();
    let digits = match &literal {
        Some(Lit::Int(int)) if int.suffix().is_empty() => int.base10_parse::<i64>().ok(),
        _ => None,
    };
    let value = digits.map(|digits| if negative { -digits } else { digits });
    value.and_then(|value| i32::try_from(value).ok()).ok_or_else(|| {
        let wrong = format!("a priority is an integer from {} to {}", i32::MIN, i32::MAX);
        refuse(input, tokens, &wrong)
    })
}

/// A time in nanoseconds, such as `"2s"`: a number and its unit in a string.
pub(crate) fn deadline(input: ParseStream<'_>) -> Result<u64> {
    let wrong = "a deadline is a string with a number above 0, with at most 4 decimals, and a unit \
                 (ms, s, min, h), up to \"1000000h\", such as \"2s\" or \"1.5min\"";
    let (negative, literal, tokens) = number(input).unwrap_or_default();
    let text = match &literal {
        Some(Lit::Str(text)) if !negative => text.value(),
        _ => return Err(refuse(input, tokens, wrong)),
    };
    nanoseconds(text.trim()).ok_or_else(|| refuse(input, tokens, wrong))
}

fn nanoseconds(text: &str) -> Option<u64> {
    let units: [(&str, u64); 4] = [
        ("ms", 1_000_000),
        ("min", 60_000_000_000),
        ("s", 1_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    let (digits, unit) = units.iter().find_map(|(name, nanoseconds)| {
        text.strip_suffix(name).map(|digits| (digits.trim_end(), *nanoseconds))
    })?;
    if digits.is_empty() {
        return None;
    }
    let parts = u64::try_from(in_units(digits)?).ok().filter(|&parts| parts > 0)?;
    parts.checked_mul(unit / ONE as u64)
}

fn quantity(input: ParseStream<'_>, wrong: &str, least: i64) -> Result<i64> {
    let (negative, literal, tokens) = number(input).unwrap_or_default();
    let parsed = match &literal {
        _ if negative => None,
        Some(Lit::Int(int)) if int.suffix().is_empty() => in_units(int.base10_digits()),
        Some(Lit::Float(float)) if float.suffix().is_empty() => in_units(float.base10_digits()),
        _ => None,
    };
    parsed.filter(|&units| units >= least).ok_or_else(|| refuse(input, tokens, wrong))
}

/// A sign and a literal, with their tokens, for the span of an error. Nothing is taken when no
/// literal stands there.
fn number(input: ParseStream<'_>) -> Option<(bool, Option<Lit>, TokenStream)> {
    if !(input.peek(Lit) || input.peek(Token![-]) && input.peek2(Lit)) {
        return None;
    }
    let mut tokens = TokenStream::new();
    let minus: Option<Token![-]> = input.parse().ok()?;
    minus.to_tokens(&mut tokens);
    let literal: Lit = input.parse().ok()?;
    literal.to_tokens(&mut tokens);
    Some((minus.is_some(), Some(literal), tokens))
}

fn refuse(input: ParseStream<'_>, tokens: TokenStream, wrong: &str) -> Error {
    if tokens.is_empty() { input.error(wrong) } else { Error::new_spanned(tokens, wrong) }
}

/// Digits with at most four decimals, in 1/10000.
fn in_units(digits: &str) -> Option<i64> {
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    // An exponent is not a digit.
    if !plain(whole) || !plain(decimals) || decimals.len() > 4 {
        return None;
    }
    let whole = whole.parse::<i64>().ok().filter(|&whole| whole <= LIMIT)?;
    let units = whole * ONE + format!("{decimals:0<4}").parse::<i64>().ok()?;
    (units <= LIMIT * ONE).then_some(units)
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse::Parser;

    fn cpus_of(text: &str) -> Option<i64> {
        cpus.parse_str(text).ok()
    }

    #[test]
    fn quantities_are_exact() {
        for (text, units) in [
            ("0", 0),
            ("1", 10_000),
            ("0.1", 1_000),
            ("0.0001", 1),
            ("1.", 10_000),
            ("1_000.25", 10_002_500),
            ("1000000", 10_000_000_000),
            ("1000000.0000", 10_000_000_000),
        ] {
            assert_eq!(cpus_of(text), Some(units), "{text}");
        }
    }

    #[test]
    fn other_quantities_are_refused() {
        for text in [
            "-1",
            "-0.5",
            "0.00001",
            "1000001",
            "1000000.0001",
            "1e3",
            "1u32",
            "0.5f64",
            "\"1\"",
            "x",
        ] {
            assert_eq!(cpus_of(text), None, "{text}");
        }
        assert!(resource.parse_str("0").is_err());
        assert!(resource.parse_str("0.0").is_err());
        assert_eq!(resource.parse_str("0.0001").unwrap(), 1);
        assert!(cpus_of("99999999999999999999999").is_none());
    }

    #[test]
    fn deadlines_have_units() {
        for (text, nanoseconds) in [
            ("\"2s\"", Some(2_000_000_000)),
            ("\"250ms\"", Some(250_000_000)),
            ("\"1.5 min\"", Some(90_000_000_000)),
            ("\"0.0001ms\"", Some(100)),
            ("\"1h\"", Some(3_600_000_000_000)),
            ("\"1000000h\"", Some(3_600_000_000_000_000_000)),
            ("\"1000001h\"", None),
            ("\"s\"", None),
            ("\"0s\"", None),
            ("\"2\"", None),
            ("\"2d\"", None),
            ("\"-2s\"", None),
            ("\"1e3s\"", None),
            ("2", None),
        ] {
            assert_eq!(deadline.parse_str(text).ok(), nanoseconds, "{text}");
        }
        assert_eq!(priority.parse_str("-2147483648").ok(), Some(i32::MIN));
        assert!(priority.parse_str("2147483648").is_err());
        assert!(priority.parse_str("1.0").is_err());
    }

    #[test]
    fn repeats_are_counted_from_minus_one() {
        let repeats = |text: &str| {
            (|input: ParseStream<'_>| repeats(input, "max_retries")).parse_str(text).ok()
        };
        assert_eq!(repeats("-1"), Some(-1));
        assert_eq!(repeats("0"), Some(0));
        assert_eq!(repeats("2147483647"), Some(RETRIES));
        for text in ["-2", "2147483648", "1.0", "1i32", "many", "-0"] {
            assert_eq!(repeats(text), None, "{text}");
        }
    }
}
