//! Whether an address can be listened on, and whose it is if not.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use crate::claim::process;
use crate::failure::Failure;

/// Listens on the address for a moment. Done before anything is set up, so that a refusal leaves nothing behind.
pub(crate) fn require_free(address: SocketAddr) -> Result<(), Failure> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            let holder = holder(address.port()).map_or_else(|| "another process".to_owned(), process);
            let text = format!("cannot listen on {address}: {holder} does; give another --listen");
            Err(Failure::other(text))
        }
        Err(error) => Err(Failure::other(format!("cannot listen on {address}: {error}"))),
    }
}

/// The process that listens on a port, as far as this one may look.
fn holder(port: u16) -> Option<u32> {
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    let inode = tables.iter().find_map(|table| listener(table, port))?;
    let link = format!("socket:[{inode}]");
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    processes
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .find(|(_, path): &(u32, _)| holds(path, &link))
        .map(|(pid, _)| pid)
}

fn holds(process: &Path, link: &str) -> bool {
    let descriptors = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    descriptors
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .any(|target| target.as_os_str() == link)
}

/// The inode of the socket that listens on a port, in a table of the kernel's (proc(5), `/proc/net/tcp`).
fn listener(table: &str, port: u16) -> Option<u64> {
    const LISTEN: &str = "0A";
    let wanted = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let here = fields.get(1)?.ends_with(&wanted) && *fields.get(3)? == LISTEN;
        here.then(|| fields.get(9)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_port_is_named() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = taken.local_addr().unwrap();
        let error = require_free(address).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(taken);
        require_free(address).unwrap();
    }
}
