//! What a signer needs in a pod, where there is no shell and nobody to type: `signonce kube` and the chart use it.
//!
//! [`pod`] decides from the volume, the ordinal and what the cluster is known to be, which node a pod is, if any, and
//! writes its configuration. [`api`] is the little that is asked of the Kubernetes API. [`trial`] makes certificates
//! for clusters that have no authority yet. [`roll_out`] replaces pods after an upgrade.

pub mod api;
#[cfg(test)]
mod made_up;
pub mod pod;
pub mod roll_out;
pub mod trial;
