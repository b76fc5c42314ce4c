//! Pod networking: bridge, veth, IPAM, masquerade, host ports, all over netlink.
