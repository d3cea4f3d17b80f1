//! Why an officer is left as it is, or may not do what was asked.

use crate::model::Fingerprint;
use crate::model::Role;
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::NodeId;

/// Why an officer is left as it is, or may not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum OfficerError {
    /// Who asks may not.
    #[error(
        "{actor} has {}, this takes the role {needed}",
        .role.map_or_else(|| "no role in this cluster".to_owned(), |role| format!("the role {role}"))
    )]
    #[codec(index = 43)]
    RoleTooLow {
        /// Who asked.
        actor: String,
        /// Its role.
        role: Option<Role>,
        /// What it takes.
        needed: Role,
    },
    /// Somebody must be able to change the officers.
    #[error(
        "without {name} as a key officer nobody could change the officers any more: make another key officer first"
    )]
    #[codec(index = 44)]
    LastKeyOfficer {
        /// Whose role was to change.
        name: String,
    },
    /// Two must be able to agree.
    #[error(
        "dangerous changes that take two officers need {needed} key officers with certificates at least; there would \
         be {have}"
    )]
    #[codec(index = 45)]
    TooFewOfficers {
        /// How many there would be.
        have: u32,
        /// How many it takes.
        needed: u32,
    },
    /// No officer has the name.
    #[error("no officer is called {name}")]
    #[codec(index = 46)]
    UnknownOfficer {
        /// The name asked for.
        name: String,
    },
    /// The certificate is not the officer's.
    #[error(
        "the certificate that was shown says {name} and has {}, which is no key that {name} is known by",
        .key.map_or_else(|| "no key that was recorded".to_owned(), |key| format!("the key {key}"))
    )]
    #[codec(index = 71)]
    OfficerKey {
        /// The name in it.
        name: String,
        /// Its key.
        key: Option<Fingerprint>,
    },
    /// Two officers have two keys, and a key that was taken away never comes back.
    #[error(
        "the certificate key belongs, or belonged, to officer {name}: issue a certificate with a new key"
    )]
    #[codec(index = 72)]
    OfficerKeyTaken {
        /// Whose it is or was.
        name: String,
    },
    /// The officer has a key already.
    #[error("officer {name} is pinned to another certificate key")]
    #[codec(index = 73)]
    OfficerPinned {
        /// The name.
        name: String,
    },
    /// The officer is known by name.
    #[error("officer {name} is not pinned")]
    #[codec(index = 74)]
    OfficerNotPinned {
        /// The name.
        name: String,
    },
    /// The officer has two keys already.
    #[error("officer {name} is changing its certificate already")]
    #[codec(index = 75)]
    OfficerRotationUnderWay {
        /// The name.
        name: String,
    },
    /// The officer has one key only.
    #[error("officer {name} is not changing its certificate")]
    #[codec(index = 76)]
    NoOfficerRotation {
        /// The name.
        name: String,
    },
    /// What signers alone say of themselves.
    #[error(
        "{change} is what signers say of themselves, and no role may say it for them: {actor} was refused"
    )]
    #[codec(index = 81)]
    NotForOfficers {
        /// Who asked.
        actor: String,
        /// The kind of change.
        change: String,
    },
    /// What one signer says of another.
    #[error(
        "{actor} said by way of node {node} what another has to say of itself ({change}); this is an error in the \
         program, please report it"
    )]
    #[codec(index = 82)]
    SpeaksForAnother {
        /// Who asked.
        actor: String,
        /// The node that brought it into the log.
        node: NodeId,
        /// The kind of change.
        change: String,
    },
}
