//! What is switched on and off by name.

use std::str::FromStr;

/// The feature gates that mean something here, with Karpenter's names
/// (<https://karpenter.sh/docs/reference/settings/#feature-gates>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureGates {
    /// Machines whose nodes are sick are replaced; not by default, as in Karpenter.
    pub node_repair: bool,
    /// NodeOverlays count, where the cluster knows them. Karpenter has them off by default; here who installs them has
    /// them on.
    pub node_overlay: bool,
}

impl Default for FeatureGates {
    fn default() -> Self {
        FeatureGates { node_repair: false, node_overlay: true }
    }
}

/// Why feature gates are not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no feature gate; expected NAME=true or NAME=false, several with commas between")]
pub struct GateError(String);

impl FromStr for FeatureGates {
    type Err = GateError;

    /// Gates of other names pass, as they do in Karpenter: what they switch is always on here, or not there.
    fn from_str(text: &str) -> Result<Self, GateError> {
        let mut gates = FeatureGates::default();
        for one in text.split(',').map(str::trim).filter(|one| !one.is_empty()) {
            let wrong = || GateError(one.to_owned());
            let (name, value) = one.split_once('=').ok_or_else(wrong)?;
            let on: bool = value.trim().to_lowercase().parse().map_err(|_| wrong())?;
            match name.trim() {
                "NodeRepair" => gates.node_repair = on,
                "NodeOverlay" => gates.node_overlay = on,
                _ => {}
            }
        }
        Ok(gates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_are_read_as_karpenter_reads_them() {
        let repairs = |text: &str| text.parse::<FeatureGates>().map(|gates| gates.node_repair);
        assert_eq!(repairs(""), Ok(false));
        assert_eq!(repairs("NodeRepair=true"), Ok(true));
        assert_eq!(repairs("StaticCapacity=true, NodeRepair=True,NodeOverlay=false"), Ok(true));
        assert_eq!(repairs("NodeRepair=true,NodeRepair=false"), Ok(false));
        let overlays = |text: &str| text.parse::<FeatureGates>().map(|gates| gates.node_overlay);
        assert_eq!((overlays("NodeRepair=true"), overlays("NodeOverlay=false")), (Ok(true), Ok(false)));
        for wrong in ["NodeRepair", "NodeRepair=maybe", "=", "NodeOverlay=2"] {
            assert!(repairs(wrong).is_err(), "{wrong}");
        }
    }
}
