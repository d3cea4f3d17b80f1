//! The way of equivocation reports into the transaction pool: counts those that pass.

use super::{Kind, Offence, Seen};
use crate::service::Pool;
use codec::{Decode, Encode};
use polkadot_sdk::*;
use sc_transaction_pool_api::{LocalTransactionFor, LocalTransactionPool};
use signonce_validator_runtime::{Hash, RuntimeCall, UncheckedExtrinsic, opaque::Block};
use std::sync::{Arc, Weak};

pub struct CountingPool {
    /// Weak, because the client holds this (to report from the runtime), and the pool holds the client.
    pool: Weak<Pool>,
    seen: Seen,
}

impl CountingPool {
    pub fn new(pool: &Arc<Pool>, seen: Seen) -> Self {
        Self { pool: Arc::downgrade(pool), seen }
    }
}

impl LocalTransactionPool for CountingPool {
    type Block = Block;
    type Hash = <Pool as LocalTransactionPool>::Hash;
    type Error = <Pool as LocalTransactionPool>::Error;

    fn submit_local(
        &self,
        at: Hash,
        transaction: LocalTransactionFor<Self>,
    ) -> Result<Self::Hash, Self::Error> {
        if let Some(offence) = reported(&transaction) {
            self.seen.note(offence);
        }
        let pool = self.pool.upgrade().ok_or_else(|| {
            sc_transaction_pool_api::error::Error::InvalidBlockId("the node is stopping".into())
        })?;
        pool.submit_local(at, transaction)
    }
}

/// The offence that a transaction reports, if it reports one.
fn reported(transaction: &sp_runtime::OpaqueExtrinsic) -> Option<Offence> {
    let transaction = UncheckedExtrinsic::decode(&mut &transaction.encode()[..]).ok()?;
    match transaction.function {
        RuntimeCall::Babe(pallet_babe::Call::report_equivocation_unsigned {
            equivocation_proof: proof,
            ..
        }) => Some(Offence::new(Kind::Babe, &proof.offender, proof.slot)),
        RuntimeCall::Grandpa(pallet_grandpa::Call::report_equivocation_unsigned {
            equivocation_proof: proof,
            ..
        }) => Some(Offence::new(Kind::Grandpa, proof.offender(), (proof.set_id(), proof.round()))),
        RuntimeCall::Beefy(pallet_beefy::Call::report_double_voting_unsigned {
            equivocation_proof: proof,
            ..
        }) => Some(Offence::new(Kind::Beefy, proof.offender_id(), (proof.set_id(), proof.round_number()))),
        _ => None,
    }
}
