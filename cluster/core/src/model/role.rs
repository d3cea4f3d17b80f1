//! The roles of operators, and how the log names whoever wanted something.
//!
//! Operators are `admin:NAME#0xKEY` (the name in their certificate and the hash of its key) and `local:uid=N` (the unix
//! socket of a signer's own machine); everyone else in the log is a signer that acts for itself (`node:N`) or for a client
//! (`client:NAME`). Signers have no role, and what is theirs to say no role may say for them.

use super::Fingerprint;
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::NodeId;
use std::str::FromStr;
use strum::{EnumCount as _, VariantArray as _};

/// What an operator may do. Each role may do what the ones before it may.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Encode,
    Decode,
    Serialize,
    Deserialize,
    strum::Display,
    strum::EnumCount,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Read-only.
    #[codec(index = 0)]
    Viewer,
    /// Keeps the machines running and takes away: members, leadership, limits, disabling keys, removing clients.
    #[codec(index = 1)]
    Operator,
    /// Decides who may have what signed: keys, chains, rights, watermarks, officers.
    #[codec(index = 2)]
    KeyOfficer,
}

impl Role {
    /// Every role, the least first.
    pub const ALL: [Self; Self::COUNT] = *Self::VARIANTS.first_chunk().expect("all of them");

    /// As operators write it.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| format!("{text:?} is not a role: it must be viewer, operator or key-officer"))
    }
}

/// What the log calls an operator with a certificate; the name in the certificate follows.
pub const ADMIN_ACTOR: &str = "admin:";

/// What the log calls an operator on the unix socket; the user's number follows.
pub const LOCAL_ACTOR: &str = "local:uid=";

/// What the log calls a signer that acts for itself; its node id follows.
const NODE_ACTOR: &str = "node:";

/// What the log calls a signer that acts for a client; the client's name follows.
const CLIENT_ACTOR: &str = "client:";

/// What the log calls the node itself.
pub fn node_actor(node: NodeId) -> String {
    format!("{NODE_ACTOR}{node}")
}

/// What the log calls a node that acts for the client with this name.
pub fn client_actor(name: &str) -> String {
    format!("{CLIENT_ACTOR}{name}")
}

/// Between an admin's name and its certificate. No name has it: [`admin_actor`].
const CERTIFICATE: char = '#';

/// Who wanted something, as the log names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor<'a> {
    /// An operator with a certificate.
    Admin {
        /// The name in it.
        name: &'a str,
        /// SHA-256 of its SubjectPublicKeyInfo; none where the log has a name alone, which no signer writes.
        certificate: Option<Fingerprint>,
    },
    /// An operator on the unix socket of a signer.
    Local {
        /// The user, after the prefix.
        user: &'a str,
    },
    /// A signer, for itself or for a client.
    Signer,
}

impl<'a> Actor<'a> {
    /// Reads what stands in a log entry.
    pub fn of(actor: &'a str) -> Self {
        if let Some(user) = actor.strip_prefix(LOCAL_ACTOR) {
            return Self::Local { user };
        }
        let Some(name) = actor.strip_prefix(ADMIN_ACTOR) else { return Self::Signer };
        let with_key = || {
            let (name, digits) = name.rsplit_once(CERTIFICATE)?;
            let mut certificate = [0; 32];
            hex::decode_to_slice(digits.strip_prefix("0x")?, &mut certificate).ok()?;
            Some(Self::Admin { name, certificate: Some(Fingerprint(certificate)) })
        };
        with_key().unwrap_or(Self::Admin { name, certificate: None })
    }

    /// Whether both are one person, as far as the cluster can tell. One name is, whatever its certificates; and one
    /// certificate key is, whatever names it comes with. The sockets of all signers together are one: whoever is root
    /// on one of them is every user there, and often root on the others too.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Admin { name, certificate }, Self::Admin { name: other, certificate: key }) => {
                name == other || (certificate.is_some() && certificate == key)
            }
            (Self::Local { .. }, Self::Local { .. }) => true,
            (Self::Admin { .. } | Self::Local { .. } | Self::Signer, _) => false,
        }
    }
}

/// What the log calls the operator who has shown a certificate with this name and key.
pub fn admin_actor(name: &str, certificate: &Fingerprint) -> String {
    format!("{ADMIN_ACTOR}{name}{CERTIFICATE}{certificate}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Fingerprint = Fingerprint([0xab; 32]);

    #[test]
    fn an_admin_is_a_name_and_a_key() {
        let alice = admin_actor("alice", &OWN);
        assert_eq!(Actor::of(&alice), Actor::Admin { name: "alice", certificate: Some(OWN) });
        for text in ["admin:alice", "admin:alice#", "admin:alice#0x12", "admin:alice#0xzz"] {
            assert!(matches!(Actor::of(text), Actor::Admin { certificate: None, .. }), "{text}");
        }
        // The last one counts: a name cannot bring its own.
        let name = alice.strip_prefix("admin:").unwrap();
        let forged = admin_actor(name, &Fingerprint([1; 32]));
        assert_eq!(Actor::of(&forged), Actor::Admin { name, certificate: Some(Fingerprint([1; 32])) });
    }

    #[test]
    fn one_person_is_one_name_one_key_or_the_sockets_of_all_signers() {
        let same = |one: &str, other: &str| Actor::of(one).is_same(&Actor::of(other));
        let [alice, bob] = ["alice", "bob"].map(|name| admin_actor(name, &OWN));
        assert!(same(&alice, &admin_actor("alice", &Fingerprint([1; 32]))), "one name, two keys");
        assert!(same(&alice, &bob), "one key, two names");
        assert!(!same(&alice, &admin_actor("bob", &Fingerprint([1; 32]))));
        assert!(same("local:uid=0", "local:uid=1000"));
        assert!(!same("local:uid=0", &alice));
    }
}
