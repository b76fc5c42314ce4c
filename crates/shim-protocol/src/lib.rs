//! The messages between the node agent and a Pod's sandbox process (the shim).
//!
//! Old shims meet new agents after an upgrade, so a message only ever gains fields, every new field has a default,
//! and [`PROTOCOL_VERSION`] rises only when an old peer could not make sense of the new one at all. This crate
//! holds data and pure framing; the sockets and the descriptors travelling beside a frame belong to its users.
//!
//! Start at [`Envelope`]: a frame is a little-endian `u32` length and one JSON envelope of that many bytes. The
//! descriptors an envelope announces in `fds` were sent with the frame's first byte, so a reader queues whatever
//! descriptors arrive and takes the announced number when the frame is complete.

mod frame;
mod message;

pub use frame::{Decoder, FrameError, MAX_FRAME_BYTES, MAX_FRAME_FDS, encode};
pub use message::*;

/// What this build speaks.
pub const PROTOCOL_VERSION: u32 = 1;
