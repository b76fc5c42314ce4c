//! Fixture images, a loopback registry and helpers for tests that need the real thing.
