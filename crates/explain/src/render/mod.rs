//! Charts as text for terminals, as SVG for pages, as a trace for trace viewers, as JSON for programs.

pub mod svg;
pub mod text;
pub mod trace;

use crate::chart::Chart;

/// The chart as indented JSON: numbers are seconds from its left edge.
///
/// # Errors
/// None that can happen: a chart holds text and finite numbers only.
pub fn json(charts: &[Chart]) -> Result<String, serde_json::Error> {
    match charts {
        [one] => serde_json::to_string_pretty(one),
        all => serde_json::to_string_pretty(all),
    }
}

/// Round moments from 0 to `seconds`, at most `most` of them.
fn ticks(seconds: f64, most: usize) -> Vec<f64> {
    const NICE: [f64; 25] = [
        0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0,
        300.0, 600.0, 1800.0, 3600.0, 10800.0, 43200.0, 86400.0, 604_800.0,
    ];
    let most = most.max(2);
    let step = NICE.into_iter().find(|step| seconds / step < count(most)).unwrap_or(seconds);
    (0..most).map(|n| step * count(n)).take_while(|at| *at <= seconds * 1.000_001).collect()
}

fn count(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(ticks(3.3, 5), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(ticks(100.0, 5), [0.0, 30.0, 60.0, 90.0]);
        assert_eq!(ticks(0.004, 5), [0.0, 0.001, 0.002, 0.003, 0.004]);
        assert!(ticks(1e9, 5).len() <= 5);
    }
}
