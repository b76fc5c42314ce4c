//! `outrigger doctor`: what this machine offers, and what is lost without what it lacks.

use outrigger_runtime::features;

use crate::cli::DoctorOptions;
use crate::cluster::read_configuration;
use crate::failure::{Failure, MISSING_FEATURE};

/// Prints one line per feature, and per field of a KubeletConfiguration that has no effect (N33); exit 69 if nothing
/// can run here.
pub(crate) fn doctor(options: &DoctorOptions) -> Result<u8, Failure> {
    let configuration = options.kubelet_config.as_deref().map(read_configuration).transpose()?;
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
    if let (Some(found), Some(file)) = (&configuration, &options.kubelet_config) {
        for field in found.unimplemented() {
            println!("lost     {field:<20} a field of {} that has no effect here", file.display());
        }
    }
    Ok(if usable { 0 } else { MISSING_FEATURE })
}
