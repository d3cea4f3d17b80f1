//! Golden bytes: one example of every variant of everything that is stored or sent, in `tests/golden/*.txt`.
//!
//! Each line of a file is a name and the bytes as hex (or the text, where text is sent). A byte that differs fails the test, and so does an example that
//! is new or gone: whatever changes a format shows up in review as a changed line. The examples of an enum come from
//! [`variants!`], which does not compile while a variant has none.
//!
//! What every test here ends with is [`File::check`].

mod audit;
mod change;
mod error;
pub(crate) mod sample;
mod verdict;

use parity_scale_codec::{DecodeAll, Encode};
use std::{collections::BTreeSet, env, fmt::Debug, fs, path::PathBuf};

/// Set to anything, the tests write the files instead of comparing.
const WRITE: &str = "SIGNONCE_WRITE_GOLDEN";

/// A function with one example, or several, of each variant of an enum. A variant without one does not compile.
macro_rules! variants {
    ($(#[$doc:meta])* $visible:vis fn $function:ident() -> $enum:ident {
        $($variant:ident => $($example:expr),+;)*
    }) => {
        $(#[$doc])*
        $visible fn $function() -> Vec<(String, $enum)> {
            const fn variant_of(value: &$enum) -> &'static str {
                match value { $($enum::$variant { .. } => stringify!($variant),)* }
            }
            let mut examples = Vec::new();
            $({
                let of_variant = [$($example),+];
                let count = of_variant.len();
                for (i, example) in of_variant.into_iter().enumerate() {
                    assert_eq!(variant_of(&example), stringify!($variant), "an example of another variant");
                    let name = stringify!($variant);
                    let name = if count == 1 { name.to_owned() } else { format!("{name}/{i}") };
                    examples.push((name, example));
                }
            })*
            examples
        }
    };
}
pub(crate) use variants;

/// The examples that belong into one file.
pub(crate) struct File {
    name: &'static str,
    /// Name, and bytes as hex or text.
    lines: Vec<(String, String)>,
}

impl File {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, lines: Vec::new() }
    }

    /// Adds bytes that the caller has read back.
    pub(crate) fn bytes(&mut self, name: impl Into<String>, bytes: &[u8]) {
        self.text(name, hex::encode(bytes));
    }

    /// Adds one line of text that the caller has read back.
    pub(crate) fn text(&mut self, name: impl Into<String>, text: String) {
        let name = name.into();
        assert!(
            !name.contains(char::is_whitespace) && !text.contains('\n'),
            "{name:?} is one word, its text one line"
        );
        self.lines.push((name, text));
    }

    /// Adds examples in plain SCALE, each under `prefix` and its own name.
    pub(crate) fn values<T: Encode + DecodeAll + PartialEq + Debug>(
        &mut self,
        prefix: &str,
        examples: impl IntoIterator<Item = (String, T)>,
    ) {
        for (name, value) in examples {
            let bytes = value.encode();
            assert_eq!(T::decode_all(&mut &bytes[..]).as_ref(), Ok(&value), "{prefix}/{name} is read back");
            self.bytes(format!("{prefix}/{name}"), &bytes);
        }
    }

    /// Compares with the committed file, or writes it if the environment says so.
    pub(crate) fn check(self) {
        let names: BTreeSet<&str> = self.lines.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names.len(), self.lines.len(), "two examples of {} have one name", self.name);
        let lines: Vec<String> = self.lines.iter().map(|(name, text)| format!("{name} {text}")).collect();
        let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "golden", self.name].iter().collect();
        let path = path.with_extension("txt");
        if env::var_os(WRITE).is_some() {
            fs::write(&path, lines.join("\n") + "\n").expect("the golden file can be written");
            return;
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        let committed: BTreeSet<&str> = committed.lines().collect();
        let made: BTreeSet<&str> = lines.iter().map(String::as_str).collect();
        let show = |sign: &'static str, lines: Vec<&&str>| {
            lines.into_iter().map(|line| format!("{sign} {line}\n")).collect::<String>()
        };
        assert!(
            made == committed,
            "the bytes of {} have changed:\n{}{}A format is a promise: a change needs a new version and a reader of the \
             old one. If this is one on purpose, or a new variant, set {WRITE}=1 to write the file, and look at the \
             difference before you commit it",
            path.display(),
            show("-", committed.difference(&made).collect()),
            show("+", made.difference(&committed).collect()),
        );
    }
}
