//! The keys of this node as the signers list them, kept fresh by their events. Every "is it mine?" is answered from
//! here: BABE asks it for each authority of the chain in each slot.

use crate::{
    LOG,
    ask::{NodeSide, VotePosition},
    metrics::Metrics,
    report::{Condition, Report},
};
use signonce_protocol::{
    ChainId, DutyClass, KeyId, KeyState, KeyType, Position, PublicKey, Scheme,
    rpc::{KeyInfo, KeysEvent},
};
use signonce_substrate::{
    ALL_KEY_TYPES, AURA, AURA_BLOCK, AUTHORITY_DISCOVERY, AUTHORITY_RECORD, BABE, BABE_BLOCK, BEEFY,
    BEEFY_VOTE, GRANDPA, GRANDPA_VOTE, HEARTBEAT, IM_ONLINE, OWNERSHIP_PROOF, PARA, PARA_SIDE,
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// How many keys a log line names one by one; more are counted.
const NAMED: usize = 16;
/// How long a key that was just made here is kept although a list of the signers does not name it, as a list can be a
/// moment older than the key.
const NEW_FOR: Duration = Duration::from_secs(10);

/// A key that this node may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mine {
    pub(crate) id: KeyId,
    pub(crate) scheme: Scheme,
    /// What this client may do with it.
    classes: Vec<DutyClass>,
    /// When it was made here, if no list has named it since.
    made: Option<Instant>,
}

impl Mine {
    pub(crate) const fn listed(id: KeyId, scheme: Scheme, classes: Vec<DutyClass>) -> Self {
        Self { id, scheme, classes, made: None }
    }

    pub(crate) fn classes(&self) -> &[DutyClass] {
        &self.classes
    }

    pub(crate) fn may(&self, class: DutyClass) -> bool {
        self.classes.contains(&class)
    }
}

/// The class without which a key is useless to a validator, and so does not count as its own.
pub(crate) fn main_class(key_type: KeyType) -> DutyClass {
    match key_type {
        BABE => BABE_BLOCK,
        AURA => AURA_BLOCK,
        GRANDPA => GRANDPA_VOTE,
        BEEFY => BEEFY_VOTE,
        PARA => PARA_SIDE,
        AUTHORITY_DISCOVERY => AUTHORITY_RECORD,
        IM_ONLINE => HEARTBEAT,
        // Keys of other families give no such proofs, and so are never this node's.
        _ => OWNERSHIP_PROOF,
    }
}

/// Every class that a key of the type can do.
fn classes_of(key_type: KeyType) -> Vec<DutyClass> {
    key_type.classes().collect()
}

/// The keys. Shared by the keystore and by the task that follows the signers' events.
pub(crate) struct Keys {
    genesis: ChainId,
    node: Arc<dyn NodeSide>,
    metrics: Metrics,
    report: Arc<Report>,
    held: RwLock<Held>,
    listed: (Mutex<bool>, Condvar),
    changed: Notify,
}

/// The keys and what is derived from them. An event changes one key and visits no other.
#[derive(Default)]
struct Held {
    keys: HashMap<KeyId, Mine>,
    /// The number of keys of each type, always in step with `keys`.
    counts: BTreeMap<KeyType, usize>,
    /// GRANDPA keys that the gate knows of.
    voters: HashSet<PublicKey>,
}

impl Held {
    /// Adds a key; whether that changed anything.
    fn insert(&mut self, mine: Mine) -> bool {
        let (id, scheme, may) = (mine.id, mine.scheme, mine.classes.clone());
        match self.keys.insert(id, mine) {
            Some(before) => before.scheme != scheme || before.classes != may,
            None => {
                *self.counts.entry(id.key_type).or_default() += 1;
                true
            }
        }
    }

    /// Removes a key; whether that changed anything.
    fn remove(&mut self, id: &KeyId) -> bool {
        let held = self.keys.remove(id).is_some();
        if held && let Some(count) = self.counts.get_mut(&id.key_type) {
            *count -= 1;
        }
        held
    }
}

impl Keys {
    pub(crate) fn new(
        genesis: ChainId,
        node: Arc<dyn NodeSide>,
        metrics: Metrics,
        report: Arc<Report>,
    ) -> Self {
        let (held, listed, changed) = (RwLock::default(), Default::default(), Notify::new());
        Self { genesis, node, metrics, report, held, listed, changed }
    }

    /// Treats `keys` as this node's until the signers list them.
    pub(crate) fn remember(&self, keys: Vec<Mine>) {
        let mut held = self.write();
        for mine in keys {
            held.insert(mine);
        }
        drop(held);
        self.count();
    }

    // Every change leaves it consistent.
    fn read(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Held> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key, if it is this node's.
    pub(crate) fn find(&self, id: &KeyId) -> Option<Mine> {
        self.read().keys.get(id).cloned()
    }

    pub(crate) fn has(&self, id: &KeyId) -> bool {
        self.read().keys.contains_key(id)
    }

    /// All of them, in order.
    pub(crate) fn list(&self) -> Vec<Mine> {
        let mut list: Vec<_> = self.read().keys.values().cloned().collect();
        list.sort_by_key(|mine| mine.id);
        list
    }

    /// Ready when [`Self::list`] has changed since this was last ready.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The public keys of a type, and of a scheme if one is given; always in the same order.
    pub(crate) fn publics(&self, key_type: KeyType, scheme: Option<Scheme>) -> Vec<PublicKey> {
        let mut publics: Vec<_> = self
            .read()
            .keys
            .values()
            .filter(|mine| mine.id.key_type == key_type && scheme.is_none_or(|scheme| scheme == mine.scheme))
            .map(|mine| mine.id.public)
            .collect();
        publics.sort();
        publics
    }

    /// Waits for the first list, but no longer than `at_most`. Says whether it came.
    pub(crate) fn wait_for_list(&self, at_most: Duration) -> bool {
        let (listed, came) = &self.listed;
        let listed = listed.lock().unwrap_or_else(PoisonError::into_inner);
        *came.wait_timeout_while(listed, at_most, |listed| !*listed).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Applies an event from a signer.
    pub(crate) fn apply(&self, event: KeysEvent) {
        match event {
            KeysEvent::All { applied: _, keys } => self.replace(&keys),
            KeysEvent::Changed { applied: _, key } => self.change(&key),
        }
        self.count();
        let (listed, came) = &self.listed;
        let first = !std::mem::replace(&mut *listed.lock().unwrap_or_else(PoisonError::into_inner), true);
        came.notify_all();
        if first {
            log::info!(target: LOG, "connected to the signers; keys of this node: {}", self.summary());
        }
    }

    fn summary(&self) -> String {
        let held = self.read();
        if held.keys.len() > NAMED {
            let counts = held.counts.iter().filter(|(_, count)| **count > 0);
            let counts: Vec<_> = counts.map(|(key_type, count)| format!("{count} {key_type}")).collect();
            return format!("{}; `signonce keys list` names them", counts.join(", "));
        }
        let mut keys: Vec<_> = held.keys.keys().copied().collect();
        keys.sort();
        match keys.is_empty() {
            true => "none".into(),
            false => keys.iter().map(KeyId::to_string).collect::<Vec<_>>().join(", "),
        }
    }

    /// Adds a key that the signers just made for this node.
    pub(crate) fn made(&self, id: KeyId, scheme: Scheme) {
        let mine = Mine { id, scheme, classes: classes_of(id.key_type), made: Some(Instant::now()) };
        self.write().insert(mine);
        self.count();
        self.changed.notify_one();
    }

    fn replace(&self, infos: &[KeyInfo]) {
        let ours: Vec<_> = infos.iter().filter(|info| info.genesis == self.genesis).collect();
        self.tell_of_other_chains(infos, ours.is_empty());
        let listed: Vec<_> = ours.iter().filter_map(|info| self.usable(info)).collect();
        let usable: HashSet<_> = listed.iter().map(|mine| mine.id).collect();
        let named: HashSet<_> = ours.iter().map(|info| id_of(info)).collect();
        let mut held = self.write();
        let is_new = |mine: &Mine| mine.made.is_some_and(|made| made.elapsed() < NEW_FOR);
        let over = held.keys.values().filter(|mine| !usable.contains(&mine.id) && !is_new(mine));
        let over: Vec<_> = over.map(|mine| mine.id).collect();
        let mut changed = !over.is_empty();
        for id in &over {
            held.remove(id);
        }
        for mine in listed {
            changed |= held.insert(mine);
        }
        let gone = |public: &PublicKey| !named.contains(&KeyId { key_type: GRANDPA, public: *public });
        let gone: Vec<_> = held.voters.extract_if(gone).collect();
        drop(held);
        gone.iter().for_each(|public| self.node.key_gone(public));
        self.report.forget(|condition| condition.key().is_some_and(|id| !named.contains(id)));
        for info in ours {
            self.tell_watermark(info);
        }
        if changed {
            self.changed.notify_one();
        }
    }

    fn change(&self, info: &KeyInfo) {
        if info.genesis != self.genesis {
            return;
        }
        let id = id_of(info);
        let usable = self.usable(info);
        let changed = match usable {
            Some(usable) => self.write().insert(usable),
            None => self.write().remove(&id),
        };
        if changed {
            self.changed.notify_one();
        }
        if info.state != KeyState::Removed {
            self.tell_watermark(info);
        } else {
            self.report.forget(|condition| condition.key() == Some(&id));
            if id.key_type == GRANDPA && self.write().voters.remove(&id.public) {
                self.node.key_gone(&id.public);
            }
        }
    }

    /// The key as this node's, or `None` with the reason in the log.
    fn usable(&self, info: &KeyInfo) -> Option<Mine> {
        let id = id_of(info);
        let main = main_class(info.key_type);
        let (armed, may) = (info.state == KeyState::Armed, info.classes.contains(&main));
        let unusable = Condition::Unusable(id);
        if armed && may {
            self.report.end(&unusable, || format!("{id}: may be used now"));
            return Some(Mine::listed(id, info.scheme, info.classes.clone()));
        }
        if info.state == KeyState::Removed {
            self.report.end(&unusable, || format!("{id}: gone"));
        } else {
            self.report.begin(unusable, || match armed {
                false => format!("{id}: not armed in the signer cluster, so this node does nothing with it; see `signonce keys`"),
                true => format!(
                    "{id}: this client has no right to {main}, so this node does nothing with it; an operator can grant it with `signonce clients`"
                ),
            });
        }
        None
    }

    fn tell_of_other_chains(&self, infos: &[KeyInfo], none_of_ours: bool) {
        let genesis = self.genesis;
        match infos.iter().find(|info| info.genesis != genesis) {
            Some(other) if none_of_ours => {
                self.report.begin(Condition::OtherChain, || {
                    format!(
                        "the signers hold no key of this chain (genesis {genesis}) for this client, but keys of {:?} (genesis {}): \
                         check --remote-signer, --remote-signer-cert and --chain",
                        other.chain, other.genesis
                    )
                });
            }
            _ => {
                self.report.end(&Condition::OtherChain, || "the signers hold keys of this chain".into());
            }
        }
    }

    fn tell_watermark(&self, info: &KeyInfo) {
        if info.key_type != GRANDPA {
            return;
        }
        let votes = info.watermarks.iter().find(|mark| mark.class == GRANDPA_VOTE);
        if let Some(votes) = votes {
            self.write().voters.insert(info.public);
            self.node.watermark(&info.public, place(votes.floor), place(votes.highest));
        }
    }

    fn count(&self) {
        let held = self.read();
        for key_type in ALL_KEY_TYPES {
            self.metrics.keys(key_type.name(), held.counts.get(&key_type).copied().unwrap_or_default());
        }
    }
}

const fn id_of(info: &KeyInfo) -> KeyId {
    KeyId { key_type: info.key_type, public: info.public }
}

fn place(position: Option<Position>) -> Option<VotePosition> {
    let position = position.filter(|position| position.class() == GRANDPA_VOTE)?;
    let &[set_id, round] = position.parts() else { return None };
    Some(VotePosition { set_id, round })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeNode, GENESIS, info, keys_with};
    use signonce_protocol::{LogIndex, rpc::WatermarkInfo};
    use signonce_substrate::{BABE_VRF, ECDSA, ED25519, SR25519};

    fn all(keys: Vec<KeyInfo>) -> KeysEvent {
        KeysEvent::All { applied: LogIndex(1), keys }
    }

    fn changed(key: KeyInfo) -> KeysEvent {
        KeysEvent::Changed { applied: LogIndex(2), key: Box::new(key) }
    }

    #[test]
    fn keys_that_are_not_armed_or_lack_the_right_or_belong_to_another_chain_are_not_ours() {
        let keys = keys_with(Arc::new(FakeNode::default()));
        let good = info(BABE, SR25519, [1; 32]);
        let unarmed = KeyInfo { state: KeyState::Registered, ..info(BABE, SR25519, [2; 32]) };
        let disabled = KeyInfo { state: KeyState::Disabled, ..info(BABE, SR25519, [3; 32]) };
        let rightless = KeyInfo { classes: vec![BABE_VRF], ..info(BABE, SR25519, [4; 32]) };
        let foreign = KeyInfo { genesis: ChainId([9; 32]), ..info(BABE, SR25519, [5; 32]) };
        keys.apply(all(vec![good.clone(), unarmed, disabled, rightless, foreign]));
        assert_eq!(keys.publics(BABE, None), [good.public]);
        assert!(keys.has(&id_of(&good)));
    }

    #[test]
    fn a_list_replaces_and_a_change_changes_one_key() {
        let keys = keys_with(Arc::new(FakeNode::default()));
        let (a, b) = (info(BABE, SR25519, [1; 32]), info(BABE, SR25519, [2; 32]));
        keys.apply(all(vec![a.clone()]));
        keys.apply(changed(b.clone()));
        assert_eq!(keys.publics(BABE, Some(SR25519)), [a.public, b.public]);
        keys.apply(changed(KeyInfo { state: KeyState::Disabled, ..a.clone() }));
        assert_eq!(keys.publics(BABE, None), [b.public]);
        keys.apply(changed(KeyInfo { state: KeyState::Removed, classes: vec![], ..b }));
        keys.apply(all(vec![a.clone()]));
        assert_eq!(keys.publics(BABE, None), [a.public]);
        keys.apply(all(vec![]));
        assert!(keys.publics(BABE, None).is_empty());
    }

    #[test]
    fn keys_are_told_apart_by_type_and_scheme() {
        let keys = keys_with(Arc::new(FakeNode::default()));
        keys.apply(all(vec![info(AURA, ED25519, [1; 32]), info(AUTHORITY_DISCOVERY, SR25519, [1; 32])]));
        assert_eq!(keys.publics(AURA, Some(ED25519)).len(), 1);
        assert!(keys.publics(AURA, Some(SR25519)).is_empty());
        assert!(keys.publics(BABE, None).is_empty());
    }

    #[test]
    fn the_gate_hears_of_every_grandpa_watermark() {
        let node = Arc::new(FakeNode::default());
        let keys = keys_with(node.clone());
        let mut gran = info(GRANDPA, ED25519, [1; 32]);
        let round = |set_id, round| Position::new(GRANDPA_VOTE, &[set_id, round]);
        gran.watermarks = vec![WatermarkInfo { class: GRANDPA_VOTE, floor: round(1, 0), highest: None }];
        keys.apply(all(vec![gran.clone()]));
        gran.watermarks[0].highest = round(2, 7);
        keys.apply(changed(gran.clone()));
        let floor = Some(VotePosition { set_id: 1, round: 0 });
        assert_eq!(
            node.watermarks(),
            [(gran.public, floor, None), (gran.public, floor, Some(VotePosition { set_id: 2, round: 7 }))]
        );
    }

    #[test]
    fn the_gate_hears_of_grandpa_keys_that_are_gone() {
        let node = Arc::new(FakeNode::default());
        let keys = keys_with(node.clone());
        let gran = |byte| {
            let mut gran = info(GRANDPA, ED25519, [byte; 32]);
            gran.watermarks = vec![WatermarkInfo { class: GRANDPA_VOTE, floor: None, highest: None }];
            gran
        };
        let [a, b, c] = [1, 2, 3].map(gran);
        keys.apply(all(vec![a.clone(), b.clone(), c.clone()]));
        let disabled = KeyInfo { state: KeyState::Disabled, ..a.clone() };
        keys.apply(changed(disabled.clone()));
        assert_eq!(node.gone(), [], "it may be armed again");
        keys.apply(changed(KeyInfo { state: KeyState::Removed, classes: vec![], ..b.clone() }));
        assert_eq!(node.gone(), [b.public]);
        keys.apply(all(vec![disabled]));
        assert_eq!(node.gone(), [b.public, c.public]);
    }

    /// 10 000 keys of one client, and what is counted of them.
    #[test]
    fn counts_follow_every_change_and_many_keys_are_counted_in_the_log_and_not_named() {
        let keys = keys_with(Arc::new(FakeNode::default()));
        let many = |n: u32| {
            let mut public = [7; 32];
            public[..4].copy_from_slice(&n.to_le_bytes());
            info(if n.is_multiple_of(2) { BABE } else { PARA }, SR25519, public)
        };
        keys.apply(all((0..10_000).map(many).collect()));
        assert_eq!(keys.summary(), "5000 babe, 5000 para; `signonce keys list` names them");
        for n in 0..10 {
            keys.apply(changed(KeyInfo { state: KeyState::Removed, classes: vec![], ..many(2 * n) }));
            // Once more, and one that was there already: no count changes by that.
            keys.apply(changed(KeyInfo { state: KeyState::Removed, classes: vec![], ..many(2 * n) }));
            keys.apply(changed(many(2 * n + 1)));
        }
        keys.apply(changed(info(BEEFY, ECDSA, [1; 33])));
        assert_eq!(keys.summary(), "4990 babe, 1 beef, 5000 para; `signonce keys list` names them");
        keys.apply(all((0..4).map(many).collect()));
        assert_eq!(keys.read().counts.values().sum::<usize>(), 4);
        assert_eq!(keys.summary().matches(":0x").count(), 4, "{}", keys.summary());
    }

    #[test]
    fn remembered_keys_are_ours_until_the_signers_list_others() {
        let keys = keys_with(Arc::new(FakeNode::default()));
        let [known, other] = [1, 2].map(|byte| info(BABE, SR25519, [byte; 32]));
        let remembered = Mine::listed(id_of(&known), known.scheme, known.classes.clone());
        keys.remember(vec![remembered.clone()]);
        assert_eq!(keys.find(&id_of(&known)), Some(remembered));
        assert!(!keys.wait_for_list(Duration::ZERO), "that is no list of the signers");
        keys.apply(all(vec![other.clone()]));
        assert_eq!(keys.publics(BABE, None), [other.public]);
    }

    #[test]
    fn a_key_just_made_is_ours_at_once_and_survives_a_list_that_is_older() {
        let keys = keys_with(Arc::new(FakeNode::default()));
        let made = KeyId { key_type: BABE, public: PublicKey::try_from([7; 32].as_slice()).unwrap() };
        keys.made(made, SR25519);
        assert!(keys.find(&made).unwrap().may(OWNERSHIP_PROOF));
        keys.apply(all(vec![]));
        assert!(keys.has(&made));
        // Named once, it lives by the lists again.
        keys.apply(all(vec![info(BABE, SR25519, [7; 32])]));
        keys.apply(all(vec![]));
        assert!(!keys.has(&made));
    }

    #[test]
    fn keys_of_another_chain_only_are_told_once() {
        let keys = keys_with(Arc::new(FakeNode::default()));
        let foreign = KeyInfo { genesis: ChainId([9; 32]), ..info(BABE, SR25519, [5; 32]) };
        keys.apply(all(vec![foreign.clone()]));
        assert!(keys.report.holds(&Condition::OtherChain));
        let ours = info(BABE, SR25519, [1; 32]);
        assert_eq!(ours.genesis, GENESIS);
        keys.apply(all(vec![foreign, ours]));
        assert!(!keys.report.holds(&Condition::OtherChain));
    }

    #[test]
    fn who_waits_for_the_first_list_gets_it_or_goes_on_without() {
        let keys = Arc::new(keys_with(Arc::new(FakeNode::default())));
        assert!(!keys.wait_for_list(Duration::from_millis(1)));
        let other = keys.clone();
        let waiting = std::thread::spawn(move || other.wait_for_list(Duration::from_secs(60)));
        keys.apply(all(vec![]));
        assert!(waiting.join().unwrap());
    }
}
