//! The duties that a key may sign once, as typed values, and their forms in the ledger and in JSON.

use crate::{
    BlockId, Connection, Height, PROPOSAL, Round, VOTE,
    request::{MAX_HEIGHT, MAX_ROUND},
};
use parity_scale_codec::{Decode, DecodeAll, Encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use signonce_protocol::{Duty as AnyDuty, DutyClass, DutyWords, Part, Position};
use std::fmt;

/// The steps of a round, numbered as FilePV does in its state file.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Encode,
    Decode,
    Serialize,
    Deserialize,
    JsonSchema,
    strum::Display,
)]
#[strum(serialize_all = "camelCase")]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// The proposer's block.
    #[codec(index = 1)]
    Proposal = 1,
    /// First vote.
    #[codec(index = 2)]
    Prevote = 2,
    /// Second vote.
    #[codec(index = 3)]
    Precommit = 3,
}

impl Step {
    /// The class of duty that the step belongs to.
    pub const fn class(self) -> DutyClass {
        match self {
            Self::Proposal => PROPOSAL,
            Self::Prevote | Self::Precommit => VOTE,
        }
    }

    const fn of(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::Proposal),
            2 => Some(Self::Prevote),
            3 => Some(Self::Precommit),
            _ => None,
        }
    }
}

/// The unit in which the family's positions count.
pub(crate) const PARTS: [Part; 3] = [
    Part { name: "height", word: "height", max: MAX_HEIGHT },
    Part { name: "round", word: "round", max: MAX_ROUND },
    Part { name: "step", word: "step", max: Step::Precommit as u64 },
];

/// What a key may sign once: one payload per height, round and step. The block and the connection are facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Duty {
    /// The height.
    pub height: Height,
    /// The round of the height.
    pub round: Round,
    /// The step of the round.
    pub step: Step,
    /// The block voted for or proposed; `None` for nil.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<BlockId>,
    /// The connection on which the node asked.
    #[serde(default, skip_serializing_if = "is_none")]
    pub connection: Connection,
}

fn is_none(connection: &Connection) -> bool {
    *connection == Connection::NONE
}

impl Duty {
    /// The position of the duty.
    pub(crate) fn position(&self) -> Position {
        let parts = [self.height.0, self.round.0.into(), self.step as u64];
        Position::new(self.step.class(), &parts).expect("heights and rounds are read within their range")
    }

    /// The typed duty; `None` for a duty of another family, or facts that cannot be read.
    pub fn of(duty: &AnyDuty) -> Option<Self> {
        let &[height, round, step] = duty.position().parts() else { return None };
        let step = Step::of(step).filter(|step| step.class() == duty.class())?;
        let round = Round(u32::try_from(round).ok()?);
        let (block, connection) = DecodeAll::decode_all(&mut duty.facts()).ok()?;
        let read = Self { height: Height(height), round, step, block, connection };
        (height > 0 && duty.within().is_empty()).then_some(read)
    }
}

impl From<&Duty> for AnyDuty {
    fn from(duty: &Duty) -> Self {
        Self::new(duty.position(), Vec::new(), (duty.block, duty.connection).encode())
    }
}

impl From<Duty> for AnyDuty {
    fn from(duty: Duty) -> Self {
        Self::from(&duty)
    }
}

impl fmt::Display for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { height, round, step, block: _, connection: _ } = self;
        write!(f, "{step} at height {height} round {round}")
    }
}

/// How the duties of a class are printed and parsed.
pub(crate) struct Words(pub(crate) DutyClass);

impl DutyWords for Words {
    fn describe(&self, duty: &AnyDuty) -> String {
        match Duty::of(duty) {
            Some(typed) => typed.to_string(),
            None => format!("{} at {} with facts that cannot be read", duty.class(), duty.position()),
        }
    }

    fn show(&self, duty: &AnyDuty) -> Map<String, Value> {
        match Duty::of(duty).map(serde_json::to_value) {
            Some(Ok(Value::Object(shown))) => shown,
            Some(_) | None => duty.position().show(),
        }
    }

    fn read(&self, shown: &Map<String, Value>) -> Option<AnyDuty> {
        let duty: Duty = serde_json::from_value(Value::Object(shown.clone())).ok()?;
        let parts = [duty.height.0, duty.round.0.into(), duty.step as u64];
        let position = Position::new(duty.step.class(), &parts).filter(|_| duty.height.0 > 0)?;
        (position.class() == self.0).then(|| duty.into())
    }

    fn coordinate(&self, duty: &AnyDuty) -> AnyDuty {
        match Duty::of(duty) {
            Some(typed) => Duty { block: None, connection: Connection::NONE, ..typed }.into(),
            None => duty.clone(),
        }
    }

    fn schema(&self) -> Value {
        let settings = schemars::generate::SchemaSettings::draft07();
        let settings = settings.with(|settings| settings.inline_subschemas = true);
        let mut schema = schemars::SchemaGenerator::new(settings).into_root_schema_for::<Duty>().to_value();
        schema["properties"]["class"] = serde_json::json!({ "type": "string", "const": self.0.name() });
        if let Some(required) = schema["required"].as_array_mut() {
            required.push("class".into());
        }
        schema
    }
}
