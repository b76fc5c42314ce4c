//! ResourceQuota: what an object uses, which quotas count it, and whether there is room (I48).
//!
//! [`usage`] and [`Quota::counts`] are all a controller needs to add up what is there; [`charge`] is what admission asks
//! about one write.

mod pod;
mod scope;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use outrigger_api::quantity::in_format_of;
use outrigger_api::{KindInfo, Object, Quantity, StatusError};
use serde_json::{Map, Value, json};

use crate::tree;

/// Amounts by resource, in the order messages name them.
pub type Amounts = BTreeMap<String, Quantity>;

/// A quota as it is stored.
#[derive(Clone, Debug)]
pub struct Quota(pub Object);

impl Quota {
    /// Its limits. While admitting, those a controller has confirmed in the status count, because only for them is it
    /// known what is used.
    fn amounts(&self, path: &[&str]) -> Amounts {
        let list = self.0.at(path).and_then(Value::as_object).into_iter().flatten();
        list.filter_map(|(name, amount)| Some((name.clone(), Quantity::from_json(amount)?))).collect()
    }

    /// Whether it counts an object of the kind at all: by its scopes, and because it limits something of it.
    pub fn counts(&self, kind: &KindInfo, object: &Object) -> bool {
        scope::matches(&self.0, kind, object)
    }

    /// Its status after what is used became `used`; texts stay in the format of the limits.
    #[must_use]
    pub fn with_used(&self, hard: &str, used: &Amounts) -> Object {
        let limits = self.0.at(&[hard, "hard"]).and_then(Value::as_object).cloned().unwrap_or_default();
        let mut texts = Map::new();
        for (name, amount) in used {
            let format = limits.get(name).and_then(Value::as_str).unwrap_or_default();
            texts.insert(name.clone(), json!(in_format_of(*amount, format)));
        }
        let mut quota = self.0.clone();
        *quota.entry(&["status", "hard"]) = Value::Object(limits);
        *quota.entry(&["status", "used"]) = Value::Object(texts);
        quota
    }

    /// What of `objects` together it counts, by resource it limits. Zero where there is nothing.
    pub fn total<'a>(&self, objects: impl IntoIterator<Item = (&'a KindInfo, &'a Object)>) -> Amounts {
        let mut used: Amounts =
            self.amounts(&["spec", "hard"]).into_keys().map(|name| (name, Quantity::default())).collect();
        for (kind, object) in objects {
            if !self.counts(kind, object) {
                continue;
            }
            for (name, amount) in usage(kind, object) {
                if let Some(sum) = used.get_mut(&name) {
                    *sum = *sum + amount;
                }
            }
        }
        used
    }
}

/// What an object uses.
pub fn usage(kind: &KindInfo, object: &Object) -> Amounts {
    let one = Quantity::units(1);
    let mut used = Amounts::from([(format!("count/{}", kind.qualified()), one)]);
    match (&*kind.group, &*kind.plural) {
        ("", "pods") => used.extend(pod::usage(object)),
        ("", "services") => used.extend(of_service(object)),
        ("", "persistentvolumeclaims") => used.extend(of_claim(object)),
        ("", plural @ ("configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas")) => {
            used.insert(plural.to_owned(), one);
        }
        _ => {}
    }
    used
}

fn of_service(service: &Object) -> Amounts {
    let spec = service.0.get("spec").unwrap_or(&Value::Null);
    let ports = tree::list(spec, "ports");
    let count = |number: usize| Quantity::units(i64::try_from(number).unwrap_or(i64::MAX));
    let mut used = Amounts::from([("services".to_owned(), Quantity::units(1))]);
    match tree::text(spec, "type") {
        "NodePort" => {
            used.insert("services.nodeports".to_owned(), count(ports.len()));
        }
        "LoadBalancer" => {
            let declined = spec.get("allocateLoadBalancerNodePorts") == Some(&json!(false));
            let given = ports.iter().filter(|port| tree::int(port, "nodePort").unwrap_or(0) != 0).count();
            used.insert("services.nodeports".to_owned(), count(if declined { given } else { ports.len() }));
            used.insert("services.loadbalancers".to_owned(), Quantity::units(1));
        }
        _ => {}
    }
    used
}

fn of_claim(claim: &Object) -> Amounts {
    const CLASS: &str = "storageclass.storage.k8s.io";
    let size = claim.at(&["spec", "resources", "requests", "storage"]).and_then(Quantity::from_json);
    let mut used = Amounts::from([("persistentvolumeclaims".to_owned(), Quantity::units(1))]);
    if let Some(size) = size {
        used.insert("requests.storage".to_owned(), size);
    }
    let class = claim.str_at(&["spec", "storageClassName"]);
    if !class.is_empty() {
        used.insert(format!("{class}.{CLASS}/persistentvolumeclaims"), Quantity::units(1));
        if let Some(size) = size {
            used.insert(format!("{class}.{CLASS}/requests.storage"), size);
        }
    }
    used
}

/// Whether an update of the kind can use more than before.
pub fn may_grow(kind: &KindInfo, subresource: &str) -> bool {
    match (&*kind.group, &*kind.plural) {
        ("", "pods") => subresource == "resize",
        ("", "services" | "persistentvolumeclaims") => subresource.is_empty(),
        _ => false,
    }
}

/// What a write takes from one quota.
#[derive(Clone, Debug)]
pub struct Charge {
    /// The quota's name.
    pub quota: String,
    /// What is taken.
    pub taken: Amounts,
    /// The quota with it.
    pub charged: Object,
}

/// What a write takes from each of `quotas`; none of those that do not count it. `old` is what the object was.
///
/// # Errors
/// 403 if there is no room, or if an amount is missing that a quota has to know.
pub fn charge(
    kind: &KindInfo,
    object: &Object,
    old: Option<&Object>,
    quotas: &[Quota],
) -> Result<Vec<Charge>, StatusError> {
    let refuse = |why: &str| StatusError::forbidden(&kind.plural, &kind.group, object.name(), why);
    let counting: Vec<&Quota> = quotas.iter().filter(|quota| quota.counts(kind, object)).collect();
    for quota in &counting {
        let limited = quota.amounts(&["status", "hard"]);
        if let ("", "pods", None) = (&*kind.group, &*kind.plural, old)
            && let Some(missing) = pod::missing(object, &limited)
        {
            return Err(refuse(&format!("failed quota: {}: must specify {missing}", quota.0.name())));
        }
    }
    let mut charges = Vec::new();
    for quota in counting {
        let delta = growth(kind, object, old.filter(|old| quota.counts(kind, old)));
        let hard = quota.amounts(&["status", "hard"]);
        let mut used = quota.amounts(&["status", "used"]);
        let taken: Amounts = delta.into_iter().filter(|(name, _)| hard.contains_key(name)).collect();
        if taken.is_empty() {
            continue;
        }
        let unknown: Vec<&str> =
            taken.keys().filter(|name| !used.contains_key(*name)).map(String::as_str).collect();
        if !unknown.is_empty() {
            let why =
                format!("status unknown for quota: {}, resources: {}", quota.0.name(), unknown.join(","));
            return Err(refuse(&why));
        }
        let before = used.clone();
        let mut exceeded: Vec<&String> = Vec::new();
        for (name, amount) in &taken {
            let sum = used.get(name).copied().unwrap_or_default() + *amount;
            used.insert(name.clone(), sum);
            if hard.get(name).is_some_and(|most| sum > *most) {
                exceeded.push(name);
            }
        }
        if !exceeded.is_empty() {
            let shown = |amounts: &Amounts| {
                let one = |name: &&String| {
                    amounts.get(*name).map(|amount| format!("{name}={}", quota.text(name, *amount)))
                };
                exceeded.iter().filter_map(one).collect::<Vec<_>>().join(",")
            };
            return Err(refuse(&format!(
                "exceeded quota: {}, requested: {}, used: {}, limited: {}",
                quota.0.name(),
                shown(&taken),
                shown(&before),
                shown(&hard)
            )));
        }
        let charged = quota.with_used("status", &used);
        charges.push(Charge { quota: quota.0.name().to_owned(), taken, charged });
    }
    Ok(charges)
}

/// The quota without what a write took that did not happen after all.
#[must_use]
pub fn give_back(quota: &Quota, taken: &Amounts) -> Object {
    let mut used = quota.amounts(&["status", "used"]);
    for (name, amount) in taken {
        if let Some(sum) = used.get_mut(name) {
            *sum = (*sum - *amount).max(Quantity::default());
        }
    }
    quota.with_used("status", &used)
}

impl Quota {
    fn text(&self, name: &str, amount: Quantity) -> String {
        let format = self.0.str_at(&["status", "hard", name]);
        in_format_of(amount, format)
    }
}

/// What is used more than before. What is used less is counted by the controller, once it is so.
fn growth(kind: &KindInfo, object: &Object, old: Option<&Object>) -> Amounts {
    let before = old.map(|old| usage(kind, old)).unwrap_or_default();
    let more = |(name, amount): (String, Quantity)| {
        let grown = amount - before.get(&name).copied().unwrap_or_default();
        (grown > Quantity::default()).then_some((name, grown))
    };
    usage(kind, object).into_iter().filter_map(more).collect()
}
