//! An answer for a terminal.

use super::{Answer, Standing};
use crate::render::text::Style;
use crate::words::wrap;

/// The whole text; ends with a line break.
pub fn render(answer: &Answer, style: Style) -> String {
    let paint = |colour: &str, text: &str| {
        if style.colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    };
    let colour = match answer.standing {
        Standing::Fine => "32",
        Standing::Blocked => "31",
        Standing::Ending => "35",
        Standing::Ended => "33",
    };
    let verdict = match answer.standing {
        Standing::Fine => "Nothing blocks it.",
        Standing::Blocked => "What blocks it:",
        Standing::Ending => "What it waits for:",
        Standing::Ended => "Why:",
    };
    let name = paint("1", &format!("pod/{}", answer.pod));
    let mut lines = vec![format!("{name} {}", paint(colour, &answer.summary)), verdict.to_owned()];
    for cause in &answer.causes {
        lines.push(String::new());
        for (depth, link) in cause.chain.iter().enumerate() {
            let lead =
                if depth == 0 { "  ".to_owned() } else { format!("  {}└─ ", "   ".repeat(depth - 1)) };
            push(&mut lines, &lead, link, style.width, |text| text.to_owned());
        }
        if let Some(help) = &cause.help {
            let indent = "   ".repeat(cause.chain.len().saturating_sub(1));
            push(&mut lines, &format!("  {indent}→ "), help, style.width, |text| paint("2", text));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

fn push(lines: &mut Vec<String>, lead: &str, text: &str, width: usize, paint: impl Fn(&str) -> String) {
    let indent = lead.chars().count();
    for (index, line) in wrap(text, width.saturating_sub(indent).max(12)).iter().enumerate() {
        let lead = if index == 0 { lead.to_owned() } else { " ".repeat(indent) };
        lines.push(format!("{lead}{}", paint(line)));
    }
}
