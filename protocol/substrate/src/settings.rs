//! What must be known of a Substrate chain: how its payloads are read, how long its slots are, how far claims may jump.

use parity_scale_codec::{Decode, Encode, MaxEncodedLen};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use signonce_protocol::{Chain, ChainId, Settings, SettingsError, SettingsSpec};

/// How wide a chain's block numbers are: `Header::Number` and the target of a GRANDPA vote.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    Encode,
    Decode,
    MaxEncodedLen,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum NumberWidth {
    /// Polkadot, Kusama and nearly every chain.
    #[codec(index = 0)]
    #[default]
    U32,
    /// Some solochains.
    #[codec(index = 1)]
    U64,
}

/// What makes an AURA block unique.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    Encode,
    Decode,
    MaxEncodedLen,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum AuraMode {
    /// One block per slot: solochains.
    #[codec(index = 0)]
    #[default]
    Slot,
    /// One block per (slot, number, parent): parachain collators, which honestly seal several blocks in a slot.
    #[codec(index = 1)]
    Collator,
}

/// The settings of a chain that decide how its payloads are read.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    Encode,
    Decode,
    MaxEncodedLen,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChainFormat {
    /// Width of block numbers.
    #[serde(default)]
    pub number_width: NumberWidth,
    /// What makes an AURA block unique.
    #[serde(default)]
    pub aura_mode: AuraMode,
}

/// How far past the highest signed position (or the floor, if that is higher) a claim may be. Further claims are
/// refused until an operator raises the watermark, which stops a broken node from voting in a bogus future.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Limits {
    /// GRANDPA rounds within one set.
    pub grandpa_rounds: u64,
    /// GRANDPA sets.
    pub grandpa_sets: u64,
    /// BEEFY blocks.
    pub beefy_blocks: u64,
    /// BEEFY sets.
    pub beefy_sets: u64,
    /// Parachain sessions.
    pub para_sessions: u32,
    /// The BEEFY shield: blocks a BEEFY vote may be above the highest GRANDPA precommit of the same group in its
    /// present set. `None` turns the shield off. BEEFY votes for finalized blocks only, so an honest vote is above
    /// the node's own precommit only if it missed some rounds; 16 blocks let it miss a minute and a half.
    pub beefy_shield: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            grandpa_rounds: 100_000,
            grandpa_sets: 1_000,
            beefy_blocks: 1_000_000,
            beefy_sets: 1_000,
            para_sessions: 1_000,
            beefy_shield: Some(16),
        }
    }
}

/// What the cluster keeps about a Substrate chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChainSettings {
    /// How its payloads are read.
    #[serde(default)]
    pub format: ChainFormat,
    /// The length of a BABE or AURA slot in milliseconds, when the chain was added.
    pub slot_duration_ms: u64,
    /// The jump limits and the BEEFY shield.
    #[serde(default)]
    pub limits: Limits,
}

/// The version of the encoding of [`ChainSettings`]: its first byte.
const VERSION: u8 = 1;

impl ChainSettings {
    /// The form that the cluster keeps: a version byte, then SCALE.
    pub fn encode(&self) -> Settings {
        Settings::of_version(VERSION, self)
    }

    /// Reads them back.
    ///
    /// # Errors
    /// If they are of another family or version.
    pub fn decode(settings: &Settings) -> Result<Self, SettingsError> {
        settings.read_version(VERSION, "Substrate")
    }

    /// The settings of a chain that a cluster has accepted.
    ///
    /// # Panics
    /// If the chain is of another family: a cluster checks settings before it accepts them.
    pub fn of(chain: &Chain) -> Self {
        Self::decode(&chain.settings).expect("the settings of a chain were judged when it was added")
    }

    /// A chain with these settings.
    pub fn chain(&self, genesis: ChainId, name: impl Into<String>) -> Chain {
        Chain { genesis, name: name.into(), family: &crate::FAMILY, settings: self.encode() }
    }
}

/// How the family's settings are judged, shown and read.
pub(crate) struct Spec;

impl SettingsSpec for Spec {
    fn level(&self, settings: &Settings) -> Option<u32> {
        (settings.version() == Some(VERSION)).then_some(crate::FAMILY.level)
    }

    fn check(&self, settings: &Settings) -> Result<(), SettingsError> {
        let read = ChainSettings::decode(settings)?;
        if read.slot_duration_ms == 0 {
            return Err(SettingsError(
                "slots of 0 ms: the slot duration is the chain's, in milliseconds".into(),
            ));
        }
        if read.encode() != *settings {
            return Err(SettingsError("the settings are not in their one encoding".into()));
        }
        Ok(())
    }

    fn may_become(&self, old: &Settings, new: &Settings) -> Result<(), SettingsError> {
        self.check(new)?;
        let [old, new] = [ChainSettings::decode(old)?, ChainSettings::decode(new)?];
        if old.format != new.format {
            return Err(SettingsError("how payloads are read is fixed when a chain is added".into()));
        }
        if old.slot_duration_ms != new.slot_duration_ms {
            return Err(SettingsError(
                "the length of slots changes from a moment on, by `chains retime`".into(),
            ));
        }
        Ok(())
    }

    fn lets_more_through(&self, old: &Settings, new: &Settings) -> bool {
        let [old, new] = [old, new].map(|settings| ChainSettings::decode(settings).map(|read| read.limits));
        let (Ok(old), Ok(new)) = (old, new) else { return false };
        let shield = |limits: &Limits| limits.beefy_shield.unwrap_or(u64::MAX);
        new.grandpa_rounds > old.grandpa_rounds
            || new.grandpa_sets > old.grandpa_sets
            || new.beefy_blocks > old.beefy_blocks
            || new.beefy_sets > old.beefy_sets
            || new.para_sessions > old.para_sessions
            || shield(&new) > shield(&old)
    }

    fn slot_duration_ms(&self, settings: &Settings) -> Option<u64> {
        ChainSettings::decode(settings).ok().map(|settings| settings.slot_duration_ms)
    }

    fn show(&self, settings: &Settings) -> Map<String, Value> {
        match ChainSettings::decode(settings).map(serde_json::to_value) {
            Ok(Ok(Value::Object(shown))) => shown,
            Ok(_) | Err(_) => Map::new(),
        }
    }

    fn read(&self, shown: &Map<String, Value>) -> Result<Settings, SettingsError> {
        let settings: ChainSettings =
            serde_json::from_value(Value::Object(shown.clone())).map_err(|e| SettingsError(e.to_string()))?;
        Ok(settings.encode())
    }
}
