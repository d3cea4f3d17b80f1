//! Why a change is not made: every error, as it stands in the audit and as it is sent as JSON.

use super::{File, sample::*, variants};
use crate::{
    Fingerprint,
    log::{
        ChangeError,
        error::{
            BackupError, ChainError, ClientError, Counted, FeatureError, HaltError, InputError, KeyError,
            KeyStep, MemberError, OfficerError, ProposalError,
        },
    },
    model::{KeyState, MemberHazard, Role},
};
use signonce_protocol::{HexArray, LogIndex, NodeId};
use signonce_substrate::{BABE_BLOCK, ECDSA};
use std::collections::BTreeSet;

variants! {
    fn input_errors() -> InputError {
        BadName => InputError::BadName { name: name() };
        BadText => InputError::BadText { what: "peer address".into(), len: 17, limit: 16 };
        TooMany => InputError::TooMany { what: Counted::Keys, limit: 16 };
        AuditTooLarge => InputError::AuditTooLarge { what: "peer address".into(), len: 17, limit: 16 };
    }
}

variants! {
    fn chain_errors() -> ChainError {
        ChainExists => ChainError::ChainExists { name: name(), genesis: CHAIN };
        BadSettings => ChainError::BadSettings { name: name(), why: "slots of 0 ms".into() };
        UnknownChain => ChainError::UnknownChain { genesis: CHAIN };
        BadTiming => ChainError::BadTiming { chain: CHAIN, why: "no such moment".into() };
    }
}

variants! {
    fn key_errors() -> KeyError {
        KeyExists => KeyError::KeyExists { key: key(), state: KeyState::Disabled };
        KeyRemoved => KeyError::KeyRemoved { key: key() };
        KeyOnOtherChain => KeyError::KeyOnOtherChain { key: key(), chain: CHAIN };
        OtherFamily => KeyError::OtherFamily { key: key(), chain: CHAIN, family: "madeUp".into() };
        WrongScheme => KeyError::WrongScheme { key: key(), scheme: ECDSA };
        BadEnvelope => KeyError::BadEnvelope { key: key(), len: 17, limit: 16 };
        UnknownKey => KeyError::UnknownKey { key: key() };
        WrongState => KeyError::WrongState {
            key: key(),
            state: KeyState::Disabled,
            step: KeyStep::Arm,
        };
        MissingFloor => KeyError::MissingFloor { key: key(), class: BABE_BLOCK };
        ForeignFloor => KeyError::ForeignFloor { key: key(), floor: higher() };
        AlreadyHigher => KeyError::AlreadyHigher { key: key(), floor: higher(), asked: position() };
        KeyTwice => KeyError::KeyTwice { key: key() };
        SealedForOthers => KeyError::SealedForOthers {
            sealed_for: vec![NODE, NodeId(4)],
            members: vec![NODE, NodeId(4)],
        };
    }
}

variants! {
    fn halt_errors() -> HaltError {
        NothingForgotten => HaltError::NothingForgotten { key: key() };
        AlreadyHalted => HaltError::AlreadyHalted { key: key(), at: AT };
        NoWatermark => HaltError::NoWatermark { key: key() };
        NotHalted => HaltError::NotHalted { key: key(), halted: AT };
    }
}

variants! {
    fn client_errors() -> ClientError {
        ClientExists => ClientError::ClientExists { name: name() };
        CertificateTaken => ClientError::CertificateTaken { client: CLIENT, name: name() };
        UnknownClient => ClientError::UnknownClient { name: name() };
        MayNotGenerate => ClientError::MayNotGenerate { name: name(), chain: CHAIN };
        KeyQuota => ClientError::KeyQuota { name: name(), limit: 16 };
        BadKeyLimit => ClientError::BadKeyLimit { asked: 0, most: 100 };
        BadClientLimit => ClientError::BadClientLimit { asked: 0, most: 100 };
        RotationUnderWay => ClientError::RotationUnderWay { name: name() };
        NoRotation => ClientError::NoRotation { name: name() };
    }
}

variants! {
    fn member_errors() -> MemberError {
        MemberRemoved => MemberError::MemberRemoved { node: NODE };
        MemberIdentityChanged => MemberError::MemberIdentityChanged {
            node: NODE,
            known: "age1recipient".into(),
        };
        UnknownMember => MemberError::UnknownMember { node: NODE };
        ZeroNode => MemberError::ZeroNode;
        MemberChangeUnderWay => MemberError::MemberChangeUnderWay {
            node: NODE,
            doing: "is to become a voter".into(),
        };
        WrongToken => MemberError::WrongToken { node: NODE };
        TokenUsed => MemberError::TokenUsed { node: NODE };
        NotJoined => MemberError::NotJoined { node: NODE };
        AlreadyVoter => MemberError::AlreadyVoter { node: NODE };
        TooFewVoters => MemberError::TooFewVoters { node: NODE, left: 2 };
        NodeIdTaken => MemberError::NodeIdTaken { node: NODE };
        RecipientTaken => MemberError::RecipientTaken { node: NODE };
        NotInvited => MemberError::NotInvited { node: NODE };
        MemberHazard => MemberError::MemberHazard { node: NODE, hazard: MemberHazard::NotActive };
    }
}

variants! {
    fn feature_errors() -> FeatureError {
        FeatureUnsupported => FeatureError::FeatureUnsupported { node: NODE, supports: 3, level: 5 };
        FeatureNotHigher => FeatureError::FeatureNotHigher { current: 4, level: 5 };
        MemberTooOld => FeatureError::MemberTooOld { node: NODE, supports: 3, current: 4 };
        FeatureNeeded => FeatureError::FeatureNeeded { level: 5, current: 4 };
        SettingsTooNew => FeatureError::SettingsTooNew { chain: CHAIN, current: 4 };
    }
}

variants! {
    fn backup_errors() -> BackupError {
        NotEmpty => BackupError::NotEmpty;
        OtherBackup => BackupError::OtherBackup { cluster: HexArray([0xc1; 16]), applied: AT };
        NoRestore => BackupError::NoRestore;
        NotAboveBackup => BackupError::NotAboveBackup { key: key(), known: higher(), asked: position() };
        Drill => BackupError::Drill { begun: AT };
    }
}

variants! {
    fn officer_errors() -> OfficerError {
        RoleTooLow => OfficerError::RoleTooLow {
            actor: "admin:bob".into(),
            role: Some(Role::Operator),
            needed: Role::KeyOfficer,
        };
        LastKeyOfficer => OfficerError::LastKeyOfficer { name: name() };
        TooFewOfficers => OfficerError::TooFewOfficers { have: 1, needed: 2 };
        UnknownOfficer => OfficerError::UnknownOfficer { name: name() };
        OfficerKey => OfficerError::OfficerKey { name: name(), key: Some(Fingerprint([0x52; 32])) };
        OfficerKeyTaken => OfficerError::OfficerKeyTaken { name: name() };
        OfficerPinned => OfficerError::OfficerPinned { name: name() };
        OfficerNotPinned => OfficerError::OfficerNotPinned { name: name() };
        OfficerRotationUnderWay => OfficerError::OfficerRotationUnderWay { name: name() };
        NoOfficerRotation => OfficerError::NoOfficerRotation { name: name() };
        NotForOfficers => OfficerError::NotForOfficers { actor: "admin:bob".into(), change: "haltKey".into() };
        SpeaksForAnother => OfficerError::SpeaksForAnother {
            actor: "admin:bob".into(),
            node: NODE,
            change: "haltKey".into(),
        };
    }
}

variants! {
    fn proposal_errors() -> ProposalError {
        UnknownProposal => ProposalError::UnknownProposal { id: AT };
        OwnProposal => ProposalError::OwnProposal { id: AT, by: "admin:bob".into() };
        ProposalDecided => ProposalError::ProposalDecided { id: AT, by: "admin:bob".into(), approved: true };
        ProposalExpired => ProposalError::ProposalExpired { id: AT };
    }
}

fn errors() -> Vec<(String, ChangeError)> {
    fn of<E: Into<ChangeError>>(errors: Vec<(String, E)>) -> impl Iterator<Item = (String, ChangeError)> {
        errors.into_iter().map(|(name, error)| (name, error.into()))
    }
    // A subject that is added does not compile before it is here.
    let subject = |error: &ChangeError| match error {
        ChangeError::Input(_) => "input",
        ChangeError::Chain(_) => "chain",
        ChangeError::Key(_) => "key",
        ChangeError::Halt(_) => "halt",
        ChangeError::Client(_) => "client",
        ChangeError::Member(_) => "member",
        ChangeError::Feature(_) => "feature",
        ChangeError::Backup(_) => "backup",
        ChangeError::Officer(_) => "officer",
        ChangeError::Proposal(_) => "proposal",
    };
    let errors: Vec<_> = of(input_errors())
        .chain(of(chain_errors()))
        .chain(of(key_errors()))
        .chain(of(halt_errors()))
        .chain(of(client_errors()))
        .chain(of(member_errors()))
        .chain(of(feature_errors()))
        .chain(of(backup_errors()))
        .chain(of(officer_errors()))
        .chain(of(proposal_errors()))
        .collect();
    let subjects: BTreeSet<_> = errors.iter().map(|(_, error)| subject(error)).collect();
    assert_eq!(subjects.len(), 10);
    errors
}

variants! {
    fn counted() -> Counted {
        Chains => Counted::Chains;
        Keys => Counted::Keys;
        Clients => Counted::Clients;
        Members => Counted::Members;
        Rights => Counted::Rights;
        Officers => Counted::Officers;
        Proposals => Counted::Proposals;
        Barred => Counted::Barred;
    }
}

variants! {
    fn hazards() -> MemberHazard {
        NotActive => MemberHazard::NotActive;
        NotCaughtUp => MemberHazard::NotCaughtUp { matched: AT, last: LogIndex(0x0a18) };
        NoQuorumLeft => MemberHazard::NoQuorumLeft { voters: 3, live: 1, needed: 2 };
    }
}

variants! {
    fn steps() -> KeyStep {
        Arm => KeyStep::Arm;
        Disable => KeyStep::Disable;
        Raise => KeyStep::Raise;
        Leave => KeyStep::Leave;
    }
}

variants! {
    fn states() -> KeyState {
        Registered => KeyState::Registered;
        Armed => KeyState::Armed;
        Disabled => KeyState::Disabled;
        Removed => KeyState::Removed;
    }
}

#[test]
fn every_error_has_the_bytes_and_the_json_it_always_had() {
    let mut file = File::new("errors");
    file.values("ChangeError", errors());
    file.values("Counted", counted());
    file.values("MemberHazard", hazards());
    file.values("KeyState", states());
    file.values("KeyStep", steps());
    for (name, error) in errors() {
        let json = serde_json::to_string(&error).expect("an error is JSON");
        assert_eq!(
            serde_json::from_str::<ChangeError>(&json).ok().as_ref(),
            Some(&error),
            "{name} is read back"
        );
        file.text(format!("json/{name}"), json);
    }
    file.check();
}

/// What a person types is the signer's business: the command line changes, what is replicated does not.
#[test]
fn no_error_says_what_to_type() {
    for (name, error) in errors() {
        let text = error.to_string();
        assert!(!text.contains('`') && !text.contains("signonce "), "{name}: {text}");
    }
}
