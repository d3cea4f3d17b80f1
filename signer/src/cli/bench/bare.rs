//! The bare costs: appending some bytes to a file and syncing it, and making one signature in this process.

use signonce_core::{Claim, ClaimRequest, ClientId, Command, RequestId};
use signonce_keys::SecretKey;
use signonce_protocol::{Duty, GrandpaStage, KeyId, KeyType, NodeId, Payload, Round, Scheme, SetId};
use std::{
    fs::File,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

/// A file that grows as a write-ahead log does.
pub struct BareDisk {
    file: File,
}

impl BareDisk {
    /// In the directory that the signers use too.
    pub fn create(dir: &Path) -> std::io::Result<Self> {
        Ok(Self { file: File::create_new(dir.join("bare-log"))? })
    }

    /// Appends `bytes` and waits until they are on the disk.
    pub fn append(&mut self, bytes: &[u8]) -> std::io::Result<Duration> {
        let began = Instant::now();
        self.file.write_all(bytes)?;
        self.file.sync_data()?;
        Ok(began.elapsed())
    }
}

/// A key without anything around it.
pub struct BareKey {
    secret: SecretKey,
}

impl BareKey {
    /// An ed25519 key, as GRANDPA has.
    pub fn generate() -> anyhow::Result<Self> {
        Ok(Self { secret: SecretKey::generate(Scheme::Ed25519)? })
    }

    /// Signs, and verifies what it made, as a signer does.
    pub fn sign(&self, payload: &Payload) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let signature = self.secret.sign(payload.to_sign())?;
        let took = began.elapsed();
        std::hint::black_box(signature);
        Ok(took)
    }

    /// The log entry of a claim of this payload: the bytes that a signer must have on disk for it.
    pub fn log_entry(&self, payload: &Payload) -> Vec<u8> {
        let key = KeyId { key_type: KeyType::Grandpa, public: self.secret.public() };
        let request = RequestId { node: NodeId(1), boot: u64::MAX, seq: 1 };
        let duty = payload.duty().cloned().unwrap_or(Duty::GrandpaVote {
            set_id: SetId(1),
            round: Round(1),
            stage: GrandpaStage::Prevote,
            target: 1.into(),
        });
        let claim = Claim { key, client: ClientId(1), duty, digest: payload.digest(), time_ms: u64::MAX };
        Command::Claims(vec![ClaimRequest { request, claim }]).to_bytes()
    }
}
