//! What an operator can do after the cluster has refused a change, or when a node no longer takes part.
//!
//! The cluster's errors are replicated or pass between nodes, so they only say what happened. The commands belong to
//! this program, so what they can do about an error is added here, where errors are shown.

use signonce_core::{
    BackupError, ChangeError, ClientError, FeatureError, HaltError, KeyError, KeyStep, MemberError,
    OfficerError, ProposalError,
    replica::{fence::Quarantine, hello::HelloRefusal},
};
use std::fmt::Display;

/// What happened, and which command helps, if there is one.
pub fn told(error: &ChangeError) -> String {
    with(error, next(error))
}

/// Joins the two into one text.
pub fn with(what: &impl Display, next: Option<impl Display>) -> String {
    match next {
        Some(next) => format!("{what}; {next}"),
        None => what.to_string(),
    }
}

/// What to do with a node that no longer takes part.
pub fn of_quarantine(reason: &Quarantine) -> Option<&'static str> {
    const REPLACE: &str = "give the machine a new identity with `signonce members replace`";
    const JOIN_ANEW: &str = "to bring the machine back, clear its data directory, run `signonce members add` and join \
                             under the new id";
    match reason {
        Quarantine::LostMemory { .. }
        | Quarantine::Refused { refusal: HelloRefusal::Superseded { .. }, .. } => Some(REPLACE),
        Quarantine::Removed | Quarantine::Refused { refusal: HelloRefusal::Removed(_), .. } => {
            Some(JOIN_ANEW)
        }
        Quarantine::Refused {
            refusal:
                HelloRefusal::OtherCluster { .. } | HelloRefusal::OtherMembers | HelloRefusal::NotAMember(_),
            ..
        } => None,
    }
}

fn next(error: &ChangeError) -> Option<String> {
    match error {
        ChangeError::Client(error) => of_client(error),
        ChangeError::Member(error) => of_member(error),
        ChangeError::Officer(error) => of_officer(error),
        ChangeError::Feature(FeatureError::FeatureNeeded { .. } | FeatureError::SettingsTooNew { .. }) => Some(
            "upgrade every node, and it rises by itself (`signonce status` shows what holds it back)".to_owned(),
        ),
        ChangeError::Halt(HaltError::NotHalted { .. }) => {
            Some("`signonce keys list --json` shows which keys are, and by which".to_owned())
        }
        ChangeError::Backup(BackupError::Drill { .. }) => Some(
            "it was begun with `signonce restore --drill`: restore into another new cluster, without --drill, when it is \
             in earnest"
                .to_owned(),
        ),
        ChangeError::Proposal(ProposalError::UnknownProposal { .. }) => {
            Some("`signonce proposals list` shows all".to_owned())
        }
        ChangeError::Key(error) => of_key(error),
        ChangeError::Input(_)
        | ChangeError::Chain(_)
        | ChangeError::Feature(
            FeatureError::FeatureUnsupported { .. }
            | FeatureError::FeatureNotHigher { .. }
            | FeatureError::MemberTooOld { .. },
        )
        | ChangeError::Halt(
            HaltError::NothingForgotten { .. } | HaltError::AlreadyHalted { .. } | HaltError::NoWatermark { .. },
        )
        | ChangeError::Backup(
            BackupError::NotEmpty
            | BackupError::OtherBackup { .. }
            | BackupError::NoRestore
            | BackupError::NotAboveBackup { .. },
        )
        | ChangeError::Proposal(
            ProposalError::OwnProposal { .. }
            | ProposalError::ProposalDecided { .. }
            | ProposalError::ProposalExpired { .. },
        ) => None,
    }
}

fn of_key(error: &KeyError) -> Option<String> {
    match error {
        KeyError::WrongState { key, step: KeyStep::Arm, .. } => {
            Some(format!("`signonce watermarks raise {key}` raises its floor"))
        }
        KeyError::WrongState { key, step: KeyStep::Raise, .. } => {
            Some(format!("`signonce keys arm {key}` gives it its first floors"))
        }
        KeyError::WrongState { step: KeyStep::Disable | KeyStep::Leave, .. }
        | KeyError::KeyExists { .. }
        | KeyError::KeyRemoved { .. }
        | KeyError::KeyOnOtherChain { .. }
        | KeyError::OtherFamily { .. }
        | KeyError::WrongScheme { .. }
        | KeyError::BadEnvelope { .. }
        | KeyError::UnknownKey { .. }
        | KeyError::MissingFloor { .. }
        | KeyError::ForeignFloor { .. }
        | KeyError::AlreadyHigher { .. }
        | KeyError::KeyTwice { .. }
        | KeyError::SealedForOthers { .. } => None,
    }
}

fn of_client(error: &ClientError) -> Option<String> {
    match error {
        ClientError::RotationUnderWay { name } => Some(format!(
            "finish that (`signonce clients rotate {name} --finish`) or take it back (`--cancel`)"
        )),
        ClientError::NoRotation { name } => {
            Some(format!("start with `signonce clients rotate {name} --cert FILE`"))
        }
        ClientError::ClientExists { .. }
        | ClientError::CertificateTaken { .. }
        | ClientError::UnknownClient { .. }
        | ClientError::MayNotGenerate { .. }
        | ClientError::KeyQuota { .. }
        | ClientError::BadKeyLimit { .. }
        | ClientError::BadClientLimit { .. } => None,
    }
}

fn of_member(error: &MemberError) -> Option<String> {
    match error {
        MemberError::MemberChangeUnderWay { node, .. } => {
            Some(format!("wait for it (`signonce members list`), or remove node {node}"))
        }
        MemberError::WrongToken { .. } => Some("look at what `signonce members add` printed".to_owned()),
        MemberError::TokenUsed { node } => Some(format!(
            "if that was not yours, run `signonce members remove {node}`, then `signonce members add` for a new id"
        )),
        MemberError::NotJoined { .. } => Some("run `signonce join` on it with its token first".to_owned()),
        MemberError::TooFewVoters { .. } => Some(
            "add and promote another node before you remove this one (`signonce members replace` does it in this order)"
                .to_owned(),
        ),
        MemberError::NotInvited { .. } => {
            Some("run `signonce members add` and join with the id and token that it prints".to_owned())
        }
        MemberError::MemberRemoved { .. }
        | MemberError::MemberIdentityChanged { .. }
        | MemberError::UnknownMember { .. }
        | MemberError::ZeroNode
        | MemberError::AlreadyVoter { .. }
        | MemberError::NodeIdTaken { .. }
        | MemberError::RecipientTaken { .. }
        | MemberError::MemberHazard { .. } => None,
    }
}

fn of_officer(error: &OfficerError) -> Option<String> {
    match error {
        OfficerError::RoleTooLow { .. } => {
            Some("a key officer can give it (`signonce officers set`)".to_owned())
        }
        OfficerError::UnknownOfficer { .. } => Some("`signonce officers list` shows all".to_owned()),
        OfficerError::OfficerKey { name, .. } => Some(format!(
            "if it is {name}'s new one, a key officer accepts it with `signonce officers rotate {name} --certificate \
             FILE`; if nobody knows of it, somebody can issue certificates in the name of officers"
        )),
        OfficerError::OfficerPinned { name } => {
            Some(format!("`signonce officers rotate {name} --certificate FILE` changes it"))
        }
        OfficerError::OfficerNotPinned { name } => {
            Some(format!("start with `signonce officers pin {name} --certificate FILE`"))
        }
        OfficerError::OfficerRotationUnderWay { name } => Some(format!(
            "finish that (`signonce officers rotate {name} --finish`) or take it back (`--cancel`)"
        )),
        OfficerError::NoOfficerRotation { name } => {
            Some(format!("start with `signonce officers rotate {name} --certificate FILE`"))
        }
        OfficerError::LastKeyOfficer { .. }
        | OfficerError::TooFewOfficers { .. }
        | OfficerError::OfficerKeyTaken { .. }
        | OfficerError::NotForOfficers { .. }
        | OfficerError::SpeaksForAnother { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_protocol::{ChainId, LogIndex, NodeId};

    #[test]
    fn an_error_with_a_command_for_it_is_told_with_the_command() {
        let name = || "alice".to_owned();
        let node = NodeId(4);
        for (error, command) in [
            (ClientError::NoRotation { name: name() }.into(), "`signonce clients rotate alice --cert FILE`"),
            (
                ClientError::RotationUnderWay { name: name() }.into(),
                "`signonce clients rotate alice --finish`",
            ),
            (MemberError::TokenUsed { node }.into(), "`signonce members remove 4`"),
            (MemberError::NotInvited { node }.into(), "`signonce members add`"),
            (
                OfficerError::OfficerKey { name: name(), key: None }.into(),
                "`signonce officers rotate alice --certificate FILE`",
            ),
            (OfficerError::UnknownOfficer { name: name() }.into(), "`signonce officers list`"),
            (ProposalError::UnknownProposal { id: LogIndex(7) }.into(), "`signonce proposals list`"),
            (FeatureError::FeatureNeeded { level: 4, current: 3 }.into(), "`signonce status`"),
            (
                FeatureError::SettingsTooNew { chain: ChainId([1; 32]), current: 3 }.into(),
                "`signonce status`",
            ),
        ] as [(ChangeError, &str); 9]
        {
            let told = told(&error);
            assert!(told.starts_with(&error.to_string()) && told.contains(command), "{told}");
        }
        let plain = ChangeError::from(MemberError::ZeroNode);
        assert_eq!(told(&plain), plain.to_string());
    }
}
