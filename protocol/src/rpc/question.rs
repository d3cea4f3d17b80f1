//! What a family lets clients ask beside signatures: one type for the parameters, which names its method and its answer.

use serde::{Serialize, de::DeserializeOwned};

/// The parameters of a method of a family. Asking uses nothing up, so the same may be asked again, anywhere.
pub trait Question: Serialize + Sync {
    /// The full name of the method.
    const METHOD: &'static str;

    /// What is answered.
    type Answer: DeserializeOwned;
}
