//! What was given cannot be, whatever it is about.

use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The kinds of things that have a limited number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Counted {
    /// Chains.
    #[codec(index = 0)]
    Chains,
    /// Keys, tombstones included.
    #[codec(index = 1)]
    Keys,
    /// Clients, tombstones included.
    #[codec(index = 2)]
    Clients,
    /// Members, tombstones included.
    #[codec(index = 3)]
    Members,
    /// Rights of one client.
    #[codec(index = 4)]
    Rights,
    /// Officers.
    #[codec(index = 40)]
    Officers,
    /// Proposals that wait for a second officer.
    #[codec(index = 41)]
    Proposals,
    /// Places of one key that are barred.
    #[codec(index = 42)]
    Barred,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chains => "chains",
            Self::Keys => "keys",
            Self::Clients => "clients",
            Self::Members => "members",
            Self::Rights => "rights for one client",
            Self::Officers => "officers",
            Self::Proposals => "open proposals",
            Self::Barred => "barred places of one key",
        })
    }
}

/// What was given cannot be, whatever it is about.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum InputError {
    /// A name that would be ambiguous or unreadable.
    #[error("{name:?} is not a usable name: use 1 to 64 of a-z A-Z 0-9 . _ - @, and not 0x in front")]
    #[codec(index = 0)]
    BadName {
        /// The name.
        name: String,
    },
    /// A text (URL, address, recipient) that is empty or too long.
    #[error("{what} must have 1 to {limit} bytes, not {len}")]
    #[codec(index = 1)]
    BadText {
        /// Which text.
        what: String,
        /// Its length.
        len: u32,
        /// The longest allowed.
        limit: u32,
    },
    /// There is no room for more.
    #[error("a cluster holds at most {limit} {what}")]
    #[codec(index = 2)]
    TooMany {
        /// Of what.
        what: Counted,
        /// The limit.
        limit: u32,
    },
    /// A node's note for the audit that is larger than notes are.
    #[error("the audit takes at most {limit} {what} at a time, not {len}")]
    #[codec(index = 60)]
    AuditTooLarge {
        /// Of what.
        what: String,
        /// How much there was.
        len: u32,
        /// The most there may be.
        limit: u32,
    },
}
