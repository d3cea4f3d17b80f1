//! Who the officers are, which certificate key each has, and what role whoever asks has by it.
//!
//! An officer that was pinned is known by name and key: neither the authority nor anybody else can issue another
//! certificate in its name that opens anything. One that was not pinned is known by the name alone.

use super::Registry;
use crate::model::Fingerprint;
use crate::{
    log::error::OfficerError,
    model::{Actor, Role},
};
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Who may operate the cluster, and whether dangerous changes take two of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Officers {
    /// By the name in the certificate. While it is empty, every admin certificate is a key officer's. The key of the
    /// certificate stands in [`OfficerPin`].
    pub roles: BTreeMap<String, Role>,
    /// Whether dangerous changes wait for a second key officer.
    pub require_approval: bool,
}

impl Officers {
    /// How many key officers have certificates.
    pub fn key_officers(&self) -> usize {
        self.roles.values().filter(|role| **role == Role::KeyOfficer).count()
    }
}

/// The certificate keys of an officer: SHA-256 of their SubjectPublicKeyInfo.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OfficerPin {
    /// The officer's name. The record stays when the officer goes.
    pub name: String,
    /// The one it is pinned to; none once the officer was removed.
    pub certificate: Option<Fingerprint>,
    /// The one that is to replace it; until then both are accepted.
    pub next: Option<Fingerprint>,
    /// Those that were taken from it, never accepted again from anybody. Oldest first.
    pub revoked: Vec<Fingerprint>,
}

impl OfficerPin {
    /// Whether the officer is known by this key at present.
    pub fn accepts(&self, key: &Fingerprint) -> bool {
        [self.certificate, self.next].iter().flatten().any(|pinned| *pinned == *key)
    }

    fn ever_had(&self, key: &Fingerprint) -> bool {
        self.accepts(key) || self.revoked.contains(key)
    }
}

impl Registry {
    /// Every officer that is, or was, pinned, by name.
    pub fn officer_pins(&self) -> impl Iterator<Item = &OfficerPin> {
        self.pins.values()
    }

    /// The keys of the officer with this name, if it is pinned.
    pub fn officer_pin(&self, name: &str) -> Option<&OfficerPin> {
        self.pins.get(name).filter(|pin| pin.certificate.is_some())
    }

    /// Officers that are known by their name alone: whoever gets a certificate with it is the officer.
    pub fn unpinned_officers(&self) -> impl Iterator<Item = &str> {
        self.officers().roles.keys().map(String::as_str).filter(|name| self.officer_pin(name).is_none())
    }

    /// The officer that has, or had, this key.
    pub(crate) fn officer_with(&self, key: &Fingerprint) -> Option<&OfficerPin> {
        self.pins.values().find(|pin| pin.ever_had(key))
    }

    pub(crate) fn pin_of(&self, name: &str) -> OfficerPin {
        let unknown = || OfficerPin { name: name.to_owned(), ..OfficerPin::default() };
        self.pins.get(name).cloned().unwrap_or_else(unknown)
    }

    /// The role of `actor`, as the log names it; `None` if it has none. Whoever is on the unix socket can read the
    /// node's disk and stop its process anyway, and is the way back in when certificates are lost: a key officer. So
    /// are signers.
    ///
    /// # Errors
    /// [`OfficerError::OfficerKey`] if the certificate has the right name and another key, or a key that is not that
    /// name's (any more).
    pub fn role_of(&self, actor: &str) -> Result<Option<Role>, OfficerError> {
        let Actor::Admin { name, certificate } = Actor::of(actor) else {
            return Ok(Some(Role::KeyOfficer));
        };
        let known = match certificate {
            Some(key) => match self.officer_with(&key) {
                Some(pin) => pin.name == name && pin.accepts(&key),
                None => self.officer_pin(name).is_none(),
            },
            None => self.officer_pin(name).is_none(),
        };
        if !known {
            return Err(OfficerError::OfficerKey { name: name.to_owned(), key: certificate });
        }
        match self.officers().roles.is_empty() {
            true => Ok(Some(Role::KeyOfficer)),
            false => Ok(self.officers().roles.get(name).copied()),
        }
    }
}
