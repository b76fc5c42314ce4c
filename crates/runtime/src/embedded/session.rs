//! How sessions in containers end, and what happens when their caller goes away.

use super::*;

impl EmbeddedRuntime {
    /// Resolves when the container has ended. `once` closes its input when the session is dropped or over.
    pub(super) async fn wait_for_end(&self, id: &str, once: bool) -> Result<Option<i32>, RuntimeError> {
        let mut events = self.events();
        let _detach = once.then(|| Detach { runtime: self.clone(), container: id.to_owned() });
        loop {
            let ended = match self.container(id) {
                Ok((entry, known)) => {
                    let exit = known.record.and_then(|record| record.exit);
                    exit.map(|exit| exit.code).or_else(|| entry.client().is_err().then_some(137))
                }
                Err(_) => return Ok(None),
            };
            if let Some(code) = ended {
                return Ok(Some(code));
            }
            if let Err(broadcast::error::RecvError::Closed) = events.recv().await {
                return Ok(None);
            }
        }
    }
}

/// Tells the sandbox process that an attach session with input is over (R11.14).
struct Detach {
    runtime: EmbeddedRuntime,
    container: ContainerId,
}

impl Drop for Detach {
    fn drop(&mut self) {
        let (runtime, container) = (self.runtime.clone(), self.container.clone());
        tokio::spawn(async move {
            if let Ok((entry, _)) = runtime.container(&container) {
                // The container may be gone.
                let _ = runtime.ask(&entry, Request::Detach { container }, &[]).await;
            }
        });
    }
}

/// Kills an exec'd process whose caller went away.
pub(super) struct ExecGuard {
    pub(super) client: Client,
    pub(super) exec: u64,
    pub(super) ended: bool,
}

impl Drop for ExecGuard {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let (client, exec) = (self.client.clone(), self.exec);
        tokio::spawn(async move {
            // It may have ended, or the sandbox with it.
            let _ = client.ask(Request::KillExec { exec }, &[]).await;
        });
    }
}

pub(super) async fn wait_for_exec(
    exit: tokio::sync::oneshot::Receiver<i32>,
    mut guard: ExecGuard,
    pod: String,
) -> Result<Option<i32>, RuntimeError> {
    match exit.await {
        Ok(code) => {
            guard.ended = true;
            Ok(Some(code))
        }
        Err(_) => Err(RuntimeError::SandboxGone(pod)),
    }
}

pub(super) fn terminal_io(
    master: OwnedFd,
    io: IoOptions,
    exit: futures::future::BoxFuture<'static, Result<Option<i32>, RuntimeError>>,
) -> io::Result<ProcessIo> {
    let reader = exec::Terminal::new(master.try_clone()?)?;
    let writer = exec::Terminal::new(master.try_clone()?)?;
    Ok(ProcessIo {
        stdin: io.stdin.then(|| Box::new(writer) as _),
        stdout: io.stdout.then(|| Box::new(reader) as _),
        stderr: None,
        resize: Some(exec::resizer(master)),
        exit,
    })
}
