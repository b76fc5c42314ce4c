//! What goes wrong, and how often. Every draw comes from the seed; a calm world draws nothing.

use std::time::Duration;

use crate::random::Rng;

/// Where in a turn the agent dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// After deciding.
    BeforePersisting,
    /// After the memory is on disk.
    BeforeActing,
    /// After half of the actions were begun.
    WhileActing,
    /// After all actions were begun.
    AfterActing,
}

/// How often things go wrong, each in a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Odds {
    /// The agent dies, per turn.
    pub death: u32,
    /// A call to the runtime, network or registry is slow (up to `slow_ms`), per call.
    pub slow: u32,
    /// What slow means, at most.
    pub slow_ms: u64,
    /// A call to the runtime, network or registry fails, per call.
    pub failing: u32,
    /// The API server refuses or loses a status write or a delete, per write.
    pub conflict: u32,
    /// A watch event comes late (up to 2 s), per event.
    pub late: u32,
    /// A watch event is lost until the watch is begun anew (20 s), per event.
    pub lost: u32,
    /// A watch event comes twice, per event.
    pub repeated: u32,
    /// The runtime does not answer a listing, per turn.
    pub deaf: u32,
}

/// The source of all faults of one simulation.
#[derive(Clone, Debug)]
pub struct Chaos {
    pub(crate) rng: Rng,
    pub(crate) odds: Odds,
    /// For tests: dies in exactly this turn, counted from 1.
    pub die_at: Option<(u64, Death)>,
    turns: u64,
}

/// How long until a lost watch event is made good by a new listing.
const RELIST: Duration = Duration::from_secs(20);

impl Chaos {
    /// Nothing goes wrong, everything takes no time.
    pub fn calm() -> Self {
        Self::new(Rng::new(0), Odds::default())
    }

    /// Faults drawn from `rng`.
    pub fn new(rng: Rng, odds: Odds) -> Self {
        Self { rng, odds, die_at: None, turns: 0 }
    }

    /// From now on nothing new goes wrong.
    pub fn calm_down(&mut self) {
        self.odds = Odds::default();
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.odds.slow == 0 && self.odds.death == 0
    }

    /// Whether, and where, the agent dies in this turn.
    pub(crate) fn death(&mut self) -> Option<Death> {
        self.turns += 1;
        if let Some((turn, death)) = self.die_at {
            return (turn == self.turns).then_some(death);
        }
        let all = [Death::BeforePersisting, Death::BeforeActing, Death::WhileActing, Death::AfterActing];
        self.rng.chance(self.odds.death).then(|| *self.rng.pick(&all))
    }

    /// How long a call takes.
    pub(crate) fn latency(&mut self) -> Duration {
        if self.rng.chance(self.odds.slow) {
            Duration::from_millis(self.rng.between(1, self.odds.slow_ms.max(1)))
        } else {
            Duration::ZERO
        }
    }

    pub(crate) fn fails(&mut self) -> bool {
        self.rng.chance(self.odds.failing)
    }

    pub(crate) fn conflicts(&mut self) -> bool {
        self.rng.chance(self.odds.conflict)
    }

    pub(crate) fn deaf(&mut self) -> bool {
        self.rng.chance(self.odds.deaf)
    }

    /// A coin.
    pub(crate) fn coin(&mut self) -> bool {
        !self.is_calm() && self.rng.chance(500)
    }

    /// When a watch event arrives: once, or twice.
    pub(crate) fn deliveries(&mut self) -> (Duration, Option<Duration>) {
        let first = if self.rng.chance(self.odds.lost) {
            RELIST
        } else if self.rng.chance(self.odds.late) {
            Duration::from_millis(self.rng.between(1, 2000))
        } else {
            Duration::ZERO
        };
        let again = self.rng.chance(self.odds.repeated);
        (first, again.then(|| first + Duration::from_millis(self.rng.between(1, 3000))))
    }
}
