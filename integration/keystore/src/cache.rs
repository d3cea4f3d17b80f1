//! The keys of this node as the signers list them, kept fresh by their events. Every "is it mine?" is answered from
//! here: BABE asks it for each authority of the chain in each slot.

use crate::{
    LOG,
    ask::{NodeSide, Place},
    metrics::Metrics,
    report::{Condition, Report},
};
use signonce_protocol::{
    DutyClass, GenesisHash, KeyId, KeyType, PublicKey, Scheme,
    rpc::{Coordinate, KeyInfo, KeyState, KeysEvent},
};
use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, Instant},
};

/// How long a key that was just made here is kept although a list of the signers does not name it: a list can be a
/// moment older than the key.
const NEW_FOR: Duration = Duration::from_secs(10);

/// A key that this node may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mine {
    pub(crate) id: KeyId,
    pub(crate) scheme: Scheme,
    /// What this client may have done with it.
    classes: Vec<DutyClass>,
    /// When it was made here, if no list has named it since.
    made: Option<Instant>,
}

impl Mine {
    pub(crate) fn may(&self, class: DutyClass) -> bool {
        self.classes.contains(&class)
    }
}

/// The class without which a key is of no use to a validator, and so not its own.
pub(crate) const fn main_class(key_type: KeyType) -> DutyClass {
    match key_type {
        KeyType::Babe => DutyClass::BabeBlock,
        KeyType::Aura => DutyClass::AuraBlock,
        KeyType::Grandpa => DutyClass::GrandpaVote,
        KeyType::Beefy => DutyClass::BeefyVote,
        KeyType::Para => DutyClass::ParaSide,
        KeyType::AuthorityDiscovery => DutyClass::AuthorityRecord,
        KeyType::ImOnline => DutyClass::Heartbeat,
    }
}

/// Every class that a key of the type can do.
fn classes_of(key_type: KeyType) -> Vec<DutyClass> {
    DutyClass::ALL.into_iter().filter(|class| class.key_types().contains(&key_type)).collect()
}

/// The keys. Shared by the keystore and by the task that follows the signers' events.
pub(crate) struct Keys {
    genesis: GenesisHash,
    node: Arc<dyn NodeSide>,
    metrics: Metrics,
    report: Arc<Report>,
    mine: RwLock<HashMap<KeyId, Mine>>,
    listed: (Mutex<bool>, Condvar),
}

impl Keys {
    pub(crate) fn new(
        genesis: GenesisHash,
        node: Arc<dyn NodeSide>,
        metrics: Metrics,
        report: Arc<Report>,
    ) -> Self {
        Self { genesis, node, metrics, report, mine: RwLock::default(), listed: Default::default() }
    }

    // Every change leaves the map whole.
    fn read(&self) -> RwLockReadGuard<'_, HashMap<KeyId, Mine>> {
        self.mine.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<KeyId, Mine>> {
        self.mine.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key, if it is this node's.
    pub(crate) fn find(&self, id: &KeyId) -> Option<Mine> {
        self.read().get(id).cloned()
    }

    pub(crate) fn has(&self, id: &KeyId) -> bool {
        self.read().contains_key(id)
    }

    /// The public keys of a type, and of a scheme if one is given; always in the same order.
    pub(crate) fn publics(&self, key_type: KeyType, scheme: Option<Scheme>) -> Vec<PublicKey> {
        let mut publics: Vec<_> = self
            .read()
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

    /// Takes in what a signer tells.
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
        let mut keys: Vec<_> = self.read().keys().copied().collect();
        keys.sort();
        match keys.is_empty() {
            true => "none".into(),
            false => keys.iter().map(KeyId::to_string).collect::<Vec<_>>().join(", "),
        }
    }

    /// A key that the signers just made for this node.
    pub(crate) fn made(&self, id: KeyId, scheme: Scheme) {
        let mine = Mine { id, scheme, classes: classes_of(id.key_type), made: Some(Instant::now()) };
        self.write().insert(id, mine);
        self.count();
    }

    fn replace(&self, infos: &[KeyInfo]) {
        let ours: Vec<_> = infos.iter().filter(|info| info.genesis == self.genesis).collect();
        self.tell_of_other_chains(infos, ours.is_empty());
        let listed: HashMap<_, _> =
            ours.iter().filter_map(|info| self.usable(info)).map(|mine| (mine.id, mine)).collect();
        let mut mine = self.write();
        mine.retain(|_, mine| mine.made.is_some_and(|made| made.elapsed() < NEW_FOR));
        mine.extend(listed);
        drop(mine);
        let named =
            |id: &KeyId| infos.iter().any(|info| info.key_type == id.key_type && info.public == id.public);
        self.report.forget(|condition| matches!(condition, Condition::Unusable(id) if !named(id)));
        for info in ours {
            self.tell_watermark(info);
        }
    }

    fn change(&self, info: &KeyInfo) {
        if info.genesis != self.genesis {
            return;
        }
        let id = KeyId { key_type: info.key_type, public: info.public };
        let usable = self.usable(info);
        let mut mine = self.write();
        match usable {
            Some(usable) => mine.insert(id, usable),
            None => mine.remove(&id),
        };
        drop(mine);
        self.tell_watermark(info);
    }

    /// The key as this node's, or None with the reason in the log.
    fn usable(&self, info: &KeyInfo) -> Option<Mine> {
        let id = KeyId { key_type: info.key_type, public: info.public };
        let main = main_class(info.key_type);
        let (armed, may) = (info.state == KeyState::Armed, info.classes.contains(&main));
        let unusable = Condition::Unusable(id);
        if armed && may {
            self.report.end(&unusable, || format!("{id}: may be used now"));
            return Some(Mine { id, scheme: info.scheme, classes: info.classes.clone(), made: None });
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
        if info.key_type != KeyType::Grandpa {
            return;
        }
        let votes = info.watermarks.iter().find(|mark| mark.class == DutyClass::GrandpaVote);
        if let Some(votes) = votes {
            self.node.watermark(&info.public, place(votes.floor), place(votes.highest));
        }
    }

    fn count(&self) {
        for key_type in KeyType::ALL {
            self.metrics.keys(key_type.name(), self.publics(key_type, None).len());
        }
    }
}

fn place(coordinate: Option<Coordinate>) -> Option<Place> {
    match coordinate? {
        Coordinate::Round { set_id, round } => Some(Place { set_id: set_id.0, round: round.0 }),
        Coordinate::Slot { .. } | Coordinate::Block { .. } | Coordinate::Session { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeNode, GENESIS, info, keys_with};
    use signonce_protocol::{LogIndex, Round, SetId, rpc::WatermarkInfo};

    fn all(keys: Vec<KeyInfo>) -> KeysEvent {
        KeysEvent::All { applied: LogIndex(1), keys }
    }

    fn changed(key: KeyInfo) -> KeysEvent {
        KeysEvent::Changed { applied: LogIndex(2), key: Box::new(key) }
    }

    fn id(info: &KeyInfo) -> KeyId {
        KeyId { key_type: info.key_type, public: info.public }
    }

    #[test]
    fn keys_that_are_not_armed_or_lack_the_right_or_belong_to_another_chain_are_not_ours() {
        let keys = keys_with(Arc::new(FakeNode::default()));
        let good = info(KeyType::Babe, Scheme::Sr25519, [1; 32]);
        let unarmed =
            KeyInfo { state: KeyState::Registered, ..info(KeyType::Babe, Scheme::Sr25519, [2; 32]) };
        let disabled = KeyInfo { state: KeyState::Disabled, ..info(KeyType::Babe, Scheme::Sr25519, [3; 32]) };
        let rightless =
            KeyInfo { classes: vec![DutyClass::BabeVrf], ..info(KeyType::Babe, Scheme::Sr25519, [4; 32]) };
        let foreign =
            KeyInfo { genesis: GenesisHash([9; 32]), ..info(KeyType::Babe, Scheme::Sr25519, [5; 32]) };
        keys.apply(all(vec![good.clone(), unarmed, disabled, rightless, foreign]));
        assert_eq!(keys.publics(KeyType::Babe, None), [good.public]);
        assert!(keys.has(&id(&good)));
    }

    #[test]
    fn a_list_replaces_and_a_change_changes_one_key() {
        let keys = keys_with(Arc::new(FakeNode::default()));
        let (a, b) =
            (info(KeyType::Babe, Scheme::Sr25519, [1; 32]), info(KeyType::Babe, Scheme::Sr25519, [2; 32]));
        keys.apply(all(vec![a.clone()]));
        keys.apply(changed(b.clone()));
        assert_eq!(keys.publics(KeyType::Babe, Some(Scheme::Sr25519)), [a.public, b.public]);
        keys.apply(changed(KeyInfo { state: KeyState::Disabled, ..a.clone() }));
        assert_eq!(keys.publics(KeyType::Babe, None), [b.public]);
        keys.apply(changed(KeyInfo { state: KeyState::Removed, classes: vec![], ..b }));
        keys.apply(all(vec![a.clone()]));
        assert_eq!(keys.publics(KeyType::Babe, None), [a.public]);
        keys.apply(all(vec![]));
        assert!(keys.publics(KeyType::Babe, None).is_empty());
    }

    #[test]
    fn keys_are_told_apart_by_type_and_scheme() {
        let keys = keys_with(Arc::new(FakeNode::default()));
        keys.apply(all(vec![
            info(KeyType::Aura, Scheme::Ed25519, [1; 32]),
            info(KeyType::AuthorityDiscovery, Scheme::Sr25519, [1; 32]),
        ]));
        assert_eq!(keys.publics(KeyType::Aura, Some(Scheme::Ed25519)).len(), 1);
        assert!(keys.publics(KeyType::Aura, Some(Scheme::Sr25519)).is_empty());
        assert!(keys.publics(KeyType::Babe, None).is_empty());
    }

    #[test]
    fn the_gate_hears_of_every_grandpa_watermark() {
        let node = Arc::new(FakeNode::default());
        let keys = keys_with(node.clone());
        let mut gran = info(KeyType::Grandpa, Scheme::Ed25519, [1; 32]);
        let round = |set_id, round| Some(Coordinate::Round { set_id: SetId(set_id), round: Round(round) });
        gran.watermarks =
            vec![WatermarkInfo { class: DutyClass::GrandpaVote, floor: round(1, 0), highest: None }];
        keys.apply(all(vec![gran.clone()]));
        gran.watermarks[0].highest = round(2, 7);
        keys.apply(changed(gran.clone()));
        let floor = Some(Place { set_id: 1, round: 0 });
        assert_eq!(
            node.watermarks(),
            [(gran.public, floor, None), (gran.public, floor, Some(Place { set_id: 2, round: 7 }))]
        );
    }

    #[test]
    fn a_key_just_made_is_ours_at_once_and_survives_a_list_that_is_older() {
        let keys = keys_with(Arc::new(FakeNode::default()));
        let made =
            KeyId { key_type: KeyType::Babe, public: PublicKey::try_from([7; 32].as_slice()).unwrap() };
        keys.made(made, Scheme::Sr25519);
        assert!(keys.find(&made).unwrap().may(DutyClass::OwnershipProof));
        keys.apply(all(vec![]));
        assert!(keys.has(&made));
        // Named once, it lives by the lists again.
        keys.apply(all(vec![info(KeyType::Babe, Scheme::Sr25519, [7; 32])]));
        keys.apply(all(vec![]));
        assert!(!keys.has(&made));
    }

    #[test]
    fn keys_of_another_chain_only_are_told_once() {
        let keys = keys_with(Arc::new(FakeNode::default()));
        let foreign =
            KeyInfo { genesis: GenesisHash([9; 32]), ..info(KeyType::Babe, Scheme::Sr25519, [5; 32]) };
        keys.apply(all(vec![foreign.clone()]));
        assert!(keys.report.holds(&Condition::OtherChain));
        let ours = info(KeyType::Babe, Scheme::Sr25519, [1; 32]);
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
