//! `outrigger doctor`: what this machine offers, and what is lost without what it lacks.

use outrigger_runtime::features;

use crate::failure::MISSING_FEATURE;

/// Prints one line per feature; exit 69 if nothing can run here.
pub(crate) fn doctor() -> u8 {
    let found = features();
    for feature in &found {
        let mark = match (feature.present, feature.required) {
            (true, _) => "ok     ",
            (false, true) => "MISSING",
            (false, false) => "lost   ",
        };
        let fix = if feature.fix.is_empty() { String::new() } else { format!(" (fix: {})", feature.fix) };
        println!("{mark}  {:<20} {}{fix}", feature.name, feature.detail);
    }
    let usable = found.iter().all(|feature| feature.present || !feature.required);
    if usable { 0 } else { MISSING_FEATURE }
}
