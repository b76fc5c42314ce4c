//! `outrigger up`: a cluster until it is told to stop.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use outrigger_api::clock::{Clock, SystemClock};

use crate::claim::Claim;
use crate::cli::{POD_CIDR, UpOptions};
use crate::cluster::{Cluster, Options, require_features};
use crate::failure::Failure;
use crate::signals::Interrupts;

pub(crate) async fn up(options: UpOptions) -> Result<u8, Failure> {
    let began = SystemClock.now().mono;
    if options.detach {
        return detach(&options);
    }
    let kubeconfig = options.kubeconfig.clone().unwrap_or_else(|| options.data_dir.join("kubeconfig"));
    let mut interrupts = Interrupts::watch()?;
    require_features()?;
    let _claim = Claim::take(&options.data_dir)?;
    let starting = Cluster::start(Options {
        image_dir: options.data_dir.join("images"),
        log_root: PathBuf::from("/var/log/pods"),
        log_links: Some(PathBuf::from("/var/log/containers")),
        fixed_ports: true,
        data_dir: options.data_dir.clone(),
        listen: options.listen,
        store: options.store.clone(),
        node: options.node.clone(),
        pod_cidr: options.node.pod_cidr.unwrap_or(POD_CIDR),
        progress: None,
    });
    let cluster = tokio::select! {
        started = starting => started?,
        // Nothing runs yet; what was set up is taken over by the next start.
        code = interrupts.next() => return Ok(code),
    };
    write_private(&kubeconfig, &cluster.server.admin_kubeconfig())?;
    let took = SystemClock.now().mono.since(began).as_millis();
    let line = format!(
        "ready in {took} ms: node {} at https://{}; export KUBECONFIG={}",
        cluster.node_name,
        cluster.server.address(),
        kubeconfig.display()
    );
    // Whoever started us may have stopped reading.
    let _ = writeln!(std::io::stdout(), "{line}");
    interrupts.next().await;
    cluster.shut_down_node().await;
    cluster.stop().await;
    Ok(0)
}

/// A kubeconfig holds a key: only its owner may read it.
fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    use std::os::unix::fs::OpenOptionsExt;
    let doing = || Failure::doing(format!("cannot write {}", path.display()));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(doing())?;
    }
    let temporary = path.with_extension("new");
    // An old leftover would keep its mode.
    let _ = std::fs::remove_file(&temporary);
    let mut file =
        std::fs::File::options().write(true).create_new(true).mode(0o600).open(&temporary).map_err(doing())?;
    file.write_all(text.as_bytes()).map_err(doing())?;
    std::fs::rename(&temporary, path).map_err(doing())
}

/// Starts the same command without `--detach` and returns once it is ready.
fn detach(options: &UpOptions) -> Result<u8, Failure> {
    use std::os::unix::process::CommandExt;
    let program = std::env::current_exe().map_err(Failure::doing("cannot find this program"))?;
    std::fs::create_dir_all(&options.data_dir)
        .map_err(Failure::doing(format!("cannot make {}", options.data_dir.display())))?;
    let log = options.data_dir.join("outrigger.log");
    let file = std::fs::File::options().create(true).append(true).open(&log);
    let file = file.map_err(Failure::doing(format!("cannot open {}", log.display())))?;
    let arguments = std::env::args_os().skip(1).filter(|argument| argument != "--detach");
    let mut child = std::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::from(file))
        .process_group(0)
        .spawn()
        .map_err(Failure::doing("cannot start in the background"))?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout)
            .read_line(&mut line)
            .map_err(Failure::doing("cannot read from the background"))?;
    }
    if line.is_empty() {
        let status = child.wait().map_err(Failure::doing("cannot wait for the background"))?;
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let last = text.lines().last().unwrap_or_default().to_owned();
        let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
        return Err(Failure::new(code, last.trim_start_matches("outrigger: ").to_owned()));
    }
    print!("{line}");
    Ok(0)
}
