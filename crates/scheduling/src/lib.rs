//! The scheduler's filters and scores as pure functions.
