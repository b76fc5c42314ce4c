//! Log rotation (R14.9).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use outrigger_runtime::ContainerState;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::context::Context;

const CHECK: Duration = Duration::from_secs(10);

/// Looks at running containers' logs until `stop`.
pub(crate) async fn rotate_forever(context: Arc<Context>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(CHECK) => {}
        }
        let sandboxes = context.runtime.list().await.unwrap_or_default();
        for container in sandboxes.into_iter().flat_map(|sandbox| sandbox.containers) {
            let large =
                fs::metadata(&container.log_path).is_ok_and(|meta| meta.len() >= context.config.log_max_size);
            if !large || !matches!(container.state, ContainerState::Running { .. }) {
                continue;
            }
            let stamp = context.clock.now().wall.strftime("%Y%m%d-%H%M%S").to_string();
            let (path, most) = (container.log_path.clone(), context.config.log_max_files);
            let rotated = tokio::task::spawn_blocking(move || rotate(&path, &stamp, most)).await;
            if let Ok(Err(error)) = rotated {
                warn!(log = %container.log_path.display(), %error, "log not rotated");
                continue;
            }
            if let Err(error) = context.runtime.reopen_log(&container.id).await {
                warn!(container = container.id, error = &error as &dyn std::error::Error, "log not reopened");
            }
        }
    }
}

/// At most `most` files are left, the current one among them. Compresses what was rotated before, drops what is too much, renames the current file.
fn rotate(path: &Path, stamp: &str, most: usize) -> io::Result<()> {
    let mut old = rotated(path)?;
    old.sort();
    for file in old.iter().filter(|file| file.extension().is_none_or(|extension| extension != "gz")) {
        compress(file)?;
    }
    let mut old = rotated(path)?;
    old.sort();
    // After the rename there is one rotated file more, and a new current one.
    let surplus = (old.len() + 2).saturating_sub(most);
    for file in old.iter().take(surplus) {
        fs::remove_file(file)?;
    }
    fs::rename(path, format!("{}.{stamp}", path.display()))
}

fn rotated(path: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = path.parent().unwrap_or(path);
    let prefix = format!("{}.", path.file_name().unwrap_or_default().to_string_lossy());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            files.push(entry.path());
        }
    }
    Ok(files)
}

fn compress(path: &Path) -> io::Result<()> {
    let target = PathBuf::from(format!("{}.gz", path.display()));
    let mut encoder = GzEncoder::new(fs::File::create(&target)?, Compression::fast());
    io::copy(&mut fs::File::open(path)?, &mut encoder)?;
    encoder.finish()?;
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R14.9
    #[test]
    fn five_files_at_most() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        for round in 0..7 {
            fs::write(&path, "text").unwrap();
            rotate(&path, &format!("20260101-00000{round}"), 5).unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let want = ["0.log.20260101-000003.gz", "0.log.20260101-000004.gz", "0.log.20260101-000005.gz"];
        assert_eq!(names[..3], want);
        assert_eq!(names[3..], ["0.log.20260101-000006"]);
    }
}
