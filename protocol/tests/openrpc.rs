//! The OpenRPC document against the methods a server really registers, and the shape of requests and refusals.

mod common;

use common::*;
use serde_json::{Value, json};
use signonce_protocol::{rpc::*, *};
use std::collections::BTreeSet;

async fn call(method: &str, params: Value) -> Value {
    let module = served(FakeSigner::new(1, [Ok(granted(7))]));
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let (answer, _) = module.raw_json_request(&request.to_string(), 16).await.unwrap();
    serde_json::from_str(answer.get()).unwrap()
}

fn good_params(method: &str) -> Value {
    match method {
        "signer_sign" => {
            json!({ "chain": "polkadot", "key": public(1), "payload": { "babeHeader": "0x0102" } })
        }
        "signer_vrf" => json!({
            "chain": ChainId([1; 32]), "key": public(1), "slot": 5, "epochIndex": 6, "randomness": Hash([8; 32])
        }),
        "signer_generateKey" => json!({ "chain": "polkadot", "type": "gran" }),
        _ => json!({}),
    }
}

#[test]
fn the_document_lists_exactly_the_registered_methods() {
    let module = served(FakeSigner::new(1, []));
    let registered: BTreeSet<String> = module.method_names().map(str::to_owned).collect();
    let document = openrpc_document();
    let methods = document["methods"].as_array().unwrap();
    let listed: BTreeSet<String> = methods.iter().map(|m| m["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(listed, registered);
    assert_eq!(listed.len(), methods.len(), "a method is listed twice");
    assert_eq!(
        listed,
        BTreeSet::from(
            [
                "rpc_discover",
                "signer_generateKey",
                "signer_keys",
                "signer_sign",
                "signer_status",
                "signer_subscribeKeys",
                "signer_unsubscribeKeys",
                "signer_vrf",
            ]
            .map(str::to_owned)
        )
    );
}

#[tokio::test]
async fn each_parameter_in_the_document_is_needed_by_the_server_under_that_name() {
    signonce_substrate::install();
    for method in methods().filter(|m| m.shape == MethodShape::Call) {
        let params = good_params(method.name);
        let names = method.param_names();
        let given: BTreeSet<_> = params.as_object().unwrap().keys().cloned().collect();
        assert_eq!(names.iter().cloned().collect::<BTreeSet<_>>(), given, "{}", method.name);
        let answer = call(method.name, params.clone()).await;
        assert!(answer["result"].is_object() || answer["result"].is_array(), "{}: {answer}", method.name);
        for name in names {
            let mut without = params.clone();
            without.as_object_mut().unwrap().remove(&name);
            let answer = call(method.name, without).await;
            assert_eq!(answer["error"]["code"], -32602, "{} without {name}: {answer}", method.name);
        }
    }
}

#[test]
fn parameters_are_listed_in_the_order_of_the_array_form() {
    signonce_substrate::install();
    let names = |name: &str| methods().find(|m| m.name == name).unwrap().param_names();
    assert_eq!(names("signer_sign"), ["chain", "key", "payload"]);
    let sign = methods().find(|m| m.name == "signer_sign").unwrap();
    assert_eq!(sign.optional_param_names(), ["lastSigned"]);
    assert_eq!(names("signer_vrf"), ["chain", "key", "slot", "epochIndex", "randomness"]);
    assert_eq!(names("signer_generateKey"), ["chain", "type"]);
    assert!(names("signer_keys").is_empty());
}

#[test]
fn every_reference_in_the_document_leads_somewhere() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(reference)) = map.get("$ref") {
                    found.push(reference.clone());
                }
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    signonce_substrate::install();
    let document = openrpc_document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50);
    for reference in found {
        let pointer = reference.strip_prefix('#').expect("a reference within the document");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    for code in ErrorCode::ALL {
        assert_eq!(document["components"]["errors"][code.name()]["code"], code.json_rpc_code());
    }
    let kinds = document["components"]["schemas"]["RawPayload"]["oneOf"].as_array().unwrap();
    assert_eq!(kinds.len(), PayloadKind::all().count());
}

#[tokio::test]
async fn discover_answers_the_document() {
    assert_eq!(call(DISCOVER, json!([])).await["result"], openrpc_document());
}

#[tokio::test]
async fn answers_are_camel_case() {
    let answer = call("signer_sign", good_params("signer_sign")).await;
    assert_eq!(
        answer["result"],
        json!({
            "signature": format!("0x{}", "07".repeat(64)),
            "verdict": "granted",
            "duty": { "class": "babeBlock", "slot": 5 },
            "logIndex": 4,
        })
    );
    let answer = call("signer_vrf", good_params("signer_vrf")).await;
    let (pre_output, proof) = (format!("0x{}", "02".repeat(32)), format!("0x{}", "03".repeat(64)));
    assert_eq!(answer["result"], json!({ "preOutput": pre_output, "proof": proof }));
    let made = &call("signer_generateKey", good_params("signer_generateKey")).await["result"];
    assert_eq!(*made, json!({ "public": public(9), "type": "gran", "scheme": "ed25519" }));
    let key = &call("signer_keys", json!({})).await["result"][0];
    assert_eq!(
        (&key["type"], &key["scheme"], &key["state"]),
        (&json!("babe"), &json!("sr25519"), &json!("armed"))
    );
    assert_eq!(
        key["watermarks"],
        json!([{ "class": "babeBlock", "floor": { "class": "babeBlock", "slot": 7 } }])
    );
    let status = &call("signer_status", json!({})).await["result"];
    assert_eq!(status["readiness"], json!({ "ready": false, "reasons": ["no quorum"] }));
}

#[tokio::test]
async fn a_payload_that_does_not_parse_gets_a_named_error() {
    for payload in
        [json!({ "blind": "0x00" }), json!({ "babeHeader": "0xzz" }), json!({ "babeHeader": "00" }), json!(7)]
    {
        let mut params = good_params("signer_sign");
        params["payload"] = payload;
        let error = &call("signer_sign", params).await["error"];
        assert_eq!(error["code"], 1101, "{error}");
        assert_eq!(error["data"], json!({ "code": "malformedPayload", "kind": "refused" }));
    }
}

#[tokio::test]
async fn a_chain_or_key_that_does_not_parse_is_an_invalid_parameter() {
    for (name, value) in
        [("chain", json!("0x12")), ("chain", json!("")), ("key", json!("0x00")), ("key", json!(7))]
    {
        let mut params = good_params("signer_sign");
        params[name] = value;
        assert_eq!(call("signer_sign", params).await["error"]["code"], -32602);
    }
}

#[test]
fn positions_are_told_apart_by_their_class() {
    use signonce_substrate::{AURA_BLOCK, BABE_BLOCK, BEEFY_VOTE, GRANDPA_VOTE, PARA_SIDE};
    signonce_substrate::install();
    for (class, parts, json) in [
        (BABE_BLOCK, &[1][..], json!({ "class": "babeBlock", "slot": 1 })),
        (AURA_BLOCK, &[1], json!({ "class": "auraBlock", "slot": 1 })),
        (GRANDPA_VOTE, &[1, 2], json!({ "class": "grandpaVote", "setId": 1, "round": 2 })),
        (BEEFY_VOTE, &[1, 3], json!({ "class": "beefyVote", "setId": 1, "block": 3 })),
        (PARA_SIDE, &[4], json!({ "class": "paraSide", "session": 4 })),
    ] {
        let position = Position::new(class, parts).unwrap();
        assert_eq!(serde_json::to_value(position).unwrap(), json);
        assert_eq!(serde_json::from_value::<Position>(json).unwrap(), position);
    }
}
