//! Addresses and node ports of Services (L4-L8).
//!
//! What is taken is read from the Services themselves, under a lock held until the write is done, so two creates never
//! get the same address. The IPAddress objects of L3 are not written yet.

use std::collections::HashSet;

use outrigger_api::{KindInfo, Object, StatusError};
use rand::RngExt;
use serde_json::{Value, json};

use crate::codec::invalid;
use crate::server::Api;
use crate::storage::ListRequest;

const FIRST_PORT: u16 = 30_000;
const LAST_PORT: u16 = 32_767;
/// Dynamic ports come from above the first 86 of the range (L6): min(max(16, 2768/32), 128).
const STATIC_PORTS: u16 = 86;

/// Holds the right to hand out addresses; drop it after the write.
pub(super) type Guard<'a> = Option<tokio::sync::MutexGuard<'a, ()>>;

/// Fills in the cluster address and node ports a Service still needs.
///
/// # Errors
/// 422 if what it asks for is taken or outside the range; 500 if nothing is left (L5).
pub(super) async fn allocate<'a>(
    api: &'a Api,
    kind: &KindInfo,
    service: &mut Object,
    old: Option<&Object>,
    dry_run: bool,
) -> Result<Guard<'a>, StatusError> {
    if (&*kind.group, &*kind.kind) != ("", "Service") {
        return Ok(None);
    }
    if let Some(old) = old {
        keep(service, old);
    }
    let guard = api.service_lock.lock().await;
    let taken = Taken::read(api, kind, service).await?;
    cluster_ip(api, service, &taken, dry_run)?;
    node_ports(service, &taken, dry_run)?;
    Ok(Some(guard))
}

/// An update that leaves out what was allocated keeps it.
fn keep(service: &mut Object, old: &Object) {
    if service.str_at(&["spec", "type"]) == "ExternalName" {
        return;
    }
    for member in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        let absent = service.at(&["spec", member]).is_none_or(|value| value.is_null() || value == "");
        if absent && let Some(value) = old.at(&["spec", member]) {
            *service.entry(&["spec", member]) = value.clone();
        }
    }
    let old_ports = old.at(&["spec", "ports"]).and_then(Value::as_array).cloned().unwrap_or_default();
    for port in ports_mut(service) {
        let same = old_ports.iter().find(|other| {
            ["port", "protocol", "name"].iter().all(|member| other.get(member) == port.get(member))
        });
        if number(port, "nodePort") == 0
            && let Some(node_port) = same.and_then(|same| same.get("nodePort"))
        {
            port["nodePort"] = node_port.clone();
        }
    }
}

/// What other Services hold.
struct Taken {
    addresses: HashSet<String>,
    ports: HashSet<(u16, String)>,
}

impl Taken {
    async fn read(api: &Api, kind: &KindInfo, service: &Object) -> Result<Self, StatusError> {
        let page = api.storage.list(kind, &ListRequest::default()).await?;
        let mut taken = Self { addresses: HashSet::new(), ports: HashSet::new() };
        for item in &page.items {
            let other = item.object()?;
            if other.uid() == service.uid() {
                continue;
            }
            let addresses = other.at(&["spec", "clusterIPs"]).and_then(Value::as_array);
            taken
                .addresses
                .extend(addresses.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
            for port in other.at(&["spec", "ports"]).and_then(Value::as_array).into_iter().flatten() {
                let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
                taken.ports.insert((number(port, "nodePort"), protocol.to_owned()));
            }
        }
        Ok(taken)
    }
}

fn cluster_ip(api: &Api, service: &mut Object, taken: &Taken, dry_run: bool) -> Result<(), StatusError> {
    if service.str_at(&["spec", "type"]) == "ExternalName" {
        return Ok(());
    }
    let range = api.config.service_range;
    let wanted = service.str_at(&["spec", "clusterIP"]).to_owned();
    let address = match wanted.as_str() {
        "None" => wanted,
        "" if dry_run => range.address(0).to_string(),
        "" => {
            let size = range.size();
            let band = 16.max(size / 16).min(256);
            let upper = (band..size - 1).map(|offset| range.address(offset).to_string());
            let lower = (1..band).map(|offset| range.address(offset).to_string());
            let mut free = upper.chain(lower).filter(|address| !taken.addresses.contains(address));
            let found = free.next();
            found.ok_or_else(|| StatusError::internal("failed to allocate a serviceIP: range is full"))?
        }
        _ => {
            let why = match wanted.parse().ok().and_then(|address| range.offset(address)) {
                None => "the provided network does not match the current range",
                Some(_) if taken.addresses.contains(&wanted) => "provided IP is already allocated",
                Some(_) => "",
            };
            if !why.is_empty() {
                let finding = format!("Invalid value: [\"{wanted}\"]: failed to allocate IP {wanted}: {why}");
                let name = service.name();
                return Err(invalid("Service", "", name, "spec.clusterIPs", "FieldValueInvalid", &finding));
            }
            wanted
        }
    };
    *service.entry(&["spec", "clusterIPs"]) = json!([address]);
    *service.entry(&["spec", "clusterIP"]) = json!(address);
    if service.at(&["spec", "ipFamilies"]).is_none_or(Value::is_null) {
        *service.entry(&["spec", "ipFamilies"]) = json!(["IPv4"]);
    }
    if service.at(&["spec", "ipFamilyPolicy"]).is_none_or(Value::is_null) {
        *service.entry(&["spec", "ipFamilyPolicy"]) = json!("SingleStack");
    }
    Ok(())
}

fn node_ports(service: &mut Object, taken: &Taken, dry_run: bool) -> Result<(), StatusError> {
    if !matches!(service.str_at(&["spec", "type"]), "NodePort" | "LoadBalancer") {
        for port in ports_mut(service) {
            if let Some(port) = port.as_object_mut() {
                port.remove("nodePort");
            }
        }
        return Ok(());
    }
    let declined = service.at(&["spec", "allocateLoadBalancerNodePorts"]) == Some(&json!(false))
        && service.str_at(&["spec", "type"]) == "LoadBalancer";
    let name = service.name().to_owned();
    let mut own: HashSet<(u16, String)> = HashSet::new();
    for (index, port) in ports_mut(service).iter_mut().enumerate() {
        let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or("TCP").to_owned();
        let wanted = number(port, "nodePort");
        let is_taken = |number: u16| {
            taken.ports.contains(&(number, protocol.clone())) || own.contains(&(number, protocol.clone()))
        };
        if wanted != 0 {
            let why = if !(FIRST_PORT..=LAST_PORT).contains(&wanted) {
                format!(
                    "provided port is not in the valid range. The range of valid ports is {FIRST_PORT}-{LAST_PORT}"
                )
            } else if is_taken(wanted) {
                "provided port is already allocated".to_owned()
            } else {
                own.insert((wanted, protocol));
                continue;
            };
            let field = format!("spec.ports[{index}].nodePort");
            let finding = format!("Invalid value: {wanted}: {why}");
            return Err(invalid("Service", "", &name, &field, "FieldValueInvalid", &finding));
        }
        if declined {
            continue;
        }
        let found = if dry_run { Some(LAST_PORT + 1) } else { free_port(is_taken) };
        let found =
            found.ok_or_else(|| StatusError::internal("failed to allocate a nodePort: range is full"))?;
        own.insert((found, protocol));
        port["nodePort"] = json!(found);
    }
    Ok(())
}

/// A random free port of the upper band, or any other.
fn free_port(is_taken: impl Fn(u16) -> bool) -> Option<u16> {
    let first = FIRST_PORT + STATIC_PORTS;
    let start = rand::rng().random_range(first..=LAST_PORT);
    (start..=LAST_PORT).chain(first..start).chain(FIRST_PORT..first).find(|port| !is_taken(*port))
}

fn number(port: &Value, member: &str) -> u16 {
    port.get(member).and_then(Value::as_u64).and_then(|number| u16::try_from(number).ok()).unwrap_or(0)
}

fn ports_mut(service: &mut Object) -> &mut [Value] {
    let ports = service.0.get_mut("spec").and_then(|spec| spec.get_mut("ports"));
    ports.and_then(Value::as_array_mut).map(Vec::as_mut_slice).unwrap_or_default()
}
