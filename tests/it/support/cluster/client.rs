//! What a test does to a cluster: ordinary requests of its administrator, by kind and
//! `namespace/name`.

use std::time::{Duration, Instant};

use http::Request;
use kube::api::DynamicObject;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::resource::Resource;
use crate::support::SOON;

/// Kind and `namespace/name` (or `name`) to a path.
fn path(kind: &str, at: &str) -> String {
    let resource = Resource::of(kind);
    match at.split_once('/') {
        Some((namespace, name)) => format!("{}/{name}", resource.path(Some(namespace))),
        None => format!("{}/{at}", resource.path(None)),
    }
}

/// The administrator, who does not come through the gate.
#[derive(Clone)]
pub(crate) struct Admin(pub(crate) Client);

impl Admin {
    /// A request as the administrator.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &Value) -> kube::Result<Value> {
        let content_type = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let body = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type);
        self.0.request(request.body(body).expect("a request")).await
    }

    /// The text at a path, if the server answers at all.
    pub(super) async fn ask_text(&self, path: &str) -> Option<String> {
        let request = Request::get(path).body(Vec::new()).expect("a request");
        self.0.request_text(request).await.ok()
    }

    /// Waits until the server has this resource.
    pub(super) async fn until_served(&self, resource: &Resource) {
        let deadline = Instant::now() + SOON;
        while let Err(error) = self.ask("GET", &resource.path(None), &Value::Null).await {
            assert!(Instant::now() < deadline, "{error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Creates an object.
    pub(crate) async fn create(&self, object: &Value) -> Value {
        let resource = Resource::of(object["kind"].as_str().expect("a kind"));
        let path = resource.path(object["metadata"]["namespace"].as_str());
        let created = self.ask("POST", &path, object).await;
        created.unwrap_or_else(|error| panic!("{error}: {object}"))
    }

    /// Creates a namespace.
    pub(crate) async fn namespace(&self, name: &str) {
        self.create(&super::objects::object("Namespace", name))
            .await;
    }

    /// Creates an object, or merges it into the one of its name. Keys that are gone stay: say null
    /// to remove one.
    pub(crate) async fn apply(&self, object: &Value) -> Value {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &object["metadata"];
        let at = format!(
            "{}/{}",
            text(&metadata["namespace"]),
            text(&metadata["name"])
        );
        let kind = text(&object["kind"]);
        match self.get(&kind, at.trim_start_matches('/')).await {
            Some(_) => self.merge(&kind, at.trim_start_matches('/'), object).await,
            None => self.create(object).await,
        }
    }

    /// An object, if it is there.
    pub(crate) async fn get(&self, kind: &str, at: &str) -> Option<Value> {
        match self.ask("GET", &path(kind, at), &Value::Null).await {
            Ok(object) => Some(object),
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// All objects of a kind, in a namespace.
    pub(crate) async fn list(&self, kind: &str, namespace: &str) -> Vec<Value> {
        let path = Resource::of(kind).path(Some(namespace));
        let list = self.ask("GET", &path, &Value::Null).await.expect("a list");
        list["items"].as_array().expect("items").clone()
    }

    /// All objects of a kind.
    pub(crate) async fn list_all(&self, kind: &str) -> Vec<Value> {
        let list = self
            .ask("GET", &Resource::of(kind).path(None), &Value::Null)
            .await
            .expect("a list");
        list["items"].as_array().expect("items").clone()
    }

    /// The same by kube's own interface, in a namespace or in all.
    pub(crate) fn api(&self, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
        let resource = Resource::of(kind);
        match namespace {
            Some(namespace) => Api::namespaced_with(self.0.clone(), namespace, &resource.api()),
            None => Api::all_with(self.0.clone(), &resource.api()),
        }
    }

    /// Merges a patch into an object, its status excepted.
    pub(crate) async fn merge(&self, kind: &str, at: &str, patch: &Value) -> Value {
        self.ask("PATCH", &path(kind, at), patch)
            .await
            .expect("patched")
    }

    /// Merges this into the status of an object.
    pub(crate) async fn merge_status(&self, kind: &str, at: &str, status: &Value) -> Value {
        let path = format!("{}/status", path(kind, at));
        self.ask("PATCH", &path, &json!({"status": status}))
            .await
            .expect("patched")
    }

    /// Replaces an object, its status excepted; 409 if it is not of the newest version.
    pub(crate) async fn replace(&self, object: &Value) -> kube::Result<Value> {
        self.put(object, "").await
    }

    /// Replaces the status of an object.
    pub(crate) async fn replace_status(&self, object: &Value) -> kube::Result<Value> {
        self.put(object, "/status").await
    }

    async fn put(&self, object: &Value, subresource: &str) -> kube::Result<Value> {
        let resource = Resource::of(object["kind"].as_str().expect("a kind"));
        let name = object["metadata"]["name"].as_str().expect("a name");
        let path = resource.path(object["metadata"]["namespace"].as_str());
        self.ask("PUT", &format!("{path}/{name}{subresource}"), object)
            .await
    }

    /// Deletes an object.
    pub(crate) async fn delete(&self, kind: &str, at: &str) {
        self.ask("DELETE", &path(kind, at), &Value::Null)
            .await
            .expect("deleted");
    }

    /// Waits until an object is as wanted.
    pub(crate) async fn until(
        &self,
        kind: &str,
        at: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + SOON;
        loop {
            let object = self.get(kind, at).await.unwrap_or(Value::Null);
            if wanted(&object) {
                return object;
            }
            assert!(Instant::now() < deadline, "{kind} {at} stays {object}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A token of a service account, for this audience or for the API server.
    pub(crate) async fn token(&self, account: &str, audience: Option<&str>) -> String {
        let audiences: Vec<&str> = audience.into_iter().collect();
        let spec = json!({"audiences": audiences, "expirationSeconds": 3600});
        let request =
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
        let path = format!("{}/token", path("ServiceAccount", account));
        let answer = self.ask("POST", &path, &request).await.expect("a token");
        answer["status"]["token"]
            .as_str()
            .expect("a token")
            .to_owned()
    }
}
