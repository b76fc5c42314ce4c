//! Numbers given absolutely or in percent.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Which way a fraction goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// To the larger number.
    Up,
    /// To the smaller number.
    Down,
}

/// How much of `total` is meant. Text that is no percentage is nothing.
pub fn of(value: Option<&IntOrString>, total: i32, round: Round) -> i32 {
    match value {
        None => 0,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(text)) => {
            let percent: i64 = text.strip_suffix('%').and_then(|number| number.parse().ok()).unwrap_or(0);
            let product = i64::from(total) * percent;
            let up = i64::from(round == Round::Up && product % 100 != 0);
            i32::try_from(product.div_euclid(100) + up).unwrap_or(i32::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// N2: surge rounds up, unavailable rounds down.
    #[test]
    fn percentages_round_as_asked() {
        let quarter = IntOrString::String("25%".to_owned());
        assert_eq!((of(Some(&quarter), 10, Round::Up), of(Some(&quarter), 10, Round::Down)), (3, 2));
        assert_eq!((of(Some(&quarter), 8, Round::Up), of(Some(&quarter), 8, Round::Down)), (2, 2));
        assert_eq!(of(Some(&IntOrString::Int(7)), 3, Round::Down), 7);
        assert_eq!(of(Some(&IntOrString::String("x".to_owned())), 3, Round::Up), 0);
        assert_eq!(of(None, 3, Round::Up), 0);
    }
}
