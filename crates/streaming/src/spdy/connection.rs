//! A connection: one side that reads frames, one that writes them, and streams in between.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures::StreamExt as _;
use futures::stream::{BoxStream, SelectAll};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, PollSender};
use tracing::debug;

use super::frame::{CHUNK, Decoder, Encoder, Frame, ResetStatus};
use super::stream::{Piece, Said, Stream};
use super::{Headers, Malformed};

/// Streams at a time; a further one is refused. A forwarded connection takes two.
const MOST_STREAMS: usize = 2048;
/// Bytes read for all streams together and not taken yet; beyond it the connection is not read any further.
const MOST_UNREAD: usize = 4 * 1024 * 1024;
/// Pieces read for one stream and not taken yet; the same happens beyond it. Clients without windows (H32) can be held
/// back only as a whole.
const PIECES: usize = 64;
/// What one stream has handed over and the connection has not written yet.
const UNWRITTEN: usize = 2;
/// Answers to frames (resets, pings) waiting to be written; beyond it the connection is not read any further.
const ANSWERS: usize = 16;
/// A connection on which nothing is said for so long is ended (H41).
const IDLE: Duration = Duration::from_secs(4 * 60 * 60);
/// How long the client may take to close a connection we are done with.
const LINGER: Duration = Duration::from_secs(5);

/// A stream the client wants to open. Dropping it refuses the stream.
#[derive(Debug)]
pub struct Offer(Stream);

impl Offer {
    /// What the client says the stream is for.
    pub fn headers(&self) -> &Headers {
        self.0.headers()
    }

    /// See [`Stream::id`].
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Opens the stream.
    pub fn accept(mut self) -> Stream {
        // The first word on a channel of its own: there is room, and a connection that is gone shows at the first use.
        if let Some(output) = self.0.output.get_ref() {
            let _ = output.try_send(Said::Accepted);
        }
        self.0.rest = None;
        self.0
    }
}

/// What ended a connection.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("the client sent {0}")]
    Malformed(#[from] Malformed),
    #[error("nothing was said for {IDLE:?}")]
    Idle,
}

/// Runs a connection until the client leaves, or until `offers` has no receiver and every stream has ended, which is
/// told to the client. Dropping the future ends it at once; streams then fail.
pub async fn run<R, W>(reader: R, writer: W, offers: mpsc::Sender<Offer>)
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    let (answers, commands) = mpsc::channel(ANSWERS);
    let done = offers.clone();
    let mut reading = std::pin::pin!(async {
        let mut table = Table::new(offers, answers);
        if let Err(error) = read(reader, &mut table).await {
            debug!(%error, "a SPDY connection ended");
        }
    });
    tokio::select! {
        () = &mut reading => {}
        written = write(writer, commands, &done) => match written {
            Ok(()) => drop(timeout(LINGER, reading).await),
            Err(error) => debug!(%error, "the client of a SPDY connection is gone"),
        }
    }
}

/// A command to the writing side.
#[derive(Debug)]
enum Command {
    Send(Frame),
    /// A stream's words from now on.
    Carry(u32, mpsc::Receiver<Said>),
}

/// What is known of an open stream on the reading side.
#[derive(Debug)]
struct Entry {
    input: mpsc::Sender<Piece>,
    reset: CancellationToken,
}

/// The reading side's state. Its end is a reset for every stream whose client side is open.
#[derive(Debug)]
struct Table {
    streams: HashMap<u32, Entry>,
    /// The highest number so far.
    last: u32,
    places: Arc<Semaphore>,
    room: Arc<Semaphore>,
    /// All streams', those included whose client side has ended.
    end: CancellationToken,
    offers: mpsc::Sender<Offer>,
    answers: mpsc::Sender<Command>,
}

impl Drop for Table {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl Table {
    fn new(offers: mpsc::Sender<Offer>, answers: mpsc::Sender<Command>) -> Self {
        Self {
            streams: HashMap::new(),
            last: 0,
            places: Arc::new(Semaphore::new(MOST_STREAMS)),
            room: Arc::new(Semaphore::new(MOST_UNREAD)),
            end: CancellationToken::new(),
            offers,
            answers,
        }
    }

    async fn take(&mut self, frame: Frame) {
        match frame {
            Frame::SynStream { stream, fin, headers } => self.open(stream, fin, headers).await,
            Frame::Data { stream, fin, data } => {
                let Some(entry) = self.streams.get(&stream) else {
                    // Data under way to a stream that has ended is normal; to one that never was it is not.
                    if stream > self.last {
                        self.answer(Frame::reset(stream, ResetStatus::InvalidStream)).await;
                    }
                    return;
                };
                if !data.is_empty() {
                    let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
                    let Ok(share) = Arc::clone(&self.room).acquire_many_owned(size).await else { return };
                    // A stream nobody reads any more: what comes for it is dropped.
                    let _ = entry.input.send(Piece { data, _share: share }).await;
                }
                if fin {
                    self.streams.remove(&stream);
                }
            }
            Frame::Headers { stream, fin: true, .. } => drop(self.streams.remove(&stream)),
            Frame::Reset { stream, .. } => {
                if let Some(entry) = self.streams.remove(&stream) {
                    entry.reset.cancel();
                }
            }
            // Ours would be even; we send none.
            Frame::Ping { id } if id % 2 == 1 => self.answer(Frame::Ping { id }).await,
            // The client opens no more streams; it closes when those it has are done.
            Frame::GoAway { .. }
            | Frame::Ping { .. }
            | Frame::Headers { .. }
            | Frame::SynReply { .. }
            | Frame::Skipped { .. } => {}
        }
    }

    async fn open(&mut self, id: u32, fin: bool, headers: Headers) {
        if id.is_multiple_of(2) || id <= self.last {
            return self.answer(Frame::reset(id, ResetStatus::ProtocolError)).await;
        }
        self.last = id;
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return self.answer(Frame::reset(id, ResetStatus::RefusedStream)).await;
        };
        let (input, pieces) = mpsc::channel(PIECES);
        let (output, said) = mpsc::channel(UNWRITTEN);
        let reset = self.end.child_token();
        let stream = Stream {
            id,
            headers,
            input: pieces,
            rest: None,
            output: PollSender::new(output),
            reset: reset.clone(),
            _place: place,
        };
        if !fin {
            // Streams whose receiving half is gone only wait for the client's last word.
            if self.streams.len() >= 2 * MOST_STREAMS {
                self.streams.retain(|_, entry| !entry.input.is_closed());
            }
            self.streams.insert(id, Entry { input, reset });
        }
        let _ = self.answers.send(Command::Carry(id, said)).await;
        // With nobody to take it the offer is dropped here, which refuses the stream.
        let _ = self.offers.send(Offer(stream)).await;
    }

    async fn answer(&self, frame: Frame) {
        // If the writing side is gone, so is the connection.
        let _ = self.answers.send(Command::Send(frame)).await;
    }
}

async fn read(mut reader: impl AsyncRead + Unpin, table: &mut Table) -> Result<(), Ended> {
    let mut decoder = Decoder::new();
    let mut buffer = BytesMut::with_capacity(CHUNK);
    loop {
        while let Some(frame) = decoder.decode(&mut buffer)? {
            table.take(frame).await;
        }
        buffer.reserve(CHUNK);
        let read = timeout(IDLE, reader.read_buf(&mut buffer)).await.map_err(|_| Ended::Idle)?;
        if read? == 0 {
            return Ok(());
        }
    }
}

/// How far a stream is on our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Offered,
    Accepted,
    Ended,
}

async fn write(
    mut writer: impl AsyncWrite + Unpin,
    mut commands: mpsc::Receiver<Command>,
    offers: &mpsc::Sender<Offer>,
) -> io::Result<()> {
    let mut streams: SelectAll<BoxStream<'static, (u32, Option<Said>)>> = SelectAll::new();
    let mut progress: HashMap<u32, Progress> = HashMap::new();
    let mut encoder = Encoder::new();
    let mut bytes = BytesMut::new();
    loop {
        let frame = tokio::select! {
            // In this order: a stream is carried before anybody can have accepted it, so none is missing below.
            biased;
            command = commands.recv() => match command {
                None => return Ok(()),
                Some(Command::Send(frame)) => Some(frame),
                Some(Command::Carry(id, said)) => {
                    progress.insert(id, Progress::Offered);
                    streams.push(words(id, said));
                    None
                }
            },
            Some((id, said)) = streams.next() => speak(&mut progress, id, said),
            () = offers.closed(), if progress.is_empty() => {
                encoder.encode(&Frame::GoAway { last: 0 }, &mut bytes);
                writer.write_all_buf(&mut bytes).await?;
                writer.flush().await?;
                return writer.shutdown().await;
            }
        };
        if let Some(frame) = frame {
            encoder.encode(&frame, &mut bytes);
            writer.write_all_buf(&mut bytes).await?;
            writer.flush().await?;
        }
    }
}

/// A stream's words, and at last its end.
fn words(id: u32, said: mpsc::Receiver<Said>) -> BoxStream<'static, (u32, Option<Said>)> {
    futures::stream::unfold(Some(said), move |said| async move {
        let mut said = said?;
        let word = said.recv().await;
        let next = word.is_some().then_some(said);
        Some(((id, word), next))
    })
    .boxed()
}

/// The frame a stream's word becomes. A stream that is dropped early is refused or reset.
fn speak(progress: &mut HashMap<u32, Progress>, id: u32, said: Option<Said>) -> Option<Frame> {
    match said {
        Some(Said::Accepted) => {
            progress.insert(id, Progress::Accepted);
            Some(Frame::SynReply { stream: id, fin: false, headers: Headers::default() })
        }
        Some(Said::Data(data)) => Some(Frame::Data { stream: id, fin: false, data }),
        Some(Said::End) => {
            progress.insert(id, Progress::Ended);
            Some(Frame::Data { stream: id, fin: true, data: bytes::Bytes::new() })
        }
        None => match progress.remove(&id) {
            Some(Progress::Offered) => Some(Frame::reset(id, ResetStatus::RefusedStream)),
            Some(Progress::Accepted) => Some(Frame::reset(id, ResetStatus::Cancel)),
            Some(Progress::Ended) | None => None,
        },
    }
}
