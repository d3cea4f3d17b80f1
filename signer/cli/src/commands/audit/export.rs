//! `signonce audit export`

use super::{moment, pages};
use crate::commands::common::{Done, Reach, say, stdout};
use anyhow::Context as _;
use signonce_cluster::clock::unix_ms;
use signonce_protocol::{Hash, PublicKey};
use signonce_shared::audit::{
    file::{Line, Writer},
    query::{AuditPage, AuditQuery},
};
use std::{
    fs::OpenOptions,
    io::{BufWriter, Write},
    path::PathBuf,
    process::ExitCode,
};

/// Writes audit records as JSON lines, so that `audit verify` can check them anywhere.
///
/// The file has one node's records. Where that node lacks some (it took a snapshot, or has pruned them), the file says
/// so.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The file to write, which must not exist yet. Without it, standard output.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Only records from this time on: 2026-11-21T20:00:00Z, 2026-11-21, or 90m, 12h, 7d ago.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<u64>,
    /// Only records up to this time, in the same forms.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<u64>,
    /// Only records from this number on.
    #[arg(long, value_name = "NUMBER")]
    from_index: Option<u64>,
    /// Only records about this public key. Of the others the hashes are written, so that the file can still be checked.
    #[arg(long, value_name = "0xPUBLIC")]
    key: Option<PublicKey>,
    /// Only records about this client, by name or number. Of the others the hashes are written.
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Args) -> Done {
    let admin = args.reach.client()?;
    let mut out: Box<dyn Write> = match &args.file {
        Some(path) => {
            let file = OpenOptions::new().write(true).create_new(true).open(path);
            Box::new(BufWriter::new(file.with_context(|| format!("cannot write {}", path.display()))?))
        }
        None => Box::new(BufWriter::new(stdout())),
    };
    let query = AuditQuery {
        from: args.from_index,
        since_ms: args.since,
        key: args.key,
        client: args.client,
        hashes: true,
        ..AuditQuery::default()
    };
    let mut export = Export { writer: None, until: args.until, written: 0 };
    let taken = pages(&admin, query, |page| export.page(page, &mut out)).await;
    let ended = taken.and_then(|()| export.end(&mut out));
    if let (Err(_), Some(path)) = (&ended, &args.file) {
        // Half a file is of no use and in the way of the next attempt.
        let _ = std::fs::remove_file(path);
    }
    let written = ended?;
    if let Some(path) = args.file {
        say!("Wrote {written} lines to {}.", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

struct Export {
    writer: Option<Writer>,
    until: Option<u64>,
    written: u64,
}

impl Export {
    /// Writes a page; whether to continue.
    fn page(&mut self, page: AuditPage, out: &mut dyn Write) -> anyhow::Result<bool> {
        if self.writer.is_none() {
            let (from, chain) = match page.lines.first() {
                Some(line) => (line.seq, line.before),
                None => (page.next, if page.next == 0 { Hash::default() } else { page.head.1 }),
            };
            let (writer, header) = Writer::start(page.cluster, page.node, unix_ms(), from, chain);
            self.writer = Some(writer);
            self.line(&header, out)?;
        }
        for line in page.lines {
            // Clocks of nodes differ a little: everything from the first newer record on is left out, so that the chain
            // stays without gaps.
            let newer =
                line.record.as_ref().zip(self.until).is_some_and(|(record, until)| record.time_ms > until);
            if newer {
                return Ok(false);
            }
            let lines = self.writer.as_mut().map(|writer| writer.add(line)).unwrap_or_default();
            for line in lines {
                self.line(&line, out)?;
            }
        }
        Ok(true)
    }

    fn end(mut self, out: &mut dyn Write) -> anyhow::Result<u64> {
        if let Some(writer) = self.writer.take() {
            self.line(&writer.end(), out)?;
        }
        out.flush()?;
        Ok(self.written)
    }

    fn line(&mut self, line: &Line, out: &mut dyn Write) -> anyhow::Result<()> {
        writeln!(out, "{}", serde_json::to_string(line)?)?;
        self.written += 1;
        Ok(())
    }
}
