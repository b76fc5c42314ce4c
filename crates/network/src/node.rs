//! The node's network: carries out what [`PodNetworking`] promises.
//!
//! ```text
//!   pod namespace            node namespace
//!   eth0 ── veth pair ── veth0a580002 ── bridge (gateway address) ── routing ── masquerade ── the world
//! ```

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ipnet::Ipv4Net;
use rtnetlink::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::addresses::{Assignment, Ledger, gateway};
use crate::departures::Departures;
use crate::nft::{self, Rules};
use crate::{Endpoint, HostPort, NetworkError, PodNetwork, PodNetworking, links, netns};

/// How a node's Pods are connected.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// The bridge's name, at most 15 characters; each instance on a machine needs its own.
    pub bridge: String,
    /// The nftables table's name; each instance needs its own.
    pub table: String,
    /// The node's range of Pod addresses, at most a /8 and at least a /29.
    pub pod_cidr: Ipv4Net,
    /// Where the record of addresses is kept. Survives restarts.
    pub state_dir: PathBuf,
    /// Where namespaces are mounted.
    pub netns_dir: PathBuf,
}

/// Pod networking by bridge and veth.
#[derive(Debug)]
pub struct NodeNetwork {
    config: NetworkConfig,
    handle: Handle,
    bridge: u32,
    ledger: Mutex<Ledger>,
    /// Namespaces made ahead, wired and waiting for Pods.
    ahead: Mutex<Vec<Endpoint>>,
    /// One of them was taken.
    taken: Notify,
    departures: Departures,
    /// One rewrite of the table at a time, so that the kernel ends with the newest.
    table: tokio::sync::Mutex<()>,
}

impl NodeNetwork {
    /// Makes the bridge and the table, or takes over what an earlier start left.
    ///
    /// # Errors
    /// If the configuration is out of range, the record cannot be read, or the kernel refuses a step.
    pub async fn open(config: NetworkConfig) -> Result<Self, NetworkError> {
        check(&config)?;
        for folder in [&config.state_dir, &config.netns_dir] {
            std::fs::create_dir_all(folder)
                .map_err(|source| NetworkError::Io { doing: format!("make {}", folder.display()), source })?;
        }
        let ledger = Ledger::load(&config.state_dir.join(LEDGER), config.pod_cidr)?;
        let handle = links::connect()?;
        let gateway = gateway(config.pod_cidr);
        let bridge = links::ensure_bridge(&handle, &config.bridge, gateway, config.pod_cidr).await?;
        write_setting("net/ipv4/ip_forward")?;
        // Lets the node reach host ports by its loopback addresses.
        write_setting(&format!("net/ipv4/conf/{}/route_localnet", config.bridge))?;
        let network = Self {
            config,
            handle,
            bridge,
            ledger: Mutex::new(ledger),
            ahead: Mutex::default(),
            taken: Notify::new(),
            departures: Departures::default(),
            table: tokio::sync::Mutex::new(()),
        };
        network.write_table().await?;
        Ok(network)
    }

    /// Keeps a few namespaces ready until `stop`, because making and wiring one takes longer than all else a Pod's
    /// start asks of the kernel, and much longer while others are made or end. They are Pods' like any other once
    /// taken; those that are left when this ends are cleared by the next start or by [`NodeNetwork::remove`].
    ///
    /// Dropping it midway leaves one that is cleared in the same way.
    pub async fn keep_ahead(&self, stop: CancellationToken) {
        let left: Vec<Endpoint> =
            self.ledger().iter().filter(|a| a.is_ahead()).map(|a| a.endpoint.clone()).collect();
        for endpoint in left {
            if let Err(error) = self.tear_down(&endpoint).await {
                tracing::warn!(%error, "a namespace of an earlier start stays");
            }
        }
        while !stop.is_cancelled() {
            let wait = match self.fill_ahead().await {
                Ok(()) => {
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = self.taken.notified() => {}
                    }
                    // The Pod that took one is about to start: the machine is its own for a moment.
                    AFTER_TAKEN
                }
                Err(error) => {
                    tracing::debug!(%error, "no namespace could be made ahead");
                    RETRY
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Makes as many namespaces as are kept ahead, once.
    ///
    /// # Errors
    /// If no address is left or the kernel refuses a step; those made before stay.
    pub async fn fill_ahead(&self) -> Result<(), NetworkError> {
        while self.ahead().len() < AHEAD {
            self.make_ahead().await?;
        }
        Ok(())
    }

    async fn make_ahead(&self) -> Result<(), NetworkError> {
        let assignment = self.record(Ledger::assign_ahead)?;
        let made = self.connect(&assignment).await;
        if let Err(error) = made {
            self.tear_down(&assignment.endpoint).await?;
            return Err(error);
        }
        self.ahead().push(assignment.endpoint);
        Ok(())
    }

    /// The endpoint's address, and whether its namespace is wired already.
    fn assign(
        &self,
        endpoint: &Endpoint,
        host_ports: &[HostPort],
    ) -> Result<(Assignment, bool), NetworkError> {
        let known = self.ledger().get(endpoint).is_some();
        let ahead = if known { None } else { self.ahead().pop() };
        let Some(ahead) = ahead else {
            return Ok((self.record(|ledger| ledger.assign(endpoint, host_ports))?, false));
        };
        let handed = self.record(|ledger| ledger.hand_over(&ahead, endpoint, host_ports));
        match handed {
            Ok(assignment) => {
                self.taken.notify_one();
                let wired = netns::exists(&self.namespace(&assignment));
                Ok((assignment, wired))
            }
            Err(error) => {
                self.ahead().push(ahead);
                Err(error)
            }
        }
    }

    /// Makes the namespace unless it is there, and its link.
    async fn connect(&self, assignment: &Assignment) -> Result<(), NetworkError> {
        let namespace = self.namespace(assignment);
        if !netns::exists(&namespace) {
            // A link of the same name can only be a leftover of a namespace that is still dying.
            links::delete(&self.handle, &link_name(assignment)).await?;
            netns::create(&namespace).await?;
        }
        self.wire(assignment, &namespace).await
    }

    /// The node's address on the bridge.
    pub fn gateway(&self) -> IpAddr {
        gateway(self.config.pod_cidr).into()
    }

    /// Makes the node answer at `address`, too, towards its Pods. Another network of this machine may do the same. It
    /// goes with the bridge.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub async fn answer_at(&self, address: Ipv4Addr) -> Result<(), NetworkError> {
        links::add_address(&self.handle, self.bridge, address, 32).await
    }

    /// The bridge's name.
    pub fn bridge(&self) -> &str {
        &self.config.bridge
    }

    /// Takes everything away: namespaces, bridge, table, record. For a node that ends for good.
    ///
    /// # Errors
    /// If the kernel refuses a step; calling it again goes on.
    pub async fn remove(&self) -> Result<(), NetworkError> {
        let config = &self.config;
        Self::remove_remains(&config.bridge, &config.table, &config.state_dir, &config.netns_dir).await
    }

    /// What [`NodeNetwork::remove`] does, for a network whose process is gone and whose range nobody knows. What is
    /// not there is as good as removed.
    ///
    /// # Errors
    /// If the kernel refuses a step; calling it again goes on.
    pub async fn remove_remains(
        bridge: &str,
        table: &str,
        state_dir: &Path,
        netns_dir: &Path,
    ) -> Result<(), NetworkError> {
        let handle = links::connect()?;
        for namespace in std::fs::read_dir(netns_dir).into_iter().flatten().flatten() {
            netns::remove(&namespace.path())?;
        }
        // The kernel takes a namespace's links along when it gets round to it; a new Pod may want the name before.
        let ledger = state_dir.join(LEDGER);
        let names: Vec<String> = Ledger::recorded(&ledger).iter().map(link_name).collect();
        links::delete_all(&handle, &names.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        links::delete(&handle, bridge).await?;
        nft::remove(table)?;
        match std::fs::remove_file(ledger) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(NetworkError::Io { doing: format!("remove {LEDGER}"), source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the record and writes it before anything relies on the change.
    fn record<T>(
        &self,
        change: impl FnOnce(&mut Ledger) -> Result<T, NetworkError>,
    ) -> Result<T, NetworkError> {
        let mut ledger = self.ledger();
        let mut changed = ledger.clone();
        let outcome = change(&mut changed)?;
        changed.save(&self.config.state_dir.join(LEDGER))?;
        *ledger = changed;
        Ok(outcome)
    }

    async fn write_table(&self) -> Result<(), NetworkError> {
        let _turn = self.table.lock().await;
        let ledger = self.ledger().clone();
        let config = self.config.clone();
        let written = tokio::task::spawn_blocking(move || {
            let with_ports = ledger.iter().filter(|a| !a.host_ports.is_empty()).collect();
            let rules = Rules {
                table: &config.table,
                bridge: &config.bridge,
                cidr: config.pod_cidr,
                assignments: with_ports,
            };
            nft::apply(&rules)
        });
        written.await.unwrap_or_else(|died| Err(NetworkError::Config(died.to_string())))
    }

    fn ahead(&self) -> MutexGuard<'_, Vec<Endpoint>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn namespace(&self, assignment: &Assignment) -> PathBuf {
        self.config.netns_dir.join(&assignment.namespace)
    }

    fn described(&self, assignment: &Assignment) -> PodNetwork {
        PodNetwork {
            netns: self.namespace(assignment),
            ips: vec![assignment.address.into()],
            gateway: self.gateway(),
        }
    }

    async fn wire(&self, assignment: &Assignment, namespace: &Path) -> Result<(), NetworkError> {
        let own = File::open("/proc/self/ns/net")
            .map_err(|source| NetworkError::Io { doing: "open /proc/self/ns/net".into(), source })?;
        let (cidr, address) = (self.config.pod_cidr, assignment.address);
        let node_end = link_name(assignment);
        let wired = node_end.clone();
        netns::inside(namespace, move || links::wire_pod(wired, own.into(), address, cidr, gateway(cidr)))
            .await??;
        links::join_bridge(&self.handle, &node_end, self.bridge).await
    }
}

#[async_trait]
impl PodNetworking for NodeNetwork {
    async fn set_up(&self, endpoint: &Endpoint, host_ports: &[HostPort]) -> Result<PodNetwork, NetworkError> {
        let (assignment, wired) = self.assign(endpoint, host_ports)?;
        if !wired {
            self.connect(&assignment).await?;
        }
        if !host_ports.is_empty() {
            self.write_table().await?;
        }
        Ok(self.described(&assignment))
    }

    async fn tear_down(&self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        let Some(assignment) = self.ledger().get(endpoint).cloned() else { return Ok(()) };
        netns::remove(&self.namespace(&assignment))?;
        self.departures.delete(&self.handle, &link_name(&assignment)).await?;
        self.record(|ledger| Ok(ledger.release(endpoint)))?;
        if !assignment.host_ports.is_empty() {
            self.write_table().await?;
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<(Endpoint, PodNetwork)>, NetworkError> {
        let ledger = self.ledger();
        let pods = ledger.iter().filter(|assignment| !assignment.is_ahead());
        Ok(pods.map(|a| (a.endpoint.clone(), self.described(a))).collect())
    }
}

/// Namespaces kept ahead: a few Pods in a row find one each, and what is kept costs the kernel little.
const AHEAD: usize = 4;
/// How long after one was taken the next is made.
const AFTER_TAKEN: Duration = Duration::from_millis(100);
/// The wait after one could not be made, for want of an address as a rule.
const RETRY: Duration = Duration::from_secs(10);
/// The record of addresses in the state folder.
const LEDGER: &str = "addresses.json";

/// The node's end of a Pod's link, named after its address so that it is unique and can be found without a record.
fn link_name(assignment: &Assignment) -> String {
    format!("veth{:08x}", u32::from(assignment.address))
}

fn check(config: &NetworkConfig) -> Result<(), NetworkError> {
    if !(8..=29).contains(&config.pod_cidr.prefix_len()) {
        let cidr = config.pod_cidr;
        return Err(NetworkError::Config(format!("the pod range {cidr} must be between a /8 and a /29")));
    }
    if config.bridge.is_empty() || config.bridge.len() > 15 {
        let name = &config.bridge;
        return Err(NetworkError::Config(format!("the bridge name {name:?} must have 1 to 15 characters")));
    }
    Ok(())
}

fn write_setting(name: &str) -> Result<(), NetworkError> {
    let path = format!("/proc/sys/{name}");
    std::fs::write(&path, "1")
        .map_err(|source| NetworkError::Io { doing: format!("write 1 to {path}"), source })
}
