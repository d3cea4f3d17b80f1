//! The cases. Each does one thing to a signer and asks for payloads that contradict each other; the judge decides about
//! the results.

use crate::{
    files::{Tree, put_tree, read_tree},
    judge::Evidence,
    power,
    signer::{Answer, Duty, How, Instance, Kind, Side},
    trial::{Figures, Trial},
};
use anyhow::Context as _;
use rand::{RngExt as _, seq::SliceRandom as _};
use serde::Serialize;
use signonce_harness::host;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

/// How long each of two instances with one key is asked.
const BESIDE: Duration = Duration::from_secs(3);
/// How long a tracer may take to write down the end of what it traced.
const TRACER_ENDS: Duration = Duration::from_secs(10);

/// What a case does.
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// A description in one line.
    pub about: &'static str,
    /// A program or library that it needs.
    needs: Option<Need>,
    /// Only for signers of several machines: the name of the case that is the same for one machine.
    same_for_one: Option<&'static str>,
    run: fn(&mut Trial<'_>) -> anyhow::Result<()>,
}

#[derive(Clone, Copy)]
enum Need {
    Strace,
    Faketime,
}

/// The result of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// No two signatures that contradict each other.
    Held,
    /// There are two.
    Broke,
    /// The case is about something that this signer does not have.
    NotApplicable,
    /// It could not be tried here.
    Skipped,
    /// It went wrong, so there is no result.
    Undecided,
}

/// The result of a case on a signer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The case.
    pub case: &'static str,
    /// The signer.
    pub signer: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// Why it was not tried, or what went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Duties with two payloads.
    pub broken: u64,
    /// What was counted.
    pub figures: Figures,
    /// Other observations.
    pub notes: Vec<String>,
    /// Two contradictory signatures, for anybody to check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// How long it took.
    pub seconds: f64,
}

const fn case(
    name: &'static str,
    about: &'static str,
    run: fn(&mut Trial<'_>) -> anyhow::Result<()>,
) -> Case {
    Case { name, about, needs: None, same_for_one: None, run }
}

/// All of them.
pub const ALL: &[Case] = &[
    case("storm", "two connections ask for one duty with different payloads at the same moment", storm),
    case("repeat", "the same request again, and after a restart, gives the same bytes", repeat),
    case(
        "regression",
        "it moves on and is then asked for another payload of what it signed before",
        regression,
    ),
    case(
        "kill-after-answer",
        "SIGKILL as soon as the answer is there, then the other payload",
        kill_after_answer,
    ),
    case("kill-at-random", "SIGKILL at a random moment of a request, then the other payload", kill_at_random),
    Case {
        needs: Some(Need::Strace),
        ..case("power-cut", "as kill-after-answer, and what no fsync had made durable is gone", power_cut)
    },
    case("state-missing", "one machine's memory is gone: the file, or all in the directory", |trial| {
        missing(trial, 1)
    }),
    Case {
        same_for_one: Some("state-missing"),
        ..case("state-missing-all", "every machine's memory is gone", |trial| missing(trial, usize::MAX))
    },
    case("state-old", "one machine's memory is put back to an older copy", |trial| old(trial, 1)),
    Case {
        same_for_one: Some("state-old"),
        ..case("state-old-all", "every machine's memory is put back to copies of one moment", |trial| {
            old(trial, usize::MAX)
        })
    },
    case("state-cut", "a file of one machine's memory is cut to half, or to nothing", |trial| cut(trial, 1)),
    Case {
        same_for_one: Some("state-cut"),
        ..case("state-cut-all", "the same file on every machine is cut to half, or to nothing", |trial| {
            cut(trial, usize::MAX)
        })
    },
    case("clone", "a copy of one machine runs beside the original", |trial| clone(trial, false)),
    Case {
        same_for_one: Some("clone"),
        ..case("clone-all", "copies of all machines run as a signer of their own beside it", |trial| {
            clone(trial, true)
        })
    },
    Case {
        needs: Some(Need::Faketime),
        ..case("clock", "restarts with a clock an hour late and an hour early, and the other payload", clock)
    },
];

impl Case {
    /// Runs the case.
    pub fn run(&self, kind: &dyn Kind, seed: u64, times: u64) -> Outcome {
        let begun = Instant::now();
        let mut outcome = Outcome {
            case: self.name,
            signer: kind.name(),
            verdict: Verdict::Skipped,
            why: None,
            broken: 0,
            figures: Figures::default(),
            notes: Vec::new(),
            evidence: None,
            seconds: 0.0,
        };
        if let Some(other) = self.same_for_one.filter(|_| kind.machines() == 1) {
            outcome.verdict = Verdict::NotApplicable;
            outcome.why = Some(format!("one machine: see {other}"));
            return outcome;
        }
        outcome.why = match self.needs {
            Some(Need::Strace) if !host::has("strace") => Some("needs strace".to_owned()),
            Some(Need::Faketime) if host::faketime().is_none() => Some("needs libfaketime".to_owned()),
            _ => None,
        };
        if outcome.why.is_none() {
            self.judged(kind, seed, times, &mut outcome);
        }
        outcome.seconds = begun.elapsed().as_secs_f64();
        outcome
    }

    fn judged(&self, kind: &dyn Kind, seed: u64, times: u64, outcome: &mut Outcome) {
        let done = Trial::new(kind, seed, times).and_then(|mut trial| {
            let ran = (self.run)(&mut trial);
            let (broken, evidence) = trial.judge.equivocations();
            outcome.broken = broken;
            outcome.evidence = evidence.or(trial.judge.changed()).cloned();
            outcome.figures = trial.figures.clone();
            outcome.notes.clone_from(&trial.notes);
            ran
        });
        // What was found stands, even if the rest went wrong.
        outcome.verdict = match (&outcome.evidence, &done) {
            (Some(_), _) => Verdict::Broke,
            (None, Ok(())) => Verdict::Held,
            (None, Err(_)) => Verdict::Undecided,
        };
        outcome.why = done.err().map(|error| format!("{error:#}"));
    }
}

fn storm(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    trial.start(&How::default())?;
    trial.sign_new(1)?;
    for _ in 0..20 * trial.times {
        let duty = trial.duty();
        let (mut sides, mut lines) = (Side::ALL, (0..trial.instance().lines()).collect::<Vec<_>>());
        sides.shuffle(&mut trial.rng);
        lines.shuffle(&mut trial.rng);
        let asked = [(lines[0], sides[0]), (lines[lines.len() - 1], sides[1])];
        let (instance, gate) = (trial.instance(), &Barrier::new(asked.len()));
        let answers = thread::scope(|scope| {
            let ask = |(line, side)| {
                scope.spawn(move || {
                    gate.wait();
                    instance.ask(line, duty, side, BESIDE)
                })
            };
            asked.map(ask).map(|thread| thread.join().expect("asking does not panic"))
        });
        trial.figures.contended += 1;
        for ((_, side), answer) in asked.iter().zip(&answers) {
            trial.tell(duty, *side, answer)?;
        }
    }
    Ok(())
}

fn repeat(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    trial.start(&How::default())?;
    let mut last = trial.sign_new(1)?;
    for _ in 0..trial.times {
        last = trial.sign_new(1)?;
        let before = trial.figures.signed;
        again(trial, &last)?;
        if trial.figures.signed == before {
            trial.note("repeats are refused");
        }
    }
    trial.stop();
    trial.start(&How::default())?;
    let before = trial.figures.signed;
    let patience = Instant::now() + 4 * BESIDE;
    while trial.figures.signed == before && Instant::now() < patience {
        again(trial, &last)?;
    }
    if trial.figures.signed == before {
        trial.note("repeats are refused after a restart");
    }
    Ok(())
}

fn again(trial: &mut Trial<'_>, duties: &[Duty]) -> anyhow::Result<()> {
    for duty in duties {
        for line in 0..trial.instance().lines() {
            let answer = trial.instance().ask(line, *duty, Side::One, BESIDE);
            trial.tell(*duty, Side::One, &answer)?;
        }
    }
    Ok(())
}

fn regression(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    trial.start(&How::default())?;
    let first = trial.duty().0;
    // Steps, rounds and heights, one after the other.
    let duties: Vec<_> = (first..first + 9).map(Duty).collect();
    for duty in &duties {
        trial.sign(*duty)?;
    }
    for duty in duties.iter().rev().skip(1) {
        trial.contend(*duty)?;
    }
    trial.duty();
    trial.duty();
    trial.duty();
    trial.see_whether_it_serves()
}

fn kill_after_answer(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    trial.start(&How::default())?;
    trial.sign_new(1)?;
    for _ in 0..trial.times {
        let duty = trial.duty();
        trial.sign(duty)?;
        trial.instance().kill();
        trial.start(&How::default())?;
        trial.contend(duty)?;
    }
    trial.see_whether_it_serves()
}

fn kill_at_random(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    trial.start(&How::default())?;
    trial.sign_new(1)?;
    let begun = Instant::now();
    trial.sign_new(5)?;
    let window = begun.elapsed().mul_f64(3.0 / 5.0);
    let mut answered = 0;
    for _ in 0..trial.times {
        // Waits until it serves, as the kill is to hit a request, not a start.
        trial.sign_new(1)?;
        let duty = trial.duty();
        let wait = window.mul_f64(trial.rng.random_range(0.0..1.0));
        let instance = trial.instance();
        let answer = thread::scope(|scope| {
            let asking = scope.spawn(move || instance.ask(0, duty, Side::One, BESIDE));
            // Sleeping is too coarse for a signer that answers in less than a millisecond.
            let until = Instant::now() + wait;
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            instance.kill();
            asking.join().expect("asking does not panic")
        });
        answered += u64::from(matches!(answer, Answer::Signed(_)));
        trial.tell(duty, Side::One, &answer)?;
        trial.start(&How::default())?;
        trial.contend(duty)?;
    }
    let times = trial.times;
    trial.note(format!("killed within {window:.1?} of asking; {answered} of {times} were answered before"));
    trial.see_whether_it_serves()
}

fn power_cut(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    trial.start(&How::default())?;
    trial.sign_new(2)?;
    trial.stop();
    let mut lost = BTreeSet::new();
    for _ in 0..trial.times.div_ceil(2) {
        // What exists when it starts counts as durable.
        let memory = trial.instance().memory();
        let before: Vec<Tree> = memory.iter().map(|dir| read_tree(dir)).collect::<anyhow::Result<_>>()?;
        let traces = trial.place();
        fs::create_dir_all(&traces)?;
        trial.start(&How { traced: Some(traces.clone()), ..How::default() })?;
        let duty = trial.duty();
        trial.sign(duty)?;
        trial.instance().kill();
        for (machine, (dir, before)) in memory.iter().zip(&before).enumerate() {
            let trace = finished(&traces.join(format!("trace-{machine}")))?;
            let left = power::cut(dir, before, &trace)?;
            let told = left.lost.iter().filter(|file| trial.instance().remembers(file));
            lost.extend(told.map(|file| kind_of(file)));
            put_tree(dir, &left.tree)?;
        }
        trial.start(&How::default())?;
        trial.contend(duty)?;
        trial.see_whether_it_serves()?;
        trial.stop();
    }
    let lost: Vec<String> = lost.into_iter().collect();
    trial.note(if lost.is_empty() {
        "everything was durable; nothing was dropped".to_owned()
    } else {
        format!("dropped on some machine, not being durable: {}", lost.join(", "))
    });
    Ok(())
}

/// A file's name without the unique part.
fn kind_of(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let mut kind: String = name.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect();
    while kind.contains("##") {
        kind = kind.replace("##", "#");
    }
    kind
}

/// A trace to its end.
fn finished(trace: &Path) -> anyhow::Result<String> {
    let deadline = Instant::now() + TRACER_ENDS;
    loop {
        let text = String::from_utf8_lossy(&fs::read(trace)?).into_owned();
        let ended = text.lines().last().is_some_and(|line| line.contains("+++ killed by"));
        if ended || Instant::now() > deadline {
            return ended.then_some(text).context("strace does not end");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn missing(trial: &mut Trial<'_>, machines: usize) -> anyhow::Result<()> {
    for with_directory in [false, true] {
        trial.renew()?;
        trial.start(&How::default())?;
        let duties = trial.sign_new(3)?;
        trial.instance().stop(machines);
        for dir in trial.instance().memory().into_iter().take(machines) {
            fs::remove_dir_all(&dir)?;
            if !with_directory {
                fs::create_dir(&dir)?;
            }
        }
        ask_for_the_others(trial, &duties)?;
    }
    Ok(())
}

fn old(trial: &mut Trial<'_>, machines: usize) -> anyhow::Result<()> {
    for _ in 0..trial.times.div_ceil(5) {
        trial.renew()?;
        trial.start(&How::default())?;
        trial.sign_new(2)?;
        trial.instance().stop(machines);
        let memory: Vec<PathBuf> = trial.instance().memory().into_iter().take(machines).collect();
        let yesterday: Vec<Tree> = memory.iter().map(|dir| read_tree(dir)).collect::<anyhow::Result<_>>()?;
        trial.start(&How::default())?;
        let duties = trial.sign_new(3)?;
        trial.instance().stop(machines);
        for (dir, tree) in memory.iter().zip(&yesterday) {
            put_tree(dir, tree)?;
        }
        ask_for_the_others(trial, &duties)?;
    }
    Ok(())
}

/// Every file that changes when something is signed is cut on its own.
fn cut(trial: &mut Trial<'_>, machines: usize) -> anyhow::Result<()> {
    for file in changing_files(trial)? {
        for part in [2, 0] {
            trial.renew()?;
            trial.start(&How::default())?;
            let duties = trial.sign_new(3)?;
            trial.instance().stop(machines);
            for dir in trial.instance().memory().into_iter().take(machines) {
                // Names with numbers in them differ: the newest of its kind.
                let tree = read_tree(&dir)?;
                let Some((name, content)) = tree.iter().rfind(|(name, _)| kind_of(name) == file) else {
                    continue;
                };
                let length = content.len() as u64;
                let open = fs::OpenOptions::new().write(true).open(dir.join(name))?;
                open.set_len(length.checked_div(part).unwrap_or(0))?;
            }
            ask_for_the_others(trial, &duties)?;
        }
    }
    Ok(())
}

/// The kinds of files that change when something is signed.
fn changing_files(trial: &mut Trial<'_>) -> anyhow::Result<BTreeSet<String>> {
    trial.start(&How::default())?;
    trial.sign_new(1)?;
    let dir = trial.instance().memory().into_iter().next().context("a signer has a memory")?;
    // While it runs, so that nothing is changed by a start or an end.
    let before = read_tree(&dir)?;
    trial.sign_new(3)?;
    let after = read_tree(&dir)?;
    let changed = after.iter().filter(|(name, content)| before.get(*name) != Some(content));
    let told = changed.filter(|(name, _)| trial.instance().remembers(name));
    let kinds: BTreeSet<String> = told.map(|(name, _)| kind_of(name)).collect();
    trial.note(format!("files: {}", kinds.iter().cloned().collect::<Vec<_>>().join(", ")));
    Ok(kinds)
}

/// Starts the signer after its memory was tampered with, and asks for the other payload of what it had signed.
fn ask_for_the_others(trial: &mut Trial<'_>, duties: &[Duty]) -> anyhow::Result<()> {
    trial.start(&How::default())?;
    // The oldest first: a forgetful signer that has only a watermark would sign all of them in this order.
    for duty in duties {
        trial.contend(*duty)?;
    }
    trial.see_whether_it_serves()
}

fn clone(trial: &mut Trial<'_>, whole: bool) -> anyhow::Result<()> {
    trial.start(&How::default())?;
    trial.sign_new(2)?;
    trial.instance().stop(if whole { usize::MAX } else { 1 });
    let place = trial.place();
    let twin = trial.instance().copy(&place, whole)?;
    trial.start(&How::default())?;
    trial.sign_new(1)?;
    twin.start(&How::default())?;
    // It may take as long to come up as the first.
    let mut answers = 0;
    for _ in 0..trial.times {
        let duty = trial.duty();
        let (one, two) = (trial.instance(), twin.as_ref());
        let gate = &Barrier::new(2);
        let (first, second) = thread::scope(|scope| {
            let ask = |instance: &'_ dyn Instance, side| {
                gate.wait();
                instance.ask(0, duty, side, BESIDE)
            };
            let second = scope.spawn(move || ask(two, Side::Other));
            (ask(one, Side::One), second.join().expect("asking does not panic"))
        });
        trial.figures.contended += 1;
        answers += u64::from(!matches!(second, Answer::Silent(_)));
        trial.tell(duty, Side::One, &first)?;
        trial.tell(duty, Side::Other, &second)?;
    }
    trial.note(format!("the copy answered {answers} of {} times", trial.times));
    trial.see_whether_it_serves()
}

fn clock(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    for seconds in [-3_600, 3_600] {
        trial.renew()?;
        trial.start(&How::default())?;
        let duties = trial.sign_new(3)?;
        trial.stop();
        trial.start(&How { clock: Some(seconds), ..How::default() })?;
        for duty in &duties {
            trial.contend(*duty)?;
        }
        trial.see_whether_it_serves()?;
        trial.stop();
        trial.start(&How::default())?;
        for duty in &duties {
            trial.contend(*duty)?;
        }
    }
    Ok(())
}
