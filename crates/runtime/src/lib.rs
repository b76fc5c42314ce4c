//! The container runtime: a seam shaped on CRI v1, and the embedded implementation with one sandbox process per Pod.
//!
//! The runtime does what it is told and reports facts. It decides nothing: no restart, no order, no back-off.
//! Images and networks are prepared by others; it gets paths.

pub mod cri;
