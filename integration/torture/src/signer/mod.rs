//! The cases' view of a signer. A new signer is a file here: a [`Kind`] that creates instances, and an [`Instance`]
//! that starts, kills and asks one. Neither judges anything.

pub mod signonce;
pub mod tmkms;

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

/// A duty: the `n`th thing that a key may say once. Adapters turn it into a duty of their chain; later numbers are
/// later duties. Every fourth begins a new height or round; see [`Duty::new_place`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duty(pub u64);

impl Duty {
    /// The `n`th duty in a height or round that has nothing else in it.
    pub fn new_place(n: u64) -> Self {
        Self(4 * n)
    }
}

/// A payload for the duty. Any two of these contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// For one block.
    One,
    /// For another block.
    Other,
    /// For no block where the chain knows such a vote, for a third one where it does not.
    Nil,
}

impl Side {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::One, Self::Other, Self::Nil];
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One => "one block",
            Self::Other => "another block",
            Self::Nil => "nil, or a third block",
        })
    }
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A signature.
    Signed(Vec<u8>),
    /// A refusal in words.
    Refused(String),
    /// The signer hung up instead of answering.
    Closed,
    /// No answer, or one that says nothing about the duty.
    Silent(String),
}

/// How a signer's processes are started.
#[derive(Clone, Debug, Default)]
pub struct How {
    /// `strace` writes one file per machine here, named `trace-N`.
    pub traced: Option<PathBuf>,
    /// The wall clock is off by this many seconds.
    pub clock: Option<i64>,
}

/// A signer that is available here.
pub trait Kind {
    /// Its name.
    fn name(&self) -> &'static str;
    /// What was built or found.
    fn version(&self) -> String;
    /// Machines that one instance is made of.
    fn machines(&self) -> usize;
    /// A new signer with a key of its own that has signed nothing; started by nobody yet.
    ///
    /// # Errors
    /// If the program does not do its part.
    fn fresh(&self, home: &Path) -> anyhow::Result<Box<dyn Instance>>;
}

/// One signer with one key.
pub trait Instance: Sync {
    /// The ed25519 public key.
    fn public(&self) -> [u8; 32];
    /// The bytes that a signature for this side of this duty is over.
    fn message(&self, duty: Duty, side: Side) -> Vec<u8>;
    /// The duty in the chain's words.
    fn place(&self, duty: Duty) -> String;
    /// Ways to ask it at the same time, numbered from 0.
    fn lines(&self) -> usize;
    /// Per machine, the directory that holds what it remembers.
    fn memory(&self) -> Vec<PathBuf>;
    /// Whether a file in it is memory: logs and locks are not.
    fn remembers(&self, file: &Path) -> bool;
    /// Starts whatever does not run. Whether it serves is seen by asking. Must be called on the program's first thread:
    /// the kernel ends processes when the thread that started them ends.
    ///
    /// # Errors
    /// If a process cannot be started; one that ends soon after is not an error.
    fn start(&self, how: &How) -> anyhow::Result<()>;
    /// SIGKILL to every process, and their ends.
    fn kill(&self);
    /// SIGTERM to the first so many machines, and their ends. The others go on.
    fn stop(&self, machines: usize);
    /// Asks for one signature over one line, and waits up to `patience` for it.
    fn ask(&self, line: usize, duty: Duty, side: Side, patience: Duration) -> Answer;
    /// A second instance from copies of the memory: of one machine, or of all of them as a signer of its own.
    ///
    /// # Errors
    /// If files cannot be copied.
    fn copy(&self, home: &Path, whole: bool) -> anyhow::Result<Box<dyn Instance>>;
}
