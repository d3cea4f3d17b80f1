//! The replicated state machine: registry, ledger and the running hash over both.
//!
//! The node applies committed commands in the order of the log with [`State::apply`], writes
//! [`State::take_changes`] and the applied index in one batch, and answers the waiters with the outcomes. Servers
//! read through the accessors and preview verdicts with [`State::check`]. An [`ApplyError`] means that this node's
//! state cannot be trusted: it must stop, not go on with the next command.

mod change;
mod members;
mod officers;
mod placement;
mod recovery;
mod restore;
mod sealing;
mod second;
mod terms;
mod timing;

pub use change::is_name;
pub use restore::{RestoreError, SNAPSHOT_VERSION, SnapshotWriter};

use crate::model::Fingerprint;
#[cfg(signonce_sim)]
use crate::mutation::{self, Mutation};
use crate::{
    audit::{AuditRecord, AuditRow, Audited},
    ledger::{Ledger, WatermarkView},
    log::{ChangeDone, ChangeError, ClaimRequest, Command, error::ClientError},
    model::{
        AuditHead, Chain, Claim, Client, ClientId, ClientState, Configuration, FEATURE_LEVEL, Key,
        KeyAllowance, KeyState, Member, MemberState, Refusal, RequestId, Verdict,
    },
    records::{Journal, RecordChange, StateHash, Table, TableSize},
    registry::Registry,
};
use officers::Entry;
use parity_scale_codec::{Decode, Encode};
use signonce_protocol::{
    ChainId, DutyClass, KeyId, LogIndex, NodeId, PublicKey,
    mark::{Alone, Context, Mark, Siblings},
};
use std::collections::VecDeque;

/// The state remembers its hash after every log entry whose index is a multiple of this.
pub const CHECKPOINT_EVERY: u64 = if cfg!(signonce_sim) { 32 } else { 1024 };

/// How many of these hashes it remembers.
const CHECKPOINTS_KEPT: usize = 8;

/// What came of one request in a command.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Outcome {
    /// Of a claim.
    #[codec(index = 0)]
    Verdict(Verdict),
    /// Of a change.
    #[codec(index = 1)]
    Change(Result<ChangeDone, ChangeError>),
}

/// Why a node must stop instead of applying a command. The state was not touched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The leader's hash of the same log is another: one of the two is broken.
    #[error(
        "state diverged: after log entry {at} the leader has {theirs}, this node {ours}; stop this node, keep its \
         data for analysis and let it join anew"
    )]
    Diverged {
        /// The entry the hashes were taken after.
        at: LogIndex,
        /// This node's hash.
        ours: StateHash,
        /// The leader's hash.
        theirs: StateHash,
    },
    /// Log entries must come in rising order, each once.
    #[error("log entry {at} was given to a state that has applied up to {last}")]
    OutOfOrder {
        /// The entry given.
        at: LogIndex,
        /// The last entry applied.
        last: LogIndex,
    },
    /// All members but this one know more than it does, and from here on make use of it.
    #[error(
        "log entry {at} raises the feature level to {level}, and this program supports {supports}: what follows may be \
         what it cannot read. Start a version that supports {level} here, as the other members run"
    )]
    TooNew {
        /// The entry.
        at: LogIndex,
        /// The level it raises to.
        level: u32,
        /// What this program supports.
        supports: u32,
    },
}

/// Registry, ledger and hash. Equal logs make equal states.
#[derive(Clone, Debug, Default)]
pub struct State {
    registry: Registry,
    ledger: Ledger,
    journal: Journal,
    /// Audit records since they were last taken. Not part of the replicated state.
    trail: Vec<AuditRow>,
    /// The last command applied since this value was made. Not part of the replicated state.
    last: Option<LogIndex>,
    /// Raft's configuration: see [`members`]. Not part of the replicated state.
    configuration: Configuration,
    /// The last hashes at multiples of [`CHECKPOINT_EVERY`], oldest first. Not part of the replicated state.
    checkpoints: VecDeque<(LogIndex, StateHash)>,
}

/// The other armed keys of a key's group on its chain.
struct Group<'a> {
    registry: &'a Registry,
    ledger: &'a Ledger,
    key: &'a Key,
}

impl Siblings for Group<'_> {
    fn marks(&self, class: DutyClass) -> Vec<&dyn Mark> {
        let Some((group, mark)) = self.key.group.as_deref().zip(class.mark()) else { return Vec::new() };
        let others = self.registry.armed_keys(&self.key.chain, group).filter(|id| **id != self.key.id);
        others.filter_map(|id| self.ledger.mark(id, mark)).collect()
    }
}

impl State {
    /// The state before the first log entry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies one committed command and says what came of each request in it, in their order.
    ///
    /// # Errors
    /// If the node must stop.
    pub fn apply(&mut self, at: LogIndex, command: Command) -> Result<Vec<(RequestId, Outcome)>, ApplyError> {
        if let Some(last) = self.last.filter(|last| at <= *last) {
            return Err(ApplyError::OutOfOrder { at, last });
        }
        if let Command::Checkpoint { at: taken, hash: theirs } = command {
            self.compare(at, taken, theirs)?;
        }
        if let Some(level) = self.leaves_this_program_behind(&command) {
            return Err(ApplyError::TooNew { at, level, supports: FEATURE_LEVEL });
        }
        self.remember_passed(at);
        let outcomes = match command {
            Command::Claims(requests) => self.claims(at, requests),
            Command::Change { request, actor, time_ms, change } => {
                let audited = Audited::of(&change);
                let done = self.change(Entry { at, node: request.node, actor: &actor, time_ms }, change);
                let refused = done.as_ref().err().cloned();
                self.audit(audited.into_records(at, request, actor, time_ms, refused));
                vec![(request, Outcome::Change(done))]
            }
            Command::Checkpoint { .. } => Vec::new(),
        };
        self.last = Some(at);
        if at.0.is_multiple_of(CHECKPOINT_EVERY) {
            self.remember(at);
        }
        Ok(outcomes)
    }

    /// Judges claims one after the other, and puts each verdict into the audit.
    fn claims(&mut self, at: LogIndex, requests: Vec<ClaimRequest>) -> Vec<(RequestId, Outcome)> {
        let mut records = Vec::with_capacity(requests.len());
        let mut outcomes = Vec::with_capacity(requests.len());
        for asked in requests {
            let verdict = self.claim(at, &asked.claim);
            outcomes.push((asked.request, Outcome::Verdict(verdict.clone())));
            records.push(AuditRecord::of_claim(at, asked, verdict));
        }
        self.audit(records);
        outcomes
    }

    /// Puts records at the end of the audit chain.
    fn audit(&mut self, records: Vec<AuditRecord>) {
        if records.is_empty() {
            return;
        }
        let mut head = self.registry.audit_head();
        self.trail.extend(records.iter().map(|record| head.append(record)));
        self.registry.put_audit_head(head, &mut self.journal);
    }

    /// Judges a claim and, if it is granted, records it. Of others the rule may take notice, but only where the rule was
    /// asked: a key that signs nothing hears nothing.
    fn claim(&mut self, at: LogIndex, claim: &Claim) -> Verdict {
        #[cfg(signonce_sim)]
        if claim.time_ms == mutation::UNBURN && mutation::is(Mutation::Unburn) {
            self.ledger.unburn(claim, &mut self.journal);
            return self.check(claim);
        }
        let key = match self.signing_key(claim) {
            Ok(key) => key,
            Err(refusal) => return Verdict::Refused(*refusal),
        };
        let verdict = self.judge(key, claim);
        match verdict {
            Verdict::Granted => {
                let chain =
                    self.registry.chain(&key.chain).expect("a key is registered for a chain that exists");
                // It was judged with its siblings; recording it looks at its own watermark alone.
                let context = Context { chain, clock: self.registry.clock(chain), siblings: &Alone };
                self.ledger.record(claim, at, &context, &mut self.journal);
            }
            Verdict::Repeated { .. } | Verdict::Refused(_) => self.ledger.heed(claim, &mut self.journal),
        }
        verdict
    }

    /// The verdict the claim would get as the next command. It grants nothing: `Granted` only says that the claim
    /// is worth proposing. `Repeated`, and a [final](Refusal::is_final) refusal, may be answered right away, unless the
    /// state [heeds](Self::heeds) the claim.
    pub fn check(&self, claim: &Claim) -> Verdict {
        match self.signing_key(claim) {
            Ok(key) => self.judge(key, claim),
            Err(refusal) => Verdict::Refused(*refusal),
        }
    }

    /// Whether a claim that is not granted would change the state all the same, because its class's rule goes by what was
    /// asked as well. Then the log has to see it, whatever [`Self::check`] says.
    pub fn heeds(&self, claim: &Claim) -> bool {
        self.signing_key(claim).is_ok() && self.ledger.heeds(claim)
    }

    /// The key of a claim, if it signs at present, and at this place.
    fn signing_key(&self, claim: &Claim) -> Result<&Key, Box<Refusal>> {
        let Some(key) = self.registry.key(&claim.key) else {
            return Err(Refusal::UnknownKey { key: claim.key }.into());
        };
        match key.state {
            KeyState::Armed => {}
            KeyState::Registered | KeyState::Disabled => {
                return Err(Refusal::KeyNotArmed { key: key.id, state: key.state }.into());
            }
            KeyState::Removed => return Err(Refusal::KeyRemoved { key: key.id }.into()),
        }
        if let Some(halt) = self.registry.halt(&key.id) {
            let (duty, at) = (halt.duty.clone(), halt.at);
            return Err(Refusal::KeyHalted { key: key.id, duty, at }.into());
        }
        if let Some(place) = self.registry.bars(&key.id, &claim.duty) {
            let (asked, at) = (claim.duty.position(), place.at);
            return Err(Refusal::Barred { key: key.id, asked, at }.into());
        }
        Ok(key)
    }

    /// What the rule of its class says of a claim.
    fn judge(&self, key: &Key, claim: &Claim) -> Verdict {
        let chain = self.registry.chain(&key.chain).expect("a key is registered for a chain that exists");
        let siblings = &Group { registry: &self.registry, ledger: &self.ledger, key };
        self.ledger.judge(claim, &Context { chain, clock: self.registry.clock(chain), siblings })
    }

    /// The records changed since the last call, for the node's write batch.
    pub fn take_changes(&mut self) -> Vec<RecordChange> {
        self.journal.take()
    }

    /// The audit records made since the last call, for the same batch.
    pub fn take_audit(&mut self) -> Vec<AuditRow> {
        std::mem::take(&mut self.trail)
    }

    /// Where the audit chain is.
    pub fn audit_head(&self) -> AuditHead {
        self.registry.audit_head()
    }

    /// The last command applied since this value was made; what follows it in the log changed nothing. None if no
    /// command was.
    pub fn last_command(&self) -> Option<LogIndex> {
        self.last
    }

    /// How much a table of the state holds, as records: what is stored, sent to a new member and written to a backup.
    pub fn size(&self, table: Table) -> TableSize {
        self.journal.size(table)
    }

    /// The hash of the state as it is now.
    pub fn hash(&self) -> StateHash {
        self.journal.hash()
    }
}

// Checkpoints.
impl State {
    /// The hash after log entry `at`, a multiple of [`CHECKPOINT_EVERY`], while it is remembered: what a leader puts
    /// into [`Command::Checkpoint`]. If `at` carried no command, it is known once a later command is applied.
    pub fn hash_at(&self, at: LogIndex) -> Option<StateHash> {
        self.checkpoints.iter().find(|(index, _)| *index == at).map(|(_, hash)| *hash)
    }

    /// Compares the leader's hash with ours, if we still (or already) know ours.
    fn compare(&self, now: LogIndex, at: LogIndex, theirs: StateHash) -> Result<(), ApplyError> {
        let passed = self.passed_before(now).filter(|passed| *passed == at).map(|_| self.hash());
        match passed.or_else(|| self.hash_at(at)) {
            Some(ours) if ours != theirs => Err(ApplyError::Diverged { at, ours, theirs }),
            Some(_) | None => Ok(()),
        }
    }

    /// The last checkpoint index between the last command and this one, if any. Entries without a command (raft's
    /// own) lie there, and the state has not changed since the last command.
    fn passed_before(&self, at: LogIndex) -> Option<LogIndex> {
        let before = LogIndex(at.0.saturating_sub(1));
        let passed = LogIndex(before.0 - before.0 % CHECKPOINT_EVERY);
        self.last.filter(|last| passed > *last).map(|_| passed)
    }

    fn remember_passed(&mut self, at: LogIndex) {
        if let Some(passed) = self.passed_before(at) {
            self.remember(passed);
        }
    }

    fn remember(&mut self, at: LogIndex) {
        if self.checkpoints.len() == CHECKPOINTS_KEPT {
            self.checkpoints.pop_front();
        }
        self.checkpoints.push_back((at, self.hash()));
    }
}

// What servers read.
impl State {
    /// Chains, keys, clients and members.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Every chain, by genesis hash.
    pub fn chains(&self) -> impl Iterator<Item = &Chain> {
        self.registry.chains()
    }

    /// The chain with this name, or with this genesis hash as 0x-hex.
    pub fn chain_by_name_or_id(&self, text: &str) -> Option<&Chain> {
        self.registry.chain_by_name_or_id(text)
    }

    /// Every key, tombstones included.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.registry.keys()
    }

    /// One key, perhaps a tombstone.
    pub fn key(&self, id: &KeyId) -> Option<&Key> {
        self.registry.key(id)
    }

    /// The keys of every type with this public key on this chain.
    pub fn keys_by_public(&self, chain: &ChainId, public: &PublicKey) -> impl Iterator<Item = &Key> {
        self.registry.keys_by_public(chain, public)
    }

    /// Every client, tombstones included.
    pub fn clients(&self) -> impl Iterator<Item = &Client> {
        self.registry.clients()
    }

    /// One client, perhaps a tombstone.
    pub fn client(&self, id: ClientId) -> Option<&Client> {
        self.registry.client(id)
    }

    /// The active client with this certificate.
    pub fn client_by_spki(&self, spki: &Fingerprint) -> Option<&Client> {
        self.registry.client_by_spki(spki)
    }

    /// Whether a client may have work of a class done with a key. Implicit deny.
    pub fn allows(&self, client: ClientId, key: &Key, class: DutyClass) -> bool {
        self.registry.allows(client, key, class)
    }

    /// Whether a client may have another key made for `chain`, and on what terms: what a server asks before it makes
    /// one. A key that is on its way may yet take the last place.
    ///
    /// # Errors
    /// [`ClientError::MayNotGenerate`] or [`ClientError::KeyQuota`].
    pub fn may_generate(&self, client: ClientId, chain: &ChainId) -> Result<&KeyAllowance, ChangeError> {
        let active = self.registry.client(client).filter(|client| client.state == ClientState::Active);
        let name = || self.registry.client(client).map_or_else(|| client.to_string(), |c| c.name.clone());
        let allowance = active
            .and_then(|client| self.registry.key_allowance(client.id))
            .filter(|allowance| allowance.chain.is_none_or(|only| only == *chain))
            .ok_or_else(|| {
                ChangeError::Client(ClientError::MayNotGenerate { name: name(), chain: *chain })
            })?;
        if self.registry.keys_made_for(client).count() >= allowance.limit as usize {
            return Err(ClientError::KeyQuota { name: name(), limit: allowance.limit }.into());
        }
        Ok(allowance)
    }

    /// The members that belong to the cluster.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.registry.members()
    }

    /// What is known of a node id, tombstones included.
    pub fn member(&self, node: NodeId) -> Option<(&Member, MemberState)> {
        self.registry.member(node)
    }

    /// The watermark of a key: one for a key with claimed work that was armed, else none.
    pub fn watermarks(&self, key: &KeyId) -> Vec<WatermarkView> {
        self.ledger.watermarks(key)
    }

    /// When the highest coordinate of a key was claimed, in Unix milliseconds of the node that served it.
    pub fn last_signed_ms(&self, key: &KeyId) -> Option<u64> {
        self.ledger.last_signed_ms(key)
    }

    /// A number that moves with every change of the registry or of a watermark by an operator (not with claims).
    pub fn registry_version(&self) -> u64 {
        self.registry.version()
    }

    /// The feature level commands may use.
    pub fn feature_level(&self) -> u32 {
        self.registry.feature_level()
    }
}
