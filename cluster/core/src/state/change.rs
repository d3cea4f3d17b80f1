//! How each change is judged and made. A change that is refused leaves the state as it was.

use super::{State, officers::Entry};
use crate::model::Fingerprint;
use crate::{
    audit::{check_notes, check_signature},
    log::{
        Change, ChangeDone, ChangeError, Command,
        error::{ChainError, ClientError, Counted, FeatureError, InputError, KeyError, KeyStep},
    },
    model::{
        Chain, Client, ClientId, ClientState, Envelope, FEATURE_LEVEL, Floors, Key, KeyAllowance,
        KeySelector, KeyState, MAX_ENVELOPE_LEN, MAX_KEY_LIMIT, Member, Right,
    },
    registry::{Counters, Halt, MadeKeys},
};
use signonce_protocol::{ChainId, DutyClass, KeyId, LogIndex, NodeId, Scheme, Settings};

// Far above what anyone runs, low enough that a runaway script cannot fill every node's memory.
const MAX_CHAINS: usize = 1_000;
const MAX_KEYS: usize = 100_000;
const MAX_CLIENTS: usize = 10_000;
pub(super) const MAX_MEMBERS: usize = 1_000;
const MAX_RIGHTS: usize = 1_000;
const MAX_NAME_LEN: usize = 64;
const MAX_TEXT_LEN: usize = 1_024;

/// What a change made.
#[derive(Default)]
pub(super) struct Made {
    pub(super) client: Option<ClientId>,
    pub(super) node: Option<NodeId>,
}

impl State {
    /// Makes one change, or keeps it for a second officer.
    pub(super) fn change(&mut self, entry: Entry<'_>, change: Change) -> Result<ChangeDone, ChangeError> {
        let (level, current) = (change.feature_level(), self.registry.feature_level());
        if level > current {
            return Err(FeatureError::FeatureNeeded { level, current }.into());
        }
        self.check_settings_form(&change)?;
        self.check_role(entry.actor, &change)?;
        self.check_speaker(entry, &change)?;
        if self.needs_approval(entry.actor, &change) {
            return self.waits(entry, change);
        }
        // What goes into the audit alone is no change of the registry: nobody has to look at it anew.
        let audit_only = matches!(change, Change::RecordAudit { .. } | Change::SignAudit(_));
        let made = self.make(entry, change)?;
        if audit_only {
            let registry_version = self.registry.version();
            return Ok(ChangeDone {
                at: entry.at,
                registry_version,
                client: None,
                node: None,
                proposed: None,
            });
        }
        Ok(self.count_change(entry.at, made))
    }

    /// Moves the registry's version along.
    pub(super) fn count_change(&mut self, at: LogIndex, made: Made) -> ChangeDone {
        let counters = self.registry.counters();
        let registry_version = counters.registry_version + 1;
        self.registry.put_counters(Counters { registry_version, ..counters }, &mut self.journal);
        ChangeDone { at, registry_version, client: made.client, node: made.node, proposed: None }
    }

    /// Makes a change that nobody else has to agree to.
    pub(super) fn make(&mut self, entry: Entry<'_>, change: Change) -> Result<Made, ChangeError> {
        let at = entry.at;
        let mut node = None;
        let client = match change {
            Change::RecordAudit { notes } => check_notes(&notes).map(|()| None),
            Change::SignAudit(signature) => check_signature(&signature).map(|()| None),
            Change::AddChain(chain) => self.add_chain(chain).map(|()| None),
            Change::SetSettings { chain, settings } => self.set_settings(chain, settings).map(|()| None),
            Change::RegisterKey { id, scheme, chain, group, sealed } => {
                let key =
                    Key { id, scheme, chain, group, state: KeyState::Registered, sealed, registered_at: at };
                self.register_key(key).map(|()| None)
            }
            Change::ResealKey { id, sealed } => self.reseal_key(id, sealed).map(|()| None),
            Change::ArmKey { id, floors } => self.arm_key(entry, id, &floors).map(|()| None),
            Change::DisableKey { id } => self.disable_key(id).map(|()| None),
            Change::RemoveKey { id } => self.remove_key(id).map(|()| None),
            Change::RaiseWatermark { key, floors } => {
                self.raise_watermark(entry, key, &floors).map(|()| None)
            }
            Change::AddClient { name, spki, rights } => self.add_client(name, spki, rights).map(Some),
            Change::UpdateClient { name, spki, rights } => self.update_client(&name, spki, rights).map(Some),
            Change::RemoveClient { name } => self.remove_client(&name).map(Some),
            Change::AnnounceMember(member) => self.announce_member(member).map(|()| None),
            Change::RemoveMember { node } => self.remove_member(node).map(|()| None),
            Change::RaiseFeatureLevel { level } => self.raise_feature_level(level).map(|()| None),
            Change::SetKeyAllowance { name, allowance } => self.set_key_allowance(&name, allowance).map(Some),
            Change::AddGeneratedKey { client, id, scheme, chain, sealed, floors } => {
                let state = KeyState::Armed;
                let key = Key { id, scheme, chain, group: None, state, sealed, registered_at: at };
                self.add_generated_key(client, key, &floors, entry.time_ms).map(|()| Some(client))
            }
            Change::AddMember { peer_addr, token, replaces } => {
                let fresh = NodeId(at.0);
                node = Some(fresh);
                self.add_member(fresh, peer_addr, token, replaces).map(|()| None)
            }
            Change::JoinMember { member, token } => {
                node = Some(member.node);
                self.join_member(member, &token).map(|()| None)
            }
            Change::PromoteMember { node } => self.promote_member(node).map(|()| None),
            Change::ResealKeys { keys, members } => self.reseal_keys(keys, members).map(|()| None),
            Change::Place(change) => self.place(change).map(|()| None),
            Change::ImportWatermarks { chain, floors } => {
                self.import_watermarks(entry, chain, &floors).map(|()| None)
            }
            Change::Restore(step) => self.restore_step(entry, step).map(|()| None),
            Change::RetimeChain { chain, from_ms, slot_duration_ms } => {
                self.retime_chain(at, chain, from_ms, slot_duration_ms).map(|()| None)
            }
            Change::WidenTolerance { slots } => {
                self.widen_tolerance(slots);
                Ok(None)
            }
            Change::TakeBackTiming { chain } => self.take_back_timing(chain).map(|()| None),
            Change::HaltKey { key, duty, digest, log_index, client } => {
                let halt = Halt { key, duty, digest, log_index, client, at, lifted: None };
                self.halt_key(halt).map(|()| None)
            }
            Change::LiftHalt { key, halted, floors } => {
                self.end_halt(entry, key, halted, &floors).map(|()| None)
            }
            Change::SetClientLimits { name, limits } => self.set_client_limits(name.as_deref(), limits),
            Change::RotateClient { name, spki } => self.rotate_client(&name, spki).map(Some),
            Change::FinishRotation { name, keep_new } => self.finish_rotation(&name, keep_new).map(Some),
            Change::SetOfficer { name, role } => self.set_officer(&name, role).map(|()| None),
            Change::RequireApproval { on } => self.require_approval(on).map(|()| None),
            Change::PinOfficer { name, certificate, role } => {
                self.pin_officer(&name, certificate, role).map(|()| None)
            }
            Change::RotateOfficer { name, certificate } => {
                self.rotate_officer(&name, certificate).map(|()| None)
            }
            Change::FinishOfficerRotation { name, keep_new } => {
                self.finish_officer_rotation(&name, keep_new).map(|()| None)
            }
            Change::DecideProposal { id, approve } => {
                let made = self.decide(entry, id, approve)?;
                node = made.node;
                Ok(made.client)
            }
        }?;
        Ok(Made { client, node })
    }
}

// Chains.
impl State {
    /// Settings that an older member could not read are refused by every member alike, before anything interprets them
    /// (whether a second officer has to agree, for one). Their level is not part of [`Change::feature_level`]: a program
    /// that does not know them would write the command in another version.
    fn check_settings_form(&self, change: &Change) -> Result<(), FeatureError> {
        let current = self.registry.feature_level();
        let (chain, family, settings) = if let Change::AddChain(chain) = change {
            (chain.genesis, chain.family, &chain.settings)
        } else if let Change::SetSettings { chain, settings } = change
            && let Some(known) = self.registry.chain(chain)
        {
            (*chain, known.family, settings)
        } else {
            return Ok(());
        };
        let takes = family.takes_settings(settings, current);
        if takes { Ok(()) } else { Err(FeatureError::SettingsTooNew { chain, current }) }
    }

    fn add_chain(&mut self, chain: Chain) -> Result<(), ChangeError> {
        check_name(&chain.name)?;
        let same = |other: &&Chain| other.genesis == chain.genesis || other.name == chain.name;
        if let Some(Chain { name, genesis, .. }) = self.registry.chains().find(same) {
            return Err(ChainError::ChainExists { name: name.clone(), genesis: *genesis }.into());
        }
        let judged = chain.family.settings.check(&chain.settings);
        judged.map_err(|why| ChainError::BadSettings { name: chain.name.clone(), why: why.0 })?;
        check_room(self.registry.chains().count(), MAX_CHAINS, Counted::Chains)?;
        self.registry.put_chain(chain, &mut self.journal);
        Ok(())
    }

    fn set_settings(&mut self, genesis: ChainId, settings: Settings) -> Result<(), ChangeError> {
        let chain = self.registry.chain(&genesis).ok_or(ChainError::UnknownChain { genesis })?;
        let judged = chain.family.settings.may_become(&chain.settings, &settings);
        judged.map_err(|why| ChainError::BadSettings { name: chain.name.clone(), why: why.0 })?;
        let chain = Chain { settings, ..chain.clone() };
        self.registry.put_chain(chain, &mut self.journal);
        Ok(())
    }
}

// Keys.
impl State {
    fn register_key(&mut self, key: Key) -> Result<(), ChangeError> {
        self.check_new_key(&key)?;
        let id = key.id;
        self.registry.put_key(key, &mut self.journal);
        self.sealed_now(id);
        Ok(())
    }

    fn check_new_key(&self, key: &Key) -> Result<(), ChangeError> {
        let id = key.id;
        match self.registry.key(&id) {
            Some(Key { state: KeyState::Removed, .. }) => {
                return Err(KeyError::KeyRemoved { key: id }.into());
            }
            Some(Key { state, .. }) => {
                return Err(KeyError::KeyExists { key: id, state: *state }.into());
            }
            None => {}
        }
        self.check_family(key)?;
        self.check_slots_may_change(key)?;
        if let Some(chain) = self.registry.owner(&id.public).filter(|owner| **owner != key.chain) {
            return Err(KeyError::KeyOnOtherChain { key: id, chain: *chain }.into());
        }
        check_scheme(id, key.scheme)?;
        key.group.as_deref().map_or(Ok(()), check_name)?;
        check_envelope(id, &key.sealed)?;
        check_room(self.registry.keys().count(), MAX_KEYS, Counted::Keys)
    }

    /// A tombstone that comes with a backup.
    pub(super) fn check_buried_key(&self, key: &Key) -> Result<(), ChangeError> {
        self.check_family(key)?;
        if let Some(chain) = self.registry.owner(&key.id.public).filter(|owner| **owner != key.chain) {
            return Err(KeyError::KeyOnOtherChain { key: key.id, chain: *chain }.into());
        }
        check_scheme(key.id, key.scheme)?;
        key.group.as_deref().map_or(Ok(()), check_name)
    }

    /// The chain is there and of the family of the key's type: rules read its settings as their own.
    fn check_family(&self, key: &Key) -> Result<(), ChangeError> {
        let genesis = key.chain;
        let chain = self.registry.chain(&genesis).ok_or(ChainError::UnknownChain { genesis })?;
        if chain.family == key.id.key_type.family() {
            return Ok(());
        }
        let family = chain.family.name.to_owned();
        Err(KeyError::OtherFamily { key: key.id, chain: genesis, family }.into())
    }

    /// A key that has not been removed.
    pub(super) fn living_key(&self, id: KeyId) -> Result<&Key, ChangeError> {
        match self.registry.key(&id) {
            Some(Key { state: KeyState::Removed, .. }) => {
                Err(ChangeError::Key(KeyError::KeyRemoved { key: id }))
            }
            Some(key) => Ok(key),
            None => Err(ChangeError::Key(KeyError::UnknownKey { key: id })),
        }
    }

    fn reseal_key(&mut self, id: KeyId, sealed: Envelope) -> Result<(), ChangeError> {
        let key = self.living_key(id)?;
        check_envelope(id, &sealed)?;
        let key = Key { sealed, ..key.clone() };
        self.registry.put_key(key, &mut self.journal);
        self.sealed_for_unknown(id);
        Ok(())
    }

    /// What speaks against arming a key, whatever its own watermark says.
    pub(super) fn check_arm(&self, id: KeyId, floors: &Floors) -> Result<&Key, ChangeError> {
        let key = self.living_key(id)?;
        self.check_no_drill()?;
        self.check_above_backup(id, floors)?;
        Ok(key)
    }

    fn arm_key(&mut self, entry: Entry<'_>, id: KeyId, floors: &Floors) -> Result<(), ChangeError> {
        let key = self.check_arm(id, floors)?.clone();
        if key.state == KeyState::Armed {
            return Err(KeyError::WrongState { key: id, state: key.state, step: KeyStep::Arm }.into());
        }
        self.raise(id, floors, entry.time_ms)?;
        self.lift_halt(entry.at, id);
        self.registry.put_key(Key { state: KeyState::Armed, ..key }, &mut self.journal);
        Ok(())
    }

    fn disable_key(&mut self, id: KeyId) -> Result<(), ChangeError> {
        let key = self.living_key(id)?;
        if key.state != KeyState::Armed {
            return Err(KeyError::WrongState { key: id, state: key.state, step: KeyStep::Disable }.into());
        }
        let key = Key { state: KeyState::Disabled, ..key.clone() };
        self.registry.put_key(key, &mut self.journal);
        Ok(())
    }

    fn remove_key(&mut self, id: KeyId) -> Result<(), ChangeError> {
        let key = self.living_key(id)?;
        let key = Key { state: KeyState::Removed, sealed: Envelope::default(), ..key.clone() };
        self.registry.put_key(key, &mut self.journal);
        Ok(())
    }

    fn raise_watermark(&mut self, entry: Entry<'_>, id: KeyId, floors: &Floors) -> Result<(), ChangeError> {
        let key = self.living_key(id)?;
        if key.state == KeyState::Registered {
            return Err(KeyError::WrongState { key: id, state: key.state, step: KeyStep::Raise }.into());
        }
        self.raise(id, floors, entry.time_ms)?;
        self.lift_halt(entry.at, id);
        Ok(())
    }
}

// Clients.
impl State {
    fn add_client(
        &mut self,
        name: String,
        spki: Fingerprint,
        rights: Vec<Right>,
    ) -> Result<ClientId, ChangeError> {
        self.check_new_client(&name, &spki, &rights)?;
        let counters = self.registry.counters();
        let last_client = counters.last_client + 1;
        let id = ClientId(last_client);
        self.registry.put_counters(Counters { last_client, ..counters }, &mut self.journal);
        let client = Client { id, name, spki, rights, state: ClientState::Active };
        self.registry.put_client(client, &mut self.journal);
        Ok(id)
    }

    pub(super) fn check_new_client(
        &self,
        name: &str,
        spki: &Fingerprint,
        rights: &[Right],
    ) -> Result<(), ChangeError> {
        check_name(name)?;
        if self.registry.client_by_name(name).is_some() {
            return Err(ClientError::ClientExists { name: name.to_owned() }.into());
        }
        self.check_certificate(spki, None)?;
        check_rights(rights)?;
        check_room(self.registry.clients().count(), MAX_CLIENTS, Counted::Clients)
    }

    pub(super) fn active_client(&self, name: &str) -> Result<&Client, ChangeError> {
        self.registry
            .client_by_name(name)
            .ok_or_else(|| ChangeError::Client(ClientError::UnknownClient { name: name.to_owned() }))
    }

    fn update_client(
        &mut self,
        name: &str,
        spki: Option<Fingerprint>,
        rights: Option<Vec<Right>>,
    ) -> Result<ClientId, ChangeError> {
        let client = self.active_client(name)?.clone();
        if let Some(spki) = &spki {
            self.check_certificate(spki, Some(client.id))?;
        }
        if let Some(rights) = &rights {
            check_rights(rights)?;
        }
        let (id, old) = (client.id, client.spki);
        let (spki, rights) = (spki.unwrap_or(client.spki), rights.unwrap_or_else(|| client.rights.clone()));
        self.registry.put_client(Client { spki, rights, ..client }, &mut self.journal);
        if spki != old {
            self.revoke_certificate(id, old);
        }
        Ok(id)
    }

    fn remove_client(&mut self, name: &str) -> Result<ClientId, ChangeError> {
        let client = self.active_client(name)?;
        let client = Client { state: ClientState::Removed, ..client.clone() };
        let id = client.id;
        self.registry.put_client(client, &mut self.journal);
        Ok(id)
    }

    /// A certificate must be nobody's, or that of the client it is given to.
    pub(super) fn check_certificate(
        &self,
        spki: &Fingerprint,
        own: Option<ClientId>,
    ) -> Result<(), ChangeError> {
        match self.registry.last_client_with(spki).filter(|client| Some(client.id) != own) {
            Some(client) => Err(ChangeError::Client(ClientError::CertificateTaken {
                client: client.id,
                name: client.name.clone(),
            })),
            None => Ok(()),
        }
    }
}

// Keys that clients have made.
impl State {
    fn set_key_allowance(
        &mut self,
        name: &str,
        allowance: Option<KeyAllowance>,
    ) -> Result<ClientId, ChangeError> {
        let client = self.active_client(name)?.id;
        if let Some(KeyAllowance { group, chain, limit }) = &allowance {
            check_name(group)?;
            if let Some(genesis) = chain.filter(|genesis| self.registry.chain(genesis).is_none()) {
                return Err(ChainError::UnknownChain { genesis }.into());
            }
            if !(1..=MAX_KEY_LIMIT).contains(limit) {
                return Err(ClientError::BadKeyLimit { asked: *limit, most: MAX_KEY_LIMIT }.into());
            }
        }
        let keys = self.registry.keys_made_for(client).map(|key| key.id).collect();
        self.registry.put_made_keys(MadeKeys { client, allowance, keys }, &mut self.journal);
        Ok(client)
    }

    fn add_generated_key(
        &mut self,
        id: ClientId,
        key: Key,
        floors: &Floors,
        given_ms: u64,
    ) -> Result<(), ChangeError> {
        self.check_no_drill()?;
        let allowance = self.may_generate(id, &key.chain)?.clone();
        let key = Key { group: Some(allowance.group.clone()), ..key };
        self.check_new_key(&key)?;
        let client = self.with_right_to(id, &key)?;
        // The last that can fail, and the first that changes anything.
        self.raise_on(key.id, key.chain, floors, given_ms)?;
        let living = self.registry.keys_made_for(id).map(|key| key.id);
        let keys = living.chain([key.id]).collect();
        let made = MadeKeys { client: id, allowance: Some(allowance), keys };
        self.registry.put_made_keys(made, &mut self.journal);
        let key_id = key.id;
        self.registry.put_key(key, &mut self.journal);
        self.sealed_now(key_id);
        if let Some(client) = client {
            self.registry.put_client(client, &mut self.journal);
        }
        Ok(())
    }

    /// The client with the right to all work of the key's type, in place of its rights to single keys that were
    /// removed. `None` if its rights permit all of that already.
    fn with_right_to(&self, id: ClientId, key: &Key) -> Result<Option<Client>, ChangeError> {
        // Those that the family has at this level: a member of another version makes the same of it.
        let level = self.registry.feature_level();
        let classes = key.id.key_type.classes().filter(|class| class.level() <= level);
        let classes: Vec<DutyClass> = classes.collect();
        if classes.iter().all(|class| self.registry.allows(id, key, *class)) {
            return Ok(None);
        }
        let Some(client) = self.registry.client(id) else { return Ok(None) };
        let removed = |keys: &KeySelector| match keys {
            KeySelector::Key(id) => self.registry.key(id).is_some_and(|key| key.state == KeyState::Removed),
            KeySelector::All | KeySelector::Group(_) => false,
        };
        let mut rights = client.rights.clone();
        rights.retain(|right| !removed(&right.keys));
        rights.push(Right { keys: KeySelector::Key(key.id), chain: None, classes });
        check_rights(&rights)?;
        Ok(Some(Client { rights, ..client.clone() }))
    }
}

// Features.
impl State {
    fn raise_feature_level(&mut self, level: u32) -> Result<(), ChangeError> {
        self.check_feature_level(level)?;
        let counters = Counters { feature_level: level, ..self.registry.counters() };
        self.registry.put_counters(counters, &mut self.journal);
        Ok(())
    }

    /// The level that a command will raise to, if this program does not support it. Members of it were upgraded, said
    /// so, and were put back to this version a moment too late.
    pub(super) fn leaves_this_program_behind(&self, command: &Command) -> Option<u32> {
        let Command::Change { actor, change: change @ Change::RaiseFeatureLevel { level }, .. } = command
        else {
            return None;
        };
        let rises = *level > FEATURE_LEVEL
            && self.check_role(actor, change).is_ok()
            && self.check_feature_level(*level).is_ok();
        rises.then_some(*level)
    }

    fn check_feature_level(&self, level: u32) -> Result<(), ChangeError> {
        let current = self.registry.feature_level();
        if level <= current {
            return Err(FeatureError::FeatureNotHigher { current, level }.into());
        }
        if let Some(member) = self.registry.members().find(|member| member.supports < level) {
            let Member { node, supports, .. } = *member;
            return Err(FeatureError::FeatureUnsupported { node, supports, level }.into());
        }
        Ok(())
    }
}

/// Whether something can be called that. Names go into URLs, metrics and command lines, and must not look like a hash.
pub fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-@".contains(&b);
    (1..=MAX_NAME_LEN).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with("0x")
}

pub(super) fn check_name(name: &str) -> Result<(), ChangeError> {
    if is_name(name) {
        return Ok(());
    }
    // Not all of a huge one: the error goes back over the wire.
    Err(ChangeError::Input(InputError::BadName { name: name.chars().take(MAX_NAME_LEN + 1).collect() }))
}

pub(super) fn check_text(what: &str, text: &str) -> Result<(), ChangeError> {
    if (1..=MAX_TEXT_LEN).contains(&text.len()) {
        return Ok(());
    }
    Err(ChangeError::Input(InputError::BadText {
        what: what.into(),
        len: count(text.len()),
        limit: count(MAX_TEXT_LEN),
    }))
}

pub(super) fn check_room(used: usize, limit: usize, what: Counted) -> Result<(), ChangeError> {
    if used < limit {
        Ok(())
    } else {
        Err(ChangeError::Input(InputError::TooMany { what, limit: count(limit) }))
    }
}

fn check_rights(rights: &[Right]) -> Result<(), ChangeError> {
    if rights.len() <= MAX_RIGHTS {
        return Ok(());
    }
    Err(ChangeError::Input(InputError::TooMany { what: Counted::Rights, limit: count(MAX_RIGHTS) }))
}

fn check_scheme(id: KeyId, scheme: Scheme) -> Result<(), ChangeError> {
    let fits = id.key_type.schemes().contains(&scheme) && id.public.as_bytes().len() == scheme.public_len();
    if fits { Ok(()) } else { Err(ChangeError::Key(KeyError::WrongScheme { key: id, scheme })) }
}

pub(super) fn check_envelope(id: KeyId, sealed: &Envelope) -> Result<(), ChangeError> {
    let len = sealed.as_bytes().len();
    if (1..=MAX_ENVELOPE_LEN).contains(&len) {
        return Ok(());
    }
    Err(ChangeError::Key(KeyError::BadEnvelope { key: id, len: count(len), limit: count(MAX_ENVELOPE_LEN) }))
}

/// A length for an error message.
fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
