//! The managed `/etc/hosts` (R11.18-R11.22).

use k8s_openapi::api::core::v1::HostAlias;

use super::PodHostname;

/// What the file says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostsInput<'a> {
    /// The Pod's addresses; ignored on the host network.
    pub ips: &'a [String],
    /// The Pod's names.
    pub hostname: &'a PodHostname,
    /// `spec.hostAliases`.
    pub aliases: &'a [HostAlias],
    /// The node's own file, for host-network Pods.
    pub node_file: Option<&'a str>,
}

/// The text of the file.
pub(crate) fn render_hosts(input: &HostsInput<'_>) -> String {
    let mut text = match input.node_file {
        Some(node_file) => format!("# Kubernetes-managed hosts file (host network).\n{node_file}"),
        None => pod_network(input),
    };
    if !input.aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
        for alias in input.aliases {
            text.push_str(&alias.ip);
            for name in alias.hostnames.iter().flatten() {
                text.push('\t');
                text.push_str(name);
            }
            text.push('\n');
        }
    }
    text
}

fn pod_network(input: &HostsInput<'_>) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n",
    );
    let hostname = &input.hostname.hostname;
    for ip in input.ips {
        match &input.hostname.fqdn {
            Some(fqdn) => text.push_str(&format!("{ip}\t{fqdn}\t{hostname}\n")),
            None => text.push_str(&format!("{ip}\t{hostname}\n")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alias(ip: &str, names: &[&str]) -> HostAlias {
        HostAlias { ip: ip.into(), hostnames: Some(names.iter().map(|&name| name.into()).collect()) }
    }

    /// R11.19, R11.20
    #[test]
    fn pod_network_file() {
        let hostname = PodHostname {
            hostname: "p".into(),
            fqdn: Some("p.s.n.svc.cluster.local".into()),
            kernel: "p".into(),
        };
        let text = render_hosts(&HostsInput {
            ips: &["10.0.0.5".into(), "fd00::5".into()],
            hostname: &hostname,
            aliases: &[alias("192.0.2.9", &["db", "db.example"])],
            node_file: None,
        });
        let want = "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
            fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n\
            10.0.0.5\tp.s.n.svc.cluster.local\tp\nfd00::5\tp.s.n.svc.cluster.local\tp\n\
            \n# Entries added by HostAliases.\n192.0.2.9\tdb\tdb.example\n";
        assert_eq!(text, want);
    }

    /// R11.21
    #[test]
    fn host_network_file() {
        let text = render_hosts(&HostsInput {
            ips: &["10.0.0.5".into()],
            hostname: &PodHostname::default(),
            aliases: &[alias("192.0.2.9", &["db"])],
            node_file: Some("127.0.0.1 localhost\n"),
        });
        let want = "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n\
            \n# Entries added by HostAliases.\n192.0.2.9\tdb\n";
        assert_eq!(text, want);
    }
}
