//! Who may make which change, and which changes can be made to need two officers. The state machine asks this table before
//! it makes a change, so no race and no bypass on a serving node matters.

use super::Change;
use crate::model::{PlacementChange, Role};

/// Whether a second key officer has to agree to a change, where approval is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Second {
    /// No: it takes something away that can be given back, or moves nothing that keys depend on.
    Never,
    /// Yes: it cannot be taken back, gives somebody more than before, or takes the word of one person for where a key has
    /// signed before.
    Always,
    /// If this very change is like that: the state machine looks.
    Depends,
}

const SIGNERS: Option<Role> = None;
const OPERATOR: Option<Role> = Some(Role::Operator);
const KEY_OFFICER: Option<Role> = Some(Role::KeyOfficer);

macro_rules! changes {
    ($($kind:ident = $name:literal, $role:ident, $second:expr;)*) => {
        /// A [`Change`] without what it is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ChangeKind {
            $(#[doc = concat!("[`Change::", stringify!($kind), "`]")] $kind,)*
        }

        impl ChangeKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// As it is called in JSON and in logs.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// The least role that may make it; of a single change [`Change::least_role`] knows better. `None` for what
            /// signers alone say of themselves.
            pub const fn least_role(self) -> Option<Role> {
                match self { $(Self::$kind => $role,)* }
            }

            /// Whether it takes two.
            pub const fn second(self) -> Second {
                match self { $(Self::$kind => $second,)* }
            }
        }

        impl Change {
            /// What kind of change it is.
            pub const fn kind(&self) -> ChangeKind {
                match self { $(Self::$kind { .. } => ChangeKind::$kind,)* }
            }
        }
    };
}

impl Change {
    /// The least role that may make this very change. `None` for what signers alone say of themselves.
    pub const fn least_role(&self) -> Option<Role> {
        if let Self::Place(change) = self {
            return match change {
                // The wish for a leader is an operator's; where a node stands the node says.
                PlacementChange::Pin(_) => ChangeKind::Place.least_role(),
                PlacementChange::Note { .. } => SIGNERS,
            };
        }
        self.kind().least_role()
    }
}

use Second::{Always, Depends, Never};

// The one table of who may do what. `docs/operate/clients.md` shows it to operators.
changes! {
    // Signers, of themselves.
    AnnounceMember = "announceMember", SIGNERS, Never;
    JoinMember = "joinMember", SIGNERS, Never;
    AddGeneratedKey = "addGeneratedKey", SIGNERS, Never;
    ResealKeys = "resealKeys", SIGNERS, Never;
    RecordAudit = "recordAudit", SIGNERS, Never;
    SignAudit = "signAudit", SIGNERS, Never;
    HaltKey = "haltKey", SIGNERS, Never;
    WidenTolerance = "widenTolerance", SIGNERS, Never;
    // Keeping the machines running, and taking away.
    DisableKey = "disableKey", OPERATOR, Never;
    RemoveClient = "removeClient", OPERATOR, Never;
    SetClientLimits = "setClientLimits", OPERATOR, Never;
    // Two have agreed to the invitation.
    PromoteMember = "promoteMember", OPERATOR, Never;
    Place = "place", OPERATOR, Never;
    RaiseFeatureLevel = "raiseFeatureLevel", OPERATOR, Never;
    // Chains and keys. What is registered signs nothing before it is armed.
    AddChain = "addChain", KEY_OFFICER, Never;
    // Limits that stop a broken node from voting in a bogus future: wider is less of them.
    SetSettings = "setSettings", KEY_OFFICER, Depends;
    // By it numbers below every floor are signed.
    RetimeChain = "retimeChain", KEY_OFFICER, Always;
    TakeBackTiming = "takeBackTiming", KEY_OFFICER, Always;
    RegisterKey = "registerKey", KEY_OFFICER, Never;
    // A bad envelope is a lost key.
    ResealKey = "resealKey", KEY_OFFICER, Always;
    // A floor that somebody names is somebody's word, a key's own one too: it may have signed elsewhere since.
    ArmKey = "armKey", KEY_OFFICER, Always;
    RemoveKey = "removeKey", KEY_OFFICER, Always;
    // No floor comes down again, and it ends a halt.
    RaiseWatermark = "raiseWatermark", KEY_OFFICER, Always;
    ImportWatermarks = "importWatermarks", KEY_OFFICER, Always;
    // Their word for where the key has signed, against what was shown.
    LiftHalt = "liftHalt", KEY_OFFICER, Always;
    // Clients. More rights, or the same for another certificate.
    AddClient = "addClient", KEY_OFFICER, Depends;
    UpdateClient = "updateClient", KEY_OFFICER, Depends;
    RotateClient = "rotateClient", KEY_OFFICER, Always;
    // Of two certificates that were agreed to, one goes.
    FinishRotation = "finishRotation", KEY_OFFICER, Never;
    // A key in a group counts for the rules of the others.
    SetKeyAllowance = "setKeyAllowance", KEY_OFFICER, Depends;
    // Members. Whoever joins gets every key, sealed to it.
    AddMember = "addMember", KEY_OFFICER, Always;
    // Not for an invitation that nobody has used.
    RemoveMember = "removeMember", KEY_OFFICER, Depends;
    // Refused anywhere but in an empty cluster, which has no officers yet.
    Restore = "restore", KEY_OFFICER, Never;
    // Officers.
    SetOfficer = "setOfficer", KEY_OFFICER, Always;
    PinOfficer = "pinOfficer", KEY_OFFICER, Always;
    RotateOfficer = "rotateOfficer", KEY_OFFICER, Always;
    FinishOfficerRotation = "finishOfficerRotation", KEY_OFFICER, Never;
    RequireApproval = "requireApproval", KEY_OFFICER, Always;
    // The second word itself.
    DecideProposal = "decideProposal", KEY_OFFICER, Never;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_change_stands_in_the_table_once_under_its_own_name() {
        // What the decoder says it knows: each variant of the enum, whatever the table says.
        let known = serde_json::from_str::<Change>("\"nonsense\"").unwrap_err().to_string();
        let known: BTreeSet<String> = known.split('`').skip(3).step_by(2).map(ToOwned::to_owned).collect();
        let table: BTreeSet<String> = ChangeKind::ALL.iter().map(|kind| kind.name().to_owned()).collect();
        assert_eq!(table, known);
        assert_eq!(table.len(), ChangeKind::ALL.len());
        assert_eq!(Change::DisableKey { id: key() }.kind(), ChangeKind::DisableKey);
    }

    fn key() -> signonce_protocol::KeyId {
        crate::golden::sample::install();
        let public = signonce_protocol::PublicKey::try_from(&[7; 32][..]).unwrap();
        signonce_protocol::KeyId { key_type: signonce_substrate::BABE, public }
    }

    #[test]
    fn what_takes_two_takes_a_key_officer() {
        for kind in ChangeKind::ALL {
            if kind.second() != Never {
                assert_eq!(kind.least_role(), Some(Role::KeyOfficer), "{}", kind.name());
            }
        }
    }
}
