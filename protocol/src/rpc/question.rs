//! A method that a family adds to signing: one type for the parameters, which names the method and the answer.

use serde::{Serialize, de::DeserializeOwned};

/// The parameters of a family's method. A call changes nothing, so it may be repeated on any signer.
pub trait Question: Serialize + Sync {
    /// The full name of the method.
    const METHOD: &'static str;

    /// The type of the answer.
    type Answer: DeserializeOwned;
}
