//! Sequences and Parallels: their channels and Subscriptions, their problems, and the form that
//! stays when they are edited.

use serde_json::{Value, json};

use super::*;

fn sequence(spec: &str) -> String {
    format!(
        "---\napiVersion: flows.knative.dev/v1\nkind: Sequence\nmetadata: {{name: s}}\nspec:\n{spec}"
    )
}

fn parallel(spec: &str) -> String {
    format!(
        "---\napiVersion: flows.knative.dev/v1\nkind: Parallel\nmetadata: {{name: p}}\nspec:\n{spec}"
    )
}

const TWO: &str = "  steps:\n  - {uri: 'http://a'}\n  - {uri: 'http://b', delivery: {retry: 2}}\n  reply: {uri: 'http://r'}\n";

/// Name, subscriber and reply of every subscription, by its channel.
fn routes(resolution: &Resolution) -> Vec<String> {
    let to = |to: &Option<Addressable>| match to.as_ref().map(|to| (&to.route, to.url.as_written()))
    {
        None => "-".to_owned(),
        Some((DestinationRoute::Local(key), _)) => format!("[{}]", key.name),
        Some((DestinationRoute::Unresolved(_), _)) => "nowhere".to_owned(),
        Some((_, url)) => url.to_owned(),
    };
    let subscriptions = resolution.table.channels().iter().flat_map(|channel| {
        channel
            .subscriptions
            .iter()
            .map(move |made| (channel.key.name.clone(), Arc::clone(made)))
    });
    let line = |(channel, made): (String, Arc<Subscription>)| {
        format!(
            "{channel}: {} > {} > {}",
            made.key.name,
            to(&made.subscriber),
            to(&made.reply)
        )
    };
    subscriptions.map(line).collect()
}

fn condition(status: &Value, ty: &str) -> (String, String, String) {
    let conditions = status["conditions"].as_array().expect("conditions");
    let found = conditions
        .iter()
        .find(|condition| condition["type"] == ty)
        .expect("a condition");
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"), text("message"))
}

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

/// Contract 5.2b.
#[test]
fn a_sequence_is_channels_and_subscriptions() {
    let resolution = good(&sequence(TWO));
    assert_eq!(
        routes(&resolution),
        [
            "s-kn-sequence-0: s-kn-sequence-0 > http://a > [s-kn-sequence-1]",
            "s-kn-sequence-1: s-kn-sequence-1 > http://b > http://r",
        ]
    );
    let retries = |name: &str| of(&resolution, &channel(name))[0].delivery.retry;
    assert_eq!(
        (retries("s-kn-sequence-0"), retries("s-kn-sequence-1")),
        (0, 2)
    );
    let of_sequence = status(&resolution, ObjectKind::Sequence, "s");
    let url = "http://s-kn-sequence-0-kn-channel.default.svc.cluster.local";
    assert_eq!(of_sequence["address"]["url"], url);
    for part in [
        "Ready",
        "Addressable",
        "ChannelsReady",
        "SubscriptionsReady",
        "EventPoliciesReady",
    ] {
        assert_eq!(condition(&of_sequence, part).0, "True", "{part}");
    }
    let part = |kind: &str, version: &str, what: &str, index: usize| {
        let name = format!("s-kn-sequence-{index}");
        json!({
            what: {"apiVersion": version, "kind": kind, "name": name, "namespace": "default"},
            "ready": {"type": "Ready", "status": "True"},
        })
    };
    let version = "messaging.knative.dev/v1";
    assert_eq!(
        of_sequence["channelStatuses"][1],
        part("InMemoryChannel", version, "channel", 1)
    );
    assert_eq!(
        of_sequence["subscriptionStatuses"][0],
        part("Subscription", version, "subscription", 0)
    );
    assert_eq!(
        of_sequence["channelStatuses"].as_array().map(Vec::len),
        Some(2)
    );
    let of_first = status(&resolution, ObjectKind::Channel, "s-kn-sequence-0");
    assert_eq!(of_first["address"]["url"], url);
    assert_eq!(
        of_first["subscribers"],
        json!([{"name": "s-kn-sequence-0", "ready": "True"}])
    );
    let of_second = status(&resolution, ObjectKind::Subscription, "s-kn-sequence-1");
    assert_eq!(of_second["physicalSubscription"]["replyUri"], "http://r");
}

/// Contract 5.2b.
#[test]
fn a_parallel_is_channels_and_subscriptions() {
    let resolution = good(&parallel(
        "  branches:\n  - filter: {uri: 'http://f'}\n    subscriber: {uri: 'http://a'}\n    reply: {uri: 'http://own'}\n  \
         - subscriber: {uri: 'http://b'}\n    delivery: {retry: 1, deadLetterSink: {uri: 'http://d'}}\n  reply: {uri: 'http://r'}\n",
    ));
    assert_eq!(
        routes(&resolution),
        [
            "p-kn-parallel: p-kn-parallel-filter-0 > http://f > [p-kn-parallel-0]",
            "p-kn-parallel: p-kn-parallel-filter-1 > [p-kn-parallel-1] > -",
            "p-kn-parallel-0: p-kn-parallel-0 > http://a > http://own",
            "p-kn-parallel-1: p-kn-parallel-1 > http://b > http://r",
        ]
    );
    let of_parallel = status(&resolution, ObjectKind::Parallel, "p");
    assert_eq!(
        of_parallel["address"]["url"],
        "http://p-kn-parallel-kn-channel.default.svc.cluster.local"
    );
    assert_eq!(
        of_parallel["ingressChannelStatus"]["channel"]["name"],
        "p-kn-parallel"
    );
    let branch = &of_parallel["branchStatuses"][1];
    assert_eq!(
        branch["filterSubscriptionStatus"]["subscription"]["name"],
        "p-kn-parallel-filter-1"
    );
    assert_eq!(
        branch["filterChannelStatus"]["channel"]["name"],
        "p-kn-parallel-1"
    );
    assert_eq!(
        branch["subscriberSubscriptionStatus"]["subscription"]["name"],
        "p-kn-parallel-1"
    );
    assert_eq!(
        branch["subscriberSubscriptionStatus"]["ready"]["status"],
        "True"
    );
    let second = &of(&resolution, &channel("p-kn-parallel-1"))[0];
    assert_eq!(
        (second.delivery.retry, second.dead_letter_sink.is_some()),
        (1, true)
    );
}

/// Whatever a Subscription may refer to, a flow may, and the other way round, in any order.
#[test]
fn flows_are_referred_to_by_name() {
    let to = |kind: &str, name: &str| {
        format!("{{ref: {{apiVersion: flows.knative.dev/v1, kind: {kind}, name: {name}}}}}")
    };
    let text = format!(
        "{CHANNEL}{}{}{}---\napiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {{name: b}}\nspec:\n  \
         delivery: {{deadLetterSink: {}}}\n---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: t}}\n\
         spec:\n  broker: b\n  subscriber: {}\n",
        subscription(&to("Parallel", "p")),
        parallel(&format!(
            "  branches:\n  - subscriber: {}\n    reply: {{ref: {{apiVersion: eventing.knative.dev/v1, kind: Broker, name: b}}}}\n",
            to("Sequence", "s")
        )),
        sequence(
            "  steps:\n  - {uri: 'http://a'}\n  reply: {ref: {apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: c}}\n"
        ),
        to("Sequence", "s"),
        to("Sequence", "s"),
    );
    let resolution = one(&text);
    let problems = lines(&resolution);
    assert!(
        problems.len() == 2 && problems.iter().all(|line| line.contains("leads back into")),
        "{problems:#?}"
    );
    let routes = routes(&resolution);
    for expected in [
        "c: s > [p-kn-parallel] > -",
        "p-kn-parallel-0: p-kn-parallel-0 > [s-kn-sequence-0] > [b]",
        "s-kn-sequence-0: s-kn-sequence-0 > http://a > [c]",
        "b: t > [s-kn-sequence-0] > [b]",
    ] {
        assert!(
            routes.iter().any(|route| route == expected),
            "{expected}: {routes:#?}"
        );
    }
}

#[test]
fn channels_are_as_the_template_says() {
    let template = |kind: &str| {
        format!(
            "  channelTemplate:\n    apiVersion: messaging.knative.dev/v1{kind}\n    spec: {{delivery: {{retry: 7}}}}\n{TWO}"
        )
    };
    for (kind, storage, version) in [
        (
            "\n    kind: InMemoryChannel",
            crate::model::BackendKind::Memory,
            "messaging.knative.dev/v1",
        ),
        (
            "alpha1\n    kind: RabbitmqChannel",
            crate::model::BackendKind::Rabbitmq,
            "messaging.knative.dev/v1alpha1",
        ),
    ] {
        let resolution = one(&sequence(&template(kind)));
        let replaced = "replaces the parent's";
        assert!(
            lines(&resolution)
                .iter()
                .all(|line| line.contains(replaced)),
            "{:?}",
            lines(&resolution)
        );
        assert!(
            resolution
                .table
                .channels()
                .iter()
                .all(|channel| channel.backend == storage)
        );
        assert_eq!(
            of(&resolution, &channel("s-kn-sequence-0"))[0]
                .delivery
                .retry,
            7
        );
        assert_eq!(
            of(&resolution, &channel("s-kn-sequence-1"))[0]
                .delivery
                .retry,
            2
        );
        let shown = status(&resolution, ObjectKind::Sequence, "s");
        assert_eq!(
            shown["channelStatuses"][0]["channel"]["apiVersion"],
            version
        );
    }
    let without = ControlSettings {
        rabbitmq: crate::control::RabbitmqAvailability::Missing,
        ..settings()
    };
    let text = sequence(&template("alpha1\n    kind: RabbitmqChannel"));
    let missing = resolve(&manifests(&[("a.yaml", &text)]), None, &without);
    assert!(
        lines(&missing)[0].contains("spec.channelTemplate.kind: needs RabbitMQ"),
        "{:?}",
        lines(&missing)
    );
    let by_default = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: default-ch-webhook, namespace: knative-eventing}}\ndata:\n  \
         default-ch-config: |\n    clusterDefault:\n      apiVersion: messaging.knative.dev/v1alpha1\n      kind: RabbitmqChannel\n{}",
        sequence(TWO)
    );
    assert!(
        one(&by_default)
            .table
            .channels()
            .iter()
            .all(|channel| channel.backend == crate::model::BackendKind::Rabbitmq)
    );
    let annotated = sequence(TWO).replace(
        "{name: s}",
        "{name: s, annotations: {messaging.knative.dev/async-handler: 'true', sealpost.dev/delivery-order: ordered}}",
    );
    let resolution = good(&annotated);
    for made in resolution.table.channels() {
        assert_eq!(made.acknowledge, AcknowledgeMode::AfterEnqueue);
        assert_eq!(
            made.subscriptions[0].delivery.order,
            crate::model::DeliveryOrder::Ordered
        );
    }
}

/// What is wrong is said of the flow, where its author wrote it, once.
#[test]
fn problems_are_told_in_the_words_of_the_author() {
    let nobody = "{ref: {apiVersion: v1, kind: Service, name: nobody}}";
    for (text, expected) in [
        (
            sequence("  steps: []\n"),
            vec!["6: Sequence default/s: spec.steps: is missing: give at least one step"],
        ),
        (
            sequence("  step: []\n"),
            vec![
                "6: Sequence default/s: spec.step: is not a field that is known here; did you mean steps?",
            ],
        ),
        (
            sequence(&format!(
                "  steps:\n  - {{uri: 'http://a'}}\n  - {nobody}\n"
            )),
            vec![
                "8: Sequence default/s: spec.steps[1].ref: there is no Service default/nobody: add its manifest",
            ],
        ),
        (
            sequence("  steps:\n  - {}\n"),
            vec!["7: Sequence default/s: spec.steps[0]: names no destination: give a ref or a uri"],
        ),
        (
            sequence(
                "  steps:\n  - {uri: 'ftp://a', delivery: {retry: -1, deadLetterSink: {uri: '${X}'}}}\n  reply: {ref: {apiVersion: flows.knative.dev/v1, kind: Sequence, name: z}}\n",
            ),
            vec![
                "7: Sequence default/s: spec.steps[0].delivery.retry: -1 is negative",
                "7: Sequence default/s: spec.steps[0].uri: ",
                "7: Sequence default/s: spec.steps[0].delivery.deadLetterSink.uri: ",
                "8: Sequence default/s: spec.reply.ref: there is no Sequence default/z: create it, or correct the reference",
            ],
        ),
        (
            sequence("  steps:\n  - {uri: 'http://a', retry: 1}\n"),
            vec![
                "7: Sequence default/s: spec.steps[0].retry: is not a field that is known here: `retry` belongs below `delivery`",
            ],
        ),
        (
            sequence(&format!(
                "  channelTemplate: {{apiVersion: messaging.knative.dev/v1, kind: Channel}}\n{TWO}"
            )),
            vec![
                "6: Sequence default/s: spec.channelTemplate.kind: \"Channel\" cannot be made here",
            ],
        ),
        (
            sequence(TWO).replace("{name: s}", &format!("{{name: {}}}", "s".repeat(250))),
            vec!["4: Sequence default/sss"],
        ),
    ] {
        told(&text, &expected);
    }
}

#[test]
fn problems_of_parallels_are_told_in_the_words_of_the_author() {
    let nobody = "{ref: {apiVersion: v1, kind: Service, name: nobody}}";
    for (text, expected) in [
        (
            parallel(
                "  branches:\n  - {filter: {uri: 'http://f'}}\n  - {subscriber: {uri: 'http://a'}, replies: {}}\n",
            ),
            vec![
                "7: Parallel default/p: spec.branches[0].subscriber: is missing: say who gets the events of this branch",
                "8: Parallel default/p: spec.branches[1].replies: is not a field that is known here; did you mean reply?",
            ],
        ),
        (
            parallel(&format!(
                "  branches:\n  - {{subscriber: {{uri: 'http://a'}}}}\n  - {{subscriber: {{uri: 'http://b'}}}}\n  reply: {nobody}\n"
            )),
            vec!["9: Parallel default/p: spec.reply.ref: there is no Service default/nobody"],
        ),
        (
            CHANNEL.to_owned()
                + &subscription(
                    "{ref: {apiVersion: flows.knative.dev/v1, kind: Parallel, name: c}}",
                ),
            vec!["10: Subscription default/s: spec.subscriber.ref: there is no Parallel default/c"],
        ),
    ] {
        told(&text, &expected);
    }
}

/// That these are the problems of a text: each line from its number on, as far as is given.
fn told(text: &str, expected: &[&str]) {
    let found = lines(&one(text));
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            found.starts_with(&format!("a.yaml:{expected}")),
            "{found}\n{expected}"
        );
    }
}

/// Contract IF-6: what leads nowhere fails, and says which step; the other steps are served.
#[test]
fn a_step_that_leads_nowhere_fails() {
    let broken = "  steps:\n  - {uri: 'http://a'}\n  - {ref: {apiVersion: v1, kind: Service, name: nobody}}\n";
    let resolution = one(&sequence(broken));
    assert_eq!(
        routes(&resolution),
        [
            "s-kn-sequence-0: s-kn-sequence-0 > http://a > [s-kn-sequence-1]",
            "s-kn-sequence-1: s-kn-sequence-1 > nowhere > -",
        ]
    );
    let shown = status(&resolution, ObjectKind::Sequence, "s");
    for ty in ["Ready", "SubscriptionsReady"] {
        let (status, reason, message) = condition(&shown, ty);
        assert_eq!(
            (status.as_str(), reason.as_str()),
            ("False", "ReferenceNotResolved")
        );
        assert!(
            message.starts_with("spec.steps[1].ref: there is no Service default/nobody"),
            "{message}"
        );
    }
    assert_eq!(condition(&shown, "ChannelsReady").0, "True");
    let ready = |index: usize| shown["subscriptionStatuses"][index]["ready"]["status"].clone();
    assert_eq!((ready(0), ready(1)), (json!("True"), json!("False")));
    let (state, message) = super::ready(&resolution, ObjectKind::Subscription, "s-kn-sequence-1");
    assert!(
        state == "False" && message.starts_with("spec.steps[1].ref: "),
        "{state} {message}"
    );
    assert_eq!(
        super::ready(&resolution, ObjectKind::Subscription, "s-kn-sequence-0").0,
        "True"
    );
}

/// One that cannot work keeps its last good form as a whole: no step of the new one is mixed with
/// those of the old one.
#[test]
fn flows_keep_their_last_good_form_as_a_whole() {
    let before = sequence(TWO);
    let form = routes(&good(&before));
    for bad in [
        "  steps:\n  - {ref: {apiVersion: v1, kind: Service, name: nobody}}\n  - {uri: 'http://a'}\n  - {uri: 'http://b'}\n",
        "  steps:\n  - {ref: {apiVersion: v1, kind: Service, name: nobody}}\n",
        "  steps:\n  - {uri: 'http://new', delivery: {backoffDelay: soon}}\n",
        "  steps: []\n",
        "  steps: 5\n",
        "  stepps:\n  - {uri: 'http://new'}\n",
        "  channelTemplate: {apiVersion: example.com/v1, kind: Pipe}\n  steps:\n  - {uri: 'http://new'}\n",
    ] {
        let bad = sequence(bad);
        let after = history(&[&before, &bad, &bad]);
        assert_eq!(routes(&after), form, "{bad}");
        assert_eq!(after.table.channels().len(), 2, "{bad}");
        let (status, message) = ready(&after, ObjectKind::Sequence, "s");
        assert!(
            status == "False" && message.ends_with(" (its last good form is still served)"),
            "{status} {message}"
        );
        assert_eq!(
            ready(&after, ObjectKind::Subscription, "s-kn-sequence-0").0,
            "True"
        );
        let mended = history(&[
            &before,
            &bad,
            &sequence("  steps:\n  - {uri: 'http://new'}\n"),
        ]);
        assert_eq!(
            routes(&mended),
            ["s-kn-sequence-0: s-kn-sequence-0 > http://new > -"]
        );
        assert_eq!(ready(&mended, ObjectKind::Sequence, "s").0, "True");
    }
    let never = one(&sequence(
        "  steps:\n  - {uri: 'http://a', delivery: {retry: -1}}\n",
    ));
    assert!(never.table.channels().is_empty());
    assert_eq!(
        status(&never, ObjectKind::Sequence, "s").get("address"),
        None
    );
    let user = format!(
        "{CHANNEL}{}",
        subscription("{ref: {apiVersion: flows.knative.dev/v1, kind: Sequence, name: s}}")
    );
    let broken =
        one(&(user + &sequence("  steps:\n  - {uri: 'http://a', delivery: {retry: -1}}\n")));
    let (_, message) = ready(&broken, ObjectKind::Subscription, "s");
    assert_eq!(
        message,
        "spec.subscriber.ref: Sequence default/s has problems of its own: solve them first"
    );
    assert!(
        history(&[&before, "# nothing\n"])
            .table
            .channels()
            .is_empty()
    );
}

/// What is the same is the same value, so that nothing is made anew.
#[test]
fn what_has_not_changed_is_the_same() {
    let before = good(&sequence(TWO));
    let after = resolve(
        &manifests(&[("a.yaml", &sequence(TWO))]),
        Some(&before),
        &settings(),
    );
    assert!(!after.differs(&before));
    let grown = sequence(&TWO.replace("  reply", "  - {uri: 'http://c'}\n  reply"));
    let grown = resolve(
        &manifests(&[("a.yaml", &grown)]),
        Some(&before),
        &settings(),
    );
    let first = |of: &Resolution| {
        Arc::clone(
            of.table
                .channel(&channel("s-kn-sequence-0"))
                .expect("a channel")
                .1,
        )
    };
    assert!(Arc::ptr_eq(&first(&before), &first(&grown)));
    assert_eq!(grown.table.channels().len(), 3);
}

/// Channels and Subscriptions that a flow makes are not served twice; that they are written as well
/// is a mistake, unless a cluster has made them.
#[test]
fn what_a_flow_makes_is_written_by_nobody_else() {
    let twin = |more: &str| {
        format!(
            "---\napiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\nmetadata: {{name: s-kn-sequence-0{more}}}\n---\n\
             apiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {{name: s-kn-sequence-1{more}}}\nspec:\n  \
             channel: {{apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: s-kn-sequence-1}}\n  \
             subscriber: {{uri: 'http://twice'}}\n"
        )
    };
    let form = routes(&good(&sequence(TWO)));
    let owner = ", ownerReferences: [{apiVersion: flows.knative.dev/v1, kind: Sequence, name: s, controller: true}]";
    let from_cluster = one(&(sequence(TWO) + &twin(owner)));
    assert_eq!(routes(&from_cluster), form);
    assert!(
        from_cluster
            .problems
            .iter()
            .all(|problem| !problem.is_error())
            && from_cluster.problems.len() == 2
    );
    assert!(
        lines(&from_cluster)[0]
            .ends_with("note: the Sequence at a.yaml:2 makes this one itself: it is left out")
    );
    let mistaken = one(&(sequence(TWO) + &twin("")));
    assert_eq!(routes(&mistaken), form);
    let line = "a.yaml:13: InMemoryChannel default/s-kn-sequence-0: metadata.name: the Sequence at a.yaml:2 makes the \
                InMemoryChannel of this name itself: rename one";
    assert_eq!(lines(&mistaken)[0], line);
    assert_eq!(mistaken.problems.len(), 2);
}

/// As upstream's policies for flows: within one, only the Subscription before may send.
#[test]
fn senders_within_a_flow_are_known() {
    let features = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: config-features, namespace: knative-eventing}\ndata: {authentication-oidc: enabled}\n";
    let policy = "---\napiVersion: eventing.knative.dev/v1alpha1\nkind: EventPolicy\nmetadata: {name: e}\nspec:\n  to: [{ref: {apiVersion: flows.knative.dev/v1, kind: Sequence, name: s}}]\n  from: [{sub: 'system:serviceaccount:default:shop'}]\n";
    let settings = ControlSettings {
        api_server: crate::control::ApiServerAvailability::Missing,
        ..settings()
    };
    let with = |text: &str| resolve(&manifests(&[("a.yaml", text)]), None, &settings);
    let parallel = parallel(
        "  branches:\n  - {subscriber: {uri: 'https://a'}}\n  - {filter: {uri: 'https://f'}, subscriber: {uri: 'https://b'}}\n",
    );
    let resolution = with(&format!("{}{parallel}{policy}{features}", sequence(TWO)));
    let rule = |name: &str| {
        let access = resolution
            .table
            .channel(&channel(name))
            .expect("a channel")
            .1
            .authorization
            .clone()
            .expect("it asks");
        assert_eq!(
            access.audience,
            format!("messaging.knative.dev/inmemorychannel/default/{name}")
        );
        match access.rule {
            crate::model::AuthorizationRule::Policies(policies) => policies
                .iter()
                .flat_map(|policy| policy.subjects.clone())
                .collect(),
            other => vec![crate::model::SubjectPattern::Exact(format!("{other:?}"))],
        }
    };
    let account = |name: &str| {
        crate::model::SubjectPattern::Exact(format!("system:serviceaccount:default:{name}"))
    };
    let own = |name: &str| account(&format!("{name}-oidc-messaging.knative.dev-subscription"));
    assert_eq!(rule("s-kn-sequence-0"), [account("shop")]);
    assert_eq!(rule("s-kn-sequence-1"), [own("s-kn-sequence-0")]);
    assert_eq!(rule("p-kn-parallel-0"), [own("p-kn-parallel-filter-0")]);
    assert_eq!(rule("p-kn-parallel-1"), [own("p-kn-parallel-filter-1")]);
    assert!(format!("{:?}", rule("p-kn-parallel")).contains("AllowSameNamespace"));
    let first = &of(&resolution, &channel("s-kn-sequence-0"))[0];
    let sender = first
        .sender
        .as_ref()
        .map(ToString::to_string)
        .expect("a sender");
    assert_eq!(
        own("s-kn-sequence-0"),
        crate::model::SubjectPattern::Exact(sender)
    );
    assert_eq!(
        first
            .reply
            .as_ref()
            .and_then(|reply| reply.audience.as_deref()),
        Some("messaging.knative.dev/inmemorychannel/default/s-kn-sequence-1")
    );
    let for_nothing = with(&format!("{parallel}{policy}{features}"));
    assert!(
        lines(&for_nothing)[0].contains("there is no Sequence default/s"),
        "{:?}",
        lines(&for_nothing)
    );
}

/// What leads back into itself is told at the destination that does, through whatever it leads.
#[test]
fn flows_that_lead_into_themselves_are_told() {
    let told = |text: &str| {
        let found = lines(&one(text));
        found
            .iter()
            .map(|line| {
                line.split(", so that")
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect::<Vec<_>>()
    };
    let itself = |kind: &str, name: &str| {
        format!("{{ref: {{apiVersion: flows.knative.dev/v1, kind: {kind}, name: {name}}}}}")
    };
    let back = |line: usize, kind: &str, name: &str, field: &str| {
        format!(
            "a.yaml:{line}: {kind} default/{name}: {field}: warning: leads back into this {kind}"
        )
    };
    let a_step = sequence(&format!(
        "  steps:\n  - {{uri: 'http://a'}}\n  - {}\n",
        itself("Sequence", "s")
    ));
    assert_eq!(told(&a_step), [back(8, "Sequence", "s", "spec.steps[1]")]);
    let a_reply = sequence(&format!(
        "  steps:\n  - {{uri: 'http://a'}}\n  reply: {}\n",
        itself("Sequence", "s")
    ));
    assert_eq!(told(&a_reply), [back(8, "Sequence", "s", "spec.reply")]);
    let a_branch = parallel(&format!(
        "  branches:\n  - subscriber: {}\n",
        itself("Parallel", "p")
    ));
    assert_eq!(
        told(&a_branch),
        [back(7, "Parallel", "p", "spec.branches[0].subscriber")]
    );
    let a_common_reply = parallel(&format!(
        "  branches:\n  - subscriber: {{uri: 'http://a'}}\n  - subscriber: {{uri: 'http://b'}}\n  reply: {}\n",
        itself("Parallel", "p")
    ));
    assert_eq!(
        told(&a_common_reply),
        [back(9, "Parallel", "p", "spec.reply")]
    );
    // Through a channel and another flow.
    let to_channel =
        "{ref: {apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: c}}";
    let through = format!(
        "{CHANNEL}{}{}{}",
        subscription(&itself("Parallel", "p")),
        sequence(&format!(
            "  steps:\n  - {{uri: 'http://a'}}\n  reply: {to_channel}\n"
        )),
        parallel(&format!(
            "  branches:\n  - subscriber: {{uri: 'http://a'}}\n    reply: {}\n",
            itself("Sequence", "s")
        ))
    );
    assert_eq!(
        told(&through),
        [
            back(18, "Sequence", "s", "spec.reply"),
            back(26, "Parallel", "p", "spec.branches[0].reply")
        ]
    );
    // One after the other is no round.
    let two = sequence(&format!(
        "  steps:\n  - {{uri: 'http://a'}}\n  reply: {}\n",
        itself("Parallel", "p")
    ));
    good(&format!(
        "{two}{}",
        parallel("  branches:\n  - subscriber: {uri: 'http://a'}\n    reply: {uri: 'http://b'}\n")
    ));
}

/// Dead letters that come back go round for ever, as long as the subscriber fails.
#[test]
fn dead_letters_that_come_back_are_told() {
    let to = |name: &str| {
        format!(
            "{{ref: {{apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: {name}}}}}"
        )
    };
    let sink = |name: &str| format!("{{deadLetterSink: {}}}", to(name));
    let channel = |name: &str, spec: &str| {
        format!(
            "---\n{}spec: {spec}\n",
            CHANNEL.replace("name: c", &format!("name: {name}"))
        )
    };
    let on = |name: &str, subscriber: &str, more: &str| {
        let text = subscription(subscriber).replacen("name: c}\n", &format!("name: {name}}}\n"), 1);
        format!(
            "{}{more}",
            text.replace(
                "metadata: {name: s}",
                &format!("metadata: {{name: of-{name}}}")
            )
        )
    };
    let delivery = |name: &str| format!("  delivery: {}\n", sink(name));
    let http = "{uri: 'http://x'}";
    let of_c = |field: &str| {
        format!(
            ": {field}: warning: leads back into channel default/c, so that an event goes round for ever as long as its subscriber fails: lead it elsewhere"
        )
    };
    let back = of_c("spec.delivery.deadLetterSink");
    for (text, told) in [
        (
            channel("c", &format!("{{delivery: {}}}", sink("c"))) + &on("c", http, ""),
            &["InMemoryChannel default/c".to_owned() + &back][..],
        ),
        (
            channel("c", "{}") + &on("c", http, &delivery("c")),
            &["Subscription default/of-c".to_owned() + &back],
        ),
        (
            channel("c", "{}")
                + &channel("d", "{}")
                + &on("c", http, &delivery("d"))
                + &on("d", http, &delivery("c")),
            &[
                "Subscription default/of-c".to_owned() + &back,
                "Subscription default/of-d".to_owned() + &back.replace("default/c", "default/d"),
            ],
        ),
        // What is forwarded comes back, too.
        (
            channel("c", "{}")
                + &channel("d", "{}")
                + &on("c", http, &delivery("d"))
                + &on("d", &to("c"), ""),
            &["Subscription default/of-c".to_owned() + &back],
        ),
        // Somebody answers, or nothing comes back.
        (
            channel("c", "{}")
                + &channel("d", "{}")
                + &on("c", http, &delivery("d"))
                + &on("d", http, &format!("  reply: {}\n", to("c"))),
            &[],
        ),
        (
            channel("c", "{}")
                + &channel("d", "{}")
                + &on("c", http, &delivery("d"))
                + &on("d", http, ""),
            &[],
        ),
        (channel("c", &format!("{{delivery: {}}}", sink("c"))), &[]),
    ] {
        let found = lines(&one(&text));
        assert_eq!(found.len(), told.len(), "{text}: {found:#?}");
        assert!(
            found
                .iter()
                .zip(told)
                .all(|(line, told)| line.ends_with(told)),
            "{text}: {found:#?}"
        );
    }
    let itself = "{ref: {apiVersion: flows.knative.dev/v1, kind: Sequence, name: s}}";
    let flow = sequence(&format!(
        "  steps:\n  - {{uri: 'http://a', delivery: {{deadLetterSink: {itself}}}}}\n  - {{uri: 'http://b'}}\n"
    ));
    let found = lines(&one(&flow));
    assert!(
        found.len() == 1
            && found[0]
                .contains("spec.steps[0].delivery.deadLetterSink: warning: leads back into "),
        "{found:#?}"
    );
}
