//! How times and lists read.

use std::time::Duration;

/// `0s`, `0.02s`, `1.5s`, `1m20s`, `2h5m`, `3d4h`: as exact as its size makes sense.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        let digits = if seconds < 10 { 2 } else { 1 };
        // Less than a hundredth is still not nothing.
        let digits = if seconds == 0 && time.as_millis() < 10 { 3 } else { digits };
        let text = format!("{:.digits$}", time.as_secs_f64());
        let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        return format!("{text}s");
    }
    let two = |big: u64, unit: char, small: u64, low: char| match small {
        0 => format!("{big}{unit}"),
        _ => format!("{big}{unit}{small}{low}"),
    };
    match seconds {
        0..3600 => two(seconds / 60, 'm', seconds % 60, 's'),
        3600..86_400 => two(seconds / 3600, 'h', seconds / 60 % 60, 'm'),
        _ => two(seconds / 86_400, 'd', seconds / 3600 % 24, 'h'),
    }
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn list(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The lines of `text` with at most `width` columns each; only words longer than a line are broken. Control characters
/// are left out: what containers print must not steer a terminal.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let (mut lines, mut line, mut used) = (Vec::new(), String::new(), 0);
    for word in text.split_whitespace() {
        let word: Vec<char> = word.chars().filter(|letter| !letter.is_control()).collect();
        for (index, piece) in word.chunks(width).enumerate() {
            let gap = usize::from(used > 0 && index == 0);
            if used > 0 && (index > 0 || used + gap + piece.len() > width) {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            line.extend(piece);
            used += piece.len();
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_exact_as_their_size() {
        let words = [0, 4, 23, 1_500, 12_340, 80_000, 120_000, 7_500_000, 90_000_000];
        let words = words.map(|millis| span(Duration::from_millis(millis)));
        assert_eq!(words, ["0s", "0.004s", "0.02s", "1.5s", "12.3s", "1m20s", "2m", "2h5m", "1d1h"]);
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("a immeasurable x", 5), ["a", "immea", "surab", "le x"]);
        assert_eq!(wrap("", 5), [""]);
        assert_eq!(wrap("\u{1b}[31mred", 20), ["[31mred"]);
    }
}
