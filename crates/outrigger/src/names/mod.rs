//! The cluster's name service (R11.23): it answers for the cluster's domain and passes other questions on to the
//! node's own servers. It keeps nothing; start reading at [`NameService::serve`].

mod answer;
mod records;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use answer::Zone;

const PORT: u16 = 53;
/// Questions answered at once; one more is dropped, and its client asks again.
const MOST_AT_ONCE: usize = 256;
/// How long one of the node's servers may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a connection may be silent.
const IDLE: Duration = Duration::from_secs(10);
/// The longest answer a server may send by datagram.
const LONGEST: usize = 4096;

/// Where questions come in.
pub(crate) struct Sockets {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Sockets {
    /// Takes the address on one device only: another cluster on this machine may have the same address on its own.
    pub(crate) fn take(address: Ipv4Addr, device: &str) -> io::Result<Self> {
        let open = |kind, protocol| {
            let socket = Socket::new(Domain::IPV4, kind, Some(protocol))?;
            socket.set_nonblocking(true)?;
            socket.set_reuse_address(protocol == Protocol::TCP)?;
            socket.bind_device(Some(device.as_bytes()))?;
            socket.bind(&SocketAddr::from((address, PORT)).into())?;
            io::Result::Ok(socket)
        };
        let udp = UdpSocket::from_std(open(Type::DGRAM, Protocol::UDP)?.into())?;
        let tcp = open(Type::STREAM, Protocol::TCP)?;
        tcp.listen(128)?;
        Ok(Self { udp, tcp: TcpListener::from_std(tcp.into())? })
    }
}

/// What answers.
pub(crate) struct NameService {
    zone: Zone,
    client: kube::Client,
    /// The node's own servers.
    upstream: Vec<SocketAddr>,
    room: Semaphore,
}

impl NameService {
    /// `domain` is the cluster's, `own` its address, which is never asked again.
    pub(crate) fn new(client: kube::Client, domain: &str, own: Ipv4Addr) -> Self {
        let file = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let mut upstream = servers(&file);
        upstream.retain(|server| server.ip() != own);
        Self { zone: Zone::new(domain), client, upstream, room: Semaphore::new(MOST_AT_ONCE) }
    }

    /// Answers until `stop`.
    pub(crate) async fn serve(self: Arc<Self>, sockets: Sockets, stop: CancellationToken) {
        let udp = Arc::new(sockets.udp);
        let mut buffer = vec![0; LONGEST];
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                received = udp.recv_from(&mut buffer) => {
                    let Ok((length, from)) = received else { continue };
                    let (service, udp, question) = (self.clone(), udp.clone(), buffer[..length].to_vec());
                    tokio::spawn(async move {
                        let Ok(_place) = service.room.try_acquire() else { return };
                        if let Some(answer) = service.answer(&question, Way::Datagram).await {
                            // Whoever asked may be gone.
                            let _ = udp.send_to(&answer, from).await;
                        }
                    });
                }
                accepted = sockets.tcp.accept() => {
                    let Ok((stream, _)) = accepted else { continue };
                    let (service, stop) = (self.clone(), stop.clone());
                    tokio::spawn(async move {
                        let Ok(_place) = service.room.try_acquire() else { return };
                        tokio::select! {
                            () = stop.cancelled() => {}
                            // A client that breaks off is nobody's problem.
                            _ = service.connection(stream) => {}
                        }
                    });
                }
            }
        }
    }

    async fn connection(&self, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let question = tokio::time::timeout(IDLE, framed(&mut stream)).await??;
            let Some(answer) = self.answer(&question, Way::Stream).await else { return Ok(()) };
            send_framed(&mut stream, &answer).await?;
        }
    }

    /// The answer to one question; none if it is not one.
    async fn answer(&self, question: &[u8], way: Way) -> Option<Vec<u8>> {
        let asked = self.zone.read(question)?;
        let Some(labels) = &asked.local else {
            return Some(match self.ask_upstream(question, way).await {
                Some(answer) => answer,
                None => asked.failure()?,
            });
        };
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let found = records::look_up(&self.client, &labels).await;
        asked.answer(&found, way == Way::Datagram)
    }

    async fn ask_upstream(&self, question: &[u8], way: Way) -> Option<Vec<u8>> {
        for server in &self.upstream {
            let asked = async {
                match way {
                    Way::Datagram => by_datagram(*server, question).await,
                    Way::Stream => {
                        let mut stream = TcpStream::connect(server).await?;
                        send_framed(&mut stream, question).await?;
                        framed(&mut stream).await
                    }
                }
            };
            match tokio::time::timeout(PATIENCE, asked).await {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(error)) => tracing::debug!(%server, %error, "no answer"),
                Err(_) => tracing::debug!(%server, "no answer in time"),
            }
        }
        None
    }
}

/// How a question came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Datagram,
    Stream,
}

async fn by_datagram(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut answer = vec![0; LONGEST];
    loop {
        let length = socket.recv(&mut answer).await?;
        // The first two bytes name the question.
        if length >= 2 && answer[..2] == question[..2] {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

async fn framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; length.into()];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn send_framed(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_u16(length).await?;
    stream.write_all(message).await
}

/// The name servers of a resolver file.
fn servers(file: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next()? == "nameserver").then(|| words.next()?.parse().ok()).flatten()
    };
    file.lines().filter_map(address).map(|ip| SocketAddr::new(ip, PORT)).collect()
}
