//! One file a rule of Kubernetes or Karpenter: what it takes off the bins, and which rows it becomes.

pub(crate) mod apart;
pub(crate) mod flexibility;
pub(crate) mod limits;
pub(crate) mod ports;
pub(crate) mod spread;
pub(crate) mod together;
