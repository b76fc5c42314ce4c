//! A chart as a picture: one SVG file without scripts and without anything from elsewhere, readable on light and on
//! dark ground. What it says comes from users, so every text is escaped.

use std::fmt::Write as _;
use std::time::Duration;

use crate::chart::{Bar, Chart, Mark, MarkKind, Shade, Track};
use crate::record::Kind;
use crate::render::{count, ticks};
use crate::words::{span, wrap};

const WIDTH: f64 = 1000.0;
const MARGIN: f64 = 28.0;
/// Where bars begin and end.
const LEFT: f64 = 208.0;
const RIGHT: f64 = 928.0;
const TOP: f64 = 104.0;
const ROW: f64 = 34.0;
const BAR: f64 = 18.0;
const LINE: f64 = 17.0;
/// The columns of the list of steps, and how many letters fit into them.
const WHO: f64 = 92.0;
const WHAT: f64 = 236.0;
const RULE: f64 = 560.0;
const RULE_TEXT: f64 = 606.0;
const NOTE_LETTERS: usize = 140;
const WHAT_LETTERS: usize = 50;
const RULE_LETTERS: usize = 57;

const CSS: &str = "
text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:#1f2328}
.ground{fill:#ffffff}.title{font-size:20px;font-weight:650}.small{font-size:12px}.dim{fill:#59636e}
.id{font-weight:650;fill:#59636e}.name{font-weight:600}.end{text-anchor:end}.mid{text-anchor:middle}
.grid{stroke:#d1d9e0;stroke-width:1}.lane{fill:#f6f8fa}.rule{stroke:#d1d9e0}
.waiting{fill:#d1d9e0}.backOff{fill:url(#hatch)}.hatch{fill:#fae3a8}.hatch-line{stroke:#bf8700;stroke-width:3}
.starting{fill:#8bc8ff}.running{fill:#3d8bfd}.ready{fill:#2da44e}.stopping{fill:#a475f9}
.sign{font-size:11px;font-weight:700;fill:#ffffff;text-anchor:middle}
.good{fill:#116329}.bad{fill:#cf222e}.hook{fill:#0550ae}.stop{fill:#6639ba}.halo{stroke:#ffffff;stroke-width:1.5}
.won{fill:#1a7f37}.lost{fill:#cf222e}.open{fill:#59636e}
@media (prefers-color-scheme:dark){
text{fill:#f0f6fc}.ground{fill:#0d1117}.dim,.id{fill:#9198a1}.grid,.rule{stroke:#3d444d}.lane{fill:#151b23}
.waiting{fill:#3d444d}.hatch{fill:#4b3a10}.hatch-line{stroke:#d29922}
.starting{fill:#2f6da8}.running{fill:#1f6feb}.ready{fill:#238636}.stopping{fill:#8957e5}
.sign{fill:#ffffff}.good{fill:#1a7f37}.bad{fill:#da3633}.hook{fill:#1158c7}.stop{fill:#6e40c9}.halo{stroke:#0d1117}
.won{fill:#3fb950}.lost{fill:#f85149}.open{fill:#9198a1}
}
";

/// One picture for one Pod.
pub fn render(chart: &Chart) -> String {
    let mut picture = Picture { chart, body: String::new() };
    let tracks = count(chart.tracks.len());
    let legend = TOP + tracks * ROW + 34.0;
    picture.head();
    picture.axis(TOP + tracks * ROW);
    for (index, track) in chart.tracks.iter().enumerate() {
        picture.track(track, TOP + count(index) * ROW, index);
    }
    let steps = picture.legend(legend);
    let steps = picture.note(steps);
    let height = picture.steps(steps) + MARGIN;
    let mut file = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" \
         height=\"{height:.0}\" role=\"img\" aria-labelledby=\"title\">\n<title id=\"title\">{}</title>\n",
        escape(&format!("{}: {}", chart.title, chart.outcome))
    );
    let _ = write!(file, "<style>{CSS}</style>\n<defs><pattern id=\"hatch\" width=\"7\" height=\"7\" ");
    file.push_str("patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\"><rect class=\"hatch\" ");
    file.push_str("width=\"7\" height=\"7\"/><line class=\"hatch-line\" y2=\"7\"/></pattern></defs>\n");
    let _ = writeln!(file, "<rect class=\"ground\" width=\"{WIDTH}\" height=\"{height:.0}\" rx=\"10\"/>");
    file.push_str(&picture.body);
    file.push_str("</svg>\n");
    file
}

struct Picture<'a> {
    chart: &'a Chart,
    body: String,
}

impl Picture<'_> {
    fn line(&mut self, text: &str) {
        self.body.push_str(text);
        self.body.push('\n');
    }

    fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let text = escape(text);
        let _ = writeln!(self.body, "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{text}</text>");
    }

    fn x(&self, at: Duration) -> f64 {
        LEFT + (RIGHT - LEFT) * (at.as_secs_f64() / self.chart.length.as_secs_f64()).min(1.0)
    }

    fn head(&mut self) {
        let chart = self.chart;
        self.text(MARGIN, 40.0, "title", &chart.title);
        let class = match chart.outcome.split([' ', ',']).next() {
            Some("Succeeded") => "won",
            Some("Running") if !chart.outcome.contains("not Ready") => "won",
            Some("Failed") => "lost",
            _ => "open",
        };
        self.text(MARGIN, 62.0, class, &chart.outcome);
    }

    fn axis(&mut self, bottom: f64) {
        for tick in ticks(self.chart.length.as_secs_f64(), 9) {
            let at = Duration::from_secs_f64(tick);
            let x = self.x(at);
            let top = TOP - 8.0;
            self.line(&format!(
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top:.1}\" y2=\"{bottom:.1}\"/>"
            ));
            self.text(x, TOP - 14.0, "small dim mid", &span(at));
        }
    }

    fn track(&mut self, track: &Track, y: f64, index: usize) {
        if index.is_multiple_of(2) {
            self.line(&format!(
                "<rect class=\"lane\" x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{ROW}\" rx=\"5\" \
                 opacity=\".6\"/>",
                MARGIN - 10.0,
                WIDTH - 2.0 * MARGIN + 20.0
            ));
        }
        let kind = match track.kind {
            None => "",
            Some(Kind::Init) => "init",
            Some(Kind::Sidecar) => "sidecar",
            Some(Kind::App) => "app",
            Some(Kind::Ephemeral) => "debug",
        };
        let base = y + ROW / 2.0 + 4.5;
        self.text(MARGIN, base, "small dim", kind);
        self.text(MARGIN + 56.0, base, "name", &cut(&track.name, 16));
        for bar in &track.bars {
            self.bar(bar, y + (ROW - BAR) / 2.0);
        }
        let last = track.bars.last().filter(|bar| self.chart.open && bar.to >= self.chart.length);
        if let Some(bar) = last {
            let (x, middle, class) = (RIGHT + 2.0, y + ROW / 2.0, class(bar.state));
            self.line(&format!(
                "<path class=\"{class}\" d=\"M{x:.1} {:.1}l10 {:.1}l-10 {:.1}z\"/>",
                middle - BAR / 2.0,
                BAR / 2.0,
                BAR / 2.0
            ));
        }
        let mut free = 0.0;
        for mark in &track.marks {
            free = self.mark(mark, free, y + ROW / 2.0) + 1.0;
        }
    }

    fn bar(&mut self, bar: &Bar, y: f64) {
        let (x, class) = (self.x(bar.from), class(bar.state));
        let width = (self.x(bar.to) - x).max(1.5);
        let said = format!("{}: {} to {}", bar.label, span(bar.from), span(bar.to));
        let round = if width > 8.0 { 3 } else { 0 };
        let height = if bar.state == Shade::Waiting { BAR / 3.0 } else { BAR };
        let y = y + (BAR - height) / 2.0;
        self.line(&format!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             rx=\"{round}\"><title>{}</title></rect>",
            escape(&said)
        ));
    }

    /// A sign in a disc, right of `free`; where it ends.
    fn mark(&mut self, mark: &Mark, free: f64, y: f64) -> f64 {
        let code =
            mark.label.strip_prefix("exit ").map(|rest| rest.split([',', ':']).next().unwrap_or_default());
        let (class, letter) = sign(mark.kind);
        let letter = code.unwrap_or(letter);
        let width = (7.0 * count(letter.chars().count()) + 8.0).max(15.0);
        let x = self.x(mark.at).max(free + width / 2.0);
        let said = escape(&format!("{} at {}", mark.label, span(mark.at)));
        self.line(&format!(
            "<g><title>{said}</title><rect class=\"{class} halo\" x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" \
             height=\"15\" rx=\"7.5\"/><text class=\"sign\" x=\"{x:.1}\" y=\"{:.1}\">{}</text></g>",
            x - width / 2.0,
            y - 7.5,
            y + 4.0,
            escape(letter)
        ));
        x + width / 2.0
    }

    /// What the colours and signs mean; where the next thing may begin.
    fn legend(&mut self, y: f64) -> f64 {
        let (mut x, mut y) = (MARGIN, y);
        let kinds = self.chart.mark_kinds();
        let exits = |kind: &MarkKind| {
            matches!(kind, MarkKind::ExitsWell | MarkKind::ExitsStopped | MarkKind::ExitsBadly)
        };
        let shades = self.chart.shades().into_iter().map(|shade| (class(shade), None, shade.word()));
        let marks = kinds.iter().filter(|kind| !exits(kind)).map(|kind| {
            let (class, letter) = sign(*kind);
            (class, Some(letter), kind.word())
        });
        let mut items: Vec<(&str, Option<&str>, &str)> = shades.chain(marks).collect();
        if kinds.iter().any(exits) {
            items.push(("good", Some("0"), "exit code"));
        }
        for (class, letter, word) in items {
            let width = 7.0 * count(word.len()) + 42.0;
            if x + width > WIDTH - MARGIN {
                (x, y) = (MARGIN, y + 24.0);
            }
            match letter {
                None => self.line(&format!(
                    "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"18\" height=\"12\" rx=\"3\"/>",
                    y - 10.0
                )),
                Some(letter) => self.line(&format!(
                    "<g><rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"15\" height=\"15\" rx=\"7.5\"/>\
                     <text class=\"sign\" x=\"{:.1}\" y=\"{y:.1}\">{}</text></g>",
                    x + 1.5,
                    y - 11.5,
                    x + 9.0,
                    escape(letter)
                )),
            }
            self.text(x + 24.0, y, "small dim", word);
            x += width;
        }
        y + 22.0
    }

    /// What the chart rests on; where the next thing may begin.
    fn note(&mut self, y: f64) -> f64 {
        let Some(note) = &self.chart.note else { return y };
        let lines = wrap(note, NOTE_LETTERS);
        for (index, line) in lines.iter().enumerate() {
            self.text(MARGIN, y + LINE * count(index), "small dim", line);
        }
        y + LINE * count(lines.len()) + 4.0
    }

    /// The list of steps; where it ends.
    fn steps(&mut self, mut y: f64) -> f64 {
        let chart = self.chart;
        let mut shown_at = None;
        let mut missing = chart.missing;
        for step in &chart.steps {
            if let Some(gap) = missing.filter(|gap| step.at >= gap.to) {
                y += LINE + 6.0;
                let (from, to) = (span(gap.from), span(gap.to));
                let text = format!("{} entries between {from} and {to} were not kept", gap.entries);
                self.text(WHO, y, "small dim", &text);
                missing = None;
            }
            self.line(&format!(
                "<line class=\"rule\" opacity=\".5\" x1=\"{MARGIN}\" x2=\"{:.0}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
                WIDTH - MARGIN
            ));
            let at = span(step.at);
            let base = y + LINE;
            if shown_at.as_ref() != Some(&at) {
                self.text(WHO - 14.0, base, "small dim end", &at);
            }
            shown_at = Some(at);
            self.text(WHO, base, "small name", &cut(&step.who, 19));
            let what = wrap(&step.what, WHAT_LETTERS);
            let says = wrap(step.rule.says, RULE_LETTERS);
            self.text(RULE, base, "small id", step.rule.id);
            for (index, line) in what.iter().enumerate() {
                self.text(WHAT, base + LINE * count(index), "small", line);
            }
            for (index, line) in says.iter().enumerate() {
                self.text(RULE_TEXT, base + LINE * count(index), "small dim", line);
            }
            y = base + LINE * count(what.len().max(says.len()) - 1) + 8.0;
        }
        y
    }
}

const fn class(shade: Shade) -> &'static str {
    match shade {
        Shade::Waiting => "waiting",
        Shade::BackOff => "backOff",
        Shade::Starting => "starting",
        Shade::Running => "running",
        Shade::Ready => "ready",
        Shade::Stopping => "stopping",
    }
}

const fn sign(kind: MarkKind) -> (&'static str, &'static str) {
    match kind {
        MarkKind::ProbePasses => ("good", "✓"),
        MarkKind::ProbeFails => ("bad", "✗"),
        MarkKind::PostStart => ("hook", "p"),
        MarkKind::PreStop => ("stop", "s"),
        MarkKind::HookFails | MarkKind::StartFails => ("bad", "!"),
        MarkKind::Term => ("stop", "T"),
        MarkKind::Kill => ("bad", "K"),
        MarkKind::ExitsWell => ("good", "✓"),
        MarkKind::ExitsStopped => ("stop", "✓"),
        MarkKind::ExitsBadly => ("bad", "✗"),
    }
}

fn cut(name: &str, most: usize) -> String {
    if name.chars().count() <= most {
        return name.to_owned();
    }
    let kept: String = name.chars().take(most - 1).collect();
    format!("{kept}…")
}

/// Text that cannot become markup; control characters, which XML does not allow, are replaced.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            control if control.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_user_writes_becomes_markup() {
        assert_eq!(escape("<a href='x'>&\"\u{1b}\n"), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;  ");
    }
}
