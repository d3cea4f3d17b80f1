//! The proposer of any block-producing node, with one addition: the header of each proposal is kept for the keystore.
//!
//! Wrap the node's proposer factory with [`RemoteSigner::wrap_proposer`](crate::RemoteSigner::wrap_proposer) and give
//! the result to BABE (`BabeParams::env`) or AURA (`StartAuraParams::proposer_factory`). The header that a proposer
//! returns already carries the pre-runtime digest and is exactly what is hashed and sealed, so nothing of the SDK has
//! to be changed. Errors, types and timing of the wrapped proposer stay as they are.

use crate::headers::Headers;
use sp_consensus::{Environment, Proposal, ProposeArgs, Proposer};
use sp_runtime::traits::{Block, Header};
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// A proposer factory that remembers the headers proposed.
#[derive(Clone, Debug)]
pub struct RemoteProposer<E> {
    inner: E,
    headers: Arc<Headers>,
}

impl<E> RemoteProposer<E> {
    pub(crate) fn new(inner: E, headers: Arc<Headers>) -> Self {
        Self { inner, headers }
    }
}

impl<B: Block, E: Environment<B>> Environment<B> for RemoteProposer<E> {
    type Proposer = Remembering<E::Proposer>;
    type CreateProposer = Remembering<E::CreateProposer>;
    type Error = E::Error;

    fn init(&mut self, parent_header: &B::Header) -> Self::CreateProposer {
        Remembering { inner: self.inner.init(parent_header), headers: self.headers.clone() }
    }
}

/// A proposal at one of its stages: the future of a proposer, or the proposer.
#[derive(Debug)]
pub struct Remembering<T> {
    inner: T,
    headers: Arc<Headers>,
}

impl<F, P, Error> Future for Remembering<F>
where
    F: Future<Output = Result<P, Error>> + Unpin,
{
    type Output = Result<Remembering<P>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { inner, headers } = &mut *self;
        let wrap = |inner| Remembering { inner, headers: headers.clone() };
        Pin::new(inner).poll(cx).map(|created| created.map(wrap))
    }
}

impl<B: Block, P: Proposer<B>> Proposer<B> for Remembering<P> {
    type Error = P::Error;
    type Proposal = RememberedProposal<P::Proposal>;

    fn propose(self, args: ProposeArgs<B>) -> Self::Proposal {
        let Self { inner, headers } = self;
        RememberedProposal { inner: inner.propose(args), headers }
    }
}

/// A block being made; its header is remembered when it is done.
#[derive(Debug)]
pub struct RememberedProposal<F> {
    inner: F,
    headers: Arc<Headers>,
}

impl<F, B, Error> Future for RememberedProposal<F>
where
    B: Block,
    F: Future<Output = Result<Proposal<B>, Error>> + Unpin,
{
    type Output = Result<Proposal<B>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let made = Pin::new(&mut self.inner).poll(cx);
        if let Poll::Ready(Ok(Proposal { block, storage_changes: _ })) = &made {
            remember(&self.headers, block.header());
        }
        made
    }
}

fn remember<H: Header>(headers: &Headers, header: &H) {
    match header.hash().as_ref().try_into() {
        Ok(pre_hash) => headers.remember(pre_hash, header.encode()),
        // This keystore cannot sign for a chain with such hashes: the seal is refused for want of a header.
        Err(_) => log::debug!(target: crate::LOG, "a header's hash has other than 32 bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use codec::Encode;
    use sp_runtime::{
        Digest, DigestItem, OpaqueExtrinsic, generic,
        traits::{BlakeTwo256, Hash},
    };

    type TestHeader = generic::Header<u32, BlakeTwo256>;
    type TestBlock = generic::Block<TestHeader, OpaqueExtrinsic>;

    /// Proposes a block with the digests asked for, or fails. Each future is pending once first.
    #[derive(Clone)]
    struct Fake {
        fails: bool,
    }

    struct Later<T>(Option<T>, bool);

    impl<T: Unpin> Future for Later<T> {
        type Output = T;
        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
            if std::mem::replace(&mut self.1, true) {
                return Poll::Ready(self.0.take().expect("polled after it was done"));
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }

    impl Environment<TestBlock> for Fake {
        type Proposer = Fake;
        type CreateProposer = Later<Result<Fake, sp_consensus::Error>>;
        type Error = sp_consensus::Error;
        fn init(&mut self, _: &TestHeader) -> Self::CreateProposer {
            Later(Some(Ok(self.clone())), false)
        }
    }

    impl Proposer<TestBlock> for Fake {
        type Error = sp_consensus::Error;
        type Proposal = Later<Result<Proposal<TestBlock>, sp_consensus::Error>>;
        fn propose(self, args: ProposeArgs<TestBlock>) -> Self::Proposal {
            let header = Header::new(
                7,
                Default::default(),
                Default::default(),
                Default::default(),
                args.inherent_digests,
            );
            let block = TestBlock { header, extrinsics: Vec::new() };
            let made = Proposal { block, storage_changes: Default::default() };
            Later(
                Some(if self.fails { Err(sp_consensus::Error::InvalidAuthoritiesSet) } else { Ok(made) }),
                false,
            )
        }
    }

    fn propose(fails: bool) -> (Arc<Headers>, Result<Proposal<TestBlock>, sp_consensus::Error>) {
        let headers = Arc::new(Headers::default());
        let mut environment = RemoteProposer::new(Fake { fails }, headers.clone());
        let parent =
            Header::new(6, Default::default(), Default::default(), Default::default(), Default::default());
        let digests = Digest { logs: vec![DigestItem::PreRuntime(*b"BABE", vec![1, 2, 3])] };
        let args = ProposeArgs { inherent_digests: digests, ..Default::default() };
        let made = futures::executor::block_on(async {
            Environment::<TestBlock>::init(&mut environment, &parent).await?.propose(args).await
        });
        (headers, made)
    }

    #[test]
    fn the_header_of_a_proposal_is_found_by_the_hash_that_will_be_signed() {
        let (headers, made) = propose(false);
        let header = made.expect("the fake proposes").block.header;
        let encoded = headers.find(&header.hash().0).expect("remembered");
        assert_eq!(encoded, header.encode());
        assert_eq!(BlakeTwo256::hash(&encoded), header.hash());
        assert_eq!(header.digest.logs, [DigestItem::PreRuntime(*b"BABE", vec![1, 2, 3])]);
    }

    #[test]
    fn a_failed_proposal_fails_as_before_and_leaves_nothing() {
        let (headers, made) = propose(true);
        assert!(matches!(made, Err(sp_consensus::Error::InvalidAuthoritiesSet)));
        assert_eq!(format!("{headers:?}"), "Headers { kept: 0, bytes: 0 }");
    }
}
