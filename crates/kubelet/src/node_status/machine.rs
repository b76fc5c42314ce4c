//! What the machine has, and how much of it Pods may ask for (N11).

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::content::read;
use crate::config::KubeletConfig;
use crate::env::NodeAllocatable;

/// What the machine has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    pub(super) cpus: usize,
    pub(crate) memory_kib: u64,
    pub(super) swap_kib: u64,
    pub(super) storage_kib: u64,
    /// Page size in KiB and how many are set aside.
    pub(super) huge_pages: BTreeMap<u64, u64>,
    pub(super) boot_id: String,
}

impl Machine {
    /// Looks at the machine.
    pub(crate) fn look(config: &KubeletConfig) -> Self {
        let meminfo = read("/proc/meminfo");
        let kib = |name: &str| -> u64 {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        let storage = rustix::fs::statvfs(&config.data_dir).map_or(0, |fs| fs.f_blocks * fs.f_frsize / 1024);
        Self {
            cpus: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_kib: kib("MemTotal:"),
            swap_kib: kib("SwapTotal:"),
            storage_kib: storage,
            huge_pages: huge_pages(Path::new("/sys/kernel/mm/hugepages")),
            boot_id: read("/proc/sys/kernel/random/boot_id"),
        }
    }

    /// All of it.
    pub(super) fn capacity(&self, config: &KubeletConfig) -> NodeAllocatable {
        let mut all = BTreeMap::from([
            ("cpu".to_owned(), Quantity(self.cpus.to_string())),
            ("memory".to_owned(), Quantity(format!("{}Ki", self.memory_kib))),
            ("ephemeral-storage".to_owned(), Quantity(format!("{}Ki", self.storage_kib))),
            ("pods".to_owned(), Quantity(config.max_pods.to_string())),
        ]);
        for (size, count) in &self.huge_pages {
            all.insert(format!("hugepages-{}", size_name(*size)), Quantity(amount(size * count)));
        }
        all
    }

    /// N11: capacity without what hard eviction thresholds and reservations keep back.
    pub(crate) fn allocatable(&self, config: &KubeletConfig) -> NodeAllocatable {
        let mut all = self.capacity(config);
        let reserved = |resource: &str| {
            let lists = [&config.system_reserved, &config.kube_reserved].into_iter();
            lists
                .filter_map(|list| list.get(resource).copied())
                .fold(outrigger_api::Quantity::units(0), |a, b| a + b)
        };
        let cpus = i64::try_from(self.cpus).unwrap_or(i64::MAX);
        let cpu = outrigger_api::Quantity::units(cpus) - reserved("cpu");
        all.insert(
            "cpu".to_owned(),
            Quantity(if cpu.is_negative() { "0".to_owned() } else { cpu.to_string() }),
        );
        let bytes = |resource: &str| u64::try_from(reserved(resource).value()).unwrap_or(0);
        let memory = self.memory_kib * 1024;
        let kept = config.eviction.reserved_memory(memory) + bytes("memory");
        all.insert("memory".to_owned(), Quantity(format!("{}Ki", memory.saturating_sub(kept) / 1024)));
        let storage = self.storage_kib * 1024;
        let kept = config.eviction.reserved_storage(storage) + bytes("ephemeral-storage");
        all.insert("ephemeral-storage".to_owned(), Quantity(storage.saturating_sub(kept).to_string()));
        all
    }
}

/// Sizes the kernel has, with how many pages of each are set aside.
fn huge_pages(folder: &Path) -> BTreeMap<u64, u64> {
    let sizes = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let one = |entry: std::fs::DirEntry| {
        let name = entry.file_name();
        let size = name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let count = std::fs::read_to_string(entry.path().join("nr_hugepages")).ok()?;
        Some((size, count.trim().parse().ok()?))
    };
    sizes.filter_map(one).collect()
}

/// `2Mi` for 2048.
fn size_name(kib: u64) -> String {
    match kib {
        kib if kib % (1024 * 1024) == 0 => format!("{}Gi", kib / (1024 * 1024)),
        kib if kib % 1024 == 0 => format!("{}Mi", kib / 1024),
        kib => format!("{kib}Ki"),
    }
}

fn amount(kib: u64) -> String {
    if kib == 0 { "0".to_owned() } else { size_name(kib) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// N11
    #[test]
    fn allocatable_is_capacity_without_what_is_kept_back() {
        let machine = Machine {
            cpus: 2,
            memory_kib: 1024 * 1024,
            storage_kib: 1000,
            huge_pages: BTreeMap::from([(2048, 3), (1024 * 1024, 0)]),
            ..Machine::default()
        };
        let mut config = KubeletConfig::new("n", "/tmp");
        let text = |all: &NodeAllocatable, name: &str| all[name].0.clone();
        let capacity = machine.capacity(&config);
        assert_eq!(
            ["cpu", "memory", "ephemeral-storage", "pods"].map(|it| text(&capacity, it)),
            ["2", "1048576Ki", "1000Ki", "110"]
        );
        assert_eq!(
            (text(&capacity, "hugepages-2Mi"), text(&capacity, "hugepages-1Gi")),
            ("6Mi".into(), "0".into())
        );
        let free = machine.allocatable(&config);
        assert_eq!(
            ["cpu", "memory", "ephemeral-storage"].map(|it| text(&free, it)),
            ["2", "946176Ki", "921600"]
        );
        config.system_reserved.insert("cpu".into(), "500m".parse().unwrap());
        config.kube_reserved.insert("memory".into(), "24Mi".parse().unwrap());
        let free = machine.allocatable(&config);
        assert_eq!((text(&free, "cpu"), text(&free, "memory")), ("1500m".into(), "921600Ki".into()));
    }
}
