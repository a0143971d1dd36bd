//! Ports of the host that pods take for themselves.

use k8s_openapi::api::core::v1::PodSpec;

/// A port of the node itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The number.
    pub port: i32,
    /// The address it is taken on; `0.0.0.0` for all.
    pub address: String,
}

/// The address that stands for all of them.
pub const ANY_ADDRESS: &str = "0.0.0.0";

impl HostPort {
    /// Whether both can't be on one node.
    pub fn conflicts(&self, other: &HostPort) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.address == other.address || self.address == ANY_ADDRESS || other.address == ANY_ADDRESS)
    }
}

/// The host ports of a pod, sorted. Those of init containers count only where they run on (sidecars).
pub fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let mut ports: Vec<HostPort> = spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| {
            let on_host = port.host_port.or(spec.host_network.unwrap_or(false).then_some(port.container_port))?;
            (on_host > 0).then(|| HostPort {
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                port: on_host,
                address: match port.host_ip.as_deref() {
                    None | Some("" | "::") => ANY_ADDRESS.to_owned(),
                    Some(address) => address.to_owned(),
                },
            })
        })
        .collect();
    ports.sort();
    ports.dedup();
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(address: &str, port: i32) -> HostPort {
        HostPort { protocol: "TCP".to_owned(), port, address: address.to_owned() }
    }

    #[test]
    fn all_addresses_conflict_with_each() {
        assert!(port(ANY_ADDRESS, 80).conflicts(&port("10.0.0.1", 80)));
        assert!(!port("10.0.0.2", 80).conflicts(&port("10.0.0.1", 80)));
        assert!(!port(ANY_ADDRESS, 80).conflicts(&port(ANY_ADDRESS, 81)));
    }
}
