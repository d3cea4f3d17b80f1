//! What must be known of a CometBFT chain: the chain-id that its validators sign for, and how far heights may jump.

use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use signonce_protocol::{Chain, ChainId, Settings, SettingsError, SettingsSpec, blake2_256};

/// The longest chain-id that nodes accept in a genesis file, in bytes.
pub const MAX_CHAIN_ID_BYTES: usize = 50;

/// How far past the last signed height (or the floor) a claim may be. One further ahead is refused until an operator
/// raises the watermark. This stops a broken node from voting at a bogus height far ahead, after which the key could
/// not sign for ages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Limits {
    /// The limit in heights: ten million are 46 days of blocks every 400 ms.
    pub heights: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { heights: 10_000_000 }
    }
}

/// What the cluster keeps about a CometBFT chain.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChainSettings {
    /// The chain-id, which is part of everything that is signed: `cosmoshub-4`.
    pub chain_id: String,
    /// The jump limit.
    #[serde(default)]
    pub limits: Limits,
}

/// The version of the encoding of [`ChainSettings`]: its first byte.
const VERSION: u8 = 1;

/// The genesis hash that stands for the chain with this chain-id. CometBFT chains are told apart by their chain-id
/// alone, and it is what is signed, so the hash is made from it.
pub fn genesis_of(chain_id: &str) -> ChainId {
    ChainId(blake2_256(&[b"cometbft chain-id: ", chain_id.as_bytes()].concat()))
}

impl ChainSettings {
    /// The settings of a chain with the default limits.
    pub fn new(chain_id: impl Into<String>) -> Self {
        Self { chain_id: chain_id.into(), limits: Limits::default() }
    }

    /// The bytes that the cluster keeps: a version byte, then SCALE.
    pub fn encode(&self) -> Settings {
        Settings::of_version(VERSION, self)
    }

    /// Reads the bytes back.
    ///
    /// # Errors
    /// If they are of another family or version.
    pub fn decode(settings: &Settings) -> Result<Self, SettingsError> {
        settings.read_version(VERSION, "CometBFT")
    }

    /// The settings of a chain that a cluster has taken in.
    ///
    /// # Panics
    /// If the chain is of another family: a cluster checks settings before it takes them in.
    pub fn of(chain: &Chain) -> Self {
        Self::decode(&chain.settings).expect("the settings of a chain were judged when it was added")
    }

    /// A chain with these settings, by the operator's name for it.
    pub fn chain(&self, name: impl Into<String>) -> Chain {
        let genesis = genesis_of(&self.chain_id);
        Chain { genesis, name: name.into(), family: &crate::FAMILY, settings: self.encode() }
    }
}

/// Nodes take any text, but people would misread one that has spaces or looks like another.
fn check_chain_id(chain_id: &str) -> Result<(), SettingsError> {
    let fits = (1..=MAX_CHAIN_ID_BYTES).contains(&chain_id.len());
    if fits && chain_id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(SettingsError(format!(
        "chain-id {chain_id:?}: it is the chain_id of the chain's genesis file, of 1 to {MAX_CHAIN_ID_BYTES} ASCII \
         characters without spaces"
    )))
}

/// How the family's settings are checked, shown and read.
pub(crate) struct Spec;

impl SettingsSpec for Spec {
    fn level(&self, settings: &Settings) -> Option<u32> {
        (settings.version() == Some(VERSION)).then_some(crate::FAMILY.level)
    }

    fn check(&self, settings: &Settings) -> Result<(), SettingsError> {
        let read = ChainSettings::decode(settings)?;
        check_chain_id(&read.chain_id)?;
        if read.encode() != *settings {
            return Err(SettingsError("the settings are not in their one encoding".into()));
        }
        Ok(())
    }

    fn may_become(&self, old: &Settings, new: &Settings) -> Result<(), SettingsError> {
        self.check(new)?;
        let [old, new] = [ChainSettings::decode(old)?, ChainSettings::decode(new)?];
        if old.chain_id != new.chain_id {
            return Err(SettingsError(format!(
                "the chain-id {:?} is fixed when a chain is added: its keys sign for no other",
                old.chain_id
            )));
        }
        Ok(())
    }

    fn lets_more_through(&self, old: &Settings, new: &Settings) -> bool {
        let heights = |settings| ChainSettings::decode(settings).map(|read| read.limits.heights);
        matches!((heights(old), heights(new)), (Ok(old), Ok(new)) if new > old)
    }

    fn slot_duration_ms(&self, _: &Settings) -> Option<u64> {
        None
    }

    fn show(&self, settings: &Settings) -> Map<String, Value> {
        match ChainSettings::decode(settings).map(serde_json::to_value) {
            Ok(Ok(Value::Object(shown))) => shown,
            Ok(_) | Err(_) => Map::new(),
        }
    }

    fn read(&self, shown: &Map<String, Value>) -> Result<Settings, SettingsError> {
        let read: ChainSettings =
            serde_json::from_value(Value::Object(shown.clone())).map_err(|e| SettingsError(e.to_string()))?;
        check_chain_id(&read.chain_id)?;
        Ok(read.encode())
    }

    fn of_name(&self, name: &str) -> Result<Option<Settings>, SettingsError> {
        check_chain_id(name)?;
        Ok(Some(ChainSettings::new(name).encode()))
    }

    fn identity(&self, settings: &Settings) -> Option<(String, ChainId)> {
        let chain_id = ChainSettings::decode(settings).ok()?.chain_id;
        let genesis = genesis_of(&chain_id);
        Some((chain_id, genesis))
    }
}
