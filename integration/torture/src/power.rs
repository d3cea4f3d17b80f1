//! What a power cut leaves of a directory. `strace` has recorded what a process did to its files; here that is replayed
//! over the content from before the start, and everything is dropped that no fsync had made durable when it ended.
//!
//! The rules are POSIX's: a file keeps what it had at its last fsync or fdatasync, and a name (a new file, a rename,
//! a removal) stays as it was until its directory is synced. File systems often keep more; none promises to. Writes
//! through memory maps are not seen. Of a file that was synced and then overwritten in place, without another sync,
//! the new content is kept: that errs for the signer.

use crate::files::Tree;
use anyhow::Context as _;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
};

/// A system call that returned, as recorded by `strace -f -y`.
#[derive(Debug, PartialEq)]
struct Call<'a> {
    name: &'a str,
    arguments: &'a str,
    returned: i64,
}

/// What a power cut leaves.
#[derive(Debug)]
pub struct Left {
    /// The files.
    pub tree: Tree,
    /// Files whose newest content or name was not durable.
    pub lost: BTreeSet<PathBuf>,
}

#[derive(Clone, Debug)]
struct Inode {
    /// Its name in the snapshot, if it was there.
    from: Option<PathBuf>,
    len: u64,
    synced: Option<u64>,
    /// Written since its last sync.
    dirty: bool,
    /// … over bytes that were durable.
    overwritten: bool,
    /// Synced since the snapshot.
    resynced: bool,
}

/// The files of one directory while a trace is played over them.
struct Disk<'a> {
    root: &'a Path,
    before: &'a Tree,
    inodes: Vec<Inode>,
    now: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    /// Where each open file is written next; `None` appends.
    offsets: HashMap<i64, Option<u64>>,
}

/// Plays `trace` to its end over what `root` held before, and takes what is durable then.
///
/// # Errors
/// If a file that must be there cannot be read.
pub fn cut(root: &Path, before: &Tree, trace: &str) -> anyhow::Result<Left> {
    let root = root.canonicalize()?;
    let mut disk = Disk::new(&root, before);
    for line in whole_lines(trace) {
        if let Some(call) = parse(&line).filter(|call| call.returned >= 0) {
            disk.play(&call);
        }
    }
    disk.cut()
}

impl<'a> Disk<'a> {
    fn new(root: &'a Path, before: &'a Tree) -> Self {
        let inode = |(path, content): (&PathBuf, &Vec<u8>)| {
            let len = content.len() as u64;
            let from = Some(path.clone());
            Inode { from, len, synced: Some(len), dirty: false, overwritten: false, resynced: false }
        };
        let inodes = before.iter().map(inode).collect();
        let names: BTreeMap<PathBuf, usize> = before.keys().cloned().zip(0..).collect();
        Self { root, before, inodes, now: names.clone(), durable: names, offsets: HashMap::new() }
    }

    fn inside(&self, path: &str) -> Option<PathBuf> {
        Path::new(path).strip_prefix(self.root).ok().map(Path::to_owned)
    }

    fn play(&mut self, call: &Call<'_>) {
        let fd = descriptor(call.arguments);
        match call.name {
            "open" | "openat" | "creat" => self.open(call),
            "write" | "writev" => {
                let Some((number, path)) = fd else { return };
                let offset = self.offsets.get(&number).copied().unwrap_or(None);
                let end = self.write(path, offset, call.returned);
                if let (Some(Some(offset)), Some(end)) = (self.offsets.get_mut(&number), end) {
                    *offset = end;
                }
            }
            "pwrite64" | "pwritev" | "pwritev2" => {
                let offset = call.arguments.split(", ").last().and_then(|offset| offset.parse().ok());
                if let Some((_, path)) = fd {
                    self.write(path, offset, call.returned);
                }
            }
            "lseek" => {
                if let (Some((number, _)), Ok(offset)) = (fd, u64::try_from(call.returned)) {
                    self.offsets.entry(number).and_modify(|old| *old = old.and(Some(offset)));
                }
            }
            "ftruncate" => {
                let len = call.arguments.split(", ").last().and_then(|len| len.parse().ok());
                if let (Some(len), Some(inode)) = (len, fd.and_then(|(_, path)| self.inode(path))) {
                    inode.overwritten |= inode.synced.is_some_and(|synced| len < synced);
                    inode.dirty |= inode.len != len;
                    inode.len = len;
                }
            }
            "fsync" | "fdatasync" => {
                if let Some((_, path)) = fd {
                    self.sync(path);
                }
            }
            "sync" | "syncfs" => self.sync_all(),
            "rename" | "renameat" | "renameat2" => {
                if let [from, to] = paths(call.arguments)[..] {
                    self.rename(from, to);
                }
            }
            "unlink" | "unlinkat" => {
                if let Some(path) = paths(call.arguments).first().and_then(|path| self.inside(path)) {
                    self.now.remove(&path);
                }
            }
            _ => {}
        }
    }

    fn open(&mut self, call: &Call<'_>) {
        let Some(path) = paths(call.arguments).first().and_then(|path| self.inside(path)) else { return };
        let flag = |flag| call.name == "creat" && flag != "O_APPEND" || call.arguments.contains(flag);
        if let Some(at) = self.now.get(&path) {
            if flag("O_TRUNC") {
                let inode = &mut self.inodes[*at];
                inode.overwritten |= inode.synced.is_some_and(|synced| synced > 0);
                inode.dirty |= inode.len > 0;
                inode.len = 0;
            }
        } else if flag("O_CREAT") {
            self.now.insert(path, self.inodes.len());
            let (from, synced) = (None, None);
            self.inodes.push(Inode {
                from,
                len: 0,
                synced,
                dirty: true,
                overwritten: false,
                resynced: false,
            });
        }
        self.offsets.insert(call.returned, (!flag("O_APPEND")).then_some(0));
    }

    fn inode(&mut self, path: &str) -> Option<&mut Inode> {
        let at = *self.now.get(&self.inside(path)?)?;
        Some(&mut self.inodes[at])
    }

    /// Where the write ended.
    fn write(&mut self, path: &str, offset: Option<u64>, written: i64) -> Option<u64> {
        let inode = self.inode(path)?;
        let offset = offset.unwrap_or(inode.len);
        let end = offset + u64::try_from(written).ok()?;
        inode.overwritten |= inode.synced.is_some_and(|synced| offset < synced);
        inode.dirty = true;
        inode.len = inode.len.max(end);
        Some(end)
    }

    fn sync(&mut self, path: &str) {
        if let Some(inode) = self.inode(path) {
            let len = inode.len;
            *inode = Inode {
                synced: Some(len),
                dirty: false,
                overwritten: false,
                resynced: true,
                ..inode.clone()
            };
        } else if let Some(dir) = self.inside(path) {
            let in_dir = |path: &PathBuf| path.parent() == Some(&dir);
            self.durable.retain(|path, _| !in_dir(path));
            let now = self.now.iter().filter(|(path, _)| in_dir(path));
            self.durable.extend(now.map(|(path, at)| (path.clone(), *at)));
        }
    }

    fn sync_all(&mut self) {
        self.durable = self.now.clone();
        for inode in &mut self.inodes {
            *inode = Inode {
                synced: Some(inode.len),
                dirty: false,
                overwritten: false,
                resynced: true,
                ..inode.clone()
            };
        }
    }

    fn rename(&mut self, from: &str, to: &str) {
        let inode = self.inside(from).and_then(|from| self.now.remove(&from));
        match (inode, self.inside(to)) {
            (Some(inode), Some(to)) => drop(self.now.insert(to, inode)),
            // Something that was never opened: a socket, or a file from elsewhere. It is not the signer's memory.
            (None, Some(to)) => drop(self.now.remove(&to)),
            _ => {}
        }
    }

    fn cut(&self) -> anyhow::Result<Left> {
        let mut tree = Tree::new();
        for (path, at) in &self.durable {
            tree.insert(path.clone(), self.content(*at).with_context(|| format!("{}", path.display()))?);
        }
        let lost = self
            .now
            .iter()
            .filter(|(path, at)| self.inodes[**at].dirty || self.durable.get(*path) != Some(at));
        Ok(Left { tree, lost: lost.map(|(path, _)| path.clone()).collect() })
    }

    /// The durable content of a file.
    fn content(&self, at: usize) -> anyhow::Result<Vec<u8>> {
        let inode = &self.inodes[at];
        let before = inode.from.as_ref().and_then(|from| self.before.get(from));
        if let (Some(before), false) = (before, inode.resynced)
            && (!inode.dirty || inode.overwritten)
        {
            return Ok(before.clone());
        }
        let name = self.now.iter().find(|(_, now)| **now == at).map(|(path, _)| path);
        let mut content = match name {
            Some(name) => fs::read(self.root.join(name))?,
            None => before.cloned().unwrap_or_default(),
        };
        let durable = if inode.dirty && !inode.overwritten { inode.synced.unwrap_or(0) } else { inode.len };
        content.truncate(usize::try_from(durable).unwrap_or(usize::MAX));
        Ok(content)
    }
}

/// Calls in the order of their returns, with the halves of interrupted ones put together. Those that never returned
/// are left out: nobody was told that they were done.
fn whole_lines(trace: &str) -> Vec<String> {
    let mut begun: HashMap<&str, &str> = HashMap::new();
    let mut whole = Vec::new();
    for line in trace.lines() {
        let Some((pid, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if let Some(first) = call.strip_suffix(" <unfinished ...>") {
            begun.insert(pid, first);
        } else if let Some(second) = call.strip_prefix("<... ").and_then(|call| call.split_once(" resumed>"))
        {
            if let Some(first) = begun.remove(pid) {
                whole.push(format!("{first}{}", second.1));
            }
        } else {
            whole.push(call.to_owned());
        }
    }
    whole
}

/// `NAME(ARGUMENTS) = RETURNED…`
fn parse(line: &str) -> Option<Call<'_>> {
    let (name, rest) = line.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let arguments = arguments.trim_end().strip_suffix(')')?;
    let returned = result.split(|c: char| c != '-' && !c.is_ascii_digit()).next()?.parse().ok()?;
    Some(Call { name, arguments, returned })
}

/// The first argument as a descriptor and the file behind it.
fn descriptor(arguments: &str) -> Option<(i64, &str)> {
    let (number, rest) = arguments.split_once('<')?;
    let (path, after) = rest.split_once('>')?;
    // Of a removed file nothing is left to lose.
    (!after.starts_with("(deleted)")).then_some((number.parse().ok()?, path))
}

/// The quoted arguments.
fn paths(arguments: &str) -> Vec<&str> {
    arguments.split('"').skip(1).step_by(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "before";

    /// Plays a trace in which DIR stands for the directory.
    fn left_of(trace: &str, on_disk: &str) -> (BTreeMap<String, String>, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let before = Tree::from([("state".into(), BEFORE.into())]);
        fs::write(root.join("state"), on_disk).unwrap();
        let trace = trace.replace("DIR", root.to_str().unwrap());
        let left = cut(&root, &before, &trace).unwrap();
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let tree =
            left.tree.into_iter().map(|(path, content)| (text(path), String::from_utf8(content).unwrap()));
        (tree.collect(), left.lost.into_iter().map(text).collect())
    }

    #[test]
    fn a_file_moved_into_place_is_lost_unless_both_it_and_its_directory_were_synced() {
        let file = "7 fsync(9<DIR/.tmp>) = 0\n";
        let directory = "7 fsync(4<DIR>) = 0\n";
        for (file, directory, expected, lost) in [
            ("", "", BEFORE, true),
            (file, "", BEFORE, true),
            ("", directory, "", true),
            (file, directory, "after", false),
        ] {
            let trace = format!(
                "7 openat(AT_FDCWD</>, \"DIR/.tmp\", O_RDWR|O_CREAT|O_EXCL|O_CLOEXEC, 0600) = 9<DIR/.tmp>\n\
                 7 write(9<DIR/.tmp>, \"\"..., 5) = 5\n{file}\
                 7 rename(\"DIR/.tmp\", \"DIR/state\") = 0\n{directory}"
            );
            let (tree, told) = left_of(&trace, "after");
            assert_eq!(tree, BTreeMap::from([("state".to_owned(), expected.to_owned())]), "{trace}");
            assert_eq!(told.contains(&"state".to_owned()), lost, "{trace}");
        }
    }

    #[test]
    fn of_what_was_appended_that_stays_which_a_sync_that_returned_had_covered() {
        let begun = "\
7 openat(AT_FDCWD</>, \"DIR/state\", O_WRONLY|O_APPEND) = 9<DIR/state>
7 write(9<DIR/state>, \"\"..., 2) = 2
7 fdatasync(9<DIR/state> <unfinished ...>
8 write(5<DIR/other>, \"\"..., 2) = 2
";
        let ended = "7 <... fdatasync resumed>) = 0\n";
        let more = "7 write(9<DIR/state>, \"\"..., 3) = 3\n7 +++ killed by SIGKILL +++\n";
        let kept = |lines: &[&str]| left_of(&lines.concat(), "before12345").0["state"].clone();
        assert_eq!(kept(&[begun]), "before", "the sync had not returned");
        assert_eq!(kept(&[begun, ended]), "before12");
        assert_eq!(kept(&[begun, ended, more]), "before12");
        assert_eq!(left_of(&[begun, ended, more].concat(), "before12345").1, ["state"]);
    }

    #[test]
    fn overwriting_without_a_sync_is_undone_and_failed_calls_change_nothing() {
        let trace = "\
7 openat(AT_FDCWD</>, \"DIR/state\", O_RDWR) = 9<DIR/state>
7 pwrite64(9<DIR/state>, \"\"..., 3, 0) = 3
7 fdatasync(9<DIR/state>) = -1 EIO (Input/output error)";
        assert_eq!(left_of(trace, "AFTore").0["state"], BEFORE);
    }
}
