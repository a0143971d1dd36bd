//! What is switched on and off by name.

use std::str::FromStr;

/// The feature gates that mean something here, with Karpenter's names and defaults
/// (<https://karpenter.sh/docs/reference/settings/#feature-gates>).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeatureGates {
    /// Machines whose nodes are sick are replaced.
    pub node_repair: bool,
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
            if name.trim() == "NodeRepair" {
                gates.node_repair = on;
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
        for wrong in ["NodeRepair", "NodeRepair=maybe", "=", "NodeOverlay=2"] {
            assert!(repairs(wrong).is_err(), "{wrong}");
        }
    }
}
