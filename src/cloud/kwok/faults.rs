//! What goes wrong in the simulated cloud: set when the program starts, and changed while it runs through a ConfigMap.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cloud::Offer;

/// How the simulated cloud behaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// From launch to the node's first sign of life.
    pub boot_delay: Duration,
    /// Offerings that cannot be had.
    pub refused: Vec<Pattern>,
    /// With these words every launch fails.
    pub failure: Option<String>,
    /// Whether machines are launched and never become nodes.
    pub never_boots: bool,
}

/// Some offerings: `m5.large/us-east-1a/spot`, each part a name or `*`; parts that are left out are `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern([String; 3]);

/// Why the words of a person about the simulated cloud are not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// Not a pattern of offerings.
    #[error("{0:?} is no offering; expected INSTANCE-TYPE/ZONE/CAPACITY-TYPE, each a name or *")]
    Pattern(String),
    /// Not a duration.
    #[error("bootDelay {0:?} is no duration such as 500ms or 30s")]
    Duration(String),
    /// A key that means nothing.
    #[error("{0:?} is not known; there are bootDelay, refuse, fail and neverBoot")]
    Key(String),
}

impl std::str::FromStr for Pattern {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let parts: Vec<&str> = text.trim().split('/').collect();
        if parts.len() > 3 || parts.iter().any(|part| part.is_empty()) {
            return Err(FaultError::Pattern(text.to_owned()));
        }
        let part = |index: usize| parts.get(index).copied().unwrap_or("*").to_owned();
        Ok(Pattern([part(0), part(1), part(2)]))
    }
}

impl Pattern {
    fn matches(&self, offer: &Offer) -> bool {
        let values = [&offer.instance_type, &offer.zone, &offer.capacity_type];
        self.0.iter().zip(values).all(|(part, value)| part == "*" || part == value)
    }
}

impl Faults {
    /// Whether an offering cannot be had.
    pub fn refuses(&self, offer: &Offer) -> bool {
        self.refused.iter().any(|pattern| pattern.matches(offer))
    }

    /// These, overlaid by the data of a ConfigMap: `bootDelay: 30s`, `refuse` with one pattern a line, `fail` with the
    /// words of the failure, `neverBoot: "true"`.
    ///
    /// # Errors
    /// The first key or value that means nothing.
    pub fn overlaid(&self, data: &BTreeMap<String, String>) -> Result<Faults, FaultError> {
        let mut faults = self.clone();
        for (key, value) in data {
            match key.as_str() {
                "bootDelay" => {
                    faults.boot_delay =
                        crate::duration::parse(value).ok_or_else(|| FaultError::Duration(value.clone()))?;
                }
                "refuse" => {
                    let lines = value.lines().filter(|line| !line.trim().is_empty());
                    faults.refused = lines.map(str::parse).collect::<Result<_, _>>()?;
                }
                "fail" => faults.failure = Some(value.clone()).filter(|words| !words.is_empty()),
                "neverBoot" => faults.never_boots = value.trim() == "true",
                _ => return Err(FaultError::Key(key.clone())),
            }
        }
        Ok(faults)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn offer() -> Offer {
        Offer { instance_type: "m5.large".into(), zone: "us-east-1a".into(), capacity_type: "spot".into() }
    }

    #[test]
    fn patterns_name_offerings() {
        for hit in ["m5.large/us-east-1a/spot", "m5.large", "*/us-east-1a", "*/*/spot"] {
            let faults = Faults { refused: vec![hit.parse().unwrap()], ..Faults::default() };
            assert!(faults.refuses(&offer()), "{hit}");
        }
        for miss in ["m5.xlarge", "*/us-east-1b", "m5.large/us-east-1a/on-demand"] {
            let faults = Faults { refused: vec![miss.parse().unwrap()], ..Faults::default() };
            assert!(!faults.refuses(&offer()), "{miss}");
        }
        for wrong in ["", "a//b", "a/b/c/d"] {
            assert!(wrong.parse::<Pattern>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_config_map_changes_what_the_flags_said() {
        let flags = Faults { boot_delay: Duration::from_secs(9), ..Faults::default() };
        let data =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let faults =
            flags.overlaid(&data(&[("refuse", "m5.large\n\n*/us-east-1b\n"), ("fail", "out of order")])).unwrap();
        assert_eq!(faults.boot_delay, Duration::from_secs(9));
        assert_eq!(faults.refused.len(), 2);
        assert_eq!(faults.failure.as_deref(), Some("out of order"));
        assert_eq!(flags.overlaid(&data(&[("bootDelay", "500ms")])).unwrap().boot_delay, Duration::from_millis(500));
        assert_eq!(flags.overlaid(&data(&[("bootdelay", "1s")])), Err(FaultError::Key("bootdelay".into())));
        assert!(flags.overlaid(&data(&[("bootDelay", "-1s")])).is_err());
    }
}
