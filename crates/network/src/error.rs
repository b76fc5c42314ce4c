//! Why the network could not be arranged.

/// A failed step: what was being done, to what, and what the system said.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// No address is left for another Pod.
    #[error("no address is left in {cidr}: {used} are in use")]
    Exhausted {
        /// The node's range.
        cidr: String,
        /// How many are in use.
        used: usize,
    },
    /// Another Pod has the host port.
    #[error("host port {port} is already used by pod {holder}")]
    HostPortTaken {
        /// Which port.
        port: u16,
        /// The uid of the Pod that has it.
        holder: String,
    },
    /// A file of ours could not be read or written.
    #[error("{doing}: {source}")]
    Io {
        /// `write /…/addresses.json`
        doing: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The kernel refused a netlink request.
    #[error("{doing}: {cause}")]
    Kernel {
        /// `add link …`
        doing: String,
        /// What the kernel said.
        cause: String,
    },
    /// The configuration makes no sense.
    #[error("{0}")]
    Config(String),
}
