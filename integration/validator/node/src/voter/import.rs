//! A block import that stays while GRANDPA's, inside, is exchanged.

use super::{GrandpaImport, Link};
use polkadot_sdk::*;
use sc_consensus::{BlockCheckParams, BlockImport, BlockImportParams, ImportResult, JustificationImport};
use signonce_validator_runtime::{BlockNumber, Hash, opaque::Block};
use sp_consensus::Error as ConsensusError;
use sp_runtime::Justification;
use std::sync::Arc;
use tokio::sync::RwLock;

/// Every import holds it for reading, so an exchange waits for those that run and holds up the next.
#[derive(Clone)]
pub struct SwapImport(Arc<RwLock<GrandpaImport>>);

impl SwapImport {
    pub fn new(import: GrandpaImport) -> Self {
        Self(Arc::new(RwLock::new(import)))
    }

    /// Exchanges the import for what `make` makes while nothing is imported.
    pub async fn replace<E>(
        &self,
        make: impl FnOnce() -> Result<(GrandpaImport, Link), E>,
    ) -> Result<Link, E> {
        let mut import = self.0.write().await;
        let (new, link) = make()?;
        *import = new;
        Ok(link)
    }
}

#[async_trait::async_trait]
impl BlockImport<Block> for SwapImport {
    type Error = ConsensusError;

    async fn check_block(&self, block: BlockCheckParams<Block>) -> Result<ImportResult, ConsensusError> {
        self.0.read().await.check_block(block).await
    }

    async fn import_block(&self, block: BlockImportParams<Block>) -> Result<ImportResult, ConsensusError> {
        self.0.read().await.import_block(block).await
    }
}

#[async_trait::async_trait]
impl JustificationImport<Block> for SwapImport {
    type Error = ConsensusError;

    async fn on_start(&mut self) -> Vec<(Hash, BlockNumber)> {
        // A clone shares its state with the original; the trait asks for one that can be changed.
        self.0.read().await.clone().on_start().await
    }

    async fn import_justification(
        &mut self,
        hash: Hash,
        number: BlockNumber,
        justification: Justification,
    ) -> Result<(), ConsensusError> {
        let import = self.0.read().await;
        import.clone().import_justification(hash, number, justification).await
    }
}
