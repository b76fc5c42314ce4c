//! Streaming one instance's log to a client.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use jiff::Timestamp;
use outrigger_runtime::{ContainerState, Runtime};
use outrigger_streaming::agent::{LogOptions, LogStream};
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncSeekExt as _, BufReader};

use super::Record;

/// How often a followed file is looked at.
const POLL: Duration = Duration::from_millis(100);
/// Bytes read at a time when looking for the beginning of the last records.
const CHUNK: u64 = 64 * 1024;
/// A record longer than this is passed on in pieces.
const LONGEST_LINE: u64 = 1024 * 1024;

/// The instance to read.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) pod_uid: String,
    pub(crate) instance: String,
    pub(crate) path: PathBuf,
}

/// Opens the log and positions it.
pub(crate) async fn open(source: Source, options: LogOptions) -> std::io::Result<LogStream> {
    let mut file = File::open(&source.path).await?;
    if let Some(lines) = options.tail_lines {
        let start = tail_start(&mut file, lines).await?;
        file.seek(std::io::SeekFrom::Start(start)).await?;
    }
    let reader = Reader {
        left: options.limit_bytes,
        source,
        options,
        file: BufReader::new(file),
        partial: Vec::new(),
        line_begins: true,
        last_look: false,
    };
    Ok(Box::pin(stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.next().await {
            Ok(Some(bytes)) => Some((Ok(bytes), Some(reader))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })))
}

struct Reader {
    source: Source,
    options: LogOptions,
    file: BufReader<File>,
    /// A record whose end is not written yet.
    partial: Vec<u8>,
    line_begins: bool,
    left: Option<u64>,
    /// The instance has ended; what is read now is all there will be.
    last_look: bool,
}

impl Reader {
    async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        loop {
            if self.left == Some(0) {
                return Ok(None);
            }
            let count = (&mut self.file).take(LONGEST_LINE).read_until(b'\n', &mut self.partial).await?;
            if self.partial.ends_with(b"\n") {
                let line = std::mem::take(&mut self.partial);
                if let Some(bytes) = self.render(&line) {
                    return Ok(Some(bytes));
                }
                continue;
            }
            if count > 0 && self.partial.len() < usize::try_from(LONGEST_LINE).unwrap_or(usize::MAX) {
                continue;
            }
            if !self.options.follow || self.last_look {
                return Ok(None);
            }
            if self.reopen().await? {
                continue;
            }
            self.last_look = !self.runs().await;
            if !self.last_look {
                tokio::time::sleep(POLL).await;
            }
        }
    }

    /// After a rotation the name belongs to another file (R14.15).
    async fn reopen(&mut self) -> std::io::Result<bool> {
        use std::os::unix::fs::MetadataExt as _;
        let own = self.file.get_ref().metadata().await?.ino();
        let Ok(named) = tokio::fs::metadata(&self.source.path).await else { return Ok(false) };
        if named.ino() == own {
            return Ok(false);
        }
        self.file = BufReader::new(File::open(&self.source.path).await?);
        self.partial.clear();
        Ok(true)
    }

    async fn runs(&self) -> bool {
        let sandboxes = self.source.runtime.list_pod(&self.source.pod_uid).await.unwrap_or_default();
        let mut containers = sandboxes.iter().flat_map(|sandbox| &sandbox.containers);
        containers.any(|c| {
            c.id == self.source.instance
                && matches!(c.state, ContainerState::Running { .. } | ContainerState::Created)
        })
    }

    fn render(&mut self, line: &[u8]) -> Option<Bytes> {
        let record = Record::parse(line)?;
        let time: Option<Timestamp> = record.time.parse().ok();
        if let (Some(since), Some(time)) = (self.options.since, time)
            && time < since
        {
            return None;
        }
        let mut out = Vec::with_capacity(record.text.len() + 40);
        if self.options.timestamps && self.line_begins {
            let text = time.map_or_else(|| record.time.to_owned(), |time| format!("{time:.9}"));
            out.extend_from_slice(text.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(record.text);
        if record.full {
            out.push(b'\n');
        }
        self.line_begins = record.full;
        if let Some(left) = &mut self.left {
            out.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= out.len() as u64;
        }
        Some(out.into())
    }
}

/// Where the last `lines` records begin.
async fn tail_start(file: &mut File, lines: u64) -> std::io::Result<u64> {
    let length = file.metadata().await?.len();
    if lines == 0 {
        return Ok(length);
    }
    let mut end = length;
    let mut found = 0;
    while end > 0 {
        let begin = end.saturating_sub(CHUNK);
        let mut chunk = vec![0; usize::try_from(end - begin).unwrap_or(0)];
        file.seek(std::io::SeekFrom::Start(begin)).await?;
        file.read_exact(&mut chunk).await?;
        for (at, _) in chunk.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = begin + at as u64 + 1;
            // The newline at the very end closes the last record and begins none.
            if after < length {
                found += 1;
                if found == lines {
                    return Ok(after);
                }
            }
        }
        end = begin;
    }
    Ok(0)
}
