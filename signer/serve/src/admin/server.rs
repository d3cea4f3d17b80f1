//! Answers the admin methods. Callers need a certificate that names an admin with the [role](super::roles) for it, or
//! are this machine's own user (or root) on the unix socket. Every change goes into the log with the name of its
//! author.

use super::{
    documents::Documents,
    roles::{self, Method},
};
use crate::{
    activity::Activity,
    audit::query::{self, Filter, Found},
    backup,
    keyring_sync::KeyringSync,
    readiness::Gate,
    undecided,
    upkeep::{feature::Levels, reseal::not_sealed_for},
};
use http::Extensions;
use jsonrpsee::{RpcModule, core::async_trait};
use signonce_cluster::{Handle, MemberView, SubmitError, clock::unix_ms, log_throttle::LogThrottle};
use signonce_core::{
    Chain, ChainError, Change, ChangeDone, ChangeError, FeatureError, KeyState, MemberRole, Proposal,
    node_actor, replica::Role,
};
use signonce_keys::Keyring;
use signonce_listen::reload::LiveTls;
use signonce_protocol::{ChainId, HexBytes, NodeId};
use signonce_shared::{
    admin::api::{
        AdminApiServer, AdminError, AdminErrorCode, AdminStatus, BackupAnswer, ChainRow, ClientRow,
        DocumentInfo, KeyCounts, KeyRow, LockedKey, MemberRow, OfficersReport, ProposalRow,
    },
    audit::query::{AuditPage, AuditQuery},
    config::TlsFiles,
    interchange::Interchange,
};
use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout_at};

/// How long a handover may take.
const HANDOVER: Duration = Duration::from_secs(5);

/// Throttles the log lines about requests that leave no mark in the replicated log, by caller and subject.
static ASKED: LogThrottle<(String, &'static str)> = LogThrottle::new();

/// Serves the methods.
#[derive(Clone)]
pub struct Admin {
    /// The node.
    pub handle: Handle,
    /// The unlocked keys.
    pub keyring: Arc<Keyring>,
    /// Unlocks keys from their envelopes.
    pub sync: Arc<KeyringSync>,
    /// Whether the node serves.
    pub gate: Arc<Gate>,
    /// The certificates in use.
    pub live_tls: Arc<LiveTls>,
    /// What clients have asked.
    pub activity: Arc<Activity>,
    /// The cluster's id.
    pub cluster: String,
    /// Missing protections of secrets in memory.
    pub memory_warnings: Vec<String>,
    /// How long a change may take.
    pub timeout: Duration,
    /// The node's certificate and key, which backups are signed with.
    pub tls: TlsFiles,
    /// The directory in which a backup's state waits to be fetched.
    pub data_dir: PathBuf,
    /// The documents that are being fetched.
    pub documents: Arc<Documents>,
}

/// The methods of `admin`.
pub fn admin_module(admin: Admin) -> RpcModule<Admin> {
    admin.into_rpc()
}

#[async_trait]
impl AdminApiServer for Admin {
    async fn status(&self, extensions: &Extensions) -> Result<AdminStatus, AdminError> {
        self.authorize(extensions, Method::Status)?;
        Ok(self.look())
    }

    async fn chains(&self, extensions: &Extensions) -> Result<Vec<ChainRow>, AdminError> {
        self.authorize(extensions, Method::Chains)?;
        Ok(self.handle.read(|state| {
            let row = |chain: &Chain| ChainRow {
                chain: chain.clone(),
                retimings: state.registry().retimings(&chain.genesis).to_vec(),
            };
            state.chains().map(row).collect()
        }))
    }

    async fn keys(&self, extensions: &Extensions) -> Result<Vec<KeyRow>, AdminError> {
        self.authorize(extensions, Method::Keys)?;
        let unlocked: BTreeSet<_> = self.keyring.ids().into_iter().collect();
        Ok(self.handle.read(|state| {
            let row = |key: &signonce_core::Key| KeyRow {
                id: key.id,
                scheme: key.scheme,
                chain: state
                    .registry()
                    .chain(&key.chain)
                    .map_or_else(String::new, |chain| chain.name.clone()),
                genesis: key.chain,
                group: key.group.clone(),
                state: key.state,
                registered_at: key.registered_at,
                watermarks: state.watermarks(&key.id),
                unlocked: unlocked.contains(&key.id),
                not_sealed_for: match key.state {
                    KeyState::Removed => Vec::new(),
                    _ => not_sealed_for(state, key),
                },
                halted: state.registry().halt(&key.id).cloned(),
                barred: state.registry().barred_places(&key.id).places,
                known_by_backup: match key.state {
                    KeyState::Registered | KeyState::Disabled => {
                        state.registry().known_by_backup(&key.id).cloned()
                    }
                    KeyState::Armed | KeyState::Removed => None,
                },
            };
            state.keys().map(row).collect()
        }))
    }

    async fn clients(&self, extensions: &Extensions) -> Result<Vec<ClientRow>, AdminError> {
        self.authorize(extensions, Method::Clients)?;
        Ok(self.handle.read(|state| {
            let row = |client: &signonce_core::Client| ClientRow {
                id: client.id,
                name: client.name.clone(),
                spki: client.spki,
                rights: client.rights.clone(),
                state: client.state,
                key_allowance: state.registry().key_allowance(client.id).cloned(),
                keys_made: state.registry().keys_made_for(client.id).count(),
                limits: state.registry().limits_of(client.id),
                own_limits: state.registry().own_limits(client.id).is_some(),
                next_spki: state.registry().next_certificate(client.id).copied(),
                activity: self.activity.of(client.id),
            };
            state.clients().map(row).collect()
        }))
    }

    async fn officers(&self, extensions: &Extensions) -> Result<OfficersReport, AdminError> {
        let you = self.authorize(extensions, Method::Officers)?;
        let now = unix_ms();
        Ok(self.handle.read(|state| {
            let registry = state.registry();
            let row = |proposal: &Proposal| ProposalRow {
                expired: proposal.decision.is_none() && proposal.has_expired(now),
                what: proposal.change.kind().name().into(),
                node: invited(proposal),
                proposal: proposal.clone(),
            };
            OfficersReport {
                your_role: registry.role_of(&you).ok().flatten(),
                you,
                officers: registry.officers().clone(),
                pins: registry.officer_pins().filter(|pin| pin.certificate.is_some()).cloned().collect(),
                unpinned: registry.unpinned_officers().map(str::to_owned).collect(),
                proposals: state.registry().proposals().map(row).collect(),
                default_limits: state.registry().default_limits(),
            }
        }))
    }

    async fn members(&self, extensions: &Extensions) -> Result<Vec<MemberRow>, AdminError> {
        self.authorize(extensions, Method::Members)?;
        let row = |view: MemberView| {
            let node = view.node;
            let (state, note) = self.handle.read(|state| {
                let known = state.member(node).map(|(_, member_state)| member_state);
                (known, state.registry().node_note(node).cloned())
            });
            MemberRow {
                node,
                voter: view.present == Some(MemberRole::Voter),
                leader: view.leads,
                announced: view.member,
                state,
                matched: view.progress.map(|progress| progress.matched),
                active: view.progress.map(|progress| progress.active),
                role: view.present,
                wanted: view.wanted,
                standing: view.standing,
                peer_addr: view.peer_addr,
                replaces: view.replaces,
                lag: view.progress.map(|progress| progress.lag),
                zone: note.as_ref().and_then(|note| note.zone.clone()),
                version: note.map(|note| note.version),
            }
        };
        Ok(self.handle.members().into_iter().map(row).collect())
    }

    async fn change(&self, extensions: &Extensions, change: Change) -> Result<ChangeDone, AdminError> {
        let actor = self.authorize(extensions, Method::Change)?;
        let name = change.kind().name();
        // A wish that nobody may have is refused by the log, which keeps a record of it.
        if let Some(needed) = change.least_role() {
            self.handle.read(|state| roles::require(state, &actor, needed, name))?;
        }
        self.check_level(&change).await?;
        self.check_envelope(&change).await?;
        match self.handle.change(actor.clone(), change, self.timeout).await {
            Ok(Ok(done)) => {
                match done.proposed {
                    Some(id) => {
                        tracing::info!(actor, change = name, %id, "proposed, waits for another officer")
                    }
                    None => tracing::info!(actor, change = name, at = %done.at, "changed"),
                }
                Ok(done)
            }
            Ok(Err(refused)) => {
                ASKED.line((actor.clone(), name), |left_out| {
                    tracing::info!(actor, change = name, %refused, left_out, "change refused");
                });
                Err(refused.into())
            }
            Err(error) => Err(self.undecided(&error)),
        }
    }

    async fn audit(&self, extensions: &Extensions, query: AuditQuery) -> Result<AuditPage, AdminError> {
        self.authorize(extensions, Method::Audit)?;
        let (filter, feature_level) =
            self.handle.read(|state| (Filter::new(&query, state), state.feature_level()));
        let store = self.handle.audit();
        let found = tokio::task::spawn_blocking(move || query::page(&store, &query, &filter)).await;
        let internal = |why: String| AdminError::new(AdminErrorCode::Internal, why);
        let Found { first, head, lines, next } =
            found.map_err(|e| internal(e.to_string()))?.map_err(|e| internal(e.to_string()))?;
        let (cluster, node) = (self.cluster.clone(), self.handle.node());
        Ok(AuditPage { cluster, node, feature_level, first, head, lines, next })
    }

    async fn backup(&self, extensions: &Extensions) -> Result<BackupAnswer, AdminError> {
        let actor = self.authorize(extensions, Method::Backup)?;
        let (handle, tls, cluster) = (self.handle.clone(), self.tls.clone(), self.cluster.clone());
        let dir = self.data_dir.clone();
        let made = blocking(move || backup::make(&handle, &tls, &cluster, &dir)).await?;
        let made = made.map_err(|error| AdminError::new(AdminErrorCode::Internal, error.to_string()))?;
        ASKED.line((actor.clone(), "backup"), |left_out| {
            tracing::info!(actor, applied = %made.manifest.applied, left_out, "backup made");
        });
        Ok(BackupAnswer {
            manifest: String::from_utf8_lossy(&made.manifest_bytes).into_owned(),
            signature: made.signature,
            state: self.documents.keep_file(made.state),
        })
    }

    async fn export_watermarks(
        &self,
        extensions: &Extensions,
        chain: ChainId,
        minimal: bool,
    ) -> Result<DocumentInfo, AdminError> {
        let actor = self.authorize(extensions, Method::ExportWatermarks)?;
        self.catch_up_with_the_log().await?;
        let (handle, cluster) = (self.handle.clone(), self.cluster.clone());
        let file = blocking(move || {
            let at = handle.status().applied;
            let file = handle.read(|state| Interchange::of(state, chain, &cluster, at, unix_ms()));
            let file = file.ok_or_else(|| {
                AdminError::from(ChangeError::Chain(ChainError::UnknownChain { genesis: chain }))
            })?;
            let file = if minimal { file.minimal() } else { Ok(file) };
            let refused = |e: &dyn std::fmt::Display| AdminError::new(AdminErrorCode::Refused, e.to_string());
            serde_json::to_vec_pretty(&file.map_err(|e| refused(&e))?).map_err(|e| refused(&e))
        });
        let file = file.await??;
        ASKED.line((actor.clone(), "watermarks"), |left_out| {
            tracing::info!(actor, %chain, left_out, "watermarks exported");
        });
        Ok(self.documents.keep(file))
    }

    async fn document(&self, extensions: &Extensions, id: u64, offset: u64) -> Result<HexBytes, AdminError> {
        self.authorize(extensions, Method::Document)?;
        let gone =
            || AdminError::new(AdminErrorCode::Invalid, "this document is not kept any more; ask again");
        let documents = Arc::clone(&self.documents);
        let piece = blocking(move || documents.piece(id, offset)).await?.ok_or_else(gone)?;
        piece.map_err(|error| AdminError::new(AdminErrorCode::Internal, error.to_string()))
    }

    async fn transfer_leadership(
        &self,
        extensions: &Extensions,
        to: Option<NodeId>,
    ) -> Result<NodeId, AdminError> {
        let actor = self.authorize(extensions, Method::TransferLeadership)?;
        let status = self.handle.status();
        if status.role != Role::Leader {
            let mut error = AdminError::new(
                AdminErrorCode::NotReady,
                format!("node {} does not lead; ask the leader to hand over", status.node),
            );
            error.data.leader = self.gate.leader_hint();
            return Err(error);
        }
        if let Some(node) = to.filter(|node| *node == status.node || !status.voters.contains(node)) {
            let message = format!("node {node} cannot take over: choose one of the other voters");
            return Err(AdminError::new(AdminErrorCode::Invalid, message));
        }
        let heir = self.handle.transfer_leadership(to, HANDOVER).await.ok_or_else(|| {
            AdminError::new(
                AdminErrorCode::UnknownOutcome,
                "no other node has taken over in time; look at the status",
            )
        })?;
        tracing::info!(actor, %heir, "leadership handed over");
        Ok(heir)
    }
}

/// Runs blocking work on its own thread.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, AdminError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| AdminError::new(AdminErrorCode::NotReady, "this node is stopping"))
}

impl Admin {
    /// The caller, if it may call the method.
    fn authorize(&self, extensions: &Extensions, method: Method) -> Result<String, AdminError> {
        self.handle.read(|state| roles::authorize(state, extensions, method))
    }

    /// Waits until this node has applied everything that was committed before now, by sending a change through the log
    /// that is always refused: once its answer is here, so is everything before it.
    async fn catch_up_with_the_log(&self) -> Result<(), AdminError> {
        let nothing = Change::RaiseFeatureLevel { level: 0 };
        let asked = self.handle.change(node_actor(self.handle.node()), nothing, self.timeout).await;
        asked.map(drop).map_err(|error| self.undecided(&error))
    }

    /// The status of this node, and of the cluster as it sees it.
    pub(crate) fn look(&self) -> AdminStatus {
        let status = self.handle.status();
        let unlocked = self.keyring.ids().len();
        let (registry_version, levels, mut keys) = self.handle.read(|state| {
            let mut counts = KeyCounts::default();
            for key in state.keys() {
                *match key.state {
                    KeyState::Registered => &mut counts.registered,
                    KeyState::Armed => &mut counts.armed,
                    KeyState::Disabled => &mut counts.disabled,
                    KeyState::Removed => &mut counts.removed,
                } += 1;
            }
            (state.registry_version(), Levels::of(state, &status.voters), counts)
        });
        keys.unlocked = unlocked;
        AdminStatus {
            node: status.node,
            cluster: self.cluster.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            role: role_name(status.role).into(),
            leader: status.leader,
            leader_url: status.leader.and_then(|leader| self.gate.client_url(leader)),
            term: status.term,
            last: status.last,
            committed: status.committed,
            applied: status.applied,
            state_hash: status.state_hash.to_string(),
            registry_version,
            feature_level: levels.current,
            leader_pin: self.handle.read(|state| state.registry().leader_pin().cloned()),
            feature_newest: levels.newest,
            feature_held_back_by: levels.held_back_by,
            readiness: self.gate.readiness(),
            keys,
            locked: self.sync.locked().into_iter().map(|(key, why)| LockedKey { key, why }).collect(),
            tls: Some(self.live_tls.status()),
            memory_warnings: self.memory_warnings.clone(),
            time_ms: unix_ms(),
            unpinned_officers: self
                .handle
                .read(|state| state.registry().unpinned_officers().map(str::to_owned).collect()),
            restored_from: self.handle.read(|state| state.registry().origin().cloned()),
            drill: self.handle.read(|state| state.registry().drill()),
        }
    }

    /// Refuses a change that some members may not be able to read, before it is in the log. If the level is about to
    /// rise by itself, this waits for it.
    async fn check_level(&self, change: &Change) -> Result<(), AdminError> {
        let level = change.feature_level();
        let deadline = Instant::now() + self.timeout;
        let mut applied = self.handle.applied_watch();
        loop {
            let voters = self.handle.status().voters;
            let levels = self.handle.read(|state| Levels::of(state, &voters));
            if level <= levels.current {
                return Ok(());
            }
            let rises = levels.possible >= level && timeout_at(deadline, applied.changed()).await.is_ok();
            if !rises {
                return Err(ChangeError::Feature(FeatureError::FeatureNeeded {
                    level,
                    current: levels.current,
                })
                .into());
            }
        }
    }

    /// Refuses an envelope that this member cannot open, before it is permanently in the log.
    async fn check_envelope(&self, change: &Change) -> Result<(), AdminError> {
        let (id, chain, sealed) = match change {
            Change::RegisterKey { id, chain, sealed, .. } => (*id, *chain, sealed.clone()),
            Change::ResealKey { id, sealed } => {
                let chain = self.handle.read(|state| state.key(id).map(|key| key.chain));
                // The log says that there is no such key.
                let Some(chain) = chain else { return Ok(()) };
                (*id, chain, sealed.clone())
            }
            _ => return Ok(()),
        };
        let opened = self.sync.try_envelope(id, chain, sealed).await;
        opened.map_err(|why| AdminError::new(AdminErrorCode::Refused, why))
    }

    fn undecided(&self, error: &SubmitError) -> AdminError {
        let code = match error {
            SubmitError::NotReady(_) => AdminErrorCode::NotReady,
            SubmitError::Unknown => AdminErrorCode::UnknownOutcome,
            SubmitError::SlotOutOfRange(_) => AdminErrorCode::Internal,
        };
        let next = match code {
            AdminErrorCode::UnknownOutcome => {
                "the change was proposed but not decided in time: look before trying again"
            }
            _ => "nothing was changed",
        };
        let mut admin = AdminError::new(code, format!("{}; {next}", undecided::why_undecided(error)));
        admin.data.leader = self.gate.leader_hint();
        admin
    }
}

const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
    }
}

/// The node that an approved proposal invited: its id is the index of that log entry.
fn invited(proposal: &Proposal) -> Option<NodeId> {
    let decision = proposal.decision.as_ref().filter(|decision| decision.approved)?;
    matches!(proposal.change, Change::AddMember { .. }).then_some(NodeId(decision.at.0))
}
