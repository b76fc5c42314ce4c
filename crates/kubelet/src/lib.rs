//! The node agent: one task per Pod around the pure decision.
