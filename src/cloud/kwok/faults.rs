//! What goes wrong in the simulated cloud: set when the program starts, and changed while it runs through a ConfigMap.

use std::collections::BTreeMap;
use std::time::Duration;

use supercargo_models::catalog::Catalog;

use crate::cloud::Offer;

/// How long before its end a machine is told of it, where nothing else is said: as EC2 does
/// (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html>).
const NOTICE: Duration = Duration::from_secs(120);

/// How the simulated cloud behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Faults {
    /// From launch to the node's first sign of life.
    pub boot_delay: Duration,
    /// From when a machine's end is asked for until it is gone.
    pub shutdown_delay: Duration,
    /// Offerings that cannot be had.
    pub refused: Vec<Pattern>,
    /// With these words every launch fails.
    pub failure: Option<String>,
    /// Whether machines are launched and never become nodes.
    pub never_boots: bool,
    /// Machines of these offerings are taken back.
    pub interrupted: Vec<Pattern>,
    /// From the warning to the end of such a machine.
    pub notice: Duration,
    /// Prices in dollars an hour that hold in place of the catalogue's; the last that names an offering.
    pub prices: Vec<(Pattern, f64)>,
    /// Offerings whose machines have drifted.
    pub drifted: Vec<Pattern>,
    /// How long a node may be sick, where it is not as long as on EC2.
    pub repair_after: Option<Duration>,
}

impl Default for Faults {
    fn default() -> Self {
        Faults {
            boot_delay: Duration::ZERO,
            shutdown_delay: Duration::ZERO,
            refused: Vec::new(),
            failure: None,
            never_boots: false,
            interrupted: Vec::new(),
            notice: NOTICE,
            prices: Vec::new(),
            drifted: Vec::new(),
            repair_after: None,
        }
    }
}

/// Some offerings: `m5.large/us-east-1a/spot`, each part a name or `*`; parts that are left out are `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern([String; 3]);

/// Why the words of a person about the simulated cloud are not understood.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FaultError {
    /// Not a pattern of offerings.
    #[error("{0:?} is no offering; expected INSTANCE-TYPE/ZONE/CAPACITY-TYPE, each a name or *")]
    Pattern(String),
    /// Not a duration.
    #[error("{0} {1:?} is no duration such as 500ms or 30s")]
    Duration(&'static str, String),
    /// Not a price.
    #[error("{0:?} is no price; expected INSTANCE-TYPE/ZONE/CAPACITY-TYPE and dollars an hour, with a space between")]
    Price(String),
    /// A key that means nothing.
    #[error(
        "{0:?} is not known; there are bootDelay, shutdownDelay, refuse, fail, neverBoot, interrupt, notice, prices, drift and \
         repairAfter"
    )]
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

    /// Whether machines of an offering have drifted.
    pub fn drifts(&self, offer: &Offer) -> bool {
        self.drifted.iter().any(|pattern| pattern.matches(offer))
    }

    /// Whether a machine of the offering is to be taken back.
    pub fn interrupts(&self, offer: &Offer) -> bool {
        self.interrupted.iter().any(|pattern| pattern.matches(offer))
    }

    /// The catalogue with the prices that hold.
    pub fn priced(&self, catalog: &Catalog) -> Catalog {
        let mut catalog = catalog.clone();
        for instance in &mut catalog.instance_types {
            let mut offerings = std::mem::take(&mut instance.offerings);
            for offering in &mut offerings {
                let offer = Offer::of(instance, offering);
                if let Some((_, price)) = self.prices.iter().rfind(|(pattern, _)| pattern.matches(&offer)) {
                    offering.price = *price;
                }
            }
            instance.offerings = offerings;
        }
        catalog
    }

    /// These, overlaid by the data of a ConfigMap: `bootDelay: 30s`, `shutdownDelay: 20s`, `refuse`, `interrupt` and `drift`
    /// with one pattern a line, `notice: 2m`, `repairAfter: 10s`, `prices` with a pattern and a price a line, `fail` with the words of the
    /// failure, `neverBoot: "true"`.
    ///
    /// # Errors
    /// The first key or value that means nothing.
    pub fn overlaid(&self, data: &BTreeMap<String, String>) -> Result<Faults, FaultError> {
        let mut faults = self.clone();
        for (key, value) in data {
            match key.as_str() {
                "bootDelay" => faults.boot_delay = duration("bootDelay", value)?,
                "shutdownDelay" => faults.shutdown_delay = duration("shutdownDelay", value)?,
                "notice" => faults.notice = duration("notice", value)?,
                "repairAfter" => faults.repair_after = Some(duration("repairAfter", value)?),
                "refuse" => faults.refused = lines(value).map(str::parse).collect::<Result<_, _>>()?,
                "interrupt" => faults.interrupted = lines(value).map(str::parse).collect::<Result<_, _>>()?,
                "drift" => faults.drifted = lines(value).map(str::parse).collect::<Result<_, _>>()?,
                "prices" => faults.prices = lines(value).map(price).collect::<Result<_, _>>()?,
                "fail" => faults.failure = Some(value.clone()).filter(|words| !words.is_empty()),
                "neverBoot" => faults.never_boots = value.trim() == "true",
                _ => return Err(FaultError::Key(key.clone())),
            }
        }
        Ok(faults)
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

fn duration(key: &'static str, text: &str) -> Result<Duration, FaultError> {
    crate::duration::parse(text).ok_or_else(|| FaultError::Duration(key, text.to_owned()))
}

/// A pattern and a price.
fn price(line: &str) -> Result<(Pattern, f64), FaultError> {
    let wrong = || FaultError::Price(line.to_owned());
    let (pattern, price) = line.split_once(char::is_whitespace).ok_or_else(wrong)?;
    let price: f64 = price.trim().parse().map_err(|_| wrong())?;
    if !(price.is_finite() && price > 0.0) {
        return Err(wrong());
    }
    Ok((pattern.parse()?, price))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use supercargo_models::catalog::{InstanceType, Offering};

    use super::*;

    fn offer() -> Offer {
        Offer { instance_type: "m5.large".into(), zone: "us-east-1a".into(), capacity_type: "spot".into() }
    }

    #[test]
    fn patterns_name_offerings() {
        for hit in ["m5.large/us-east-1a/spot", "m5.large", "*/us-east-1a", "*/*/spot"] {
            let faults = Faults { refused: vec![hit.parse().unwrap()], ..Faults::default() };
            assert!(faults.refuses(&offer()) && !faults.drifts(&offer()), "{hit}");
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
        assert_eq!(flags.overlaid(&data(&[("shutdownDelay", "20s")])).unwrap().shutdown_delay, Duration::from_secs(20));
        let sick = [("interrupt", "*/*/spot"), ("notice", "5s"), ("repairAfter", "1m")];
        let faults = flags.overlaid(&data(&sick)).unwrap();
        assert!(faults.interrupts(&offer()) && faults.notice == Duration::from_secs(5));
        assert_eq!(faults.repair_after, Some(Duration::from_secs(60)));
    }

    #[test]
    fn prices_move_where_a_line_names_an_offering() {
        let data = |text: &str| BTreeMap::from([("prices".to_owned(), text.to_owned())]);
        let faults = Faults::default().overlaid(&data("*/*/spot 0.5\n m5.large/us-east-1a/spot   0.25\n")).unwrap();
        let offering = |zone: &str| Offering {
            zone: zone.into(),
            capacity_type: "spot".into(),
            price: 0.1,
            ..Offering::default()
        };
        let offerings = vec![offering("us-east-1a"), offering("us-east-1b")];
        let instance = InstanceType { name: "m5.large".into(), offerings, ..InstanceType::default() };
        let moved = faults.priced(&Catalog { instance_types: vec![instance], ..Catalog::default() });
        let prices = moved.instance_types[0].offerings.iter().map(|offering| offering.price);
        assert_eq!(prices.collect::<Vec<_>>(), [0.25, 0.5]);
        for wrong in ["m5.large", "m5.large -1", "m5.large free", "a/b/c/d 1"] {
            assert!(Faults::default().overlaid(&data(wrong)).is_err(), "{wrong}");
        }
    }
}
