//! The files the node manages for a Pod: `/etc/hosts`, `/etc/resolv.conf` and the host name. Pure text; who writes
//! and mounts them is [`crate::container`].

mod hostname;
mod hosts;
mod resolv;

pub(crate) use hostname::{PodHostname, pod_hostname};
pub(crate) use hosts::{HostsInput, render_hosts};
pub(crate) use resolv::{ClusterDns, ResolvConf, pod_resolv_conf};
