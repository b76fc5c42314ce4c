//! The managed `/etc/resolv.conf` (R11.23-R11.32).

use k8s_openapi::api::core::v1::Pod;

const MOST_NAMESERVERS: usize = 3;
const MOST_SEARCHES: usize = 32;
const MOST_SEARCH_CHARACTERS: usize = 2048;
const LONGEST_SEARCH: usize = 253;

/// What a resolver file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResolvConf {
    /// Server addresses in order.
    pub nameservers: Vec<String>,
    /// Search domains in order.
    pub searches: Vec<String>,
    /// Options such as `ndots:5`.
    pub options: Vec<String>,
}

/// The cluster's name service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClusterDns {
    /// Its addresses; none if the cluster has none (R11.31).
    pub servers: Vec<String>,
    /// `cluster.local`.
    pub domain: String,
}

/// What had to be left out; each becomes a Warning event (R10.20).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DnsProblem {
    /// R11.31.
    MissingClusterDns {
        /// The policy that could not be honoured.
        policy: String,
    },
    /// R11.32; the line that is applied.
    TooManyNameservers(String),
    /// R11.32; the line that is applied.
    SearchLimit(String),
}

impl DnsProblem {
    /// The event's reason.
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::MissingClusterDns { .. } => "MissingClusterDNS",
            Self::TooManyNameservers(_) | Self::SearchLimit(_) => "DNSConfigForming",
        }
    }

    /// The event's message. `pod` is `<name>_<namespace>(<uid>)`.
    pub(crate) fn message(&self, pod: &str) -> String {
        match self {
            Self::MissingClusterDns { policy } => format!(
                "pod: {pod:?}. kubelet does not have ClusterDNS IP configured and cannot create Pod using {policy:?} \
                 policy. Falling back to \"Default\" policy."
            ),
            Self::TooManyNameservers(line) => format!(
                "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {line}"
            ),
            Self::SearchLimit(line) => format!(
                "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {line}"
            ),
        }
    }
}

impl ResolvConf {
    /// Reads a resolver file (R11.29).
    pub(crate) fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => conf.nameservers.extend(words.next().map(str::to_owned)),
                Some("search") => {
                    let plain = words.map(|word| if word == "." { word } else { word.trim_end_matches('.') });
                    conf.searches = plain.filter(|word| *word != ".").map(str::to_owned).collect();
                }
                Some("options") => conf.options = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        conf
    }

    /// The file's text.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        if !self.searches.is_empty() {
            text.push_str(&format!("search {}\n", self.searches.join(" ")));
        }
        for server in &self.nameservers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        if !self.options.is_empty() {
            text.push_str(&format!("options {}\n", self.options.join(" ")));
        }
        text
    }
}

/// A Pod's resolver file, and what of its wishes does not fit. `node` is the node's own; `None` if the node's
/// resolver file is configured empty (R11.30).
pub(crate) fn pod_resolv_conf(
    pod: &Pod,
    node: Option<&ResolvConf>,
    cluster: &ClusterDns,
) -> (ResolvConf, Vec<DnsProblem>) {
    let mut problems = Vec::new();
    let loopback =
        ResolvConf { nameservers: vec!["127.0.0.1".into()], searches: vec![".".into()], options: vec![] };
    let node = node.unwrap_or(&loopback);
    let mut conf = match source(pod, cluster, &mut problems) {
        Source::Cluster => cluster_first(pod, node, cluster),
        Source::Node => node.clone(),
        Source::Nothing => ResolvConf::default(),
    };
    merge_dns_config(pod, &mut conf);
    limit(&mut conf, &mut problems);
    (conf, problems)
}

enum Source {
    Cluster,
    Node,
    Nothing,
}

fn source(pod: &Pod, cluster: &ClusterDns, problems: &mut Vec<DnsProblem>) -> Source {
    let spec = pod.spec.as_ref();
    let host_network = spec.and_then(|spec| spec.host_network).unwrap_or(false);
    let policy = spec.and_then(|spec| spec.dns_policy.as_deref()).unwrap_or("ClusterFirst");
    match policy {
        "None" => Source::Nothing,
        "Default" => Source::Node,
        "ClusterFirst" if host_network => Source::Node,
        _ if cluster.servers.is_empty() => {
            problems.push(DnsProblem::MissingClusterDns { policy: policy.to_owned() });
            Source::Node
        }
        _ => Source::Cluster,
    }
}

fn cluster_first(pod: &Pod, node: &ResolvConf, cluster: &ClusterDns) -> ResolvConf {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let domain = &cluster.domain;
    let mut searches = Vec::new();
    if !domain.is_empty() {
        searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
    }
    append_new(&mut searches, &node.searches);
    ResolvConf { nameservers: cluster.servers.clone(), searches, options: vec!["ndots:5".into()] }
}

fn merge_dns_config(pod: &Pod, conf: &mut ResolvConf) {
    let Some(config) = pod.spec.as_ref().and_then(|spec| spec.dns_config.as_ref()) else { return };
    append_new(&mut conf.nameservers, config.nameservers.as_deref().unwrap_or_default());
    append_new(&mut conf.searches, config.searches.as_deref().unwrap_or_default());
    for option in config.options.iter().flatten() {
        let name = option.name.as_deref().unwrap_or_default();
        let text = match option.value.as_deref() {
            Some(value) if !value.is_empty() => format!("{name}:{value}"),
            _ => name.to_owned(),
        };
        match conf.options.iter_mut().find(|known| known.split(':').next() == Some(name)) {
            Some(known) => *known = text,
            None => conf.options.push(text),
        }
    }
}

fn append_new(list: &mut Vec<String>, more: &[String]) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

fn limit(conf: &mut ResolvConf, problems: &mut Vec<DnsProblem>) {
    if conf.nameservers.len() > MOST_NAMESERVERS {
        conf.nameservers.truncate(MOST_NAMESERVERS);
        problems.push(DnsProblem::TooManyNameservers(conf.nameservers.join(" ")));
    }
    let wanted = conf.searches.len();
    conf.searches.retain(|search| search.len() <= LONGEST_SEARCH);
    conf.searches.truncate(MOST_SEARCHES);
    while conf.searches.join(" ").len() > MOST_SEARCH_CHARACTERS {
        conf.searches.pop();
    }
    if conf.searches.len() < wanted {
        problems.push(DnsProblem::SearchLimit(conf.searches.join(" ")));
    }
}

#[cfg(test)]
mod tests;
