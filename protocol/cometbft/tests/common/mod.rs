//! A signer without a network: the state machine, one key, and what a client would be answered.
#![allow(dead_code, reason = "each test program uses its part")]

pub mod requests;

use signonce_cometbft::{
    CONSENSUS, ChainSettings, Connection, FAMILY, Timestamp, VOTE, proposal_payload, vote_payload,
};
use signonce_core::{
    Change, Claim, ClaimRequest, ClientId, Command, Outcome, RequestId, State, Table, Verdict,
};
use signonce_driver::decision;
use signonce_keys::{SecretKey, verify};
use signonce_protocol::{Chain, KeyId, LogIndex, NodeId, Position, RawPayload, Refusal, Scheme, ToSign};

/// One validator's key on one chain, in the state of one member.
pub struct Signer {
    pub state: State,
    pub chain: Chain,
    pub key: KeyId,
    at: u64,
    secret: SecretKey,
}

/// What a client is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Signed { signature: Vec<u8>, time: Timestamp, extension: Option<Vec<u8>>, repeated: bool },
    Refused(Refusal),
    Malformed(String),
}

impl Answer {
    pub fn is_signed(&self) -> bool {
        matches!(self, Self::Signed { .. })
    }

    pub fn refusal(&self) -> &Refusal {
        match self {
            Self::Refused(refusal) => refusal,
            Self::Signed { .. } | Self::Malformed(_) => panic!("refused by the ledger, not {self:?}"),
        }
    }
}

/// A position of the key's watermark.
pub fn at(height: u64, round: u64, step: u64) -> Position {
    signonce_cometbft::install();
    Position::new(VOTE, &[height, round, step]).expect("a position")
}

fn request(seq: u64) -> RequestId {
    RequestId { node: NodeId(1), boot: 1, seq }
}

impl Signer {
    /// With a key of this seed that has signed nothing.
    pub fn new(chain_id: &str, scheme: Scheme, seed: &[u8; 32]) -> Self {
        Self::armed_at(chain_id, scheme, seed, at(0, 0, 0))
    }

    /// With a key whose floor is there.
    pub fn armed_at(chain_id: &str, scheme: Scheme, seed: &[u8; 32], floor: Position) -> Self {
        signonce_cometbft::install();
        let secret = SecretKey::from_seed(scheme, seed).expect("a seed");
        let key = KeyId { key_type: CONSENSUS, public: secret.public() };
        let chain = ChainSettings::new(chain_id).chain("chain");
        let mut signer = Self { state: State::new(), chain: chain.clone(), key, at: 0, secret };
        let (sealed, genesis) = (vec![7; 200].into(), chain.genesis);
        signer.change(Change::AddChain(chain));
        signer.change(Change::RegisterKey { id: key, scheme, chain: genesis, group: None, sealed });
        signer.change(Change::ArmKey { id: key, floors: floor.into() });
        signer
    }

    pub fn apply(&mut self, command: &Command) -> Outcome {
        self.at += 1;
        let command = Command::from_bytes(&command.to_bytes()).expect("what is written is read");
        let mut outcomes = self.state.apply(LogIndex(self.at), command).expect("the state goes on");
        outcomes.pop().expect("an outcome").1
    }

    pub fn change(&mut self, change: Change) {
        let command = Command::Change { request: request(0), actor: "operator".into(), time_ms: 1, change };
        match self.apply(&command) {
            Outcome::Change(Ok(_)) => {}
            outcome => panic!("a change that may be made: {outcome:?}"),
        }
    }

    /// The state again, out of its records.
    pub fn restart(&mut self) {
        let again = State::from_snapshot(&self.state.snapshot()).expect("the state is read back");
        assert_eq!(again.hash(), self.state.hash());
        assert!(again.records().eq(self.state.records()));
        self.state = again;
    }

    /// The rows of the ledger, without the key in front.
    pub fn ledger(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let of_ledger = self.state.records().filter(|(table, _, _)| *table == Table::Ledger);
        of_ledger.map(|(_, key, value)| (key, value)).collect()
    }

    pub fn ask(&mut self, client: u32, raw: &RawPayload) -> Answer {
        let payload = match raw.decode(&self.chain) {
            Ok(payload) => payload,
            Err(why) => return Answer::Malformed(why.0),
        };
        assert_eq!(raw.digest(), payload.digest(), "a digest is known before the payload is");
        let claim = Claim {
            key: self.key,
            client: ClientId(client),
            duty: payload.duty().expect("claimed work").clone(),
            digest: payload.digest(),
            carry: payload.carry(),
            time_ms: 1_700_000_000_000,
        };
        let (preview, heeds) = (self.state.check(&claim), self.state.heeds(&claim));
        // What the log has to see, no node answers from its own state.
        let known = decision::known(&self.state, LogIndex(self.at), &claim);
        let is_final = match &preview {
            Verdict::Granted => false,
            Verdict::Repeated { .. } => true,
            Verdict::Refused(refusal) => refusal.is_final(),
        };
        assert_eq!(known.is_some(), is_final && !heeds);
        let before = self.ledger();
        let command = Command::Claims(vec![ClaimRequest { request: request(1), claim: claim.clone() }]);
        let Outcome::Verdict(verdict) = self.apply(&command) else { panic!("a claim has a verdict") };
        assert_eq!(preview, verdict);
        assert_eq!(before != self.ledger(), heeds || verdict == Verdict::Granted, "{verdict:?}");
        let (carry, repeated) = match verdict {
            Verdict::Granted => (claim.carry, false),
            Verdict::Repeated { at: _, carry } => (carry, true),
            Verdict::Refused(refusal) => return Answer::Refused(refusal),
        };
        let first = payload.as_first_signed(&carry).expect("its own carry");
        let time = Timestamp::of_carry(&carry).expect("a timestamp");
        let signature = self.sign(first.to_sign());
        let extension = first.beside().map(|beside| self.sign(beside.to_sign()));
        Answer::Signed { signature, time, extension, repeated }
    }

    fn sign(&self, to_sign: ToSign<'_>) -> Vec<u8> {
        let signature = self.secret.sign(to_sign).expect("a signature");
        let bytes = signature.as_bytes();
        assert!(verify(self.secret.scheme(), &self.secret.public(), to_sign, bytes) && bytes.len() == 64);
        bytes.to_vec()
    }

    /// Whether the state goes on as another would that was read back now.
    pub fn assert_sound(&mut self) {
        assert_eq!(self.chain.family, &FAMILY);
        self.restart();
    }
}

/// The payload of a `Message` as nodes send it, whichever request is in it.
pub fn payload_of(message: &[u8], connection: u64) -> RawPayload {
    let (tag, rest) = message.split_first().expect("a message");
    let (len, request) = read_varint(rest);
    assert_eq!(request.len(), len, "one request");
    match tag {
        0x1a => vote_payload(Connection(connection), request),
        0x2a => proposal_payload(Connection(connection), request),
        tag => panic!("no request to sign: {tag:#x}"),
    }
}

fn read_varint(bytes: &[u8]) -> (usize, &[u8]) {
    let len = bytes.iter().position(|byte| *byte < 0x80).expect("a length") + 1;
    let (varint, rest) = bytes.split_at(len);
    (varint.iter().rev().fold(0, |n, byte| n << 7 | usize::from(byte & 0x7f)), rest)
}
