//! `outrigger doctor`: what this machine offers, and what is lost without what it lacks.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};

use outrigger_runtime::{Feature, features};

use crate::cli::DoctorOptions;
use crate::cluster::read_configuration;
use crate::failure::{Failure, MISSING_FEATURE};

/// Prints one line per feature, and per field of a KubeletConfiguration that has no effect (N33); exit 69 if nothing
/// can run here.
pub(crate) fn doctor(options: &DoctorOptions) -> Result<u8, Failure> {
    let configuration = options.kubelet_config.as_deref().map(read_configuration).transpose()?;
    let found = features();
    let mut out = std::io::stdout();
    // A reader that went away knows enough.
    let _ = out.write_all(report(&found, out.is_terminal()).as_bytes());
    if let (Some(found), Some(file)) = (&configuration, &options.kubelet_config) {
        for field in found.unimplemented() {
            let _ = writeln!(out, "lost     {field}: a field of {} that has no effect here", file.display());
        }
    }
    Ok(if verdict(&found).usable { 0 } else { MISSING_FEATURE })
}

/// What it comes to.
struct Verdict {
    usable: bool,
    lost: usize,
}

fn verdict(found: &[Feature]) -> Verdict {
    let lost = found.iter().filter(|feature| !feature.present && !feature.required).count();
    Verdict { usable: found.iter().all(|feature| feature.present || !feature.required), lost }
}

fn report(found: &[Feature], coloured: bool) -> String {
    const GREEN: u8 = 32;
    const YELLOW: u8 = 33;
    const RED: u8 = 31;
    let paint = |code: u8, word: &str| {
        if coloured { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_owned() }
    };
    let width = found.iter().map(|feature| feature.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for feature in found {
        let mark = match (feature.present, feature.required) {
            (true, _) => paint(GREEN, "ok     "),
            (false, true) => paint(RED, "MISSING"),
            (false, false) => paint(YELLOW, "lost   "),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{mark}  {:<width$}  {}", feature.name, feature.detail);
        if !feature.fix.is_empty() {
            let _ = writeln!(text, "{:7}  {:<width$}  fix: {}", "", "", feature.fix);
        }
    }
    let Verdict { usable, lost } = verdict(found);
    let last = match (usable, lost) {
        (false, _) => paint(RED, "Pods cannot run here."),
        (true, 0) => paint(GREEN, "Pods run here, with everything."),
        (true, _) => paint(GREEN, "Pods run here, without what is marked lost."),
    };
    let _ = writeln!(text, "{last}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_and_its_fix_are_said() {
        let feature = |name, present, required, detail: &str, fix| Feature {
            name,
            present,
            required,
            detail: detail.to_owned(),
            fix,
        };
        let found =
            [feature("root", true, true, "present", ""), feature("CAP_X", false, false, "less", "grant it")];
        let wanted = "ok       root   present
lost     CAP_X  less
                fix: grant it
Pods run here, without what is marked lost.
";
        assert_eq!(report(&found, false), wanted);
        assert!(report(&found, true).contains("\x1b[33mlost"));
        let missing = [feature("root", false, true, "no", "sudo")];
        assert!(report(&missing, false).ends_with("Pods cannot run here.\n"));
    }
}
