//! What a node plugs into the remote keystore, without a node: a runtime that tells one long epoch, and a proposer of
//! empty blocks. The keystore cannot tell the difference.

use codec::Encode as _;
use futures::future::{Ready, ready};
use sp_api::{ApiRef, ProvideRuntimeApi};
use sp_blockchain::{BlockStatus, HeaderBackend, Info};
use sp_consensus::{Environment, Proposal, ProposeArgs, Proposer};
use sp_consensus_babe::{
    AllowedSlots, AuthorityId, BABE_ENGINE_ID, BabeConfiguration, BabeEpochConfiguration, Epoch,
    EquivocationProof, OpaqueKeyOwnershipProof, Slot,
    digests::{PreDigest, SecondaryVRFPreDigest},
};
use sp_core::sr25519::vrf::VrfSignature;
use sp_runtime::{
    Digest, DigestItem, OpaqueExtrinsic, generic,
    traits::{BlakeTwo256, Header as _, NumberFor},
};

/// A header as the test chain has it.
pub type Header = generic::Header<u32, BlakeTwo256>;
/// A block of such a chain.
pub type Block = generic::Block<Header, OpaqueExtrinsic>;
type BlockHash = <Block as sp_runtime::traits::Block>::Hash;

/// Slots of an epoch that no run outlives.
const EPOCH_SLOTS: u64 = 1_000_000;

/// A runtime in one epoch.
#[derive(Clone)]
pub struct Runtime {
    /// The epoch.
    pub epoch: Epoch,
    slot_ms: u64,
}

impl Runtime {
    /// In an epoch that began at `start`.
    pub fn new(start: u64, slot_ms: u64) -> Self {
        let config =
            BabeEpochConfiguration { c: (1, 4), allowed_slots: AllowedSlots::PrimaryAndSecondaryVRFSlots };
        let epoch = Epoch {
            epoch_index: 7,
            start_slot: start.into(),
            duration: EPOCH_SLOTS,
            authorities: Vec::new(),
            randomness: [7; 32],
            config,
        };
        Self { epoch, slot_ms }
    }
}

impl ProvideRuntimeApi<Block> for Runtime {
    type Api = Self;
    fn runtime_api(&self) -> ApiRef<'_, Self> {
        self.clone().into()
    }
}

sp_api::mock_impl_runtime_apis! {
    impl sp_consensus_babe::BabeApi<Block> for Runtime {
        fn configuration(&self) -> BabeConfiguration {
            BabeConfiguration {
                slot_duration: self.slot_ms,
                epoch_length: EPOCH_SLOTS,
                c: self.epoch.config.c,
                authorities: Vec::new(),
                randomness: self.epoch.randomness,
                allowed_slots: self.epoch.config.allowed_slots,
            }
        }
        fn current_epoch_start(&self) -> Slot {
            self.epoch.start_slot
        }
        fn current_epoch(&self) -> Epoch {
            self.epoch.clone()
        }
        fn next_epoch(&self) -> Epoch {
            let start_slot = self.epoch.start_slot + EPOCH_SLOTS;
            Epoch { epoch_index: self.epoch.epoch_index + 1, start_slot, randomness: [8; 32], ..self.epoch.clone() }
        }
        fn generate_key_ownership_proof(_: Slot, _: AuthorityId) -> Option<OpaqueKeyOwnershipProof> {
            None
        }
        fn submit_report_equivocation_unsigned_extrinsic(
            _: EquivocationProof<Header>,
            _: OpaqueKeyOwnershipProof,
        ) -> Option<()> {
            None
        }
    }
}

impl HeaderBackend<Block> for Runtime {
    fn header(&self, _: BlockHash) -> sp_blockchain::Result<Option<Header>> {
        Ok(None)
    }
    fn info(&self) -> Info<Block> {
        let hash = BlockHash::default();
        Info {
            best_hash: hash,
            best_number: 0,
            genesis_hash: hash,
            finalized_hash: hash,
            finalized_number: 0,
            finalized_state: None,
            number_leaves: 1,
            block_gap: None,
        }
    }
    fn status(&self, _: BlockHash) -> sp_blockchain::Result<BlockStatus> {
        Ok(BlockStatus::Unknown)
    }
    fn number(&self, _: BlockHash) -> sp_blockchain::Result<Option<NumberFor<Block>>> {
        Ok(None)
    }
    fn hash(&self, _: NumberFor<Block>) -> sp_blockchain::Result<Option<BlockHash>> {
        Ok(None)
    }
}

/// Proposes empty blocks.
#[derive(Clone, Copy)]
pub struct EmptyBlocks;

impl Environment<Block> for EmptyBlocks {
    type Proposer = Self;
    type CreateProposer = Ready<Result<Self, sp_consensus::Error>>;
    type Error = sp_consensus::Error;
    fn init(&mut self, _: &Header) -> Self::CreateProposer {
        ready(Ok(*self))
    }
}

impl Proposer<Block> for EmptyBlocks {
    type Error = sp_consensus::Error;
    type Proposal = Ready<Result<Proposal<Block>, sp_consensus::Error>>;
    fn propose(self, args: ProposeArgs<Block>) -> Self::Proposal {
        let nothing = BlockHash::default();
        let header = Header::new(1, nothing, nothing, nothing, args.inherent_digests);
        let block = Block { header, extrinsics: Vec::new() };
        ready(Ok(Proposal { block, storage_changes: Default::default() }))
    }
}

/// Has a block for a slot proposed, as BABE does once it has claimed the slot; its header without the seal.
///
/// # Errors
/// If the proposer fails.
pub fn propose(
    environment: &mut impl Environment<Block, Error = sp_consensus::Error>,
    slot: u64,
    vrf_signature: VrfSignature,
) -> anyhow::Result<Header> {
    let claim = SecondaryVRFPreDigest { authority_index: 0, slot: slot.into(), vrf_signature };
    let digest = DigestItem::PreRuntime(BABE_ENGINE_ID, PreDigest::SecondaryVRF(claim).encode());
    let args = ProposeArgs { inherent_digests: Digest { logs: vec![digest] }, ..Default::default() };
    let nothing = BlockHash::default();
    let parent = Header::new(0, nothing, nothing, nothing, Digest::default());
    let made = futures::executor::block_on(async {
        let proposer = environment.init(&parent).await?;
        proposer.propose(args).await.map_err(|error| sp_consensus::Error::Other(Box::new(error)))
    })?;
    Ok(made.block.header)
}
