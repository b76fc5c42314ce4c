//! `outrigger image …`: the images of a data folder.

use std::collections::HashSet;
use std::sync::Arc;

use outrigger_api::clock::{SharedClock, SystemClock};
use outrigger_images::{BuildOptions, Image, RegistryConfig};

use crate::cli::{ImageCommand, ImageOptions};
use crate::cluster::open_images;
use crate::failure::Failure;

pub(crate) async fn image(options: ImageOptions) -> Result<u8, Failure> {
    let clock: SharedClock = Arc::new(SystemClock);
    let store = open_images(&options.data_dir.join("images"), RegistryConfig::default(), &clock).await?;
    match options.command {
        ImageCommand::Import { file } => {
            let images = store.import(&file).await;
            let images = images.map_err(Failure::doing(format!("cannot import {}", file.display())))?;
            images.iter().for_each(show);
        }
        ImageCommand::List => store.list().iter().for_each(show),
        ImageCommand::Build { folder, tag, from, entrypoint, cmd } => {
            let built = store.build(BuildOptions {
                directory: folder,
                name: tag,
                base: from,
                entrypoint,
                cmd,
                env: Vec::new(),
                working_dir: None,
                user: None,
                stop_signal: None,
                exposed_ports: Vec::new(),
                labels: Vec::new(),
            });
            show(&built.await.map_err(Failure::doing("cannot build the image"))?);
        }
        ImageCommand::Prune => {
            let removed = store.prune(&used(&options.data_dir)).await;
            let removed = removed.map_err(Failure::doing("cannot prune"))?;
            for name in &removed.untagged {
                println!("removed {name}");
            }
            println!("{} bytes freed", removed.bytes);
        }
    }
    Ok(0)
}

fn show(image: &Image) {
    let names = if image.repo_tags.is_empty() { "<none>".to_owned() } else { image.repo_tags.join(" ") };
    println!("{names}  {}  {} bytes", image.id, image.size);
}

/// Ids of images containers on disk were made from; their labels name them.
fn used(data_dir: &std::path::Path) -> HashSet<String> {
    let mut used = HashSet::new();
    for sandbox in std::fs::read_dir(data_dir.join("runtime")).into_iter().flatten().flatten() {
        for file in std::fs::read_dir(sandbox.path().join("containers")).into_iter().flatten().flatten() {
            let Ok(bytes) = std::fs::read(file.path()) else { continue };
            let Ok(saved) = serde_json::from_slice::<serde_json::Value>(&bytes) else { continue };
            let labels = saved.pointer("/config/labels").and_then(serde_json::Value::as_object);
            used.extend(
                labels.into_iter().flatten().filter_map(|(_, value)| value.as_str().map(str::to_owned)),
            );
        }
    }
    used
}
