//! The runtime of the test chain: what the validators of the integration tests agree on.
//!
//! BABE, GRANDPA, BEEFY, authority discovery and im-online, with sessions of 20 seconds whose authority sets really
//! change (see [`rotation`]) and with the SDK's own equivocation reports, checked and counted on chain (see
//! [`offences`]). Nobody is slashed or disabled: the chain has to go on so that a test can count.
//!
//! A node takes [`BLOB`], the runtime as WebAssembly, for a chain's genesis, and [`genesis`] for what goes with it.
//! `build-wasm.sh` makes the blob from these sources.
#![cfg_attr(not(feature = "std"), no_std)]
// The SDK's macros make public items of their own.
#![allow(missing_docs)]

extern crate alloc;

mod apis;
mod config;
pub mod genesis;
pub mod offences;
pub mod rotation;

use alloc::{borrow::Cow, vec::Vec};
use polkadot_sdk::*;
use sp_runtime::{
    MultiAddress, MultiSignature, generic, impl_opaque_keys,
    traits::{BlakeTwo256, IdentifyAccount, Verify},
};
use sp_version::RuntimeVersion;

pub use apis::*;
pub use config::{MAX_AUTHORITIES, MinimumPeriod};

/// The runtime as WebAssembly, compressed the way the SDK expects it.
#[cfg(feature = "std")]
pub const BLOB: &[u8] = include_bytes!("../blob/runtime.compressed.wasm");

/// Milliseconds of a slot.
pub const SLOT_MS: u64 = 2_000;
/// Slots of an epoch, which is also a session.
pub const EPOCH_SLOTS: u64 = 10;
/// How slots are handed out: a quarter by lot, every other one in turn.
pub const BABE_GENESIS_EPOCH_CONFIG: sp_consensus_babe::BabeEpochConfiguration =
    sp_consensus_babe::BabeEpochConfiguration {
        c: (1, 4),
        allowed_slots: sp_consensus_babe::AllowedSlots::PrimaryAndSecondaryVRFSlots,
    };

pub type Signature = MultiSignature;
pub type AccountId = <<Signature as Verify>::Signer as IdentifyAccount>::AccountId;
pub type Address = MultiAddress<AccountId, ()>;
pub type Balance = u128;
pub type Nonce = u32;
pub type BlockNumber = u32;
pub type Hash = sp_core::H256;
pub type Header = generic::Header<BlockNumber, BlakeTwo256>;
pub type Block = generic::Block<Header, UncheckedExtrinsic>;
pub type UncheckedExtrinsic = generic::UncheckedExtrinsic<Address, RuntimeCall, Signature, TxExtension>;
pub type TxExtension = (
    frame_system::AuthorizeCall<Runtime>,
    frame_system::CheckNonZeroSender<Runtime>,
    frame_system::CheckSpecVersion<Runtime>,
    frame_system::CheckTxVersion<Runtime>,
    frame_system::CheckGenesis<Runtime>,
    frame_system::CheckEra<Runtime>,
    frame_system::CheckNonce<Runtime>,
    frame_system::CheckWeight<Runtime>,
    pallet_transaction_payment::ChargeTransactionPayment<Runtime>,
);
pub type Executive = frame_executive::Executive<
    Runtime,
    Block,
    frame_system::ChainContext<Runtime>,
    Runtime,
    AllPalletsWithSystem,
>;

/// The chain's types as a node sees them: extrinsics are bytes.
pub mod opaque {
    use super::*;

    pub type Block = generic::Block<Header, sp_runtime::OpaqueExtrinsic>;
}

impl_opaque_keys! {
    pub struct SessionKeys {
        pub babe: Babe,
        pub grandpa: Grandpa,
        pub beefy: Beefy,
        pub authority_discovery: AuthorityDiscovery,
        pub im_online: ImOnline,
    }
}

/// What the blob says of itself. Raise `spec_version` with every change of the runtime, and rebuild the blob.
#[sp_version::runtime_version]
pub const VERSION: RuntimeVersion = RuntimeVersion {
    spec_name: Cow::Borrowed("signonce-validator"),
    impl_name: Cow::Borrowed("signonce-validator"),
    authoring_version: 1,
    spec_version: 1,
    impl_version: 1,
    apis: RUNTIME_API_VERSIONS,
    transaction_version: 1,
    system_version: 1,
};

#[frame_support::runtime]
mod runtime {
    use super::*;

    #[runtime::runtime]
    #[runtime::derive(
        RuntimeCall,
        RuntimeEvent,
        RuntimeError,
        RuntimeOrigin,
        RuntimeFreezeReason,
        RuntimeHoldReason,
        RuntimeSlashReason,
        RuntimeLockId,
        RuntimeTask,
        RuntimeViewFunction
    )]
    pub struct Runtime;

    #[runtime::pallet_index(0)]
    pub type System = frame_system;
    #[runtime::pallet_index(1)]
    pub type Timestamp = pallet_timestamp;
    #[runtime::pallet_index(2)]
    pub type Babe = pallet_babe;
    #[runtime::pallet_index(3)]
    pub type Authorship = pallet_authorship;
    #[runtime::pallet_index(4)]
    pub type Balances = pallet_balances;
    #[runtime::pallet_index(5)]
    pub type TransactionPayment = pallet_transaction_payment;
    #[runtime::pallet_index(6)]
    pub type Offences = pallet_offences;
    #[runtime::pallet_index(7)]
    pub type ProvenOffences = offences;
    // Before `Session`, whose genesis asks it for the first validators.
    #[runtime::pallet_index(8)]
    pub type Rotation = rotation;
    #[runtime::pallet_index(9)]
    pub type Session = pallet_session;
    #[runtime::pallet_index(10)]
    pub type Historical = pallet_session::historical;
    #[runtime::pallet_index(11)]
    pub type Grandpa = pallet_grandpa;
    #[runtime::pallet_index(12)]
    pub type Beefy = pallet_beefy;
    #[runtime::pallet_index(13)]
    pub type ImOnline = pallet_im_online;
    #[runtime::pallet_index(14)]
    pub type AuthorityDiscovery = pallet_authority_discovery;
    #[runtime::pallet_index(15)]
    pub type Sudo = pallet_sudo;
}
