//! Taking nodes away that are not needed, as fast as their pools' budgets allow.

mod budgets;
mod emptiness;

pub use emptiness::run;
