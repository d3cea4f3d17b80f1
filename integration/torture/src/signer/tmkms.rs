//! tmkms with its `softsign` provider, asked for CometBFT votes as a node does: we listen on Unix sockets, it dials and
//! answers. Two sockets for one chain, as if two sentries shared a signer.

use super::{Answer, Duty, How, Instance, Kind, Side};
use crate::{
    files::copy_dir,
    process::{CommandLine, Process, started_as},
};
use anyhow::{Context as _, bail};
use prost::Message as _;
use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    thread::sleep,
    time::{Duration, Instant},
};
use tendermint_proto::{
    google::protobuf::Timestamp,
    v0_38::{
        crypto::public_key::Sum as PublicKeySum,
        privval::{Message, PubKeyRequest, SignVoteRequest, message::Sum},
        types::{
            BlockId, CanonicalBlockId, CanonicalPartSetHeader, CanonicalVote, PartSetHeader, SignedMsgType,
            Vote,
        },
    },
};

/// The chain of the votes.
const CHAIN: &str = "torture-1";
/// Sockets that tmkms dials.
const LINES: usize = 2;
/// How long it may take to dial and to tell its key.
const DIALS_WITHIN: Duration = Duration::from_secs(10);
/// The longest answer: CometBFT's own bound.
const ANSWER_MOST: usize = 10 * 1024;
/// Between two looks at a socket.
const LOOK: Duration = Duration::from_millis(2);

/// The program under test.
pub struct Tmkms {
    binary: PathBuf,
    version: String,
}

impl Tmkms {
    /// Asks the program what it is.
    ///
    /// # Errors
    /// If it cannot be run.
    pub fn new(binary: PathBuf) -> anyhow::Result<Self> {
        let version = CommandLine::new([&binary]).and("version").run()?;
        Ok(Self { binary, version: format!("tmkms {} (softsign)", version.trim()) })
    }
}

impl Kind for Tmkms {
    fn name(&self) -> &'static str {
        "tmkms"
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn machines(&self) -> usize {
        1
    }

    fn fresh(&self, home: &Path) -> anyhow::Result<Box<dyn Instance>> {
        fs::create_dir_all(home.join("state"))?;
        let keygen =
            CommandLine::new([&self.binary]).and("softsign").and("keygen").and("-t").and("consensus");
        keygen.and(home.join("consensus.key")).run()?;
        let mut signer = Signer::lay_out(&self.binary, home, None)?;
        // Only the running program reports the key. Asking for it signs nothing and writes nothing but height 0.
        signer.start(&How::default())?;
        signer.public = signer.ask_key()?;
        signer.stop(1);
        Ok(Box::new(signer))
    }
}

struct Signer {
    binary: PathBuf,
    home: PathBuf,
    public: [u8; 32],
    process: Mutex<Option<Process>>,
    lines: Vec<Line>,
}

/// The node's end of a socket.
struct Line {
    listener: UnixListener,
    stream: Mutex<Option<UnixStream>>,
}

impl Signer {
    fn lay_out(binary: &Path, home: &Path, public: Option<[u8; 32]>) -> anyhow::Result<Self> {
        let mut lines = Vec::new();
        let mut config = format!(
            "[[chain]]\nid = \"{CHAIN}\"\nkey_format = {{ type = \"hex\" }}\nstate_file = \"{0}/state/state.json\"\n\
             [[providers.softsign]]\nchain_ids = [\"{CHAIN}\"]\nkey_type = \"consensus\"\npath = \"{0}/consensus.key\"\n",
            home.display()
        );
        for line in 0..LINES {
            let socket = home.join(format!("node-{line}.sock"));
            let _ = fs::remove_file(&socket);
            let listener = UnixListener::bind(&socket)?;
            listener.set_nonblocking(true)?;
            lines.push(Line { listener, stream: Mutex::new(None) });
            config += &format!(
                "[[validator]]\nchain_id = \"{CHAIN}\"\naddr = \"unix://{}\"\nreconnect = true\nprotocol_version = \
                 \"v0.38\"\n",
                socket.display()
            );
        }
        fs::write(home.join("tmkms.toml"), config)?;
        let (binary, home, public) = (binary.to_owned(), home.to_owned(), public.unwrap_or_default());
        Ok(Self { binary, home, public, process: Mutex::new(None), lines })
    }

    fn ask_key(&self) -> anyhow::Result<[u8; 32]> {
        let request = Sum::PubKeyRequest(PubKeyRequest { chain_id: CHAIN.to_owned() });
        match self.lines[0].exchange(request, DIALS_WITHIN) {
            Ok(Some(Sum::PubKeyResponse(answer))) => match answer.pub_key.and_then(|key| key.sum) {
                Some(PublicKeySum::Ed25519(key)) => {
                    key.try_into().ok().context("an ed25519 key has 32 bytes")
                }
                other => bail!("tmkms tells no ed25519 key: {other:?}"),
            },
            other => bail!("tmkms does not tell its key: {other:?}; see {}/log", self.home.display()),
        }
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops the connections: what an ended process left in the sockets answers nothing any more.
    fn forget_connections(&self) {
        for line in &self.lines {
            *line.stream() = None;
            while line.listener.accept().is_ok() {}
        }
    }
}

impl Line {
    fn stream(&self) -> MutexGuard<'_, Option<UnixStream>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One question and its answer; `None` if the signer hung up.
    fn exchange(&self, request: Sum, patience: Duration) -> io::Result<Option<Sum>> {
        let deadline = Instant::now() + patience;
        let mut held = self.stream();
        while held.is_none() {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    *held = Some(stream);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                    sleep(LOOK)
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not dial"));
                }
                Err(error) => return Err(error),
            }
        }
        let stream = held.as_mut().expect("it was just put there");
        let left = deadline.saturating_duration_since(Instant::now()).max(LOOK);
        stream.set_read_timeout(Some(left))?;
        let answer = stream
            .write_all(&Message { sum: Some(request) }.encode_length_delimited_to_vec())
            .and_then(|()| read_message(stream));
        match answer {
            Ok(message) => Ok(message.sum),
            Err(error) => {
                *held = None;
                match error.kind() {
                    io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::ConnectionReset => Ok(None),
                    _ => Err(error),
                }
            }
        }
    }
}

/// A message with its length in front as a varint.
fn read_message(stream: &mut UnixStream) -> io::Result<Message> {
    let mut length = Vec::new();
    while length.last().is_none_or(|byte| byte & 0x80 != 0) {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        length.push(byte[0]);
    }
    let bad = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let length = prost::decode_length_delimiter(length.as_slice()).map_err(|error| bad(error.to_string()))?;
    if length > ANSWER_MOST {
        return Err(bad(format!("an answer of {length} bytes")));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Message::decode(bytes.as_slice()).map_err(|error| bad(error.to_string()))
}

impl Instance for Signer {
    fn public(&self) -> [u8; 32] {
        self.public
    }

    /// The canonical vote with its length in front, as every CometBFT since 0.34 has it signed.
    fn message(&self, duty: Duty, side: Side) -> Vec<u8> {
        let (height, round, kind) = place(duty);
        let block_id = block(duty, side).map(|hash| CanonicalBlockId {
            part_set_header: Some(CanonicalPartSetHeader { total: 1, hash: hash.clone() }),
            hash,
        });
        let vote = CanonicalVote {
            r#type: kind.into(),
            height,
            round: round.into(),
            block_id,
            timestamp: Some(timestamp(height)),
            chain_id: CHAIN.to_owned(),
        };
        vote.encode_length_delimited_to_vec()
    }

    fn place(&self, duty: Duty) -> String {
        let (height, round, kind) = place(duty);
        let kind = if kind == SignedMsgType::Prevote { "prevote" } else { "precommit" };
        format!("CometBFT height {height}, round {round}, {kind}")
    }

    fn lines(&self) -> usize {
        self.lines.len()
    }

    fn memory(&self) -> Vec<PathBuf> {
        vec![self.home.join("state")]
    }

    fn remembers(&self, _: &Path) -> bool {
        true
    }

    fn start(&self, how: &How) -> anyhow::Result<()> {
        let mut process = self.process();
        if process.as_ref().is_some_and(Process::runs) {
            return Ok(());
        }
        let line = CommandLine::new([&self.binary]).and("start").and("-c").and(self.home.join("tmkms.toml"));
        *process = Some(started_as(line, how, 0)?.start(&self.home.join("log"))?);
        Ok(())
    }

    fn kill(&self) {
        drop(self.process().take());
        self.forget_connections();
    }

    fn stop(&self, _: usize) {
        if let Some(process) = self.process().take() {
            process.stop(DIALS_WITHIN);
        }
        self.forget_connections();
    }

    fn ask(&self, line: usize, duty: Duty, side: Side, patience: Duration) -> Answer {
        let (height, round, kind) = place(duty);
        let block_id = block(duty, side).map(|hash| BlockId {
            part_set_header: Some(PartSetHeader { total: 1, hash: hash.clone() }),
            hash,
        });
        let vote = Vote {
            r#type: kind.into(),
            height,
            round,
            block_id,
            timestamp: Some(timestamp(height)),
            validator_address: vec![1; 20],
            ..Vote::default()
        };
        let request = SignVoteRequest { vote: Some(vote), chain_id: CHAIN.to_owned() };
        match self.lines[line].exchange(Sum::SignVoteRequest(request), patience) {
            Ok(Some(Sum::SignedVoteResponse(answer))) => match (answer.vote, answer.error) {
                (_, Some(error)) => Answer::Refused(error.description),
                (Some(vote), None) => Answer::Signed(vote.signature),
                (None, None) => Answer::Silent("an empty answer".to_owned()),
            },
            Ok(None) => Answer::Closed,
            Ok(Some(other)) => Answer::Silent(format!("another answer: {other:?}")),
            Err(error) => Answer::Silent(error.to_string()),
        }
    }

    fn copy(&self, home: &Path, _: bool) -> anyhow::Result<Box<dyn Instance>> {
        copy_dir(&self.home, home)?;
        Ok(Box::new(Self::lay_out(&self.binary, home, Some(self.public))?))
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Height, round and step of a duty: two rounds a height, two steps a round.
fn place(Duty(n): Duty) -> (i64, i32, SignedMsgType) {
    let height = i64::try_from(1 + n / 4).unwrap_or(i64::MAX);
    let kind = if n % 2 == 0 { SignedMsgType::Prevote } else { SignedMsgType::Precommit };
    (height, i32::from(n % 4 >= 2), kind)
}

/// The block that a side is for: the same for both steps of a round.
fn block(duty: Duty, side: Side) -> Option<Vec<u8>> {
    let (height, round, _) = place(duty);
    let about = format!("block {height} {round} {side:?}");
    (side != Side::Nil).then(|| signonce_protocol::blake2_256(about.as_bytes()).to_vec())
}

/// Equal for all sides of a duty, so that a repeat is a repeat.
fn timestamp(height: i64) -> Timestamp {
    Timestamp { seconds: 1_700_000_000 + height, nanos: 0 }
}
