//! What a signer needs in a pod, where there is no shell and no operator: for `signonce kube` and the chart.
//!
//! [`pod`] decides from the volume, the ordinal and the known state of the cluster which node a pod is, if any, and
//! writes its configuration. [`api`] makes the few calls to the Kubernetes API. [`trial`] makes certificates for
//! clusters that have no authority yet. [`roll_out`] replaces pods after an upgrade.

pub mod api;
#[cfg(test)]
mod made_up;
pub mod pod;
pub mod roll_out;
pub mod trial;
