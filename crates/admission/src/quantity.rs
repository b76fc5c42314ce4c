//! Resource quantities as numbers, for the comparisons that defaults, QoS and validation make (K24).
//!
//! A quantity is held in billionths, rounded up: finer amounts cannot be written.

use std::fmt;

use serde_json::Value;

const NANO: i128 = 1_000_000_000;
/// Longest text read; more digits than a quantity can mean anything with.
const MAX_TEXT: usize = 64;

/// An amount of a resource, in billionths of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Quantity(i128);

/// Reads a quantity from its JSON form, text or number. `None` if it is malformed or out of range.
pub(crate) fn read(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => parse(text),
        Value::Number(number) => parse(&number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whether it is more than nothing.
pub(crate) fn is_positive(quantity: &Quantity) -> bool {
    quantity.0 > 0
}

impl Quantity {
    /// Whether it is less than nothing.
    pub(crate) const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// Whether it is a whole number.
    pub(crate) const fn is_whole(self) -> bool {
        self.0 % NANO == 0
    }

    /// The sum, held at the largest number there is.
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// `self` divided by `other` as a plain number; zero if `other` is none.
    #[expect(clippy::cast_precision_loss, reason = "ratios are compared and printed to six digits")]
    pub(crate) fn ratio(self, other: Self) -> f64 {
        if other.0 == 0 { 0.0 } else { self.0 as f64 / other.0 as f64 }
    }

    /// Rounded up to thousandths, which is as fine as the API stores container resources (K6).
    pub(crate) const fn is_milli(self) -> bool {
        self.0 % (NANO / 1000) == 0
    }
}

/// Canonical decimal text: `2`, `500m`, `1k`.
impl fmt::Display for Quantity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = [
            ("n", 1),
            ("u", 1_000),
            ("m", 1_000_000),
            ("", NANO),
            ("k", NANO * 1_000),
            ("M", NANO * 1_000_000),
            ("G", NANO * NANO),
        ];
        let fits = steps.iter().rev().find(|(_, unit)| self.0 % unit == 0);
        let (suffix, unit) = fits.filter(|_| self.0 != 0).copied().unwrap_or(("", NANO));
        write!(out, "{}{suffix}", self.0 / unit)
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
        power.map_or(i128::from(scaled > 0), |power| scaled / power + i128::from(scaled % power != 0))
    };
    Some(Quantity(if negative { -amount } else { amount }))
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
        _ => (1, suffix.strip_prefix(['e', 'E'])?.parse().ok().filter(|exponent: &i32| exponent.abs() < 30)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K24.
    #[test]
    fn quantities_compare_by_value() {
        let of = |text: &str| parse(text).unwrap();
        assert_eq!(of("1000m"), of("1"));
        assert_eq!(of("0.5"), of("500m"));
        assert_eq!(of("1024Ki"), of("1Mi"));
        assert_eq!(of("1e3"), of("1k"));
        assert!(of("1Gi") > of("1G") && of("-1") < of("0"));
        assert_eq!(of("2000m").to_string(), "2");
        assert_eq!(of("1500m").to_string(), "1500m");
        assert_eq!(of("0.0000000001"), of("1n"), "finer amounts round up");
        for bad in ["", "x", "1Ki1", "1.2.3", "--1", "1ee"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
