//! One case on one signer: instances of it one after the other, with every answer counted and judged.

use crate::{
    judge::Judge,
    signer::{Answer, Duty, How, Instance, Kind, Side},
};
use anyhow::bail;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long a signer that has just been started may take to sign something new.
const COMES_UP: Duration = Duration::from_secs(40);
/// How long it is asked for what it must not sign.
const PATIENCE: Duration = Duration::from_secs(12);
/// … over a line that did not answer the last time.
const LITTLE_PATIENCE: Duration = Duration::from_secs(1);
/// How long a signer that serves may take.
const SOON: Duration = Duration::from_secs(4);

/// What was counted.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Duties that were asked for with payloads that contradict each other.
    pub contended: u64,
    /// Questions.
    pub asked: u64,
    /// Signatures.
    pub signed: u64,
    /// Refusals in words.
    pub refused: u64,
    /// Questions that were answered by hanging up.
    pub closed: u64,
    /// Questions without an answer.
    pub silent: u64,
    /// After the fault: how often something new was signed, …
    pub served_after: u64,
    /// … and how often not.
    pub out_of_service: u64,
}

/// A case on a signer.
pub struct Trial<'a> {
    kind: &'a dyn Kind,
    // Before the directory, so that its processes end first.
    instance: Box<dyn Instance>,
    dir: TempDir,
    instances: u32,
    next: u64,
    /// Lines that did not answer since the start.
    mute: BTreeSet<usize>,
    /// Finds contradictory signatures.
    pub judge: Judge,
    /// What was counted.
    pub figures: Figures,
    /// Other observations.
    pub notes: Vec<String>,
    /// The source of everything random.
    pub rng: ChaCha8Rng,
    /// How often a case repeats what it does.
    pub times: u64,
}

impl<'a> Trial<'a> {
    /// A trial on a new signer, which is not running yet.
    ///
    /// # Errors
    /// If there is none.
    pub fn new(kind: &'a dyn Kind, seed: u64, times: u64) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("signonce-torture-").tempdir()?;
        Ok(Self {
            kind,
            instance: kind.fresh(&dir.path().join("0"))?,
            dir,
            instances: 1,
            next: 1,
            mute: BTreeSet::new(),
            judge: Judge::default(),
            figures: Figures::default(),
            notes: Vec::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            times,
        })
    }

    /// The signer.
    pub fn instance(&self) -> &dyn Instance {
        self.instance.as_ref()
    }

    /// Ends this signer and lays out another one, with nothing signed.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn renew(&mut self) -> anyhow::Result<()> {
        self.stop();
        self.instance = self.kind.fresh(&self.place())?;
        self.judge.new_key();
        Ok(())
    }

    /// A directory for something new.
    pub fn place(&mut self) -> std::path::PathBuf {
        self.instances += 1;
        self.dir.path().join(self.instances.to_string())
    }

    /// Starts what does not run.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(&mut self, how: &How) -> anyhow::Result<()> {
        self.mute.clear();
        self.instance.start(how)
    }

    /// Ends all machines in order.
    pub fn stop(&self) {
        self.instance.stop(self.kind.machines());
    }

    /// A duty at a position of its own, later than all before.
    pub fn duty(&mut self) -> Duty {
        self.next += 1;
        Duty::new_place(self.next)
    }

    /// Counts and judges an answer.
    ///
    /// # Errors
    /// If a signature does not verify.
    pub fn tell(&mut self, duty: Duty, side: Side, answer: &Answer) -> anyhow::Result<()> {
        self.figures.asked += 1;
        match answer {
            Answer::Signed(signature) => {
                self.figures.signed += 1;
                self.judge.hear(self.instance.as_ref(), duty, side, signature)?;
            }
            Answer::Refused(_) => self.figures.refused += 1,
            Answer::Closed => self.figures.closed += 1,
            Answer::Silent(_) => self.figures.silent += 1,
        }
        Ok(())
    }

    /// Has the first payload of a duty signed, by any line.
    ///
    /// # Errors
    /// If it is not signed: then nothing that follows would show anything.
    pub fn sign(&mut self, duty: Duty) -> anyhow::Result<()> {
        let deadline = Instant::now() + COMES_UP;
        for line in (0..self.instance.lines()).cycle() {
            let answer = self.instance.ask(line, duty, Side::One, SOON);
            self.tell(duty, Side::One, &answer)?;
            match answer {
                Answer::Signed(_) => return Ok(()),
                answer if Instant::now() > deadline => {
                    bail!("{} is not signed although it is new: {answer:?}", self.instance.place(duty))
                }
                _ => thread::sleep(Duration::from_millis(20)),
            }
        }
        bail!("a signer without lines")
    }

    /// Has this many new duties signed.
    ///
    /// # Errors
    /// As [`Self::sign`].
    pub fn sign_new(&mut self, many: u64) -> anyhow::Result<Vec<Duty>> {
        let mut duties = Vec::new();
        for _ in 0..many {
            let duty = self.duty();
            self.sign(duty)?;
            duties.push(duty);
        }
        Ok(duties)
    }

    /// Asks every line at once for one payload.
    fn ask_all(&mut self, duty: Duty, side: Side, patience: Duration) -> anyhow::Result<Vec<Answer>> {
        let instance = self.instance.as_ref();
        let lines = 0..instance.lines();
        let mute = &self.mute;
        let answers: Vec<Answer> = thread::scope(|scope| {
            let ask = |line| {
                let patience = if mute.contains(&line) { LITTLE_PATIENCE } else { patience };
                scope.spawn(move || instance.ask(line, duty, side, patience))
            };
            let asking: Vec<_> = lines.map(ask).collect();
            let answer = |thread: thread::ScopedJoinHandle<'_, Answer>| thread.join().ok();
            asking.into_iter().filter_map(answer).collect()
        });
        answers.iter().try_for_each(|answer| self.tell(duty, side, answer))?;
        Ok(answers)
    }

    /// Asks every line for the other payload of a duty, and then for the first one again.
    ///
    /// # Errors
    /// If a signature does not verify.
    pub fn contend(&mut self, duty: Duty) -> anyhow::Result<()> {
        self.figures.contended += 1;
        let answers = self.ask_all(duty, Side::Other, PATIENCE)?;
        self.mute =
            (0..).zip(&answers).filter(|(_, answer)| is_silent(answer)).map(|(line, _)| line).collect();
        self.ask_all(duty, Side::One, SOON)?;
        Ok(())
    }

    /// Whether something new is signed now, on any line.
    ///
    /// # Errors
    /// If a signature does not verify.
    pub fn see_whether_it_serves(&mut self) -> anyhow::Result<()> {
        let duty = self.duty();
        let answers = self.ask_all(duty, Side::One, SOON)?;
        let serves = answers.iter().any(|answer| matches!(answer, Answer::Signed(_)));
        self.figures.served_after += u64::from(serves);
        self.figures.out_of_service += u64::from(!serves);
        Ok(())
    }

    /// Tells it once.
    pub fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

fn is_silent(answer: &Answer) -> bool {
    matches!(answer, Answer::Silent(_))
}
