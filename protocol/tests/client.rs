//! The client against signers that answer by script, over real TLS on the loopback.

mod common;

use common::*;
use signonce_protocol::{
    client::{ClientError, SignerClient},
    rpc::*,
    *,
};
use signonce_substrate::{BABE, EpochIndex, Kind, SR25519, VrfParams, VrfReply};
use std::time::Duration;
use tokio::net::TcpListener;

fn params() -> SignParams {
    signonce_substrate::install();
    SignParams {
        chain: ChainRef::Name("polkadot".into()),
        key: public(1),
        payload: RawPayload::new(Kind::BabeHeader.into(), vec![1, 2, 3]),
    }
}

fn hint(node: u64, url: &str) -> Option<LeaderHint> {
    Some(LeaderHint { node: NodeId(node), url: Some(url.into()) })
}

/// Three signers with these scripts, and a client of them all.
async fn three(
    scripts: [Vec<Result<SignReply, RpcError>>; 3],
) -> (Vec<FakeSigner>, Vec<Served>, SignerClient) {
    let authority = Authority::new();
    let (mut signers, mut served) = (Vec::new(), Vec::new());
    for (node, script) in (1..).zip(scripts) {
        let signer = FakeSigner::new(node, script);
        served.push(authority.serve(&signer, "localhost").await);
        signers.push(signer);
    }
    let tls = authority.client_tls(&authority.issue("validator"));
    let client = client(served.iter().map(|s| s.url.clone()), tls, 20_000);
    (signers, served, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signer_gets_named_parameters_and_the_clients_certificate() {
    let authority = Authority::new();
    let signer = FakeSigner::new(1, [Ok(granted(7))]);
    let served = authority.serve(&signer, "localhost").await;
    let identity = authority.issue("validator");
    let client = client([served.url.clone()], authority.client_tls(&identity), 20_000);

    assert_eq!(client.sign(&params()).await.unwrap(), granted(7));
    let vrf = VrfParams {
        chain: ChainId([9; 32]).into(),
        key: public(2),
        slot: Slot(5),
        epoch_index: EpochIndex(6),
        randomness: Hash([8; 32]),
    };
    assert_eq!(
        client.ask(&vrf).await.unwrap(),
        VrfReply { pre_output: [2; 32].into(), proof: [3; 64].into() }
    );
    assert_eq!(client.keys().await.unwrap(), [signer.key()]);
    assert_eq!(client.status().await.unwrap().node, NodeId(1));

    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let shown = CertificateDer::from_pem_slice(identity.cert.as_bytes()).unwrap().to_vec();
    let certificate = Some(ShownCertificate(shown));
    let signed = format!("{:?}", params().payload);
    let evaluated = format!("5 6 {}", Hash([8; 32]));
    assert_eq!(
        signer.asked(),
        [
            Asked { chain: params().chain, key: public(1), what: signed, certificate: certificate.clone() },
            Asked { chain: vrf.chain, key: public(2), what: evaluated, certificate },
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_returned_at_once_and_nobody_else_is_asked() {
    let duty = babe_block(5);
    let equivocation = RpcError::equivocation(
        duty,
        Digest([1; 32]),
        Digest([2; 32]),
        LogIndex(4),
        1_700_000_000_000,
        "validator-b",
    );
    let not_yet = RpcError::new(ErrorCode::SlotOutOfRange, "too early");
    for refusal in [equivocation, not_yet] {
        let (signers, _served, client) =
            three([vec![Err(refusal.clone())], vec![Ok(granted(2))], vec![]]).await;
        match client.sign(&params()).await {
            Err(ClientError::Refused(error)) => assert_eq!(error, refusal),
            other => panic!("{other:?}"),
        }
        assert_eq!(signers[0].asked().len(), 1);
        assert!(signers[1].asked().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hint_leads_to_the_leader_now_and_next_time() {
    let (signers, served, client) = three([vec![], vec![Ok(granted(2))], vec![Ok(granted(3))]]).await;
    let not_ready = RpcError::not_ready("no lease", hint(3, &served[2].url.replace("https", "wss")));
    signers[0].script.lock().unwrap().answers = [Err(not_ready)].into();
    assert_eq!(client.sign(&params()).await.unwrap(), granted(3));
    assert_eq!(client.sign(&params()).await.unwrap(), granted(3));
    assert_eq!(client.preferred_url(), served[2].url);
    assert_eq!(signers.iter().map(|s| s.asked().len()).collect::<Vec<_>>(), [1, 0, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_from_a_follower_leads_to_the_leader_next_time() {
    let (signers, served, client) = three([vec![], vec![Ok(granted(2))], vec![]]).await;
    let by_follower = SignReply { leader: hint(2, &served[1].url), ..granted(1) };
    signers[0].script.lock().unwrap().answers = [Ok(by_follower.clone())].into();
    assert_eq!(client.sign(&params()).await.unwrap(), by_follower);
    assert_eq!(client.sign(&params()).await.unwrap(), granted(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hint_to_a_stranger_is_not_followed() {
    let stranger = RpcError::not_ready("no lease", hint(9, "https://attacker.example:7000"));
    let (signers, served, client) = three([vec![Err(stranger)], vec![Ok(granted(2))], vec![]]).await;
    assert_eq!(client.sign(&params()).await.unwrap(), granted(2));
    assert_eq!(client.preferred_url(), served[1].url);
    assert!(signers[2].asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_is_asked_for_again_with_the_very_same_payload() {
    let unknown = RpcError::unknown_outcome(Some(babe_block(5)), None);
    let repeated = SignReply { verdict: SignVerdict::Repeated, ..granted(2) };
    let (signers, _served, client) = three([vec![Err(unknown)], vec![Ok(repeated.clone())], vec![]]).await;
    assert_eq!(client.sign(&params()).await.unwrap(), repeated);
    assert_eq!(signers[0].asked(), signers[1].asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_asked_for_elsewhere_only_where_none_can_have_been_made() {
    let params = GenerateKeyParams { chain: ChainRef::Name("polkadot".into()), key_type: BABE };
    let not_ready = || Err(RpcError::not_ready("no quorum", None));
    let (signers, _served, client) = three([vec![not_ready()], vec![not_ready()], vec![]]).await;
    let made = client.generate_key(&params).await.unwrap();
    assert_eq!((made.key_type, made.scheme), (BABE, SR25519));
    assert_eq!(signers.iter().map(|s| s.asked().len()).collect::<Vec<_>>(), [1, 1, 1]);

    let unknown = Err(RpcError::unknown_outcome(None, None));
    let (signers, _served, client) = three([vec![unknown], vec![], vec![]]).await;
    assert!(matches!(client.generate_key(&params).await, Err(ClientError::UnknownOutcome { .. })));
    assert_eq!(signers.iter().map(|s| s.asked().len()).collect::<Vec<_>>(), [1, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_signer_and_a_frozen_one_are_passed_over() {
    let authority = Authority::new();
    let signer = FakeSigner::new(3, [Ok(granted(3))]);
    let served = authority.serve(&signer, "localhost").await;
    // A port that nobody listens on any more, and one where connections are never accepted.
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let frozen = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let urls = [
        format!("https://localhost:{}", dead.port()),
        format!("https://localhost:{}", frozen.local_addr().unwrap().port()),
        served.url.clone(),
    ];
    let tls = authority.client_tls(&authority.issue("validator"));
    let client = client(urls, tls, 20_000);
    assert_eq!(client.sign(&params()).await.unwrap(), granted(3));
    assert_eq!(client.preferred_url(), served.url);
    let unreachable: Vec<_> = client.warm_up().await.into_iter().map(|(url, _)| url).collect();
    assert_eq!(unreachable.len(), 2);
    assert!(!unreachable.contains(&served.url));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signer_that_dies_between_two_requests_is_replaced() {
    let (_signers, served, client) = three([vec![Ok(granted(1))], vec![Ok(granted(2))], vec![]]).await;
    assert_eq!(client.sign(&params()).await.unwrap(), granted(1));
    served[0].kill().await;
    assert_eq!(client.sign(&params()).await.unwrap(), granted(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_deadline_the_error_says_whether_something_may_be_signed() {
    let not_ready = || vec![Err(RpcError::not_ready("no quorum", None))];
    let unknown =
        || vec![Err(RpcError::unknown_outcome(None, None)), Err(RpcError::not_ready("no quorum", None))];

    let (_signers, _served, client) = three([not_ready(), not_ready(), not_ready()]).await;
    assert!(client.warm_up().await.is_empty());
    let client = client.with_deadline(Duration::from_millis(500));
    let mut said = None;
    // On a machine that stalls, an attempt can time out, and then the outcome is rightly unknown.
    for _ in 0..10 {
        match client.sign(&params()).await {
            Err(ClientError::NotReady { why, .. }) => {
                said = Some(why);
                break;
            }
            Err(ClientError::UnknownOutcome { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(said.as_ref().is_some_and(|why| why.contains("no quorum")), "{said:?}");

    let (_signers, _served, client) = three([unknown(), not_ready(), not_ready()]).await;
    assert!(client.warm_up().await.is_empty());
    let client = client.with_deadline(Duration::from_millis(500));
    assert!(matches!(client.sign(&params()).await, Err(ClientError::UnknownOutcome { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_side_talks_to_a_stranger() {
    let authority = Authority::new();
    let other = Authority::new();
    let signer = FakeSigner::new(1, [Ok(granted(1))]);
    let served = authority.serve(&signer, "localhost").await;
    let renamed = served.url.replace("localhost", "127.0.0.1");
    let ours = authority.issue("validator");
    let cases = [
        ("another host's certificate", renamed, authority.client_tls(&ours)),
        ("an unknown authority", served.url.clone(), other.client_tls(&other.issue("validator"))),
    ];
    for (what, url, tls) in cases {
        match client([url], tls, 2_000).sign(&params()).await {
            Err(ClientError::NotReady { why, .. }) => assert!(why.contains("TLS"), "{what}: {why}"),
            answer => panic!("{what}: {answer:?}"),
        }
    }
    // It trusts the signer, but shows a certificate of another authority: the signer hangs up.
    let theirs = other.issue("validator");
    let client = client([served.url.clone()], authority.client_tls(&theirs), 2_000);
    assert!(client.sign(&params()).await.is_err());
    assert!(signer.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_stream_goes_on_at_another_signer_with_the_whole_list() {
    let (signers, served, client) = three([vec![], vec![], vec![]]).await;
    let mut stream = client.subscribe_keys().await.unwrap();
    let whole =
        |signer: &FakeSigner| KeysEvent::All { applied: LogIndex(signer.node.0), keys: vec![signer.key()] };
    assert_eq!(stream.next().await.unwrap(), whole(&signers[0]));
    served[0].kill().await;
    assert_eq!(stream.next().await.unwrap(), whole(&signers[1]));
    assert_eq!(signers[2].script.lock().unwrap().subscribers, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_requests_share_one_connection() {
    let authority = Authority::new();
    let signer = FakeSigner::new(1, [Ok(granted(1))]);
    let served = authority.serve(&signer, "localhost").await;
    let client = client([served.url.clone()], authority.client_tls(&authority.issue("validator")), 20_000);
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.sign(&params()).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap(), granted(1));
    }
    assert_eq!(signer.asked().len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_and_signature_of_the_last_answer_are_shown_to_a_signer_that_asks_for_them() {
    let first = params();
    let second = SignParams { payload: RawPayload::new(Kind::BabeHeader.into(), vec![4, 5, 6]), ..params() };
    let unproved = || Err(RpcError::unproved("this node does not know of slot 7"));
    let script = vec![Ok(granted(7)), unproved(), Ok(granted(8))];
    let (signers, _served, client) = three([script, vec![Ok(granted(9))], vec![Ok(granted(9))]]).await;
    client.sign(&first).await.unwrap();
    assert_eq!(client.sign(&second).await.unwrap(), granted(8), "the signer that asked gets the proof");
    let shown = signers[0].script.lock().unwrap().shown.clone();
    let proof = Signed { payload: first.payload.clone(), signature: granted(7).signature };
    let with_proof = LastSigned {
        log_index: granted(7).log_index.unwrap(),
        duty: granted(7).duty.unwrap(),
        digest: first.payload.digest(),
        signed: Some(proof),
    };
    let bare = LastSigned { signed: None, ..with_proof.clone() };
    assert_eq!(shown, [None, Some(bare), Some(with_proof)], "and only then");
    assert!(signers[1].asked().is_empty() && signers[2].asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signer_that_lags_is_passed_over_by_whoever_cannot_prove() {
    let unproved = || vec![Err(RpcError::unproved("this node does not know of slot 7"))];
    let (signers, _served, client) = three([unproved(), vec![Ok(granted(9))], unproved()]).await;
    assert_eq!(client.sign(&params()).await.unwrap(), granted(9));
    assert_eq!(signers[1].asked().len(), 1);
}

#[test]
fn of_a_list_of_keys_a_client_reads_those_that_it_knows() {
    signonce_substrate::install();
    let key = |key_type: &str, classes: &[&str], marks: &[&str]| {
        let marks: Vec<_> = marks.iter().map(|class| serde_json::json!({ "class": class })).collect();
        serde_json::json!({
            "chain": "c", "genesis": ChainId([1; 32]), "type": key_type, "scheme": "sr25519",
            "public": format!("0x{}", "01".repeat(32)), "state": "armed", "classes": classes, "watermarks": marks,
        })
    };
    let all = |keys: &[serde_json::Value]| {
        serde_json::from_value::<KeysEvent>(serde_json::json!({ "event": "all", "applied": 1, "keys": keys }))
    };
    // Of another family, with another scheme too; and one of ours that newer signers have more to say of.
    let mut foreign = key("ferr", &["crossing"], &["crossing"]);
    foreign["scheme"] = "lantern".into();
    let newer = key("babe", &["babeBlock", "babeDance"], &["babeBlock", "babeDance"]);
    let KeysEvent::All { keys, .. } = all(&[foreign, newer]).unwrap() else { panic!() };
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].classes, [signonce_substrate::BABE_BLOCK]);
    assert_eq!(keys[0].watermarks.len(), 1);
    // What is known is read as strictly as ever.
    assert!(all(&[key("babe", &["babeBlock"], &[]), serde_json::json!({ "type": "babe" })]).is_err());
}
