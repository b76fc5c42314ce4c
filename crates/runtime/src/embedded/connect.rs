//! Connections into a Pod, as port-forward makes them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpSocket;

use super::*;

impl EmbeddedRuntime {
    /// Connects to a port on the Pod's own loopback. Dropped midway, nothing is left open.
    pub(super) async fn connect_to_loopback(
        &self,
        entry: &Arc<Entry>,
        port: u16,
    ) -> Result<TcpStream, RuntimeError> {
        let v4 = match self.connect_inside(entry, (Ipv4Addr::LOCALHOST, port).into()).await {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        // What listens on the other loopback address only; without IPv6 there is nothing to add to the first answer.
        let v6 = self.connect_inside(entry, (Ipv6Addr::LOCALHOST, port).into()).await;
        v6.map_err(|_| doing(format!("connect to port {port}"))(v4))
    }

    /// A connection whose socket was made in the sandbox's network namespace, and therefore lives there.
    async fn connect_inside(&self, entry: &Arc<Entry>, to: SocketAddr) -> io::Result<TcpStream> {
        let asked = self.ask(entry, Request::Socket { v6: to.is_ipv6() }, &[]).await;
        let (_, mut fds) = asked.map_err(io::Error::other)?;
        let stream = std::net::TcpStream::from(fds.pop().ok_or(io::ErrorKind::NotConnected)?);
        stream.set_nonblocking(true)?;
        TcpSocket::from_std_stream(stream).connect(to).await
    }
}
