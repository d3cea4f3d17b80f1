//! The audit: every event, as a record and as the row that a node stores.

use super::{
    File,
    change::{notes, signature},
    sample::*,
    variants,
};
use crate::{AuditEvent, AuditRecord, AuditRow, Change, ChangeError, KeyError, Verdict};
use signonce_protocol::Hash;

variants! {
    fn events() -> AuditEvent {
        Claim => AuditEvent::Claim {
            request: request(),
            client: CLIENT,
            key: key(),
            duty: duty(),
            digest: DIGEST,
            carry: carry(),
            answer: Verdict::Granted,
        };
        Change => AuditEvent::Change {
            request: request(),
            actor: "admin:alice".into(),
            change: Box::new(Change::DisableKey { id: key() }),
            refused: Some(ChangeError::Key(KeyError::UnknownKey { key: key() })),
        };
        Noted => AuditEvent::Noted { node: NODE, note: notes().remove(0).1 };
        Signed => AuditEvent::Signed(signature());
    }
}

#[test]
fn every_audit_record_has_the_bytes_it_always_had() {
    let mut file = File::new("audit");
    for (name, event) in events() {
        let record = AuditRecord { at: AT, time_ms: TIME_MS, event };
        let bytes = record.to_bytes();
        assert_eq!(AuditRecord::from_bytes(&bytes), Ok(record), "{name} is read back");
        let row = AuditRow { seq: 0x5e9, before: Hash([0xbe; 32]), record: bytes.clone() };
        let (key, value) = row.to_stored();
        assert_eq!(AuditRow::from_stored(&key, &value), Ok(row), "the row of {name} is read back");
        file.bytes(format!("{name}/record"), &bytes);
        file.bytes(format!("{name}/row-key"), &key);
        file.bytes(format!("{name}/row-value"), &value);
    }
    file.check();
}
