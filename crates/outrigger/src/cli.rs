//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ipnet::Ipv4Net;

use crate::ask::{TimelineOptions, WhyOptions};
use crate::explain::ExplainOptions;
use crate::store::StoreChoice;

/// Kubernetes for Pods in one program.
#[derive(Debug, Parser)]
#[command(version, about, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    /// What to tell on standard error: error, warn, info, debug, or filters like outrigger_kubelet=debug.
    #[arg(long, global = true, default_value = "warn")]
    pub(crate) log: String,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a cluster on this machine and print one line with "ready" when kubectl can use it.
    Up(UpOptions),
    /// Run manifests in a private cluster, show what they print, exit with their exit code, leave nothing behind.
    Run(RunOptions),
    /// Stop what `up` started, containers included.
    Down(DownOptions),
    /// Say what this machine offers containers, and what it lacks.
    Doctor(DoctorOptions),
    /// Manage the images on this machine.
    Image(ImageOptions),
    /// Show what will happen to the Pods of a manifest, with the rule behind each step. Needs no cluster.
    Explain(ExplainOptions),
    /// Say what blocks a Pod, by name, and what would unblock it.
    Why(WhyOptions),
    /// Show what happened to a Pod, as its node recorded it.
    Timeline(TimelineOptions),
}

/// Where the cluster keeps everything, unless told otherwise.
pub(crate) const DATA_DIR: &str = "/var/lib/outrigger";

/// Where Pods of a cluster that stays have their addresses, unless told otherwise.
pub(crate) const POD_CIDR: Ipv4Net = Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 88, 0, 0), 16);

#[derive(Args, Clone, Debug)]
pub(crate) struct NodeOptions {
    /// This node's name; the machine's host name unless given.
    #[arg(long)]
    pub(crate) node_name: Option<String>,
    /// Addresses for Pods; 10.88.0.0/16 for `up`, a range no route leads to for `run`, unless given.
    #[arg(long, value_name = "RANGE")]
    pub(crate) pod_cidr: Option<Ipv4Net>,
    /// Addresses for Services.
    #[arg(long, default_value = "10.0.0.0/24")]
    pub(crate) service_cidr: String,
    /// Registry mirrors in containerd's form: a folder of <host>/hosts.toml.
    #[arg(long, value_name = "DIR")]
    pub(crate) registry_config: Option<PathBuf>,
    /// Settings of the node: a KubeletConfiguration file. Flags win over it.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubelet_config: Option<PathBuf>,
    /// A folder with Pods of the node's own, one per file.
    #[arg(long, value_name = "DIR")]
    pub(crate) pod_manifest_path: Option<PathBuf>,
    /// Port of the node's own HTTPS API: 10250, or any free one if that is taken. 0 for any free one.
    #[arg(long, value_name = "PORT")]
    pub(crate) kubelet_port: Option<u16>,
    /// On SIGTERM stop the Pods first and take at most so long; without it they run on.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) shutdown_grace: Option<Duration>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct UpOptions {
    /// Everything the cluster keeps.
    #[arg(long, value_name = "DIR", default_value = DATA_DIR, value_parser = absolute)]
    pub(crate) data_dir: PathBuf,
    /// Where the API is served.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:6443")]
    pub(crate) listen: SocketAddr,
    /// Where to write the kubeconfig; <data-dir>/kubeconfig unless given.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) store: StoreChoice,
    /// Go on in the background once ready.
    #[arg(long)]
    pub(crate) detach: bool,
    #[command(flatten)]
    pub(crate) node: NodeOptions,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct RunOptions {
    /// Manifests: files, folders, or - for standard input.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Stop after so long and exit with 124: 90, 90s, 5m, 1h.
    #[arg(long, value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    /// Leave the data folder for a look.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Keep images here between runs, so that they are pulled once.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/outrigger-images", value_parser = absolute)]
    pub(crate) image_dir: PathBuf,
    #[command(flatten)]
    pub(crate) node: NodeOptions,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct DownOptions {
    /// As given to `up`.
    #[arg(long, value_name = "DIR", default_value = DATA_DIR, value_parser = absolute)]
    pub(crate) data_dir: PathBuf,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct DoctorOptions {
    /// Also say which fields of this KubeletConfiguration file have no effect here.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubelet_config: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ImageOptions {
    /// As given to `up`. The cluster must not be running.
    #[arg(long, value_name = "DIR", default_value = DATA_DIR, global = true, value_parser = absolute)]
    pub(crate) data_dir: PathBuf,
    #[command(subcommand)]
    pub(crate) command: ImageCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Add the images of an archive (docker save, OCI layout).
    Import {
        /// The archive.
        file: PathBuf,
    },
    /// Show the images.
    List,
    /// Make an image from a folder.
    Build {
        /// The folder that becomes its layer.
        folder: PathBuf,
        /// Its name.
        #[arg(long, short)]
        tag: String,
        /// A local image to build on.
        #[arg(long)]
        from: Option<String>,
        /// The program to run, with arguments.
        #[arg(long, value_delimiter = ' ')]
        entrypoint: Option<Vec<String>>,
        /// Default arguments.
        #[arg(long, value_delimiter = ' ')]
        cmd: Option<Vec<String>>,
    },
    /// Remove images no container uses.
    Prune,
}

/// A folder as every later step needs it: a relative path means another place wherever the process looks from.
fn absolute(text: &str) -> std::io::Result<PathBuf> {
    std::path::absolute(text)
}

/// Whole seconds, or a number with a unit.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is no duration; write 90s, 5m or 1h"))?;
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        other => return Err(format!("{other:?} is no unit of time; use s, m or h")),
    };
    number.checked_mul(unit).map(Duration::from_secs).ok_or_else(|| format!("{text:?} is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn folders_are_absolute() {
        let here = std::env::current_dir().unwrap();
        for words in [["outrigger", "down", "--data-dir", "x/y"], ["outrigger", "up", "--data-dir", "x/y"]] {
            let data = match Arguments::try_parse_from(words).unwrap().command {
                Command::Up(options) => options.data_dir,
                Command::Down(options) => options.data_dir,
                _ => unreachable!(),
            };
            assert_eq!(data, here.join("x/y"));
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert!(duration("5x").is_err() && duration("soon").is_err());
    }
}
