//! Links, addresses and routes over rtnetlink. Every function leaves things as named whether or not they were there.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use futures::TryStreamExt;
use ipnet::Ipv4Net;
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute};
use rtnetlink::{Error, Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use crate::NetworkError;

/// The Pod's side of its link.
const POD_LINK: &str = "eth0";
/// The group of links that are about to be deleted, on any network of this machine: `Outr`, which no administrator
/// gives a meaning of his own.
const DEPARTING: u32 = 0x4f75_7472;

/// A netlink conversation in the namespace of the calling thread.
pub(crate) fn connect() -> Result<Handle, NetworkError> {
    let (connection, handle, _) = rtnetlink::new_connection()
        .map_err(|source| NetworkError::Io { doing: "open a netlink socket".into(), source })?;
    // Ends by itself when the last handle is dropped.
    tokio::spawn(connection);
    Ok(handle)
}

/// The bridge, up, with the node's address.
pub(crate) async fn ensure_bridge(
    handle: &Handle,
    name: &str,
    address: Ipv4Addr,
    cidr: Ipv4Net,
) -> Result<u32, NetworkError> {
    let index = match index_of(handle, name).await? {
        Some(index) => index,
        None => {
            let bridge = LinkBridge::new(name).forward_delay(0).build();
            done(handle.link().add(bridge).execute().await, || format!("add bridge {name}"))?;
            index_of(handle, name).await?.ok_or_else(|| gone(name))?
        }
    };
    add_address(handle, index, address, cidr.prefix_len()).await?;
    set_up(handle, index, name).await?;
    Ok(index)
}

/// Gives a link one more address; one it has is success.
pub(crate) async fn add_address(
    handle: &Handle,
    index: u32,
    address: Ipv4Addr,
    prefix: u8,
) -> Result<(), NetworkError> {
    let added = handle.address().add(index, address.into(), prefix).execute().await;
    done(added, || format!("give {address} to link {index}"))
}

/// Deletes a link by name; none of that name is success.
pub(crate) async fn delete(handle: &Handle, name: &str) -> Result<(), NetworkError> {
    let Some(index) = index_of(handle, name).await? else { return Ok(()) };
    match handle.link().del(index).execute().await {
        Err(error) if is_no_device(&error) => Ok(()),
        other => done(other, || format!("delete link {name}")),
    }
}

/// Deletes links by name in one request; those that are not there are as good as deleted.
pub(crate) async fn delete_all(handle: &Handle, names: &[&str]) -> Result<(), NetworkError> {
    if let [name] = names {
        return delete(handle, name).await;
    }
    for name in names {
        let Some(index) = index_of(handle, name).await? else { continue };
        let marked = LinkMessageBuilder::<LinkUnspec>::new()
            .index(index)
            .append_extra_attribute(LinkAttribute::Group(DEPARTING))
            .build();
        match handle.link().set(marked).execute().await {
            Err(error) if is_no_device(&error) => {}
            other => done(other, || format!("mark link {name}"))?,
        }
    }
    let mut request = handle.link().del(0);
    request.message_mut().attributes.push(LinkAttribute::Group(DEPARTING));
    match request.execute().await {
        Err(error) if is_no_device(&error) => Ok(()),
        other => done(other, || format!("delete {} links", names.len())),
    }
}

fn is_no_device(error: &Error) -> bool {
    const ENODEV: i32 = -19;
    matches!(error, Error::NetlinkError(error) if error.raw_code() == ENODEV)
}

/// Inside a Pod's namespace: the veth pair, its far end in the node's namespace, address and default route.
pub(crate) async fn wire_pod(
    node_end: String,
    node_namespace: OwnedFd,
    address: Ipv4Addr,
    cidr: Ipv4Net,
    gateway: Ipv4Addr,
) -> Result<(), NetworkError> {
    let handle = connect()?;
    set_up(&handle, 1, "lo").await?;
    let index = match index_of(&handle, POD_LINK).await? {
        Some(index) => index,
        None => {
            // Both ends are made where they belong: handing one over afterwards waits for all readers of its
            // namespace, about 20 ms under a lock that all Pods' links need.
            let far = LinkMessageBuilder::<LinkUnspec>::new()
                .name(node_end.clone())
                .setns_by_fd(node_namespace.as_raw_fd())
                .build();
            let pair = LinkVeth::new(POD_LINK, &node_end).set_info_data(InfoData::Veth(InfoVeth::Peer(far)));
            done(handle.link().add(pair.build()).execute().await, || format!("add link {node_end}"))?;
            index_of(&handle, POD_LINK).await?.ok_or_else(|| gone(POD_LINK))?
        }
    };
    let added = handle.address().add(index, address.into(), cidr.prefix_len()).execute().await;
    done(added, || format!("give {address} to the pod"))?;
    set_up(&handle, index, POD_LINK).await?;
    let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build();
    done(handle.route().add(route).execute().await, || format!("route by {gateway}"))
}

/// On the node: the far end joins the bridge and goes up.
pub(crate) async fn join_bridge(handle: &Handle, node_end: &str, bridge: u32) -> Result<(), NetworkError> {
    let index = index_of(handle, node_end).await?.ok_or_else(|| gone(node_end))?;
    let joined = LinkMessageBuilder::<LinkUnspec>::new().index(index).controller(bridge).up().build();
    done(handle.link().set(joined).execute().await, || format!("put {node_end} on the bridge"))
}

async fn set_up(handle: &Handle, index: u32, name: &str) -> Result<(), NetworkError> {
    let up = LinkMessageBuilder::<LinkUnspec>::new().index(index).up().build();
    done(handle.link().set(up).execute().await, || format!("set {name} up"))
}

/// The index of a link, `None` if there is none of that name.
async fn index_of(handle: &Handle, name: &str) -> Result<Option<u32>, NetworkError> {
    let mut found = Box::pin(handle.link().get().match_name(name.to_owned()).execute());
    match found.try_next().await {
        Ok(link) => Ok(link.map(|link| link.header.index)),
        Err(error) if is_no_device(&error) => Ok(None),
        Err(error) => done(Err(error), || format!("find link {name}")).map(|()| None),
    }
}

/// Makes "it is there already" a success.
fn done(result: Result<(), Error>, doing: impl FnOnce() -> String) -> Result<(), NetworkError> {
    const EEXIST: i32 = -17;
    match result {
        Ok(()) => Ok(()),
        Err(Error::NetlinkError(error)) if error.raw_code() == EEXIST => Ok(()),
        Err(error) => Err(NetworkError::Kernel { doing: doing(), cause: error.to_string() }),
    }
}

fn gone(name: &str) -> NetworkError {
    NetworkError::Kernel { doing: format!("find link {name}"), cause: "it was taken away meanwhile".into() }
}
