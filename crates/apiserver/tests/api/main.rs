//! The whole server over the embedded store, asked as clients ask, without a socket.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod access;
mod apply;
mod connections;
mod controllers;
mod discovery;
mod furniture;
mod guards;
mod metadata;
mod pods;
mod protobuf;
mod reads;
mod server;
mod subresources;
mod tables;
mod webhook_server;
mod writes;
