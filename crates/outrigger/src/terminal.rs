//! Where text goes: how wide it is there, and whether colours are wanted.

use std::io::{IsTerminal as _, Write as _, stdout};

use outrigger_explain::render::text::Style;

use crate::failure::Failure;

/// The width of what is no terminal.
const PAGE: usize = 100;

/// For standard output: the terminal's width, or what COLUMNS says; colours only on a terminal, and only unless
/// NO_COLOR is set to something.
pub(crate) fn style() -> Style {
    let terminal = stdout().is_terminal();
    let size = rustix::termios::tcgetwinsize(stdout()).ok().map(|size| usize::from(size.ws_col));
    let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let width = size.filter(|columns| terminal && *columns > 0).or(columns).unwrap_or(PAGE);
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    Style { width, colour: terminal && !refused && !dumb }
}

/// Writes to standard output. A reader that has seen enough is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(Failure::doing("cannot write")),
    }
}
