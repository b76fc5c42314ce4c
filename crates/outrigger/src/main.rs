//! Kubernetes for Pods in one binary.
fn main() {}
