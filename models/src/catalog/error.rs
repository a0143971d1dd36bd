//! What can be wrong with a catalogue or with the settings of a kubelet.

use thiserror::Error;

use crate::kubernetes::quantity::QuantityError;

/// What is wrong, and where: `field` is a path such as `instanceTypes[3] (m5.large).offerings[0].price`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CatalogError {
    /// Not a quantity.
    #[error("{field}: {problem}")]
    Quantity {
        /// Where.
        field: String,
        /// What the parser says.
        problem: QuantityError,
    },
    /// Neither a text nor a number.
    #[error("{field}: a quantity is needed (such as \"2Gi\" or 29), not {found}")]
    NotAQuantity {
        /// Where.
        field: String,
        /// What was read.
        found: String,
    },
    /// An amount below zero.
    #[error("{field}: {found} is negative")]
    Negative {
        /// Where.
        field: String,
        /// What was read.
        found: String,
    },
    /// Not a percentage from 0% to 100%.
    #[error("{field}: {found} is not a percentage from 0% to 100%")]
    Percentage {
        /// Where.
        field: String,
        /// What was read.
        found: String,
    },
    /// A field of another kind than the one needed.
    #[error("{field}: {needed} is needed, not {found}")]
    Field {
        /// Where.
        field: String,
        /// What should be there.
        needed: String,
        /// What was read.
        found: String,
    },
    /// The same thing said twice.
    #[error("{field}: {found} is there twice")]
    Duplicate {
        /// Where the second one is.
        field: String,
        /// What was read.
        found: String,
    },
}
