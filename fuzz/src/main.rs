//! `signonce-fuzz`: writes the corpus, or gives one input to one target: `signonce-fuzz [TARGET FILE]`.

use std::path::Path;
use std::process::ExitCode;

fn main() -> std::io::Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match &args[..] {
        [] => write_corpus(&Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")).map(|()| ExitCode::SUCCESS),
        [target, file] => match signonce_fuzz::TARGETS.iter().find(|(name, _)| name == target) {
            Some((_, run)) => {
                println!("{}", if run(&std::fs::read(file)?) { "accepted" } else { "not accepted" });
                Ok(ExitCode::SUCCESS)
            }
            None => {
                eprintln!("there is no target {target}");
                Ok(ExitCode::from(2))
            }
        },
        _ => {
            eprintln!("usage: signonce-fuzz [TARGET FILE]");
            Ok(ExitCode::from(2))
        }
    }
}

fn write_corpus(corpus: &Path) -> std::io::Result<()> {
    for (target, _) in signonce_fuzz::TARGETS {
        let directory = corpus.join(target);
        std::fs::create_dir_all(&directory)?;
        for (name, bytes) in signonce_fuzz::seeds::of(target) {
            std::fs::write(directory.join(name), bytes)?;
        }
    }
    Ok(())
}
