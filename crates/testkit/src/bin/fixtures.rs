//! Serves the fixture images from a registry on loopback until it is told to end.
//!
//! `fixtures DIR [--without-python] [--busybox=NAME]` keeps the registry's files, mirror files and packed images below
//! DIR, then prints one line each: `registry <address>`, `certs-dir <folder>`, `image <name>` for every image, and
//! `ready`. NAME is one more `repository:tag` under which busybox is served.

use std::error::Error;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use outrigger_testkit::{LoopbackRegistry, busybox, busybox_as, python};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = error.to_string();
            let mut next = error.source();
            while let Some(source) = next {
                text = format!("{text}: {source}");
                next = source.source();
            }
            drop(writeln!(std::io::stderr(), "fixtures: {text}"));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let with_python = !arguments.iter().any(|a| a == "--without-python");
    let dir = arguments.iter().find(|a| !a.starts_with("--")).map(PathBuf::from);
    let dir = dir.ok_or("usage: fixtures DIR [--without-python] [--busybox=NAME]")?;
    std::fs::create_dir_all(&dir)?;
    let dir = dir.canonicalize()?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let registry = LoopbackRegistry::start(&dir.join("registry")).await?;
    let certs = registry.mirror_config(&dir)?;
    say(&format!("registry {}\ncerts-dir {}", registry.address(), certs.display()))?;
    let mut images = vec![busybox()?.pack()];
    for name in arguments.iter().filter_map(|a| a.strip_prefix("--busybox=")) {
        images.push(busybox_as(name)?.pack());
    }
    if with_python {
        images.push(python(&dir.join("cache"))?);
    }
    for image in &images {
        registry.push(image).await?;
        say(&format!("image {}", image.name()))?;
    }
    say("ready")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    out.flush()
}
