//! Requests as nodes make them, and the answers as nodes read them.

use super::*;
use signonce_protocol::{HexBytes, rpc::SignVerdict};

fn envelope(message: &Message) -> Envelope {
    Envelope::decode(&*message.encode_to_vec()).unwrap()
}

fn vote() -> Vote {
    Vote {
        r#type: 2,
        height: 7,
        round: 1,
        block_id: Some(BlockId {
            hash: vec![1; 32],
            part_set_header: Some(PartSetHeader { total: 1, hash: vec![2; 32] }),
        }),
        timestamp: Some(ProtoTimestamp { seconds: 1_700_000_000, nanos: 5 }),
        validator_address: vec![3; 20],
        validator_index: 4,
        extension: vec![9; 20_000],
        ..Vote::default()
    }
}

fn reply(carry: Option<Timestamp>, beside: Option<u8>) -> SignReply {
    SignReply {
        signature: vec![5; 64].into(),
        beside: beside.map(|byte| vec![byte; 64].into()),
        carry: carry.map(|time| HexBytes::from(time.to_carry().as_bytes().to_vec())),
        verdict: SignVerdict::Granted,
        duty: None,
        log_index: None,
        leader: None,
    }
}

fn answered(message: Message) -> SignedVoteResponse {
    match message.sum {
        Some(Sum::SignedVoteResponse(response)) => response,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_keeps_the_bytes_that_came() {
    let request = SignVoteRequest { vote: Some(vote()), chain_id: "a-1".into() };
    let bytes = request.encode_to_vec();
    let read = envelope(&wrapped(Sum::SignVoteRequest(request))).request();
    assert_eq!(read, Ok(Request::Vote(bytes)));
    assert_eq!(read.unwrap().chain_id().as_deref(), Some("a-1"));
}

#[test]
fn a_message_with_no_request_or_several_is_named() {
    let request = |bytes: &[u8]| Envelope::decode(bytes).unwrap().request();
    assert_eq!(request(&[0x3a, 0]), Ok(Request::Ping));
    assert_eq!(request(&[]), Err(Unreadable::Unknown));
    assert_eq!(request(&[0x42, 0]), Err(Unreadable::Unknown), "an answer to a ping");
    assert_eq!(request(&[0x3a, 0, 0x1a, 0]), Err(Unreadable::Several(2)));
    assert_eq!(request(&[0x4a, 0]), Err(Unreadable::Raw));
    assert!(matches!(request(&[0x0a, 1, 0xff]), Err(Unreadable::PubKey(_))));
}

#[test]
fn the_answer_is_the_nodes_vote_without_its_extension_and_small_enough_for_every_node() {
    let request = Request::Vote(SignVoteRequest { vote: Some(vote()), chain_id: "a".into() }.encode_to_vec());
    let answer = signed(&request, &reply(None, Some(6))).unwrap();
    assert!(answer.encoded_len() < 10 << 10);
    let SignedVoteResponse { vote: answer, error } = answered(answer);
    let expected =
        Vote { signature: vec![5; 64], extension_signature: vec![6; 64], extension: vec![], ..vote() };
    assert_eq!((answer, error), (Some(expected), None));
}

#[test]
fn a_repeat_has_the_timestamp_that_was_signed_first() {
    let request = Request::Vote(SignVoteRequest { vote: Some(vote()), chain_id: "a".into() }.encode_to_vec());
    let first = Timestamp::new(1_600_000_000, 9).unwrap();
    let answer = answered(signed(&request, &reply(Some(first), None)).unwrap()).vote.unwrap();
    assert_eq!(answer.timestamp, Some(ProtoTimestamp { seconds: 1_600_000_000, nanos: 9 }));
    assert!(answer.extension_signature.is_empty(), "a node stops for good at one that it did not ask for");
    let unreadable = SignReply { carry: Some(vec![1, 2, 3].into()), ..reply(None, None) };
    assert_eq!(signed(&request, &unreadable), None);
}

#[test]
fn a_refusal_is_what_gos_encoder_makes_of_one() {
    let hex = |message: Message| -> String {
        message.encode_to_vec().iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let vote = Request::Vote(vec![]).refused("refused");
    assert_eq!(hex(vote), "22200a11220212002a0b088092b8c398feffffff01120b0802120772656675736564");
    let proposal = Request::Proposal(vec![]).refused("refused");
    assert_eq!(hex(proposal), "32200a112a021200320b088092b8c398feffffff01120b0802120772656675736564");
    let pub_key = Request::PubKey(PubKeyRequest::default()).refused(&"é".repeat(9_000));
    assert!(pub_key.encoded_len() < 1_100, "nodes read no more than 10 KiB");
}
