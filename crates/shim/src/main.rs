//! The sandbox process: one small supervisor per Pod.
fn main() {}
