//! ARCHITECTURE.md lists every source file with what it is: the first sentence of the file. Nobody looks for a file in vain,
//! and no file says nothing.
//!
//! `SIGNONCE_WRITE_TREE=1 cargo test -p signonce --test tree` writes the list anew.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

const BEGIN: &str = "<!-- tree: begin -->\n";
const END: &str = "<!-- tree: end -->\n";
/// Folders that hold no sources of ours.
const SKIPPED: [&str; 4] = ["target", ".git", "node_modules", "libfuzzer"];
const LONGEST: usize = 110;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() && !SKIPPED.contains(&name.as_str()) && !name.starts_with('.')
        {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The first sentence of what a file says of itself; none for files that belong to another, like most tests of units.
fn says(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).unwrap();
    let doc: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
    let paragraph = doc.split(|line| line.is_empty()).next()?.join(" ");
    let end = paragraph.find(". ").or_else(|| paragraph.find(": ")).map_or(paragraph.len(), |at| at + 1);
    let sentence = paragraph[..end].trim_end_matches([':', '.']).replace('|', "\\|");
    let cut = sentence.char_indices().nth(LONGEST).map(|(at, _)| format!("{}…", sentence[..at].trim_end()));
    Some(cut.unwrap_or(sentence)).filter(|sentence| !sentence.is_empty())
}

/// The list as it should be: by folder, a file and what it is in each line.
fn list() -> String {
    let root = root();
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut folders: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files {
        let inside = file.strip_prefix(&root).unwrap();
        let folder = inside.parent().unwrap().to_string_lossy().into_owned();
        let name = inside.file_name().unwrap().to_string_lossy().into_owned();
        let line = format!(
            "- `{name}` {}",
            says(&file).unwrap_or_else(|| panic!("{} says nothing", inside.display()))
        );
        folders.entry(folder).or_default().push(line);
    }
    let mut text = String::new();
    for (folder, mut lines) in folders {
        lines.sort();
        text += &format!("\n`{folder}/`\n\n{}\n", lines.join("\n"));
    }
    text
}

#[test]
fn every_source_file_is_in_the_tree_of_the_architecture() {
    let page = root().join("ARCHITECTURE.md");
    let text = fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the tree begins");
    let (tree, after) = rest.split_once(END).expect("the tree ends");
    let expected = list();
    if env::var_os("SIGNONCE_WRITE_TREE").is_some() {
        fs::write(page, format!("{before}{BEGIN}{expected}\n{END}{after}")).unwrap();
        return;
    }
    let differs: Vec<&str> =
        expected.lines().filter(|line| !tree.lines().any(|known| known == *line)).collect();
    assert!(
        tree.trim() == expected.trim(),
        "ARCHITECTURE.md does not list the files as they are; SIGNONCE_WRITE_TREE=1 with this test writes the list anew. \
         Not listed so: {differs:#?}"
    );
}
