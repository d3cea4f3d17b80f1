//! Who signs for a node that plays rounds.

use crate::{AskError, FilePv, Lost, Node, ProposalAsk, Time, VoteAsk};
use std::sync::{Arc, Mutex};

/// A signature over a vote, and the time in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The signature.
    pub signature: Vec<u8>,
    /// The time that was signed, which need not be the one that was asked.
    pub time: Time,
}

/// Signs for one node. An error is a vote that this node never asks for again before a restart.
pub trait Signs: Send {
    /// Signs a vote.
    fn vote(&mut self, ask: VoteAsk) -> impl Future<Output = Result<Signed, AskError>> + Send;

    /// Signs a proposal with exactly this time, or it is lost.
    fn proposal(&mut self, ask: ProposalAsk) -> impl Future<Output = Result<(), AskError>> + Send;

    /// The node has decided a height.
    fn new_height(&mut self) -> impl Future<Output = Result<(), AskError>> + Send {
        async { Ok(()) }
    }

    /// The node was killed and starts again.
    fn restart(&mut self) -> impl Future<Output = Result<(), AskError>> + Send {
        async { Ok(()) }
    }
}

/// A real connection to signers. [`Node::start`] was called.
impl Signs for Arc<Node> {
    async fn vote(&mut self, ask: VoteAsk) -> Result<Signed, AskError> {
        let signed = Node::vote(self, ask).await?;
        Ok(Signed { signature: signed.signature, time: signed.time })
    }

    async fn proposal(&mut self, ask: ProposalAsk) -> Result<(), AskError> {
        Node::proposal(self, ask).await.map(drop)
    }

    async fn new_height(&mut self) -> Result<(), AskError> {
        self.pub_key().await.map(drop)
    }

    async fn restart(&mut self) -> Result<(), AskError> {
        // A socket file that is left behind would be the test's to remove: there is none here, or it is removed.
        self.kill().await;
        let removed = self.remove_socket_file().is_ok();
        let started = Node::restart(self).await;
        started.unwrap_or_else(|error| panic!("the node starts again (file removed: {removed}): {error}"));
        self.start().await.map(drop).map_err(|_| AskError::Down)
    }
}

/// FilePV in memory, which several nodes may share: what the stock signer lets twins do.
#[derive(Clone)]
pub struct SharedFilePv {
    filepv: Arc<Mutex<FilePv>>,
    chain_id: String,
}

impl SharedFilePv {
    /// For one key on one chain.
    pub fn new(filepv: FilePv, chain_id: &str) -> Self {
        Self { filepv: Arc::new(Mutex::new(filepv)), chain_id: chain_id.to_owned() }
    }
}

fn refused(why: impl std::fmt::Display) -> AskError {
    Lost::Refused { code: 0, description: why.to_string() }.into()
}

impl Signs for SharedFilePv {
    async fn vote(&mut self, ask: VoteAsk) -> Result<Signed, AskError> {
        let mut filepv = self.filepv.lock().expect("no test panics here");
        let answer = filepv.vote(&ask.vote(&[0; 20], 0), &self.chain_id).map_err(refused)?;
        Ok(Signed { signature: answer.signature, time: answer.time })
    }

    async fn proposal(&mut self, ask: ProposalAsk) -> Result<(), AskError> {
        let mut filepv = self.filepv.lock().expect("no test panics here");
        let answer = filepv.proposal(&ask.proposal(), &self.chain_id).map_err(refused)?;
        // A node takes only the signature, which then is over another time.
        match answer.time == ask.time {
            true => Ok(()),
            false => Err(refused("signed before with another time")),
        }
    }
}
