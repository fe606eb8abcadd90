//! Who may send, on the wire: 401, 403 and what comes before them (contract 7.5 to 7.10, AU-6 to
//! AU-13, A-10 to A-12, A-24, A-33), with an issuer over HTTPS.

mod cluster;
mod request_reply;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::{RequestBuilder, Response};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::support::block;
use crate::support::cluster::Tokens;
use crate::support::dispatcher::Dispatcher;
use crate::support::pki::Ca;
use crate::support::sender::{event, plain, raw, read_response, trusting};
use crate::support::subscriber::{Received, Reply, Subscriber};

const OF_CHANNEL: &str = "messaging.knative.dev/inmemorychannel/default/c";
const CHANNEL: &str = "apiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\nmetadata: {name: c, labels: {team: a}}\n---\n";

/// An issuer over HTTPS that is away as long as it is told to be.
struct Issuer {
    tokens: Arc<Tokens>,
    server: Subscriber,
    away: Arc<AtomicBool>,
    ca: String,
}

impl Issuer {
    async fn new() -> Self {
        let ca = Ca::new("issuer");
        let (tokens, away) = (
            Arc::new(Tokens::new("admin")),
            Arc::new(AtomicBool::new(false)),
        );
        let (told, is_away) = (Arc::clone(&tokens), Arc::clone(&away));
        let answer = move |request: &Received| {
            let host = request
                .header("host")
                .map(str::to_owned)
                .or_else(|| request.authority.clone());
            let url = format!("https://{}", host.expect("a host"));
            match request.path.as_str() {
                _ if is_away.load(Ordering::SeqCst) => Reply::status(503),
                "/.well-known/openid-configuration" => {
                    Reply::text(200, told.discovery(&url).to_string())
                }
                "/openid/v1/jwks" => Reply::text(200, told.jwks().to_string()),
                _ => Reply::status(404),
            }
        };
        let server = Subscriber::secure(&ca.issue(&["localhost"]), answer).await;
        Self {
            tokens,
            server,
            away,
            ca: ca.pem,
        }
    }

    /// A token of a ServiceAccount, `namespace/name`, for an audience.
    fn token(&self, account: &str, audience: &str) -> String {
        let (namespace, name) = account.split_once('/').expect("a name");
        let account = json!({"metadata": {"namespace": namespace, "name": name}});
        let status = self
            .tokens
            .issue(&account, &json!({"audiences": [audience]}));
        status["token"].as_str().expect("a token").to_owned()
    }

    /// `config-features` that asks for tokens of it, and with these flags; and what its certificate
    /// is verified with.
    fn features(&self, flags: &str) -> String {
        let url = self.server.url();
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: config-features, namespace: knative-eventing}}\ndata:\n  \
             transport-encryption: permissive\n  authentication-oidc: enabled\n  oidc-discovery-base-url: {url}\n  {flags}\n---\n\
             apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: bundle\n  namespace: knative-eventing\n  \
             labels: {{networking.knative.dev/trust-bundle: \"true\"}}\ndata:\n  ca.crt: {}---\n",
            block(&self.ca, 4)
        )
    }

    /// Waits until a dispatcher knows its keys.
    async fn known_to(&self, dispatcher: &Dispatcher) {
        crate::support::eventually("tokens can be verified", || {
            !dispatcher.logged(&["Tokens can be verified"]).is_empty()
        })
        .await;
    }
}

fn with_token(request: RequestBuilder, token: &str) -> RequestBuilder {
    request.header("authorization", format!("Bearer {token}"))
}

async fn ask(dispatcher: &Dispatcher, token: &str) -> u16 {
    let request = event(&plain(), dispatcher.http_url("/default/c"), "i");
    with_token(request, token)
        .send()
        .await
        .expect("an answer")
        .status()
        .as_u16()
}

/// Status and text, which say what to do and hold nothing secret.
async fn told(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    (status, answer.text().await.expect("a text"))
}

/// Contract C23, A-9 to A-11, CR-10: every answer on both listeners, in the order of evaluation.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_asks_for_tokens() {
    let issuer = Issuer::new().await;
    let dispatcher = Dispatcher::standalone(&format!("{}{CHANNEL}", issuer.features(""))).await;
    issuer.known_to(&dispatcher).await;
    let good = issuer.token("default/writer", OF_CHANNEL);
    let elsewhere = issuer.token("other/writer", OF_CHANNEL);
    let for_another = issuer.token(
        "default/writer",
        "messaging.knative.dev/inmemorychannel/default/d",
    );
    let bearer = |token: &str| vec![format!("Bearer {token}")];
    let cases: Vec<(Vec<String>, u16, &str)> = vec![
        (bearer(&good), 202, ""),
        (vec![good.clone()], 202, ""),
        (vec![], 401, "send a token as Authorization: Bearer TOKEN"),
        (vec!["Basic eDp4".to_owned()], 401, "Bearer"),
        (bearer(""), 401, "send a token"),
        (bearer("é"), 401, "characters that no token has"),
        (bearer("x.y.z"), 401, "is no JSON web token"),
        (bearer(&"x".repeat(30_000)), 401, "is too long"),
        (
            vec![format!("Bearer {good}"), format!("Bearer {good}")],
            401,
            "one Authorization header only",
        ),
        (bearer(&for_another), 401, OF_CHANNEL),
        (
            bearer(&elsewhere),
            403,
            "system:serviceaccount:other:writer may not send this event here",
        ),
    ];
    let https = trusting(&dispatcher.ca());
    for (client, url) in [
        (plain(), dispatcher.http_url("/default/c")),
        (https, dispatcher.https_url("/default/c")),
    ] {
        for (authorization, status, words) in &cases {
            let mut request = event(&client, &url, "i");
            for value in authorization {
                request = request.header("authorization", value.as_bytes());
            }
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.headers()["allow"], "POST, OPTIONS", "contract CR-6");
            let (found, text) = told(answer).await;
            assert_eq!(found, *status, "{words}: {text}");
            assert!(text.contains(words) && !text.contains(&good), "{text}");
        }
        let malformed = event(&client, &url, "").send().await.expect("an answer");
        assert_eq!(
            malformed.status(),
            400,
            "contract 7.10: malformed before unauthenticated"
        );
        let options = client
            .request(http::Method::OPTIONS, &url)
            .send()
            .await
            .expect("an answer");
        assert_eq!(options.status(), 200, "contract CR-7: asks for nothing");
        let absent = event(&client, url.replace("/c", "/none"), "i")
            .send()
            .await
            .expect("an answer");
        assert_eq!(absent.status(), 404);
    }
    assert!(!dispatcher.log().contains(&good), "no token in the log");
    assert_eq!(
        dispatcher.counter("requests_unauthenticated_total").await,
        16
    );
    assert_eq!(dispatcher.counter("requests_forbidden_total").await, 2);
    assert_eq!(dispatcher.counter("events_accepted_total").await, 4);
    assert_eq!(dispatcher.counter("requests_refused_total").await, 18);
}

/// Who may not send is told so before the body has come, and takes nothing from those who may.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_may_not_send_takes_memory() {
    let issuer = Issuer::new().await;
    let yaml = format!("{}{CHANNEL}", issuer.features(""));
    let dispatcher = Dispatcher::of(&yaml)
        .arg("--max-buffered-bytes")
        .arg("1MiB")
        .start()
        .await;
    issuer.known_to(&dispatcher).await;
    let other = issuer.token("other/writer", OF_CHANNEL);
    let mut strangers = Vec::new();
    for (proof, status) in [
        (String::new(), 401),
        (format!("Authorization: Bearer {other}\r\n"), 403),
    ] {
        for _ in 0..50 {
            let mut stream = tokio::net::TcpStream::connect(dispatcher.http)
                .await
                .expect("connected");
            let head = format!(
                "POST /default/c HTTP/1.1\r\nHost: h\r\n{proof}ce-id: 1\r\nce-source: /s\r\nce-type: t\r\nce-specversion: 1.0\r\nContent-Length: 5000000\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await.expect("written");
            stream.write_all(&[b'x'; 100_000]).await.expect("written");
            strangers.push((stream, status));
        }
    }
    let good = issuer.token("default/writer", OF_CHANNEL);
    let url = dispatcher.http_url("/default/c");
    let request = event(&plain(), &url, "i").header("authorization", format!("Bearer {good}"));
    assert_eq!(
        request
            .body(vec![b'x'; 500_000])
            .send()
            .await
            .expect("an answer")
            .status(),
        202
    );
    for (mut stream, status) in strangers {
        let answer = read_response(&mut stream).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
    }
}

/// Contract C24, 3.4, AU-9 to AU-11: flags and policies on the next request, without a restart.
#[tokio::test(flavor = "multi_thread")]
async fn authorization_changes_at_once() {
    let issuer = Issuer::new().await;
    let policy = |name: &str, spec: &str| {
        format!(
            "apiVersion: eventing.knative.dev/v1alpha1\nkind: EventPolicy\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n---\n"
        )
    };
    let dispatcher = Dispatcher::standalone(&format!("{}{CHANNEL}", issuer.features(""))).await;
    issuer.known_to(&dispatcher).await;
    let same = issuer.token("default/writer", OF_CHANNEL);
    let other = issuer.token("other/writer", OF_CHANNEL);
    let to = "to: [{selector: {apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, matchLabels: {team: a}}}]";
    let from_other = "from: [{sub: 'system:serviceaccount:other:*'}]";
    let of_type = |ty: &str| format!("filters: [{{exact: {{type: {ty}}}}}]");
    let closed = policy(
        "a-closed",
        &format!("{to}, {from_other}, {}", of_type("none")),
    );
    let open = policy(
        "b-open",
        &format!("{to}, {from_other}, {}", of_type("test.event")),
    );
    for (flags, policies, answers) in [
        (
            "default-authorization-mode: allow-all",
            String::new(),
            [202, 202],
        ),
        (
            "default-authorization-mode: deny-all",
            String::new(),
            [403, 403],
        ),
        (
            "default-authorization-mode: nobody",
            String::new(),
            [403, 403],
        ),
        (
            "default-authorization-mode: allow-all",
            closed.clone(),
            [403, 403],
        ),
        (
            "default-authorization-mode: allow-all",
            closed + &open,
            [403, 202],
        ),
        (
            "default-authorization-mode: Allow-Same-Namespace",
            String::new(),
            [202, 403],
        ),
    ] {
        dispatcher
            .apply(&format!("{}{CHANNEL}{policies}", issuer.features(flags)))
            .await;
        let found = [
            ask(&dispatcher, &same).await,
            ask(&dispatcher, &other).await,
        ];
        assert_eq!(found, answers, "{flags} {policies}");
    }
    let off = issuer.features("").replace(
        "authentication-oidc: enabled",
        "authentication-oidc: disabled",
    );
    dispatcher.apply(&format!("{off}{CHANNEL}")).await;
    assert_eq!(
        ask(&dispatcher, "nonsense").await,
        202,
        "without the flag nobody is asked"
    );
}

/// Contract G-53: an issuer that is away is asked again, and until it answers senders are told to
/// come again.
#[tokio::test(flavor = "multi_thread")]
async fn senders_come_again_until_keys_are_known() {
    let issuer = Issuer::new().await;
    issuer.away.store(true, Ordering::SeqCst);
    let dispatcher = Dispatcher::standalone(&format!("{}{CHANNEL}", issuer.features(""))).await;
    let token = issuer.token("default/writer", OF_CHANNEL);
    let request = event(&plain(), dispatcher.http_url("/default/c"), "i");
    let answer = with_token(request, &token).send().await.expect("an answer");
    assert!(answer.headers().contains_key("retry-after"));
    let (status, text) = told(answer).await;
    assert_eq!(
        (status, text.contains("try again later")),
        (503, true),
        "{text}"
    );
    let nobody = event(&plain(), dispatcher.http_url("/default/c"), "i")
        .send()
        .await
        .expect("an answer");
    assert_eq!(
        nobody.status(),
        401,
        "who proves nothing need not come again"
    );
    crate::support::eventually("it is asked again", || issuer.server.count() >= 2).await;
    issuer.away.store(false, Ordering::SeqCst);
    issuer.known_to(&dispatcher).await;
    assert_eq!(ask(&dispatcher, &token).await, 202);
    let asked = issuer.server.count();
    for _ in 0..100 {
        assert_eq!(ask(&dispatcher, &token).await, 202);
    }
    assert_eq!(issuer.server.count(), asked, "who verifies does not fetch");
    assert!(
        issuer
            .server
            .received()
            .iter()
            .all(|request| request.header("authorization").is_none())
    );
}

/// Where there is neither a cluster nor an issuer, the channel stays closed and says so once to its
/// operator.
#[tokio::test(flavor = "multi_thread")]
async fn without_an_issuer_nothing_is_open() {
    let features = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: config-features, namespace: knative-eventing}\ndata: {authentication-oidc: enabled}\n---\n";
    let dispatcher = Dispatcher::standalone(&format!("{features}{CHANNEL}")).await;
    let nobody = event(&plain(), dispatcher.http_url("/default/c"), "i")
        .send()
        .await
        .expect("an answer");
    assert_eq!(nobody.status(), 401);
    let issuer = Issuer::new().await;
    assert_eq!(
        ask(&dispatcher, &issuer.token("default/writer", OF_CHANNEL)).await,
        503
    );
    assert!(
        !dispatcher
            .logged(&["asks for tokens of a cluster, and there is none"])
            .is_empty()
    );
}

/// A sender without a token is told so as soon as its event is read, over a raw socket, too; its
/// connection stays.
#[tokio::test(flavor = "multi_thread")]
async fn raw_requests() {
    let issuer = Issuer::new().await;
    let dispatcher = Dispatcher::standalone(&format!("{}{CHANNEL}", issuer.features(""))).await;
    let head = "POST /default/c HTTP/1.1\r\nhost: x\r\nce-specversion: 1.0\r\nce-id: 1\r\nce-source: /s\r\nce-type: t\r\n";
    for (authorization, status) in [
        ("", 401),
        ("authorization:\r\n", 401),
        ("authorization: Bearer \u{7f}\r\n", 400),
        ("AUTHORIZATION: bearer\r\n", 401),
    ] {
        let answer = raw(
            dispatcher.http,
            format!("{head}{authorization}content-length: 0\r\n\r\n").as_bytes(),
        )
        .await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{authorization:?}: {answer}"
        );
    }
}

/// Replies that stay inside are authorized as their Trigger, which is of the Broker's namespace;
/// where nobody may send, they may not either.
#[tokio::test(flavor = "multi_thread")]
async fn replies_inside_are_asked_too() {
    let issuer = Issuer::new().await;
    let subscriber = Subscriber::answering(|request| match request.header("ce-type") {
        Some("test.event") => Reply::event("answer", "r"),
        _ => Reply::status(200),
    })
    .await;
    let broker = format!(
        "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {{name: b}}\n---\n\
         apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: t}}\n\
         spec: {{broker: b, subscriber: {{uri: '{}'}}}}\n---\n",
        subscriber.url()
    );
    let policy = "apiVersion: eventing.knative.dev/v1alpha1\nkind: EventPolicy\nmetadata: {name: p}\nspec: {from: [{sub: 'system:serviceaccount:default:writer'}]}\n---\n";
    let dispatcher = Dispatcher::standalone(&format!("{}{broker}", issuer.features(""))).await;
    issuer.known_to(&dispatcher).await;
    let token = issuer.token("default/writer", "eventing.knative.dev/broker/default/b");
    let send = |id: &'static str| {
        let request = with_token(
            event(&plain(), dispatcher.http_url("/default/b"), id),
            &token,
        );
        async move { request.send().await.expect("an answer").status().as_u16() }
    };
    assert_eq!(send("1").await, 202);
    assert_eq!(
        subscriber.until(2).await[1].header("ce-type"),
        Some("answer")
    );
    dispatcher
        .apply(&format!("{}{broker}{policy}", issuer.features("")))
        .await;
    assert_eq!(send("2").await, 500, "the sender may, the Trigger may not");
    assert_eq!(subscriber.count(), 3);
    let lost = "answered 403 Forbidden";
    assert!(
        !dispatcher.logged(&["Event lost", lost]).is_empty(),
        "{}",
        dispatcher.log()
    );
}

/// Contract AU-1, A-24, A-25: the role `ingress`; what wants a token that is not to be had is not
/// sent.
#[tokio::test(flavor = "multi_thread")]
async fn the_role_ingress_asks() {
    let issuer = Issuer::new().await;
    let channel = Subscriber::replying(&[202]).await;
    let broker = |name: &str, more: &str| {
        format!(
            "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {{name: {name}}}\nstatus:\n  \
             address: {{url: 'http://b', audience: of-{name}}}\n  annotations: {{knative.dev/channelAddress: '{}'{more}}}\n---\n",
            channel.url()
        )
    };
    let yaml = issuer.features("")
        + &broker("b", "")
        + &broker("c", ", knative.dev/channelAudience: of-channel");
    let dispatcher = Dispatcher::of(&yaml)
        .arg("--role")
        .arg("ingress")
        .start()
        .await;
    issuer.known_to(&dispatcher).await;
    let [good, elsewhere, of_c] = [
        ("default/w", "of-b"),
        ("other/w", "of-b"),
        ("default/w", "of-c"),
    ]
    .map(|(sa, aud)| issuer.token(sa, aud));
    for (path, id, token, status) in [
        ("/default/b", "i", Some(&good), 202),
        ("/default/b", "i", None, 401),
        ("/default/b", "", None, 400),
        ("/default/none", "i", None, 404),
        ("/default/b", "i", Some(&of_c), 401),
        ("/default/b", "i", Some(&elsewhere), 403),
        ("/default/c", "i", Some(&of_c), 500),
    ] {
        let request = event(&plain(), dispatcher.http_url(path), id);
        let request = token
            .iter()
            .fold(request, |request, token| with_token(request, token));
        let (found, text) = told(request.send().await.expect("an answer")).await;
        assert_eq!(found, status, "{path} {token:?}: {text}");
        assert!(
            status != 500
                || text.contains(
                    "no token for system:serviceaccount:knative-eventing:mt-broker-ingress-oidc"
                )
        );
    }
    let received = channel.received();
    assert_eq!(received.len(), 1);
    assert_eq!(
        received[0].header("authorization"),
        None,
        "a sender's token is nobody else's"
    );
}

/// Contract AU-13, A-32, A-33: the role `filter` takes events from the Subscription of the Trigger
/// only.
#[tokio::test(flavor = "multi_thread")]
async fn the_role_filter_asks() {
    let issuer = Issuer::new().await;
    let subscriber = Subscriber::ok().await;
    let trigger = |name: &str| {
        format!(
            "apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: {name}, uid: u-{name}}}\nspec: {{broker: b}}\nstatus: {{subscriberUri: '{}'}}\n---\n",
            subscriber.url()
        )
    };
    let subscription = |name: &str, status: &str| {
        format!(
            "apiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {{name: b-{name}, ownerReferences: [{{kind: Trigger, name: {name}, uid: u-{name}}}]}}\nspec: {{channel: {{apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: c}}, reply: {{uri: 'http://r'}}}}\nstatus: {{{status}}}\n---\n"
        )
    };
    let yaml = [
        issuer.features(""),
        trigger("t"),
        trigger("early"),
        trigger("lone"),
        subscription("t", "auth: {serviceAccountName: t-oidc}"),
        subscription("early", ""),
    ]
    .concat();
    let dispatcher = Dispatcher::of(&yaml)
        .arg("--role")
        .arg("filter")
        .start()
        .await;
    issuer.known_to(&dispatcher).await;
    let [good, other, wrong] = [
        ("default/t-oidc", "mt-broker-filter"),
        ("default/x", "mt-broker-filter"),
        ("default/t-oidc", "x"),
    ]
    .map(|(sa, audience)| issuer.token(sa, audience));
    for (trigger, id, token, status) in [
        ("t", "i", Some(&good), 200),
        ("t", "i", None, 401),
        ("t", "i", Some(&wrong), 401),
        ("t", "i", Some(&other), 403),
        ("early", "i", Some(&good), 500),
        ("lone", "i", Some(&good), 404),
        ("none", "i", None, 404),
    ] {
        let url = dispatcher.http_url(&format!("/triggers/default/{trigger}/u-{trigger}"));
        let request = event(&plain(), url, id).header("ce-knativebrokerttl", "7");
        let request = token
            .iter()
            .fold(request, |request, token| with_token(request, token));
        let (found, text) = told(request.send().await.expect("an answer")).await;
        assert_eq!(found, status, "{trigger} {token:?}: {text}");
    }
    assert_eq!(subscriber.count(), 1);
}

/// A sender that may not send finds its event in `explain`, in binary and in structured mode, and
/// nothing of its token.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_refused_sender_is_explained() {
    let issuer = Issuer::new().await;
    let features = issuer.features("default-authorization-mode: deny-all");
    let dispatcher = Dispatcher::standalone(&format!("{features}{CHANNEL}")).await;
    issuer.known_to(&dispatcher).await;
    let url = dispatcher.http_url("/default/c");
    let token = issuer.token("default/writer", OF_CHANNEL);
    let structured = |id: &str| {
        let body = json!({"specversion": "1.0", "id": id, "source": "/s", "type": "t"});
        let request = plain().post(&url).body(body.to_string());
        request.header("content-type", "application/cloudevents+json")
    };
    for (id, request, status, reason) in [
        ("1", event(&plain(), &url, "1"), 401, "send a token"),
        ("2", structured("2"), 401, "send a token"),
        (
            "3",
            with_token(event(&plain(), &url, "3"), &token),
            403,
            "default:writer may not send",
        ),
        (
            "4",
            with_token(structured("4"), &token),
            403,
            "default:writer may not send",
        ),
    ] {
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{id}");
        let path = format!("/api/v1/explain?id={id}");
        let (found, lines) = dispatcher.admin_text(&path).await;
        let line: serde_json::Value = serde_json::from_str(&lines).expect("one line");
        assert_eq!(
            (found, &line["what"], &line["status"]),
            (200, &json!("refused"), &json!(status))
        );
        assert_eq!(line["channel"], "channel default/c");
        assert!(
            line["reason"]
                .as_str()
                .is_some_and(|text| text.contains(reason)),
            "{line}"
        );
        assert!(!lines.contains(&token), "{lines}");
    }
}
