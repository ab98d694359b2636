//! JSON-RPC 2.0 envelopes: one request or a batch in, one answer or a batch out.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::error::RpcError;

/// Requests in one batch at most.
const BATCH_LIMIT: usize = 256;

/// One request of JSON-RPC 2.0, alone or from a batch.
#[derive(Debug)]
pub(crate) struct Request {
    /// `None` for a notification, which gets no answer.
    id: Option<Value>,
    method: String,
    params: Params,
}

/// The positional parameters of a request.
#[derive(Debug)]
pub(crate) struct Params(Vec<Value>);

impl Params {
    /// The parameter at `index`, which must be there.
    pub(crate) fn get<T: DeserializeOwned>(&self, index: usize) -> Result<T, RpcError> {
        let value = self.0.get(index).cloned().unwrap_or(Value::Null);
        serde_json::from_value(value)
            .map_err(|error| RpcError::Params(format!("parameter {index}: {error}")))
    }

    /// Refuses more parameters than a method knows, since it would answer another question.
    pub(crate) fn at_most(&self, most: usize) -> Result<(), RpcError> {
        if self.0.iter().skip(most).all(Value::is_null) {
            return Ok(());
        }
        Err(RpcError::Params(format!("too many arguments, want at most {most}")))
    }

    /// The parameter at `index`, or nothing where it is absent or null.
    pub(crate) fn opt<T: DeserializeOwned>(&self, index: usize) -> Result<Option<T>, RpcError> {
        match self.0.get(index) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => self.get(index).map(Some),
        }
    }
}

/// Answers a body; `None` when it held only notifications.
pub(crate) fn answer(
    body: &[u8],
    mut call: impl FnMut(&str, &Params) -> Result<Value, RpcError>,
) -> Option<Value> {
    let body: Value = match serde_json::from_slice(body) {
        Ok(body) => body,
        Err(error) => return Some(failure(Value::Null, &RpcError::Parse(error))),
    };
    let Value::Array(batch) = body else { return one(body, &mut call) };
    if batch.is_empty() || batch.len() > BATCH_LIMIT {
        let error = RpcError::Request("a batch holds 1 to 256 requests");
        return Some(failure(Value::Null, &error));
    }
    let answers: Vec<_> = batch.into_iter().filter_map(|item| one(item, &mut call)).collect();
    (!answers.is_empty()).then_some(Value::Array(answers))
}

fn one(
    value: Value,
    call: &mut impl FnMut(&str, &Params) -> Result<Value, RpcError>,
) -> Option<Value> {
    let request = match parse(value) {
        Ok(request) => request,
        Err(refused) => return Some(failure(refused.0, &RpcError::Request(refused.1))),
    };
    let result = call(&request.method, &request.params);
    let id = request.id?;
    Some(match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(error) => failure(id, &error),
    })
}

/// Reads one request; otherwise the id to answer to and what is wrong.
fn parse(value: Value) -> Result<Request, (Value, &'static str)> {
    let Value::Object(mut object) = value else {
        return Err((Value::Null, "a request is an object"));
    };
    let id = match object.remove("id") {
        None => None,
        Some(id @ (Value::Null | Value::Number(_) | Value::String(_))) => Some(id),
        Some(_) => return Err((Value::Null, "an id is a number or a string")),
    };
    let refuse = |why| (id.clone().unwrap_or(Value::Null), why);
    let Some(Value::String(method)) = object.remove("method") else {
        return Err(refuse("a request names its method"));
    };
    let params = match object.remove("params") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(params)) => params,
        Some(_) => return Err(refuse("parameters are an array")),
    };
    Ok(Request { id, method, params: Params(params) })
}

fn failure(id: Value, error: &RpcError) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": error.to_json() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(body: &str) -> Option<Value> {
        answer(body.as_bytes(), |method, params| match method {
            "sum" => Ok(json!(params.get::<u64>(0)? + params.opt::<u64>(1)?.unwrap_or(0))),
            other => Err(RpcError::Method(other.to_owned())),
        })
    }

    fn code(body: &str) -> i64 {
        run(body).unwrap()["error"]["code"].as_i64().unwrap()
    }

    #[test]
    fn every_kind_of_malformed_request_has_its_code() {
        assert_eq!(code("{"), -32700);
        assert_eq!(code("[]"), -32600);
        assert_eq!(code("7"), -32600);
        assert_eq!(code(r#"{"id":{},"method":"sum"}"#), -32600);
        assert_eq!(code(r#"{"id":1}"#), -32600);
        assert_eq!(code(r#"{"id":1,"method":"sum","params":{"a":1}}"#), -32600);
        assert_eq!(code(r#"{"id":1,"method":"sum","params":["x"]}"#), -32602);
        assert_eq!(code(r#"{"id":1,"method":"sum"}"#), -32602);
        assert_eq!(code(r#"{"id":1,"method":"nope"}"#), -32601);
        let batch = format!("[{}1]", "1,".repeat(BATCH_LIMIT));
        assert_eq!(code(&batch), -32600);
        assert_eq!(code(&"[".repeat(100_000)), -32700);
    }

    #[test]
    fn batches_answer_in_order_and_notifications_do_not() {
        let answer = run(r#"[{"id":"a","method":"sum","params":[1,2]},
            {"method":"sum","params":[1]},{"id":2,"method":"sum","params":[5,null]}]"#)
        .unwrap();
        assert_eq!(answer[0]["result"], 3);
        assert_eq!(answer[1]["id"], 2);
        assert_eq!(answer.as_array().unwrap().len(), 2);
        assert_eq!(run(r#"{"method":"sum","params":[1]}"#), None);
    }
}

/// A count that some clients send as a number and others as a quantity.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Count {
    Number(u64),
    Quantity(alloy::primitives::U64),
}

impl Count {
    pub(crate) fn get(self) -> u64 {
        match self {
            Self::Number(number) => number,
            Self::Quantity(quantity) => quantity.to(),
        }
    }
}
