//! A chart for a terminal: tracks of one line each, a legend, then the steps with their rules.

use std::time::Duration;

use crate::chart::{Chart, Mark, MarkKind, Shade, Track};
use crate::record::Kind;
use crate::render::{count, ticks};
use crate::words::{span, wrap};

/// How wide, and whether with colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Columns of the terminal; less than 40 are treated as 40.
    pub width: usize,
    /// ANSI colours.
    pub colour: bool,
}

/// The narrowest chart drawn.
const NARROWEST: usize = 40;
/// The longest name shown whole.
const LONGEST_NAME: usize = 24;
/// The column of kinds of containers.
const KIND: usize = 8;
/// The column of times in the list of steps.
const TIME: usize = 8;

const DIM: &str = "2";
const BOLD: &str = "1";

/// The whole text; ends with a line break.
pub fn render(chart: &Chart, style: Style) -> String {
    let style = Style { width: style.width.max(NARROWEST), ..style };
    let names = chart.tracks.iter().map(|track| track.name.chars().count()).max().unwrap_or(0);
    let page = Page { chart, style, name: names.min(LONGEST_NAME).min(style.width / 4) };
    let mut lines = vec![page.title(), String::new()];
    lines.extend(page.axis());
    lines.extend(chart.tracks.iter().map(|track| page.track(track)));
    lines.push(String::new());
    lines.extend(page.legend());
    lines.push(String::new());
    lines.extend(page.note());
    lines.extend(page.steps());
    let mut text = String::new();
    for line in lines {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

struct Page<'a> {
    chart: &'a Chart,
    style: Style,
    /// The column of names.
    name: usize,
}

/// One column of a track.
#[derive(Clone, Copy)]
struct Cell {
    letter: char,
    colour: &'static str,
}

const BLANK: Cell = Cell { letter: ' ', colour: "" };

const fn of_shade(shade: Shade) -> Cell {
    let (letter, colour) = match shade {
        Shade::Waiting => ('·', DIM),
        Shade::BackOff => ('┄', "33"),
        Shade::Starting => ('▁', "36"),
        Shade::Running => ('▄', "34"),
        Shade::Ready => ('█', "32"),
        Shade::Stopping => ('▒', "35"),
    };
    Cell { letter, colour }
}

const fn of_mark(kind: MarkKind) -> Cell {
    let (letter, colour) = match kind {
        MarkKind::ProbePasses => ('✓', "1;32"),
        MarkKind::ProbeFails => ('✗', "1;31"),
        MarkKind::PostStart => ('p', "1;36"),
        MarkKind::PreStop => ('s', "1;35"),
        MarkKind::HookFails | MarkKind::StartFails => ('!', "1;31"),
        MarkKind::Term => ('T', "1;35"),
        MarkKind::Kill => ('K', "1;31"),
        MarkKind::ExitsWell => ('●', "1;32"),
        MarkKind::ExitsStopped => ('●', "1;35"),
        MarkKind::ExitsBadly => ('●', "1;31"),
    };
    Cell { letter, colour }
}

impl Page<'_> {
    fn paint(&self, colour: &str, text: &str) -> String {
        if self.style.colour && !colour.is_empty() && !text.trim().is_empty() {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn title(&self) -> String {
        let chart = self.chart;
        format!("{} {}", self.paint(BOLD, &chart.title), self.outcome(&chart.outcome))
    }

    fn outcome(&self, outcome: &str) -> String {
        let colour = match outcome.split([' ', ',']).next() {
            Some("Succeeded") => "32",
            Some("Running") if !outcome.contains("not Ready") => "32",
            Some("Failed") => "31",
            _ => "33",
        };
        self.paint(colour, outcome)
    }

    /// What stands left of the bars.
    fn gutter(&self) -> usize {
        2 + KIND + 1 + self.name + 2
    }

    /// Columns for bars; behind them is room for the arrow and the digits of an exit code.
    fn columns(&self) -> usize {
        self.style.width.saturating_sub(self.gutter() + 4).max(10)
    }

    /// The column of a moment, counted from the first bar's.
    fn column(&self, at: Duration) -> usize {
        let columns = self.columns();
        let exact = at.as_secs_f64() / self.chart.length.as_secs_f64() * count(columns);
        (0..columns).rev().find(|column| count(*column) <= exact + 1e-9).unwrap_or(0)
    }

    fn axis(&self) -> Vec<String> {
        let (gutter, columns) = (self.gutter(), self.columns());
        let mut labels = vec![' '; gutter + columns + 8];
        let mut lines = labels.clone();
        let mut free = 0;
        for tick in ticks(self.chart.length.as_secs_f64(), columns / 10) {
            let at = Duration::from_secs_f64(tick);
            let column = gutter + self.column(at);
            lines[column] = '╷';
            let label = span(at);
            if column >= free && column + label.len() <= labels.len() {
                free = column + label.len() + 1;
                for (cell, letter) in labels[column..].iter_mut().zip(label.chars()) {
                    *cell = letter;
                }
            }
        }
        [labels, lines].map(|cells| self.paint(DIM, cells.into_iter().collect::<String>().trim_end())).into()
    }

    fn track(&self, track: &Track) -> String {
        let kind = match track.kind {
            None => "",
            Some(Kind::Init) => "init",
            Some(Kind::Sidecar) => "sidecar",
            Some(Kind::App) => "app",
            Some(Kind::Ephemeral) => "debug",
        };
        let name = fitted(&track.name, self.name);
        let (kind, name) = (format!("{kind:<KIND$}"), format!("{name:<width$}", width = self.name));
        let head = format!("  {} {}  ", self.paint(DIM, &kind), self.paint(BOLD, &name));
        format!("{head}{}", self.cells(track))
    }

    fn cells(&self, track: &Track) -> String {
        let columns = self.columns();
        let mut cells = vec![BLANK; columns + 4];
        for bar in &track.bars {
            let from = self.column(bar.from);
            let to = if bar.to >= self.chart.length { columns } else { self.column(bar.to) };
            cells[from..to.max(from + 1)].fill(of_shade(bar.state));
        }
        let goes_on = self.chart.open && track.bars.last().is_some_and(|bar| bar.to >= self.chart.length);
        if goes_on {
            cells[columns] = Cell {
                letter: '→',
                colour: track.bars.last().map_or("", |bar| of_shade(bar.state).colour),
            };
        }
        let mut marks: Vec<&Mark> = track.marks.iter().collect();
        // Of two at one place the more telling one is seen; exit codes find a place behind it.
        marks.sort_by_key(|mark| mark.kind);
        let mut taken = vec![false; cells.len()];
        let (codes, signs): (Vec<&Mark>, Vec<&Mark>) =
            marks.into_iter().partition(|mark| track.kind.is_some() && mark.label.starts_with("exit "));
        for mark in signs {
            let at = self.column(mark.at);
            (cells[at], taken[at]) = (of_mark(mark.kind), true);
        }
        for mark in codes {
            self.put_code(&mut cells, &mut taken, mark);
        }
        let mut text = String::new();
        let mut rest = cells.as_slice();
        while let Some(first) = rest.first() {
            let same = rest.iter().take_while(|cell| cell.colour == first.colour).count();
            let letters: String = rest[..same].iter().map(|cell| cell.letter).collect();
            text.push_str(&self.paint(first.colour, &letters));
            rest = &rest[same..];
        }
        text
    }

    /// An exit shows its code, where there is room for all of its digits.
    fn put_code(&self, cells: &mut [Cell], taken: &mut [bool], mark: &Mark) {
        let cell = of_mark(mark.kind);
        let code = mark.label.trim_start_matches("exit ").split([',', ':']).next().unwrap_or_default();
        let column = self.column(mark.at);
        let at = (column..column + 2).find(|at| !taken[*at]).unwrap_or(column);
        let end = at + code.len();
        if end > cells.len() || taken[at..end].contains(&true) {
            cells[at] = cell;
            taken[at] = true;
            return;
        }
        for (place, letter) in cells[at..end].iter_mut().zip(code.chars()) {
            *place = Cell { letter, ..cell };
        }
        taken[at..end].fill(true);
    }

    fn legend(&self) -> Vec<String> {
        let shades = self.chart.shades().into_iter().map(|shade| (of_shade(shade), shade.word()));
        let exits = |kind: &MarkKind| {
            matches!(kind, MarkKind::ExitsWell | MarkKind::ExitsStopped | MarkKind::ExitsBadly)
        };
        let kinds = self.chart.mark_kinds();
        // Only containers have codes.
        let of_containers = self.chart.tracks.iter().filter(|track| track.kind.is_some());
        let codes = of_containers.flat_map(|track| &track.marks).any(|mark| exits(&mark.kind));
        let marks = kinds.iter().filter(|kind| !exits(kind)).map(|kind| (of_mark(*kind), kind.word()));
        let mut items: Vec<(Cell, &str)> = shades.chain(marks).collect();
        if codes {
            items.push((Cell { letter: '#', colour: BOLD }, "exit code"));
        }
        let (mut lines, mut used) = (vec!["  ".to_owned()], 2);
        for (cell, word) in items {
            let width = word.chars().count() + 5;
            if used + width > self.style.width {
                lines.push("  ".to_owned());
                used = 2;
            }
            used += width;
            if let Some(line) = lines.last_mut() {
                let sign = self.paint(cell.colour, &cell.letter.to_string());
                line.push_str(&format!("{sign} {}   ", self.paint(DIM, word)));
            }
        }
        lines
    }

    fn note(&self) -> Vec<String> {
        let Some(note) = &self.chart.note else { return Vec::new() };
        let lines = wrap(note, self.style.width.saturating_sub(3)).into_iter();
        let lines = lines.map(|line| format!("  {}", self.paint(DIM, &line)));
        lines.chain([String::new()]).collect()
    }

    fn steps(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut missing = self.chart.missing;
        let mut shown_at = None;
        for step in &self.chart.steps {
            if let Some(gap) = missing.filter(|gap| step.at >= gap.to) {
                let (from, to) = (span(gap.from), span(gap.to));
                let text = format!("{} entries between {from} and {to} were not kept", gap.entries);
                lines.push(format!("{:>TIME$}  {}", "…", self.paint(DIM, &text)));
                missing = None;
            }
            let at = span(step.at);
            let time = if shown_at.as_ref() == Some(&at) { String::new() } else { at.clone() };
            shown_at = Some(at);
            let name = fitted(&step.who, self.name);
            let who = self.paint(BOLD, &format!("{name:<width$}", width = self.name));
            let indent = TIME + 2 + self.name + 2;
            let room = self.style.width.saturating_sub(indent + 1).max(12);
            for (index, line) in wrap(&step.what, room).iter().enumerate() {
                if index == 0 {
                    lines.push(format!("{time:>TIME$}  {who}  {line}"));
                } else {
                    lines.push(format!("{:indent$}{line}", ""));
                }
            }
            let rule = format!("{} {}", step.rule.id, step.rule.says);
            lines.extend(
                wrap(&rule, room).iter().map(|line| format!("{:indent$}{}", "", self.paint(DIM, line))),
            );
        }
        lines
    }
}

/// The name, cut if it is too long.
fn fitted(name: &str, width: usize) -> String {
    if name.chars().count() <= width {
        return name.to_owned();
    }
    let kept: String = name.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}
