//! Image garbage collection: when the images' file system fills beyond a high mark, unused images go, least recently
//! used first, until it is down to a low mark. Which ones is decided by [`choose`], which is pure.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outrigger_api::MonoTime;
use outrigger_images::Image;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::container::labels;
use crate::context::Context;
use crate::stats::node::FsUsage;

/// How often the file system is looked at.
const CHECK: Duration = Duration::from_secs(300);

/// When images are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageGcConfig {
    /// Percent of the file system beyond which images go; 100 switches it off. Default 85.
    pub high_percent: u64,
    /// Percent it is brought down to. Default 80.
    pub low_percent: u64,
    /// An unused image younger than this stays. Default two minutes.
    pub min_age: Duration,
    /// An image unused for longer goes in any case; `None` (default) keeps them.
    pub max_age: Option<Duration>,
    /// Images go only while fewer bytes than this are available; `None` (default) as upstream. For machines with other
    /// uses too.
    pub floor: Option<u64>,
}

impl Default for ImageGcConfig {
    fn default() -> Self {
        Self {
            high_percent: 85,
            low_percent: 80,
            min_age: Duration::from_secs(120),
            max_age: None,
            floor: None,
        }
    }
}

/// When images were first seen and last used.
#[derive(Debug, Default)]
pub(crate) struct ImageUse(Mutex<HashMap<String, Seen>>);

#[derive(Clone, Copy, Debug)]
struct Seen {
    first: MonoTime,
    used: MonoTime,
}

/// One image that no container uses.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unused {
    id: String,
    size: u64,
    first_seen: MonoTime,
    last_used: MonoTime,
}

/// Looks now and then until `stop`.
pub(crate) async fn keep(context: Arc<Context>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(CHECK) => {}
        }
        let config = context.config.image_gc;
        let unused = unused(&context).await;
        let Some(fs) = context.config.image_root.as_deref().and_then(FsUsage::of) else { continue };
        let now = context.clock.now().mono;
        let wanted = to_free(&config, fs.usable(), fs.available);
        let chosen = choose(unused, wanted, now, &config);
        let freed = remove(&context, &chosen).await;
        if freed < wanted {
            let text = format!(
                "Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, but only \
                 found {freed} bytes eligible to free."
            );
            warn!(wanted, freed, "too few images could be removed");
            context.events.node_warning(&context.config.node_name, "FreeDiskSpaceFailed", text);
        }
    }
}

/// Removes every image nobody uses: the disk is full (R8.27).
pub(crate) async fn free_everything(context: &Context) {
    let unused = unused(context).await;
    remove(context, &unused).await;
}

/// Bytes to win back; 0 below the high mark.
fn to_free(config: &ImageGcConfig, usable: u64, available: u64) -> u64 {
    let used = usable.saturating_sub(available);
    let percent = |of: u64| usable / 100 * of + usable % 100 * of / 100;
    let roomy = config.floor.is_some_and(|floor| available >= floor);
    if config.high_percent >= 100 || usable == 0 || roomy || used < percent(config.high_percent) {
        return 0;
    }
    used.saturating_sub(percent(config.low_percent))
}

/// Least recently used first, then the oldest, until `wanted` bytes are found; and all that are too old.
fn choose(mut unused: Vec<Unused>, wanted: u64, now: MonoTime, config: &ImageGcConfig) -> Vec<Unused> {
    unused.sort_by_key(|image| (image.last_used, image.first_seen));
    let mut found = 0;
    unused.retain(|image| {
        let stale = config.max_age.is_some_and(|age| now.since(image.last_used) > age);
        let ripe = now.since(image.first_seen) >= config.min_age;
        let goes = stale || (found < wanted && ripe);
        if goes {
            found += image.size;
        }
        goes
    });
    unused
}

/// All images no container has, with what is remembered of them.
async fn unused(context: &Context) -> Vec<Unused> {
    let images = context.images.list().await;
    let Ok(sandboxes) = context.runtime.list().await else { return Vec::new() };
    let mut named = HashSet::new();
    for container in sandboxes.iter().flat_map(|sandbox| &sandbox.containers) {
        for label in [labels::IMAGE, labels::IMAGE_ID] {
            named.extend(container.labels.get(label).cloned());
        }
    }
    let now = context.clock.now().mono;
    let mut seen = context.image_use.0.lock().unwrap_or_else(PoisonError::into_inner);
    seen.retain(|id, _| images.iter().any(|image| image.id == *id));
    let mut unused = Vec::new();
    for image in images {
        let known = seen.entry(image.id.clone()).or_insert(Seen { first: now, used: MonoTime::default() });
        if is_named(&image, &named) {
            known.used = now;
            continue;
        }
        // What was imported or built here cannot be had again: pinned, in CRI's word.
        if !image.pulled {
            continue;
        }
        unused.push(Unused {
            size: image.size,
            first_seen: known.first,
            last_used: known.used,
            id: image.id,
        });
    }
    unused
}

fn is_named(image: &Image, names: &HashSet<String>) -> bool {
    let all = image.repo_tags.iter().chain(&image.repo_digests).chain([&image.id]);
    all.into_iter().any(|name| names.contains(name))
}

async fn remove(context: &Context, images: &[Unused]) -> u64 {
    let mut freed = 0;
    for image in images {
        match context.images.remove(&image.id).await {
            Ok(()) => {
                info!(image = image.id, bytes = image.size, "an unused image is removed");
                freed += image.size;
            }
            Err(error) => warn!(image = image.id, error, "an unused image was not removed"),
        }
    }
    freed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> MonoTime {
        MonoTime::from_boot(Duration::from_secs(seconds))
    }

    fn image(id: &str, size: u64, first_seen: u64, last_used: u64) -> Unused {
        Unused { id: id.into(), size, first_seen: at(first_seen), last_used: at(last_used) }
    }

    fn ids(images: &[Unused]) -> Vec<&str> {
        images.iter().map(|image| image.id.as_str()).collect()
    }

    /// R8.27: nothing below the high mark; down to the low mark above it.
    #[test]
    fn marks() {
        let config = ImageGcConfig::default();
        assert_eq!(to_free(&config, 1000, 151), 0);
        assert_eq!(to_free(&config, 1000, 150), 50);
        assert_eq!(to_free(&config, 1000, 0), 200);
        let shared = ImageGcConfig { floor: Some(100), ..config };
        assert_eq!((to_free(&shared, 1000, 120), to_free(&shared, 1000, 99)), (0, 101));
        assert_eq!(to_free(&ImageGcConfig { high_percent: 100, ..config }, 1000, 0), 0);
    }

    /// R8.27: least recently used first, young ones stay, as few as needed.
    #[test]
    fn the_least_recently_used_go_first() {
        let config = ImageGcConfig::default();
        let all = || {
            vec![
                image("new", 10, 950, 0),
                image("b", 10, 0, 500),
                image("a", 10, 0, 100),
                image("c", 10, 0, 900),
            ]
        };
        assert_eq!(ids(&choose(all(), 15, at(1000), &config)), ["a", "b"]);
        assert!(choose(all(), 0, at(1000), &config).is_empty());
        let aged = ImageGcConfig { max_age: Some(Duration::from_secs(600)), ..config };
        assert_eq!(ids(&choose(all(), 0, at(1000), &aged)), ["new", "a"]);
    }
}
