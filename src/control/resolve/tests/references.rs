//! References to Services of either kind, to objects of other kinds, to other namespaces, and to
//! objects that are not served.

use super::*;
use crate::control::{ClusterNameLookup, Severity};

/// Outside of a cluster.
fn outside() -> ControlSettings {
    ControlSettings {
        cluster_names: ClusterNameLookup::Unavailable,
        ..settings()
    }
}

/// Where a subscriber leads with these objects beside it, and what is said of it.
fn found(subscriber: &str, beside: &str) -> (Option<(String, DestinationRoute)>, Vec<String>) {
    let (found, problems) = destination(subscriber, beside, &outside());
    (found.map(|to| (to.url.to_string(), to.route)), problems)
}

const REMOTE: DestinationRoute = DestinationRoute::Remote { connect: None };
const SERVING: &str = "{ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: x}}";

/// A Service of Knative Serving with more of its manifest below.
fn serving(more: &str) -> String {
    format!("---\napiVersion: serving.knative.dev/v1\nkind: Service\nmetadata:\n  name: x\n{more}")
}

fn with_image(image: &str) -> String {
    format!(
        "spec: {{template: {{metadata: {{labels: {{app: d}}}}, spec: {{containers: [{{image: {image}}}]}}}}}}\n"
    )
}

/// As Services of Kubernetes are: by an annotation, as the display, by `--resolve`, else by the
/// name in a cluster.
#[test]
fn services_of_knative_serving_are_found_as_others_are() {
    let endpoint = "  annotations: {sealpost.dev/endpoint: 'http://127.0.0.1:9'}\n";
    assert_eq!(
        found(SERVING, &serving(endpoint)),
        (Some(("http://127.0.0.1:9/".into(), REMOTE)), vec![])
    );
    let path = SERVING.replace("}}", "}, uri: /in}");
    assert_eq!(
        found(&path, &serving(endpoint)),
        (Some(("http://127.0.0.1:9/in".into(), REMOTE)), vec![])
    );
    let image = with_image("gcr.io/x/event_display@sha256:0a");
    let host = "http://x.default.svc.cluster.local/";
    assert_eq!(
        found(SERVING, &serving(&image)),
        (Some((host.into(), DestinationRoute::EventDisplay)), vec![])
    );
    let ways = "say where it is by --resolve x.default.svc.cluster.local=ADDR:PORT, by the annotation sealpost.dev/endpoint \
                on the manifest of its Service, or by a uri";
    assert_eq!(
        found(SERVING, &serving(&with_image("nginx"))),
        (
            Some((host.into(), REMOTE)),
            vec![format!(
                "a.yaml:10: Subscription default/s: spec.subscriber.ref: warning: leads to x.default.svc.cluster.local, a \
                 name that only a cluster knows: {ways}"
            )]
        )
    );
    let missing = format!(
        "a.yaml:10: Subscription default/s: spec.subscriber.ref: there is no Service of serving.knative.dev, default/x: add \
         its manifest, or {ways}"
    );
    assert_eq!(found(SERVING, ""), (None, vec![missing.clone()]));
    // One of Kubernetes is another object.
    let other = service("x", endpoint);
    assert_eq!(found(SERVING, &other), (None, vec![missing]));
    let resolve = vec![
        "x.default.svc.cluster.local=127.0.0.1:7"
            .parse()
            .expect("an override"),
    ];
    let (there, problems) = destination(
        SERVING,
        "",
        &ControlSettings {
            resolve_overrides: resolve,
            ..outside()
        },
    );
    assert_eq!(problems, [""; 0]);
    let connect = Some("127.0.0.1:7".parse().expect("an address"));
    assert_eq!(
        there.expect("found").route,
        DestinationRoute::Remote { connect }
    );
}

/// `group` says the same as `apiVersion`, but for the version.
#[test]
fn a_group_stands_for_its_version() {
    for (reference, url) in [
        (
            "{group: serving.knative.dev, kind: Service, name: x}",
            "http://127.0.0.1:9/",
        ),
        (
            "{group: serving.knative.dev, apiVersion: serving.knative.dev/v1, kind: Service, name: x}",
            "http://127.0.0.1:9/",
        ),
        (
            "{group: messaging.knative.dev, kind: InMemoryChannel, name: c}",
            "http://c-kn-channel.default.svc.cluster.local/",
        ),
    ] {
        let beside = serving("  annotations: {sealpost.dev/endpoint: 'http://127.0.0.1:9'}\n");
        let (there, problems) = found(&format!("{{ref: {reference}}}"), &beside);
        assert_eq!(
            (there.map(|(url, _)| url).as_deref(), problems),
            (Some(url), vec![]),
            "{reference}"
        );
    }
    for (reference, words) in [
        (
            "{group: a.example, apiVersion: b.example/v1, kind: Foo, name: x}",
            "spec.subscriber.ref.group: is another group",
        ),
        (
            "{group: messaging.knative.de, kind: Channel, name: c}",
            "spec.subscriber.ref.group: \"messaging.knative.de/v1\" has",
        ),
        (
            "{apiVersion: serving.knative.dev/v1beta1, kind: Service, name: x}",
            "write serving.knative.dev/v1",
        ),
    ] {
        let (there, problems) = found(&format!("{{ref: {reference}}}"), "");
        assert_eq!(there, None, "{reference}");
        assert!(
            problems.len() == 1 && problems[0].contains(words),
            "{problems:?}"
        );
    }
}

/// Any other kind is where a manifest of it says.
#[test]
fn other_kinds_are_where_their_manifests_say() {
    let reference = "{ref: {apiVersion: example.com/v1, kind: Foo, name: x}}";
    let foo = |more: &str| {
        format!("---\napiVersion: example.com/v1\nkind: Foo\nmetadata:\n  name: x\n{more}")
    };
    let endpoint = |url: &str| {
        foo(&format!(
            "  annotations: {{sealpost.dev/endpoint: '{url}'}}\n"
        ))
    };
    let there = found(reference, &endpoint("https://sink.example/in"));
    assert_eq!(
        there,
        (Some(("https://sink.example/in".into(), REMOTE)), vec![])
    );
    // Whatever version it is written in, and by its group.
    let other = "{ref: {group: example.com, kind: Foo, name: x}}";
    assert_eq!(
        found(other, &endpoint("http://a").replace("com/v1", "com/v2")).0,
        Some(("http://a/".into(), REMOTE))
    );
    let unknown = "a.yaml:10: Subscription default/s: spec.subscriber.ref: leads to a Foo of example.com, and nothing says \
                   where that is: add its manifest with the annotation sealpost.dev/endpoint, refer to a Service and say \
                   where that is by --resolve, or give its address as uri";
    assert_eq!(found(reference, ""), (None, vec![unknown.to_owned()]));
    let (there, problems) = found(reference, &foo("  namespace: other\n"));
    assert_eq!(there, None);
    assert_eq!(
        (problems.len(), problems[0].as_str()),
        (2, unknown),
        "{problems:?}"
    );
    // What is wrong with it is an error of its own.
    for (beside, words) in [
        (
            endpoint("nowhere"),
            "Foo default/x: metadata.annotations.sealpost.dev/endpoint: is relative",
        ),
        (
            foo(
                "  annotations: {sealpost.dev/endpoint: 'http://a', sealpost.dev/endpont: 'http://b'}\n",
            ),
            "is no annotation of sealpost; did you mean sealpost.dev/endpoint?",
        ),
        (
            endpoint("http://a").replace("name: x", "name: X"),
            "\"X\" is not a name of Kubernetes",
        ),
    ] {
        let (there, problems) = found(reference, &beside);
        assert_eq!(there, None, "{beside}");
        assert!(
            problems.iter().any(|problem| problem.contains(words)),
            "{problems:?}"
        );
    }
    let twice = endpoint("http://a") + &endpoint("http://b");
    let (there, problems) = found(reference, &twice);
    assert_eq!(there, Some(("http://a/".into(), REMOTE)));
    assert!(
        problems.len() == 1
            && problems[0].contains("metadata.name: is taken at a.yaml:12, which stays"),
        "{problems:?}"
    );
}

/// A manifest that is broken by an edit keeps its last good form, as a Service does.
#[test]
fn other_kinds_keep_their_last_good_form() {
    let text = |url: &str| {
        let foo = "---\napiVersion: example.com/v1\nkind: Foo\nmetadata:\n  name: x\n";
        let subscriber = subscription("{ref: {apiVersion: example.com/v1, kind: Foo, name: x}}");
        format!("{CHANNEL}{subscriber}{foo}  annotations: {{sealpost.dev/endpoint: '{url}'}}\n")
    };
    let before = good(&text("http://a"));
    let after = resolve(
        &manifests(&[("a.yaml", &text("a"))]),
        Some(&before),
        &settings(),
    );
    assert_eq!(only(&after).subscriber, only(&before).subscriber);
    assert_eq!(after.problems.len(), 1, "{:?}", lines(&after));
}

/// The display stands in for the Pods of any template.
#[test]
fn the_display_is_found_by_any_template() {
    let reference = "{ref: {apiVersion: v1, kind: Service, name: d}}";
    let selecting = service("d", "spec: {selector: {app: d}}\n");
    let made = |api_version: &str, kind: &str, image: &str| {
        format!(
            "---\napiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: made}}\n{}",
            with_image(image)
        )
    };
    let image = "localhost:5000/event_display:v1";
    for (api_version, kind) in [
        ("apps/v1", "Deployment"),
        ("apps/v1", "ReplicaSet"),
        ("apps/v1", "StatefulSet"),
        ("apps/v1", "DaemonSet"),
        ("batch/v1", "Job"),
        ("serving.knative.dev/v1", "Service"),
        ("serving.knative.dev/v1", "Configuration"),
    ] {
        let (there, problems) = found(
            reference,
            &format!("{selecting}{}", made(api_version, kind, image)),
        );
        assert_eq!(
            there.map(|(_, target)| target),
            Some(DestinationRoute::EventDisplay),
            "{kind}"
        );
        assert_eq!(problems, [""; 0], "{kind}");
        for beside in [
            made(api_version, kind, "nginx"),
            made(api_version, kind, image).replace("app: d", "app: e"),
            made(api_version, kind, image)
                .replace("{name: made}", "{name: made, namespace: other}"),
            made(api_version, kind, image).replace("containers", "contains"),
            made("example.com/v1", kind, image),
        ] {
            let (there, _) = found(reference, &format!("{selecting}{beside}"));
            assert_eq!(there.map(|(_, target)| target), Some(REMOTE), "{beside}");
        }
    }
}

#[test]
fn external_names_are_followed() {
    let reference = "{ref: {apiVersion: v1, kind: Service, name: e}, uri: /in}";
    let external = |host: &str| {
        service(
            "e",
            &format!("spec: {{type: ExternalName, externalName: {host}}}\n"),
        )
    };
    let there = found(reference, &external("sink.example"));
    assert_eq!(
        there,
        (Some(("http://sink.example/in".into(), REMOTE)), vec![])
    );
    let (there, problems) = found(reference, &external("a.other.svc.cluster.local"));
    assert_eq!(
        there,
        Some(("http://a.other.svc.cluster.local/in".into(), REMOTE))
    );
    assert!(
        problems[0].contains(
            "warning: leads to a.other.svc.cluster.local, a name that only a cluster knows"
        )
    );
    for none in [
        "'a b'",
        "'http://127.0.0.1:28085/'",
        "'127.0.0.1:28085'",
        "127.0.0.1",
        "'::1'",
        "''",
    ] {
        let (there, problems) = found(reference, &external(none));
        assert_eq!(there, None);
        let words = "is no DNS name, which is all that it may be";
        assert!(
            problems.iter().any(|problem| problem.contains(words)),
            "{problems:?}"
        );
    }
}

const BROKER: &str = "---\napiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: b, namespace: other}\n";
const ELSEWHERE: &str = "---\napiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\nmetadata: {name: c, namespace: other}\n";
const TRIGGER: &str = "---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {name: t}\nspec: {brokerRef: {name: b, \
                       namespace: other}, subscriber: {uri: 'http://x'}}\n";

fn links(value: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: config-features, namespace: knative-eventing}}\ndata: \
         {{{value}}}\n"
    )
}

/// Triggers and Subscriptions of another namespace than their Broker or channel: only with the
/// flag, and no longer than it says so, whatever else is wrong.
#[test]
fn links_between_namespaces_need_the_flag() {
    let linked =
        subscription("{uri: 'http://x'}").replace("name: c}", "name: c, namespace: other}");
    let world = |flag: &str| format!("{BROKER}{ELSEWHERE}{TRIGGER}{linked}{}", links(flag));
    let count = |resolution: &Resolution| {
        resolution
            .table
            .channels()
            .iter()
            .map(|channel| channel.subscriptions.len())
            .sum::<usize>()
    };
    let enabled = "cross-namespace-event-links: enabled";
    let open = good(&world(enabled));
    assert_eq!(count(&open), 2);
    for flag in [
        "",
        "cross-namespace-event-links: disabled",
        "cross-namespace-event-links: Enable",
    ] {
        let closed = one(&world(flag));
        assert_eq!(count(&closed), 0, "{flag}");
        let said = lines(&closed);
        assert!(
            said.iter()
                .any(|line| line.contains("spec.brokerRef.namespace: is other")),
            "{said:?}"
        );
        assert!(
            said.iter()
                .any(|line| line.contains("spec.channel.namespace: is other")),
            "{said:?}"
        );
        assert_eq!(ready(&closed, ObjectKind::Trigger, "t").0, "False");
        // The same while running: no last good form goes on, not even of an object that cannot be
        // read any more.
        let again = |text: &str| resolve(&manifests(&[("a.yaml", text)]), Some(&open), &settings());
        assert_eq!(count(&again(&world(flag))), 0, "{flag}");
        let broken = world(flag)
            .replace("uri: 'http://x'", "uri: 5")
            .replace("spec:\n  channel", "spe:\n  channel");
        assert_eq!(count(&again(&broken)), 0, "{flag}");
    }
    // A ConfigMap that is gone, or not understood as a whole, changes nothing (contract 3.12a).
    let gone = resolve(
        &manifests(&[("a.yaml", &world(enabled).replace("config-features", "x"))]),
        Some(&open),
        &settings(),
    );
    assert_eq!(count(&gone), 2);
    let misread = world(enabled).replace("data: {", "data: {x: {}, ");
    assert_eq!(
        count(&resolve(
            &manifests(&[("a.yaml", &misread)]),
            Some(&open),
            &settings()
        )),
        2
    );
    assert_eq!(count(&one(&misread)), 0, "it was never understood");
    // The own namespace may be named.
    let own = subscription("{uri: 'http://x'}").replace("name: c}", "name: c, namespace: default}");
    assert_eq!(count(&good(&format!("{CHANNEL}{own}"))), 1);
}

/// A Broker of another implementation's class.
const FOREIGN: &str = "---\napiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: f, annotations: \
                       {eventing.knative.dev/broker.class: Kafka}}\n";
const OURS: &str = "---\napiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: b}\n";

/// A reference to an object `f`.
fn to(api_version: &str, kind: &str) -> String {
    format!("{{ref: {{apiVersion: {api_version}, kind: {kind}, name: f}}}}")
}

/// Objects that need something which is left alone, with their kinds and names.
fn objects_that_need_what_is_left_alone() -> [(String, ObjectKind, &'static str); 9] {
    let broker = to("eventing.knative.dev/v1", "Broker");
    let subscription_of = |spec: &str| {
        format!(
            "{CHANNEL}---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {{name: s}}\nspec: {spec}\n"
        )
    };
    let channel = "channel: {apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: c}";
    let trigger = |spec: &str| {
        format!(
            "---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: t}}\nspec: {spec}\n{OURS}"
        )
    };
    let kafka = "channel: {apiVersion: messaging.knative.dev/v1beta1, kind: KafkaChannel, name: f}";
    let job = to("sinks.knative.dev/v1alpha1", "JobSink");
    let transform = to("eventing.knative.dev/v1alpha1", "EventTransform");
    [
        (
            trigger("{broker: f, subscriber: {uri: 'http://x'}}"),
            ObjectKind::Trigger,
            "t",
        ),
        (
            trigger(&format!("{{broker: b, subscriber: {broker}}}")),
            ObjectKind::Trigger,
            "t",
        ),
        (
            trigger(&format!("{{broker: b, subscriber: {job}}}")),
            ObjectKind::Trigger,
            "t",
        ),
        (
            trigger(&format!("{{broker: b, subscriber: {transform}}}")),
            ObjectKind::Trigger,
            "t",
        ),
        (
            trigger(&format!(
                "{{broker: b, subscriber: {{uri: 'http://x'}}, delivery: {{deadLetterSink: {broker}}}}}"
            )),
            ObjectKind::Trigger,
            "t",
        ),
        (
            subscription_of(&format!("{{{channel}, subscriber: {broker}}}")),
            ObjectKind::Subscription,
            "s",
        ),
        (
            subscription_of(&format!(
                "{{{channel}, subscriber: {{uri: 'http://x'}}, reply: {broker}}}"
            )),
            ObjectKind::Subscription,
            "s",
        ),
        (
            subscription_of(&format!("{{{kafka}, subscriber: {{uri: 'http://x'}}}}")),
            ObjectKind::Subscription,
            "s",
        ),
        (
            format!("{CHANNEL}spec: {{delivery: {{deadLetterSink: {broker}}}}}\n"),
            ObjectKind::Channel,
            "c",
        ),
    ]
}

/// What is left alone is a note; what needs it is a warning wherever it is, and not ready.
#[test]
fn what_needs_something_that_is_left_alone_is_warned_and_not_ready() {
    for (text, kind, name) in objects_that_need_what_is_left_alone() {
        let resolution = one(&format!("{text}{FOREIGN}"));
        let of = |severity| {
            resolution
                .problems
                .iter()
                .filter(|problem| problem.severity == severity)
                .count()
        };
        assert_eq!(
            [Severity::Error, Severity::Warning, Severity::Note].map(of),
            [0, 1, 1],
            "{text}: {:#?}",
            lines(&resolution)
        );
        let (status, message) = ready(&resolution, kind, name);
        assert!(
            status != "True" && !message.is_empty(),
            "{text}: {status} {message}"
        );
        assert_leads_nowhere(&resolution, &text);
    }
}

/// Every subscription has a destination that is unresolved, for a reason that is told.
fn assert_leads_nowhere(resolution: &Resolution, text: &str) {
    let served = resolution
        .table
        .channels()
        .iter()
        .flat_map(|channel| &channel.subscriptions);
    for made in served {
        let targets = [&made.subscriber, &made.reply, &made.dead_letter_sink].map(Option::as_ref);
        let nowhere = targets
            .into_iter()
            .flatten()
            .filter_map(|to| match &to.route {
                DestinationRoute::Unresolved(why) => Some(why),
                _ => None,
            });
        assert!(
            nowhere.clone().count() > 0 && nowhere.clone().all(|why| !why.is_empty()),
            "{text}"
        );
    }
}

/// Channels and flows whose channels others make are left alone, with a note; what needs them is
/// warned of.
#[test]
fn what_is_made_of_channels_of_others_is_left_alone() {
    let template = "channelTemplate: {apiVersion: messaging.knative.dev/v1beta1, kind: KafkaChannel, spec: {numPartitions: 3}}";
    let object = |of: &str, spec: &str| {
        format!("---\napiVersion: {of}\nmetadata: {{name: k}}\nspec: {spec}\n")
    };
    let left = object(
        "messaging.knative.dev/v1\nkind: Channel",
        &format!("{{{template}}}"),
    );
    let sequence = object(
        "flows.knative.dev/v1\nkind: Sequence",
        &format!("{{{template}, steps: [{{uri: 'http://x'}}]}}"),
    );
    let parallel = object(
        "flows.knative.dev/v1\nkind: Parallel",
        &format!("{{{template}, branches: [{{subscriber: {{uri: 'http://x'}}}}]}}"),
    );
    let by_default = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: default-ch-webhook, namespace: knative-eventing}\ndata: {default-ch-config: '{namespaceDefaults: {default: {apiVersion: messaging.knative.dev/v1beta1, kind: KafkaChannel}}}'}\n".to_owned() + &object("messaging.knative.dev/v1\nkind: Channel", "{}");
    let on = object(
        "messaging.knative.dev/v1\nkind: Subscription",
        "{channel: {apiVersion: messaging.knative.dev/v1, kind: Channel, name: k}, subscriber: {uri: 'http://x'}}",
    );
    let to = |of: &str, kind: &str| {
        subscription(&format!(
            "{{ref: {{apiVersion: {of}, kind: {kind}, name: k}}}}"
        ))
    };
    for (text, needs, name) in [
        (&left, &on, "k"),
        (&left, &to("messaging.knative.dev/v1", "Channel"), "s"),
        (&by_default, &on, "k"),
        (&sequence, &to("flows.knative.dev/v1", "Sequence"), "s"),
        (&parallel, &to("flows.knative.dev/v1", "Parallel"), "s"),
    ] {
        let resolution = one(&format!("{CHANNEL}{text}{needs}"));
        let found = lines(&resolution);
        assert!(
            found.len() == 2
                && found[0].contains(".kind: note: KafkaChannel is not made here, so that this "),
            "{found:#?}"
        );
        assert!(
            found[1].contains(": warning: ") && found[1].contains("/k is not served here: "),
            "{found:#?}"
        );
        assert_ne!(
            ready(&resolution, ObjectKind::Subscription, name).0,
            "True",
            "{text}"
        );
        assert_eq!(resolution.table.channels().len(), 1, "{text}");
        // What was served before is left alone by such an edit, too.
        let before = format!("{CHANNEL}{text}{needs}")
            .replace("beta1, kind: KafkaChannel", ", kind: InMemoryChannel")
            .replace(", spec: {numPartitions: 3}", "");
        let before = good(&before);
        assert!(before.table.channels().len() > 1, "{text}");
        let text = format!("{CHANNEL}{text}{needs}");
        assert_eq!(
            resolve(&manifests(&[("a.yaml", &text)]), Some(&before), &settings())
                .table
                .channels()
                .len(),
            1
        );
    }
    for (text, kind) in [
        (&left, ObjectKind::Channel),
        (&sequence, ObjectKind::Sequence),
        (&parallel, ObjectKind::Parallel),
    ] {
        let (status, message) = ready(&one(text), kind, "k");
        assert_eq!(
            (status.as_str(), message.as_str()),
            ("Unknown", "It belongs to another implementation")
        );
    }
}

/// So it is for a PingSource, which sends no more where it has sent before.
#[test]
fn a_source_whose_sink_is_left_alone_sends_nothing() {
    let broker = to("eventing.knative.dev/v1", "Broker");
    let ping = format!(
        "---\napiVersion: sources.knative.dev/v1\nkind: PingSource\nmetadata: {{name: p}}\nspec: {{sink: {broker}}}\n"
    );
    let before = good(&format!("{ping}{}", OURS.replace("name: b", "name: f")));
    assert_eq!(before.table.sources().len(), 1);
    for last in [None, Some(&before)] {
        let resolution = resolve(
            &manifests(&[("a.yaml", &format!("{ping}{FOREIGN}"))]),
            last,
            &settings(),
        );
        assert!(
            resolution
                .problems
                .iter()
                .all(|problem| !problem.is_error()),
            "{:#?}",
            lines(&resolution)
        );
        assert!(
            lines(&resolution)[0]
                .contains("spec.sink.ref: warning: broker default/f is not served here")
        );
        assert!(resolution.table.sources().is_empty());
    }
}

/// A policy of this name, with more metadata, for a channel.
fn policy(name: &str, more: &str, kind: &str, to: &str) -> String {
    format!(
        "apiVersion: eventing.knative.dev/v1alpha1\nkind: EventPolicy\nmetadata: {{name: {name}, {more}}}\nspec: {{to: [{{ref: \
         {{apiVersion: messaging.knative.dev/v1, kind: {kind}, name: {to}}}}}], from: [{{sub: {name}}}]}}\n---\n"
    )
}

/// What Knative has made of a Channel, a Broker or a Trigger is left out where these are written,
/// too, as in the export of a namespace: the same is made of them here.
#[test]
fn what_a_cluster_has_made_of_others_is_left_out() {
    let (written, made) = (written_objects(), generated_objects());
    let alone = unguarded(&written);
    assert_eq!(lines(&alone), [""; 0]);
    // As its own Service says, a channel is at the dispatcher, which this process is.
    let own = "apiVersion: v1\nkind: Service\nmetadata: {name: c-kn-channel}\nspec: {type: ExternalName, externalName: \
               imc-dispatcher.knative-eventing.svc.cluster.local}\n---\n";
    let exported = unguarded(&(written + own + &made));
    assert_eq!(exported.table, alone.table);
    let [trigger] = &of(&exported, &super::broker("b"))[..] else {
        panic!("no Trigger")
    };
    assert_eq!(
        trigger.subscriber.as_ref().expect("it").route,
        DestinationRoute::Local(super::channel("c"))
    );
    assert_left_out(&exported, 3);
}

/// An object that a controller has made of this one.
fn owned(kind: &str, owner: &str) -> String {
    format!("ownerReferences: [{{kind: {kind}, name: {owner}}}]")
}

fn channel_of(kind: &str, name: &str, more: &str) -> String {
    format!(
        "apiVersion: messaging.knative.dev/v1\nkind: {kind}\nmetadata: {{name: {name}, {more}}}\n---\n"
    )
}

/// A Channel, a Broker and a Trigger, as their author writes them.
fn written_objects() -> String {
    let broker = "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: b}\n---\n";
    let trigger = "apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {name: t}\nspec: {broker: b, subscriber: \
                   {ref: {apiVersion: v1, kind: Service, name: c-kn-channel}}}\n---\n";
    channel_of("Channel", "c", "") + broker + trigger
}

fn channel_of_broker() -> String {
    channel_of("InMemoryChannel", "b-kne-trigger", &owned("Broker", "b"))
}

fn subscription_of_trigger() -> String {
    let to = "subscriber: {uri: 'http://broker-filter.knative-eventing.svc.cluster.local/x'}";
    let owner = owned("Trigger", "t");
    format!(
        "apiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {{name: b-t, {owner}}}\nspec: {{channel: \
         {{apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: b-kne-trigger}}, {to}}}\n---\n"
    )
}

/// What controllers have made of them.
fn generated_objects() -> String {
    let of_channel = channel_of("InMemoryChannel", "c", &owned("Channel", "c"));
    of_channel + &channel_of_broker() + &subscription_of_trigger()
}

fn unguarded(text: &str) -> Resolution {
    resolve(&manifests(&[("a.yaml", text)]), None, &outside())
}

fn is_left_out(said: &str) -> bool {
    said.ends_with(" makes this one itself: it is left out") && said.contains(": note: ")
}

fn assert_left_out(resolution: &Resolution, count: usize) {
    let said = lines(resolution);
    assert!(
        said.len() == count && said.iter().all(|line| is_left_out(line)),
        "{said:#?}"
    );
}

/// With tokens, a Broker's channel has a policy, and so has that of a Channel with one.
#[test]
fn policies_that_a_cluster_has_made_are_left_out() {
    let tokens = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: config-features, namespace: knative-eventing}\ndata: \
                  {authentication-oidc: enabled}\n---\n";
    let guarded = written_objects() + tokens + &policy("mine", "", "Channel", "c");
    let policies = policy(
        "b-ep-b-kne-trigger",
        &owned("Broker", "b"),
        "InMemoryChannel",
        "b-kne-trigger",
    ) + &policy(
        "mine-c",
        &owned("EventPolicy", "mine"),
        "InMemoryChannel",
        "c",
    );
    let alone = ControlSettings {
        api_server: crate::control::ApiServerAvailability::Missing,
        ..outside()
    };
    let resolved = |text: &str| resolve(&manifests(&[("a.yaml", text)]), None, &alone);
    let made = generated_objects();
    let exported = resolved(&(guarded.clone() + &made + &policies));
    assert_eq!(exported.table, resolved(&guarded).table);
    let said = lines(&exported);
    assert_eq!(
        said.iter().filter(|said| is_left_out(said)).count(),
        5,
        "{said:#?}"
    );
    // One that somebody has written counts, and closes: there is no such channel here.
    let by_hand = resolved(&(guarded + &made + &policy("by-hand", "", "InMemoryChannel", "c")));
    let said = lines(&by_hand);
    assert!(
        said.iter()
            .any(|said| said.contains("EventPolicy default/by-hand: spec.to[0]")),
        "{said:#?}"
    );
}

/// A Sequence has made the Channel of which the channel was made.
#[test]
fn what_a_cluster_has_made_of_a_sequence_is_left_out() {
    let sequence = "apiVersion: flows.knative.dev/v1\nkind: Sequence\nmetadata: {name: q}\nspec: {steps: [{uri: 'http://127.0.0.1:9'}]}\n---\n";
    let made = channel_of("Channel", "q-kn-sequence-0", &owned("Sequence", "q"))
        + &channel_of(
            "InMemoryChannel",
            "q-kn-sequence-0",
            &owned("Channel", "q-kn-sequence-0"),
        );
    assert_left_out(&unguarded(&(sequence.to_owned() + &made)), 2);
}

/// Of what is not there it was not made, and what was made of nothing is another object.
#[test]
fn what_a_cluster_has_made_of_nothing_here_stays() {
    let strangers = channel_of_broker().replace("name: b}]", "name: z}]")
        + &subscription_of_trigger().replace("name: t}]", "name: z}]");
    let strangers = unguarded(&(written_objects() + &strangers));
    assert_eq!(of(&strangers, &super::channel("b-kne-trigger")).len(), 1);
    let mine = unguarded(&(written_objects() + &channel_of("InMemoryChannel", "c", "")));
    assert!(
        lines(&mine)[0].contains("makes the InMemoryChannel of its name itself: remove this one")
    );
}

/// ConfigMaps of Knative Serving have the names of those of Eventing, and keys of their own.
#[test]
fn config_maps_of_knative_serving_are_its_own() {
    let of = |namespace: &str, name: &str, data: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {namespace}}}\ndata: {{{data}}}\n---\n"
        )
    };
    good(
        &(of(
            "knative-serving",
            "config-features",
            "multi-container: enabled",
        ) + &of(
            "knative-serving",
            "config-logging",
            "loglevel.activator: info",
        )),
    );
    good(&of(
        "knative-eventing",
        "config-logging",
        "klog-verbosity: '0', loglevel.controller: info",
    ));
}

/// What tools make objects of is left alone beside them, with what to do.
#[test]
fn files_of_tools_are_left_alone() {
    let said =
        |name: &str, text: &str| lines(&resolve(&manifests(&[(name, text)]), None, &settings()));
    let kustomize =
        "is kustomize's own, and left alone: run with what `kustomize build` prints, as by -f -";
    assert_eq!(
        said("d/kustomization.yaml", "resources: [a.yaml]\n"),
        [format!("d/kustomization.yaml:1: note: {kustomize}")]
    );
    let whole =
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [a.yaml]\n";
    assert!(
        said("kustomization.yaml", whole)[0]
            .ends_with("left alone: run with what `kustomize build` prints, as by -f -")
    );
    for (name, text) in [
        ("values.yaml", "replicas: 1\n"),
        ("Chart.yaml", "apiVersion: v2\nname: x\n"),
    ] {
        assert!(said(name, text)[0].ends_with(
            "note: is of a chart, and left alone: run with what `helm template` prints, as by -f -"
        ));
    }
    // What looks like an object is one, whatever its file is called.
    for (name, text) in [
        ("values.yaml", "metadata: {name: x}\n"),
        ("kustomization.yaml", "spec: {}\n"),
        ("a.yaml", "x: 1\n"),
    ] {
        assert!(said(name, text)[0].contains("kind: is missing"), "{name}");
    }
}
