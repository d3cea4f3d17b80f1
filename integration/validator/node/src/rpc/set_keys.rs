//! `validator_setKeys`, unsafe: registers session keys on chain for a well-known account, as the validator's owner
//! would with a wallet. For tests of key rotation on this chain alone.

use crate::service::{FullClient, Pool};
use codec::{Decode, Encode};
use polkadot_sdk::*;
use sc_transaction_pool_api::{TransactionPool, TransactionSource};
use signonce_validator_runtime::{
    AccountId, Nonce, Runtime, RuntimeCall, SessionKeys, TxExtension, UncheckedExtrinsic, VERSION,
};
use sp_api::ProvideRuntimeApi;
use sp_blockchain::HeaderBackend;
use sp_core::{H256, Pair, sr25519};
use sp_runtime::{MultiSignature, OpaqueExtrinsic, generic};
use substrate_frame_rpc_system::AccountNonceApi;

/// Submits `session.setKeys` in the name of `owner`, a secret URI such as `//Alice`. Gives the transaction's hash.
pub async fn submit(
    client: &FullClient,
    pool: &Pool,
    owner: &str,
    keys: &[u8],
    proof: Vec<u8>,
) -> Result<H256, String> {
    let owner = sr25519::Pair::from_string(owner, None).map_err(|error| format!("owner: {error:?}"))?;
    let keys = SessionKeys::decode(&mut &*keys).map_err(|error| format!("keys: {error}"))?;
    let info = client.info();
    let account = AccountId::from(owner.public());
    let nonce = client
        .runtime_api()
        .account_nonce(info.best_hash, account.clone())
        .map_err(|error| error.to_string())?;
    let call = RuntimeCall::Session(pallet_session::Call::set_keys { keys, proof });
    let extrinsic = signed(call, account, &owner, nonce, info.genesis_hash);
    let opaque = OpaqueExtrinsic::decode(&mut &extrinsic.encode()[..]).map_err(|error| error.to_string())?;
    pool.submit_one(info.best_hash, TransactionSource::Local, opaque).await.map_err(|error| error.to_string())
}

fn signed(
    call: RuntimeCall,
    account: AccountId,
    owner: &sr25519::Pair,
    nonce: Nonce,
    genesis: H256,
) -> UncheckedExtrinsic {
    let extension: TxExtension = (
        frame_system::AuthorizeCall::new(),
        frame_system::CheckNonZeroSender::new(),
        frame_system::CheckSpecVersion::new(),
        frame_system::CheckTxVersion::new(),
        frame_system::CheckGenesis::new(),
        frame_system::CheckEra::from(generic::Era::Immortal),
        frame_system::CheckNonce::from(nonce),
        frame_system::CheckWeight::new(),
        pallet_transaction_payment::ChargeTransactionPayment::<Runtime>::from(0),
    );
    let implied = ((), (), VERSION.spec_version, VERSION.transaction_version, genesis, genesis, (), (), ());
    let payload = generic::SignedPayload::from_raw(call.clone(), extension.clone(), implied);
    let signature = MultiSignature::from(payload.using_encoded(|bytes| owner.sign(bytes)));
    UncheckedExtrinsic::new_signed(call, account.into(), signature, extension)
}
