//! Tests of messages and what they cost.

use super::*;
use jsonrpsee::RpcModule;
use serde_json::{Value, json};
use std::{fs, path::Path, sync::atomic::AtomicU32, sync::atomic::Ordering};
use tokio::sync::mpsc;

/// Lets so many messages through.
struct Fare(AtomicU32);

impl Toll for Fare {
    fn pay(&self, _: &Extensions, _: Option<&str>) -> Result<(), ErrorObjectOwned> {
        let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map(drop).map_err(|_| ErrorObjectOwned::owned(1203, "too much", None::<()>))
    }
}

fn calls(messages: u32) -> Calls {
    let mut module = RpcModule::new(());
    module.register_method("signer_status", |_, _, _| "fine").unwrap();
    module.register_async_method("signer_big", async |_, _, _| "x".repeat(1 << 20)).unwrap();
    module
        .register_subscription(
            "signer_subscribe",
            "signer_event",
            "signer_unsubscribe",
            async |_, pending, _, _| {
                let sink = pending.accept().await?;
                sink.send(to_raw_value("first")?).await?;
                sink.closed().await;
                Ok(())
            },
        )
        .unwrap();
    Calls::new(module.into(), Arc::new(Fare(AtomicU32::new(messages))))
}

async fn ask(calls: &Calls, body: &str) -> Option<Value> {
    let answer = calls.answer(body.as_bytes(), &Extensions::new(), None).await;
    answer.map(|answer| serde_json::from_str(answer.get()).unwrap())
}

fn code(answer: &Option<Value>) -> i64 {
    answer
        .as_ref()
        .and_then(|answer| answer["error"]["code"].as_i64())
        .unwrap_or_else(|| panic!("{answer:?}"))
}

#[tokio::test]
async fn whatever_has_an_id_gets_an_answer_and_what_has_none_gets_none() {
    let calls = calls(99);
    for (id, given_back) in [
        ("0", "0"),
        ("18446744073709551615", "18446744073709551615"),
        ("null", "null"),
        ("\"abc\"", "\"abc\""),
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"signer_status","params":{{}}}}"#);
        let answer = calls.answer(body.as_bytes(), &Extensions::new(), None).await.unwrap();
        let answer: Value = serde_json::from_str(answer.get()).unwrap();
        assert_eq!(
            answer,
            json!({"jsonrpc": "2.0", "id": serde_json::from_str::<Value>(given_back).unwrap(), "result": "fine"})
        );
    }
    for (id, given_back) in [
        ("-1", "-1"),
        ("1.0", "1.0"),
        ("1e3", "1e3"),
        ("18446744073709551616", "18446744073709551616"),
        ("{}", "null"),
        ("[1]", "null"),
        ("true", "null"),
    ] {
        for method in ["signer_status", "no_such_method"] {
            let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"}}"#);
            let answer = calls.answer(body.as_bytes(), &Extensions::new(), None).await.unwrap();
            assert!(
                answer.get().contains(&format!(r#""id":{given_back},"error":{{"code":-32600"#)),
                "{answer}"
            );
            assert!(answer.get().contains("a whole number from 0"), "{answer}");
        }
    }
    let notification = r#"{"jsonrpc":"2.0","method":"signer_status","params":{}}"#;
    assert_eq!(ask(&calls, notification).await, None);
    assert_eq!(ask(&calls, &format!("[{notification},{notification}]")).await, None);
}

#[tokio::test]
async fn the_ids_of_the_field_cases_get_what_is_right() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors/field-cases/rpc/ids.jsonl");
    let Ok(cases) = fs::read_to_string(path) else { return };
    let calls = calls(99);
    for case in cases.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let (body, right) = (case["body"].as_str().unwrap(), case["right"].as_str().unwrap());
        match ask(&calls, body).await {
            None => assert!(right.starts_with("a notification"), "{body}: no answer, but {right}"),
            Some(answer) if answer.get("result").is_some() => {
                assert!(right.starts_with("a result"), "{body}: {answer}")
            }
            Some(answer) => {
                assert_eq!(answer["error"]["code"], -32600, "{body}: {answer}");
                assert!(right.contains("-32600"), "{body}: {answer}, but {right}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_no_call_is_told_what_is_wrong_with_it() {
    let calls = calls(99);
    for (body, expected, id) in [
        ("{", -32700, json!(null)),
        ("", -32700, json!(null)),
        ("nonsense", -32700, json!(null)),
        ("[", -32700, json!(null)),
        ("7", -32600, json!(null)),
        ("[]", -32600, json!(null)),
        ("  {", -32700, json!(null)),
        (r#"{"id":7}"#, -32600, json!(7)),
        (r#"{"jsonrpc":"1.0","id":7,"method":"signer_status"}"#, -32600, json!(7)),
        (r#"{"jsonrpc":"2.0","id":"a","method":7}"#, -32600, json!("a")),
        (r#"{"jsonrpc":"2.0","method":null}"#, -32600, json!(null)),
        (r#"{"jsonrpc":"2.0","id":7,"id":8,"method":"signer_status"}"#, -32600, json!(null)),
        (r#"{"jsonrpc":"2.0","id":7,"method":"signer_nothing"}"#, -32601, json!(7)),
        (r#"{"jsonrpc":"2.0","id":7,"method":"signer_subscribe"}"#, -32600, json!(7)),
    ] {
        let answer = ask(&calls, body).await;
        assert_eq!(code(&answer), expected, "{body}: {answer:?}");
        assert_eq!(answer.unwrap()["id"], id, "{body}");
    }
    let answer = calls.answer(b"\xff\xfe", &Extensions::new(), None).await.unwrap();
    assert!(answer.get().contains("-32700"));
}

#[tokio::test]
async fn a_batch_is_answered_entry_by_entry_and_is_no_larger_than_it_may_be() {
    let calls = calls(999);
    let one = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"signer_status"}}"#);
    let list = r#"["2.0",1,"signer_status"]"#;
    let answer = ask(&calls, &format!("[{},{},7,{list}]", one("1"), one("-1"))).await.unwrap();
    let told: Vec<_> = answer
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["id"].clone(), one["error"]["code"].clone()))
        .collect();
    assert_eq!(
        told,
        [
            (json!(1), json!(null)),
            (json!(-1), json!(-32600)),
            (json!(null), json!(-32600)),
            (json!(null), json!(-32600))
        ]
    );
    let many = vec![one("1"); MAX_BATCH as usize + 1].join(",");
    assert_eq!(code(&ask(&calls, &format!("[{many}]")).await), -32010);
    let big = [r#"{"jsonrpc":"2.0","id":1,"method":"signer_big"}"#; 9].join(",");
    assert_eq!(code(&ask(&calls, &format!("[{big}]")).await), -32011);
}

#[tokio::test]
async fn every_message_is_paid_for_whatever_it_is() {
    let good = r#"{"jsonrpc":"2.0","id":7,"method":"signer_status"}"#;
    for body in [
        good,
        "{",
        "[]",
        r#"{"jsonrpc":"2.0","method":"x"}"#,
        r#"{"id":7}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"x"}"#,
    ] {
        let calls = calls(1);
        ask(&calls, body).await;
        let refused = ask(&calls, good).await;
        assert_eq!(code(&refused), 1203, "{body} costs something");
        assert_eq!(refused.unwrap()["id"], 7);
        if ask(&calls, body).await.is_some_and(|answer| answer["error"]["code"] != 1203) {
            panic!("{body} is for nothing");
        }
    }
    let calls = calls(2);
    let batch = ask(&calls, &format!("[{good},{good},{good}]")).await.unwrap();
    assert_eq!(batch[2]["error"]["code"], 1203, "each entry costs: {batch}");
}

#[tokio::test]
async fn a_connection_has_one_subscription_and_may_change_it_for_another() {
    let calls = calls(99);
    let (tx, mut sent) = mpsc::channel(16);
    let line = Line::new(MethodSink::new(tx), 1);
    let ask = async |body: &str| calls.answer(body.as_bytes(), &Extensions::new(), Some(&line)).await;
    let subscribe = r#"{"jsonrpc":"2.0","id":1,"method":"signer_subscribe"}"#;
    assert!(ask(subscribe).await.is_none(), "the answer goes its own way");
    let accepted: Value = serde_json::from_str(sent.recv().await.unwrap().get()).unwrap();
    let event: Value = serde_json::from_str(sent.recv().await.unwrap().get()).unwrap();
    assert_eq!(event["params"]["result"], "first");
    let second = ask(subscribe).await.unwrap();
    assert!(second.get().contains("-32006"), "{second}");
    let ended = format!(
        r#"{{"jsonrpc":"2.0","id":2,"method":"signer_unsubscribe","params":[{}]}}"#,
        accepted["result"]
    );
    assert!(ask(&ended).await.unwrap().get().contains("true"));
    assert!(ask(subscribe).await.is_none(), "once the first has ended");
}
