//! Container logs: reading (R14.8, R14.14 to R14.16), and rotation (R14.9).

mod read;
mod rotate;

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

pub(crate) use read::{Source, open};
pub(crate) use rotate::rotate_forever;

/// Highest `<n>` among `<n>.log`, plus one; 0 if there is none (R5.31).
pub(crate) fn next_number(folder: &Path) -> u32 {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let numbers = names.filter_map(|entry| {
        let name = entry.file_name();
        name.to_str()?.strip_suffix(".log")?.parse::<u32>().ok()
    });
    numbers.max().map_or(0, |number| number.saturating_add(1))
}

/// At most the last `limit` bytes of a file; nothing if it cannot be read.
pub(crate) fn read_end(path: &Path, limit: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(limit)))?;
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().unwrap_or_default()
}

/// The text of log records without their heads; a first record cut in half is left out.
pub(crate) fn plain_text(records: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for line in records.split_inclusive(|byte| *byte == b'\n') {
        if let Some(record) = Record::parse(line) {
            text.extend_from_slice(record.text);
            if record.full {
                text.push(b'\n');
            }
        }
    }
    text
}

/// One record of a log file (R14.8).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) time: &'a str,
    /// Whether the text line ends here.
    pub(crate) full: bool,
    pub(crate) text: &'a [u8],
}

impl<'a> Record<'a> {
    /// `None` if the line is not a record.
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let time = std::str::from_utf8(parts.next()?).ok()?;
        let stream = parts.next()?;
        let tag = parts.next()?;
        if !matches!(stream, b"stdout" | b"stderr") {
            return None;
        }
        Some(Self { time, full: !tag.starts_with(b"P"), text: parts.next().unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R14.8
    #[test]
    fn records() {
        let text = plain_text(b"alf a record\nt1 stdout P ab\nt2 stdout F c d\nt3 stderr F \n");
        assert_eq!(text, b"abc d\n\n");
    }

    /// R5.31
    #[test]
    fn numbers() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(next_number(folder.path()), 0);
        for name in ["0.log", "7.log", "9.log.20260101-000000"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(next_number(folder.path()), 8);
    }
}
