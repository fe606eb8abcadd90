//! One request to the fake: whom it comes from, what it asks, whether that is allowed, and its
//! answer.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::{Value, json};

use super::access;
use super::fake::{Expiry, Server};
use super::journal::Entry;
use super::refusal::Refusal;
use super::resource::Target;
use super::selector::Selector;
use super::store::{Edit, Page};
use super::watching::{self, Options};

type Body = BoxBody<Bytes, Infallible>;

/// A request as it is understood.
struct Ask<'a> {
    target: Target,
    verb: &'static str,
    parameters: BTreeMap<String, String>,
    content_type: &'a str,
    body: Value,
}

/// What is sent back.
enum Answer {
    Object(u16, Value),
    Watch(Selector, Options),
}

/// Answers a request, and writes down that it came.
pub(crate) fn answer(server: &Arc<Server>, parts: &Parts, body: &Bytes) -> Response<Body> {
    let path = parts.uri.path();
    let mut entry = Entry {
        verb: "get".to_owned(),
        resource: path.to_owned(),
        ..Entry::default()
    };
    let answer = identify(server, parts).and_then(|user| {
        entry.user = user;
        if [
            "/version",
            "/.well-known/openid-configuration",
            "/openid/v1/jwks",
        ]
        .contains(&path)
        {
            return document(server, &entry);
        }
        let ask = understand(parts, body)?;
        note(&mut entry, &ask);
        if let Some(code) = server.ordered(&entry) {
            return Err(Refusal::ordered(code));
        }
        perform(server, &entry.user, &ask)
    });
    let answer = answer.unwrap_or_else(|refusal| Answer::Object(refusal.code, refusal.status()));
    entry.code = if let Answer::Object(code, _) = answer {
        code
    } else {
        200
    };
    server.journal.add(entry);
    respond(server, answer)
}

fn respond(server: &Arc<Server>, answer: Answer) -> Response<Body> {
    let (code, body) = match answer {
        Answer::Object(code, object) => (code, Full::from(object.to_string()).boxed()),
        Answer::Watch(selector, options) => {
            let stream =
                watching::stream(&server.store, selector, options, server.epoch.subscribe());
            (200, BoxBody::new(StreamBody::new(stream)))
        }
    };
    let response = Response::builder()
        .status(code)
        .header("content-type", "application/json");
    response.body(body).expect("a response")
}

fn identify(server: &Server, parts: &Parts) -> Result<String, Refusal> {
    let Some(header) = parts.headers.get("authorization") else {
        return Ok(access::ANONYMOUS.to_owned());
    };
    let token = header
        .to_str()
        .ok()
        .and_then(|header| header.strip_prefix("Bearer "));
    token
        .and_then(|token| server.tokens.user(token))
        .ok_or_else(Refusal::unauthorized)
}

fn document(server: &Server, entry: &Entry) -> Result<Answer, Refusal> {
    if let Some(code) = server.ordered(entry) {
        return Err(Refusal::ordered(code));
    }
    if !access::may_get(&entry.user, &entry.resource) {
        return Err(Refusal::new(
            403,
            "Forbidden",
            format!("{} cannot get path {}", entry.user, entry.resource),
        ));
    }
    let document = match entry.resource.as_str() {
        "/version" => {
            json!({"major": "1", "minor": "34", "gitVersion": "v1.34.0", "platform": "linux/amd64"})
        }
        "/openid/v1/jwks" => server.tokens.jwks(),
        _ => server
            .tokens
            .discovery(server.url.get().map_or("", String::as_str)),
    };
    Ok(Answer::Object(200, document))
}

fn understand<'a>(parts: &'a Parts, body: &Bytes) -> Result<Ask<'a>, Refusal> {
    let mut target = Target::parse(parts.uri.path())?;
    let query = parts.uri.query().unwrap_or_default();
    let parameters: BTreeMap<String, String> = url::form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    let is_watch = parameters
        .get("watch")
        .is_some_and(|watch| ["1", "true"].contains(&watch.as_str()));
    let collection = target.name.is_empty();
    let verb = match (&parts.method, collection) {
        (&Method::GET, false) => "get",
        (&Method::GET, true) if is_watch => "watch",
        (&Method::GET, true) => "list",
        (&Method::POST, true) => "create",
        (&Method::POST, false) if target.subresource == "token" => "create",
        (&Method::PUT, false) => "update",
        (&Method::PATCH, false) => "patch",
        (&Method::DELETE, false) => "delete",
        _ => return Err(Refusal::no_method()),
    };
    if let ("list" | "watch", Some(fields)) = (verb, parameters.get("fieldSelector")) {
        target.name = Selector::parse(&target, "", fields)?
            .name()
            .unwrap_or_default()
            .to_owned();
    }
    let body = if body.is_empty() {
        Ok(Value::Null)
    } else {
        serde_json::from_slice(body)
    };
    let body = body.map_err(|error| Refusal::bad_request(error.to_string()))?;
    let content_type = parts
        .headers
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    Ok(Ask {
        target,
        verb,
        parameters,
        content_type,
        body,
    })
}

fn note(entry: &mut Entry, ask: &Ask<'_>) {
    let Target {
        resource,
        namespace,
        name,
        subresource,
    } = ask.target.clone();
    entry.verb = ask.verb.to_owned();
    entry.group = resource.group.to_owned();
    entry.resource = resource.plural.to_owned();
    (entry.namespace, entry.name, entry.subresource) = (namespace, name, subresource);
    entry.body = ask.body.clone();
    if let (true, Some(name)) = (entry.name.is_empty(), ask.body["metadata"]["name"].as_str()) {
        entry.name = name.to_owned();
    }
}

fn perform(server: &Server, user: &str, ask: &Ask<'_>) -> Result<Answer, Refusal> {
    let target = &ask.target;
    if !access::may(&server.store, user, ask.verb, target) {
        return Err(Refusal::forbidden(target, user, ask.verb));
    }
    if !is_served(server, target) {
        return Err(Refusal::new(404, "NotFound", "404 page not found"));
    }
    let object = |object| Ok(Answer::Object(200, object));
    match ask.verb {
        "get" => object(server.store.get(target)?),
        "list" => object(server.store.list(&selector(ask)?, &page(ask))?),
        "watch" => watch(server, ask),
        "create" if target.subresource == "token" => token(server, ask),
        "create" => Ok(Answer::Object(
            201,
            server.store.create(target, fitting(ask)?)?,
        )),
        "update" => object(server.store.edit(target, Edit::Replace(fitting(ask)?))?),
        "patch" => object(patch(server, ask)?),
        _ => object(deleted(&server.store.delete(target)?)),
    }
}

/// Whether the resource and the subresource are there.
fn is_served(server: &Server, target: &Target) -> bool {
    let resource = target.resource;
    let subresource = match target.subresource.as_str() {
        "" => true,
        "status" => resource.status,
        "token" => resource.plural == "serviceaccounts",
        _ => false,
    };
    let definition = || Target {
        resource: super::resource::Resource::of("CustomResourceDefinition"),
        namespace: String::new(),
        name: resource.full_name(),
        subresource: String::new(),
    };
    subresource && (!resource.custom || server.store.get(&definition()).is_ok())
}

fn selector(ask: &Ask<'_>) -> Result<Selector, Refusal> {
    let parameter = |name: &str| ask.parameters.get(name).map_or("", String::as_str);
    Selector::parse(
        &ask.target,
        parameter("labelSelector"),
        parameter("fieldSelector"),
    )
}

fn page(ask: &Ask<'_>) -> Page {
    let parameter = |name: &str| ask.parameters.get(name).cloned().unwrap_or_default();
    Page {
        limit: parameter("limit").parse().unwrap_or(0),
        token: parameter("continue"),
    }
}

fn watch(server: &Server, ask: &Ask<'_>) -> Result<Answer, Refusal> {
    let parameter = |name: &str| ask.parameters.get(name).map_or("", String::as_str);
    let since = Some(parameter("resourceVersion")).filter(|version| !["", "0"].contains(version));
    let since = since.map(|version| {
        version
            .parse()
            .map_err(|error| Refusal::bad_request(format!("resourceVersion: {error}")))
    });
    let (since, selector) = (since.transpose()?, selector(ask)?);
    let marks_initial = parameter("sendInitialEvents") == "true";
    let options = Options {
        since: since.filter(|_| !marks_initial),
        bookmarks: parameter("allowWatchBookmarks") == "true",
        marks_initial,
        timeout: Duration::from_secs(parameter("timeoutSeconds").parse().unwrap_or(1800)),
    };
    if let (Some(since), Expiry::Status) = (options.since, *server.expiry.lock().expect("lock")) {
        server.store.changes(since, &selector)?;
    }
    Ok(Answer::Watch(selector, options))
}

fn token(server: &Server, ask: &Ask<'_>) -> Result<Answer, Refusal> {
    let account = Target {
        subresource: String::new(),
        ..ask.target.clone()
    };
    let account = server.store.get(&account)?;
    if ask.body["spec"]["expirationSeconds"]
        .as_u64()
        .is_some_and(|seconds| seconds < 600)
    {
        return Err(Refusal::invalid(
            &ask.target,
            "may not specify a duration less than 10 minutes",
        ));
    }
    let mut request = ask.body.clone();
    request["status"] = server.tokens.issue(&account, &ask.body["spec"]);
    Ok(Answer::Object(201, request))
}

/// The object that was sent, which must be of the kind that the path says.
fn fitting(ask: &Ask<'_>) -> Result<Value, Refusal> {
    let resource = ask.target.resource;
    let mut object = ask.body.clone();
    if !object["metadata"].is_object() {
        return Err(Refusal::bad_request("the object has no metadata"));
    }
    if object["kind"] != resource.kind || object["apiVersion"] != resource.api_version() {
        return Err(Refusal::bad_request(
            "the object does not match the expected kind and version",
        ));
    }
    let namespace = object["metadata"]["namespace"].as_str();
    if namespace.is_some_and(|namespace| namespace != ask.target.namespace) {
        return Err(Refusal::bad_request(
            "the namespace of the object does not match the namespace on the request",
        ));
    }
    if ask.verb == "update" && resource.namespaced {
        object["metadata"]["namespace"] = json!(ask.target.namespace);
    }
    Ok(object)
}

fn patch(server: &Server, ask: &Ask<'_>) -> Result<Value, Refusal> {
    match ask.content_type {
        "application/merge-patch+json" => server.store.edit(&ask.target, Edit::Merge(&ask.body)),
        "application/json-patch+json" => {
            let patch = serde_json::from_value(ask.body.clone());
            let patch = patch.map_err(|error| Refusal::bad_request(error.to_string()))?;
            server.store.edit(&ask.target, Edit::Json(&patch))
        }
        other => Err(Refusal::unsupported(other)),
    }
}

/// What is answered to a deletion: the object, if it waits for its finalizers.
fn deleted(object: &Value) -> Value {
    if object["metadata"]["finalizers"]
        .as_array()
        .is_some_and(|finalizers| !finalizers.is_empty())
    {
        return object.clone();
    }
    let details = json!({"name": object["metadata"]["name"], "uid": object["metadata"]["uid"]});
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
