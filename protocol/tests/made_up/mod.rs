//! A chain family that exists in tests alone: what no real family has (yet), and enough of the rest to speak of.
//!
//! | key type | work |
//! |---|---|
//! | [`VOTER`] | [`PROPOSAL`] and [`VOTE`] share a high-water mark over (height, round, step); both have a timestamp beside their statement |
//! | [`TWIN`] | [`LEFT`] has a window, [`RIGHT`] a mark of its own, and [`NOTE`] is free |
//! | [`TICKER`] | [`TICK`]: slots of the chain's clock, several in each, behind a shield |
//!
//! [`later`] is one of a feature level that no program supports so far.
#![allow(dead_code, reason = "each test program uses its part")]

pub mod later;
mod own;

use serde_json::{Map, Value, json};
use signonce_protocol::{
    Algorithm, Carry, Chain, ChainId, ClaimSpec, ClassSpec, Digest, Duty, DutyClass, DutyWords, Family,
    FamilyId, Jump, KeyId, KeyType, KeyTypeSpec, KindSpec, Message, Part, Payload, PayloadError, PayloadKind,
    Position, PublicKey, Refusal, Rule, RuleRefusal, Scheme, SchemeSpec, Settings, SettingsError,
    SettingsSpec, ShieldContext, SlotRule, Statement, WindowRule,
};
use std::sync::Arc;

/// Far from every real one.
pub const ID: FamilyId = FamilyId(200);

/// Installs the family alone.
pub fn install() {
    static ALONE: [&Family; 1] = [&FAMILY];
    signonce_protocol::install(&ALONE);
}

/// What a cluster begins with.
pub const LEVEL: u32 = 1;

/// The family.
pub static FAMILY: Family = Family {
    id: ID,
    name: "madeUp",
    level: LEVEL,
    schemes: &SCHEMES,
    key_types: &KEY_TYPES,
    classes: &CLASSES,
    kinds: &KINDS,
    methods: &[],
    settings: &Spec,
};

pub const PLAIN: Scheme = Scheme::new(ID, 0);

static SCHEMES: [SchemeSpec; 1] = [SchemeSpec {
    id: PLAIN,
    name: "plain",
    about: "Plain Ed25519.",
    algorithm: Algorithm::Ed25519,
    show: None,
}];

pub const VOTER: KeyType = KeyType::new(ID, 0);
pub const TWIN: KeyType = KeyType::new(ID, 1);
pub const TICKER: KeyType = KeyType::new(ID, 2);

static KEY_TYPES: [KeyTypeSpec; 3] =
    [key_type(VOTER, "voter"), key_type(TWIN, "twin"), key_type(TICKER, "ticker")];

const fn key_type(id: KeyType, name: &'static str) -> KeyTypeSpec {
    KeyTypeSpec { id, name, about: "A key type of tests.", level: LEVEL, schemes: &[PLAIN] }
}

pub const PROPOSAL: DutyClass = DutyClass::new(ID, 0);
pub const VOTE: DutyClass = DutyClass::new(ID, 1);
pub const LEFT: DutyClass = DutyClass::new(ID, 2);
pub const RIGHT: DutyClass = DutyClass::new(ID, 3);
pub const TICK: DutyClass = DutyClass::new(ID, 4);
pub const NOTE: DutyClass = DutyClass::new(ID, 5);
/// One that key type [`TWIN`] has from the level of [`later`] on.
pub const ADDED: DutyClass = DutyClass::new(ID, 6);

static CLASSES: [ClassSpec; 7] = [
    class(PROPOSAL, "madeProposal", &[VOTER], Some(high_water(&Words("madeProposal")))),
    class(VOTE, "madeVote", &[VOTER], Some(high_water(&Words("madeVote")))),
    class(LEFT, "madeLeft", &[TWIN], Some(claim(LEFT, &[COUNT], Rule::Window(WINDOW), &Words("madeLeft")))),
    class(
        RIGHT,
        "madeRight",
        &[TWIN],
        Some(claim(RIGHT, &[COUNT], Rule::Own(own::start), &Words("madeRight"))),
    ),
    class(
        TICK,
        "madeTick",
        &[TICKER],
        Some(ClaimSpec {
            slots: Some(SlotRule { may_be_retimed: true }),
            ..claim(TICK, &[SLOT, PLACE], Rule::Window(TICKS), &Words("madeTick"))
        }),
    ),
    class(NOTE, "madeNote", &[TWIN], None),
    ClassSpec {
        level: later::LEVEL,
        ..class(
            ADDED,
            "madeAdded",
            &[TWIN],
            Some(claim(ADDED, &[COUNT], Rule::Window(WINDOW), &Words("madeAdded"))),
        )
    },
];

const HEIGHT: Part = Part { name: "height", word: "height", max: u64::MAX };
const ROUND: Part = Part { name: "round", word: "round", max: 9 };
const STEP: Part = Part { name: "step", word: "step", max: 1 };
const COUNT: Part = Part { name: "count", word: "count", max: 1_000_000 };
const SLOT: Part = Part { name: "slot", word: "slot", max: u64::MAX };
const PLACE: Part = Part { name: "place", word: "place", max: 9 };

const WINDOW: WindowRule = WindowRule {
    keep: 4,
    per_step: Some(2),
    jumps: &[Jump { part: 0, limit: |_| 100, restarts: false }],
    fits: None,
    shield: None,
};

const HIGH_WATER: WindowRule = WindowRule { keep: 1, per_step: None, jumps: &[], fits: None, shield: None };

const TICKS: WindowRule =
    WindowRule { keep: 4, per_step: None, jumps: &[], fits: None, shield: Some(no_thirteen) };

/// What the shield of [`TICK`] refuses, whatever else is signed.
fn no_thirteen(context: &ShieldContext<'_>) -> Option<Refusal> {
    let place = context.duty.position().parts()[0] % 100;
    (place == 13).then(|| Refusal::Rule(RuleRefusal { class: TICK, code: 0, facts: Vec::new() }))
}

const fn class(
    id: DutyClass,
    name: &'static str,
    key_types: &'static [KeyType],
    claim: Option<ClaimSpec>,
) -> ClassSpec {
    ClassSpec { id, name, about: "A class of tests.", level: LEVEL, key_types, claim }
}

const fn claim(
    mark: DutyClass,
    parts: &'static [Part],
    rule: Rule,
    words: &'static dyn DutyWords,
) -> ClaimSpec {
    ClaimSpec {
        parts,
        prefix: "",
        mark,
        slots: None,
        rule,
        by_everyone: false,
        words,
        refusals: None,
        alone: None,
    }
}

const fn high_water(words: &'static dyn DutyWords) -> ClaimSpec {
    claim(PROPOSAL, &[HEIGHT, ROUND, STEP], Rule::Window(HIGH_WATER), words)
}

/// Every duty of the family is its position, with bytes that tell it from others there.
struct Words(&'static str);

impl DutyWords for Words {
    fn describe(&self, duty: &Duty) -> String {
        format!("{} at {}", self.0, duty.position())
    }

    fn show(&self, duty: &Duty) -> Map<String, Value> {
        let mut shown = duty.position().show();
        if !duty.within().is_empty() {
            shown.insert("within".into(), String::from_utf8_lossy(duty.within()).into());
        }
        shown
    }

    fn read(&self, shown: &Map<String, Value>) -> Option<Duty> {
        let mut shown = shown.clone();
        let within = shown.remove("within").map_or(Some(Vec::new()), |w| Some(w.as_str()?.into()))?;
        Some(Duty::new(Position::read(self.0.parse().ok()?, &shown).ok()?, within, Vec::new()))
    }

    fn coordinate(&self, duty: &Duty) -> Duty {
        duty.clone()
    }

    /// Of a tick, the slot will do.
    fn short(&self, duty: &Duty) -> Duty {
        match duty.slot() {
            Some(slot) => self::duty(duty.class(), &[slot.0, 0]),
            None => duty.clone(),
        }
    }

    fn schema(&self) -> Value {
        json!({ "type": "object", "properties": { "class": { "const": self.0 } } })
    }
}

/// A header of [`TICK`]: its slot, then anything.
pub const HEADER: PayloadKind = PayloadKind::new(ID, 0);
/// A vote of [`VOTE`]: height, time and value, 8 bytes each. The time is beside the statement.
pub const TIMED: PayloadKind = PayloadKind::new(ID, 1);
/// A note of any bytes.
pub const FREE: PayloadKind = PayloadKind::new(ID, 2);

static KINDS: [KindSpec; 3] = [
    KindSpec {
        id: HEADER,
        name: "madeHeader",
        about: "`slot ‖ anything`",
        class: TICK,
        max_len: 1 << 20,
        digest: |bytes| Digest::of(bytes),
        decode: |bytes, _| {
            let slot = numbers::<1>(bytes.get(..8).unwrap_or_default())?[0];
            Ok(Payload::new(HEADER, Some(duty(TICK, &[slot, 0])), Message::Bytes(bytes.into()), "a header"))
        },
    },
    KindSpec {
        id: TIMED,
        name: "madeTimed",
        about: "`height ‖ time ‖ value`",
        class: VOTE,
        max_len: 24,
        digest: statement_of,
        decode: |bytes, _| {
            let [height, time, _] = numbers(bytes)?;
            let (digest, carry) = (statement_of(bytes), Carry::new(time.to_le_bytes().into()));
            let whole = bytes.to_vec();
            let restate = move |carry: &Carry| {
                let time: [u8; 8] = carry.as_bytes().try_into().ok()?;
                Some(Message::Bytes([&whole[..8], &time, &whole[16..]].concat().into()))
            };
            let payload = Payload::new(
                TIMED,
                Some(duty(VOTE, &[height, 0, 1])),
                Message::Bytes(bytes.into()),
                "a vote",
            );
            Ok(payload.with_statement(Statement { digest, carry, restate: Arc::new(restate) }))
        },
    },
    KindSpec {
        id: FREE,
        name: "madeFree",
        about: "anything",
        class: NOTE,
        max_len: 64,
        digest: |bytes| Digest::of(bytes),
        decode: |bytes, _| Ok(Payload::new(FREE, None, Message::Bytes(bytes.into()), "a note")),
    },
];

/// Height and value.
fn statement_of(bytes: &[u8]) -> Digest {
    Digest::of(&[bytes.get(..8).unwrap_or_default(), bytes.get(16..).unwrap_or_default()].concat())
}

fn numbers<const N: usize>(bytes: &[u8]) -> Result<[u64; N], PayloadError> {
    let (numbers, rest) = bytes.as_chunks::<8>();
    let numbers: Vec<_> = numbers.iter().map(|number| u64::from_le_bytes(*number)).collect();
    let wrong = || PayloadError(format!("not {N} numbers"));
    rest.is_empty().then_some(numbers).and_then(|numbers| numbers.try_into().ok()).ok_or_else(wrong)
}

/// Settings are the length of a slot, 8 bytes little-endian. From the level of [`later`] on there may be a ninth byte.
struct Spec;

impl SettingsSpec for Spec {
    fn level(&self, settings: &Settings) -> Option<u32> {
        match settings.as_bytes().len() {
            ..=8 => Some(LEVEL),
            9 => Some(later::LEVEL),
            10.. => None,
        }
    }

    fn check(&self, settings: &Settings) -> Result<(), SettingsError> {
        let read = self.slot_duration_ms(settings).filter(|slot| *slot > 0);
        read.map(drop).ok_or_else(|| SettingsError("settings are the length of a slot".into()))
    }

    fn may_become(&self, old: &Settings, new: &Settings) -> Result<(), SettingsError> {
        self.check(new)?;
        (old == new).then_some(()).ok_or_else(|| SettingsError("nothing of it may change".into()))
    }

    /// Longer ones do.
    fn lets_more_through(&self, old: &Settings, new: &Settings) -> bool {
        new.as_bytes().len() > old.as_bytes().len()
    }

    fn slot_duration_ms(&self, settings: &Settings) -> Option<u64> {
        settings.as_bytes().try_into().ok().map(u64::from_le_bytes)
    }

    fn show(&self, settings: &Settings) -> Map<String, Value> {
        self.slot_duration_ms(settings).map(|slot| ("slotMs".into(), slot.into())).into_iter().collect()
    }

    fn read(&self, shown: &Map<String, Value>) -> Result<Settings, SettingsError> {
        let slot = shown.get("slotMs").and_then(Value::as_u64).filter(|_| shown.len() == 1);
        let slot = slot.ok_or_else(|| SettingsError("slotMs is needed".into()))?;
        Ok(Settings::new(slot.to_le_bytes().into()))
    }
}

/// A chain of the family, with slots of 6 seconds.
pub fn chain(genesis: ChainId, name: &str) -> Chain {
    let settings = Settings::new(6_000_u64.to_le_bytes().into());
    Chain { genesis, name: name.into(), family: &FAMILY, settings }
}

/// A duty that is its position.
pub fn duty(class: DutyClass, parts: &[u64]) -> Duty {
    Duty::new(at(class, parts), Vec::new(), Vec::new())
}

/// A position.
pub fn at(class: DutyClass, parts: &[u64]) -> Position {
    Position::new(class, parts).expect("the class has such positions")
}

/// A key.
pub fn key(key_type: KeyType, n: u8) -> KeyId {
    KeyId { key_type, public: PublicKey::try_from([n; 32].as_slice()).expect("32 bytes are a public key") }
}
