//! A client whose certificate, key and authorities change in their files while it runs, against signers over real TLS.

mod common;

use common::*;
use signonce_protocol::{
    client::{SignerClient, TlsSource, pem::Pem},
    rpc::*,
    *,
};
use signonce_substrate::Kind;
use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The files of a client, gone afterwards.
struct Files(PathBuf);

impl Files {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("signonce-client-files-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn write(&self, identity: &Identity) {
        std::fs::write(self.0.join("cert.pem"), &identity.cert).unwrap();
        std::fs::write(self.0.join("key.pem"), &identity.key).unwrap();
    }

    fn trust(&self, authorities: &[&Authority]) {
        let pem: String = authorities.iter().map(|authority| authority.pem()).collect();
        std::fs::write(self.0.join("ca.pem"), pem).unwrap();
    }

    fn source(&self) -> TlsSource {
        let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| self.0.join(name));
        TlsSource::Files { ca, cert, key }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn params() -> SignParams {
    signonce_substrate::install();
    SignParams {
        chain: ChainRef::Name("polkadot".into()),
        key: public(1),
        payload: RawPayload::new(Kind::BabeHeader.into(), vec![1, 2, 3]),
    }
}

fn shown(identity: &Identity) -> ShownCertificate {
    let chain = Pem::of("the test's", identity.cert.as_bytes()).certificates().unwrap();
    ShownCertificate(chain[0].to_vec())
}

fn last_shown(signer: &FakeSigner) -> Option<ShownCertificate> {
    signer.asked().last().and_then(|asked| asked.certificate.clone())
}

/// A signer of this authority, and a client of it with these files, for which it has signed.
async fn served(
    authority: &Authority,
    files: &Files,
    identity: &Identity,
    deadline_ms: u64,
) -> (FakeSigner, Served, SignerClient) {
    let signer = FakeSigner::new(1, [Ok(granted(1))]);
    let served = authority.serve(&signer, "localhost").await;
    files.trust(&[authority]);
    files.write(identity);
    let client = client([served.url.clone()], files.source(), deadline_ms);
    client.sign(&params()).await.unwrap();
    (signer, served, client)
}

/// Has something signed again and again until `done`; every request is answered meanwhile.
async fn until(client: &SignerClient, what: &str, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "{what}: {:?}", client.certificates());
        client.sign(&params()).await.expect("no request is lost over certificates");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn not_used(client: &SignerClient) -> Option<String> {
    client.certificates().expect("it has files").not_used
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_without_a_restart_and_no_request_is_lost() {
    let (authority, files) = (Authority::new(), Files::new());
    let (old, new) = (authority.issue("validator"), authority.issue("validator"));
    let (signer, _served, client) = served(&authority, &files, &old, 20_000).await;
    let mut keys = client.subscribe_keys().await.unwrap();
    keys.next().await.unwrap();
    assert_eq!(last_shown(&signer), Some(shown(&old)));

    files.write(&new);
    until(&client, "the new certificate is shown", || last_shown(&signer) == Some(shown(&new))).await;
    assert_eq!(not_used(&client), None);
    // The subscription has moved as well: its first event there is the whole list.
    let moved = tokio::time::timeout(PATIENCE, keys.next()).await.expect("an event of the new subscription");
    assert!(matches!(moved, Ok(KeysEvent::All { .. })), "{moved:?}");
    assert_eq!(signer.script.lock().unwrap().subscribers, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signer_that_knows_only_a_new_authority_is_reached_without_a_restart() {
    let (old, new, files) = (Authority::new(), Authority::new(), Files::new());
    let signers = [FakeSigner::new(1, [Ok(granted(1))]), FakeSigner::new(2, [Ok(granted(2))])];
    let before = old.serve(&signers[0], "localhost").await;
    let after = new.serve(&signers[1], "localhost").await;
    files.trust(&[&old]);
    files.write(&old.issue("validator"));
    let client = client([before.url.clone(), after.url.clone()], files.source(), 20_000);
    client.sign(&params()).await.unwrap();
    assert_eq!(client.warm_up().await.len(), 1, "the second signer is a stranger still");

    files.trust(&[&old, &new]);
    let renewed = new.issue("validator");
    files.write(&renewed);
    let began = Instant::now();
    while !client.warm_up().await.is_empty() {
        assert!(began.elapsed() < PATIENCE, "{:?}", client.certificates());
    }
    // The first one does not know the new authority. It served on meanwhile, and goes now.
    client.sign(&params()).await.unwrap();
    assert!(signers[1].asked().is_empty());
    before.kill().await;
    client.sign(&params()).await.unwrap();
    assert_eq!(last_shown(&signers[1]), Some(shown(&renewed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_used_change_nothing_and_are_told_of_until_they_can() {
    let (authority, files) = (Authority::new(), Files::new());
    let (old, new) = (authority.issue("validator"), authority.issue("validator"));
    let (signer, _served, client) = served(&authority, &files, &old, 20_000).await;
    let ends = client.certificates().unwrap().client_ends;
    assert!(ends.is_some());
    let identity = |cert: &str, key: &str| Identity { cert: cert.into(), key: key.into() };
    for (what, bad) in [
        ("another certificate's key", identity(&old.cert, &new.key)),
        ("no certificate", identity("", &old.key)),
        ("an ended certificate", authority.issue_ended("validator")),
    ] {
        files.write(&bad);
        until(&client, what, || not_used(&client).is_some()).await;
        let why = not_used(&client).unwrap();
        assert!(!why.contains("PRIVATE"), "{why}");
        assert_eq!(last_shown(&signer), Some(shown(&old)), "{what}");
        // What was there before is as good as ever.
        files.write(&old);
        until(&client, what, || not_used(&client).is_none()).await;
    }
    std::fs::remove_file(files.0.join("key.pem")).unwrap();
    until(&client, "a file is missing", || not_used(&client).is_some()).await;
    files.write(&new);
    until(&client, "good files", || last_shown(&signer) == Some(shown(&new))).await;
    assert_eq!(not_used(&client), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_a_signer_does_not_take_leaves_the_old_one_in_use_there() {
    let (authority, stranger, files) = (Authority::new(), Authority::new(), Files::new());
    let old = authority.issue("validator");
    let (signer, served, client) = served(&authority, &files, &old, 20_000).await;
    files.write(&stranger.issue("validator"));
    until(&client, "it is told of", || not_used(&client).is_some()).await;
    // Also on the next connection.
    served.kill().await;
    let again = authority.serve_at(served.port, &signer, "localhost").await;
    client.sign(&params()).await.unwrap();
    assert_eq!(last_shown(&signer), Some(shown(&old)));
    drop(again);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_was_taken_out_is_believed_no_more() {
    let (old, new, files) = (Authority::new(), Authority::new(), Files::new());
    let (signer, served, client) = served(&old, &files, &old.issue("validator"), 2_000).await;
    files.trust(&[&new]);
    until(&client, "it is told of", || not_used(&client).is_some()).await;
    // Neither with the new certificate nor with the old one.
    served.kill().await;
    let asked = signer.asked().len();
    let again = old.serve_at(served.port, &signer, "localhost").await;
    assert!(client.sign(&params()).await.is_err());
    assert_eq!(signer.asked().len(), asked);
    drop(again);
}
