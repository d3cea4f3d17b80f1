//! In which formats a program stores and speaks: what a new node must share with the members. Feature levels do not say it:
//! version 0.1 counted levels of its own.

use serde::{Deserialize, Serialize};

/// The formats of a program. Signers of two never share a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Formats {
    /// Of a data directory.
    pub store: u32,
    /// The version of the frames between members.
    pub frames: u8,
}

/// Why a program cannot take part, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OtherFormats {
    /// It does not say which it has, as version 0.1 does not.
    #[error(
        "the program of the new node is of version 0.1, which neither stores nor speaks as the members do: run \
         `signonce join` of their version there"
    )]
    Version01,
    /// It says others.
    #[error(
        "the program of the new node has stores of format {} and frames of version {}, the members {} and {}: run \
         `signonce join` of their version there",
        said.store, said.frames, own.store, own.frames
    )]
    Differ {
        /// What it says.
        said: Formats,
        /// What the members have.
        own: Formats,
    },
}

impl Formats {
    /// Whether a program that says this of itself has the same.
    ///
    /// # Errors
    /// Any [`OtherFormats`].
    pub fn check(self, said: Option<Self>) -> Result<(), OtherFormats> {
        match said {
            Some(said) if said == self => Ok(()),
            Some(said) => Err(OtherFormats::Differ { said, own: self }),
            None => Err(OtherFormats::Version01),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_other_formats_is_refused_with_what_to_do() {
        let own = Formats { store: 2, frames: 4 };
        let differ = |store, frames| {
            let said = Formats { store, frames };
            (Some(said), Err(OtherFormats::Differ { said, own }))
        };
        let silent = (None, Err(OtherFormats::Version01));
        for (said, judged) in [(Some(own), Ok(())), differ(1, 3), differ(2, 5), differ(3, 4), silent] {
            assert_eq!(own.check(said), judged, "{said:?}");
            if let Err(error) = judged {
                assert!(error.to_string().contains("run `signonce join` of their version"), "{error}");
            }
        }
    }
}
