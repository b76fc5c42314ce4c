//! The controllers, each a pure decision and its wiring on the reconcile loop.
