//! Log lines for conditions: one when a condition begins, one when it ends, none in between. A node makes a signature
//! every second; a log with a line for each failed one hides the line that says why.

use crate::LOG;
use signonce_protocol::{DutyClass, KeyId, KeyType, rpc::ErrorCode};
use signonce_substrate::{AURA, BABE};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Something that is wrong for a while.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Condition {
    /// No signer serves.
    Down,
    /// Signers answer, but not within the deadlines.
    Slow,
    /// One signer of several cannot be reached.
    SignerAway(String),
    /// A signer's clock and the node's do not agree on the slot.
    ClockSkew,
    /// The signers hold keys for this client, but none of this chain.
    OtherChain,
    /// The signers do not list keys for this client, or cannot be understood.
    NoList,
    /// The signers do not grant the key's duties, for a reason that time or an operator can change.
    Denied(KeyId, ErrorCode),
    /// The client has no right to these duties of a key that it may use otherwise.
    NoRight(KeyId, DutyClass),
    /// A key of this chain exists but signs nothing for this client.
    Unusable(KeyId),
    /// The preimage of a hash is not known.
    NoPreimage(KeyType),
    /// The epoch of a VRF is not known.
    UnknownEpoch,
    /// A signature did not verify.
    BadSignature(KeyId),
    /// The content of the certificate files is not in use.
    CertificateNotUsed,
    /// The list of keys cannot be written to disk.
    ListNotKept,
}

impl Condition {
    /// The one key that it is about.
    pub(crate) const fn key(&self) -> Option<&KeyId> {
        match self {
            Self::Denied(key, _) | Self::NoRight(key, _) | Self::Unusable(key) | Self::BadSignature(key) => {
                Some(key)
            }
            Self::Down
            | Self::Slow
            | Self::SignerAway(_)
            | Self::ClockSkew
            | Self::OtherChain
            | Self::NoList
            | Self::NoPreimage(_)
            | Self::UnknownEpoch
            | Self::CertificateNotUsed
            | Self::ListNotKept => None,
        }
    }

    /// Errors cost duties; the others may.
    const fn level(&self) -> log::Level {
        match self {
            Self::SignerAway(_) | Self::Unusable(_) | Self::NoRight(..) | Self::ListNotKept => {
                log::Level::Warn
            }
            _ => log::Level::Error,
        }
    }
}

struct Active {
    since: Instant,
    times: u64,
}

/// The conditions that hold at present.
#[derive(Default)]
pub(crate) struct Report(Mutex<BTreeMap<Condition, Active>>);

impl Report {
    fn active(&self) -> MutexGuard<'_, BTreeMap<Condition, Active>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that `condition` holds. Logged if that is new; returns whether it is.
    pub(crate) fn begin(&self, condition: Condition, line: impl FnOnce() -> String) -> bool {
        let mut active = self.active();
        if let Some(known) = active.get_mut(&condition) {
            known.times = known.times.saturating_add(1);
            return false;
        }
        let level = condition.level();
        active.insert(condition, Active { since: Instant::now(), times: 1 });
        drop(active);
        log::log!(target: LOG, level, "{}", line());
        true
    }

    /// Records that `condition` no longer holds. Logged if it did; returns whether it did.
    pub(crate) fn end(&self, condition: &Condition, line: impl FnOnce() -> String) -> bool {
        let Some(ended) = self.active().remove(condition) else { return false };
        log::info!(target: LOG, "{} ({ended})", line());
        true
    }

    /// Silently ends conditions that no longer hold.
    pub(crate) fn forget(&self, over: impl Fn(&Condition) -> bool) {
        self.active().retain(|condition, _| !over(condition));
    }

    /// Ends all conditions of the key's signing that a good signature disproves.
    pub(crate) fn signed(&self, key: &KeyId) {
        let ended: Vec<_> = {
            let active = self.active();
            let of_key = |condition: &&Condition| match condition {
                Condition::Denied(of, _) | Condition::BadSignature(of) => of == key,
                Condition::ClockSkew => matches!(key.key_type, BABE | AURA),
                Condition::NoPreimage(key_type) => *key_type == key.key_type,
                _ => false,
            };
            active.keys().filter(of_key).cloned().collect()
        };
        for condition in ended {
            self.end(&condition, || match &condition {
                Condition::ClockSkew => "the clocks agree again: blocks are sealed".into(),
                _ => format!("{key}: signs again"),
            });
        }
    }

    #[cfg(test)]
    pub(crate) fn holds(&self, condition: &Condition) -> bool {
        self.active().contains_key(condition)
    }
}

impl fmt::Display for Active {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whole seconds, but not "0ns".
        let lasted = self.since.elapsed();
        let shown = if lasted < Duration::from_secs(1) { 1 } else { lasted.as_secs() };
        write!(f, "after {shown} s")?;
        if self.times > 1 {
            write!(f, ", seen {} times", self.times)?;
        }
        Ok(())
    }
}

/// What an operator can do about a connection that fails for this reason; begins with "; " or is empty.
pub(crate) fn advice(why: &str) -> &'static str {
    let why = why.to_ascii_lowercase();
    let has = |part: &str| why.contains(part);
    // An alert is what the signer says of our certificate; the rest is what we say of the signer's.
    if has("alert") {
        return if has("expired") {
            "; the signer says that the certificate of --remote-signer-cert has expired: renew it"
        } else if has("unknownca") || has("unknown_ca") || has("decrypterror") || has("badcertificate") {
            "; the signer does not know the authority of --remote-signer-cert: give a certificate of the cluster's CA"
        } else {
            "; the signer does not take the certificate of --remote-signer-cert: it must be one that the cluster's CA made for this client"
        };
    }
    if has("unknownissuer") || has("badsignature") {
        "; the signer's certificate is not from the authority in --remote-signer-ca: check that file and the URL"
    } else if has("expired") {
        "; the signer's certificate has expired, or this machine's clock is wrong"
    } else if has("notvalidyet") || has("not valid yet") {
        "; the signer's certificate is not valid yet: check this machine's clock"
    } else if has("notvalidforname") || has("not valid for name") {
        "; the signer's certificate is for another host name: check the URL"
    } else if has("refused") {
        "; nothing listens there: check the URL and whether the signer runs"
    } else if has("lookup address") || has("name or service") {
        "; the host name is not known: check the URL"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_protocol::PublicKey;
    use signonce_substrate::GRANDPA;

    fn key(key_type: KeyType) -> KeyId {
        KeyId { key_type, public: PublicKey::try_from([1; 32].as_slice()).unwrap() }
    }

    #[test]
    fn a_condition_is_told_when_it_begins_and_when_it_ends_and_not_between() {
        let report = Report::default();
        assert!(report.begin(Condition::Down, || "down".into()));
        for _ in 0..100 {
            assert!(!report.begin(Condition::Down, || unreachable!("told twice")));
        }
        assert!(report.end(&Condition::Down, || "up".into()));
        assert!(!report.end(&Condition::Down, || unreachable!("told twice")));
        assert!(report.begin(Condition::Down, || "down again".into()));
    }

    #[test]
    fn a_good_seal_ends_what_it_disproves_of_its_own_key() {
        let report = Report::default();
        let (babe, gran) = (key(BABE), key(GRANDPA));
        report.begin(Condition::ClockSkew, String::new);
        report.begin(Condition::BadSignature(babe), String::new);
        report.begin(Condition::BadSignature(gran), String::new);
        report.begin(Condition::Down, String::new);
        report.signed(&gran);
        assert!(report.holds(&Condition::ClockSkew) && report.holds(&Condition::BadSignature(babe)));
        assert!(!report.holds(&Condition::BadSignature(gran)));
        report.signed(&babe);
        assert!(!report.holds(&Condition::ClockSkew) && !report.holds(&Condition::BadSignature(babe)));
        assert!(report.holds(&Condition::Down));
    }

    #[test]
    fn what_goes_wrong_with_certificates_comes_with_what_to_do() {
        for (why, part) in [
            ("TLS: invalid peer certificate: UnknownIssuer", "--remote-signer-ca"),
            (
                "TLS: invalid peer certificate: certificate expired: verification time 5",
                "signer's certificate has expired",
            ),
            ("TLS: invalid peer certificate: Expired", "signer's certificate has expired"),
            ("WebSocket: received fatal alert: CertificateExpired", "--remote-signer-cert has expired"),
            ("WebSocket: received fatal alert: UnknownCA", "cluster's CA"),
            ("WebSocket: received fatal alert: CertificateUnknown", "--remote-signer-cert"),
            ("TLS: invalid peer certificate: NotValidForName", "host name"),
            ("TCP: Connection refused (os error 111)", "nothing listens"),
        ] {
            assert!(advice(why).contains(part), "{why}: {}", advice(why));
        }
        assert_eq!(advice("no answer within 1s"), "");
    }
}
