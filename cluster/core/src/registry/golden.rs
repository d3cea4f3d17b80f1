//! Golden bytes of every kind of row in the registry's table.

use super::*;
use crate::{
    golden::{
        File,
        sample::{self, *},
        variants,
    },
    log::Change,
    model::{ClientLimits, KeySelector, LeaderPin, MemberRole, NodeNote, Retiming, Right, Role},
    records::Journal,
};
use signonce_protocol::{Digest, Hash};
use signonce_substrate::{BABE_BLOCK, SR25519};

variants! {
    fn client_states() -> ClientState {
        Active => ClientState::Active;
        Removed => ClientState::Removed;
    }
}

variants! {
    fn member_states() -> MemberState {
        Present => MemberState::Present;
        Removed => MemberState::Removed;
    }
}

variants! {
    fn member_roles() -> MemberRole {
        Learner => MemberRole::Learner;
        Voter => MemberRole::Voter;
    }
}

variants! {
    fn standings() -> Standing {
        Invited => Standing::Invited { token: [0x70; 32] };
        Joined => Standing::Joined { token: [0x71; 32] };
        Removed => Standing::Removed;
    }
}

fn key_record() -> Key {
    Key {
        id: sample::key(),
        scheme: SR25519,
        chain: CHAIN,
        group: Some("validator-1".into()),
        state: KeyState::Disabled,
        sealed: envelope(),
        registered_at: AT,
    }
}

fn client_record() -> Client {
    let right = Right { keys: KeySelector::All, chain: None, classes: vec![BABE_BLOCK] };
    Client {
        id: CLIENT,
        name: name(),
        spki: Fingerprint([0x51; 32]),
        rights: vec![right],
        state: ClientState::Active,
    }
}

fn halt() -> Halt {
    let (key, digest, client) = (sample::key(), Digest([0xd1; 32]), CLIENT);
    Halt {
        key,
        duty: duty(),
        digest,
        log_index: LogIndex(0x0106),
        client,
        at: AT,
        lifted: Some(LogIndex(0x0a18)),
    }
}

fn proposal() -> Proposal {
    Proposal {
        id: AT,
        by: "admin:alice".into(),
        time_ms: TIME_MS,
        change: Change::DisableKey { id: sample::key() },
        decision: Some(ProposalDecision {
            by: "admin:bob".into(),
            time_ms: TIME_MS + 1,
            at: LogIndex(0x0a18),
            approved: true,
        }),
    }
}

/// A registry with one row of each kind.
fn one_of_each() -> Registry {
    let (mut registry, journal) = (Registry::default(), &mut Journal::default());
    let counters = Counters { registry_version: 2, feature_level: 4, last_client: 3 };
    registry.put_counters(counters, journal);
    registry.put_chain(chain(), journal);
    registry.put_key(key_record(), journal);
    registry.put_client(client_record(), journal);
    registry.put_member(MemberRecord { member: sample::member(), state: MemberState::Present }, journal);
    let made = MadeKeys { client: CLIENT, allowance: Some(allowance()), keys: vec![sample::key()] };
    registry.put_made_keys(made, journal);
    let membership = Membership {
        node: NODE,
        role: MemberRole::Voter,
        standing: Standing::Joined { token: [0x71; 32] },
        peer_addr: "peer:1".into(),
        replaces: Some(NodeId(4)),
    };
    registry.put_membership(membership, journal);
    registry.put_sealing(Sealing { key: sample::key(), members: vec![NODE] }, journal);
    let note = NodeNote { zone: Some("zone-a".into()), version: "0.2.0".into() };
    let pin = Some(LeaderPin::Zone("zone-a".into()));
    registry.put_placement(Placement { pin, notes: BTreeMap::from([(NODE, note)]) }, journal);
    registry.put_audit_head(AuditHead { next: 9, chain: Hash([0xcc; 32]), events: 8 }, journal);
    registry.put_halt(halt(), journal);
    registry.put_barred(sample::barred(), journal);
    registry.put_origin(Origin { backup: backup(), begun: AT, finished: Some(LogIndex(0x0a18)) }, journal);
    registry.put_known_by_backup(KnownByBackup { key: sample::key(), floors: position().into() }, journal);
    registry.put_drill(Drill { begun: AT }, journal);
    let retiming = Retiming { from_ms: TIME_MS, slot_duration_ms: 24_000, at: AT };
    registry.put_timing(Timing { chain: CHAIN, later: vec![retiming] }, journal);
    registry.put_tolerance(Tolerance { widest: 30 }, journal);
    let limits = Some(ClientLimits { per_second: 1, burst: 2, in_flight: 3 });
    let (next, revoked) = (Some(Fingerprint([0x53; 32])), vec![Fingerprint([0x54; 32])]);
    registry.put_terms(ClientTerms { client: CLIENT, limits, next, revoked }, journal);
    let roles = BTreeMap::from([(name(), Role::KeyOfficer)]);
    registry.put_officers(Officers { roles, require_approval: true }, journal);
    let (certificate, next) = (Some(Fingerprint([0x52; 32])), Some(Fingerprint([0x55; 32])));
    registry.put_officer_pin(
        OfficerPin { name: name(), certificate, next, revoked: vec![Fingerprint([0x56; 32])] },
        journal,
    );
    registry.put_proposal(proposal(), journal);
    registry
}

/// The kinds of rows, each with whether the registry has one. A field that is added does not compile before it is here.
fn has_each(registry: &Registry) -> [(&'static str, bool); 21] {
    let Registry {
        counters,
        chains,
        keys,
        clients,
        members,
        made,
        memberships,
        sealing,
        placement,
        audit,
        halts,
        barred,
        origin,
        known_by_backup,
        drill,
        timings,
        tolerance,
        terms,
        officers,
        pins,
        proposals,
        index: _,
    } = registry;
    [
        ("counters", *counters != Counters::default()),
        ("chain", !chains.is_empty()),
        ("key", !keys.is_empty()),
        ("client", !clients.is_empty()),
        ("member", !members.is_empty()),
        ("made-keys", !made.is_empty()),
        ("membership", !memberships.is_empty()),
        ("sealing", !sealing.is_empty()),
        ("placement", placement.is_some()),
        ("audit-head", *audit != AuditHead::default()),
        ("halt", !halts.is_empty()),
        ("barred", !barred.is_empty()),
        ("origin", origin.is_some()),
        ("known-by-backup", !known_by_backup.is_empty()),
        ("drill", drill.is_some()),
        ("timing", !timings.is_empty()),
        ("tolerance", tolerance.is_some()),
        ("client-terms", !terms.is_empty()),
        ("officers", officers.is_some()),
        ("proposal", !proposals.is_empty()),
        ("officer-pin", !pins.is_empty()),
    ]
}

#[test]
fn every_row_of_the_registry_has_the_bytes_it_always_had() {
    let registry = one_of_each();
    let kinds = has_each(&registry);
    let rows: Vec<_> = registry.records().collect();
    assert_eq!(rows.len(), kinds.len(), "one row of each kind, in the order of `Registry::records`");
    let mut restored = Registry::default();
    let mut file = File::new("registry");
    for ((name, there), (key, value)) in kinds.into_iter().zip(&rows) {
        assert!(there, "there is no {name}");
        restored.restore(key, value).expect("a row is read back");
        file.bytes(format!("{name}/key"), key);
        file.bytes(format!("{name}/value"), value);
    }
    assert_eq!(restored.records().collect::<Vec<_>>(), rows);
    file.values("ClientState", client_states());
    file.values("MemberState", member_states());
    file.values("MemberRole", member_roles());
    file.values("Standing", standings());
    file.check();
}
