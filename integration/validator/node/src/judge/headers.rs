//! Finds two headers of one slot and author among the blocks that are imported, and reports them with their seals.

use super::{Judge, Kind, LOG, Offence};
use polkadot_sdk::*;
use sc_consensus::{BlockCheckParams, BlockImport, BlockImportParams, ImportResult};
use signonce_validator_runtime::{Header, opaque::Block};
use sp_api::{ApiExt, ProvideRuntimeApi};
use sp_blockchain::HeaderBackend;
use sp_consensus::{BlockOrigin, Error as ConsensusError};
use sp_consensus_babe::{AuthorityIndex, BabeApi, EquivocationProof, Slot, check_equivocation_proof};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// How many headers are remembered.
const KEPT: usize = 1_024;

/// The block import of the node's consensus.
pub type Import = Arc<dyn BlockImport<Block, Error = ConsensusError> + Send + Sync>;

/// A block import that looks at what passes.
#[derive(Clone)]
pub struct HeaderWatch {
    inner: Import,
    judge: Judge,
    first: Arc<Mutex<BTreeMap<(Slot, AuthorityIndex), Header>>>,
}

impl HeaderWatch {
    pub fn new(inner: Import, judge: Judge) -> Self {
        Self { inner, judge, first: Arc::default() }
    }

    fn look(&self, header: Header) {
        let Ok(digest) = sc_consensus_babe::find_pre_digest::<Block>(&header) else { return };
        let slot = digest.slot();
        let Some(first) = self.remember((slot, digest.authority_index()), &header) else { return };
        if let Err(why) = self.report(first, header, slot, digest.authority_index()) {
            log::warn!(target: LOG, "Two headers of slot {slot}, which cannot be reported: {why}");
        }
    }

    /// The header seen before of this slot and author, if it is another.
    fn remember(&self, of: (Slot, AuthorityIndex), header: &Header) -> Option<Header> {
        let mut first = self.first.lock().expect("no panic while it is held");
        let known = first.entry(of).or_insert_with(|| header.clone()).clone();
        while first.len() > KEPT {
            first.pop_first();
        }
        (known.hash() != header.hash()).then_some(known)
    }

    fn report(
        &self,
        first: Header,
        second: Header,
        slot: Slot,
        author: AuthorityIndex,
    ) -> Result<(), String> {
        let client = &self.judge.client;
        // The state after the first of them: that of the epoch and the session it belongs to.
        let at = first.hash();
        let epoch = client.runtime_api().current_epoch(at).map_err(|error| error.to_string())?;
        let (offender, _) = epoch
            .authorities
            .get(author as usize)
            .ok_or_else(|| format!("there is no author {author}"))?
            .clone();
        let proof = EquivocationProof {
            offender: offender.clone(),
            slot,
            first_header: first,
            second_header: second,
        };
        if !check_equivocation_proof(proof.clone()) {
            return Err("they do not prove an equivocation".into());
        }
        if self.judge.seen.note(Offence::new(Kind::Babe, &offender, slot)) {
            log::warn!(target: LOG, "BABE: {offender} sealed two blocks of slot {slot}");
        }
        let owner = client
            .runtime_api()
            .generate_key_ownership_proof(at, slot, offender)
            .map_err(|error| error.to_string())?
            .ok_or("the author is not of the session")?;
        let best = client.info().best_hash;
        let mut api = client.runtime_api();
        api.register_extension(self.judge.reports.offchain_transaction_pool(best));
        api.submit_report_equivocation_unsigned_extrinsic(best, proof, owner)
            .map_err(|error| error.to_string())?
            .ok_or_else(|| "the transaction pool did not take the report".into())
    }
}

#[async_trait::async_trait]
impl BlockImport<Block> for HeaderWatch {
    type Error = ConsensusError;

    async fn check_block(&self, block: BlockCheckParams<Block>) -> Result<ImportResult, ConsensusError> {
        self.inner.check_block(block).await
    }

    async fn import_block(&self, block: BlockImportParams<Block>) -> Result<ImportResult, ConsensusError> {
        // While it catches up, a node imports without checking seals. And before the import, in which BABE makes its
        // own report, whose place in the pool ours would not get any more.
        if block.origin != BlockOrigin::NetworkInitialSync {
            self.look(block.post_header());
        }
        self.inner.import_block(block).await
    }
}
