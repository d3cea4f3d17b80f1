//! The bare costs: appending some bytes to a file and syncing it, and making one signature in this process.

use signonce_core::{Claim, ClaimRequest, ClientId, Command, RequestId};
use signonce_keys::SecretKey;
use signonce_protocol::{KeyId, NodeId, Payload};
use signonce_substrate::{ED25519, GRANDPA};
use std::{
    fs::File,
    io::Write as _,
    path::Path,
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::{Duration, Instant},
};

/// A file that grows as a write-ahead log does.
pub struct BareDisk {
    file: File,
}

impl BareDisk {
    /// Creates the file, in the directory that the signers use too.
    pub fn create(dir: &Path, name: &str) -> std::io::Result<Self> {
        Ok(Self { file: File::create_new(dir.join(name))? })
    }

    /// Appends `bytes` and waits until they are on the disk.
    pub fn append(&mut self, bytes: &[u8]) -> std::io::Result<Duration> {
        let began = Instant::now();
        self.file.write_all(bytes)?;
        self.file.sync_data()?;
        Ok(began.elapsed())
    }
}

/// Three such files on the disk that three signers share here, each with a thread of its own.
pub struct BareMajority {
    writers: Vec<Sender<Arc<[u8]>>>,
    written: Receiver<std::io::Result<Duration>>,
}

impl BareMajority {
    /// Creates the files, as [`BareDisk::create`] does.
    pub fn create(dir: &Path) -> std::io::Result<Self> {
        let (done, written) = mpsc::channel();
        let writer = |number| {
            let mut disk = BareDisk::create(dir, &format!("bare-log-{number}"))?;
            let (sender, entries) = mpsc::channel::<Arc<[u8]>>();
            let done = done.clone();
            thread::spawn(move || entries.iter().try_for_each(|entry| done.send(disk.append(&entry))));
            Ok(sender)
        };
        Ok(Self { writers: (1..=3).map(writer).collect::<std::io::Result<_>>()?, written })
    }

    /// Appends `bytes` to all three; returns how long it took until two had them on disk.
    pub fn append(&mut self, bytes: &[u8]) -> anyhow::Result<Duration> {
        let entry = Arc::<[u8]>::from(bytes);
        let began = Instant::now();
        for writer in &self.writers {
            writer.send(Arc::clone(&entry))?;
        }
        for _ in 0..2 {
            self.written.recv()??;
        }
        let took = began.elapsed();
        self.written.recv()??;
        Ok(took)
    }
}

/// A key without a signer around it.
pub struct BareKey {
    secret: SecretKey,
}

impl BareKey {
    /// Generates an ed25519 key, as GRANDPA uses.
    pub fn generate() -> anyhow::Result<Self> {
        Ok(Self { secret: SecretKey::generate(ED25519)? })
    }

    /// Signs, and verifies the signature, as a signer does.
    pub fn sign(&self, payload: &Payload) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let signature = self.secret.sign(payload.to_sign())?;
        let took = began.elapsed();
        std::hint::black_box(signature);
        Ok(took)
    }

    /// The log entry of a claim of this payload, which a signer must have on disk.
    pub fn log_entry(&self, payload: &Payload) -> Vec<u8> {
        let key = KeyId { key_type: GRANDPA, public: self.secret.public() };
        let request = RequestId { node: NodeId(1), boot: u64::MAX, seq: 1 };
        let duty = payload.duty().cloned().expect("a vote is a duty");
        let (digest, carry) = (payload.digest(), payload.carry());
        let claim = Claim { key, client: ClientId(1), duty, digest, carry, time_ms: u64::MAX };
        Command::Claims(vec![ClaimRequest { request, claim }]).to_bytes()
    }
}
