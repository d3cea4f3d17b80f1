//! What running nodes have asked and Go's FilePV has answered, as typed records, and the judge that compares.
//!
//! A cluster's test plays each session on a [`Node`](crate::Node): it asks with [`Recorded::request`] through
//! [`Node::ask_raw`](crate::Node::ask_raw), takes [`Event`]s as restarts, and gives the answer's bytes to [`compare`].
//! The recordings lie beside the repository; [`Recordings::find`] says where it looked when they are not there.

pub use crate::compare::{Differs, compare};

use crate::{FilePvKey, Time};
use serde_json::Value;
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use thiserror::Error;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The variable that names the folder of the recordings.
pub const FOLDER_VARIABLE: &str = "SIGNONCE_VECTORS";

/// The keys of the sessions, as the recordings' README has them.
const SESSION_ED25519: &str = "a1ef88829999fa558f89062ed376058574a9cabdd9b52da0eaf96ced2f74f610";
const SESSION_SECP256K1: &str = "d58fae8e1a4b2ad057bb1cbd3afe9ce04dbae84295efe0dff7a2a2dfe9cce990";

/// Recordings cannot be read.
#[derive(Debug, Error)]
pub enum VectorsError {
    /// A file is not there.
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    /// A file is not what it should be.
    #[error("{file}: {what} is not what was expected in {value}")]
    Form {
        /// The file.
        file: String,
        /// The member.
        what: String,
        /// Where it should be, shortened.
        value: String,
    },
}

/// The scheme of a recorded key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// ed25519.
    Ed25519,
    /// secp256k1.
    Secp256k1,
}

/// A recorded key: its secret, to be given to the signers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedKey {
    /// Its scheme.
    pub scheme: Scheme,
    /// The seed or secret.
    pub secret: [u8; 32],
}

impl RecordedKey {
    /// The key as FilePV has it.
    pub fn filepv(&self) -> FilePvKey {
        match self.scheme {
            Scheme::Ed25519 => FilePvKey::ed25519(&self.secret),
            Scheme::Secp256k1 => FilePvKey::secp256k1(&self.secret),
        }
    }
}

/// What a recorded request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordedKind {
    /// The public key.
    PubKey,
    /// A proposal.
    Proposal,
    /// A prevote.
    Prevote,
    /// A precommit.
    Precommit,
}

/// What came of a recorded request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The public key, in a message of these bytes.
    PubKey(Vec<u8>),
    /// A signature: a new one, or the stored one.
    Signed {
        /// Whether it was there already.
        stored: bool,
        /// The signature.
        signature: Vec<u8>,
        /// The timestamp in the answer.
        time: Time,
        /// The extension's signature.
        extension_signature: Option<Vec<u8>>,
    },
    /// FilePV's refusal, in its words.
    Refused(String),
}

/// One recorded request and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Session or case, and the place in it: for messages of tests.
    pub about: String,
    /// The number of the recorded connection.
    pub connection: u64,
    /// What is asked for.
    pub kind: RecordedKind,
    /// The `Message`, without a length.
    pub request: Vec<u8>,
    /// Go's sign bytes of the request, if it is one for a signature.
    pub sign_bytes: Option<Vec<u8>>,
    /// Go's sign bytes of the extension.
    pub extension_bytes: Option<Vec<u8>>,
    /// A non-nil precommit of a node before 0.38, whose FilePV knows no extensions: an extension signature may be
    /// there or not.
    pub before_extensions: bool,
    /// What came of it.
    pub expected: Expected,
}

/// What happens in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The node asks.
    Asks(Box<Recorded>),
    /// The node was killed and started again.
    NodeRestarts,
    /// The signer was started again from its state.
    SignerRestarts,
}

/// A recording that starts from a signer with an empty state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its name.
    pub name: String,
    /// The chain.
    pub chain_id: String,
    /// The validator's key.
    pub key: RecordedKey,
    /// What happens, in order.
    pub events: Vec<Event>,
}

impl Session {
    /// The requests, in order.
    pub fn asked(&self) -> impl Iterator<Item = &Recorded> {
        self.events.iter().filter_map(|event| match event {
            Event::Asks(recorded) => Some(&**recorded),
            Event::NodeRestarts | Event::SignerRestarts => None,
        })
    }
}

/// A folder of recordings.
#[derive(Clone, Debug)]
pub struct Recordings(PathBuf);

impl Recordings {
    /// In this folder, which holds `sessions.json`.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// Where `SIGNONCE_VECTORS` says, else beside the repository (`../shared/vectors/cometbft` from its root, which
    /// lies so many folders above this crate). `None`, and a line that says so, if they are not there.
    ///
    /// # Panics
    /// If `SIGNONCE_VECTORS` names a folder without them: a test that was to run must not pass by doing nothing.
    pub fn find(crate_folder: &Path, folders_above: usize) -> Option<Self> {
        if let Some(named) = std::env::var_os(FOLDER_VARIABLE) {
            let folder = PathBuf::from(named);
            assert!(folder.join("sessions.json").is_file(), "{FOLDER_VARIABLE}: no recordings in {folder:?}");
            return Some(Self(folder));
        }
        let root = (0..folders_above).fold(crate_folder.to_owned(), |folder, _| folder.join(".."));
        let folder = root.join("../shared/vectors/cometbft");
        if folder.join("sessions.json").is_file() {
            return Some(Self(folder));
        }
        println!("skipped: {} is not there, and {FOLDER_VARIABLE} is not set", folder.display());
        None
    }

    /// A file as it is.
    pub fn json(&self, file: &str) -> Result<Value, VectorsError> {
        let path = self.0.join(file);
        let text = fs::read_to_string(&path).map_err(|error| VectorsError::File(path, error))?;
        serde_json::from_str(&text).map_err(|error| form(file, &error.to_string(), &Value::Null))
    }

    /// The sessions of `sessions.json`, `extensions.json`, `secp256k1.json` or `crash-replay.json`.
    pub fn sessions(&self, file: &str) -> Result<Vec<Session>, VectorsError> {
        let json = self.json(file)?;
        let read = Reader { file };
        read.list(&json, "sessions")?.iter().map(|session| read.session(session)).collect()
    }

    /// The cases of `filepv.json`, those of both keys.
    pub fn filepv(&self) -> Result<Vec<Session>, VectorsError> {
        let json = self.json("filepv.json")?;
        let read = Reader { file: "filepv.json" };
        let chain_id = read.text(&json, "chain_id")?;
        let mut cases = Vec::new();
        for (name, secret, scheme) in
            [("ed25519", "seed", Scheme::Ed25519), ("secp256k1", "secret", Scheme::Secp256k1)]
        {
            let of_key = &json[name];
            let key = RecordedKey { scheme, secret: read.secret(of_key, secret)? };
            for case in read.list(of_key, "cases")? {
                let name = format!("{name}: {}", read.text(case, "name")?);
                let steps = read.list(case, "steps")?.iter().enumerate();
                let events = steps.map(|(number, step)| read.step(step, &format!("{name}, step {number}")));
                let events = events.collect::<Result<_, _>>()?;
                cases.push(Session { name, chain_id: chain_id.clone(), key, events });
            }
        }
        Ok(cases)
    }
}

fn form(file: &str, what: &str, value: &Value) -> VectorsError {
    let value = value.to_string().chars().take(120).collect();
    VectorsError::Form { file: file.to_owned(), what: what.to_owned(), value }
}

struct Reader<'a> {
    file: &'a str,
}

impl Reader<'_> {
    fn error(&self, what: &str, value: &Value) -> VectorsError {
        form(self.file, what, value)
    }

    fn text(&self, value: &Value, what: &str) -> Result<String, VectorsError> {
        value[what].as_str().map(str::to_owned).ok_or_else(|| self.error(what, value))
    }

    fn list<'v>(&self, value: &'v Value, what: &str) -> Result<&'v [Value], VectorsError> {
        // An empty recording would test nothing.
        let list = value[what].as_array().filter(|list| !list.is_empty());
        list.map(Vec::as_slice).ok_or_else(|| self.error(what, value))
    }

    fn bytes(&self, value: &Value, what: &str) -> Result<Vec<u8>, VectorsError> {
        hex::decode(self.text(value, what)?).map_err(|_| self.error(what, value))
    }

    fn some_bytes(&self, value: &Value, what: &str) -> Result<Option<Vec<u8>>, VectorsError> {
        value.get(what).map(|_| self.bytes(value, what)).transpose()
    }

    fn secret(&self, value: &Value, what: &str) -> Result<[u8; 32], VectorsError> {
        self.bytes(value, what)?.try_into().map_err(|_| self.error(what, value))
    }

    fn time(&self, value: &Value, what: &str) -> Result<Time, VectorsError> {
        let text = self.text(value, what)?;
        let time = OffsetDateTime::parse(&text, &Rfc3339).map_err(|_| self.error(what, value))?;
        Ok(Time { seconds: time.unix_timestamp(), nanos: time.nanosecond() as i32 })
    }

    fn kind(&self, value: &Value, what: &str) -> Result<RecordedKind, VectorsError> {
        match self.text(value, what)?.as_str() {
            "pubkey" => Ok(RecordedKind::PubKey),
            "proposal" => Ok(RecordedKind::Proposal),
            "prevote" => Ok(RecordedKind::Prevote),
            "precommit" => Ok(RecordedKind::Precommit),
            _ => Err(self.error(what, value)),
        }
    }

    fn session(&self, session: &Value) -> Result<Session, VectorsError> {
        let name = self.text(session, "session")?;
        let (scheme, secret) = match self.text(session, "key")?.as_str() {
            "ed25519" => (Scheme::Ed25519, SESSION_ED25519),
            "secp256k1" => (Scheme::Secp256k1, SESSION_SECP256K1),
            _ => return Err(self.error("key", session)),
        };
        let secret = hex::decode(secret).ok().and_then(|secret| secret.try_into().ok());
        let key = RecordedKey { scheme, secret: secret.expect("32 bytes in hex") };
        let messages = self.list(session, "messages")?.iter();
        let events = messages.map(|message| match message.get("event") {
            // The only event that is recorded.
            Some(event) if event.as_str().is_some_and(|event| event.contains("killed")) => {
                Ok(Event::NodeRestarts)
            }
            Some(event) => Err(self.error("event", event)),
            None => self.message(message, &name),
        });
        let events = events.collect::<Result<_, _>>()?;
        Ok(Session { chain_id: self.text(session, "chain_id")?, name, key, events })
    }

    fn message(&self, message: &Value, session: &str) -> Result<Event, VectorsError> {
        let kind = self.kind(message, "kind")?;
        let signed = |stored, time| {
            Ok(Expected::Signed {
                stored,
                signature: self.bytes(message, "sig")?,
                time: self.time(message, time)?,
                extension_signature: self.some_bytes(message, "esig")?,
            })
        };
        let expected = match (kind, message["out"].as_str()) {
            (RecordedKind::PubKey, _) => Expected::PubKey(self.bytes(message, "resp")?),
            (_, Some("signed")) => signed(false, "time")?,
            (_, Some("stored")) => signed(true, "time_out")?,
            (_, Some("refused")) => Expected::Refused(self.text(message, "error")?),
            (_, _) => return Err(self.error("out", message)),
        };
        let extension_bytes = self.some_bytes(message, "esb")?;
        let has_block = !message["block"].is_null();
        Ok(Event::Asks(Box::new(Recorded {
            about: format!("{session}, message {}", message["i"]),
            connection: message["conn"].as_u64().ok_or_else(|| self.error("conn", message))?,
            kind,
            request: self.bytes(message, "req")?,
            sign_bytes: self.some_bytes(message, "sb")?,
            before_extensions: kind == RecordedKind::Precommit && has_block && extension_bytes.is_none(),
            extension_bytes,
            expected,
        })))
    }

    fn step(&self, step: &Value, about: &str) -> Result<Event, VectorsError> {
        if step["op"] == "restart" {
            return Ok(Event::SignerRestarts);
        }
        let expected = match step["error"].as_str() {
            Some(error) => Expected::Refused(error.to_owned()),
            None => Expected::Signed {
                // The file does not say; the judge does not need it.
                stored: false,
                signature: self.bytes(step, "sig")?,
                time: self.time(step, "timestamp")?,
                extension_signature: self.some_bytes(step, "esig")?,
            },
        };
        Ok(Event::Asks(Box::new(Recorded {
            about: about.to_owned(),
            connection: 1,
            kind: self.kind(step, "op")?,
            request: self.bytes(step, "req")?,
            sign_bytes: self.some_bytes(step, "sb")?,
            extension_bytes: self.some_bytes(step, "esb")?,
            before_extensions: false,
            expected,
        })))
    }
}
