//! Refusals and parameters as they go over the wire.

use signonce_protocol::{rpc::*, *};
use signonce_substrate::BABE_BLOCK;

fn babe_block(slot: u64) -> Duty {
    signonce_substrate::Duty::BabeBlock { slot: Slot(slot) }.into()
}

#[test]
fn codes_are_what_they_were_and_unique() {
    let table: Vec<_> = ErrorCode::ALL.iter().map(|c| (c.json_rpc_code(), c.name())).collect();
    assert_eq!(
        table,
        [
            (1001, "equivocation"),
            (1002, "belowWatermark"),
            (1003, "jumpTooFar"),
            (1004, "aheadOfGroup"),
            (1005, "keyHalted"),
            (1006, "locked"),
            (1101, "malformedPayload"),
            (1102, "wrongChain"),
            (1103, "unknownKey"),
            (1104, "wrongKeyType"),
            (1105, "forbidden"),
            (-32602, "invalidParams"),
            (1201, "slotOutOfRange"),
            (1202, "keyNotArmed"),
            (1203, "rateLimited"),
            (1301, "notReady"),
            (1302, "unknownOutcome"),
            (1303, "internal"),
        ]
    );
    for code in ErrorCode::ALL {
        assert_eq!(ErrorCode::from_json_rpc_code(code.json_rpc_code()), Some(*code));
        assert_eq!(serde_json::to_value(code).unwrap(), code.name());
    }
}

#[test]
fn an_equivocation_tells_machines_what_was_signed_when_and_for_whom() {
    signonce_substrate::install();
    let duty = babe_block(9);
    let error =
        RpcError::equivocation(duty, Digest([1; 32]), Digest([2; 32]), LogIndex(7), 1234, "validator-a");
    assert_eq!(
        serde_json::to_value(&error.data).unwrap(),
        serde_json::json!({
            "code": "equivocation",
            "kind": "refused",
            "duty": { "class": "babeBlock", "slot": 9 },
            "digestSigned": Digest([1; 32]),
            "digestAsked": Digest([2; 32]),
            "logIndex": 7,
            "timeMs": 1234,
            "client": "validator-a",
        })
    );
}

#[test]
fn a_refusal_survives_the_wire() {
    signonce_substrate::install();
    let hint = LeaderHint { node: NodeId(3), url: Some("https://s3:7000".into()) };
    for error in [
        RpcError::not_ready("no quorum", Some(hint.clone())),
        RpcError::unknown_outcome(Some(babe_block(1)), None),
        RpcError::rate_limited(20),
        RpcError::new(ErrorCode::BelowWatermark, "too low")
            .with_bound(Position::new(BABE_BLOCK, &[4]).unwrap())
            .with_duty(babe_block(1)),
    ] {
        let object = jsonrpsee_types::ErrorObjectOwned::from(error.clone());
        let wire = serde_json::to_string(&object).unwrap();
        assert_eq!(RpcError::from_json_rpc(serde_json::from_str(&wire).unwrap()), Ok(error));
    }
}

#[test]
fn a_chain_is_named_by_name_or_by_genesis_hash() {
    let genesis = ChainId([0xab; 32]);
    assert_eq!("polkadot".parse(), Ok(ChainRef::Name("polkadot".into())));
    assert_eq!(genesis.to_string().parse(), Ok(ChainRef::Id(genesis)));
    assert_eq!("0xabc".parse::<ChainRef>(), Err(ChainRefError::NoHash("0xabc".into())));
    assert_eq!("".parse::<ChainRef>(), Err(ChainRefError::Length { got: 0 }));
    assert_eq!("x".repeat(65).parse::<ChainRef>(), Err(ChainRefError::Length { got: 65 }));
    assert_eq!(format!("0x{}", "0".repeat(90)).parse::<ChainRef>(), Err(ChainRefError::Length { got: 92 }));
}

#[test]
fn a_payload_that_does_not_parse_is_a_malformed_payload() {
    signonce_substrate::install();
    for json in [
        r#"{"babeHeaders":"0x00"}"#,
        r#"{"babeHeader":"00"}"#,
        r#"{"babeHeader":"0xzz"}"#,
        r#"{"babeHeader":"0x0"}"#,
        r#"{"babeHeader":"0x00","dispute":"0x00"}"#,
        r#"{"babeHeader":7}"#,
        r#"{}"#,
        r#""babeHeader""#,
        "null",
    ] {
        let param: PayloadParam = serde_json::from_str(json).unwrap();
        assert_eq!(param.read().unwrap_err().code, ErrorCode::MalformedPayload, "{json}");
    }
}
