//! How a new node asks to be let in: `admin_join`, the one method that is not for operators.
//!
//! The node shows its one-time token and its own certificate, which must name this cluster and the very node that the
//! token was made for. That is all it takes, and all it opens. The method is served on the client port too, since a
//! node can reach that of every other, which is not so of the admin port.

use super::api::{AdminError, AdminErrorCode};
use crate::{readiness::Gate, server::tls::DnsNames};
use http::Extensions;
use jsonrpsee::{RpcModule, core::async_trait, proc_macros::rpc};
use serde::{Deserialize, Serialize};
use signonce_cluster::{Handle, SubmitError, node_name};
use signonce_core::{Change, JoinToken, Member, replica::fence::ClusterId, roles::node_actor};
use signonce_protocol::{LogIndex, NodeId};
use std::{sync::Arc, time::Duration};

/// What a node may ask before it belongs to the cluster.
#[rpc(server, namespace = "admin")]
pub trait JoinApi {
    /// Joins as a learner under the id that `members add` gave out.
    #[method(name = "join", param_kind = map, with_extensions)]
    async fn join(&self, member: Member, token: JoinToken) -> Result<Joined, AdminError>;
}

/// Answer of `admin_join`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Joined {
    /// The log entry that let the node in, or found that it is in already.
    pub at: LogIndex,
    /// The members, the new one among them.
    pub members: Vec<NodeId>,
}

/// Serves the method.
pub struct Door {
    /// The node.
    pub handle: Handle,
    /// Who leads.
    pub gate: Arc<Gate>,
    /// The cluster's id, 32 hex digits.
    pub cluster: String,
    /// How long the change may take.
    pub timeout: Duration,
}

/// The methods of `door`.
pub fn join_module(door: Door) -> RpcModule<Door> {
    door.into_rpc()
}

#[async_trait]
impl JoinApiServer for Door {
    async fn join(
        &self,
        extensions: &Extensions,
        member: Member,
        token: JoinToken,
    ) -> Result<Joined, AdminError> {
        let node = member.node;
        self.check_certificate(extensions, node)?;
        let change = Change::JoinMember { member, token };
        match self.handle.change(node_actor(node), change, self.timeout).await {
            Ok(Ok(done)) => {
                tracing::info!(%node, at = %done.at, "a node has joined");
                let members = self.handle.read(|state| state.members().map(|member| member.node).collect());
                Ok(Joined { at: done.at, members })
            }
            Ok(Err(refused)) => {
                tracing::warn!(%node, %refused, "a node that wants to join is refused");
                Err(refused.into())
            }
            Err(error) => Err(self.undecided(&error)),
        }
    }
}

impl Door {
    fn check_certificate(&self, extensions: &Extensions, node: NodeId) -> Result<(), AdminError> {
        let forbidden = |why: String| AdminError::new(AdminErrorCode::Forbidden, why);
        let cluster: ClusterId = self.cluster.parse().map_err(|why: String| forbidden(why))?;
        let wanted = node_name(&cluster, node);
        let shown: Vec<String> =
            extensions.get::<DnsNames>().map(|names| names.0.to_vec()).unwrap_or_default();
        if shown.contains(&wanted) {
            return Ok(());
        }
        tracing::warn!(%node, ?shown, "a node that wants to join shows the certificate of another");
        let shown = if shown.is_empty() { "none".to_owned() } else { shown.join(", ") };
        Err(forbidden(format!(
            "to join as node {node}, the certificate must carry {wanted} (it carries: {shown}); issue one with \
             `signonce certs issue node --id {node} --cluster {cluster}`"
        )))
    }

    fn undecided(&self, error: &SubmitError) -> AdminError {
        let code = match error {
            SubmitError::NotReady(_) => AdminErrorCode::NotReady,
            SubmitError::Unknown => AdminErrorCode::UnknownOutcome,
            SubmitError::SlotOutOfRange(_) => AdminErrorCode::Internal,
        };
        let mut admin = AdminError::new(code, format!("{error}; run the same `signonce join` again"));
        admin.data.leader = self.gate.leader_hint();
        admin
    }
}
