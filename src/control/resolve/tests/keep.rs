//! Objects with problems keep their last good form, and unchanged objects keep their value.

use proptest::prelude::*;

use super::*;

/// Resolves texts one after the other.
fn history(texts: &[&str]) -> Resolution {
    let mut last = None;
    for text in texts {
        last = Some(resolve(
            &manifests(&[("a.yaml", text)]),
            last.as_ref(),
            &settings(),
        ));
    }
    last.expect("a text")
}

/// Reads texts one after the other as the same file, and resolves them.
fn edits(texts: &[&str]) -> Resolution {
    let (mut file, mut last) = (None, None);
    for text in texts {
        let read = parse_file("a.yaml", text, [0; 32], file.as_ref());
        let manifests = ManifestSet {
            files: vec![Arc::clone(&read)],
            problems: Vec::new(),
        };
        last = Some(resolve(&manifests, last.as_ref(), &settings()));
        file = Some(read);
    }
    last.expect("a text")
}

fn urls(resolution: &Resolution) -> Vec<String> {
    let subscriptions = of(resolution, &channel("c"));
    subscriptions
        .iter()
        .filter_map(|s| Some(s.subscriber.as_ref()?.url.to_string()))
        .collect()
}

fn text(channel: &str, subscriber: &str) -> String {
    format!("{CHANNEL}{channel}{}", subscription(subscriber))
}

#[test]
fn subscriptions_keep_their_last_good_form() {
    let before = text("", "{uri: 'http://good'}");
    for bad in [
        text("", "{uri: 'ftp://bad'}"),
        text("", "5"),
        text("", "{ref: {apiVersion: v1, kind: Service, name: nobody}}"),
        text("", "{uri: 'https://bad', CACerts: x}"),
        before.replace("name: c}\n  sub", "name: other}\n  sub"),
    ] {
        let after = history(&[&before, &bad]);
        assert_eq!(urls(&after), ["http://good/"], "{bad}");
        assert_eq!(after.problems.len(), 1, "{:#?}", lines(&after));
        let (status, message) = ready(&after, ObjectKind::Subscription, "s");
        assert_eq!(status, "False");
        assert!(
            message.starts_with("spec.")
                && message.ends_with(" (its last good form is still served)"),
            "{message}"
        );
        // What was never good fails, if it can be made at all, and what is good again is served.
        let never = history(&[&bad]);
        assert!(
            of(&never, &channel("c"))
                .iter()
                .all(|made| made.has_unresolved_destination()),
            "{bad}"
        );
        assert!(
            !ready(&history(&[&bad]), ObjectKind::Subscription, "s")
                .1
                .contains("last good form")
        );
        assert_eq!(
            urls(&history(&[
                &before,
                &bad,
                &bad,
                &text("", "{uri: 'http://new'}")
            ])),
            ["http://new/"]
        );
    }
    assert_eq!(urls(&history(&[&before, CHANNEL])), [""; 0]);
    let gone = history(&[&before, &subscription("{uri: 'http://good'}")]);
    assert!(gone.table.channels().is_empty());
}

/// An error that is not about a collector does not switch off what is sent there.
#[test]
fn collectors_keep_their_last_good_form() {
    let good = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: config-observability, namespace: knative-eventing}\ndata: {tracing-protocol: grpc, tracing-endpoint: 'http://c:4317', tracing-sampling-rate: '1'}\n";
    for (right, wrong) in [
        ("tracing-sampling-rate: '1'", "tracing-sampling-rate: 1"),
        ("\ndata: {", "\ndata: {foo: bar, "),
        ("\ndata: {", "\ndta: {"),
    ] {
        let bad = good.replace(right, wrong);
        let after = history(&[good, &bad]);
        assert_ne!(after.problems.len(), 0, "{bad}");
        assert_eq!(
            after.observability,
            history(&[good]).observability,
            "{:#?}",
            lines(&after)
        );
        assert_eq!(history(&[&bad]).observability.traces, None, "{bad}");
        assert_eq!(history(&[good, &bad, CHANNEL]).observability.traces, None);
    }
}

/// Nobody knows which object has a wrong `apiVersion` or `kind`: none is gone for it, though it has
/// the name of one.
#[test]
fn nothing_is_gone_by_a_wrong_kind() {
    let served = text("", "{uri: 'http://good'}");
    let flow = "apiVersion: flows.knative.dev/v1\nkind: Sequence\nmetadata: {name: q}\nspec: {steps: [{uri: 'http://step'}]}\n";
    for (good, right, wrong) in [
        (
            served.as_str(),
            "messaging.knative.dev/v1\nkind: Sub",
            "messaging.knative.dev/v1beta1\nkind: Sub",
        ),
        (
            &served,
            "messaging.knative.dev/v1\nkind: Sub",
            "mesaging.knative.dev/v1\nkind: Sub",
        ),
        (
            &served,
            "apiVersion: messaging.knative.dev/v1\nkind: Sub",
            "kind: Sub",
        ),
        (&served, "kind: Subscription", "kind: Subscriptoin"),
        (
            &served,
            "kind: InMemoryChannel\n",
            "kind: InMemoryChannels\n",
        ),
        (flow, "flows.knative.dev/v1", "flows.knative.dev/v1beta1"),
        (flow, "flows.knative.dev/v1", "messaging.knative.dev/v1"),
    ] {
        let bad = good.replacen(right, wrong, 1);
        assert_ne!(bad, good, "{right}");
        let before = edits(&[good]);
        for after in [edits(&[good, &bad]), edits(&[good, &bad, &bad])] {
            assert_eq!(after.table, before.table, "{wrong}");
            assert_eq!(after.problems.len(), 1, "{:#?}", lines(&after));
        }
        assert_eq!(lines(&edits(&[good, &bad, good])), [""; 0], "{wrong}");
    }
}

/// What has the name of something that is gone, and another kind, group or nearly the same
/// namespace, is that one with a mistake; until it is taken out.
#[test]
fn what_is_displaced_by_an_edit_of_its_head_is_served_on() {
    let object = |api_version: &str, kind: &str, rest: &str| {
        format!(
            "apiVersion: {api_version}\nkind: {kind}\nmetadata:\n  name: t\n  namespace: default\n{rest}---\n"
        )
    };
    let eventing = |kind: &str, rest: &str| object("eventing.knative.dev/v1", kind, rest);
    let to = "{apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: c}";
    let parent = format!(
        "{CHANNEL}---\n{}",
        eventing("Broker", "").replace("name: t", "name: b")
    );
    let trigger = eventing(
        "Trigger",
        "spec: {broker: b, filter: {attributes: {type: wanted}}, subscriber: {uri: 'http://s'}}\n",
    );
    let subscription = object(
        "messaging.knative.dev/v1",
        "Subscription",
        &format!("spec: {{channel: {to}, subscriber: {{uri: 'http://s'}}}}\n"),
    );
    let policy = object(
        "eventing.knative.dev/v1alpha1",
        "EventPolicy",
        "spec: {from: [{sub: a}]}\n",
    );
    let features = object("v1", "ConfigMap", "data: {transport-encryption: strict}\n").replace(
        "name: t\n  namespace: default",
        "name: config-features\n  namespace: knative-eventing",
    );
    let source = object(
        "sources.knative.dev/v1",
        "PingSource",
        &format!("spec: {{schedule: '* * * * *', sink: {{ref: {to}}}}}\n"),
    );
    let flow = object(
        "flows.knative.dev/v1",
        "Sequence",
        "spec: {steps: [{uri: 'http://s'}]}\n",
    );
    for (good, right, wrong, field) in [
        (
            &trigger,
            "eventing.knative.dev/v1",
            "serving.knative.dev/v1",
            "apiVersion",
        ),
        (
            &trigger,
            "eventing.knative.dev/v1",
            "eventing.example.com/v1",
            "apiVersion",
        ),
        (&trigger, "kind: Trigger", "kind: EventTrigger", "kind"),
        (&trigger, "kind: Trigger", "kind: Rule", "kind"),
        (&trigger, "kind: Trigger", "kind: Broker", "kind"),
        (
            &trigger,
            "namespace: default",
            "namespace: defualt",
            "metadata.namespace",
        ),
        (
            &subscription,
            "messaging.knative.dev/v1",
            "operators.coreos.com/v1",
            "apiVersion",
        ),
        (&subscription, "kind: Subscription", "kind: Channel", "kind"),
        (
            &policy,
            "namespace: default",
            "namespace: defalt",
            "metadata.namespace",
        ),
        (&features, "kind: ConfigMap", "kind: Secret", "kind"),
        (
            &source,
            "sources.knative.dev/v1",
            "example.com/v1",
            "apiVersion",
        ),
        (&flow, "kind: Sequence", "kind: Workflow", "kind"),
        (
            &flow,
            "namespace: default\n",
            "namespace: defaults\n",
            "metadata.namespace",
        ),
    ] {
        let bad = format!("{parent}{}", good.replacen(right, wrong, 1));
        check_displaced((&parent, &format!("{parent}{good}"), &bad), right, field);
    }
}

/// Edits `good`, an object behind its parents, into `bad`, which has something else instead of
/// `right` in this field.
fn check_displaced((parent, good, bad): (&str, &str, &str), right: &str, field: &str) {
    let before = edits(&[good]);
    let more = format!("{bad}{}", CHANNEL.replace("name: c", "name: d"));
    for texts in [&[good, bad][..], &[good, bad, bad], &[good, bad, &more]] {
        let after = edits(texts);
        for channel in before.table.channels() {
            assert_eq!(
                after
                    .table
                    .channel(&channel.key)
                    .map(|(_, channel)| channel),
                Some(channel),
                "{bad}"
            );
        }
        assert_eq!(after.table.sources(), before.table.sources(), "{bad}");
        assert_eq!(
            after.table.transport_encryption(),
            before.table.transport_encryption(),
            "{bad}"
        );
        assert_eq!(
            after
                .inventory
                .objects
                .iter()
                .filter(|object| object.name == "t")
                .count(),
            before
                .inventory
                .objects
                .iter()
                .filter(|object| object.name == "t")
                .count(),
            "{bad}"
        );
        let errors = after
            .problems
            .iter()
            .filter(|problem| problem.is_error())
            .map(ToString::to_string);
        let [error] = &errors.collect::<Vec<_>>()[..] else {
            panic!("{bad}: {:#?}", lines(&after))
        };
        let right = right
            .split_once(": ")
            .map_or(right, |(_, right)| right)
            .trim();
        let said = format!("{field}: was {right}, and the ");
        assert!(
            error.contains(&said) && error.contains(&format!("is served on: write {right}; if")),
            "{error}"
        );
    }
    // It is right again, or it is meant to go.
    assert_eq!(lines(&edits(&[good, bad, good])), lines(&before), "{bad}");
    let (gone, new) = (edits(&[good, bad, parent]), edits(&[parent]));
    assert_eq!(
        (gone.table.channels(), gone.table.sources()),
        (new.table.channels(), new.table.sources()),
        "{bad}"
    );
    let converted = lines(&edits(&[good, bad, parent, bad]));
    assert!(
        !converted.iter().any(|line| line.contains("is served on")),
        "{bad}: {converted:#?}"
    );
}

/// What is removed, renamed, moved or mended is no mistake.
#[test]
fn what_is_meant_to_go_goes() {
    let broker = |namespace: &str, name: &str| {
        format!(
            "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {{name: {name}, namespace: {namespace}}}\n---\n"
        )
    };
    let trigger = |namespace: &str, name: &str| {
        broker(namespace, name)
            .replace("Broker", "Trigger")
            .replace(
                "---",
                "spec: {broker: b, subscriber: {uri: 'http://s'}}\n---",
            )
    };
    let other = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: t}\n---\n";
    let features = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: config-features, namespace: knative-evnting}\ndata: {transport-encryption: strict}\n---\n";
    let (brokers, kept) = (
        broker("a1", "b") + &broker("a2", "b") + &broker("default", "b"),
        CHANNEL,
    );
    for (before, after) in [
        // An object of the name was there before, or is not near.
        (
            format!("{}{other}", trigger("default", "t")),
            other.to_owned(),
        ),
        (trigger("default", "t"), trigger("default", "u")),
        (trigger("default", "t"), trigger("a1", "t")),
        // All of them move.
        (
            trigger("b1", "t") + &broker("b1", "b"),
            trigger("b2", "t") + &broker("b2", "b"),
        ),
        (trigger("a1", "t"), trigger("a2", "t")),
        // It was wrong before.
        (trigger("defualt", "t"), trigger("default", "t")),
        (
            trigger("default", "t").replace("Trigger", "Broker"),
            trigger("default", "t"),
        ),
        (features.to_owned(), features.replace("evnting", "eventing")),
        // Another kind of channel is the same channel.
        (
            "---\n".to_owned() + kept,
            "---\n".to_owned() + &kept.replace("InMemoryChannel", "Channel"),
        ),
    ] {
        let (before, after) = (format!("{brokers}{before}"), format!("{brokers}{after}"));
        let (edited, new) = (edits(&[&before, &after]), edits(&[&after]));
        assert_eq!(lines(&edited), lines(&new), "{after}");
        assert_eq!(edited.table.channels(), new.table.channels(), "{after}");
    }
}

/// A newcomer never takes the name of what is served, wherever it stands.
#[test]
fn names_stay_with_what_has_them() {
    let broker = "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: b}\n---\n";
    let wide = "apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {name: t}\nspec: {broker: b, subscriber: {uri: 'http://s'}}\n";
    let narrow = |wanted: &str| {
        wide.replace(
            "broker: b",
            &format!("broker: b, filter: {{attributes: {{type: {wanted}}}}}"),
        )
    };
    let served = format!("{broker}{}", narrow("wanted"));
    let both = |first: &str, second: &str| format!("{broker}{first}---\n{second}");
    let serve = |last: Option<&Resolution>, files: &[(&str, &str)]| {
        resolve(&manifests(files), last, &settings())
    };
    let start = serve(None, &[("t.yaml", &served)]);
    for (files, newcomer, holder) in [
        (
            &[("a.yaml", wide), ("t.yaml", &served)][..],
            "a.yaml:3",
            "t.yaml:5",
        ),
        (
            &[("t.yaml", &served), ("z.yaml", wide)],
            "z.yaml:3",
            "t.yaml:5",
        ),
        (
            &[("t.yaml", &both(wide, &narrow("wanted")))],
            "t.yaml:7",
            "t.yaml:10",
        ),
        // It has been moved, or edited.
        (
            &[("a.yaml", wide), ("m.yaml", &served)],
            "a.yaml:3",
            "m.yaml:5",
        ),
        (
            &[
                ("a.yaml", wide),
                (
                    "t.yaml",
                    &served.replace("'http://s'", "'http://s', audience: x"),
                ),
            ],
            "a.yaml:3",
            "t.yaml:5",
        ),
    ] {
        let after = serve(Some(&start), files);
        let rule = format!("is taken at {holder}, which stays: rename or remove one of the two");
        assert_eq!(
            lines(&after),
            [format!(
                "{newcomer}: Trigger default/t: metadata.name: {rule}"
            )]
        );
        assert_eq!(only(&after).filter, only(&start).filter, "{files:?}");
        // As long as both are there, whatever else changes.
        let later = serve(Some(&after), &[files, &[("other.yaml", CHANNEL)]].concat());
        assert_eq!(
            of(&later, &self::broker("b")),
            of(&after, &self::broker("b"))
        );
    }
    // Neither is what was served, which stays.
    let after = serve(Some(&start), &[("t.yaml", &both(wide, &narrow("other")))]);
    assert_eq!(after.table, start.table);
    assert_eq!(lines(&after).len(), 2, "{:#?}", lines(&after));
    assert!(
        lines(&after)[0].contains("is that of several, none of which is what was served"),
        "{:#?}",
        lines(&after)
    );
    let later = serve(Some(&after), &[("t.yaml", &both(wide, &narrow("third")))]);
    assert_eq!(later.table, start.table);
    // Whoever is left has it.
    let left = serve(Some(&later), &[("t.yaml", &format!("{broker}{wide}"))]);
    assert_eq!(lines(&left), [""; 0]);
    assert_eq!(only(&left).filter, Filter::MatchAll);
}

#[test]
fn channels_keep_their_last_good_form() {
    let delivery = |retry: &str| format!("spec: {{delivery: {{retry: {retry}}}}}\n");
    let before = text(&delivery("3"), "{uri: 'http://good'}");
    for bad in [
        delivery("-1"),
        delivery("x"),
        "spec: {delivery: {deadLetterSink: {}}}\n".to_owned(),
    ] {
        let after = history(&[&before, &text(&bad, "{uri: 'http://new'}")]);
        assert_eq!(urls(&after), ["http://new/"]);
        assert_eq!(only(&after).delivery.retry, 3);
        assert_eq!(ready(&after, ObjectKind::Channel, "c").0, "False");
        assert_eq!(ready(&after, ObjectKind::Subscription, "s").0, "True");
        let never = history(&[&text(&bad, "{uri: 'http://new'}")]);
        assert!(never.table.channels().is_empty());
        let (_, message) = ready(&never, ObjectKind::Subscription, "s");
        assert_eq!(
            message,
            "spec.channel: channel default/c has problems of its own: solve them first"
        );
    }
}

#[test]
fn subscribers_keep_their_last_good_form_one_by_one() {
    let channel = |a: &str, b: &str| {
        format!(
            "{CHANNEL}spec:\n  subscribers:\n  - {{uid: a, subscriberUri: '{a}'}}\n  - {{uid: b, subscriberUri: '{b}'}}\n"
        )
    };
    let good = channel("http://a", "http://b");
    let after = history(&[&good, &channel("ftp://a", "http://new")]);
    assert_eq!(urls(&after), ["http://a/", "http://new/"]);
    assert_eq!(
        urls(&history(&[&good, &format!("{CHANNEL}spec: 5\n")])),
        ["http://a/", "http://b/"]
    );
    assert_eq!(urls(&history(&[&good, CHANNEL])), [""; 0]);
}

#[test]
fn services_and_modes_keep_their_last_good_form() {
    let with = |endpoint: &str| {
        let service = service(
            "sink",
            &format!("  annotations: {{sealpost.dev/endpoint: '{endpoint}'}}\n"),
        );
        text("", "{ref: {apiVersion: v1, kind: Service, name: sink}}") + &service
    };
    let after = history(&[&with("http://127.0.0.1:9"), &with("nonsense")]);
    assert_eq!(urls(&after), ["http://127.0.0.1:9/"]);
    assert_eq!(after.problems.len(), 1);

    let features = |data: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: config-features, namespace: knative-eventing}}\ndata: {data}\n"
        )
    };
    let strict = features("{transport-encryption: strict}");
    let mode = |texts: &[&str]| history(texts).table.transport_encryption();
    assert_eq!(
        mode(&[&strict, &features("5")]),
        TransportEncryption::Strict
    );
    assert_eq!(mode(&[&strict, CHANNEL]), TransportEncryption::Strict);
    assert_eq!(
        lines(&history(&[&strict, CHANNEL, CHANNEL])),
        [
            "ConfigMap knative-eventing/config-features: data.transport-encryption: note: is gone, and stays strict until it \
          is written again or the process starts anew"
        ]
    );
    let closed = features(
        "{authentication-oidc: enabled, oidc-discovery-base-url: 'https://x', default-authorization-mode: deny-all}",
    );
    let gone = lines(&history(&[&closed, CHANNEL]));
    assert_eq!(
        gone,
        ["authentication-oidc: note: is gone, and stays enabled", "default-authorization-mode: note: is gone, and stays deny-all"].map(|said| format!("ConfigMap knative-eventing/config-features: data.{said} until it is written again or the process starts anew"))
    );
    assert_eq!(
        mode(&[&strict, &features("{}")]),
        TransportEncryption::Disabled
    );
}

#[test]
fn what_is_equal_is_shared() {
    let two = |uri: &str| {
        let second = CHANNEL.replace("name: c", "name: d");
        format!(
            "{}---\n{second}{}",
            text("", "{uri: 'http://a'}"),
            subscription(uri)
                .replace("name: s}", "name: t}")
                .replace("name: c}", "name: d}")
        )
    };
    let first = history(&[&two("{uri: 'http://b'}")]);
    let again = resolve(
        &manifests(&[("b.yaml", &two("{uri: 'http://b'}"))]),
        Some(&first),
        &settings(),
    );
    assert!(Arc::ptr_eq(&first.table, &again.table));
    assert!(!again.differs(&first));
    let changed = resolve(
        &manifests(&[("a.yaml", &two("{uri: 'http://new'}"))]),
        Some(&first),
        &settings(),
    );
    assert!(changed.differs(&first));
    assert!(Arc::ptr_eq(
        &first.table.channels()[0],
        &changed.table.channels()[0]
    ));
    assert!(!Arc::ptr_eq(
        &first.table.channels()[1],
        &changed.table.channels()[1]
    ));
}

#[test]
fn a_trigger_that_moves_to_another_implementation_is_served_no_more() {
    let text = |class: &str| {
        format!(
            "{{apiVersion: eventing.knative.dev/v1, kind: Broker, metadata: {{name: b, annotations: \
             {{eventing.knative.dev/broker.class: {class}}}}}}}\n---\n{{apiVersion: eventing.knative.dev/v1, kind: \
             Trigger, metadata: {{name: t}}, spec: {{broker: b, subscriber: {{uri: 'http://x'}}}}}}"
        )
    };
    assert_eq!(
        of(&history(&[&text("MTChannelBasedBroker")]), &broker("b")).len(),
        1
    );
    assert!(
        history(&[&text("MTChannelBasedBroker"), &text("RabbitMQBroker")])
            .table
            .channels()
            .is_empty()
    );
}

/// A configuration that touches everything, in pieces.
fn pieces() -> Vec<String> {
    let text = [
        include_str!("default-broker-example.yaml"),
        CHANNEL,
        "spec: {delivery: {retry: 3, deadLetterSink: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: br}}}, \
         subscribers: [{uid: u, subscriberUri: 'http://x'}]}\n",
        &subscription("{ref: {apiVersion: v1, kind: Service, name: event-display}, uri: /x}"),
        "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: config-features, namespace: knative-eventing}, data: \
         {transport-encryption: permissive}}\n---\n{apiVersion: messaging.knative.dev/v1, kind: Channel, metadata: {name: \
         d, annotations: {messaging.knative.dev/async-handler: 'true'}}}\n",
    ]
    .join("\n")
    .replace("\n\napiVersion: messaging", "\n---\napiVersion: messaging");
    text.split("---\n").map(str::to_owned).collect()
}

proptest! {
    #[test]
    fn the_order_of_documents_does_not_matter(pieces in Just(pieces()).prop_shuffle(), cut in 1..6_usize) {
        let straight = one(&self::pieces().join("---\n"));
        let (a, b) = pieces.split_at(cut);
        let shuffled = manifests(&[("a.yaml", &a.join("---\n")), ("b.yaml", &b.join("---\n"))]);
        let shuffled = resolve(&shuffled, None, &settings());
        prop_assert_eq!(lines(&shuffled), lines(&straight));
        prop_assert_eq!(&shuffled.table, &straight.table);
        prop_assert_eq!(&shuffled.inventory, &straight.inventory);
    }

    /// Cuts, doubles and exchanges parts of lines: whatever comes of it, there is a resolution, and
    /// every error is one of an object that is there.
    #[test]
    fn mutations_never_panic(edits in prop::collection::vec((0..100_usize, 0..100_usize, 0..5_u8), 0..6)) {
        let text = pieces().join("---\n");
        let first = one(&text);
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for (at, other, edit) in edits {
            let (at, other) = (at % lines.len(), other % lines.len());
            match edit {
                0 => lines.insert(at, lines[other].clone()),
                1 => lines.swap(at, other),
                2 => lines[at] = lines[at].chars().skip(other % 9).collect(),
                3 => lines[at] = lines[at].replace(": ", ": -"),
                _ => lines[at] = lines[at].replace(['{', '\''], ""),
            }
        }
        let changed = manifests(&[("a.yaml", &lines.join("\n"))]);
        for last in [None, Some(&first)] {
            let resolution = resolve(&changed, last, &settings());
            for problem in resolution.problems.iter().filter(|problem| problem.file.is_some()) {
                prop_assert!(problem.line.is_some_and(|line| line >= 1 && line <= lines.len() + 1), "{}", problem);
            }
        }
    }
}
