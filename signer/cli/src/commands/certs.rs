//! `signonce certs`: a small certificate authority.

use super::common::{Done, Output, Usage};
use clap::Subcommand;
use serde_json::json;
use signonce_core::replica::hello::ClusterId;
use signonce_protocol::NodeId;
use signonce_shared::{
    certs::{Authority, CA_CERTIFICATE, CA_KEY, CERTIFICATE_DAYS, Issued, Subject},
    tls::PeerIdentity,
};
use std::{path::PathBuf, process::ExitCode};

/// Makes the certificates of a cluster, for those without an authority of their own.
///
/// One authority issues the certificates of nodes, validators (clients) and operators (admins). Keep its private key
/// off the signers: whoever has it can issue an admin certificate. Existing files are never overwritten.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Init(Init),
    /// Issues a certificate for a node, a client or an admin.
    #[command(subcommand)]
    Issue(Issue),
}

/// Makes an authority: ca.pem, for every node and client, and ca-key.pem, which must stay with you.
#[derive(clap::Args, Debug)]
struct Init {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    output: Output,
}

#[derive(clap::Args, Debug)]
struct Place {
    /// The directory of the authority. Certificates are written there as well.
    #[arg(long, value_name = "DIR", default_value = "certs")]
    dir: PathBuf,
}

#[derive(clap::Args, Debug)]
struct Common {
    #[command(flatten)]
    place: Place,
    /// Write certificate and key to this directory instead of the authority's.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How many days the certificate is valid.
    #[arg(long, default_value_t = CERTIFICATE_DAYS, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    #[command(flatten)]
    output: Output,
}

#[derive(Subcommand, Debug)]
enum Issue {
    /// For a signer. The certificate names the cluster and the node, so no other node can use it.
    Node {
        /// The node's id.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        id: u64,
        /// The cluster's id: 32 hex digits, the same for every node (`signonce init` prints it).
        #[arg(long, value_name = "HEX")]
        cluster: ClusterId,
        /// A host name or IP address that clients and admins reach the node by. Repeatable.
        #[arg(long = "host", value_name = "NAME|IP", required = true)]
        hosts: Vec<String>,
        #[command(flatten)]
        common: Common,
    },
    /// For a validator. Register it with `signonce clients add NAME --cert FILE`.
    Client {
        /// The validator's name.
        name: String,
        #[command(flatten)]
        common: Common,
    },
    /// For an operator. It opens the admin API of every node.
    Admin {
        /// The operator's name, as the audit shows it.
        name: String,
        #[command(flatten)]
        common: Common,
    },
}

pub(super) fn run(args: Args) -> Done {
    match args.command {
        Command::Init(Init { place, output }) => {
            Authority::create(&place.dir)?;
            let (ca, key) = (place.dir.join(CA_CERTIFICATE), place.dir.join(CA_KEY));
            let text = format!(
                "Made an authority.\n  {}  goes to every node and client\n  {}  stays here: whoever has it can \
                 make an admin\n\nNext: signonce certs issue node --dir {} --id 1 --cluster HEX --host NAME",
                ca.display(),
                key.display(),
                place.dir.display()
            );
            output.done(&json!({ "ca": ca, "caKey": key }), text)?;
        }
        Command::Issue(Issue::Node { id, cluster, hosts, common }) => {
            issue(&Subject::Node { cluster, node: NodeId(id), hosts }, &common)?;
        }
        Command::Issue(Issue::Client { name, common }) => issue(&Subject::Client(name), &common)?,
        Command::Issue(Issue::Admin { name, common }) => issue(&Subject::Admin(name), &common)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn issue(subject: &Subject, common: &Common) -> anyhow::Result<()> {
    let dir = common.out.as_ref().unwrap_or(&common.place.dir);
    let issued = Authority::open(&common.place.dir)?.issue(dir, subject, common.days);
    let Issued { cert, key } = issued.map_err(|error| match error {
        signonce_shared::certs::CertsError::BadName { .. } => anyhow::Error::from(Usage(error.to_string())),
        other => other.into(),
    })?;
    let spki = PeerIdentity::of_file(&cert)?.spki.to_string();
    let next = match subject {
        Subject::Client(name) => format!("\n\nNext: signonce clients add {name} --cert {}", cert.display()),
        Subject::Node { .. } | Subject::Admin(_) => String::new(),
    };
    let text = format!(
        "Issued for {} days:\n  {}\n  {}  (private: move it to its machine, keep no copy)\n  SPKI {spki}{next}",
        common.days,
        cert.display(),
        key.display()
    );
    common.output.done(&json!({ "cert": cert, "key": key, "spki": spki, "days": common.days }), text)
}
