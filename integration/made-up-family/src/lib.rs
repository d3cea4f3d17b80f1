//! Ferries: a chain family that does not exist. It is here to show what a family costs: this crate, and one line where a
//! program lists its families (`main.rs`). Nothing else in the tree knows it, and `tests/ferries.rs` has keys of it
//! registered, armed, asked, refused, exported, imported and explained by the ordinary program.
//!
//! Ferries sign two things with a `ferr` key:
//! * a **crossing**, once per voyage, and never for a voyage before the last (a high-water mark). What makes a crossing this
//!   one is voyage and harbour; the time of departure is carried beside them, so that a crossing that is asked again with
//!   another time is signed with the first.
//! * a **manifest**, of which a voyage has up to three, each for another deck, by a watermark of the family's own. And a
//!   hook: no manifest for a voyage beyond the one that the other ferries of the group have crossed to.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod manifest;
mod payload;

pub use payload::{crossing_bytes, manifest_bytes};

use manifest::ManifestRefusals;
use parity_scale_codec::{Decode, DecodeAll as _, Encode};
use serde_json::{Map, Value, json};
use signonce_protocol::{
    Algorithm, ClaimSpec, ClassSpec, Duty, DutyClass, DutyWords, Family, FamilyId, KeyType, KeyTypeSpec,
    KindSpec, Part, PayloadKind, Position, Refusal, Rule, Scheme, SchemeSpec, Settings, SettingsError,
    SettingsSpec, ShieldContext, WindowRule,
};

/// The family's number. Real families count from one up.
pub const ID: FamilyId = FamilyId(200);

/// Ed25519, as ferries call it.
pub const LANTERN: Scheme = Scheme::new(ID, 0);
/// The keys of ferries.
pub const FERRY: KeyType = KeyType::new(ID, 0);
/// Crossing the water, once per voyage.
pub const CROSSING: DutyClass = DutyClass::new(ID, 0);
/// Telling what is on board, up to three times per voyage.
pub const MANIFEST: DutyClass = DutyClass::new(ID, 1);
/// A crossing's bytes.
pub const CROSSING_KIND: PayloadKind = PayloadKind::new(ID, 0);
/// A manifest's bytes.
pub const MANIFEST_KIND: PayloadKind = PayloadKind::new(ID, 1);

const VOYAGE: Part = Part { name: "voyage", word: "voyage", max: u64::MAX };

/// The family.
pub static FERRIES: Family = Family {
    id: ID,
    name: "ferries",
    level: 1,
    schemes: &[SchemeSpec {
        id: LANTERN,
        name: "lantern",
        about: "Ed25519, as ferries call it.",
        algorithm: Algorithm::Ed25519,
        show: None,
    }],
    key_types: &[KeyTypeSpec { id: FERRY, name: "ferr", about: "Ferries.", level: 1, schemes: &[LANTERN] }],
    classes: &[
        ClassSpec {
            id: CROSSING,
            name: "crossing",
            about: "Crossing the water, once per voyage.",
            level: 1,
            key_types: &[FERRY],
            claim: Some(ClaimSpec {
                parts: &[VOYAGE],
                prefix: "crossing ",
                mark: CROSSING,
                slots: None,
                // One step is kept: a high-water mark.
                rule: Rule::Window(WindowRule {
                    keep: 1,
                    per_step: None,
                    jumps: &[],
                    fits: None,
                    shield: Some(beyond_the_others),
                }),
                by_everyone: true,
                words: &Words,
                refusals: Some(&ManifestRefusals),
                alone: None,
            }),
        },
        ClassSpec {
            id: MANIFEST,
            name: "manifest",
            about: "Telling what is on board, up to three times per voyage.",
            level: 1,
            key_types: &[FERRY],
            claim: Some(ClaimSpec {
                parts: &[VOYAGE],
                prefix: "manifest ",
                mark: MANIFEST,
                slots: None,
                rule: Rule::Own(manifest::start),
                by_everyone: false,
                words: &Words,
                refusals: Some(&ManifestRefusals),
                alone: None,
            }),
        },
    ],
    kinds: &[
        KindSpec {
            id: CROSSING_KIND,
            name: "crossing",
            about: "`FRYX ‖ voyage u64 ‖ harbour 32 ‖ departure u64`, little-endian",
            class: CROSSING,
            max_len: 52,
            digest: payload::crossing_digest,
            decode: payload::read_crossing,
        },
        KindSpec {
            id: MANIFEST_KIND,
            name: "manifest",
            about: "`FRYM ‖ voyage u64 ‖ deck u8 ‖ cargo 32`, little-endian",
            class: MANIFEST,
            max_len: 45,
            digest: signonce_protocol::Digest::of,
            decode: payload::read_manifest,
        },
    ],
    methods: &[],
    settings: &FerrySettings,
};

/// How far a crossing may be past what the other ferries of the group have crossed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Harbour {
    /// Voyages.
    pub(crate) ahead: u64,
}

impl Harbour {
    fn of(settings: &Settings) -> Result<Self, SettingsError> {
        let read = Self::decode_all(&mut settings.as_bytes());
        read.map_err(|why| SettingsError(format!("not the settings of a ferry's chain: {why}")))
    }
}

struct FerrySettings;

impl SettingsSpec for FerrySettings {
    /// There is one form, and nothing in the bytes that could tell another.
    fn level(&self, _: &Settings) -> Option<u32> {
        Some(FERRIES.level)
    }

    fn check(&self, settings: &Settings) -> Result<(), SettingsError> {
        Harbour::of(settings).map(drop)
    }

    fn may_become(&self, _: &Settings, new: &Settings) -> Result<(), SettingsError> {
        self.check(new)
    }

    fn lets_more_through(&self, old: &Settings, new: &Settings) -> bool {
        let ahead = |settings| Harbour::of(settings).map_or(0, |harbour| harbour.ahead);
        ahead(new) > ahead(old)
    }

    fn slot_duration_ms(&self, _: &Settings) -> Option<u64> {
        None
    }

    fn show(&self, settings: &Settings) -> Map<String, Value> {
        let ahead = Harbour::of(settings).map(|harbour| ("ahead".to_owned(), harbour.ahead.into()));
        ahead.into_iter().collect()
    }

    fn read(&self, shown: &Map<String, Value>) -> Result<Settings, SettingsError> {
        match (shown.get("ahead").and_then(Value::as_u64), shown.len()) {
            (Some(ahead), 1) => Ok(Settings::new(Harbour { ahead }.encode())),
            _ => Err(SettingsError("a ferry's chain has one setting: ahead, a number of voyages".into())),
        }
    }
}

/// The hook of crossings: not far ahead of the other ferries of the group.
fn beyond_the_others(context: &ShieldContext<'_>) -> Option<Refusal> {
    let ahead = Harbour::of(&context.chain.settings).ok()?.ahead;
    let others = context.siblings.marks(CROSSING);
    let farthest = others.into_iter().filter_map(|mark| Some(mark.highest()?.parts()[0])).max()?;
    let asked = context.duty.position().parts()[0];
    (asked > farthest.saturating_add(ahead)).then(|| manifest::too_far_ahead(asked, farthest, ahead))
}

/// How both classes print and parse: `within` and `facts` are shown as they are.
struct Words;

impl DutyWords for Words {
    fn describe(&self, duty: &Duty) -> String {
        match duty.within() {
            [] => duty.position().to_string(),
            [deck, ..] => format!("{} of deck {deck}", duty.position()),
        }
    }

    fn show(&self, duty: &Duty) -> Map<String, Value> {
        let mut shown = duty.position().show();
        if let [deck, ..] = duty.within() {
            shown.insert("deck".into(), (*deck).into());
        }
        shown
    }

    fn read(&self, shown: &Map<String, Value>) -> Option<Duty> {
        let voyage = shown.get("voyage")?.as_u64()?;
        let (class, within) = match shown.get("deck") {
            None => (CROSSING, Vec::new()),
            Some(deck) => (MANIFEST, vec![u8::try_from(deck.as_u64()?).ok()?]),
        };
        Some(Duty::new(Position::new(class, &[voyage])?, within, Vec::new()))
    }

    fn coordinate(&self, duty: &Duty) -> Duty {
        duty.clone()
    }

    fn schema(&self) -> Value {
        json!({ "type": "object", "required": ["class", "voyage"] })
    }
}
