//! kubectl in a real terminal: tmux is the terminal, its keyboard and its window.

use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use tokio::process::Command;

use crate::suite::{Kubectl, PATIENCE};

/// One window of a tmux server of our own, which ends with it.
struct Terminal {
    _folder: tempfile::TempDir,
    socket: PathBuf,
}

impl Terminal {
    async fn start(kubectl: &Kubectl, line: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let terminal = Self { socket: folder.path().join("tmux"), _folder: folder };
        let command = kubectl.command(line);
        let mut arguments =
            vec!["new-session".to_owned(), "-d".into(), "-x".into(), "80".into(), "-y".into()];
        arguments.push("24".into());
        // A shell in between, so that the window outlives kubectl and shows how it ended.
        let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_string_lossy());
        let words: Vec<String> = std::iter::once(command.as_std().get_program())
            .chain(command.as_std().get_args())
            .map(quoted)
            .collect();
        arguments.push(format!("{}; echo ended with $?; read forever", words.join(" ")));
        terminal.tmux(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await;
        terminal
    }

    async fn tmux(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("tmux");
        command.arg("-f").arg("/dev/null").arg("-S").arg(&self.socket).args(arguments);
        let output = command.env_remove("TMUX").env("TERM", "xterm").output().await.unwrap();
        assert!(output.status.success(), "tmux {arguments:?}\n{}", String::from_utf8_lossy(&output.stderr));
        output
    }

    async fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat()).await;
    }

    async fn resize(&self, width: &str, height: &str) {
        self.tmux(&["resize-window", "-x", width, "-y", height]).await;
    }

    async fn screen(&self) -> String {
        String::from_utf8_lossy(&self.tmux(&["capture-pane", "-p"]).await.stdout).into_owned()
    }

    /// Waits until the screen satisfies `shows`.
    async fn until(&self, what: &str, shows: impl Fn(&str) -> bool) -> String {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            ticks.tick().await;
            let screen = self.screen().await;
            if shows(&screen) {
                return screen;
            }
            assert!(tokio::time::Instant::now() < deadline, "waiting for {what}, the screen is\n{screen}");
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let mut command = std::process::Command::new("tmux");
        let _ = command.arg("-S").arg(&self.socket).arg("kill-server").output();
    }
}

/// Rows on which something stands.
fn rows(screen: &str) -> usize {
    screen.trim_end().lines().count()
}

/// H18 to H25 with the Pod `top-command-pod` running: programs see the window and its changes, keys reach them.
pub(crate) async fn walk(kubectl: &Kubectl) {
    let terminal = Terminal::start(kubectl, "exec -it top-command-pod -- sh").await;
    terminal.until("a prompt", |screen| screen.contains("/ #")).await;
    terminal.keys(&["stty size", "Enter"]).await;
    terminal.until("the first size", |screen| screen.contains("24 80")).await;
    terminal.resize("100", "30").await;
    // The size travels on its own channel: the program is asked until it has arrived.
    terminal.keys(&["until stty size | grep '30 100'; do usleep 50000; done", "Enter"]).await;
    terminal.until("the second size", |screen| screen.lines().any(|line| line == "30 100")).await;
    // It says itself that it is in the foreground: what is typed is on the screen before it runs.
    terminal.keys(&["sh -c 'echo begun; exec sleep 1000'", "Enter"]).await;
    terminal.until("sleep", |screen| screen.lines().any(|line| line == "begun")).await;
    terminal.keys(&["C-c"]).await;
    terminal.keys(&["echo code $?", "Enter"]).await;
    terminal.until("Ctrl-C", |screen| screen.contains("code 130")).await;
    terminal.keys(&["exit 3", "Enter"]).await;
    terminal.until("the exit code", |screen| screen.contains("ended with 3")).await;
    drop(terminal);
    live_top(kubectl).await;
}

/// The user's own line: a live screen that follows the window.
async fn live_top(kubectl: &Kubectl) {
    let terminal = Terminal::start(kubectl, "exec -it top-command-pod -- top").await;
    let running = |screen: &str| screen.contains("Load average") && screen.contains("PID");
    terminal.until("top", running).await;
    terminal.resize("120", "12").await;
    terminal.until("a smaller top", |screen| running(screen) && rows(screen) <= 12).await;
    terminal.keys(&["q"]).await;
    terminal.until("the end of top", |screen| screen.contains("ended with 0")).await;
}
