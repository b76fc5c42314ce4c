//! Exec, attach, port-forward and logs: the seam between API server and node agent, and the wire protocols
//! kubectl and the client libraries speak (rule book sections H.4 to H.6).
//!
//! This crate moves bytes; it decides nothing about Pods and starts no process. Start at [`agent`], the seam, and
//! [`websocket`], exec and attach as most clients speak them; [`spdy`] is what the others speak, and [`port_forward`]
//! lies on top of both.

pub mod agent;
mod last_word;
pub mod port_forward;
pub mod spdy;
pub mod tls;
pub mod upgrade;
pub mod websocket;
