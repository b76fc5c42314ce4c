//! SPDY/3.1, the server's side, as far as Kubernetes speaks it (H30 to H32, H35 to H38).
//!
//! [`connection`] runs frames ([`frame`], no I/O) over any pair of byte streams and hands out [`Stream`]s.
//! [`session`] serves exec and attach over them, [`crate::port_forward`] port-forward.
//!
//! There is no flow control by windows, because the one client library there is neither sends nor heeds them (H32):
//! it would stop after 64 KiB for ever. What is not read here is held back by not reading the connection.

pub mod connection;
mod dictionary;
mod frame;
mod headers;
pub mod session;
mod stream;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use self::connection::Offer;
pub use self::frame::Malformed;
pub use self::headers::{BadBlock, Headers};
pub use self::stream::Stream;
