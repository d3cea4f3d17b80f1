//! The OpenRPC document: what `rpc_discover` answers. Made from the method table below, those of the installed families
//! and the schemas of the types, and compared in a test with what the server trait really registers.

use super::{
    ErrorCode, ErrorData, GenerateKeyParams, GenerateKeyReply, KeyInfo, KeysEvent, Question, SignCall,
    SignReply, StatusReply,
};
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

/// One method, as the document shows it.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// The full name.
    pub name: &'static str,
    /// A summary in one line.
    pub summary: &'static str,
    /// Call or subscription.
    pub shape: MethodShape,
    /// Schema of the parameters, an object; `None` if there are none.
    params: Option<Schema>,
    /// Schema of the answer.
    result: Schema,
}

/// One parameter.
struct Param {
    name: String,
    required: bool,
    schema: Value,
}

/// Makes a schema, registering what it refers to.
type Schema = fn(&mut SchemaGenerator) -> Value;

/// How a method answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodShape {
    /// One answer.
    Call,
    /// A subscription id, then events under the method's own name until `unsubscribe` is called with the id.
    Subscription {
        /// The method that ends it.
        unsubscribe: &'static str,
    },
}

/// The methods of the namespace that exist whatever the chain.
pub const METHODS: &[Method] = &[
    Method {
        name: "signer_keys",
        summary: "The keys this client may use, with chain, scheme, state and watermarks.",
        shape: MethodShape::Call,
        params: None,
        result: schema::<Vec<KeyInfo>>,
    },
    Method {
        name: "signer_sign",
        summary: "Signs one payload, once per duty; the same payload again gives the same signature.",
        shape: MethodShape::Call,
        params: Some(inline::<SignCall>),
        result: schema::<SignReply>,
    },
    Method {
        name: "signer_generateKey",
        summary: "Makes a new session key for this client, armed; each call makes another. Needs an operator's leave.",
        shape: MethodShape::Call,
        params: Some(inline::<GenerateKeyParams>),
        result: schema::<GenerateKeyReply>,
    },
    Method {
        name: "signer_status",
        summary: "The node, its leader, term and log, and whether it serves.",
        shape: MethodShape::Call,
        params: None,
        result: schema::<StatusReply>,
    },
    Method {
        name: "signer_subscribeKeys",
        summary: "Changes of keys and watermarks as they happen; the first event is the whole list (WebSocket only).",
        shape: MethodShape::Subscription { unsubscribe: "signer_unsubscribeKeys" },
        params: None,
        result: schema::<KeysEvent>,
    },
];

/// Every method of the namespace: those of every chain, then those of the installed families.
pub fn methods() -> impl Iterator<Item = &'static Method> {
    METHODS.iter().chain(crate::family::families().iter().flat_map(|family| family.methods))
}

impl Method {
    /// The method by which a family's question is asked.
    pub const fn of<Q>(summary: &'static str) -> Self
    where
        Q: Question<Answer: JsonSchema> + JsonSchema,
    {
        Self {
            name: Q::METHOD,
            summary,
            shape: MethodShape::Call,
            params: Some(inline::<Q>),
            result: schema::<Q::Answer>,
        }
    }

    /// The names of the parameters that must be given, in the order of the array form.
    pub fn param_names(&self) -> Vec<String> {
        let mut generator = generator();
        let params = self.params(&mut generator).into_iter();
        params.filter(|param| param.required).map(|param| param.name).collect()
    }

    /// The names of the parameters that may be left out. They come after the others.
    pub fn optional_param_names(&self) -> Vec<String> {
        let mut generator = generator();
        let params = self.params(&mut generator).into_iter();
        params.filter(|param| !param.required).map(|param| param.name).collect()
    }

    fn params(&self, generator: &mut SchemaGenerator) -> Vec<Param> {
        let Some(params) = self.params else { return Vec::new() };
        let schema = params(generator);
        // `required` keeps the order of the fields; properties are sorted by name.
        let required: Vec<String> = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|name| Some(name.as_str()?.to_owned()))
            .collect();
        let all = schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone());
        let optional: Vec<String> = all.filter(|name| !required.contains(name)).collect();
        let param = |required| {
            let schema = &schema;
            move |name: String| Param { schema: schema["properties"][&name].clone(), name, required }
        };
        required.into_iter().map(param(true)).chain(optional.into_iter().map(param(false))).collect()
    }
}

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

fn inline<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    T::json_schema(generator).to_value()
}

fn generator() -> SchemaGenerator {
    SchemaSettings::draft07().with(|s| s.definitions_path = "/components/schemas".into()).into_generator()
}

/// The OpenRPC 1.3.2 document of the signer's client API.
pub fn openrpc_document() -> Value {
    let mut generator = generator();
    let mut methods = Vec::new();
    for method in self::methods() {
        methods.push(call(method, &mut generator));
        if let MethodShape::Subscription { unsubscribe } = method.shape {
            methods.push(unsubscription(unsubscribe, method.name));
        }
    }
    methods.push(json!({
        "name": super::DISCOVER,
        "summary": "This document.",
        "paramStructure": "by-name",
        "params": [],
        "result": { "name": "document", "schema": { "type": "object" } },
    }));
    let error_data = schema::<ErrorData>(&mut generator);
    let mut schemas = generator.take_definitions(true);
    schemas.insert("Refusal".into(), refusal_schema(error_data));
    json!({
        "openrpc": "1.3.2",
        "info": {
            "title": "Signonce signer",
            "description": "Signs each duty of a validator once. HTTPS and WSS with client certificates.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0" },
        },
        "methods": methods,
        "components": { "schemas": schemas, "errors": errors() },
    })
}

fn call(method: &Method, generator: &mut SchemaGenerator) -> Value {
    let params: Vec<Value> = method
        .params(generator)
        .into_iter()
        .map(|Param { name, required, schema }| json!({ "name": name, "required": required, "schema": schema }))
        .collect();
    let result = match method.shape {
        MethodShape::Call => json!({ "name": "answer", "schema": (method.result)(generator) }),
        MethodShape::Subscription { .. } => json!({ "name": "subscription", "schema": subscription_id() }),
    };
    let errors: Vec<Value> = ErrorCode::ALL
        .iter()
        .map(|code| json!({ "$ref": format!("#/components/errors/{}", code.name()) }))
        .collect();
    let mut call = json!({
        "name": method.name,
        "summary": method.summary,
        "paramStructure": "by-name",
        "params": params,
        "result": result,
        "errors": errors,
    });
    if let MethodShape::Subscription { unsubscribe } = method.shape {
        // OpenRPC has no concept of subscriptions; extensions start with x-.
        call["x-subscription"] = json!({ "unsubscribe": unsubscribe, "event": (method.result)(generator) });
    }
    call
}

fn unsubscription(name: &str, of: &str) -> Value {
    json!({
        "name": name,
        "summary": format!("Ends a subscription made with {of}."),
        "paramStructure": "by-position",
        "params": [{ "name": "subscription", "required": true, "schema": subscription_id() }],
        "result": { "name": "ended", "schema": { "type": "boolean" } },
    })
}

fn subscription_id() -> Value {
    json!({ "type": ["integer", "string"] })
}

fn refusal_schema(data: Value) -> Value {
    json!({
        "type": "object",
        "required": ["code", "message"],
        "properties": { "code": { "type": "integer" }, "message": { "type": "string" }, "data": data },
    })
}

fn errors() -> Map<String, Value> {
    let error = |code: &ErrorCode| {
        let value = json!({
            "code": code.json_rpc_code(),
            "message": code.name(),
            "data": { "code": code, "kind": code.kind() },
        });
        (code.name().to_owned(), value)
    };
    ErrorCode::ALL.iter().map(error).collect()
}
