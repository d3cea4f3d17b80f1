//! What a key signed last, from the state file of the software that signed: a node (FilePV) or tmkms. For imports.
//!
//! Both files have a height, a round and a step, and look alike, but they number the steps differently: 3 is FilePV's
//! precommit, 2 is that of tmkms. Reading one as the other would give a floor that is too low, so they are told apart by
//! how they write the round (a number or a string), and everything that does not fit is refused.

use crate::{
    Height, Round, Step, VOTE,
    request::{MAX_HEIGHT, MAX_ROUND},
};
use serde::Deserialize;
use serde_json::Value;
use signonce_protocol::Position;
use std::{fmt, str::FromStr};

/// The longest state file that is read. FilePV keeps a signature and the bytes that were signed in it.
pub const MAX_STATE_BYTES: usize = 64 * 1024;

/// Whose files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Software {
    /// A node that keeps its key in files: `priv_validator_key.json` and `priv_validator_state.json`.
    FilePv,
    /// tmkms with its `softsign` provider.
    Tmkms,
}

impl Software {
    const fn name(self) -> &'static str {
        match self {
            Self::FilePv => "filepv",
            Self::Tmkms => "tmkms",
        }
    }

    /// The step with this number; the inner `None` for FilePV's step before the first.
    const fn step(self, number: i64) -> Option<Option<Step>> {
        match (self, number) {
            (Self::FilePv, 0) => Some(None),
            (Self::FilePv, 1) | (Self::Tmkms, 0) => Some(Some(Step::Proposal)),
            (Self::FilePv, 2) | (Self::Tmkms, 1) => Some(Some(Step::Prevote)),
            (Self::FilePv, 3) | (Self::Tmkms, 2) => Some(Some(Step::Precommit)),
            (Self::FilePv | Self::Tmkms, _) => None,
        }
    }

    const fn last_step(self) -> u8 {
        match self {
            Self::FilePv => 3,
            Self::Tmkms => 2,
        }
    }
}

impl fmt::Display for Software {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Software {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::FilePv, Self::Tmkms];
        let found = all.into_iter().find(|one| one.name() == text);
        found.ok_or_else(|| format!("{text:?} is neither filepv (a node's own files) nor tmkms"))
    }
}

/// Why a state file is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateProblem {
    /// Longer than any.
    #[error("it has more than {MAX_STATE_BYTES} bytes; is it the state file?")]
    TooLong,
    /// Not such a file.
    #[error(
        "it is neither a priv_validator_state.json nor a state file of tmkms: {0}; give the state file as the old signer \
         left it when it was stopped"
    )]
    Malformed(String),
    /// The other one's.
    #[error("it is a file of {found}, not of {asked}; leave --format out, or give that file")]
    Other {
        /// Whose it is.
        found: Software,
        /// Whose it should be.
        asked: Software,
    },
    /// A height that no chain has.
    #[error("its height is {0:?}: it is a whole number from 0 to {MAX_HEIGHT}, as a JSON string")]
    Height(String),
    /// A round that no height has.
    #[error("its round is {0}: it is a whole number from 0 to {MAX_ROUND}")]
    Round(String),
    /// No step of a round.
    #[error("its step is {step}: {software} writes 0 to {last}", last = .software.last_step())]
    Step {
        /// Whose file it is.
        software: Software,
        /// The number.
        step: i64,
    },
}

/// The last thing that a key signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastSigned {
    /// The height.
    pub height: Height,
    /// The round.
    pub round: Round,
    /// The step; `None` if nothing in this round is said to be signed.
    pub step: Option<Step>,
}

/// FilePV's file. Signature and sign bytes are those of the last step; only whether they could be there is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FilePvState {
    height: String,
    round: i64,
    step: i64,
    #[serde(default, rename = "signature")]
    _signature: Option<String>,
    #[serde(default, rename = "signbytes")]
    _sign_bytes: Option<String>,
}

/// The file of tmkms.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TmkmsState {
    height: String,
    round: String,
    step: i64,
    #[serde(default, rename = "block_id")]
    block: Option<Value>,
}

impl LastSigned {
    /// Reads a state file: of the software that is named, or of the one that it looks like.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read(bytes: &[u8], asked: Option<Software>) -> Result<Self, StateProblem> {
        /// What tells the files apart.
        #[derive(Deserialize)]
        struct Probe {
            round: Value,
        }
        if bytes.len() > MAX_STATE_BYTES {
            return Err(StateProblem::TooLong);
        }
        let malformed = |error: serde_json::Error| StateProblem::Malformed(error.to_string());
        let Probe { round } = serde_json::from_slice(bytes).map_err(malformed)?;
        let found = if round.is_string() { Software::Tmkms } else { Software::FilePv };
        if let Some(asked) = asked.filter(|asked| *asked != found) {
            return Err(StateProblem::Other { found, asked });
        }
        match found {
            Software::FilePv => {
                let FilePvState { height, round, step, _signature, _sign_bytes } =
                    serde_json::from_slice(bytes).map_err(malformed)?;
                Self::of(found, &height, &round.to_string(), step)
            }
            Software::Tmkms => {
                let TmkmsState { height, round, step, block } =
                    serde_json::from_slice(bytes).map_err(malformed)?;
                let read = Self::of(found, &height, &round, step)?;
                // What it writes before it has signed anything reads as a proposal at height 0.
                let fresh = read.height.0 == 0 && read.round.0 == 0 && step == 0 && block.is_none();
                Ok(if fresh { Self { step: None, ..read } } else { read })
            }
        }
    }

    fn of(software: Software, height: &str, round: &str, step: i64) -> Result<Self, StateProblem> {
        let read_height = whole(height).filter(|height| *height <= MAX_HEIGHT);
        let height = Height(read_height.ok_or_else(|| StateProblem::Height(height.to_owned()))?);
        let read_round = whole(round).filter(|round| *round <= MAX_ROUND).and_then(|n| u32::try_from(n).ok());
        let round = Round(read_round.ok_or_else(|| StateProblem::Round(round.to_owned()))?);
        let step = software.step(step).ok_or(StateProblem::Step { software, step })?;
        Ok(Self { height, round, step })
    }

    /// The position of what was signed; `None` if the state says that nothing was.
    pub fn position(&self) -> Option<Position> {
        let step = self.step.map_or(0, |step| step as u64);
        let position = Position::new(VOTE, &[self.height.0, self.round.0.into(), step]);
        position.filter(|at| at.parts() != [0, 0, 0])
    }
}

/// A number of digits alone: no sign, no space.
fn whole(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<LastSigned, StateProblem> {
        crate::install();
        LastSigned::read(text.as_bytes(), None)
    }

    fn parts(text: &str) -> Vec<u64> {
        read(text).unwrap().position().unwrap().parts().to_vec()
    }

    #[test]
    fn a_nodes_state_is_read_as_it_numbers_the_steps() {
        for (step, expected) in [(0, 0), (1, 1), (2, 2), (3, 3)] {
            let text = format!(r#"{{"height":"12","round":4,"step":{step}}}"#);
            assert_eq!(parts(&text), [12, 4, expected]);
        }
        let whole = r#"{
          "height": "9223372036854775806", "round": 2147483647, "step": 3,
          "signature": "AAAA", "signbytes": "0802"
        }"#;
        assert_eq!(parts(whole), [MAX_HEIGHT, MAX_ROUND, 3]);
    }

    #[test]
    fn the_state_of_tmkms_is_one_step_further_than_its_number_says() {
        for (step, expected) in [(0, 1), (1, 2), (2, 3)] {
            let text = format!(r#"{{"height":"12","round":"4","step":{step},"block_id":null}}"#);
            assert_eq!(parts(&text), [12, 4, expected]);
        }
        let block =
            r#"{"height":"5","round":"0","step":2,"block_id":{"hash":"26C0","part_set_header":null}}"#;
        assert_eq!(parts(block), [5, 0, 3]);
    }

    #[test]
    fn a_fresh_state_says_that_nothing_was_signed() {
        for fresh in
            [r#"{"height":"0","round":0,"step":0}"#, r#"{"height":"0","round":"0","step":0,"block_id":null}"#]
        {
            assert_eq!(read(fresh).unwrap().position(), None, "{fresh}");
        }
    }

    #[test]
    fn what_is_no_such_file_is_refused_with_what_is_wrong() {
        for (text, says) in [
            ("", "EOF"),
            ("[]", "neither"),
            ("{}", "missing field `round`"),
            (r#"{"height":"1","round":0}"#, "missing field `step`"),
            (r#"{"round":0,"step":1}"#, "missing field `height`"),
            (r#"{"height":1,"round":0,"step":1}"#, "expected a string"),
            (r#"{"height":"1","round":0,"step":1,"extra":1}"#, "unknown field `extra`"),
            (r#"{"height":"1","height":"2","round":0,"step":1}"#, "duplicate field"),
            (r#"{"height":"1","round":0,"step":1} {}"#, "trailing"),
            (r#"{"height":"-1","round":0,"step":1}"#, "its height is"),
            (r#"{"height":"+1","round":0,"step":1}"#, "its height is"),
            (r#"{"height":"","round":0,"step":1}"#, "its height is"),
            (r#"{"height":"9223372036854775807","round":0,"step":1}"#, "its height is"),
            (r#"{"height":"1","round":-1,"step":1}"#, "its round is -1"),
            (r#"{"height":"1","round":2147483648,"step":1}"#, "its round is"),
            (r#"{"height":"1","round":0.5,"step":1}"#, "neither"),
            (r#"{"height":"1","round":0,"step":4}"#, "filepv writes 0 to 3"),
            (r#"{"height":"1","round":0,"step":-1}"#, "its step is -1"),
            (r#"{"height":"1","round":"0","step":3}"#, "tmkms writes 0 to 2"),
            (r#"{"height":"1","round":"x","step":1}"#, "its round is x"),
            (r#"{"height":"1","round":"0","step":1,"signature":"AA"}"#, "unknown field `signature`"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        let long = vec![b' '; MAX_STATE_BYTES + 1];
        assert_eq!(LastSigned::read(&long, None), Err(StateProblem::TooLong));
    }

    #[test]
    fn a_file_of_the_other_software_is_refused_where_one_is_named() {
        let tmkms = br#"{"height":"1","round":"0","step":1,"block_id":null}"#;
        let error = LastSigned::read(tmkms, Some(Software::FilePv)).unwrap_err();
        assert_eq!(error, StateProblem::Other { found: Software::Tmkms, asked: Software::FilePv });
        assert!(LastSigned::read(tmkms, Some(Software::Tmkms)).is_ok());
        assert_eq!("tmkms".parse(), Ok(Software::Tmkms));
        assert!("horcrux".parse::<Software>().unwrap_err().contains("filepv"));
    }

    #[test]
    fn past_a_state_is_past_everything_that_it_says_and_past_every_lock_that_it_may_hide() {
        let past = |text: &str| read(text).unwrap().position().unwrap().past().unwrap().parts().to_vec();
        let at = |round, step| past(&format!(r#"{{"height":"12","round":{round},"step":{step}}}"#));
        assert_eq!(at(0, 1), [12, 0, 2]);
        assert_eq!(at(0, 2), [12, 0, 3]);
        // A precommit may have locked the height, and so may one of an earlier round.
        for (round, step) in [(0, 3), (1, 0), (1, 1), (1, 2), (7, 3)] {
            assert_eq!(at(round, step), [13, 0, 0], "{round}/{step}");
        }
        let last = format!(r#"{{"height":"{MAX_HEIGHT}","round":0,"step":3}}"#);
        assert_eq!(read(&last).unwrap().position().unwrap().past(), None);
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_state_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = LastSigned::read(&bytes, None);
        }

        #[test]
        fn what_was_written_is_read(height in 1..=MAX_HEIGHT, round in 0..=MAX_ROUND, step in 0i64..=2) {
            let filepv = format!(r#"{{"height":"{height}","round":{round},"step":{}}}"#, step + 1);
            let tmkms = format!(r#"{{"height":"{height}","round":"{round}","step":{step},"block_id":null}}"#);
            let expected = [height, round, step as u64 + 1];
            prop_assert_eq!(parts(&filepv), expected);
            prop_assert_eq!(parts(&tmkms), expected);
        }
    }
}
