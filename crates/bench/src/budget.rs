//! Rows of the table: what was promised, what was measured.

use std::time::Duration;

/// What a number must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Promise {
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
    /// Shown only.
    None,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) what: String,
    pub(crate) promise: Promise,
    /// What we would like it to be.
    pub(crate) aim: Option<f64>,
    pub(crate) measured: f64,
    /// `ms`, `MB`, `/s`, `×`; empty for plain counts.
    pub(crate) unit: &'static str,
    /// Further numbers and what to know when reading.
    pub(crate) note: String,
}

impl Row {
    /// A number without a promise.
    pub(crate) fn new(what: impl Into<String>, measured: f64, unit: &'static str) -> Self {
        Self { what: what.into(), promise: Promise::None, aim: None, measured, unit, note: String::new() }
    }

    /// Must not be more than `limit`.
    #[must_use]
    pub(crate) fn at_most(mut self, limit: f64) -> Self {
        self.promise = Promise::AtMost(limit);
        self
    }

    /// Must not be less than `limit`.
    #[must_use]
    pub(crate) fn at_least(mut self, limit: f64) -> Self {
        self.promise = Promise::AtLeast(limit);
        self
    }

    /// We would like it to be `aim`.
    #[must_use]
    pub(crate) fn aim(mut self, aim: f64) -> Self {
        self.aim = Some(aim);
        self
    }

    /// Adds to the note.
    #[must_use]
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Whether the promise holds; rows without one always do.
    pub(crate) fn is_kept(&self) -> bool {
        match self.promise {
            Promise::AtMost(limit) => self.measured <= limit,
            Promise::AtLeast(limit) => self.measured >= limit,
            Promise::None => true,
        }
    }
}

/// Durations of one thing done many times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn push(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The value below which `share` (0 to 1) of the samples lie, in milliseconds; by nearest rank.
    pub(crate) fn millis(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rank: between zero and the number of samples"
        )]
        let rank = (sorted.len() as f64 * share).ceil() as usize;
        sorted.get(rank.saturating_sub(1).min(last)).map_or(f64::NAN, |sample| sample.as_secs_f64() * 1e3)
    }

    pub(crate) fn p50(&self) -> f64 {
        self.millis(0.5)
    }

    pub(crate) fn p99(&self) -> f64 {
        self.millis(0.99)
    }

    /// `p99 12.3, n 20`.
    pub(crate) fn note(&self) -> String {
        format!("p99 {:.1} ms, n {}", self.p99(), self.len())
    }
}

impl FromIterator<Duration> for Samples {
    fn from_iter<I: IntoIterator<Item = Duration>>(samples: I) -> Self {
        Self(samples.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_by_nearest_rank() {
        let samples: Samples = (1..=10).map(Duration::from_millis).collect();
        let of = |share: f64| samples.millis(share).round();
        assert_eq!([of(0.0), of(0.5), of(0.99), of(1.0)], [1.0, 5.0, 10.0, 10.0]);
        assert!(Samples::default().p50().is_nan());
    }

    #[test]
    fn a_promise_holds_up_to_its_limit_and_never_without_a_number() {
        let row = |measured| Row::new("x", measured, "ms");
        assert!(row(40.0).at_most(40.0).is_kept());
        assert!(!row(40.1).at_most(40.0).is_kept());
        assert!(row(5.0).at_least(5.0).is_kept());
        assert!(!row(f64::NAN).at_most(1.0).is_kept());
        assert!(row(f64::NAN).is_kept());
    }
}
