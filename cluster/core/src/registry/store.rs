//! The registry as records, and back. Every write goes through here: it notes the record's old and new bytes in the
//! journal and keeps the lookups in step.

use super::{
    ClientTerms, Counters, Drill, Halt, Index, KnownByBackup, MadeKeys, MemberRecord, Membership, OfficerPin,
    Officers, Origin, Placement, Proposal, Registry, Sealing, Timing, Tolerance,
};
use crate::{
    codec::{CodecError, decode_record, encode_record},
    model::{AuditHead, Barred, Chain, Client, ClientId, Key},
    records::{Journal, RECORD_VERSION, Table},
};
use parity_scale_codec::{Decode, Encode};
use signonce_protocol::LogIndex;

impl Registry {
    pub(crate) fn put_counters(&mut self, counters: Counters, journal: &mut Journal) {
        // The counters of an empty registry are no record yet.
        let old = (self.counters != Counters::default()).then_some(&self.counters);
        note(journal, old, &counters);
        self.counters = counters;
    }

    pub(crate) fn put_chain(&mut self, chain: Chain, journal: &mut Journal) {
        note(journal, self.chains.get(&chain.genesis), &chain);
        self.chains.insert(chain.genesis, chain);
    }

    pub(crate) fn put_key(&mut self, key: Key, journal: &mut Journal) {
        let old = self.keys.get(&key.id);
        note(journal, old, &key);
        if old.is_none() {
            self.index.add_key(&key);
        }
        self.keys.insert(key.id, key);
    }

    pub(crate) fn put_client(&mut self, client: Client, journal: &mut Journal) {
        let old = self.clients.get(&client.id);
        note(journal, old, &client);
        let id = client.id;
        self.forget_certificates(id);
        self.clients.insert(id, client);
        self.find_certificates(id);
    }

    pub(crate) fn put_terms(&mut self, terms: ClientTerms, journal: &mut Journal) {
        note(journal, self.terms.get(&terms.client), &terms);
        let id = terms.client;
        self.forget_certificates(id);
        self.terms.insert(id, terms);
        self.find_certificates(id);
    }

    fn forget_certificates(&mut self, id: ClientId) {
        for spki in self.certificates_of(id) {
            self.index.spki.remove(&spki);
        }
    }

    fn find_certificates(&mut self, id: ClientId) {
        for spki in self.certificates_of(id) {
            self.index.spki.insert(spki, id);
        }
    }

    pub(crate) fn put_officers(&mut self, officers: Officers, journal: &mut Journal) {
        // A record may say that there is nobody: no record, and that one, are two states.
        note(journal, self.officers.as_ref(), &officers);
        self.officers = Some(officers);
    }

    pub(crate) fn put_officer_pin(&mut self, pin: OfficerPin, journal: &mut Journal) {
        note(journal, self.pins.get(&pin.name), &pin);
        self.pins.insert(pin.name.clone(), pin);
    }

    pub(crate) fn put_proposal(&mut self, proposal: Proposal, journal: &mut Journal) {
        note(journal, self.proposals.get(&proposal.id), &proposal);
        self.proposals.insert(proposal.id, proposal);
    }

    pub(crate) fn drop_proposal(&mut self, id: LogIndex, journal: &mut Journal) {
        if let Some(old) = self.proposals.remove(&id) {
            let bytes = encode_record(RECORD_VERSION, &old);
            journal.replace(Table::Registry, old.record_key(), Some(&bytes), None);
        }
    }

    pub(crate) fn put_member(&mut self, record: MemberRecord, journal: &mut Journal) {
        note(journal, self.members.get(&record.member.node), &record);
        self.members.insert(record.member.node, record);
    }

    pub(crate) fn put_membership(&mut self, membership: Membership, journal: &mut Journal) {
        note(journal, self.memberships.get(&membership.node), &membership);
        self.memberships.insert(membership.node, membership);
    }

    pub(crate) fn put_sealing(&mut self, sealing: Sealing, journal: &mut Journal) {
        note(journal, self.sealing.get(&sealing.key), &sealing);
        self.sealing.insert(sealing.key, sealing);
    }

    pub(crate) fn put_placement(&mut self, placement: Placement, journal: &mut Journal) {
        note(journal, self.placement.as_ref(), &placement);
        self.placement = Some(placement);
    }

    pub(crate) fn put_made_keys(&mut self, made: MadeKeys, journal: &mut Journal) {
        note(journal, self.made.get(&made.client), &made);
        self.made.insert(made.client, made);
    }

    pub(crate) fn put_audit_head(&mut self, head: AuditHead, journal: &mut Journal) {
        // Before the first record there is no head.
        let old = (self.audit != AuditHead::default()).then_some(&self.audit);
        note(journal, old, &head);
        self.audit = head;
    }

    pub(crate) fn put_halt(&mut self, halt: Halt, journal: &mut Journal) {
        note(journal, self.halts.get(&halt.key), &halt);
        self.halts.insert(halt.key, halt);
    }

    pub(crate) fn put_barred(&mut self, barred: Barred, journal: &mut Journal) {
        note(journal, self.barred.get(&barred.key), &barred);
        self.barred.insert(barred.key, barred);
    }

    pub(crate) fn put_origin(&mut self, origin: Origin, journal: &mut Journal) {
        note(journal, self.origin.as_ref(), &origin);
        self.origin = Some(origin);
    }

    pub(crate) fn put_known_by_backup(&mut self, known: KnownByBackup, journal: &mut Journal) {
        note(journal, self.known_by_backup.get(&known.key), &known);
        self.known_by_backup.insert(known.key, known);
    }

    pub(crate) fn put_timing(&mut self, timing: Timing, journal: &mut Journal) {
        note(journal, self.timings.get(&timing.chain), &timing);
        self.timings.insert(timing.chain, timing);
    }

    pub(crate) fn put_tolerance(&mut self, tolerance: Tolerance, journal: &mut Journal) {
        note(journal, self.tolerance.as_ref(), &tolerance);
        self.tolerance = Some(tolerance);
    }

    pub(crate) fn put_drill(&mut self, drill: Drill, journal: &mut Journal) {
        note(journal, self.drill.as_ref(), &drill);
        self.drill = Some(drill);
    }
}

impl Index {
    /// A key's chain and group never change, so this is done once.
    fn add_key(&mut self, key: &Key) {
        self.owner.insert(key.id.public, key.chain);
        if let Some(group) = &key.group {
            self.groups.entry(key.chain).or_default().entry(group.clone()).or_default().push(key.id);
        }
    }
}

/// Something with a record of its own in the registry table.
trait Record: Encode + Decode {
    /// The record's key: one byte for the kind of record, then the identity.
    fn record_key(&self) -> Vec<u8>;
}

fn note<R: Record>(journal: &mut Journal, old: Option<&R>, new: &R) {
    let old = old.map(|old| encode_record(RECORD_VERSION, old));
    journal.replace(
        Table::Registry,
        new.record_key(),
        old.as_deref(),
        Some(encode_record(RECORD_VERSION, new)),
    );
}

/// What a registry record is: the first byte of its key.
#[derive(Clone, Copy, Encode, Decode)]
enum Kind {
    #[codec(index = 0)]
    Counters,
    #[codec(index = 1)]
    Chain,
    #[codec(index = 2)]
    Key,
    #[codec(index = 3)]
    Client,
    #[codec(index = 4)]
    Member,
    #[codec(index = 5)]
    MadeKeys,
    #[codec(index = 6)]
    Membership,
    #[codec(index = 7)]
    Sealing,
    #[codec(index = 8)]
    ClientTerms,
    /// The officers under 0, each proposal under 1 and its number. The keys of each officer under 2 and its name.
    #[codec(index = 9)]
    Officers,
    #[codec(index = 10)]
    Halt,
    #[codec(index = 11)]
    Audit,
    #[codec(index = 12)]
    Placement,
    #[codec(index = 13)]
    Origin,
    #[codec(index = 14)]
    Barred,
    #[codec(index = 15)]
    KnownByBackup,
    #[codec(index = 16)]
    Drill,
    #[codec(index = 17)]
    Timing,
    #[codec(index = 18)]
    Tolerance,
}

impl Record for Counters {
    fn record_key(&self) -> Vec<u8> {
        Kind::Counters.encode()
    }
}
impl Record for Chain {
    fn record_key(&self) -> Vec<u8> {
        (Kind::Chain, self.genesis).encode()
    }
}
impl Record for Key {
    fn record_key(&self) -> Vec<u8> {
        (Kind::Key, self.id).encode()
    }
}
impl Record for Client {
    fn record_key(&self) -> Vec<u8> {
        (Kind::Client, self.id).encode()
    }
}
impl Record for MemberRecord {
    fn record_key(&self) -> Vec<u8> {
        (Kind::Member, self.member.node).encode()
    }
}
impl Record for Halt {
    fn record_key(&self) -> Vec<u8> {
        (Kind::Halt, self.key).encode()
    }
}
impl Record for Barred {
    fn record_key(&self) -> Vec<u8> {
        (Kind::Barred, self.key).encode()
    }
}
impl Record for Origin {
    fn record_key(&self) -> Vec<u8> {
        Kind::Origin.encode()
    }
}
impl Record for KnownByBackup {
    fn record_key(&self) -> Vec<u8> {
        (Kind::KnownByBackup, self.key).encode()
    }
}
impl Record for Timing {
    fn record_key(&self) -> Vec<u8> {
        (Kind::Timing, self.chain).encode()
    }
}
impl Record for Tolerance {
    fn record_key(&self) -> Vec<u8> {
        Kind::Tolerance.encode()
    }
}
impl Record for Drill {
    fn record_key(&self) -> Vec<u8> {
        Kind::Drill.encode()
    }
}
impl Record for MadeKeys {
    fn record_key(&self) -> Vec<u8> {
        (Kind::MadeKeys, self.client).encode()
    }
}
impl Record for Membership {
    fn record_key(&self) -> Vec<u8> {
        (Kind::Membership, self.node).encode()
    }
}
impl Record for Sealing {
    fn record_key(&self) -> Vec<u8> {
        (Kind::Sealing, self.key).encode()
    }
}
impl Record for Placement {
    fn record_key(&self) -> Vec<u8> {
        Kind::Placement.encode()
    }
}

impl Record for AuditHead {
    fn record_key(&self) -> Vec<u8> {
        Kind::Audit.encode()
    }
}
impl Record for ClientTerms {
    fn record_key(&self) -> Vec<u8> {
        (Kind::ClientTerms, self.client).encode()
    }
}
impl Record for Officers {
    fn record_key(&self) -> Vec<u8> {
        (Kind::Officers, 0u8).encode()
    }
}
impl Record for OfficerPin {
    fn record_key(&self) -> Vec<u8> {
        (Kind::Officers, 2u8, &self.name).encode()
    }
}
impl Record for Proposal {
    fn record_key(&self) -> Vec<u8> {
        (Kind::Officers, 1u8, self.id).encode()
    }
}

impl Registry {
    /// Every record: key and sealed value.
    pub(crate) fn records(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        fn pair<R: Record>(record: &R) -> (Vec<u8>, Vec<u8>) {
            (record.record_key(), encode_record(RECORD_VERSION, record))
        }
        let counters = (self.counters != Counters::default()).then_some(&self.counters);
        let audit = (self.audit != AuditHead::default()).then_some(&self.audit);
        (counters.into_iter().map(pair))
            .chain(self.chains.values().map(pair))
            .chain(self.keys.values().map(pair))
            .chain(self.clients.values().map(pair))
            .chain(self.members.values().map(pair))
            .chain(self.made.values().map(pair))
            .chain(self.memberships.values().map(pair))
            .chain(self.sealing.values().map(pair))
            .chain(self.placement.iter().map(pair))
            .chain(audit.into_iter().map(pair))
            .chain(self.halts.values().map(pair))
            .chain(self.barred.values().map(pair))
            .chain(self.origin.iter().map(pair))
            .chain(self.known_by_backup.values().map(pair))
            .chain(self.drill.iter().map(pair))
            .chain(self.timings.values().map(pair))
            .chain(self.tolerance.iter().map(pair))
            .chain(self.terms.values().map(pair))
            .chain(self.officers.iter().map(pair))
            .chain(self.proposals.values().map(pair))
            .chain(self.pins.values().map(pair))
    }

    /// Takes one stored record in.
    ///
    /// # Errors
    /// If it cannot be read, or does not stand under its own key.
    pub(crate) fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), CodecError> {
        fn read<R: Record>(what: &'static str, key: &[u8], value: &[u8]) -> Result<R, CodecError> {
            let record: R = decode_record(RECORD_VERSION, what, value)?;
            if record.record_key() == key {
                return Ok(record);
            }
            Err(CodecError::Malformed { what, reason: "it stands under the key of another record".into() })
        }
        // What a put notes is of no interest here: the caller hashes the stored bytes.
        let journal = &mut Journal::default();
        let kind = Kind::decode(&mut &key[..]).map_err(|_| CodecError::Malformed {
            what: "registry record",
            reason: format!("its key starts with {:?}, which is no kind of record", key.first()),
        })?;
        match kind {
            Kind::Counters => self.put_counters(read("counters record", key, value)?, journal),
            Kind::Chain => self.put_chain(read("chain record", key, value)?, journal),
            Kind::Key => self.put_key(read("key record", key, value)?, journal),
            Kind::Client => self.put_client(read("client record", key, value)?, journal),
            Kind::Member => self.put_member(read("member record", key, value)?, journal),
            Kind::MadeKeys => self.put_made_keys(read("made keys record", key, value)?, journal),
            Kind::Membership => self.put_membership(read("membership record", key, value)?, journal),
            Kind::Sealing => self.put_sealing(read("sealing record", key, value)?, journal),
            Kind::Placement => self.put_placement(read("placement record", key, value)?, journal),
            Kind::Audit => self.put_audit_head(read("audit head", key, value)?, journal),
            Kind::Halt => self.put_halt(read("halt record", key, value)?, journal),
            Kind::Barred => self.put_barred(read("barred places record", key, value)?, journal),
            Kind::Origin => self.put_origin(read("origin record", key, value)?, journal),
            Kind::KnownByBackup => {
                self.put_known_by_backup(read("record of a backup's floor", key, value)?, journal);
            }
            Kind::Timing => self.put_timing(read("timing record", key, value)?, journal),
            Kind::Tolerance => self.put_tolerance(read("tolerance record", key, value)?, journal),
            Kind::Drill => self.put_drill(read("drill record", key, value)?, journal),
            Kind::ClientTerms => self.put_terms(read("client terms record", key, value)?, journal),
            Kind::Officers if key.get(1) == Some(&0) => {
                self.put_officers(read("officers record", key, value)?, journal);
            }
            Kind::Officers if key.get(1) == Some(&2) => {
                self.put_officer_pin(read("officer's keys record", key, value)?, journal);
            }
            Kind::Officers => self.put_proposal(read("proposal record", key, value)?, journal),
        }
        Ok(())
    }
}
