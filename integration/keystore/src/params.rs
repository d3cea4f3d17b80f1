//! The node's command line: which signers, and the certificates.

use clap::Args;
use std::path::PathBuf;

/// To be flattened into the node's own arguments: `#[command(flatten)] remote_signer: RemoteSignerParams`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(about = None, long_about = None, next_help_heading = "Remote signer")]
pub struct RemoteSignerParams {
    /// A signer that holds this validator's session keys, `https://host:port`.
    ///
    /// Give the option once per node of the signer cluster: the validator asks the leader and goes to another node
    /// when one fails. No session key lies on the validator then, and none can be signed with twice. Needs
    /// --remote-signer-cert, --remote-signer-key and --remote-signer-ca. In the environment, separate URLs by commas.
    #[arg(
        long = "remote-signer",
        value_name = "URL",
        env = "SIGNONCE_REMOTE_SIGNER",
        value_delimiter = ',',
        num_args = 1
    )]
    pub remote_signer: Vec<String>,

    /// This validator's client certificate for the signers, PEM, its own first.
    ///
    /// The signers know the validator by it: `signonce clients add` gives the client of this name its rights.
    #[arg(long, value_name = "PATH", env = "SIGNONCE_REMOTE_SIGNER_CERT")]
    pub remote_signer_cert: Option<PathBuf>,

    /// The private key of --remote-signer-cert, PEM.
    #[arg(long, value_name = "PATH", env = "SIGNONCE_REMOTE_SIGNER_KEY")]
    pub remote_signer_key: Option<PathBuf>,

    /// The certificate authority that the signers' certificates come from, PEM. No other authority is believed.
    #[arg(long, value_name = "PATH", env = "SIGNONCE_REMOTE_SIGNER_CA")]
    pub remote_signer_ca: Option<PathBuf>,

    /// How long the start of the node waits for the signers to list its keys, in seconds; 2 if it is not given.
    ///
    /// A validator that starts before its signers goes on after this time with the keys that they listed last, or
    /// without, and takes up what they list when they do. Parachain duties are taken up once per session, which on
    /// Polkadot is four hours: a validator that may start together with its signers should wait some minutes. An
    /// interrupt is answered after the wait.
    #[arg(long, value_name = "SECONDS", env = "SIGNONCE_REMOTE_SIGNER_WAIT")]
    pub remote_signer_wait: Option<u64>,
}

impl RemoteSignerParams {
    /// Whether the node is to use a remote signer.
    pub fn is_set(&self) -> bool {
        !self.remote_signer.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    /// A node's own command line.
    #[derive(Parser)]
    #[command(about = "a node")]
    struct Cli {
        #[command(flatten)]
        remote_signer: RemoteSignerParams,
        #[arg(long)]
        other: bool,
    }

    fn parse(args: &[&str]) -> RemoteSignerParams {
        let cli = Cli::try_parse_from([&["node"], args].concat()).unwrap_or_else(|e| panic!("{e}"));
        cli.remote_signer
    }

    #[test]
    fn without_the_option_the_node_keeps_its_own_keys() {
        assert!(!parse(&["--other"]).is_set());
    }

    #[test]
    fn signers_can_be_named_one_by_one_or_in_one_list() {
        let each = parse(&["--remote-signer", "https://a:1", "--remote-signer", "https://b:2"]);
        assert_eq!(each.remote_signer, ["https://a:1", "https://b:2"]);
        assert!(each.is_set());
        assert_eq!(parse(&["--remote-signer", "https://a:1,https://b:2"]), each);
    }

    #[test]
    fn the_option_takes_one_value_at_a_time_so_that_what_follows_is_not_swallowed() {
        assert!(Cli::try_parse_from(["node", "--remote-signer", "https://a:1", "https://b:2"]).is_err());
    }

    #[test]
    fn files_are_taken_as_they_are() {
        let params = parse(&[
            "--remote-signer=https://a:1",
            "--remote-signer-cert=c.pem",
            "--remote-signer-key=k.pem",
            "--remote-signer-ca=ca.pem",
            "--remote-signer-wait=300",
        ]);
        assert_eq!(params.remote_signer_cert, Some("c.pem".into()));
        assert_eq!(params.remote_signer_key, Some("k.pem".into()));
        assert_eq!(params.remote_signer_ca, Some("ca.pem".into()));
        assert_eq!(params.remote_signer_wait, Some(300));
    }

    #[test]
    fn the_help_names_the_environment_variables_and_leaves_the_nodes_own_words_alone() {
        let help = <Cli as clap::CommandFactory>::command().render_long_help().to_string();
        for word in [
            "a node",
            "SIGNONCE_REMOTE_SIGNER",
            "SIGNONCE_REMOTE_SIGNER_CERT",
            "SIGNONCE_REMOTE_SIGNER_KEY",
            "SIGNONCE_REMOTE_SIGNER_CA",
            "SIGNONCE_REMOTE_SIGNER_WAIT",
            "signonce clients add",
        ] {
            assert!(help.contains(word), "{word} is not in:\n{help}");
        }
        assert!(!help.contains("Flatten into"), "{help}");
    }
}
