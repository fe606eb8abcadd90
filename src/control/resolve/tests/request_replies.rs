//! RequestReplies and the keys of correlation ids: how manifests are resolved, and which problems
//! are reported.

use super::*;
use crate::control::Problem;
use crate::correlation::{CorrelationId, CorrelationSeed, KeyHolder, SECRET};
use crate::model::RequestReply;

const BROKER: &str =
    "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: b}\n---\n";
const REFERENCE: &str = "{apiVersion: eventing.knative.dev/v1, kind: Broker, name: b}";
const KEY: &str = "cGFzc3BocmFzZXdoaWNobmVlZHN0b2JlMzJieXRlcyE=";

fn request_reply(spec: &str) -> String {
    format!(
        "apiVersion: eventing.knative.dev/v1alpha1\nkind: RequestReply\nmetadata: {{name: rr}}\nspec:\n  brokerRef: {REFERENCE}\n{spec}"
    )
}

fn secret(name: &str, entry: &str, key: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: knative-eventing}}\ndata: {{{entry}: {key}}}\n"
    )
}

pub(super) fn settings_with_seed() -> ControlSettings {
    ControlSettings {
        key_seed: CorrelationSeed::random(),
        ..settings()
    }
}

fn resolved(text: &str, last: Option<&Resolution>) -> Resolution {
    resolve(&manifests(&[("a.yaml", text)]), last, &settings_with_seed())
}

/// The only problem of a RequestReply with this after its `brokerRef`.
fn problem(text: &str) -> String {
    let lines = lines(&resolved(text, None));
    assert_eq!(lines.len(), 1, "{text}\n{lines:#?}");
    lines[0]
        .strip_prefix("a.yaml:")
        .expect("a place")
        .to_owned()
}

fn only_one(resolution: &Resolution) -> &RequestReply {
    let [request_reply] = resolution.table.request_replies() else {
        panic!("{:?}", resolution.table)
    };
    request_reply
}

#[test]
fn what_is_made_of_one() {
    let resolution = resolved(&(BROKER.to_owned() + &request_reply("")), None);
    assert_eq!(lines(&resolution), [""; 0]);
    let made = only_one(&resolution);
    assert_eq!(
        (
            made.correlation_attribute.as_str(),
            made.reply_attribute.as_str()
        ),
        ("correlationid", "replyid")
    );
    assert_eq!(
        (made.timeout, &made.broker),
        (Duration::from_secs(30), &broker("b"))
    );
    let trigger = only(&resolution);
    assert_eq!(trigger.key.name, "rr0-1");
    let Some(Addressable {
        route: DestinationRoute::WaitingRequest(key),
        url,
        ..
    }) = &trigger.subscriber
    else {
        panic!()
    };
    assert_eq!((key, url.path()), (&made.key, "/default/rr/reply"));
    assert!(
        resolution
            .hosts
            .contains(&"request-reply.knative-eventing.svc.cluster.local".to_owned())
    );
    let host = Some("request-reply.knative-eventing.svc.cluster.local");
    assert!(matches!(
        resolution.table.look_up(host, "/default/rr"),
        AddressLookup::RequestReply(_)
    ));
    assert!(matches!(
        resolution.table.look_up(Some("h"), "/default/rr"),
        AddressLookup::RequestReply(_)
    ));
    assert!(matches!(
        resolution.table.look_up(host, "/default/b"),
        AddressLookup::NotFound
    ));

    let spec = "  timeout: PT2S\n  correlationAttribute: c1\n  replyAttribute: r1\n  delivery: {retry: 3}\n";
    let made = resolved(&(BROKER.to_owned() + &request_reply(spec)), None);
    assert_eq!(only(&made).delivery.retry, 3);
    let made = only_one(&made);
    assert_eq!(
        (
            made.correlation_attribute.as_str(),
            made.reply_attribute.as_str()
        ),
        ("c1", "r1")
    );
    assert_eq!(made.timeout, Duration::from_secs(2));
}

#[test]
fn problems_of_request_replies() {
    for (spec, line) in [
        (
            "  timeout: 30s\n",
            "10: RequestReply default/rr: spec.timeout: \"30s\" is not an ISO 8601 duration: write for example PT0.5S, PT10S, PT1M30S or P1D",
        ),
        (
            "  timeout: PT0S\n",
            "10: RequestReply default/rr: spec.timeout: is zero, so that no reply could come in time: write for example PT30S",
        ),
        (
            "  timout: PT1S\n",
            "10: RequestReply default/rr: spec.timout: is not a field that is known here; did you mean timeout?",
        ),
        (
            "  correlationAttribute: id\n",
            "10: RequestReply default/rr: spec.correlationAttribute: id means something else already: write another one, such as correlationid",
        ),
        (
            "  replyAttribute: reply-id\n",
            "10: RequestReply default/rr: spec.replyAttribute: \"reply-id\" is not the name of an attribute: use a-z and 0-9",
        ),
        (
            "  replyAttribute: exists\n",
            "10: RequestReply default/rr: spec.replyAttribute: \"exists\" is a word of CESQL, so that no filter can name this attribute: write another one",
        ),
        (
            "  replyAttribute: correlationid\n",
            "10: RequestReply default/rr: spec.replyAttribute: is the correlationAttribute, too, so that each event would be its own reply: write another one",
        ),
    ] {
        assert_eq!(
            problem(&(BROKER.to_owned() + &request_reply(spec))),
            line,
            "{spec}"
        );
    }
    for (reference, line) in [
        (
            "{apiVersion: v1, kind: Service, name: b}",
            "spec.brokerRef.kind: Service is no Broker: write Broker",
        ),
        (
            "{apiVersion: eventing.knative.dev/v1, kind: Broker}",
            "spec.brokerRef.name: is missing: name the Broker",
        ),
        (
            "{apiVersion: eventing.knative.dev/v1, kind: Broker, name: c}",
            "spec.brokerRef: there is no broker default/c: create it, or correct the reference",
        ),
        (
            "{apiVersion: eventing.knative.dev/v1, kind: Broker, name: b, namespace: x}",
            "spec.brokerRef.namespace: has no place here: a RequestReply sends to a Broker of its own namespace",
        ),
    ] {
        let text = BROKER.to_owned() + &request_reply("").replace(REFERENCE, reference);
        assert_eq!(
            problem(&text),
            format!("9: RequestReply default/rr: {line}")
        );
    }
    let text =
        "apiVersion: eventing.knative.dev/v1alpha1\nkind: RequestReply\nmetadata: {name: rr}\n";
    let line = "3: RequestReply default/rr: spec.brokerRef: is missing: give apiVersion, kind and name of the Broker";
    assert_eq!(
        problem(text).split_once(": ").expect("a line").1,
        line.split_once(": ").expect("a line").1
    );
}

/// A Trigger of somebody else with the name of its own; upstream's own one is left alone.
#[test]
fn its_trigger_is_its_own() {
    let trigger = |label: &str| {
        format!(
            "---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: rr0-1{label}}}\nspec: {{broker: b, subscriber: {{uri: 'http://10.0.0.1:8080/default/rr/reply'}}}}\n"
        )
    };
    let text = BROKER.to_owned() + &request_reply("") + &trigger("");
    assert!(
        problem(&text).contains("the Trigger rr0-1 at a.yaml:"),
        "{}",
        problem(&text)
    );
    let text = BROKER.to_owned()
        + &request_reply("")
        + &trigger(", labels: {eventing.knative.dev/RequestReply.name: x}");
    assert!(
        problem(&text).contains("the Trigger rr0-1 at a.yaml:"),
        "{}",
        problem(&text)
    );
    let label = ", labels: {eventing.knative.dev/RequestReply.name: rr}";
    let resolution = resolved(
        &(BROKER.to_owned() + &request_reply("") + &trigger(label)),
        None,
    );
    let [line] = &lines(&resolution)[..] else {
        panic!("{:?}", lines(&resolution))
    };
    assert!(
        line.contains("note: was made for the RequestReply rr"),
        "{line}"
    );
    assert!(matches!(
        only(&resolution).subscriber,
        Some(Addressable {
            route: DestinationRoute::WaitingRequest(_),
            ..
        })
    ));
}

/// The Secret's last key seals; without an entry there a key is made, and stays the same; with a
/// bad one there is none.
#[test]
fn keys_are_the_secrets_else_made() {
    let settings = settings_with_seed();
    let sealed_by = |text: &str| {
        let resolution = resolve(&manifests(&[("a.yaml", text)]), None, &settings);
        let [made] = resolution.table.request_replies() else {
            return None;
        };
        let id = made.correlation_key.create_id("e", 0).expect("an id");
        let holder = KeyHolder {
            secret: SECRET,
            namespace: "default",
            name: "rr",
        };
        assert!(
            resolution
                .memory
                .config
                .key_ring
                .verifies(&CorrelationId::parse(&id).expect("an id"), holder)
        );
        Some(made.correlation_key.clone())
    };
    let text = BROKER.to_owned() + &request_reply("");
    let made = sealed_by(&text).expect("a key");
    assert_eq!(
        sealed_by(&text).as_ref(),
        Some(&made),
        "the same as long as the process runs"
    );
    assert_eq!(
        sealed_by(&(text.clone() + &secret(SECRET, "default.other.k", KEY))).as_ref(),
        Some(&made)
    );
    let given = sealed_by(&(text.clone() + &secret(SECRET, "default.rr.k", KEY))).expect("a key");
    assert_ne!(given, made);
    assert_eq!(
        sealed_by(&(text.clone() + &secret(SECRET, "default.rr.k", "c2hvcnQ="))),
        None
    );
    let other = secret(SECRET, "default.rr.k", KEY).replace("knative-eventing", "default");
    assert_eq!(
        sealed_by(&(text + &other)).as_ref(),
        Some(&made),
        "of the system namespace only"
    );
}

#[test]
fn problems_of_keys_show_no_values() {
    for (entry, value, message) in [
        (
            "default.rr.k",
            "c2hvcnQ=",
            "has 5 bytes, and a key of AES has 16, 24 or 32: make one by head -c 32 /dev/urandom",
        ),
        (
            "default.rr.k",
            "'*'",
            "is not base64: encode the key, or write it as it is into stringData",
        ),
    ] {
        let resolution = resolved(&secret(SECRET, entry, value), None);
        assert_eq!(
            lines(&resolution),
            [format!(
                "a.yaml:5: Secret knative-eventing/{SECRET}: data.{entry}: {message}"
            )]
        );
    }
    assert_eq!(
        lines(&resolved(&secret(SECRET, "readme", "'*'"), None)),
        [""; 0],
        "it is no key"
    );
}

/// One with a mistake keeps its last good form, and what it asks of senders is asked anew.
#[test]
fn the_last_good_form_is_kept() {
    let good = resolved(
        &(BROKER.to_owned() + &request_reply("  timeout: PT2S\n")),
        None,
    );
    let bad = resolved(
        &(BROKER.to_owned() + &request_reply("  timeout: never\n")),
        Some(&good),
    );
    assert!(Arc::ptr_eq(
        &bad.table.request_replies()[0],
        &good.table.request_replies()[0]
    ));
    assert_eq!(only(&bad).key.name, "rr0-1");
    let (status, message) = ready(&bad, ObjectKind::RequestReply, "rr");
    assert!(
        status == "False" && message.contains("last good form"),
        "{message}"
    );
    assert_eq!(ready(&bad, ObjectKind::Trigger, "rr0-1").0, "True");
    let gone = resolved(BROKER, Some(&bad));
    assert!(gone.table.request_replies().is_empty() && of(&gone, &broker("b")).is_empty());
    let oidc = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: config-features, namespace: knative-eventing}\ndata: {authentication-oidc: enabled}\n";
    let bad = resolved(
        &(BROKER.to_owned() + &request_reply("  timeout: never\n") + oidc),
        Some(&good),
    );
    assert!(
        only_one(&bad).authorization.is_some(),
        "tokens are asked for now"
    );
}

/// What others send to one that is broken goes nowhere.
#[test]
fn references_lead_to_it() {
    let subscription = "---\napiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\nmetadata: {name: c}\n---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {name: s}\nspec:\n  channel: {apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: c}\n  subscriber: {ref: {apiVersion: eventing.knative.dev/v1alpha1, kind: RequestReply, name: rr}}\n";
    let target = |resolution: &Resolution| {
        let [subscription] = &of(resolution, &channel("c"))[..] else {
            panic!("{:?}", lines(resolution))
        };
        subscription.subscriber.clone().expect("a subscriber").route
    };
    let resolution = resolved(
        &(BROKER.to_owned() + &request_reply("") + subscription),
        None,
    );
    let key = ChannelKey {
        kind: ChannelKind::RequestReply,
        ..channel("rr")
    };
    assert_eq!(target(&resolution), DestinationRoute::Local(key));
    let uri = subscription.replace(
        "{ref: {apiVersion: eventing.knative.dev/v1alpha1, kind: RequestReply, name: rr}}",
        "{uri: 'http://request-reply.knative-eventing.svc.cluster.local/default/rr'}",
    );
    assert_eq!(
        target(&resolved(
            &(BROKER.to_owned() + &request_reply("") + &uri),
            None
        )),
        target(&resolution)
    );
    let broken = resolved(
        &(BROKER.to_owned() + &request_reply("  timeout: x\n") + subscription),
        None,
    );
    let DestinationRoute::Unresolved(reason) = target(&broken) else {
        panic!()
    };
    assert!(
        reason.contains("requestreply default/rr has problems of its own"),
        "{reason}"
    );
}

/// Expressions that ask for a Secret or a key that is not there can let nothing pass.
#[test]
fn expressions_find_their_keys() {
    let trigger = |arguments: &str| {
        format!(
            "{BROKER}apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: t}}\nspec:\n  broker: b\n  subscriber: {{uri: 'http://h/'}}\n  filters:\n  - cesql: 'KN_VERIFY_CORRELATION_ID({arguments})'\n{}",
            secret("keys", "default.rr.k", KEY)
        )
    };
    let said = |arguments: &str| -> Vec<String> {
        let resolution = resolved(&trigger(arguments), None);
        resolution
            .problems
            .iter()
            .map(|Problem { message, .. }| message.clone())
            .collect()
    };
    let at = "line 1, column 1:";
    for (arguments, message) in [
        (r#"replyid, "rr", "default", "keys", 0, 1"#, None),
        (r#"replyid, "rr", "default", "keys", 2, 3"#, None),
        (r#"CONCAT(replyid, ""), name, ns, secret, "0", "1""#, None),
        (
            r#"replyid, "rr", "default", "other", 0, 1"#,
            Some("needs the Secret other of the system namespace, which is not there, so that no correlation id is genuine: add its manifest, or the RequestReply, or correct the name".to_owned()),
        ),
        (
            r#"replyid, "other", "default", "keys", 0, 1"#,
            Some("finds no key default.other.… in the Secret keys of the system namespace, so that no correlation id is genuine: add one, or correct namespace and name".to_owned()),
        ),
        (r#"replyid, "rr", "default", "keys""#, Some(format!("{at} KN_VERIFY_CORRELATION_ID takes 6 arguments, and not 4"))),
        (r#"replyid, "rr", "default", "keys", 0, 0"#, Some(format!("{at} the replica count of KN_VERIFY_CORRELATION_ID is below 1, so that no id is genuine: correct it"))),
        (r#"replyid, "rr", "default", "keys", 1, 1"#, Some(format!("{at} the pod index of KN_VERIFY_CORRELATION_ID is 1 of 1 replicas, which count from 0, so that no id is genuine: correct it"))),
        (r#"replyid, "rr", "default", "keys", "x", 1"#, Some(format!("{at} the pod index of KN_VERIFY_CORRELATION_ID is 'x', which is no integer: write for example 1"))),
        (r#"replyid, "", "default", "keys", 0, 1"#, Some(format!("{at} the name of KN_VERIFY_CORRELATION_ID is empty, so that no id is genuine: correct it"))),
    ] {
        let said = said(arguments);
        let expected: Vec<String> = message.into_iter().collect();
        assert_eq!(said.first(), expected.first(), "{arguments}: {said:#?}");
    }
}

/// Policies are for RequestReplies, too; one for another closes what it could have meant.
#[test]
fn policies_are_for_them() {
    let text = |name: &str| {
        format!(
            "{BROKER}{}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: config-features, namespace: knative-eventing}}\ndata: {{authentication-oidc: enabled, oidc-discovery-base-url: 'https://i/'}}\n---\napiVersion: eventing.knative.dev/v1alpha1\nkind: EventPolicy\nmetadata: {{name: p}}\nspec:\n  to: [{{ref: {{apiVersion: eventing.knative.dev/v1alpha1, kind: RequestReply, name: {name}}}}}]\n  from: [{{sub: 'system:serviceaccount:x:y'}}]\n",
            request_reply("")
        )
    };
    let settings = ControlSettings {
        api_server: crate::control::ApiServerAvailability::Missing,
        ..settings_with_seed()
    };
    let access = |name: &str| {
        let resolution = resolve(&manifests(&[("a.yaml", &text(name))]), None, &settings);
        let access = only_one(&resolution)
            .authorization
            .clone()
            .expect("tokens are asked for");
        (access.audience, access.rule, lines(&resolution))
    };
    let (audience, rule, _) = access("rr");
    assert_eq!(audience, "eventing.knative.dev/requestreply/default/rr");
    let crate::model::AuthorizationRule::Policies(policies) = rule else {
        panic!("{rule:?}")
    };
    assert_eq!(policies[0].subjects.len(), 1);
    let (_, rule, lines) = access("other");
    let crate::model::AuthorizationRule::Policies(policies) = rule else {
        panic!("{rule:?}")
    };
    assert!(
        policies.iter().all(|policy| policy.subjects.is_empty()),
        "nobody may send"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.contains("there is no RequestReply default/other")),
        "{lines:#?}"
    );
}
