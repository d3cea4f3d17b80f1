//! Where a scenario plays: the programs it drives, its directory, its clock, and waiting with a deadline.

use anyhow::{Context as _, bail};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Where things are.
#[derive(clap::Args, Clone, Debug)]
pub struct Places {
    /// The signer's program. By default `signonce` in the release directory of CARGO_TARGET_DIR.
    #[arg(long, value_name = "FILE", env = "SIGNONCE_BIN", global = true)]
    signonce: Option<PathBuf>,
    /// The validator's program. By default the `signonce-validator` beside this program.
    #[arg(long, value_name = "FILE", env = "SIGNONCE_VALIDATOR_BIN", global = true)]
    validator: Option<PathBuf>,
    /// Where to put logs and data: new or empty. It is kept, whatever happens. By default a new directory in the
    /// system's temporary one, kept only if the scenario fails.
    #[arg(long, value_name = "DIR", global = true)]
    dir: Option<PathBuf>,
    /// The validator's program is built with the GRANDPA voter of integration/polkadot.
    #[arg(long, global = true)]
    patched_voter: bool,
    /// Keep the directory of a scenario that held, too.
    #[arg(long, global = true)]
    keep: bool,
}

/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(100);

/// The place of one scenario.
pub struct Stage {
    /// The signer's program.
    pub signonce: PathBuf,
    /// The validator's program.
    pub validator: PathBuf,
    /// Whether its voter is the patched one.
    pub patched_voter: bool,
    dir: PathBuf,
    temporary: Option<TempDir>,
    keep: bool,
    began: Instant,
}

impl Stage {
    /// # Errors
    /// If a program is missing or the directory cannot be used.
    pub fn open(places: &Places, name: &str) -> anyhow::Result<Self> {
        let beside = std::env::current_exe().context("this program does not know where it is")?;
        let release = beside.parent().context("a program lies in a directory")?;
        let validator = places.validator.clone().unwrap_or_else(|| release.join("signonce-validator"));
        let signonce = places.signonce.clone().unwrap_or_else(default_signonce);
        for (program, option) in [(&signonce, "--signonce"), (&validator, "--validator")] {
            if !program.is_file() {
                bail!("there is no {}; build it with integration/run, or give {option}", program.display());
            }
        }
        let (dir, temporary) = match &places.dir {
            Some(dir) => (new_dir(dir)?, None),
            None => {
                // Short: the path of a unix socket has little more than 100 bytes.
                let made = tempfile::Builder::new().prefix(&format!("signonce-{name}-")).tempdir()?;
                (made.path().to_owned(), Some(made))
            }
        };
        let Places { patched_voter, keep, .. } = *places;
        Ok(Self { signonce, validator, patched_voter, dir, temporary, keep, began: Instant::now() })
    }

    /// A directory below the scenario's, made if it is not there.
    pub fn dir(&self, name: &str) -> anyhow::Result<PathBuf> {
        let dir = self.dir.join(name);
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(dir)
    }

    /// Where a process logs to.
    pub fn log(&self, process: &str) -> PathBuf {
        self.dir.join(format!("{process}.log"))
    }

    /// Since the scenario began.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Tells a person how far it is.
    pub fn say(&self, what: impl AsRef<str>) {
        eprintln!("[{:6.1} s] {}", self.elapsed().as_secs_f64(), what.as_ref());
    }

    /// Removes the directory if nothing in it is of interest any more; otherwise says where it is.
    pub fn close(self, ok: bool) -> Option<PathBuf> {
        match self.temporary {
            Some(temporary) if ok && !self.keep => {
                drop(temporary);
                None
            }
            Some(temporary) => Some(temporary.keep()),
            None => Some(self.dir),
        }
    }
}

fn default_signonce() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from).unwrap_or_else(|| {
        let home = std::env::var_os("HOME").unwrap_or_default();
        Path::new(&home).join(".cache/signonce/target")
    });
    target.join("release/signonce")
}

fn new_dir(dir: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let dir = dir.canonicalize()?;
    if std::fs::read_dir(&dir)?.next().is_some() {
        bail!("{} is not empty; give another directory", dir.display());
    }
    Ok(dir)
}

/// Polls until `look` finds something.
///
/// # Errors
/// After `patience`, with what was waited for.
pub async fn until<T>(
    what: &str,
    patience: Duration,
    look: impl AsyncFn() -> Option<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look().await {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("not within {} s: {what}", patience.as_secs());
        }
        tokio::time::sleep(LOOK).await;
    }
}
