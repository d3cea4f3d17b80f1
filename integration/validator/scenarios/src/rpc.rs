//! A validator's JSON-RPC, as far as the scenarios ask.

use crate::http;
use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use sp_crypto_hashing::twox_128;
use std::net::SocketAddr;

/// A node's JSON-RPC.
#[derive(Clone, Copy, Debug)]
pub struct NodeRpc(pub SocketAddr);

/// A GRANDPA round as a node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundState {
    /// The authority set.
    pub set_id: u64,
    /// The round in it.
    pub round: u64,
}

impl NodeRpc {
    /// One call.
    ///
    /// # Errors
    /// If there is no answer, or it is an error.
    pub async fn call(self, method: &str, params: Value) -> anyhow::Result<Value> {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer = http::post(self.0, request.to_string()).await?;
        let mut answer: Value = serde_json::from_str(&answer)
            .with_context(|| format!("{method} was answered with no JSON: {answer}"))?;
        if let Some(error) = answer.get("error") {
            bail!("{method}: {error}");
        }
        Ok(answer.get_mut("result").map(Value::take).unwrap_or_default())
    }

    /// The number of the best block.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn best(self) -> anyhow::Result<u64> {
        self.number(json!([])).await
    }

    /// The number of the best finalized block.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn finalized(self) -> anyhow::Result<u64> {
        let hash = self.call("chain_getFinalizedHead", json!([])).await?;
        self.number(json!([hash])).await
    }

    /// The number of the best block that BEEFY has finalized; none before the first.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn beefy_finalized(self) -> anyhow::Result<Option<u64>> {
        match self.call("beefy_getFinalizedHead", json!([])).await {
            Ok(hash) => Ok(Some(self.number(json!([hash])).await?)),
            // It answers with an error until BEEFY has finalized something.
            Err(error) if error.to_string().contains("beefy_getFinalizedHead: ") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The hash of a block, in hex.
    ///
    /// # Errors
    /// If the node does not answer or has no such block.
    pub async fn block_hash(self, number: u64) -> anyhow::Result<String> {
        let hash = self.call("chain_getBlockHash", json!([number])).await?;
        hash.as_str().map(str::to_owned).with_context(|| format!("there is no block {number} yet"))
    }

    /// Where the voter is.
    ///
    /// # Errors
    /// If the node does not answer, or no voter runs.
    pub async fn round(self) -> anyhow::Result<RoundState> {
        let state = self.call("grandpa_roundState", json!([])).await?;
        round_state(&state).with_context(|| format!("a round state of another form: {state}"))
    }

    /// The session the best block is in.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn session(self) -> anyhow::Result<u64> {
        let value = self.storage("Session", "CurrentIndex").await?.unwrap_or_default();
        Ok(little_endian(&value))
    }

    /// A value of the best block's state.
    async fn storage(self, pallet: &str, item: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let key = [twox_128(pallet.as_bytes()), twox_128(item.as_bytes())].concat();
        let value = self.call("state_getStorage", json!([format!("0x{}", hex::encode(key))])).await?;
        value.as_str().map(|text| Ok(hex::decode(text.trim_start_matches("0x"))?)).transpose()
    }

    async fn number(self, params: Value) -> anyhow::Result<u64> {
        let header = self.call("chain_getHeader", params).await?;
        let number = header["number"].as_str().context("a header without a number")?;
        Ok(u64::from_str_radix(number.trim_start_matches("0x"), 16)?)
    }
}

fn round_state(state: &Value) -> Option<RoundState> {
    Some(RoundState { set_id: state["setId"].as_u64()?, round: state["best"]["round"].as_u64()? })
}

/// A number as SCALE encodes one of fixed width.
fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_state_is_read() {
        let best = json!({ "round": 7, "totalWeight": 4, "thresholdWeight": 3 });
        let read = round_state(&json!({ "setId": 2, "best": best, "background": [] }));
        assert_eq!(read, Some(RoundState { set_id: 2, round: 7 }));
        assert_eq!(round_state(&json!({ "setId": 2 })), None);
    }

    #[test]
    fn numbers_of_any_width_are_read() {
        assert_eq!(little_endian(&[]), 0);
        assert_eq!(little_endian(&[7, 1, 0, 0]), 263);
    }
}
