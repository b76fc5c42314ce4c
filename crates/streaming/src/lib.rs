//! Exec, attach, port-forward and logs: the seam between API server and node agent, and the wire protocols
//! kubectl and the client libraries speak (rule book sections H.4 to H.6).
//!
//! This crate moves bytes; it decides nothing about Pods and starts no process. Start at [`agent`], the seam, and
//! [`websocket`], exec and attach. Port-forward's framing is not here yet.

pub mod agent;
pub mod websocket;
