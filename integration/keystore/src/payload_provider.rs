//! The BEEFY payload provider of any node, with one addition: what it provides is kept for the keystore.
//!
//! Wrap the node's provider (usually `MmrRootProvider`) with
//! [`RemoteSigner::wrap_payload_provider`](crate::RemoteSigner::wrap_payload_provider) and give the result to
//! `BeefyParams::payload_provider`. BEEFY asks it for the payload of a block right before it votes on it.

use crate::commitments::Commitments;
use sp_consensus_beefy::{Payload, PayloadProvider};
use sp_runtime::traits::{Block, Header};
use std::sync::Arc;

/// A payload provider that remembers what it provided.
#[derive(Clone, Debug)]
pub struct RemotePayloadProvider<P> {
    inner: P,
    commitments: Arc<Commitments>,
}

impl<P> RemotePayloadProvider<P> {
    pub(crate) fn new(inner: P, commitments: Arc<Commitments>) -> Self {
        Self { inner, commitments }
    }
}

impl<B: Block, P: PayloadProvider<B>> PayloadProvider<B> for RemotePayloadProvider<P> {
    fn payload(&self, header: &B::Header) -> Option<Payload> {
        let payload = self.inner.payload(header)?;
        // A number above 32 bits belongs to a chain whose commitments the signer does not read, so the vote fails
        // there.
        if let Ok(number) = (*header.number()).try_into() {
            self.commitments.remember(number, &payload);
        }
        Some(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use codec::Encode;
    use sp_consensus_beefy::Commitment;
    use sp_runtime::{OpaqueExtrinsic, generic, traits::BlakeTwo256};

    type TestHeader = generic::Header<u32, BlakeTwo256>;
    type TestBlock = generic::Block<TestHeader, OpaqueExtrinsic>;

    /// Has a payload for blocks with even numbers.
    struct Even;

    impl PayloadProvider<TestBlock> for Even {
        fn payload(&self, header: &TestHeader) -> Option<Payload> {
            header
                .number
                .is_multiple_of(2)
                .then(|| Payload::from_single_entry(*b"mh", header.number.encode()))
        }
    }

    #[test]
    fn a_payload_that_was_provided_is_recognised_in_the_commitment_to_sign() {
        let commitments = Arc::new(Commitments::default());
        let provider = RemotePayloadProvider::new(Even, commitments.clone());
        let header = |n| {
            TestHeader::new(n, Default::default(), Default::default(), Default::default(), Default::default())
        };
        assert_eq!(provider.payload(&header(3)), None);
        let payload = provider.payload(&header(4)).expect("even blocks have one");
        let commitment = Commitment { payload, block_number: 4u32, validator_set_id: 12 }.encode();
        assert_eq!(commitments.find(&signonce_substrate::keccak_256(&commitment)), Some(commitment));
    }
}
