//! Kubernetes quantities (`1500m`, `2Gi`, `1e3`), parsed exactly, and amounts of resources in integers.
//!
//! The grammar is the API's: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use thiserror::Error;

/// Amounts by resource name: millicores for `cpu`, whole units (bytes, devices, pods) for all others.
pub type Resources = BTreeMap<String, i64>;

/// A quantity in thousandths of its unit; what is finer than that is rounded away from zero, as Kubernetes does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity {
    /// Thousandths.
    pub milli: i128,
}

/// Why a text is no quantity.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QuantityError {
    /// Nothing between the quotes.
    #[error("a quantity is empty; expected a number such as 500m or 2Gi")]
    Empty,
    /// Not a number with a known suffix.
    #[error("{text:?} is not a quantity; expected a number with an optional suffix such as 500m, 2Gi or 1e3")]
    Malformed {
        /// What was read.
        text: String,
    },
    /// More than 64 bits can hold.
    #[error("quantity {text:?} is too large")]
    Overflow {
        /// What was read.
        text: String,
    },
}

/// Reads a quantity. Numbers whose whole part exceeds 63 bits are an error.
pub fn parse(text: &str) -> Result<Quantity, QuantityError> {
    let malformed = || QuantityError::Malformed { text: clip(text) };
    let overflow = || QuantityError::Overflow { text: clip(text) };
    if text.is_empty() {
        return Err(QuantityError::Empty);
    }
    let (negative, rest) = match text.as_bytes()[0] {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(malformed());
    }
    let (multiplier, exponent) = scale(suffix).ok_or_else(malformed)?;
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    // The value in thousandths is digits * multiplier * 10^power.
    let mut power = exponent.saturating_add(3).saturating_sub(i64::try_from(fraction.len()).map_err(|_| overflow())?);
    let digits: String = [whole, fraction].concat();
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Ok(Quantity::default());
    }
    let magnitude = if i64::try_from(digits.len()).unwrap_or(i64::MAX).saturating_add(power) <= 0 && multiplier == 1 {
        1 // below a thousandth, and not zero
    } else {
        // Digits that can only matter for rounding up are replaced by one.
        let keep = digits.len().min(34);
        let dropped = digits.len() - keep;
        let mut value: i128 = digits[..keep].parse().map_err(|_| overflow())?;
        power = power.saturating_add(i64::try_from(dropped).map_err(|_| overflow())?);
        let mut inexact = dropped > 0 && digits[keep..].bytes().any(|digit| digit != b'0');
        value = match value.checked_mul(multiplier) {
            Some(product) => product,
            None if power < 0 => {
                // Too many decimals for the binary suffix: give up the last twelve of them.
                let cut = 10_i128.pow(12);
                inexact |= value % cut != 0;
                power += 12;
                (value / cut).checked_mul(multiplier).ok_or_else(overflow)?
            }
            None => return Err(overflow()),
        };
        while power > 0 {
            value = value.checked_mul(10).ok_or_else(overflow)?;
            power -= 1;
        }
        while power < 0 && value > 0 {
            inexact |= value % 10 != 0;
            value /= 10;
            power += 1;
        }
        value + i128::from(inexact)
    };
    if magnitude > i128::from(i64::MAX) * 1000 {
        return Err(overflow());
    }
    Ok(Quantity { milli: if negative { -magnitude } else { magnitude } })
}

/// Factor and power of ten of a suffix.
fn scale(suffix: &str) -> Option<(i128, i64)> {
    let decimal = |power| Some((1, power));
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => Some((1 << 10, 0)),
        "Mi" => Some((1 << 20, 0)),
        "Gi" => Some((1 << 30, 0)),
        "Ti" => Some((1 << 40, 0)),
        "Pi" => Some((1 << 50, 0)),
        "Ei" => Some((1 << 60, 0)),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
            if digits.is_empty() || digits.len() > 6 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            decimal(exponent.strip_prefix('+').unwrap_or(exponent).parse().ok()?)
        }
    }
}

/// At most the first 40 characters, for messages.
fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}

impl Quantity {
    /// The amount in the integer unit of a resource, rounded up: millicores for `cpu`, whole units for all others.
    pub fn units(self, resource: &str) -> Option<i64> {
        let amount = if resource == "cpu" { self.milli } else { div_ceil(self.milli, 1000) };
        i64::try_from(amount).ok()
    }
}

/// Quotient rounded away from zero for positive numbers, towards zero for negative ones.
fn div_ceil(value: i128, by: i128) -> i128 {
    value.div_euclid(by) + i128::from(value.rem_euclid(by) != 0)
}

/// Reads an amount of a resource into its integer unit (millicores for `cpu`, whole units for all others, rounded up).
pub fn parse_units(resource: &str, text: &str) -> Result<i64, QuantityError> {
    parse(text)?.units(resource).ok_or_else(|| QuantityError::Overflow { text: clip(text) })
}

/// Why a resource list is not understood.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("resource {resource}: {problem}")]
pub struct ResourceError {
    /// The resource's name.
    pub resource: String,
    /// What is wrong with its quantity.
    pub problem: ResourceProblem,
}

/// What is wrong with a resource's quantity.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ResourceProblem {
    /// It can't be read.
    #[error(transparent)]
    Quantity(#[from] QuantityError),
    /// It is below zero.
    #[error("{0} is negative")]
    Negative(String),
}

/// Reads a resource list of the API; amounts below zero are an error.
pub fn resources(list: &BTreeMap<String, ApiQuantity>) -> Result<Resources, ResourceError> {
    list.iter()
        .map(|(name, quantity)| {
            let error = |problem| ResourceError { resource: name.clone(), problem };
            let amount = parse_units(name, &quantity.0).map_err(|problem| error(problem.into()))?;
            if amount < 0 {
                return Err(error(ResourceProblem::Negative(clip(&quantity.0))));
            }
            Ok((name.clone(), amount))
        })
        .collect()
}

/// Adds each amount of `more` to `sum`; sums stop at the largest integer.
pub fn add(sum: &mut Resources, more: &Resources) {
    for (name, amount) in more {
        let entry = sum.entry(name.clone()).or_insert(0);
        *entry = entry.saturating_add(*amount);
    }
}

/// Raises each amount of `most` to at least that of `other`.
pub fn raise(most: &mut Resources, other: &Resources) {
    for (name, amount) in other {
        let entry = most.entry(name.clone()).or_insert(0);
        *entry = (*entry).max(*amount);
    }
}

/// Writes an amount of a resource as a canonical Kubernetes quantity: `1930m`, `2`, `6903Mi`, `29`.
pub fn format(resource: &str, amount: i64) -> String {
    if resource == "cpu" {
        return if amount % 1000 == 0 { (amount / 1000).to_string() } else { format!("{amount}m") };
    }
    if is_bytes(resource) && amount != 0 {
        let suffixes = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
        let power = (amount.trailing_zeros() / 10).min(6);
        return format!("{}{}", amount >> (10 * power), suffixes[power as usize]);
    }
    amount.to_string()
}

/// Whether a resource is counted in bytes.
fn is_bytes(resource: &str) -> bool {
    resource == "memory" || resource == "ephemeral-storage" || resource.starts_with("hugepages-")
}

/// Writes an amount for a person to read: cpu in cores, bytes in the unit that keeps it short (`95.69`, `6.7 GiB`).
pub fn describe(resource: &str, amount: i64) -> String {
    if resource == "cpu" {
        return trim(format!("{:.3}", amount as f64 / 1000.0));
    }
    if is_bytes(resource) {
        for (power, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if amount.unsigned_abs() >= 1 << power {
                return format!("{} {unit}", trim(format!("{:.2}", amount as f64 / (1_u64 << power) as f64)));
            }
        }
    }
    amount.to_string()
}

fn trim(number: String) -> String {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.').to_owned() } else { number }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn milli(text: &str) -> i128 {
        parse(text).unwrap().milli
    }

    #[test]
    fn all_suffixes_and_exponents() {
        assert_eq!(milli("1"), 1000);
        assert_eq!(milli("1500m"), 1500);
        assert_eq!(milli("0.1"), 100);
        assert_eq!(milli(".5"), 500);
        assert_eq!(milli("5."), 5000);
        assert_eq!(milli("1u"), 1);
        assert_eq!(milli("1001u"), 2);
        assert_eq!(milli("1n"), 1);
        assert_eq!(milli("1000000n"), 1);
        assert_eq!(milli("2k"), 2_000_000);
        assert_eq!(milli("3M"), 3_000_000_000);
        assert_eq!(milli("1Ki"), 1_024_000);
        assert_eq!(milli("1.5Gi"), 1_610_612_736_000);
        assert_eq!(milli("0.3Mi"), 314_572_800);
        assert_eq!(milli("1e3"), 1_000_000);
        assert_eq!(milli("1E3"), 1_000_000);
        assert_eq!(milli("1E"), 1_000_000_000_000_000_000_000);
        assert_eq!(milli("12e-1"), 1200);
        assert_eq!(milli("1e+2"), 100_000);
        assert_eq!(milli("-1.5"), -1500);
        assert_eq!(milli("+7"), 7000);
        assert_eq!(milli("0"), 0);
        assert_eq!(milli("0000.000"), 0);
        assert_eq!(milli("1e-400"), 1);
        assert_eq!(milli("7Ei"), 7 * (1_i128 << 60) * 1000);
    }

    #[test]
    fn malformed_and_too_large() {
        for text in
            ["", "abc", "1 Gi", "1gi", "--1", "1.2.3", "Gi", "1e", "1e1.5", "1GiB", ".", "1Mib", "٣", "1e9999999"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
        for text in ["8Ei", "10E", "1e19", "9223372036854775808", "1e99999"] {
            assert_eq!(parse(text), Err(QuantityError::Overflow { text: text.to_owned() }), "{text}");
        }
        assert_eq!(
            parse_units("cpu", "9223372036854775807"),
            Err(QuantityError::Overflow { text: "9223372036854775807".to_owned() })
        );
        assert_eq!(parse_units("memory", "9223372036854775807"), Ok(i64::MAX));
    }

    #[test]
    fn many_decimals_are_rounded_up_not_refused() {
        assert_eq!(milli("0.1000000000000000000000000000000000000000001"), 101);
        assert_eq!(milli("1.0000000000000000000000000000001Gi"), 1_073_741_824_001);
        assert_eq!(milli("1.00000000000000000000000000000000000"), 1000);
    }

    #[test]
    fn units_round_up() {
        assert_eq!(parse_units("cpu", "1.0001"), Ok(1001));
        assert_eq!(parse_units("memory", "1500m"), Ok(2));
        assert_eq!(parse_units("nvidia.com/gpu", "1"), Ok(1));
    }

    #[test]
    fn negative_requests_are_named() {
        let list = BTreeMap::from([("cpu".to_owned(), ApiQuantity("-1".to_owned()))]);
        assert_eq!(resources(&list).unwrap_err().to_string(), "resource cpu: -1 is negative");
    }

    #[test]
    fn canonical_forms() {
        assert_eq!(format("cpu", 1930), "1930m");
        assert_eq!(format("cpu", 2000), "2");
        assert_eq!(format("memory", 6903 << 20), "6903Mi");
        assert_eq!(format("memory", 1 << 34), "16Gi");
        assert_eq!(format("memory", 1001), "1001");
        assert_eq!(format("memory", 0), "0");
        assert_eq!(format("pods", 29), "29");
        assert_eq!(describe("cpu", 95690), "95.69");
        assert_eq!(describe("memory", 3 << 29), "1.5 GiB");
    }
}
