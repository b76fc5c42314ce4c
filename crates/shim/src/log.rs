//! A container's log in CRI form (R14.7): `<time> <stream> <P|F> <line>`.

use std::fs::File;
use std::io::{self, Write};

/// The longest piece written as one record; longer lines are split and marked partial.
const PIECE: usize = 16 * 1024;

/// An open log file.
pub struct Log {
    path: String,
    file: Option<File>,
}

/// The unfinished line of one stream.
#[derive(Default)]
pub struct Line(Vec<u8>);

impl Log {
    /// Opens or creates the file. A log that cannot be opened is lost, its container is not.
    pub fn open(path: &str) -> Self {
        let mut log = Self { path: path.to_owned(), file: None };
        log.reopen();
        log
    }

    /// Goes on in the file that now has the name (rotation).
    pub fn reopen(&mut self) {
        use std::os::unix::fs::OpenOptionsExt;
        let options = File::options().append(true).create(true).mode(0o640).open(&self.path);
        self.file = options.ok();
    }

    /// Takes output of a stream, writes whole lines.
    pub fn take(&mut self, line: &mut Line, stream: &str, mut bytes: &[u8], now: i64) {
        let mut out = Vec::with_capacity(bytes.len() + 64);
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.push(line, stream, &bytes[..end], now, &mut out);
            record(&mut out, stream, "F", &line.0, now);
            line.0.clear();
            bytes = &bytes[end + 1..];
        }
        self.push(line, stream, bytes, now, &mut out);
        self.write(&out);
    }

    /// The stream is over: what is left is a line too.
    pub fn finish(&mut self, line: &mut Line, stream: &str, now: i64) {
        if line.0.is_empty() {
            return;
        }
        let mut out = Vec::new();
        record(&mut out, stream, "F", &line.0, now);
        line.0 = Vec::new();
        self.write(&out);
    }

    fn push(&self, line: &mut Line, stream: &str, mut bytes: &[u8], now: i64, out: &mut Vec<u8>) {
        while line.0.len() + bytes.len() > PIECE {
            let (piece, rest) = bytes.split_at(PIECE - line.0.len());
            line.0.extend_from_slice(piece);
            record(out, stream, "P", &line.0, now);
            line.0.clear();
            bytes = rest;
        }
        line.0.extend_from_slice(bytes);
    }

    fn write(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let written = match &mut self.file {
            Some(file) => file.write_all(bytes),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        // A full disk loses log lines, as everywhere; the next write tries again.
        let _ = written;
    }
}

fn record(out: &mut Vec<u8>, stream: &str, tag: &str, text: &[u8], now: i64) {
    timestamp(out, now);
    out.extend_from_slice(b" ");
    out.extend_from_slice(stream.as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(tag.as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(text);
    out.extend_from_slice(b"\n");
}

/// RFC 3339 in UTC with nine decimals. The civil date is Howard Hinnant's `civil_from_days`.
fn timestamp(out: &mut Vec<u8>, now: i64) {
    let (seconds, nanos) = (now.div_euclid(1_000_000_000), now.rem_euclid(1_000_000_000));
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    let _ = write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z");
}

#[cfg(test)]
mod tests {
    use super::*;

    // R14.7
    #[test]
    fn times_are_utc_with_nine_decimals() {
        let text = |now: i64| {
            let mut out = Vec::new();
            timestamp(&mut out, now);
            String::from_utf8(out).unwrap_or_default()
        };
        assert_eq!(text(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(text(1_709_210_096_000_000_007), "2024-02-29T12:34:56.000000007Z");
    }

    // R14.7
    #[test]
    fn lines_are_records_and_long_ones_are_split() {
        let dir = std::env::temp_dir().join(format!("outrigger-shim-log-{}", std::process::id()));
        let path = dir.to_str().unwrap_or_default().to_owned();
        let mut log = Log::open(&path);
        let mut line = Line::default();
        log.take(&mut line, "stdout", b"one\ntw", 0);
        log.take(&mut line, "stdout", b"o\n", 0);
        log.take(&mut line, "stdout", &[b'x'; 20_000], 0);
        log.finish(&mut line, "stdout", 0);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let _ = std::fs::remove_file(&path);
        let tags: Vec<&str> = text.lines().filter_map(|line| line.split(' ').nth(2)).collect();
        assert_eq!(tags, ["F", "F", "P", "F"]);
        assert!(text.contains(" stdout F two\n"));
    }
}
