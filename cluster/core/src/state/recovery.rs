//! The changes of disasters: importing watermarks, bringing a backup into an empty cluster, halting a key that the
//! cluster has forgotten signatures of, and ending a halt.

use super::{State, officers::Entry};
use crate::model::Fingerprint;
use crate::{
    ledger::{Coverage, SignedDuty},
    log::{
        ChangeError,
        error::{BackupError, ChainError, Counted, HaltError, KeyError, KeyStep},
    },
    model::{
        BackupName, Barred, BarredPlace, BuriedClient, BuriedKey, Client, ClientId, ClientState, Envelope,
        Floors, Key, KeyState, LeftKey, RestoreStep,
    },
    registry::{Drill, Halt, KnownByBackup, Origin},
};
use signonce_protocol::{
    Carry, ChainId, Claim, Digest, Duty, DutyClass, KeyId, LogIndex,
    mark::{Alone, Context},
};
use std::collections::BTreeSet;

/// Places of one key that may be barred: each took a halt, and two officers.
const MAX_BARRED: usize = 64;

// What is read.
impl State {
    /// Every duty above the floor of one of the key's watermarks that was signed, in rising order. `None` for one whose
    /// duties are kept in a form that does not tell them; nothing was signed above [`WatermarkView::highest`](crate::WatermarkView).
    pub fn signed_duties(&self, key: &KeyId, class: DutyClass) -> Option<Vec<SignedDuty>> {
        self.ledger.signed(key, class)
    }

    /// What the backup that a key came with knew of it: see [`crate::Registry::known_by_backup`].
    pub fn known_by_backup(&self, key: &KeyId) -> Option<&Floors> {
        self.registry.known_by_backup(key)
    }

    /// What this state knows of `digest` having been signed for `duty` by `key`.
    pub fn covers(&self, key: &KeyId, duty: &Duty, digest: Digest) -> Coverage {
        if self.registry.bars(key, duty).is_some() {
            return Coverage::Covered;
        }
        let known = self.registry.key(key).zip(Some(()).filter(|()| self.ledger.has_mark(key)));
        match known.and_then(|(key, ())| self.registry.chain(&key.chain)) {
            Some(chain) => {
                let (client, carry, time_ms) = (ClientId::default(), Carry::default(), 0);
                let claim = Claim { key: *key, client, duty: duty.clone(), digest, carry, time_ms };
                let clock = self.registry.clock(chain);
                self.ledger.covers(&claim, &Context { chain, clock, siblings: &Alone })
            }
            None => Coverage::Foreign,
        }
    }
}

// Watermarks of many keys.
impl State {
    pub(super) fn import_watermarks(
        &mut self,
        Entry { at, time_ms, .. }: Entry<'_>,
        chain: ChainId,
        floors: &[(KeyId, Floors)],
    ) -> Result<(), ChangeError> {
        if self.registry.chain(&chain).is_none() {
            return Err(ChainError::UnknownChain { genesis: chain }.into());
        }
        let mut seen = BTreeSet::new();
        for (id, floor) in floors {
            if !seen.insert(*id) {
                return Err(KeyError::KeyTwice { key: *id }.into());
            }
            let key = self.living_key(*id)?;
            if key.chain != chain {
                return Err(KeyError::KeyOnOtherChain { key: *id, chain: key.chain }.into());
            }
            self.may_raise(*id, floor, time_ms)?;
        }
        for (id, floor) in floors {
            self.raise(*id, floor, time_ms).expect("it was judged before the first was raised");
            self.lift_halt(at, *id);
            let key = self.living_key(*id)?.clone();
            // One that came with a backup still waits for a floor above it.
            if key.state == KeyState::Registered && self.registry.known_by_backup(id).is_none() {
                self.registry.put_key(Key { state: KeyState::Disabled, ..key }, &mut self.journal);
            }
        }
        Ok(())
    }
}

// Keys whose signatures were forgotten.
impl State {
    pub(super) fn halt_key(&mut self, halt: Halt) -> Result<(), ChangeError> {
        let key = halt.key;
        self.living_key(key)?;
        if let Some(Halt { at, .. }) = self.registry.halt(&key) {
            return Err(HaltError::AlreadyHalted { key, at: *at }.into());
        }
        match self.covers(&key, &halt.duty, halt.digest) {
            // Whoever asked had not applied as much as this.
            Coverage::Covered => Err(ChangeError::Halt(HaltError::NothingForgotten { key })),
            Coverage::Foreign => Err(ChangeError::Halt(HaltError::NoWatermark { key })),
            Coverage::Missing | Coverage::Contradicted => {
                self.registry.put_halt(halt, &mut self.journal);
                Ok(())
            }
        }
    }

    /// The halt of a key, if it is that one.
    pub(super) fn halt_of(&self, key: KeyId, halted: LogIndex) -> Result<&Halt, ChangeError> {
        self.living_key(key)?;
        let found = self.registry.halt(&key).filter(|halt| halt.at == halted);
        found.ok_or(ChangeError::Halt(HaltError::NotHalted { key, halted }))
    }

    /// Ends a halt at floors that need not be past what was shown. Its place is barred from then on, so that it can
    /// never be signed, nor anything else there.
    pub(super) fn end_halt(
        &mut self,
        Entry { at, time_ms, .. }: Entry<'_>,
        key: KeyId,
        halted: LogIndex,
        floors: &Floors,
    ) -> Result<(), ChangeError> {
        let halt = self.halt_of(key, halted)?.clone();
        let mut barred = self.registry.barred_places(&key);
        super::change::check_room(barred.places.len(), MAX_BARRED, Counted::Barred)?;
        self.raise(key, floors, time_ms)?;
        barred.places.push(BarredPlace { duty: halt.duty.clone(), digest: halt.digest, at });
        self.registry.put_barred(barred, &mut self.journal);
        self.registry.put_halt(Halt { lifted: Some(at), ..halt }, &mut self.journal);
        Ok(())
    }

    /// To be called after a floor was raised: lifts the halt if the floor is past what was forgotten.
    pub(super) fn lift_halt(&mut self, at: LogIndex, key: KeyId) {
        let Some(halt) = self.registry.halt(&key).cloned() else { return };
        if self.covers(&key, &halt.duty, halt.digest) == Coverage::Covered {
            self.registry.put_halt(Halt { lifted: Some(at), ..halt }, &mut self.journal);
        }
    }
}

// Backups.
impl State {
    pub(super) fn restore_step(&mut self, entry: Entry<'_>, step: RestoreStep) -> Result<(), ChangeError> {
        let at = entry.at;
        match step {
            RestoreStep::Begin(backup) => self.begin_restore(at, backup, false),
            RestoreStep::BeginDrill(backup) => self.begin_restore(at, backup, true),
            RestoreStep::Leave { keys } => self.leave(&keys, entry.time_ms),
            RestoreStep::Bury { keys, clients } => self.bury(at, keys, clients),
            RestoreStep::BuryOfficers { revoked } => self.bury_officers(revoked),
            RestoreStep::Bar { barred } => self.bar(at, barred),
            RestoreStep::Finish => {
                let origin = self.restoring()?.clone();
                let finished = Some(at);
                self.registry.put_origin(Origin { finished, ..origin }, &mut self.journal);
                Ok(())
            }
        }
    }

    fn begin_restore(&mut self, at: LogIndex, backup: BackupName, drill: bool) -> Result<(), ChangeError> {
        if !drill {
            // What was begun for practice never becomes earnest.
            self.check_no_drill()?;
        }
        let same = drill == self.registry.drill().is_some();
        match self.registry.origin() {
            // The same command, run again.
            Some(origin) if origin.backup == backup && same => return Ok(()),
            Some(origin) if origin.backup == backup => {
                return Err(BackupError::NotEmpty.into());
            }
            Some(Origin { backup: BackupName { cluster, applied, .. }, .. }) => {
                return Err(BackupError::OtherBackup { cluster: *cluster, applied: *applied }.into());
            }
            None => {}
        }
        let registry = &self.registry;
        let empty = registry.chains().next().is_none()
            && registry.keys().next().is_none()
            && registry.clients().next().is_none();
        if !empty {
            return Err(BackupError::NotEmpty.into());
        }
        self.registry.put_origin(Origin { backup, begun: at, finished: None }, &mut self.journal);
        if drill {
            self.registry.put_drill(Drill { begun: at }, &mut self.journal);
        }
        Ok(())
    }

    /// No key is armed in a cluster that is for practice: the same key signs in the real one.
    pub(super) fn check_no_drill(&self) -> Result<(), ChangeError> {
        match self.registry.drill() {
            Some(Drill { begun }) => Err(ChangeError::Backup(BackupError::Drill { begun })),
            None => Ok(()),
        }
    }

    /// What a backup knows of votes is stale: the cluster that it was made of went on. Of slots the floor that it left
    /// is not stale: whoever restored has put it past everything that the clock allowed.
    pub(super) fn check_above_backup(&self, key: KeyId, floors: &Floors) -> Result<(), ChangeError> {
        let Some(known) = self.registry.known_by_backup(&key) else { return Ok(()) };
        for asked in floors.of_key(key, self.registry.feature_level())? {
            match known.of(asked.class()).filter(|known| known.slot().is_none()) {
                Some(known) if known.is_below(asked) != Some(true) => {
                    return Err(ChangeError::Backup(BackupError::NotAboveBackup { key, known, asked }));
                }
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    /// Keys that the restore does not arm keep what the backup knows. All of them or none.
    fn leave(&mut self, keys: &[LeftKey], given_ms: u64) -> Result<(), ChangeError> {
        self.restoring()?;
        let mut seen = BTreeSet::new();
        for LeftKey { id, floors, .. } in keys {
            if !seen.insert(*id) {
                return Err(KeyError::KeyTwice { key: *id }.into());
            }
            let key = self.living_key(*id)?;
            if key.state == KeyState::Armed {
                let (key, state, step) = (*id, key.state, KeyStep::Leave);
                return Err(KeyError::WrongState { key, state, step }.into());
            }
            self.may_raise(*id, floors, given_ms)?;
        }
        for LeftKey { id, floors, disabled } in keys {
            self.raise(*id, floors, given_ms).expect("it was judged before the first was raised");
            if !floors.is_empty() {
                let known = KnownByBackup { key: *id, floors: floors.clone() };
                self.registry.put_known_by_backup(known, &mut self.journal);
            }
            if *disabled {
                let key = self.living_key(*id)?.clone();
                self.registry.put_key(Key { state: KeyState::Disabled, ..key }, &mut self.journal);
            }
        }
        Ok(())
    }

    fn restoring(&self) -> Result<&Origin, ChangeError> {
        self.registry
            .origin()
            .filter(|origin| origin.finished.is_none())
            .ok_or(ChangeError::Backup(BackupError::NoRestore))
    }

    /// Tombstones. Those that are there already stay as they are.
    fn bury(
        &mut self,
        at: LogIndex,
        keys: Vec<BuriedKey>,
        clients: Vec<BuriedClient>,
    ) -> Result<(), ChangeError> {
        self.restoring()?;
        let removed = |buried: BuriedKey| {
            let BuriedKey { id, scheme, chain, group } = buried;
            let (state, sealed) = (KeyState::Removed, Envelope::default());
            Key { id, scheme, chain, group, state, sealed, registered_at: at }
        };
        let missing = |key: &Key| self.registry.key(&key.id).is_none();
        let keys: Vec<Key> = keys.into_iter().map(removed).filter(missing).collect();
        let missing = |client: &BuriedClient| self.registry.last_client_with(&client.spki).is_none();
        let clients: Vec<BuriedClient> = clients.into_iter().filter(missing).collect();
        let mut seen = BTreeSet::new();
        for key in &keys {
            if !seen.insert(key.id) {
                return Err(KeyError::KeyTwice { key: key.id }.into());
            }
            self.check_buried_key(key)?;
        }
        for client in &clients {
            super::change::check_name(&client.name)?;
        }
        for key in keys {
            self.registry.put_key(key, &mut self.journal);
        }
        for BuriedClient { name, spki } in clients {
            let id = self.next_client();
            let (rights, state) = (Vec::new(), ClientState::Removed);
            let client = Client { id, name, spki, rights, state };
            self.registry.put_client(client, &mut self.journal);
        }
        Ok(())
    }

    /// Keys that were taken from officers. Those that are known already stay as they are.
    fn bury_officers(&mut self, revoked: Vec<(String, Fingerprint)>) -> Result<(), ChangeError> {
        self.restoring()?;
        for (name, _) in &revoked {
            super::change::check_name(name)?;
        }
        for (name, key) in revoked {
            if self.registry.officer_with(&key).is_none() {
                let mut pin = self.registry.pin_of(&name);
                super::officers::revoke(&mut pin, key);
                self.registry.put_officer_pin(pin, &mut self.journal);
            }
        }
        Ok(())
    }

    /// Places at which keys sign nothing. Those of keys that have some already stay as they are.
    fn bar(&mut self, at: LogIndex, barred: Vec<Barred>) -> Result<(), ChangeError> {
        self.restoring()?;
        for Barred { key, places } in &barred {
            self.living_key(*key)?;
            // A halt that lasted is a place too.
            super::change::check_room(places.len(), 2 * MAX_BARRED, Counted::Barred)?;
        }
        for Barred { key, places } in barred {
            if self.registry.barred_places(&key).places.is_empty() {
                let places = places.into_iter().map(|place| BarredPlace { at, ..place }).collect();
                self.registry.put_barred(Barred { key, places }, &mut self.journal);
            }
        }
        Ok(())
    }

    /// The number of the next client, taken.
    fn next_client(&mut self) -> ClientId {
        let mut counters = self.registry.counters();
        counters.last_client += 1;
        self.registry.put_counters(counters, &mut self.journal);
        ClientId(counters.last_client)
    }
}
