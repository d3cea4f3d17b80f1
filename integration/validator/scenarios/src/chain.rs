//! The test chain: its specification, built from the validators' public keys, and its genesis hash, which a node has
//! to be asked for.

use crate::{
    cluster::{PATIENCE, text},
    keys::ValidatorKeys,
    node::{Node, NodeSetup},
    process::run,
    stage::{Stage, until},
};
use anyhow::Context as _;
use serde_json::Value;
use std::{fs, path::PathBuf};

/// A chain that nodes can be started on.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The raw specification.
    pub spec: PathBuf,
    /// The hash of block 0, in hex.
    pub genesis: String,
    /// Milliseconds of a slot.
    pub slot_ms: u64,
}

impl Chain {
    /// A new chain with these validators.
    ///
    /// # Errors
    /// If the validator's program fails.
    pub async fn build(stage: &Stage, name: &str, validators: &[ValidatorKeys]) -> anyhow::Result<Self> {
        let dir = stage.dir(name)?;
        let list = dir.join("validators.json");
        let genesis = Value::from(validators.iter().map(ValidatorKeys::genesis).collect::<Vec<_>>());
        fs::write(&list, genesis.to_string())?;
        let said = run(&stage.validator, &["build-chain", "--validators", &text(&list)?], PATIENCE).await?;
        let spec = dir.join("spec.json");
        fs::write(&spec, said)?;
        let mut chain = Self { spec, genesis: String::new(), slot_ms: SLOT_MS };
        // A node that is no validator makes no block, so nothing of the chain is used up.
        let asked = Node::start(stage, &chain, NodeSetup::observer(&format!("{name}-genesis")))?;
        let hash = async || asked.rpc().block_hash(0).await.ok();
        let ended = async || asked.must_run().is_err().then(String::new);
        let found =
            until("a node tells the genesis hash", PATIENCE, async || hash().await.or(ended().await)).await?;
        asked.must_run()?;
        chain.genesis = found;
        Ok(chain)
    }

    /// Its id, by which nodes name its directory.
    ///
    /// # Errors
    /// If the specification has none.
    pub fn id(&self) -> anyhow::Result<String> {
        let spec: Value = serde_json::from_slice(&fs::read(&self.spec)?)?;
        spec["id"].as_str().map(str::to_owned).context("a specification without an id")
    }

    /// The genesis hash as bytes.
    ///
    /// # Errors
    /// If it is none.
    pub fn genesis_bytes(&self) -> anyhow::Result<[u8; 32]> {
        let bytes = hex::decode(self.genesis.trim_start_matches("0x"))?;
        bytes.try_into().ok().context("a genesis hash has 32 bytes")
    }
}

/// Milliseconds of the test chain's slots.
const SLOT_MS: u64 = 2_000;
