//! The Pod decision: a pure function from facts to actions, status and the next wake-up.
