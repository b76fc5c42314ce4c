//! Why a server could not start. Failures of requests are [`outrigger_api::StatusError`] values.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why [`ApiServer::start`](crate::ApiServer::start) failed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file under `pki/` cannot be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file under `pki/` is not what this program wrote.
    #[error("{}: {cause}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A certificate could not be made.
    #[error("cannot create a certificate")]
    Certificate(#[source] rcgen::Error),
    /// TLS could not be set up with the files under `pki/`.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
    /// The address is taken or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The objects every cluster has could not be written (L1).
    #[error("cannot write the objects every cluster starts with")]
    Bootstrap(#[source] outrigger_api::StatusError),
}
