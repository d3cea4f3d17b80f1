//! Watermarks as a JSON file, to carry from one cluster to another: one chain, its keys, their floors, and (in the
//! complete form) every signature above them. Modelled on EIP-3076; `docs/reference/watermarks.md` describes the
//! format.
//!
//! [`Interchange::read`] is total: any bytes give a file or an error. An importer uses only one floor for each key and
//! class ([`Interchange::floors`]): past the key's own floor and past everything that was signed. Single signatures
//! need not be remembered, since a floor above an entry refuses everything that the entry would.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use signonce_core::{Floors, Position, SignedDuty, State, WatermarkView};
use signonce_protocol::{ChainId, Digest, Duty, DutyClass, KeyId, KeyType, LogIndex, PublicKey};
use std::collections::{BTreeMap, BTreeSet};

/// The name of the format.
pub const FORMAT: &str = "signonce-watermarks";
/// The version that is written and read.
pub const VERSION: u32 = 1;
/// The largest file that is read, in bytes.
pub const MAX_BYTES: usize = 256 << 20;
/// The most keys in a file: as many as one change of the cluster takes, so that an import is complete or nothing.
pub const MAX_KEYS: usize = 4_000;

/// Why a file is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InterchangeError {
    /// Longer than any real one.
    #[error("the file has {0} bytes, more than {MAX_BYTES}")]
    TooLong(usize),
    /// Not JSON of this form.
    #[error("the file is not a watermark interchange: {0}")]
    Malformed(String),
    /// Another format.
    #[error("the file's format is {0:?}, not {FORMAT:?}")]
    Format(String),
    /// Another version.
    #[error("the file is of version {0}, but this program reads version {VERSION}")]
    Version(u32),
    /// More keys than one change takes.
    #[error("the file has {0} keys, more than {MAX_KEYS}: split it")]
    TooManyKeys(usize),
    /// A public key whose length does not fit its type.
    #[error("{0} is not a key: keys of its type have another length")]
    NoKey(KeyId),
    /// A key listed twice.
    #[error("key {0} is in the file twice")]
    KeyTwice(KeyId),
    /// A class that keys of this type do not do, or that has no watermark.
    #[error("key {key} does no {class} work that has a watermark")]
    WrongClass {
        /// The key.
        key: KeyId,
        /// The class.
        class: DutyClass,
    },
    /// A floor or a duty of another class than the key's.
    #[error("key {key}: {what} is of another class than the key")]
    WrongCoordinate {
        /// The key.
        key: KeyId,
        /// The floor or duty.
        what: String,
    },
    /// A duty below the floor, where nothing may be listed.
    #[error("key {key}: {duty} is listed below the floor")]
    BelowFloor {
        /// The key.
        key: KeyId,
        /// The duty.
        duty: Duty,
    },
    /// A duty listed twice.
    #[error("key {key}: {duty} is listed twice")]
    DutyTwice {
        /// The key.
        key: KeyId,
        /// The duty.
        duty: Duty,
    },
    /// Signatures in a file whose form says that it has only floors.
    #[error("key {0} lists signatures in a file of minimal form")]
    NotMinimal(KeyId),
    /// No position is above what was signed.
    #[error(
        "key {key}: {duty} is the last there can be, so no floor is past it; the key can sign nothing any more"
    )]
    NothingAbove {
        /// The key.
        key: KeyId,
        /// The duty.
        duty: Duty,
    },
    /// No position above the floor stands without what was signed below it.
    #[error("key {key}: nothing is past the floor {floor}, so the key can sign nothing any more")]
    NothingAboveFloor {
        /// The key.
        key: KeyId,
        /// The floor.
        floor: Position,
    },
}

/// A file of watermarks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Interchange {
    /// What the file is.
    pub metadata: Metadata,
    /// Every key once.
    pub keys: Vec<KeyMarks>,
}

/// The description of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// Whether signatures are listed.
    pub form: Form,
    /// The chain that all the keys sign for.
    pub genesis_hash: ChainId,
    /// The chain's name where the file was written; informational.
    pub chain: String,
    /// The cluster that wrote it; informational.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The last log entry that is in it; informational.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_index: Option<LogIndex>,
    /// When it was written, in Unix milliseconds; informational.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<u64>,
}

/// What a file lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Form {
    /// Floors, and every known signature above them.
    Complete,
    /// Only floors, each past everything that was signed.
    Minimal,
}

/// The watermark of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyMarks {
    /// The key's type.
    #[serde(rename = "type")]
    pub key_type: KeyType,
    /// The public key.
    pub public: PublicKey,
    /// The class of duty that it is about.
    pub class: DutyClass,
    /// The lowest position that may be signed: the numbers of the class by name.
    pub floor: Map<String, Value>,
    /// What was signed at or above the floor.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signed: Vec<Signed>,
}

/// Something that was signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Signed {
    /// The duty.
    pub duty: Duty,
    /// Blake2b-256 of the bytes for the signature scheme.
    pub digest: Digest,
}

impl KeyMarks {
    /// The key.
    pub fn id(&self) -> KeyId {
        KeyId { key_type: self.key_type, public: self.public }
    }

    /// The floor that the file lists.
    fn listed_floor(&self) -> Result<Position, InterchangeError> {
        let key = self.id();
        Position::read(self.class, &self.floor)
            .map_err(|what| InterchangeError::WrongCoordinate { key, what })
    }

    /// The lowest floor that refuses everything that the key has signed or may have signed, for a watermark that knows
    /// nothing else about it.
    fn floor_past_all(&self) -> Result<Position, InterchangeError> {
        let key = self.id();
        let listed = self.listed_floor()?;
        let nothing_alone = || InterchangeError::NothingAboveFloor { key, floor: listed };
        let mut floor = listed.alone().ok_or_else(nothing_alone)?;
        for Signed { duty, .. } in &self.signed {
            let nothing_above = || InterchangeError::NothingAbove { key, duty: duty.clone() };
            let past = duty.position().past().ok_or_else(nothing_above)?;
            if floor.is_below(past) == Some(true) {
                floor = past;
            }
        }
        Ok(floor)
    }
}

impl Interchange {
    /// The watermarks of a chain in `state`, for all keys that were ever armed, removed ones included.
    pub fn of(state: &State, genesis: ChainId, cluster: &str, at: LogIndex, time_ms: u64) -> Option<Self> {
        let chain = state.registry().chain(&genesis)?;
        let marks = |(id, mark): (KeyId, WatermarkView)| {
            let (floor, signed) = match state.signed_duties(&id, mark.class) {
                Some(signed) => (mark.floor, signed),
                None => (past_all(&mark), Vec::new()),
            };
            let signed = signed.into_iter().map(|SignedDuty { duty, digest, .. }| Signed { duty, digest });
            KeyMarks {
                key_type: id.key_type,
                public: id.public,
                class: mark.class,
                floor: floor.show(),
                signed: signed.collect(),
            }
        };
        let of_chain = state.keys().filter(|key| key.chain == genesis);
        let all = of_chain.flat_map(|key| state.watermarks(&key.id).into_iter().map(|mark| (key.id, mark)));
        let keys = all.map(marks).collect();
        let metadata = Metadata {
            format: FORMAT.into(),
            version: VERSION,
            form: Form::Complete,
            genesis_hash: genesis,
            chain: chain.name.clone(),
            cluster: Some(cluster.into()),
            log_index: Some(at),
            time_ms: Some(time_ms),
        };
        Some(Self { metadata, keys })
    }

    /// Reads a file. Total: no bytes make it panic, and its result obeys every rule of the format.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read(bytes: &[u8]) -> Result<Self, InterchangeError> {
        /// The fields that every version begins with.
        #[derive(Deserialize)]
        struct Head {
            metadata: HeadMetadata,
        }
        #[derive(Deserialize)]
        struct HeadMetadata {
            format: String,
            version: u32,
        }
        let malformed = |e: serde_json::Error| InterchangeError::Malformed(e.to_string());
        if bytes.len() > MAX_BYTES {
            return Err(InterchangeError::TooLong(bytes.len()));
        }
        let Head { metadata: HeadMetadata { format, version } } =
            serde_json::from_slice(bytes).map_err(malformed)?;
        if format != FORMAT {
            return Err(InterchangeError::Format(format));
        }
        if version != VERSION {
            return Err(InterchangeError::Version(version));
        }
        let file: Self = serde_json::from_slice(bytes).map_err(malformed)?;
        file.check()?;
        Ok(file)
    }

    fn check(&self) -> Result<(), InterchangeError> {
        if self.keys.len() > MAX_KEYS {
            return Err(InterchangeError::TooManyKeys(self.keys.len()));
        }
        let mut seen = BTreeSet::new();
        for marks in &self.keys {
            if !seen.insert((marks.id(), marks.class)) {
                return Err(InterchangeError::KeyTwice(marks.id()));
            }
            check_marks(marks)?;
            if self.metadata.form == Form::Minimal && !marks.signed.is_empty() {
                return Err(InterchangeError::NotMinimal(marks.id()));
            }
        }
        self.floors().map(drop)
    }

    /// The floors of each key: past everything that the file says was, or may have been, signed.
    ///
    /// # Errors
    /// If no floor is past it.
    pub fn floors(&self) -> Result<Vec<(KeyId, Floors)>, InterchangeError> {
        let mut all: BTreeMap<KeyId, Vec<Position>> = BTreeMap::new();
        for marks in &self.keys {
            all.entry(marks.id()).or_default().push(marks.floor_past_all()?);
        }
        Ok(all.into_iter().map(|(key, floors)| (key, floors.into_iter().collect())).collect())
    }

    /// The same watermarks with only floors.
    ///
    /// # Errors
    /// As [`Self::floors`].
    pub fn minimal(self) -> Result<Self, InterchangeError> {
        let Self { metadata, keys } = self;
        let minimal = |marks: KeyMarks| {
            let floor = marks.floor_past_all()?.show();
            Ok(KeyMarks { floor, signed: Vec::new(), ..marks })
        };
        let keys = keys.into_iter().map(minimal).collect::<Result<_, _>>()?;
        Ok(Self { metadata: Metadata { form: Form::Minimal, ..metadata }, keys })
    }
}

fn check_marks(marks: &KeyMarks) -> Result<(), InterchangeError> {
    let key = marks.id();
    let KeyMarks { key_type, public, class, floor: _, signed } = marks;
    if key_type.schemes().iter().all(|scheme| scheme.public_len() != public.as_bytes().len()) {
        return Err(InterchangeError::NoKey(key));
    }
    if !key_type.marks().any(|mark| mark == *class) {
        return Err(InterchangeError::WrongClass { key, class: *class });
    }
    let floor = marks.listed_floor()?;
    let mut seen = BTreeSet::new();
    for Signed { duty, .. } in signed {
        let duty = || duty.clone();
        if duty().class().mark() != Some(*class) {
            return Err(InterchangeError::WrongCoordinate { key, what: duty().to_string() });
        }
        if duty().position().is_below(floor) != Some(false) {
            return Err(InterchangeError::BelowFloor { key, duty: duty() });
        }
        if !seen.insert(duty().coordinate()) {
            return Err(InterchangeError::DutyTwice { key, duty: duty() });
        }
    }
    Ok(())
}

/// The floor past everything that was signed, of a key whose duties cannot be listed.
fn past_all(mark: &WatermarkView) -> Position {
    let highest = mark.highest.unwrap_or(mark.floor);
    // The highest position is past everything but itself; no honest chain gets there.
    highest.past().unwrap_or(highest)
}
