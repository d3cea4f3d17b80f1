//! Why a change is not made: every error, as it stands in the audit and as it is sent as JSON.

use super::{File, sample::*, variants};
use crate::{ChangeError, KeyState, Role, command::Counted, replica::MemberHazard};
use signonce_protocol::{DutyClass, HexArray, LogIndex, NodeId, Scheme};

variants! {
    fn errors() -> ChangeError {
        BadName => ChangeError::BadName { name: name() };
        BadText => ChangeError::BadText { what: "peer address".into(), len: 17, limit: 16 };
        TooMany => ChangeError::TooMany { what: Counted::Keys, limit: 16 };
        ChainExists => ChangeError::ChainExists { name: name(), genesis: CHAIN };
        ZeroSlotDuration => ChangeError::ZeroSlotDuration;
        UnknownChain => ChangeError::UnknownChain { genesis: CHAIN };
        KeyExists => ChangeError::KeyExists { key: key(), state: KeyState::Disabled };
        KeyRemoved => ChangeError::KeyRemoved { key: key() };
        KeyOnOtherChain => ChangeError::KeyOnOtherChain { key: key(), chain: CHAIN };
        WrongScheme => ChangeError::WrongScheme { key: key(), scheme: Scheme::Ecdsa };
        BadEnvelope => ChangeError::BadEnvelope { key: key(), len: 17, limit: 16 };
        UnknownKey => ChangeError::UnknownKey { key: key() };
        WrongState => ChangeError::WrongState {
            key: key(),
            state: KeyState::Disabled,
            hint: "disable it first".into(),
        };
        MissingFloor => ChangeError::MissingFloor { key: key(), class: DutyClass::BabeBlock };
        ForeignFloor => ChangeError::ForeignFloor { key: key(), floor: higher() };
        AlreadyHigher => ChangeError::AlreadyHigher { key: key(), floor: higher(), asked: position() };
        ClientExists => ChangeError::ClientExists { name: name() };
        CertificateTaken => ChangeError::CertificateTaken { client: CLIENT, name: name() };
        UnknownClient => ChangeError::UnknownClient { name: name() };
        MemberRemoved => ChangeError::MemberRemoved { node: NODE };
        MemberIdentityChanged => ChangeError::MemberIdentityChanged {
            node: NODE,
            known: "age1recipient".into(),
        };
        UnknownMember => ChangeError::UnknownMember { node: NODE };
        FeatureUnsupported => ChangeError::FeatureUnsupported { node: NODE, supports: 3, level: 5 };
        FeatureNotHigher => ChangeError::FeatureNotHigher { current: 4, level: 5 };
        MemberTooOld => ChangeError::MemberTooOld { node: NODE, supports: 3, current: 4 };
        ZeroNode => ChangeError::ZeroNode;
        FeatureNeeded => ChangeError::FeatureNeeded { level: 5, current: 4 };
        MayNotGenerate => ChangeError::MayNotGenerate { name: name(), chain: CHAIN };
        KeyQuota => ChangeError::KeyQuota { name: name(), limit: 16 };
        BadKeyLimit => ChangeError::BadKeyLimit { asked: 0, most: 100 };
        MemberChangeUnderWay => ChangeError::MemberChangeUnderWay {
            node: NODE,
            doing: "is to become a voter".into(),
        };
        WrongToken => ChangeError::WrongToken { node: NODE };
        TokenUsed => ChangeError::TokenUsed { node: NODE };
        NotJoined => ChangeError::NotJoined { node: NODE };
        AlreadyVoter => ChangeError::AlreadyVoter { node: NODE };
        TooFewVoters => ChangeError::TooFewVoters { node: NODE, left: 2 };
        NodeIdTaken => ChangeError::NodeIdTaken { node: NODE };
        RecipientTaken => ChangeError::RecipientTaken { node: NODE };
        NotInvited => ChangeError::NotInvited { node: NODE };
        NothingForgotten => ChangeError::NothingForgotten { key: key() };
        AlreadyHalted => ChangeError::AlreadyHalted { key: key(), at: AT };
        KeyTwice => ChangeError::KeyTwice { key: key() };
        NoWatermark => ChangeError::NoWatermark { key: key() };
        NotEmpty => ChangeError::NotEmpty;
        OtherBackup => ChangeError::OtherBackup { cluster: HexArray([0xc1; 16]), applied: AT };
        NoRestore => ChangeError::NoRestore;
        SealedForOthers => ChangeError::SealedForOthers {
            sealed_for: vec![NODE, NodeId(4)],
            members: vec![NODE, NodeId(4)],
        };
        AuditTooLarge => ChangeError::AuditTooLarge { what: "peer address".into(), len: 17, limit: 16 };
        BadClientLimit => ChangeError::BadClientLimit { asked: 0, most: 100 };
        RotationUnderWay => ChangeError::RotationUnderWay { name: name() };
        NoRotation => ChangeError::NoRotation { name: name() };
        RoleTooLow => ChangeError::RoleTooLow {
            actor: "admin:bob".into(),
            role: Some(Role::Operator),
            needed: Role::KeyOfficer,
        };
        LastKeyOfficer => ChangeError::LastKeyOfficer { name: name() };
        TooFewOfficers => ChangeError::TooFewOfficers { have: 1, needed: 2 };
        UnknownOfficer => ChangeError::UnknownOfficer { name: name() };
        UnknownProposal => ChangeError::UnknownProposal { id: AT };
        OwnProposal => ChangeError::OwnProposal { id: AT, by: "admin:bob".into() };
        ProposalDecided => ChangeError::ProposalDecided { id: AT, by: "admin:bob".into(), approved: true };
        ProposalExpired => ChangeError::ProposalExpired { id: AT };
        OfficerKey => ChangeError::OfficerKey { name: name(), key: Some(HexArray([0x52; 32])) };
        OfficerKeyTaken => ChangeError::OfficerKeyTaken { name: name() };
        OfficerPinned => ChangeError::OfficerPinned { name: name() };
        OfficerNotPinned => ChangeError::OfficerNotPinned { name: name() };
        OfficerRotationUnderWay => ChangeError::OfficerRotationUnderWay { name: name() };
        NoOfficerRotation => ChangeError::NoOfficerRotation { name: name() };
        NotForOfficers => ChangeError::NotForOfficers { actor: "admin:bob".into(), change: "haltKey".into() };
        SpeaksForAnother => ChangeError::SpeaksForAnother {
            actor: "admin:bob".into(),
            node: NODE,
            change: "haltKey".into(),
        };
        NotHalted => ChangeError::NotHalted { key: key(), halted: AT };
        NotAboveBackup => ChangeError::NotAboveBackup { key: key(), known: higher(), asked: position() };
        Drill => ChangeError::Drill { begun: AT };
        BadTiming => ChangeError::BadTiming { chain: CHAIN, why: "no such moment".into() };
        MemberHazard => ChangeError::MemberHazard { node: NODE, hazard: MemberHazard::NotActive };
    }
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
