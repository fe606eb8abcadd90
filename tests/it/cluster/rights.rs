//! Who may do what, by which token; tokens for others; what is written down; refusals to order.

use std::time::Duration;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{channels, cluster, code};
use crate::support::cluster::objects::{channel, object};
use crate::support::cluster::{Cluster, ISSUER, SYSTEM};
use crate::support::sender::trusting;

async fn asks(client: &Client, method: &str, path: &str, body: Value) -> u16 {
    let body = if body.is_null() {
        Vec::new()
    } else {
        body.to_string().into_bytes()
    };
    let content_type = if method == "PATCH" {
        "application/merge-patch+json"
    } else {
        "application/json"
    };
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", content_type);
    match client
        .request::<Value>(request.body(body).expect("a request"))
        .await
    {
        Ok(_) => 200,
        Err(kube::Error::Api(status)) => status.code,
        Err(error) => panic!("{error}"),
    }
}

/// Checks what an account is answered: method and path, then the status.
async fn assert_rights(cluster: &Cluster, account: &str, rights: &[(&str, &str, u16)]) {
    let client = cluster.client(account).await;
    for (method, path, code) in rights {
        let body = match *method {
            "POST" => json!({"spec": {"audiences": ["a"]}}),
            "GET" | "DELETE" => Value::Null,
            _ => json!({"status": {}}),
        };
        let path = path
            .replace("MESSAGING", "/apis/messaging.knative.dev/v1")
            .replace("EVENTING", "/apis/eventing.knative.dev/v1")
            .replace("SYSTEM", SYSTEM);
        assert_eq!(
            asks(&client, method, &path, body).await,
            *code,
            "{account}: {method} {path}"
        );
    }
}

/// Contract 1.14, 5.11, 5.12.
#[tokio::test]
async fn each_process_may_do_what_its_roles_say() {
    let cluster = cluster().await;
    cluster.create(&channel("t/c", &[])).await;
    let channel = "MESSAGING/namespaces/t/inmemorychannels/c";
    let status = format!("{channel}/status");
    let rights = [
        ("GET", "MESSAGING/inmemorychannels", 200),
        ("PATCH", status.as_str(), 200),
        ("PUT", &status, 403),
        ("DELETE", channel, 403),
        ("GET", "MESSAGING/subscriptions", 403),
        ("GET", "/api/v1/configmaps", 200),
        ("GET", "/api/v1/namespaces/SYSTEM/secrets", 200),
        ("GET", "/api/v1/namespaces/t/secrets", 403),
        ("GET", "/api/v1/secrets", 403),
        ("GET", "/api/v1/services", 403),
        ("GET", "/version", 200),
    ];
    assert_rights(&cluster, "imc-dispatcher", &rights).await;
    let accounts = "/api/v1/namespaces/SYSTEM/serviceaccounts";
    let own = format!("{accounts}/mt-broker-ingress-oidc/token");
    let other = format!("{accounts}/mt-broker-ingress/token");
    let rights = [
        ("GET", "EVENTING/brokers", 200),
        ("GET", "EVENTING/triggers", 403),
        ("POST", own.as_str(), 200),
        ("POST", &other, 403),
    ];
    assert_rights(&cluster, "mt-broker-ingress", &rights).await;
    let rights = [
        ("GET", "EVENTING/triggers", 200),
        ("GET", "MESSAGING/subscriptions", 200),
        ("GET", "MESSAGING/inmemorychannels", 403),
    ];
    assert_rights(&cluster, "mt-broker-filter", &rights).await;
}

#[tokio::test]
async fn a_kubeconfig_leads_to_the_cluster_by_a_token_that_changes() {
    let cluster = cluster().await;
    let directory = TempDir::new().expect("a directory");
    let path = cluster.kubeconfig(directory.path(), "imc-dispatcher").await;
    let first = std::fs::read_to_string(directory.path().join("token")).expect("a token");
    let client = || async {
        let config = Kubeconfig::read_from(&path).expect("a kubeconfig");
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default())
            .await
            .expect("read");
        Client::try_from(config).expect("a client")
    };
    let before = client().await;
    let maps: Api<ConfigMap> = Api::namespaced(before.clone(), SYSTEM);
    maps.list(&ListParams::default()).await.expect("a list");
    let second = cluster
        .write_token(directory.path(), "imc-dispatcher")
        .await;
    assert_ne!(first, second);
    let Some(fake) = cluster.only_fake("a token of a real one stays good until it expires") else {
        return;
    };
    fake.tokens().revoke(&first);
    assert_eq!(
        code(maps.list(&ListParams::default()).await),
        401,
        "the client holds the old token for a while"
    );
    let maps: Api<ConfigMap> = Api::namespaced(client().await, SYSTEM);
    maps.list(&ListParams::default()).await.expect("a list");
    fake.tokens().set_lifetime(Duration::ZERO);
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client("imc-dispatcher").await, SYSTEM);
    assert_eq!(
        code(maps.list(&ListParams::default()).await),
        401,
        "expired"
    );
}

/// What a receiver of a token reads at the API server, with a service account's token as
/// everything.
async fn fetch(cluster: &Cluster, path: &str) -> Value {
    let token = cluster
        .token(&format!("{SYSTEM}/imc-dispatcher"), None)
        .await;
    let url = if path.starts_with('/') {
        format!("{}{path}", cluster.url())
    } else {
        path.to_owned()
    };
    let answer = trusting(cluster.ca())
        .get(url)
        .bearer_auth(token)
        .send()
        .await
        .expect("an answer");
    serde_json::from_slice(
        &answer
            .error_for_status()
            .expect("a document")
            .bytes()
            .await
            .expect("a body"),
    )
    .expect("JSON")
}

async fn verify(cluster: &Cluster, token: &str, audience: &str) -> Result<Value, String> {
    let discovery = fetch(cluster, "/.well-known/openid-configuration").await;
    assert_eq!(discovery["issuer"], ISSUER);
    let jwks = fetch(cluster, discovery["jwks_uri"].as_str().expect("a URL")).await;
    let jwks: JwkSet = serde_json::from_value(jwks).expect("keys");
    let header = jsonwebtoken::decode_header(token).expect("a header");
    let key = jwks
        .find(&header.kid.expect("a key id"))
        .ok_or("no such key")?;
    let mut validation = Validation::new(header.alg);
    validation.set_audience(&[audience]);
    validation.set_issuer(&[ISSUER]);
    let claims = jsonwebtoken::decode::<Value>(
        token,
        &DecodingKey::from_jwk(key).expect("a key"),
        &validation,
    );
    claims
        .map(|token| token.claims)
        .map_err(|error| error.to_string())
}

/// Contract 7.2, 7.5.
#[tokio::test]
async fn a_token_for_an_audience_is_verified_by_the_keys_of_the_server() {
    let cluster = cluster().await;
    cluster.create(&object("ServiceAccount", "t/s")).await;
    let token = cluster.token("t/s", Some("a")).await;
    let claims = verify(&cluster, &token, "a").await.expect("verified");
    assert_eq!(
        (&claims["sub"], &claims["aud"]),
        (&json!("system:serviceaccount:t:s"), &json!(["a"]))
    );
    verify(&cluster, &token, "b")
        .await
        .expect_err("another audience");
    let anonymous = trusting(cluster.ca())
        .get(format!("{}/openid/v1/jwks", cluster.url()))
        .send()
        .await;
    assert_eq!(anonymous.expect("an answer").status(), 403);
    let stranger = trusting(cluster.ca())
        .get(format!("{}/version", cluster.url()))
        .bearer_auth(&token)
        .send()
        .await;
    assert_eq!(
        stranger.expect("an answer").status(),
        401,
        "a token for others is none for the API server"
    );

    let Some(fake) = cluster.only_fake("a real one has the keys it was started with") else {
        return;
    };
    for algorithm in [Algorithm::RS256, Algorithm::ES256] {
        fake.tokens().rotate_keys(algorithm);
        verify(&cluster, &token, "a")
            .await
            .expect_err("the key is gone");
        let token = cluster.token("t/s", Some("a")).await;
        verify(&cluster, &token, "a").await.expect("verified");
    }
}

#[tokio::test]
async fn what_is_asked_is_written_down() {
    let cluster = cluster().await;
    cluster.create(&channel("t/c", &[])).await;
    let client = cluster.client("imc-dispatcher").await;
    let patch = json!({"status": {"subscribers": null}});
    let channels = channels(client.clone());
    channels
        .patch_status("c", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .expect("patched");
    let secrets: Api<Secret> = Api::namespaced(client, "t");
    assert_eq!(code(secrets.get("s").await), 403);
    let ours = |entry: &crate::support::cluster::Entry| entry.user.ends_with(":imc-dispatcher");
    let refused = cluster
        .until_logged("the refusal", |entry| ours(entry) && entry.code == 403)
        .await;
    assert_eq!(refused.line(), "get secrets t/s");
    let log: Vec<_> = cluster.log().into_iter().filter(ours).collect();
    assert_eq!(
        log[0].line(),
        "patch messaging.knative.dev/inmemorychannels/status t/c"
    );
    assert_eq!((log[0].code, &log[0].body), (200, &patch));
}

/// Contract 2.12: a webhook that is away.
#[tokio::test]
async fn refusals_are_ordered() {
    let cluster = cluster().await;
    let Some(fake) = cluster.only_fake("a real one refuses for reasons of its own") else {
        return;
    };
    cluster.create(&channel("t/c", &[])).await;
    let channels = channels(cluster.client("imc-dispatcher").await);
    let patch = Patch::Merge(json!({"status": {"subscribers": null}}));
    let parameters = PatchParams::default();
    let send = || channels.patch_status("c", &parameters, &patch);
    fake.refuse(2, 500, |entry| {
        entry.verb == "patch" && entry.subresource == "status"
    });
    assert_eq!((code(send().await), code(send().await)), (500, 500));
    send().await.expect("patched");
    fake.refuse(usize::MAX, 403, |entry| {
        entry.resource == "inmemorychannels"
    });
    assert_eq!(code(send().await), 403);
    fake.relent();
    send().await.expect("patched");
}
