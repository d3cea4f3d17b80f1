//! How the pallets are set up.

use crate::*;
use codec::{Decode, DecodeWithMemTracking, Encode};
use frame_support::{
    derive_impl, parameter_types,
    traits::{ConstU8, ConstU32, ConstU64, ConstU128},
    weights::{
        IdentityFee, Weight,
        constants::{RocksDbWeight, WEIGHT_REF_TIME_PER_SECOND},
    },
};
use polkadot_sdk::*;
use scale_info::TypeInfo;
use sp_consensus_beefy::{
    AncestryHelper, AncestryHelperWeightInfo, Commitment, ecdsa_crypto::AuthorityId as BeefyId,
};
use sp_runtime::{
    Perbill,
    traits::{ConvertInto, Header as HeaderT, OpaqueKeys},
};

/// Enough for the largest set of Polkadot and Kusama.
pub const MAX_AUTHORITIES: u32 = 1_000;
type MaxAuthorities = ConstU32<MAX_AUTHORITIES>;
/// For how many authority sets back an equivocation can be proven.
type MaxSetIdSessionEntries = ConstU64<1_000>;
/// How many blocks a report waits for its place in one.
type ReportLongevity = ConstU64<100>;
pub type MinimumPeriod = ConstU64<{ SLOT_MS / 2 }>;

parameter_types! {
    pub const Version: RuntimeVersion = VERSION;
    pub BlockWeights: frame_system::limits::BlockWeights =
        frame_system::limits::BlockWeights::with_sensible_defaults(
            Weight::from_parts(2 * WEIGHT_REF_TIME_PER_SECOND, u64::MAX),
            Perbill::from_percent(75),
        );
}

#[derive_impl(frame_system::config_preludes::SolochainDefaultConfig)]
impl frame_system::Config for Runtime {
    type Block = Block;
    type BlockWeights = BlockWeights;
    type AccountId = AccountId;
    type Nonce = Nonce;
    type Hash = Hash;
    type BlockHashCount = ConstU32<2_400>;
    type DbWeight = RocksDbWeight;
    type Version = Version;
    type AccountData = pallet_balances::AccountData<Balance>;
}

impl pallet_timestamp::Config for Runtime {
    type Moment = u64;
    type OnTimestampSet = Babe;
    type MinimumPeriod = MinimumPeriod;
    type WeightInfo = ();
}

impl pallet_babe::Config for Runtime {
    type EpochDuration = ConstU64<EPOCH_SLOTS>;
    type ExpectedBlockTime = ConstU64<SLOT_MS>;
    type EpochChangeTrigger = pallet_babe::ExternalTrigger;
    type DisabledValidators = Session;
    type WeightInfo = ();
    type MaxAuthorities = MaxAuthorities;
    type MaxNominators = ConstU32<0>;
    type KeyOwnerProof = sp_session::MembershipProof;
    type EquivocationReportSystem =
        pallet_babe::EquivocationReportSystem<Self, ProvenOffences, Historical, ReportLongevity>;
}

impl pallet_authorship::Config for Runtime {
    type FindAuthor = pallet_session::FindAccountFromAuthorIndex<Self, Babe>;
    // Not `ImOnline`: an author would need no heartbeat then, and the `imon` key would never be used.
    type EventHandler = ();
}

#[derive_impl(pallet_balances::config_preludes::TestDefaultConfig)]
impl pallet_balances::Config for Runtime {
    type Balance = Balance;
    type ExistentialDeposit = ConstU128<500>;
    type AccountStore = System;
}

impl pallet_transaction_payment::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type OnChargeTransaction = pallet_transaction_payment::FungibleAdapter<Balances, ()>;
    type OperationalFeeMultiplier = ConstU8<5>;
    type WeightToFee = IdentityFee<Balance>;
    type LengthToFee = IdentityFee<Balance>;
    type FeeMultiplierUpdate = ();
    type WeightInfo = ();
}

impl pallet_offences::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type IdentificationTuple = pallet_session::historical::IdentificationTuple<Self>;
    type OnOffenceHandler = ();
}

impl offences::Config for Runtime {}

impl rotation::Config for Runtime {}

impl pallet_session::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type ValidatorId = AccountId;
    type ValidatorIdOf = ConvertInto;
    type ShouldEndSession = Babe;
    type NextSessionRotation = Babe;
    type SessionManager = pallet_session::historical::NoteHistoricalRoot<Self, Rotation>;
    type SessionHandler = <SessionKeys as OpaqueKeys>::KeyTypeIdProviders;
    type Keys = SessionKeys;
    type DisablingStrategy = ();
    type WeightInfo = ();
    type Currency = Balances;
    type KeyDeposit = ();
}

/// Nothing is known of a validator but its account.
pub struct NoIdentification;

impl sp_runtime::traits::Convert<AccountId, Option<()>> for NoIdentification {
    fn convert(_: AccountId) -> Option<()> {
        Some(())
    }
}

impl pallet_session::historical::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type FullIdentification = ();
    type FullIdentificationOf = NoIdentification;
}

impl pallet_grandpa::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type WeightInfo = ();
    type MaxAuthorities = MaxAuthorities;
    type MaxNominators = ConstU32<0>;
    type MaxSetIdSessionEntries = MaxSetIdSessionEntries;
    type KeyOwnerProof = sp_session::MembershipProof;
    type EquivocationReportSystem =
        pallet_grandpa::EquivocationReportSystem<Self, ProvenOffences, Historical, ReportLongevity>;
}

/// The chain keeps no ancestry (no MMR), so votes for a fork cannot be proven; double votes can.
pub struct NoAncestry;

/// There is none.
#[derive(Clone, Debug, Decode, DecodeWithMemTracking, Encode, PartialEq, TypeInfo)]
pub struct NoAncestryProof;

impl<H: HeaderT> AncestryHelper<H> for NoAncestry {
    type Proof = NoAncestryProof;
    type ValidationContext = ();

    fn is_proof_optimal(_: &Self::Proof) -> bool {
        false
    }

    fn extract_validation_context(_: H) -> Option<()> {
        None
    }

    fn is_non_canonical(_: &Commitment<H::Number>, _: Self::Proof, _: ()) -> bool {
        false
    }
}

impl<H: HeaderT> AncestryHelperWeightInfo<H> for NoAncestry {
    fn is_proof_optimal(_: &NoAncestryProof) -> Weight {
        Weight::zero()
    }

    fn extract_validation_context() -> Weight {
        Weight::zero()
    }

    fn is_non_canonical(_: &NoAncestryProof) -> Weight {
        Weight::zero()
    }
}

impl pallet_beefy::Config for Runtime {
    type BeefyId = BeefyId;
    type MaxAuthorities = MaxAuthorities;
    type MaxNominators = ConstU32<0>;
    type MaxSetIdSessionEntries = MaxSetIdSessionEntries;
    type OnNewValidatorSet = ();
    type AncestryHelper = NoAncestry;
    type WeightInfo = ();
    type KeyOwnerProof = sp_session::MembershipProof;
    type EquivocationReportSystem =
        pallet_beefy::EquivocationReportSystem<Self, ProvenOffences, Historical, ReportLongevity>;
}

impl pallet_im_online::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type AuthorityId = pallet_im_online::sr25519::AuthorityId;
    type MaxKeys = MaxAuthorities;
    type MaxPeerInHeartbeats = MaxAuthorities;
    type ValidatorSet = Historical;
    type NextSessionRotation = Babe;
    type ReportUnresponsiveness = ProvenOffences;
    type UnsignedPriority = ConstU64<{ u64::MAX / 2 }>;
    type WeightInfo = ();
}

impl pallet_authority_discovery::Config for Runtime {
    type MaxAuthorities = MaxAuthorities;
}

impl pallet_sudo::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type RuntimeCall = RuntimeCall;
    type WeightInfo = ();
}

impl<Call> frame_system::offchain::CreateTransactionBase<Call> for Runtime
where
    RuntimeCall: From<Call>,
{
    type Extrinsic = UncheckedExtrinsic;
    type RuntimeCall = RuntimeCall;
}

/// Equivocation reports.
impl<Call> frame_system::offchain::CreateBare<Call> for Runtime
where
    RuntimeCall: From<Call>,
{
    fn create_bare(call: RuntimeCall) -> UncheckedExtrinsic {
        UncheckedExtrinsic::new_bare(call)
    }
}

impl<Call> frame_system::offchain::CreateTransaction<Call> for Runtime
where
    RuntimeCall: From<Call>,
{
    type Extension = TxExtension;

    fn create_transaction(call: RuntimeCall, extension: TxExtension) -> UncheckedExtrinsic {
        UncheckedExtrinsic::new_transaction(call, extension)
    }
}

/// Heartbeats.
impl<Call> frame_system::offchain::CreateAuthorizedTransaction<Call> for Runtime
where
    RuntimeCall: From<Call>,
{
    fn create_extension() -> TxExtension {
        extension(0)
    }
}

/// What goes with a transaction of an account that has sent `nonce` before: valid for ever, no tip.
pub fn extension(nonce: Nonce) -> TxExtension {
    (
        frame_system::AuthorizeCall::new(),
        frame_system::CheckNonZeroSender::new(),
        frame_system::CheckSpecVersion::new(),
        frame_system::CheckTxVersion::new(),
        frame_system::CheckGenesis::new(),
        frame_system::CheckEra::from(generic::Era::Immortal),
        frame_system::CheckNonce::from(nonce),
        frame_system::CheckWeight::new(),
        pallet_transaction_payment::ChargeTransactionPayment::from(0),
    )
}
