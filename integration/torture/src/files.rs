//! Whole directories: copied, read into memory and put back.

use anyhow::Context as _;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Every file below a directory with its content, by its path in it.
pub type Tree = BTreeMap<PathBuf, Vec<u8>>;

/// Copies a directory and the plain files in it.
///
/// # Errors
/// If something cannot be read or written.
pub fn copy_dir(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("{}", from.display()))? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_dir(&entry.path(), &to.join(entry.file_name()))?;
        } else if kind.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Reads a directory.
///
/// # Errors
/// If something cannot be read.
pub fn read_tree(dir: &Path) -> anyhow::Result<Tree> {
    fn walk(root: &Path, dir: &Path, tree: &mut Tree) -> anyhow::Result<()> {
        for entry in fs::read_dir(dir).with_context(|| format!("{}", dir.display()))? {
            let path = entry?.path();
            let kind = fs::symlink_metadata(&path)?.file_type();
            if kind.is_dir() {
                walk(root, &path, tree)?;
            } else if kind.is_file() {
                tree.insert(path.strip_prefix(root)?.to_owned(), fs::read(&path)?);
            }
        }
        Ok(())
    }
    let mut tree = Tree::new();
    walk(dir, dir, &mut tree)?;
    Ok(tree)
}

/// Makes a directory hold exactly these files. Subdirectories stay.
///
/// # Errors
/// If something cannot be written.
pub fn put_tree(dir: &Path, tree: &Tree) -> anyhow::Result<()> {
    for path in read_tree(dir)?.into_keys().filter(|path| !tree.contains_key(path)) {
        fs::remove_file(dir.join(path))?;
    }
    for (path, content) in tree {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().context("a file is in a directory")?)?;
        // Not over the old one: its mode stays, and nothing that is still open sees it change.
        let old = fs::metadata(&path).ok().map(|metadata| metadata.permissions());
        fs::write(&path, content)?;
        if let Some(mode) = old {
            fs::set_permissions(&path, mode)?;
        }
    }
    Ok(())
}
