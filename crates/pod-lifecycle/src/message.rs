//! Texts with rules of their own.

/// What a termination message may hold at most (R9.31).
const FILE_LIMIT: usize = 4096;
/// What the last log lines may fill (R9.32).
const LOG_LIMIT: usize = 2048;
/// How many log lines stand in for a message (R9.32).
const LOG_LINES: usize = 80;
/// What all messages of a Pod may hold together (R9.33).
const POD_BUDGET: usize = 12_288;

/// The message of an ended instance: the end of its message file, or of its log if it may stand in, cut to the
/// instance's share of the Pod's budget (R9.31-R9.33).
///
/// `log` is given only with policy FallbackToLogsOnError, for an instance that started and failed. `containers` is how
/// many containers the Pod has.
pub fn termination_message(file: &[u8], log: Option<&[u8]>, containers: usize) -> String {
    let tail =
        |bytes: &[u8], limit: usize| -> Vec<u8> { bytes[bytes.len().saturating_sub(limit)..].to_vec() };
    let bytes = match log {
        Some(log) if file.is_empty() => {
            let trimmed = log.strip_suffix(b"\n").unwrap_or(log);
            let starts = trimmed.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
            let from = starts.map(|(at, _)| at + 1).nth(LOG_LINES - 1).unwrap_or(0);
            tail(&log[from..], LOG_LIMIT)
        }
        _ => tail(file, FILE_LIMIT),
    };
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    let mut share = POD_BUDGET / containers.max(1);
    if text.len() > share {
        while !text.is_char_boundary(share) {
            share -= 1;
        }
        text.truncate(share);
    }
    text
}

/// Whole seconds as Go writes a duration (R5.13): `10s`, `1m20s`, `5m0s`.
pub fn go_duration(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // R9.31, R9.32, R9.33
    #[test]
    fn a_message_is_the_end_of_the_file_or_of_the_log() {
        assert_eq!(termination_message(b"why", Some(b"log\n"), 1), "why");
        let lines: String = (0..100).map(|n| format!("{n}\n")).collect();
        let text = termination_message(b"", Some(lines.as_bytes()), 1);
        assert!(text.starts_with("20\n") && text.ends_with("99\n"), "{text}");
        assert_eq!(termination_message(&[b'a'; 5000], None, 1).len(), 4096);
        assert_eq!(termination_message(&[b'a'; 5000], None, 12).len(), 1024);
    }

    // R5.13
    #[test]
    fn delays_read_as_go_writes_them() {
        let words = [10, 80, 160, 300].map(go_duration);
        assert_eq!(words, ["10s", "1m20s", "2m40s", "5m0s"]);
    }
}
