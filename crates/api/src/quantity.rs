//! Resource quantities as numbers (K24): `500m`, `1.5Gi`, `2e3`.
//!
//! Objects keep a quantity as the text their author wrote; this is the value behind it, held in billionths and rounded
//! up, since nothing finer can be written.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Sub};
use std::str::FromStr;

use serde_json::Value;

const NANO: i128 = 1_000_000_000;
const MILLI: i128 = NANO / 1000;
/// Longest text read; more digits than a quantity can mean anything with.
const MAX_TEXT: usize = 64;

/// An amount of a resource. Arithmetic stops at the largest number there is instead of wrapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity(i128);

/// A text that is no quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
pub struct InvalidQuantity;

impl Quantity {
    /// So many whole units.
    pub const fn units(units: i64) -> Self {
        Self(units as i128 * NANO)
    }

    /// Reads a quantity from its JSON form, text or number. `None` if it is neither or malformed.
    pub fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => text.parse().ok(),
            Value::Number(number) => number.to_string().parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// Whole units, rounded up: bytes of memory.
    pub fn value(self) -> i64 {
        clamp(divide_up(self.0, NANO))
    }

    /// Thousandths, rounded up: millicores of CPU.
    pub fn milli_value(self) -> i64 {
        clamp(divide_up(self.0, MILLI))
    }

    /// How often `divisor` goes into it, rounded up; `None` for a divisor of zero or less (downward API).
    pub fn divided_by(self, divisor: Self) -> Option<i64> {
        (divisor.0 > 0).then(|| clamp(divide_up(self.0, divisor.0)))
    }

    /// Whether it is nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Whether it is less than nothing.
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// Whether it is a whole number.
    pub const fn is_whole(self) -> bool {
        self.0 % NANO == 0
    }

    /// Whether thousandths, as fine as container resources may be (K6), hold it exactly.
    pub const fn is_milli(self) -> bool {
        self.0 % MILLI == 0
    }

    /// `self` divided by `other` as a plain number; zero if `other` is none.
    #[expect(clippy::cast_precision_loss, reason = "ratios are compared and printed to six digits")]
    pub fn ratio(self, other: Self) -> f64 {
        if other.0 == 0 { 0.0 } else { self.0 as f64 / other.0 as f64 }
    }
}

fn divide_up(amount: i128, unit: i128) -> i128 {
    amount.div_euclid(unit) + i128::from(amount.rem_euclid(unit) != 0)
}

fn clamp(amount: i128) -> i64 {
    i64::try_from(amount).unwrap_or(if amount < 0 { i64::MIN } else { i64::MAX })
}

impl Add for Quantity {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), Self::add)
    }
}

/// Canonical decimal text: `2`, `500m`, `1k`.
impl fmt::Display for Quantity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = [
            ("n", 1),
            ("u", 1_000),
            ("m", MILLI),
            ("", NANO),
            ("k", NANO * 1_000),
            ("M", NANO * 1_000_000),
            ("G", NANO * NANO),
            ("T", NANO * NANO * 1_000),
            ("P", NANO * NANO * 1_000_000),
            ("E", NANO * NANO * NANO),
        ];
        let fits = steps.iter().rev().find(|(_, unit)| self.0 % unit == 0);
        let (suffix, unit) = fits.filter(|_| self.0 != 0).copied().unwrap_or(("", NANO));
        write!(out, "{}{suffix}", self.0 / unit)
    }
}

impl FromStr for Quantity {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        parse(text).ok_or(InvalidQuantity)
    }
}

fn parse(text: &str) -> Option<Quantity> {
    if text.len() > MAX_TEXT {
        return None;
    }
    let (negative, rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let (base, exponent) = multiplier(suffix)?;
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scaled = digits.checked_mul(base)?;
    let exponent = exponent + 9 - i32::try_from(fraction.len()).ok()?;
    let power = 10_i128.checked_pow(exponent.unsigned_abs());
    let amount = if exponent >= 0 {
        scaled.checked_mul(power?)?
    } else {
        // Anything finer than a billionth rounds up.
        power.map_or(i128::from(scaled > 0), |power| divide_up(scaled, power))
    };
    Some(Quantity(if negative { -amount } else { amount }))
}

/// The one text all texts of the same amount and format become: `0.5` → `500m`, `1024Ki` → `1Mi`, `1000e0` → `1e3`.
/// A binary amount under 1024 is written as decimal, larger ones are rounded up to whole units.
///
/// # Errors
/// If `text` is no quantity.
pub fn canonical(text: &str) -> Result<String, InvalidQuantity> {
    Ok(in_format_of(text.parse()?, text))
}

/// `quantity` as canonical text in the format of `text`: what a sum that began with `text` is written as.
pub fn in_format_of(quantity: Quantity, text: &str) -> String {
    let number = |c: char| c.is_ascii_digit() || matches!(c, '.' | '+' | '-');
    let suffix = text.trim_start_matches(number);
    if suffix.ends_with('i') && quantity.0.abs() >= 1024 * NANO {
        let (mut units, mut step) = (divide_up(quantity.0, NANO), 0);
        while units % 1024 == 0 && step < 6 {
            units /= 1024;
            step += 1;
        }
        return format!("{units}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][step]);
    }
    let decimal = quantity.to_string();
    let exponent = suffix.starts_with(['e', 'E']) && suffix.len() > 1;
    let steps = [
        ("n", "e-9"),
        ("u", "e-6"),
        ("m", "e-3"),
        ("k", "e3"),
        ("M", "e6"),
        ("G", "e9"),
        ("T", "e12"),
        ("P", "e15"),
        ("E", "e18"),
    ];
    let written = steps.iter().find_map(|(word, power)| {
        decimal.strip_suffix(word).filter(|_| exponent).map(|digits| format!("{digits}{power}"))
    });
    written.unwrap_or(decimal)
}

/// Binary factor and decimal exponent of a suffix.
fn multiplier(suffix: &str) -> Option<(i128, i32)> {
    Some(match suffix {
        "" => (1, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => (1, suffix.strip_prefix(['e', 'E'])?.parse().ok().filter(|e: &i32| e.abs() < 30)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Quantity {
        text.parse().unwrap()
    }

    /// K24
    #[test]
    fn every_spelling_of_an_amount_has_one_canonical_text() {
        for (text, wanted) in [
            ("0.5", "500m"),
            ("1024Ki", "1Mi"),
            ("1.5Gi", "1536Mi"),
            ("1000", "1k"),
            ("512", "512"),
            ("0.5Ki", "512"),
            ("100e3", "100e3"),
            ("1000e0", "1e3"),
            ("0", "0"),
            ("2T", "2T"),
            ("1000Mi", "1000Mi"),
            ("-1.5", "-1500m"),
        ] {
            assert_eq!(canonical(text).as_deref(), Ok(wanted), "{text}");
        }
    }

    /// K24.
    #[test]
    fn quantities_compare_by_value() {
        assert_eq!(of("1000m"), of("1"));
        assert_eq!(of("0.5"), of("500m"));
        assert_eq!(of("1024Ki"), of("1Mi"));
        assert_eq!(of("1e3"), of("1k"));
        assert!(of("1Gi") > of("1G") && of("-1") < of("0"));
        assert_eq!(of("0.0000000001"), of("1n"), "finer amounts round up");
        for bad in ["", "x", "1Ki1", "1.2.3", "--1", "1ee", "."] {
            assert_eq!(bad.parse::<Quantity>(), Err(InvalidQuantity), "{bad}");
        }
    }

    /// K24.
    #[test]
    fn quantities_print_canonically() {
        for (text, canonical) in
            [("2000m", "2"), ("1500m", "1500m"), ("0.5", "500m"), ("1000", "1k"), ("0", "0")]
        {
            assert_eq!(of(text).to_string(), canonical);
        }
    }

    /// R11.9: every suffix, rounded up; far ends are held.
    #[test]
    fn values_round_up() {
        for (text, units) in [
            ("1500m", 2),
            ("1Ki", 1024),
            ("1.5Gi", 1_610_612_736),
            ("12E2", 1200),
            ("9e18", 9_000_000_000_000_000_000),
        ] {
            assert_eq!(of(text).value(), units, "{text}");
        }
        assert_eq!(of("0.1001").milli_value(), 101);
        assert_eq!(of("16Ei").value(), i64::MAX);
        assert_eq!(of("1Gi").divided_by(of("1Mi")), Some(1024));
        assert_eq!(of("1").divided_by(of("0")), None);
    }
}
