//! How a new node asks to be let in: `admin_join`, the one method that is not for operators.
//!
//! The node shows its one-time token and its own certificate, which must name this cluster and the very node that the
//! token was made for. That is all it takes, and all it opens. The method is served on the client port too, since a
//! node can reach that of every other, which is not so of the admin port. Anybody with a certificate of the authority can
//! call it, so that what it may cost and what it writes into the log are bounded ([`Knocks`]).

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

/// How often somebody may ask to join: a node does it once, and again by hand.
const RATE: Rate = Rate { per_second: 1, burst: 10 };
/// Of the names in a certificate, how many are repeated to those who look for what is wrong.
const NAMES: usize = 8;

/// Anybody with a certificate of the authority can cause these: told apart by the reason, not by who it is, nor by the
/// node that they say they are.
static KNOCKED: LogThrottle<&'static str> = LogThrottle::new();

/// What a node may ask before it belongs to the cluster.
#[rpc(server, namespace = "admin")]
pub trait JoinApi {
    /// Joins as a learner under the id that `members add` gave out. Version 0.1 says no `formats`.
    #[method(name = "join", param_kind = map, with_extensions)]
    async fn join(
        &self,
        member: Member,
        token: JoinToken,
        formats: Option<Formats>,
    ) -> Result<Joined, AdminError>;
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
    /// Who has asked lately, at this door or another one.
    pub knocks: Arc<Knocks>,
}

/// How often each certificate and each address has asked to join.
#[derive(Default)]
pub struct Knocks {
    certificates: Buckets<Fingerprint>,
    addresses: Buckets<IpAddr>,
}

impl Knocks {
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
        formats: Option<Formats>,
    ) -> Result<Joined, AdminError> {
        let node = member.node;
        self.knocks.count(extensions, Instant::now())?;
        self.check_certificate(extensions, node)?;
        // Before anything is in the log: the token can be used by the right program yet.
        FORMATS.check(formats, member.supports).map_err(|other| {
            KNOCKED.line("formats", |left_out| {
                tracing::warn!(%node, %other, left_out, "a node that wants to join runs another version");
            });
            AdminError::new(AdminErrorCode::Refused, other.to_string())
        })?;
        let change = Change::JoinMember { member, token };
        match self.handle.change(node_actor(node), change, self.timeout).await {
            Ok(Ok(done)) => {
                KNOCKED.line("joined", |left_out| {
                    tracing::info!(%node, at = %done.at, left_out, "a node has joined");
                });
                let members = self.handle.read(|state| state.members().map(|member| member.node).collect());
                Ok(Joined { at: done.at, members })
            }
            Ok(Err(refused)) => {
                KNOCKED.line("refused", |left_out| {
                    tracing::warn!(%node, %refused, left_out, "a node that wants to join is refused");
                });
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
        let shown = extensions.get::<DnsNames>().map_or(&[][..], |names| &names.0[..]);
        if shown.contains(&wanted) {
            return Ok(());
        }
        let shown = &shown[..shown.len().min(NAMES)];
        KNOCKED.line("certificate", |left_out| {
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
        let (knocks, now) = (Knocks::default(), Instant::now());
        let burst = RATE.burst as usize;
        let let_in = |asks: &mut dyn Iterator<Item = Extensions>| {
            asks.filter(|extensions| knocks.count(extensions, now).is_ok()).count()
        };
        assert_eq!(let_in(&mut (0..99).map(|address| from(1, address))), burst, "one certificate");
        assert_eq!(let_in(&mut (2..99).map(|certificate| from(certificate, 200))), burst, "one address");
        assert_eq!(let_in(&mut std::iter::once(from(100, 201))), 1, "nobody else notices");
        let later = now + Duration::from_secs(1);
        assert!(knocks.count(&from(1, 202), later).is_ok());
    }
}
