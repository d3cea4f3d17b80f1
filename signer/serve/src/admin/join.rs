//! How a new node asks to be let in: `admin_join`, the one method that is not for operators.
//!
//! The node shows its one-time token and its own certificate, which must name this cluster and the very node that the
//! token was made for. Nothing else is needed, and nothing else is opened. The method is served on the client port too,
//! since a node can reach every other node's client port but not always its admin port. Anybody with a certificate of
//! the authority can call it, so its cost and what it writes into the log are bounded ([`JoinLimits`]).

use crate::{
    limits::{Buckets, Rate},
    readiness::Gate,
};
use http::Extensions;
use jsonrpsee::{RpcModule, core::async_trait, proc_macros::rpc};
use signonce_cluster::{FORMATS, Handle, SubmitError, log_throttle::LogThrottle};
use signonce_core::replica::hello::node_name;
use signonce_core::{Change, Formats, JoinToken, Member, node_actor, replica::hello::ClusterId};
use signonce_listen::{caller::Caller, endpoint::Remote};
use signonce_protocol::NodeId;
use signonce_shared::admin::api::{AdminError, AdminErrorCode, Joined};
use signonce_shared::tls::{DnsNames, Fingerprint};
use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

/// How often one caller may ask to join: a node does it once, and again by hand.
const RATE: Rate = Rate { per_second: 1, burst: 10 };
/// How many names of a certificate a log line repeats for whoever looks for the fault.
const NAMES: usize = 8;

/// Throttles the log lines of this method. Anybody with a certificate of the authority can cause them, so they are told
/// apart by reason, not by caller or by the node that the caller claims to be.
static JOIN_LINES: LogThrottle<&'static str> = LogThrottle::new();

/// What a node may ask before it belongs to the cluster.
#[rpc(server, namespace = "admin")]
pub trait JoinApi {
    /// Joins as a learner under the id that `members add` gave out. Version 0.1 does not send `formats`.
    #[method(name = "join", param_kind = map, with_extensions)]
    async fn join(
        &self,
        member: Member,
        token: JoinToken,
        formats: Option<Formats>,
    ) -> Result<Joined, AdminError>;
}

/// Serves `admin_join`.
pub struct JoinServer {
    /// The node.
    pub handle: Handle,
    /// The node's readiness and its leader.
    pub gate: Arc<Gate>,
    /// The cluster's id, 32 hex digits.
    pub cluster: String,
    /// How long the change may take.
    pub timeout: Duration,
    /// The limits on callers, shared by both ports.
    pub limits: Arc<JoinLimits>,
}

/// How often each certificate and each address has asked to join.
#[derive(Default)]
pub struct JoinLimits {
    certificates: Buckets<Fingerprint>,
    addresses: Buckets<IpAddr>,
}

impl JoinLimits {
    fn count(&self, extensions: &Extensions, now: Instant) -> Result<(), AdminError> {
        if let Some(Caller::Certificate(peer)) = extensions.get() {
            self.certificates.take(peer.spki, RATE, 1, now).map_err(too_often)?;
        }
        if let Some(Remote(address)) = extensions.get() {
            self.addresses.take(*address, RATE, 1, now).map_err(too_often)?;
        }
        Ok(())
    }
}

fn too_often(wait: Duration) -> AdminError {
    let why = format!("asked to join too often; ask again in {} ms", wait.as_millis().saturating_add(1));
    AdminError::new(AdminErrorCode::NotReady, why)
}

/// The methods of `server`.
pub fn join_module(server: JoinServer) -> RpcModule<JoinServer> {
    server.into_rpc()
}

#[async_trait]
impl JoinApiServer for JoinServer {
    async fn join(
        &self,
        extensions: &Extensions,
        member: Member,
        token: JoinToken,
        formats: Option<Formats>,
    ) -> Result<Joined, AdminError> {
        let node = member.node;
        self.limits.count(extensions, Instant::now())?;
        self.check_certificate(extensions, node)?;
        // Checked before anything is in the log, so that the right program can still use the token.
        FORMATS.check(formats).map_err(|other| {
            JOIN_LINES.line("formats", |left_out| {
                tracing::warn!(%node, %other, left_out, "a node that wants to join runs another version");
            });
            AdminError::new(AdminErrorCode::Refused, other.to_string())
        })?;
        let change = Change::JoinMember { member, token };
        match self.handle.change(node_actor(node), change, self.timeout).await {
            Ok(Ok(done)) => {
                JOIN_LINES.line("joined", |left_out| {
                    tracing::info!(%node, at = %done.at, left_out, "a node has joined");
                });
                let members = self.handle.read(|state| state.members().map(|member| member.node).collect());
                Ok(Joined { at: done.at, members })
            }
            Ok(Err(refused)) => {
                JOIN_LINES.line("refused", |left_out| {
                    tracing::warn!(%node, %refused, left_out, "a node that wants to join is refused");
                });
                Err(refused.into())
            }
            Err(error) => Err(self.undecided(&error)),
        }
    }
}

impl JoinServer {
    fn check_certificate(&self, extensions: &Extensions, node: NodeId) -> Result<(), AdminError> {
        let forbidden = |why: String| AdminError::new(AdminErrorCode::Forbidden, why);
        let cluster: ClusterId = self.cluster.parse().map_err(|why: String| forbidden(why))?;
        let wanted = node_name(&cluster, node);
        let shown = extensions.get::<DnsNames>().map_or(&[][..], |names| &names.0[..]);
        if shown.contains(&wanted) {
            return Ok(());
        }
        let shown = &shown[..shown.len().min(NAMES)];
        JOIN_LINES.line("certificate", |left_out| {
            tracing::warn!(%node, ?shown, left_out, "a node that wants to join shows the certificate of another");
        });
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

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_shared::tls::PeerIdentity;

    fn from(certificate: u8, address: u8) -> Extensions {
        let mut extensions = Extensions::new();
        let spki = Fingerprint([certificate; 32]);
        extensions.insert(Caller::Certificate(PeerIdentity { spki, client: None, admin: None }));
        extensions.insert(Remote(IpAddr::from([10, 0, 0, address])));
        extensions
    }

    #[test]
    fn whoever_asks_to_join_again_and_again_is_sent_away_by_certificate_and_by_address() {
        let (limits, now) = (JoinLimits::default(), Instant::now());
        let burst = RATE.burst as usize;
        let let_in = |asks: &mut dyn Iterator<Item = Extensions>| {
            asks.filter(|extensions| limits.count(extensions, now).is_ok()).count()
        };
        assert_eq!(let_in(&mut (0..99).map(|address| from(1, address))), burst, "one certificate");
        assert_eq!(let_in(&mut (2..99).map(|certificate| from(certificate, 200))), burst, "one address");
        assert_eq!(let_in(&mut std::iter::once(from(100, 201))), 1, "nobody else notices");
        let later = now + Duration::from_secs(1);
        assert!(limits.count(&from(1, 202), later).is_ok());
    }
}
