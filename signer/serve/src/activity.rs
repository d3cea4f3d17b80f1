//! Counts what each client has asked of this node since it started: in memory, for `clients list`, not for the audit.

use signonce_core::{ClientId, Fingerprint};
use signonce_protocol::{Duty, KeyId, rpc::ErrorCode};
use signonce_shared::activity::{ClientActivity, LastDuty};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What every client has asked of this node.
#[derive(Default)]
pub struct Activity {
    clients: Mutex<HashMap<ClientId, ClientActivity>>,
}

/// How a request ended, for counting.
pub enum RequestOutcome<'a> {
    /// With a signature or a VRF output; for a duty, with its key.
    Signed(Option<(KeyId, &'a Duty)>),
    /// With this refusal.
    Refused(ErrorCode),
}

impl Activity {
    /// Counts a request of `client` at `time_ms`, with the certificate it was made with, if any.
    pub fn note(
        &self,
        client: ClientId,
        certificate: Option<Fingerprint>,
        time_ms: u64,
        outcome: RequestOutcome<'_>,
    ) {
        let mut clients = self.lock();
        let known = clients.entry(client).or_default();
        known.last_seen_ms = time_ms;
        known.last_certificate = certificate;
        match outcome {
            RequestOutcome::Signed(duty) => {
                known.signed += 1;
                if let Some((key, duty)) = duty {
                    known.last_duty = Some(LastDuty { key, duty: duty.clone(), time_ms });
                }
            }
            RequestOutcome::Refused(code) => *known.refused.entry(code.name().to_owned()).or_default() += 1,
        }
    }

    /// The counts of `client`; none if it has not asked this node.
    pub fn of(&self, client: ClientId) -> Option<ClientActivity> {
        self.lock().get(&client).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClientId, ClientActivity>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_protocol::{PublicKey, Slot};
    use signonce_substrate::BABE;
    use std::collections::BTreeMap;

    #[test]
    fn the_last_duty_stays_while_refusals_are_counted_by_reason() {
        signonce_shared::families::install();
        let activity = Activity::default();
        let id = ClientId(3);
        assert_eq!(activity.of(id), None);
        let key = KeyId { key_type: BABE, public: PublicKey::try_from(&[1; 32][..]).unwrap() };
        let duty = signonce_substrate::Duty::BabeBlock { slot: Slot(9) }.to_any();
        activity.note(id, Some(Fingerprint([1; 32])), 10, RequestOutcome::Signed(Some((key, &duty))));
        activity.note(id, Some(Fingerprint([1; 32])), 20, RequestOutcome::Signed(None));
        activity.note(id, Some(Fingerprint([2; 32])), 30, RequestOutcome::Refused(ErrorCode::Forbidden));
        activity.note(id, Some(Fingerprint([2; 32])), 40, RequestOutcome::Refused(ErrorCode::Forbidden));
        let known = activity.of(id).unwrap();
        assert_eq!((known.last_seen_ms, known.signed), (40, 2));
        assert_eq!(known.last_duty, Some(LastDuty { key, duty, time_ms: 10 }));
        assert_eq!(known.refused, BTreeMap::from([("forbidden".into(), 2)]));
        assert_eq!(known.last_certificate, Some(Fingerprint([2; 32])));
    }
}
