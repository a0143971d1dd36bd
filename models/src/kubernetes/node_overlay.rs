//! The NodeOverlay of `karpenter.sh/v1alpha1`: other prices and more devices for the offerings that it selects.
//!
//! <https://karpenter.sh/docs/concepts/nodeoverlays/>.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::NodeSelectorRequirement;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Dollars an hour above which a price is a mistake, as in a catalogue.
const DEAREST: f64 = 1e6;

/// A change of what offerings cost and have.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeOverlay {
    /// Its name decides between overlays of one weight.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What it selects and changes.
    pub spec: NodeOverlaySpec,
    /// What Karpenter observed; read for nothing, kept so that exported objects are accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<serde_json::Value>,
}

/// What an overlay selects and changes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeOverlaySpec {
    /// What an offering must be: its labels, `karpenter.sh/nodepool`, and the labels of the pool's template. The operators
    /// are those of a NodePool.
    #[serde(default)]
    pub requirements: Vec<NodeSelectorRequirement>,
    /// Dollars an hour in place of the price (`0.25`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<String>,
    /// What comes on top of the price or off it: dollars an hour (`+0.2`) or a share of it (`-10%`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_adjustment: Option<String>,
    /// A price as an expression, which newer versions know; it can't be evaluated here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_expression: Option<String>,
    /// Extended resources that a node has besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<BTreeMap<String, Quantity>>,
    /// 1 to 10,000; of two overlays the heavier counts. Absent means 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<i32>,
}

/// What an overlay makes of a price.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PriceChange {
    /// So many dollars an hour, whatever it was.
    To(f64),
    /// So many dollars an hour more.
    By(f64),
    /// So many percent more.
    ByPercent(f64),
}

/// A price that is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {problem}")]
pub struct PriceChangeError {
    /// `spec.price`, `spec.priceAdjustment` or `spec.priceExpression`.
    pub field: &'static str,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

impl NodeOverlay {
    /// What it makes of prices; `None` where it leaves them as they are.
    ///
    /// # Errors
    /// Where both fields are given, one is not of the form that the API demands, or the price is an expression.
    pub fn price_change(&self) -> Result<Option<PriceChange>, PriceChangeError> {
        let error = |field, problem| Err(PriceChangeError { field, problem });
        if self.spec.price_expression.is_some() {
            let problem = "can't be evaluated here; use price or priceAdjustment".to_owned();
            return error("spec.priceExpression", problem);
        }
        match (&self.spec.price, &self.spec.price_adjustment) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => error("spec.price", "price and priceAdjustment exclude each other".to_owned()),
            (Some(text), None) => match dollars(text, true) {
                Some(price) if price <= DEAREST => Ok(Some(PriceChange::To(price))),
                Some(_) => error("spec.price", format!("{text:?} is more than $1000000 an hour")),
                None => error("spec.price", format!("{text:?} is no price (dollars an hour, such as 0.25)")),
            },
            (None, Some(text)) => match adjustment(text) {
                Some(change) => Ok(Some(change)),
                None => error(
                    "spec.priceAdjustment",
                    format!("{text:?} is no change of a price (dollars an hour or a share, such as +0.2 or -10%)"),
                ),
            },
        }
    }
}

impl PriceChange {
    /// The new price in dollars an hour; never below 0. `None` where it is out of all reason.
    pub fn apply(self, price: f64) -> Option<f64> {
        let changed = match self {
            PriceChange::To(new) => new,
            PriceChange::By(more) => price + more,
            PriceChange::ByPercent(percent) => price * (1.0 + percent / 100.0),
        };
        (changed <= DEAREST).then_some(changed.max(0.0))
    }
}

/// `12`, `0.5`, and `.5` unless there must be a digit before the point.
fn dollars(text: &str, whole: bool) -> Option<f64> {
    let (before, after) = text.split_once('.').map_or((text, None), |(before, after)| (before, Some(after)));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let complete = after.map_or(!before.is_empty(), |after| !after.is_empty() && (!whole || !before.is_empty()));
    (complete && digits(before) && after.is_none_or(digits)).then(|| text.parse().ok()).flatten()
}

fn adjustment(text: &str) -> Option<PriceChange> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1.0,
        b'-' => -1.0,
        _ => return None,
    };
    let number = &text[1..];
    match number.strip_suffix('%') {
        Some(percent) => {
            let percent = sign * dollars(percent, sign < 0.0)?;
            (percent >= -100.0).then_some(PriceChange::ByPercent(percent))
        }
        None => Some(PriceChange::By(sign * dollars(number, false)?)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn change(field: &str, text: &str) -> Result<Option<PriceChange>, PriceChangeError> {
        let overlay: NodeOverlay = serde_json::from_value(serde_json::json!({"spec": {field: text}})).unwrap();
        overlay.price_change()
    }

    #[test]
    fn prices_and_adjustments() {
        assert_eq!(change("price", "0.25"), Ok(Some(PriceChange::To(0.25))));
        assert_eq!(change("priceAdjustment", "+0.2"), Ok(Some(PriceChange::By(0.2))));
        assert_eq!(change("priceAdjustment", "-.5"), Ok(Some(PriceChange::By(-0.5))));
        assert_eq!(change("priceAdjustment", "-10%"), Ok(Some(PriceChange::ByPercent(-10.0))));
        assert_eq!(change("priceAdjustment", "+150%"), Ok(Some(PriceChange::ByPercent(150.0))));
        assert_eq!(NodeOverlay::default().price_change(), Ok(None));
        for text in ["", "-1", "+1", ".5", "1.", "1e3", "x", "1,5", "NaN", "9999999"] {
            assert!(change("price", text).is_err(), "{text}");
        }
        for text in ["", "+", "%", "+%", "5%", "0.2", "-101%", "-100.1%", "+1e3", "+-1", "+inf"] {
            assert!(change("priceAdjustment", text).is_err(), "{text}");
        }
        assert!(change("priceExpression", "self.price * 0.9").is_err());
        let both = NodeOverlaySpec {
            price: Some("1".to_owned()),
            price_adjustment: Some("+1".to_owned()),
            ..NodeOverlaySpec::default()
        };
        assert!(NodeOverlay { spec: both, ..NodeOverlay::default() }.price_change().is_err());
    }

    #[test]
    fn a_changed_price_is_never_below_nothing() {
        assert_eq!(PriceChange::To(0.25).apply(4.0), Some(0.25));
        assert_eq!(PriceChange::By(-0.5).apply(0.25), Some(0.0));
        assert_eq!(PriceChange::ByPercent(-10.0).apply(4.0), Some(3.6));
        assert_eq!(PriceChange::ByPercent(900.0).apply(2e5), None);
    }
}
