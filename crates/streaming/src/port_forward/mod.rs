//! Port-forward: connections to ports inside a Pod's network namespace, over SPDY streams in pairs (H35 to H38) or
//! over the channels of a WebSocket (H39).
//!
//! Start at [`negotiate`], before the upgrade, and [`serve_spdy`] or [`channels::serve`], after it.

pub mod channels;
mod pairs;
mod tunnel;

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::debug;

use self::pairs::{Pair, Pairs};
pub use self::tunnel::tunnel;
use crate::agent::{ContainerTarget, Duplex, NodeAgent};
use crate::spdy::{Offer, Stream, connection};

/// The subprotocol of SPDY inside a WebSocket, as the answer has to repeat it.
pub const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// `X-Stream-Protocol-Version` of SPDY without a WebSocket.
pub const SPDY: &str = "portforward.k8s.io";

/// How a WebSocket client wants to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Negotiated {
    /// As one stream of bytes that is a SPDY connection.
    Tunnel,
    /// Channels; the name for the answer, and whether frames are text.
    Channels(channels::Protocol),
}

/// Chooses the first of the client's offers that is known; `offered` is the value of `Sec-WebSocket-Protocol` (H35,
/// H39). `None` if there are offers and none is known.
pub fn negotiate(offered: &str) -> Option<Negotiated> {
    let mut names = offered.split(',').map(str::trim).filter(|name| !name.is_empty()).peekable();
    if names.peek().is_none() {
        return Some(Negotiated::Channels(channels::UNNAMED));
    }
    names.find_map(|name| match name {
        TUNNEL => Some(Negotiated::Tunnel),
        other => channels::named(other).map(Negotiated::Channels),
    })
}

/// Which Pod's ports are reached, and through whom.
#[derive(Clone, Debug)]
pub struct Forwarder {
    /// The Pod's node.
    pub agent: Arc<dyn NodeAgent>,
    /// The Pod; its container does not matter.
    pub target: ContainerTarget,
}

impl Forwarder {
    /// Connects to a port.
    ///
    /// # Errors
    /// In the words the client's error stream is to carry.
    async fn connect(&self, port: u16) -> Result<Box<dyn Duplex>, String> {
        self.agent.port_forward(&self.target, port).await.map_err(|error| {
            let ContainerTarget { pod, uid, .. } = &self.target;
            format!("error forwarding port {port} to pod {pod}, uid {uid}: {}", error.message)
        })
    }
}

/// Serves a SPDY connection until the client leaves. Dropping the future ends it, forwarded connections included.
pub async fn serve_spdy<R, W>((reader, writer): (R, W), forwarder: Forwarder)
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    let (sender, mut offers) = mpsc::channel::<Offer>(8);
    let forwarding = async {
        let mut pairs: Pairs<Stream> = Pairs::default();
        // Its owner: what is forwarded ends with the client.
        let mut forwarded = JoinSet::new();
        loop {
            tokio::select! {
                offer = offers.recv() => {
                    let Some(offer) = offer else { return };
                    match pairs.claim(offer.headers(), offer.id()) {
                        Ok(claim) => {
                            if let Some(pair) = pairs.put(claim, offer.accept(), tokio::time::Instant::now()) {
                                forwarded.spawn(forward(pair, forwarder.clone()));
                            }
                        }
                        Err(refused) => debug!(%refused, "a stream is refused"),
                    }
                }
                Some(_) = forwarded.join_next() => {}
                () = pairs.overdue() => {
                    for (mut error, told) in pairs.expire(tokio::time::Instant::now()) {
                        if told {
                            let _ = error.write_all(b"timed out waiting for streams").await;
                            let _ = error.shutdown().await;
                        }
                    }
                }
            }
        }
    };
    tokio::select! {
        () = connection::run(reader, writer, sender) => {}
        () = forwarding => {}
    }
}

/// One forwarded connection: bytes both ways until the Pod's side ends or the client resets its stream. The client's
/// end of file is passed on and the answer still awaited.
async fn forward(pair: Pair<Stream>, forwarder: Forwarder) {
    let Pair { port, data, mut error } = pair;
    let connected = tokio::select! {
        connected = forwarder.connect(port) => connected,
        () = data.gone() => return,
    };
    let said = match connected {
        Err(message) => Err(message),
        Ok(connection) => exchange(connection, data).await.map_err(|failed| {
            let ContainerTarget { pod, uid, .. } = &forwarder.target;
            format!("error forwarding port {port} to pod {pod}, uid {uid}: {failed}")
        }),
    };
    if let Err(message) = said {
        let _ = error.write_all(message.as_bytes()).await;
    }
    let _ = error.shutdown().await;
}

/// # Errors
/// If the Pod's side fails. The client's going away is no error.
async fn exchange<C>(connection: Box<dyn Duplex>, client: C) -> std::io::Result<()>
where
    C: AsyncRead + AsyncWrite + Send + Unpin,
{
    let (mut pod_output, mut pod_input) = tokio::io::split(connection);
    let (mut client_output, mut client_input) = tokio::io::split(client);
    let to_pod = async {
        match tokio::io::copy(&mut client_output, &mut pod_input).await {
            Ok(_) => {
                let _ = pod_input.shutdown().await;
                // The Pod may have an answer to what it has read to its end.
                std::future::pending::<()>().await;
            }
            // Either the client is gone, or the Pod reads no more; what it still says is then the other half's matter.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(_) => std::future::pending().await,
        }
    };
    let to_client = async {
        let copied = tokio::io::copy(&mut pod_output, &mut client_input).await;
        let _ = client_input.shutdown().await;
        copied
    };
    tokio::select! {
        () = to_pod => Ok(()),
        copied = to_client => match copied {
            // A client that reads no more.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map(drop),
        },
    }
}

#[cfg(test)]
mod tests;
