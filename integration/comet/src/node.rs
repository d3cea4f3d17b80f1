//! A node: what a test tells it to ask, and what it makes of the answers.

use crate::{
    Address, Config, Exchange, Fault, Outcome, ProposalAsk, Time, VoteAsk, VoteStep,
    ask::{proposal_request, pub_key_request, vote_request},
    endpoint::{Answered, Endpoint, Kind, Record},
    fault,
    judge::{self, Invalid, Key},
};
use std::{
    io,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tendermint_proto::v0_38::{privval::message::Sum, types};
use thiserror::Error;
use tokio::{
    sync::{Mutex as Lock, MutexGuard, watch},
    task::JoinHandle,
    time::sleep_until,
};

/// A node does not start listening.
#[derive(Debug, Error)]
pub enum StartError {
    /// The socket file of a killed node is still there.
    #[error("{0}: address already in use: the socket file of a killed node has to be removed")]
    SocketFile(Address),
    /// The address cannot be had.
    #[error("{0}: {1}")]
    Bind(Address, io::Error),
}

/// The node's process ends.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the node exits with code {code}: can't get pubkey: {why}")]
pub struct Exit {
    /// Its code.
    pub code: i32,
    /// Why.
    pub why: String,
}

/// Why a vote or a proposal is lost: the node never asks for it again before a restart.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Lost {
    /// The signer refused.
    #[error("refused with code {code}: {description}")]
    Refused {
        /// The code.
        code: i32,
        /// The text.
        description: String,
    },
    /// Every try failed.
    #[error("exhausted all {tries} attempts; the last: {last}")]
    Exhausted {
        /// The tries.
        tries: u32,
        /// How the last one ended.
        last: Outcome,
    },
    /// It is not validly signed.
    #[error("not validly signed: {0}")]
    Invalid(#[from] Invalid),
    /// Its extension is not validly signed.
    #[error("the extension is not validly signed: {0}")]
    InvalidExtension(Invalid),
    /// The signer shows another public key than before.
    #[error("another public key than at the start")]
    OtherKey,
}

/// Why there is no vote, proposal or key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AskError {
    /// It is lost, and the node goes on.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// CONSENSUS FAILURE: the process stays, without blocks, until it is restarted.
    #[error("CONSENSUS FAILURE: {0}")]
    ConsensusFailure(String),
    /// The node was killed meanwhile, or has not been started again.
    #[error("the node is down")]
    Down,
}

/// A vote that the node sends to others.
#[derive(Clone, Debug, PartialEq)]
pub struct SignedVote {
    /// The whole vote: what was asked, with what is taken from the answer.
    pub vote: types::Vote,
    /// The signature.
    pub signature: Vec<u8>,
    /// The timestamp that was signed.
    pub time: Time,
    /// The extension's signature, if extensions are on.
    pub extension_signature: Option<Vec<u8>>,
}

/// A proposal that the node sends to others.
#[derive(Clone, Debug, PartialEq)]
pub struct SignedProposal {
    /// The whole proposal: what was asked, with the signature.
    pub proposal: types::Proposal,
    /// The signature.
    pub signature: Vec<u8>,
}

/// A node between two restarts.
struct Life {
    endpoint: Endpoint,
    key: Option<Key>,
    failed: Option<String>,
}

/// A node. All methods can be called from many tasks; requests are asked one after another.
pub struct Node {
    config: Mutex<Config>,
    address: Address,
    life: Arc<Lock<Option<Life>>>,
    /// Whether it is to end.
    ending: watch::Sender<bool>,
    record: Record,
    began: Instant,
    pinging: JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.pinging.abort();
    }
}

impl Node {
    /// Listens, and asks nothing yet.
    pub async fn listen(config: Config) -> Result<Self, StartError> {
        let (record, began) = (Record::default(), Instant::now());
        let (endpoint, address) = bind(&config, &record, began).await?;
        let life = Arc::new(Lock::new(Some(Life { endpoint, key: None, failed: None })));
        let pinging = config.pings.then_some(config.timing.ping);
        let pinging = tokio::spawn(send_pings(life.clone(), pinging));
        let config = Mutex::new(Config { address: address.clone(), ..config });
        Ok(Self { config, address, life, ending: watch::Sender::new(false), record, began, pinging })
    }

    /// Where a signer dials. It stays the same over restarts.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The key that it shows on a SecretConnection, since this start.
    pub async fn identity(&self) -> Result<[u8; 32], AskError> {
        Ok(self.life().await?.endpoint.identity())
    }

    /// The signer's key on the present SecretConnection.
    pub async fn peer(&self) -> Result<Option<[u8; 32]>, AskError> {
        let mut life = self.life().await?;
        let life = alive(&mut life)?;
        Ok(life.endpoint.wire().await.and_then(|wire| wire.peer()))
    }

    /// How many connections it has taken since this start.
    pub async fn connections(&self) -> Result<u64, AskError> {
        Ok(self.life().await?.endpoint.connections())
    }

    /// Every try of every request until now.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.record.lock().expect("no test panics here").clone()
    }

    /// Asks for the public key as a starting process does: without an answer in time it exits.
    pub async fn start(&self) -> Result<Vec<u8>, Exit> {
        let exit = |why: String| Exit { code: 1, why };
        let request = pub_key_request(&self.config().chain_id);
        let mut life = self.life.lock().await;
        let Some(Life { endpoint, key, .. }) = &mut *life else { return Err(exit("it is down".into())) };
        // Four times, the first of them without a second try.
        let first = self.unless_ended(endpoint.try_once(&request, Kind::PubKey)).await;
        let mut answered = first.map_err(|error| exit(error.to_string()))?;
        for _ in 0..3 {
            let next = answered.map_err(|outcome| exit(outcome.to_string()))?;
            let read = key_of(next).map_err(|lost| exit(lost.to_string()))?;
            *key = Some(read);
            let again = self.unless_ended(endpoint.ask(&request, Kind::PubKey)).await;
            answered = again.map_err(|error| exit(error.to_string()))?;
        }
        let last = answered.map_err(|outcome| exit(outcome.to_string()))?;
        let last = key_of(last).map_err(|lost| exit(lost.to_string()))?;
        if *key != Some(last) {
            return Err(exit(Lost::OtherKey.to_string()));
        }
        Ok(last.bytes())
    }

    /// Asks for the public key as a running node does once per height.
    pub async fn pub_key(&self) -> Result<Vec<u8>, AskError> {
        let request = pub_key_request(&self.config().chain_id);
        let mut life = self.life().await?;
        let life = alive(&mut life)?;
        let key = key_of(self.ask(life, &request, Kind::PubKey).await?)?;
        if life.key.is_some_and(|known| known != key) {
            return Err(Lost::OtherKey.into());
        }
        life.key = Some(key);
        Ok(key.bytes())
    }

    /// Asks for a vote and takes from the answer what a node takes.
    pub async fn vote(&self, ask: VoteAsk) -> Result<SignedVote, AskError> {
        let Config { chain_id, validator_index, extensions, .. } = self.config();
        let mut life = self.life().await?;
        let life = alive(&mut life)?;
        let key = life.key.ok_or(AskError::Down)?;
        let mut vote = ask.vote(&key.address(), validator_index);
        let request = vote_request(vote.clone(), &chain_id);
        let answer = match self.ask(life, &request, Kind::Vote).await?.sum {
            Some(Sum::SignedVoteResponse(answer)) => answer.vote.unwrap_or_default(),
            other => unreachable!("an answered vote is one: {other:?}"),
        };
        let may_be_extended = ask.step == VoteStep::Precommit && ask.block.is_some();
        let is_extended = !answer.extension_signature.is_empty();
        if is_extended && !may_be_extended || !is_extended && may_be_extended && extensions {
            let why = format!(
                "extension signature: {is_extended}, on a {:?} of {:?} with extensions: {extensions}",
                ask.step, ask.block
            );
            life.failed = Some(why.clone());
            return Err(AskError::ConsensusFailure(why));
        }
        vote.signature = answer.signature;
        vote.timestamp = answer.timestamp;
        let bytes = judge::vote_bytes(&vote, &chain_id).map_err(Lost::Invalid)?;
        key.check(&bytes, &vote.signature).map_err(Lost::Invalid)?;
        if extensions && may_be_extended {
            vote.extension_signature = answer.extension_signature;
            let bytes = judge::extension_bytes(&vote, &chain_id);
            key.check(&bytes, &vote.extension_signature).map_err(Lost::InvalidExtension)?;
        }
        let time = vote.timestamp.map(Time::from).expect("a vote with sign bytes has a timestamp");
        let extension_signature =
            (!vote.extension_signature.is_empty()).then(|| vote.extension_signature.clone());
        Ok(SignedVote { signature: vote.signature.clone(), time, extension_signature, vote })
    }

    /// Asks for a proposal; only its signature is taken.
    pub async fn proposal(&self, ask: ProposalAsk) -> Result<SignedProposal, AskError> {
        let chain_id = self.config().chain_id;
        let mut life = self.life().await?;
        let life = alive(&mut life)?;
        let key = life.key.ok_or(AskError::Down)?;
        let mut proposal = ask.proposal();
        let request = proposal_request(proposal.clone(), &chain_id);
        let answer = match self.ask(life, &request, Kind::Proposal).await?.sum {
            Some(Sum::SignedProposalResponse(answer)) => answer.proposal.unwrap_or_default(),
            other => unreachable!("an answered proposal is one: {other:?}"),
        };
        let bytes = judge::proposal_bytes(&proposal, &chain_id).map_err(Lost::Invalid)?;
        key.check(&bytes, &answer.signature).map_err(Lost::Invalid)?;
        proposal.signature = answer.signature;
        Ok(SignedProposal { signature: proposal.signature.clone(), proposal })
    }

    /// Asks with these very bytes (a `Message` without its length), and gives the answer's bytes, also a refusal's.
    /// Tries again as for any request of its kind; bytes that are no request are answered by anything.
    pub async fn ask_raw(&self, request: &[u8]) -> Result<Vec<u8>, AskError> {
        let mut life = self.life().await?;
        let life = alive(&mut life)?;
        let tries = self.config().timing.tries;
        match self.unless_ended(life.endpoint.ask(request, Kind::of(request))).await? {
            Ok(answered) => Ok(answered.raw),
            Err(last) => Err(Lost::Exhausted { tries, last }.into()),
        }
    }

    /// Does something wrong on the present connection, or the next one if there is none.
    pub async fn misbehave(&self, fault: Fault) -> io::Result<()> {
        let patience = self.config().timing.read;
        let mut life = self.life.lock().await;
        let Some(life) = &mut *life else { return Err(io::ErrorKind::NotConnected.into()) };
        let done = self.unless_ended(fault.commit(&mut life.endpoint, patience)).await;
        done.unwrap_or(Err(io::ErrorKind::NotConnected.into()))
    }

    /// Whether the signer closes the present connection within this time. The connection is dropped afterwards.
    pub async fn signer_closes(&self, within: Duration) -> bool {
        let mut life = self.life.lock().await;
        let Some(life) = &mut *life else { return true };
        self.unless_ended(fault::signer_closes(&mut life.endpoint, within)).await.unwrap_or(true)
    }

    /// kill -9: whatever it waits for ends, connections break, a socket file stays.
    pub async fn kill(&self) {
        self.ending.send_replace(true);
        let life = self.life.lock().await.take();
        if let Some(life) = life {
            life.endpoint.close().await;
        }
    }

    /// Starts again on the same address after a kill, which is done first if it was not; then [`Self::start`] is due.
    pub async fn restart(&self) -> Result<(), StartError> {
        self.restart_as(|_| {}).await
    }

    /// As [`Self::restart`], as another node: with another chain, timing, identity or handshake.
    pub async fn restart_as(&self, change: impl FnOnce(&mut Config)) -> Result<(), StartError> {
        self.kill().await;
        let config = {
            let mut config = self.config.lock().expect("no test panics here");
            change(&mut config);
            config.clone()
        };
        let (endpoint, _) = bind(&config, &self.record, self.began).await?;
        self.ending.send_replace(false);
        *self.life.lock().await = Some(Life { endpoint, key: None, failed: None });
        Ok(())
    }

    /// Removes the socket file that a killed node has left, as an operator must.
    pub fn remove_socket_file(&self) -> io::Result<()> {
        match &self.address {
            Address::Tcp(_) => Ok(()),
            Address::Unix(path) => std::fs::remove_file(path),
        }
    }

    fn config(&self) -> Config {
        self.config.lock().expect("no test panics here").clone()
    }

    async fn life(&self) -> Result<tokio::sync::MappedMutexGuard<'_, Life>, AskError> {
        MutexGuard::try_map(self.life.lock().await, Option::as_mut).map_err(|_| AskError::Down)
    }

    async fn unless_ended<T>(&self, work: impl Future<Output = T>) -> Result<T, AskError> {
        let mut ending = self.ending.subscribe();
        tokio::select! {
            biased;
            _ = ending.wait_for(|ending| *ending) => Err(AskError::Down),
            done = work => Ok(done),
        }
    }

    async fn ask(&self, life: &mut Life, request: &[u8], kind: Kind) -> Result<Answered, AskError> {
        let tries = self.config().timing.tries;
        let answered = self.unless_ended(life.endpoint.ask(request, kind)).await?;
        let answered = answered.map_err(|last| Lost::Exhausted { tries, last })?;
        match answered.outcome {
            Outcome::Refused { code, description } => Err(Lost::Refused { code, description }.into()),
            Outcome::Answered
            | Outcome::WrongMessage
            | Outcome::Undecodable
            | Outcome::Unreadable(_)
            | Outcome::Closed
            | Outcome::Broken(_)
            | Outcome::Late
            | Outcome::NoConnection => Ok(answered),
        }
    }
}

/// Whether it still runs its consensus.
fn alive(life: &mut Life) -> Result<&mut Life, AskError> {
    match &life.failed {
        Some(why) => Err(AskError::ConsensusFailure(why.clone())),
        None => Ok(life),
    }
}

fn key_of(answered: Answered) -> Result<Key, Lost> {
    match (answered.outcome, answered.sum) {
        (Outcome::Refused { code, description }, _) => Err(Lost::Refused { code, description }),
        (_, Some(Sum::PubKeyResponse(answer))) => {
            answer.pub_key.as_ref().and_then(Key::read).ok_or(Lost::OtherKey)
        }
        (_, other) => unreachable!("an answered key is one: {other:?}"),
    }
}

async fn bind(config: &Config, record: &Record, began: Instant) -> Result<(Endpoint, Address), StartError> {
    Endpoint::bind(config, record.clone(), began).await.map_err(|error| {
        match (&config.address, error.kind()) {
            (Address::Unix(_), io::ErrorKind::AddrInUse) => StartError::SocketFile(config.address.clone()),
            (address, _) => StartError::Bind(address.clone(), error),
        }
    })
}

/// Pings after silence, as long as the node is there and somebody is connected.
async fn send_pings(life: Arc<Lock<Option<Life>>>, every: Option<Duration>) {
    let Some(every) = every else { return };
    let mut next = tokio::time::Instant::now() + every;
    loop {
        sleep_until(next).await;
        let mut life = life.lock().await;
        next = tokio::time::Instant::now() + every;
        let Some(Life { endpoint, .. }) = &mut *life else { continue };
        if endpoint.heard.elapsed() < every {
            next = endpoint.heard + every;
        } else if endpoint.is_connected() {
            endpoint.ping().await;
        }
    }
}
