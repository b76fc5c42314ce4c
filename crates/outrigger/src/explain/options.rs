//! The flags of `outrigger explain`, and what they say about a container.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use outrigger_pod_lifecycle::ProbeKind;

/// How a chart is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For a terminal.
    Text,
    /// For programs; numbers are seconds.
    Json,
    /// A picture.
    Svg,
}

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
What is assumed, as nobody can know it: images are there and starting takes no time; an init container exits with 0
after 1s; a sidecar serves until it is stopped; an app container serves too if its restart policy is Always, and else
exits with 0 after 5s; whoever serves leaves TERM at once with 143; probes pass and hooks succeed at once.
Change it with the flags above. `--play` says everything about one container in one line:

  --play 'db: pull takes 8, startup fails until 12 \"connection refused\", term 0 after 2'
  --play 'work: exit 1 after 3 | exit 137 after 5, oom | serve'      (one run after another)
  --play 'app: start fails ErrImagePull twice \"no such host\"'")]
pub(crate) struct ExplainOptions {
    /// Manifests: files, folders, or - for standard input. Pods and the Pod templates of workloads are explained.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Only this Pod, or the template of this workload.
    #[arg(long, value_name = "NAME")]
    pub(crate) pod: Option<String>,
    /// How long a container runs before it exits with 0: app=30s, or app=forever. Can be given several times.
    #[arg(long, value_name = "CONTAINER=TIME", value_parser = runs)]
    pub(crate) runs: Vec<Runs>,
    /// An attempt that ends badly: app@1=3 exits with 3 on its first run; @* is every run, oom instead of a code runs
    /// out of memory.
    #[arg(long, value_name = "CONTAINER@ATTEMPT=CODE", value_parser = fail)]
    pub(crate) fail: Vec<Fail>,
    /// A probe that fails: app/liveness@30s from that age on, db/startup@0s-12s between two, app/readiness always.
    #[arg(long, value_name = "CONTAINER/PROBE[@FROM[-UNTIL]]", value_parser = probe_fail)]
    pub(crate) probe_fail: Vec<ProbeFail>,
    /// Delete the Pod after so long.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) delete_at: Option<Duration>,
    /// Everything about one container, in the language below.
    #[arg(long, value_name = "CONTAINER: ...")]
    pub(crate) play: Vec<String>,
    /// Look no further than this; 10m, or what a deadline or the deletion need beyond.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) until: Option<Duration>,
    /// How to write it.
    #[arg(long, short, value_enum, default_value_t = Form::Text)]
    pub(crate) output: Form,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Runs {
    pub(crate) container: String,
    /// `None`: until it is stopped.
    pub(crate) time: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fail {
    pub(crate) container: String,
    /// From 0; `None`: each.
    pub(crate) attempt: Option<usize>,
    pub(crate) code: i32,
    pub(crate) oom: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProbeFail {
    pub(crate) container: String,
    pub(crate) kind: ProbeKind,
    pub(crate) from: Duration,
    pub(crate) until: Option<Duration>,
}

/// A number of seconds, or a number with a unit; fractions are allowed.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let number: f64 =
        digits.parse().map_err(|_| format!("{text:?} is no time; write 90s, 1.5s, 5m or 1h"))?;
    let unit = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        other => return Err(format!("{other:?} is no unit of time; use ms, s, m or h")),
    };
    Duration::try_from_secs_f64(number * unit).map_err(|_| format!("{text:?} is no time to wait for"))
}

fn runs(text: &str) -> Result<Runs, String> {
    let (container, after) = text.split_once('=').ok_or("write CONTAINER=TIME, like app=30s")?;
    let time = if after == "forever" { None } else { Some(time(after)?) };
    Ok(Runs { container: container.to_owned(), time })
}

fn fail(text: &str) -> Result<Fail, String> {
    let form = "write CONTAINER@ATTEMPT=CODE, like app@1=3; the first attempt is 1";
    let (container, rest) = text.split_once('@').ok_or(form)?;
    let (attempt, code) = rest.split_once('=').ok_or(form)?;
    let attempt = match attempt {
        "*" => None,
        number => match number.parse::<usize>() {
            Ok(number @ 1..=100) => Some(number - 1),
            _ => return Err(format!("{number:?} is no attempt; they count from 1 to 100, * is each")),
        },
    };
    let oom = code.eq_ignore_ascii_case("oom");
    let code = if oom { Ok(137) } else { code.parse() };
    match code {
        Ok(code @ 0..=255) => Ok(Fail { container: container.to_owned(), attempt, code, oom }),
        _ => Err("an exit code is a number from 0 to 255, or oom".to_owned()),
    }
}

fn probe_fail(text: &str) -> Result<ProbeFail, String> {
    let form = "write CONTAINER/PROBE, like app/liveness@30s; probes are startup, liveness and readiness";
    let (container, rest) = text.split_once('/').ok_or(form)?;
    let (kind, times) = rest.split_once('@').map_or((rest, None), |(kind, times)| (kind, Some(times)));
    let kind = match kind {
        "startup" => ProbeKind::Startup,
        "liveness" => ProbeKind::Liveness,
        "readiness" => ProbeKind::Readiness,
        other => return Err(format!("{other:?} is no probe; {form}")),
    };
    let (from, until) = match times.map(|times| times.split_once('-').unwrap_or((times, ""))) {
        None => (Duration::ZERO, None),
        Some((from, "")) => (time(from)?, None),
        Some((from, until)) => (time(from)?, Some(time(until)?)),
    };
    Ok(ProbeFail { container: container.to_owned(), kind, from, until })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read() {
        let seconds = Duration::from_secs;
        assert_eq!(runs("app=1.5s").unwrap().time, Some(Duration::from_millis(1500)));
        assert_eq!(runs("app=forever").unwrap().time, None);
        let oom = Fail { container: "a".into(), attempt: None, code: 137, oom: true };
        assert_eq!(fail("a@*=oom").unwrap(), oom);
        assert_eq!(fail("a@2=7").unwrap().attempt, Some(1));
        let found = probe_fail("a/startup@2-10s").unwrap();
        assert_eq!((found.from, found.until), (seconds(2), Some(seconds(10))));
        assert_eq!(probe_fail("a/readiness").unwrap().until, None);
    }

    #[test]
    fn mistakes_say_how_to_write_it() {
        for wrong in [fail("app=1"), fail("app@0=1"), fail("app@1=300")] {
            assert!(wrong.unwrap_err().len() > 20);
        }
        assert!(probe_fail("app/ready").unwrap_err().contains("startup, liveness and readiness"));
        assert!(time("soon").is_err() && time("-5").is_err() && time("1y").is_err());
    }
}
