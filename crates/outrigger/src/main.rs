//! `outrigger`: Kubernetes for Pods in one program.
//!
//! This crate puts the parts together and speaks to people: command line, messages, exit codes. It decides nothing a
//! Pod depends on. Start at [`main`], then `cluster` (the wiring).

mod ask;
mod claim;
mod cli;
mod cluster;
mod doctor;
mod down;
mod explain;
mod failure;
mod image;
mod images;
mod manifests;
mod names;
mod node;
mod places;
mod port;
mod run;
mod signals;
mod store;
mod terminal;
mod up;

use std::process::ExitCode;

use clap::Parser;

use cli::{Arguments, Command};
use failure::Failure;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are answers, everything else is a wrong call.
            let code = if error.use_stderr() { failure::USAGE } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(&arguments.log))
        .with_writer(std::io::stderr)
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("outrigger: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(dispatch(arguments.command)) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("outrigger: {failure}");
            ExitCode::from(failure.code)
        }
    }
}

async fn dispatch(command: Command) -> Result<u8, Failure> {
    match command {
        Command::Up(options) => up::up(options).await,
        Command::Run(options) => run::run(options).await,
        Command::Down(options) => down::down(options).await,
        Command::Doctor(options) => doctor::doctor(&options),
        Command::Image(options) => image::image(options).await,
        Command::Explain(options) => explain::explain(&options),
        Command::Why(options) => ask::why(options).await,
        Command::Timeline(options) => ask::timeline(options).await,
    }
}
