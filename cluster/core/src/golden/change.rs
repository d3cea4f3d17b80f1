//! The log: every command and every change, with every variant of what is inside.

use super::{File, sample::*, variants};
use crate::model::Fingerprint;
use crate::{
    AuditNote, AuditSignature, BuriedClient, BuriedKey, Change, ChangeDone, ClaimRequest, ClientLimits,
    Command, JoinToken, KeySelector, LeaderPin, LeftKey, NodeNote, NotedAnswer, PlacementChange, Resealed,
    RestoreStep, Right, Role, StateHash,
};
use signonce_protocol::{DutyClass, Family, Hash, KeyType, LogIndex, NodeId, PayloadKind, Scheme};
use signonce_substrate::{
    AuraMode, BABE_BLOCK, BABE_VRF, BITFIELD, GrandpaStage, NumberWidth, SR25519, Side, StatementKind,
};

variants! {
    fn changes() -> Change {
        AddChain => Change::AddChain(chain());
        SetSettings => Change::SetSettings { chain: CHAIN, settings: settings() };
        RegisterKey => Change::RegisterKey {
            id: key(),
            scheme: SR25519,
            chain: CHAIN,
            group: Some("validator-1".into()),
            sealed: envelope(),
        };
        ResealKey => Change::ResealKey { id: key(), sealed: envelope() };
        ArmKey => Change::ArmKey { id: key(), floors: floors() };
        DisableKey => Change::DisableKey { id: key() };
        RemoveKey => Change::RemoveKey { id: key() };
        RaiseWatermark => Change::RaiseWatermark { key: key(), floors: floors() };
        AddClient => Change::AddClient { name: name(), spki: Fingerprint([0x51; 32]), rights: rights() };
        UpdateClient =>
            Change::UpdateClient { name: name(), spki: None, rights: None },
            Change::UpdateClient { name: name(), spki: Some(Fingerprint([0x51; 32])), rights: Some(rights()) };
        RemoveClient => Change::RemoveClient { name: name() };
        AnnounceMember => Change::AnnounceMember(member());
        RemoveMember => Change::RemoveMember { node: NODE };
        RaiseFeatureLevel => Change::RaiseFeatureLevel { level: 4 };
        SetKeyAllowance =>
            Change::SetKeyAllowance { name: name(), allowance: None },
            Change::SetKeyAllowance { name: name(), allowance: Some(allowance()) };
        AddGeneratedKey => Change::AddGeneratedKey {
            client: CLIENT,
            id: key(),
            scheme: SR25519,
            chain: CHAIN,
            sealed: envelope(),
            floors: floors(),
        };
        AddMember => Change::AddMember { peer_addr: "peer:1".into(), token: [0x70; 32], replaces: Some(NODE) };
        JoinMember => Change::JoinMember { member: member(), token: JoinToken::new([0x71; 32]) };
        PromoteMember => Change::PromoteMember { node: NODE };
        ResealKeys => Change::ResealKeys {
            keys: vec![Resealed { id: key(), sealed: envelope() }],
            members: vec![NODE, NodeId(4)],
        };
        Place => Change::Place(PlacementChange::Pin(None));
        RecordAudit => Change::RecordAudit { notes: notes().into_iter().map(|(_, note)| note).collect() };
        SignAudit => Change::SignAudit(signature());
        ImportWatermarks => Change::ImportWatermarks { chain: CHAIN, floors: vec![(key(), floors())] };
        Restore => Change::Restore(RestoreStep::Finish);
        HaltKey => Change::HaltKey {
            key: key(),
            duty: duty(),
            digest: DIGEST,
            log_index: LogIndex(0x0106),
            client: CLIENT,
        };
        LiftHalt => Change::LiftHalt { key: key(), halted: AT, floors: floors() };
        SetClientLimits =>
            Change::SetClientLimits { name: None, limits: None },
            Change::SetClientLimits {
                name: Some(name()),
                limits: Some(ClientLimits { per_second: 1, burst: 2, in_flight: 3 }),
            };
        RotateClient => Change::RotateClient { name: name(), spki: Fingerprint([0x51; 32]) };
        FinishRotation => Change::FinishRotation { name: name(), keep_new: true };
        SetOfficer =>
            Change::SetOfficer { name: name(), role: None },
            Change::SetOfficer { name: name(), role: Some(Role::Operator) };
        RequireApproval => Change::RequireApproval { on: true };
        DecideProposal => Change::DecideProposal { id: AT, approve: true };
        PinOfficer =>
            Change::PinOfficer { name: name(), certificate: Fingerprint([0x52; 32]), role: Some(Role::KeyOfficer) };
        RotateOfficer => Change::RotateOfficer { name: name(), certificate: Fingerprint([0x52; 32]) };
        FinishOfficerRotation => Change::FinishOfficerRotation { name: name(), keep_new: true };
        RetimeChain => Change::RetimeChain { chain: CHAIN, from_ms: TIME_MS, slot_duration_ms: 24_000 };
        WidenTolerance => Change::WidenTolerance { slots: 30 };
        TakeBackTiming => Change::TakeBackTiming { chain: CHAIN };
    }
}

variants! {
    fn steps() -> RestoreStep {
        Begin => RestoreStep::Begin(backup());
        Bury => RestoreStep::Bury {
            keys: vec![BuriedKey {
                id: key(),
                scheme: SR25519,
                chain: CHAIN,
                group: Some("validator-1".into()),
            }],
            clients: vec![BuriedClient { name: name(), spki: Fingerprint([0x51; 32]) }],
        };
        Finish => RestoreStep::Finish;
        BuryOfficers => RestoreStep::BuryOfficers { revoked: vec![(name(), Fingerprint([0x52; 32]))] };
        Bar => RestoreStep::Bar { barred: vec![barred()] };
        Leave => RestoreStep::Leave { keys: vec![LeftKey { id: key(), floors: floors(), disabled: true }] };
        BeginDrill => RestoreStep::BeginDrill(backup());
    }
}

variants! {
    fn placements() -> PlacementChange {
        Pin => PlacementChange::Pin(None), PlacementChange::Pin(Some(LeaderPin::Node(NODE)));
        Note => PlacementChange::Note {
            node: NODE,
            note: NodeNote { zone: Some("zone-a".into()), version: "0.2.0".into() },
        };
    }
}

variants! {
    fn pins() -> LeaderPin {
        Node => LeaderPin::Node(NODE);
        Zone => LeaderPin::Zone("zone-a".into());
    }
}

variants! {
    fn selectors() -> KeySelector {
        All => KeySelector::All;
        Group => KeySelector::Group("validator-1".into());
        Key => KeySelector::Key(key());
    }
}

variants! {
    fn answers() -> NotedAnswer {
        Refused => NotedAnswer::Refused {
            code: "forbidden".into(),
            duty: Some(duty()),
            digest: Some(DIGEST),
            why: "no right".into(),
        };
        Free => NotedAnswer::Free { class: BITFIELD };
    }
}

variants! {
    fn roles() -> Role {
        Viewer => Role::Viewer;
        Operator => Role::Operator;
        KeyOfficer => Role::KeyOfficer;
    }
}

/// What a family numbers, by name. A row that is added is a line of the file.
fn rows<T: Copy + std::fmt::Display>(
    all: impl Iterator<Item = T>,
    family: fn(T) -> &'static Family,
) -> Vec<(String, T)> {
    all.filter(|one| family(*one) == &signonce_substrate::FAMILY).map(|one| (one.to_string(), one)).collect()
}

variants! {
    fn stages() -> GrandpaStage {
        Prevote => GrandpaStage::Prevote;
        Precommit => GrandpaStage::Precommit;
        PrimaryPropose => GrandpaStage::PrimaryPropose;
    }
}

variants! {
    fn sides() -> Side {
        Valid => Side::Valid;
        Invalid => Side::Invalid;
    }
}

variants! {
    fn statements() -> StatementKind {
        Seconded => StatementKind::Seconded;
        Valid => StatementKind::Valid;
    }
}

variants! {
    fn widths() -> NumberWidth {
        U32 => NumberWidth::U32;
        U64 => NumberWidth::U64;
    }
}

variants! {
    fn aura_modes() -> AuraMode {
        Slot => AuraMode::Slot;
        Collator => AuraMode::Collator;
    }
}

variants! {
    fn commands() -> Command {
        Claims => Command::Claims(claims());
        Change => command(Change::DisableKey { id: key() });
        Checkpoint => Command::Checkpoint { at: AT, hash: StateHash::from_bytes([0x5a; 32]) };
    }
}

/// A claim of each kind of duty.
fn claims() -> Vec<ClaimRequest> {
    let claim = |duty| ClaimRequest { request: request(), claim: claim(key(), duty) };
    duties().into_iter().map(|(_, duty)| claim(duty)).collect()
}

fn rights() -> Vec<Right> {
    let right = |keys| Right { keys, chain: Some(CHAIN), classes: vec![BABE_BLOCK, BABE_VRF] };
    selectors().into_iter().map(|(_, keys)| right(keys)).collect()
}

/// A note with each kind of answer.
pub(super) fn notes() -> Vec<(String, AuditNote)> {
    let note = |answer| AuditNote {
        client: Some(CLIENT),
        key: Some(key().public),
        answer,
        count: 2,
        first_ms: TIME_MS,
        last_ms: TIME_MS + 1,
        request: request(),
    };
    answers().into_iter().map(|(name, answer)| (name, note(answer))).collect()
}

pub(super) fn signature() -> AuditSignature {
    AuditSignature {
        node: NODE,
        next: 9,
        chain: Hash([0xcc; 32]),
        certificates: vec![vec![0x30, 1], vec![0x30, 2]],
        scheme: 0x0807,
        signature: vec![0x51, 0x52],
    }
}

fn command(change: Change) -> Command {
    Command::Change { request: request(), actor: "admin:alice".into(), time_ms: TIME_MS, change }
}

#[test]
fn every_command_has_the_bytes_it_always_had() {
    let inner = (steps().into_iter().map(|(name, step)| (format!("Restore/{name}"), Change::Restore(step))))
        .chain(
            placements().into_iter().map(|(name, change)| (format!("Place/{name}"), Change::Place(change))),
        );
    let changes = changes().into_iter().chain(inner);
    let changes = changes.map(|(name, change)| (format!("Change/{name}"), command(change)));
    let single = claims()
        .into_iter()
        .zip(duties())
        .map(|(claim, (name, _))| (format!("Claims/{name}"), Command::Claims(vec![claim])));
    let mut file = File::new("commands");
    for (name, command) in commands().into_iter().chain(single).chain(changes) {
        let bytes = command.to_bytes();
        assert_eq!(Command::from_bytes(&bytes), Ok(command), "{name} is read back");
        file.bytes(name, &bytes);
    }
    file.check();
}

#[test]
fn what_commands_are_made_of_has_the_bytes_it_always_had() {
    let mut file = File::new("values");
    file.values("LeaderPin", pins());
    file.values("KeySelector", selectors());
    file.values("NotedAnswer", answers());
    file.values("Role", roles());
    install();
    file.values("DutyClass", rows(DutyClass::all(), DutyClass::family));
    file.values("KeyType", rows(KeyType::all(), KeyType::family));
    file.values("Scheme", rows(Scheme::all(), Scheme::family));
    file.values("PayloadKind", rows(PayloadKind::all(), PayloadKind::family));
    file.values("GrandpaStage", stages());
    file.values("Side", sides());
    file.values("StatementKind", statements());
    file.values("NumberWidth", widths());
    file.values("AuraMode", aura_modes());
    file.values("Duty", duties());
    file.values("Position", positions());
    let done = ChangeDone {
        at: AT,
        registry_version: 2,
        client: Some(CLIENT),
        node: Some(NODE),
        proposed: Some(LogIndex(4)),
    };
    file.values("ChangeDone", [("all".to_owned(), done)]);
    file.check();
}
