//! Arithmetic on the API's quantities, in thousand-millionths so that no suffix loses anything.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

const NANO: i128 = 1_000_000_000;

/// `ceil(value / divisor)`; `None` if one of them is no quantity or the divisor is zero.
pub(crate) fn divide_up(value: &Quantity, divisor: &Quantity) -> Option<i128> {
    let (value, divisor) = (nanos(&value.0)?, nanos(&divisor.0)?);
    (divisor > 0).then(|| value.div_euclid(divisor) + i128::from(value.rem_euclid(divisor) != 0))
}

/// Whether it is zero; what cannot be read is not.
pub(crate) fn is_zero(quantity: &Quantity) -> bool {
    nanos(&quantity.0) == Some(0)
}

/// Whole units, rounded up, at least zero: bytes of a memory quantity.
pub(crate) fn units(quantity: &Quantity) -> Option<u64> {
    let nanos = nanos(&quantity.0)?.max(0);
    u64::try_from(nanos / NANO + i128::from(nanos % NANO != 0)).ok()
}

fn nanos(text: &str) -> Option<i128> {
    let split = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let negative = number.starts_with('-');
    let number = number.trim_start_matches(['+', '-']);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let (multiplier, shift) = scale(suffix)?;
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let exponent = shift + 9 - i32::try_from(fraction.len()).ok()?;
    let scaled = digits.checked_mul(multiplier)?;
    let value = if exponent >= 0 {
        scaled.checked_mul(10_i128.checked_pow(exponent.unsigned_abs())?)?
    } else {
        let unit = 10_i128.checked_pow(exponent.unsigned_abs())?;
        scaled / unit + i128::from(scaled % unit != 0)
    };
    Some(if negative { -value } else { value })
}

/// A suffix as (binary factor, decimal exponent).
fn scale(suffix: &str) -> Option<(i128, i32)> {
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
        _ => (1, suffix.strip_prefix(['e', 'E'])?.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R11.9: every suffix of the API's quantities, rounded up.
    #[test]
    fn suffixes() {
        for (text, want) in [
            ("1", 1),
            ("1500m", 2),
            ("1k", 1000),
            ("1Ki", 1024),
            ("1.5Gi", 1_610_612_736),
            ("1e3", 1000),
            ("12E2", 1200),
        ] {
            assert_eq!(units(&Quantity(text.into())), Some(want), "{text}");
        }
        for text in ["", "x", "1x", "."] {
            assert_eq!(units(&Quantity(text.into())), None, "{text}");
        }
    }
}
