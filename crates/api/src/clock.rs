//! Time as a value. A [`Clock`] is made in `main` and handed down; lints forbid reading the time elsewhere.
//!
//! Wall time goes into objects and logs; it may jump. Monotonic time measures waiting; it counts from boot, so a
//! value written to disk stays meaningful when the program restarts, until the machine does.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A moment on the calendar.
pub type WallTime = Timestamp;

/// A moment counted from boot (`CLOCK_MONOTONIC`). Subtraction never panics: an earlier end yields zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MonoTime(Duration);

impl MonoTime {
    /// The moment `since_boot` after boot.
    pub const fn from_boot(since_boot: Duration) -> Self {
        Self(since_boot)
    }

    /// How long after boot this moment is.
    pub const fn since_boot(self) -> Duration {
        self.0
    }

    /// Time from `earlier` to `self`, zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for MonoTime {
    type Output = Self;

    fn add(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(wait))
    }
}

/// One reading of both clocks, taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For objects and logs.
    pub wall: WallTime,
    /// For measuring and waiting.
    pub mono: MonoTime,
}

/// Answers one question: what time is it?
pub trait Clock: Send + Sync + fmt::Debug {
    /// Both clocks, read together.
    fn now(&self) -> Now;
}

/// A clock shared by all parts of a program.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the time")]
    fn now(&self) -> Now {
        let mono = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let mono = Duration::try_from(mono).unwrap_or_default();
        Now { wall: Timestamp::now(), mono: MonoTime(mono) }
    }
}

/// A clock that moves only when told to. Clones share the time.
#[derive(Clone, Debug)]
pub struct FakeClock(Arc<Mutex<Now>>);

impl FakeClock {
    /// A clock standing at `wall`, one hour after boot.
    pub fn at(wall: WallTime) -> Self {
        Self(Arc::new(Mutex::new(Now { wall, mono: MonoTime(Duration::from_secs(3600)) })))
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        now.mono = now.mono + by;
        now.wall = now.wall.checked_add(by).unwrap_or(now.wall);
    }

    /// Sets the calendar without moving monotonic time, as an operator or a time daemon does.
    pub fn jump_wall(&self, wall: WallTime) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).wall = wall;
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Now {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
