//! One start of a node: its listener, its present connection, and how it asks again.
//!
//! As in Go's `SignerListenerEndpoint` and `RetrySignerClient`: a read that ends (the signer closed) does not yet drop
//! the connection, the next try finds that out. So a close costs two tries, and 50 tries are 25 closes.

use crate::{
    Address, Config, Exchange, Outcome, Timing,
    ask::ping_request,
    listen::Listener,
    wire::{ReadError, Wire},
};
use prost::Message as _;
use std::{
    io,
    sync::{Arc, Mutex},
    time::Instant,
};
use tendermint_proto::v0_38::privval::{self, RemoteSignerError, message::Sum};
use tokio::time::{sleep, timeout};

/// What is taken as the answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A `PubKeyResponse`.
    PubKey,
    /// A `SignedVoteResponse`.
    Vote,
    /// A `SignedProposalResponse`.
    Proposal,
    /// Any message: nodes do not look at what a ping is answered with.
    Any,
}

impl Kind {
    /// The kind that a request's bytes ask for.
    pub fn of(request: &[u8]) -> Self {
        match privval::Message::decode(request).ok().and_then(|message| message.sum) {
            Some(Sum::PubKeyRequest(_)) => Self::PubKey,
            Some(Sum::SignVoteRequest(_)) => Self::Vote,
            Some(Sum::SignProposalRequest(_)) => Self::Proposal,
            _ => Self::Any,
        }
    }

    fn judge(self, answer: &[u8]) -> (Outcome, Option<Sum>) {
        let Ok(message) = privval::Message::decode(answer) else { return (Outcome::Undecodable, None) };
        let error = match (self, &message.sum) {
            (Self::Any, _) => None,
            (Self::PubKey, Some(Sum::PubKeyResponse(answer))) => answer.error.as_ref(),
            (Self::Vote, Some(Sum::SignedVoteResponse(answer))) => answer.error.as_ref(),
            (Self::Proposal, Some(Sum::SignedProposalResponse(answer))) => answer.error.as_ref(),
            (Self::PubKey | Self::Vote | Self::Proposal, _) => return (Outcome::WrongMessage, None),
        };
        let outcome = match error {
            None => Outcome::Answered,
            Some(RemoteSignerError { code, description }) => {
                Outcome::Refused { code: *code, description: description.clone() }
            }
        };
        (outcome, message.sum)
    }
}

/// An answer as it came, and what is in it.
pub struct Answered {
    /// The bytes.
    pub raw: Vec<u8>,
    /// The member.
    pub sum: Option<Sum>,
    /// [`Outcome::Answered`] or [`Outcome::Refused`].
    pub outcome: Outcome,
}

/// All tries of a request, shared with the test.
pub type Record = Arc<Mutex<Vec<Exchange>>>;

/// A node between its start and its end.
pub struct Endpoint {
    listener: Listener,
    wire: Option<Wire>,
    /// The present connection has ended, and no try has noticed.
    ended: bool,
    connections: u64,
    timing: Timing,
    longest: usize,
    began: Instant,
    record: Record,
    /// When the signer was last heard.
    pub heard: tokio::time::Instant,
}

impl Endpoint {
    /// Listens.
    pub async fn bind(config: &Config, record: Record, began: Instant) -> io::Result<(Self, Address)> {
        let (listener, address) = Listener::bind(config).await?;
        let endpoint = Self {
            listener,
            wire: None,
            ended: false,
            connections: 0,
            timing: config.timing,
            longest: config.longest_answer,
            began,
            record,
            heard: tokio::time::Instant::now(),
        };
        Ok((endpoint, address))
    }

    /// The key that the node shows.
    pub fn identity(&self) -> [u8; 32] {
        self.listener.identity
    }

    /// The number of connections so far.
    pub fn connections(&self) -> u64 {
        self.connections
    }

    /// Whether somebody is connected, as far as the node knows.
    pub fn is_connected(&self) -> bool {
        self.wire.is_some() || self.listener.is_waiting()
    }

    /// The connection, waiting for one if there is none.
    pub async fn wire(&mut self) -> Option<&mut Wire> {
        if self.wire.is_none() {
            self.wire = self.listener.accepted(self.timing.accept).await;
            self.connections += u64::from(self.wire.is_some());
        }
        self.wire.as_mut()
    }

    /// Drops the connection: the next may be accepted.
    pub fn drop_connection(&mut self) {
        if self.wire.take().is_some() {
            self.listener.want();
        }
        self.ended = false;
    }

    /// Ends, and frees the port.
    pub async fn close(self) {
        self.listener.close().await;
    }

    /// Sends a request and waits for its answer, once.
    pub async fn try_once(&mut self, request: &[u8], kind: Kind) -> Result<Answered, Outcome> {
        let (started, at) = (Instant::now(), self.began.elapsed());
        let (answer, outcome, sum) = match self.exchange(request).await {
            Ok(raw) => {
                let (outcome, sum) = kind.judge(&raw);
                (Some(raw), outcome, sum)
            }
            Err(outcome) => (None, outcome, None),
        };
        let connection = if outcome == Outcome::NoConnection { 0 } else { self.connections };
        let exchange = Exchange {
            connection,
            request: request.to_vec(),
            answer: answer.clone(),
            outcome: outcome.clone(),
            at,
            latency: started.elapsed(),
        };
        self.record.lock().expect("no test panics here").push(exchange);
        match (answer, outcome) {
            (Some(raw), outcome @ (Outcome::Answered | Outcome::Refused { .. })) => {
                self.heard = tokio::time::Instant::now();
                Ok(Answered { raw, sum, outcome })
            }
            (_, outcome) => Err(outcome),
        }
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<Vec<u8>, Outcome> {
        if self.ended {
            self.drop_connection();
            return Err(Outcome::Closed);
        }
        let (read, longest) = (self.timing.read, self.longest);
        let Some(wire) = self.wire().await else { return Err(Outcome::NoConnection) };
        let done = timeout(read, async {
            wire.send_message(request).await?;
            wire.read_message(longest).await
        });
        match done.await {
            Ok(Ok(answer)) => Ok(answer),
            Err(_) => {
                self.drop_connection();
                Err(Outcome::Late)
            }
            Ok(Err(ReadError::Closed)) => {
                self.ended = true;
                Err(Outcome::Closed)
            }
            Ok(Err(ReadError::Broken(error))) => {
                self.drop_connection();
                Err(Outcome::Broken(error.to_string()))
            }
            Ok(Err(error @ (ReadError::TooLong { .. } | ReadError::Length | ReadError::Secret(_)))) => {
                Err(Outcome::Unreadable(error.to_string()))
            }
        }
    }

    /// Asks until there is an answer, or the tries are used up.
    pub async fn ask(&mut self, request: &[u8], kind: Kind) -> Result<Answered, Outcome> {
        let mut last = Outcome::NoConnection;
        for _ in 0..self.timing.tries {
            match self.try_once(request, kind).await {
                Ok(answered) => return Ok(answered),
                Err(outcome) => last = outcome,
            }
            sleep(self.timing.pause).await;
        }
        Err(last)
    }

    /// Sends a ping; a signer that does not answer is dropped.
    pub async fn ping(&mut self) {
        if self.try_once(&ping_request(), Kind::Any).await.is_err() {
            self.drop_connection();
        }
        self.heard = tokio::time::Instant::now();
    }
}
