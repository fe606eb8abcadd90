//! The defaults of Brokers and channels: `config-br-defaults`, templates, `--delivery-merge`.

use super::*;
use crate::control::DeliveryMerge;

/// `config-br-defaults` with these defaults, indented by four.
fn broker_defaults(defaults: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: config-br-defaults, namespace: knative-eventing}}\ndata:\n  default-br-config: |\n{defaults}---\n"
    )
}

fn broker_in(namespace: &str, more: &str) -> String {
    format!(
        "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {{name: b, namespace: {namespace}{more}}}\n---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: t, namespace: {namespace}}}\nspec: {{broker: b, subscriber: {{uri: 'http://x'}}}}\n"
    )
}

const DEFAULTS: &str = "    clusterDefault:
      brokerClass: MTChannelBasedBroker
      apiVersion: v1
      kind: ConfigMap
      name: config-br-default-channel
      namespace: knative-eventing
      delivery: {retry: 10, backoffPolicy: exponential, backoffDelay: PT0.2S}
      brokerClasses:
        Sealpost: {delivery: {retry: 7}}
    namespaceDefaults:
      kafka: {brokerClass: Kafka}
      billing:
        brokerClass: MTChannelBasedBroker
        delivery: {retry: 2, deadLetterSink: {uri: 'http://dead'}}
      other:
        delivery: {retry: 99}
";

/// The defaults of the namespace come before those of the cluster, where they name the class of the
/// Broker.
#[test]
fn brokers_without_delivery_have_the_default_one() {
    let ours = ", annotations: {eventing.knative.dev/broker.class: Sealpost}";
    for (namespace, more, retry, sink) in [
        ("default", "", Some(10), None),
        ("billing", "", Some(2), Some("http://dead/")),
        ("billing", ours, Some(7), None),
        ("other", "", Some(10), None),
        ("default", ours, Some(7), None),
        ("kafka", "", None, None),
        (
            "kafka",
            ", annotations: {eventing.knative.dev/broker.class: MTChannelBasedBroker}",
            Some(10),
            None,
        ),
    ] {
        let resolution = one(&(broker_defaults(DEFAULTS) + &broker_in(namespace, more)));
        let Some(retry) = retry else {
            assert!(resolution.table.channels().is_empty());
            assert!(lines(&resolution)[0].contains("Kafka (the default of config-br-defaults)"));
            continue;
        };
        assert_eq!(lines(&resolution), [""; 0], "{namespace}");
        let trigger = only(&resolution);
        assert_eq!(trigger.delivery.retry, retry, "{namespace} {more}");
        assert_eq!(
            trigger
                .dead_letter_sink
                .as_ref()
                .map(|sink| sink.url.as_str()),
            sink,
            "{namespace}"
        );
    }
    let own = broker_in("default", "").replacen("\n---", "\nspec: {delivery: {retry: 1}}\n---", 1);
    assert_eq!(
        only(&good(&(broker_defaults(DEFAULTS) + &own)))
            .delivery
            .retry,
        1,
        "its own replaces the default"
    );
}

#[test]
fn bad_defaults_are_reported_and_the_last_good_ones_stay() {
    let good = broker_defaults(DEFAULTS) + &broker_in("default", "");
    for (defaults, problem) in [
        (
            "    clusterDefault: {delivery: {retry: -1}}\n",
            "5: ConfigMap knative-eventing/config-br-defaults: data.default-br-config.clusterDefault.delivery.retry: -1 is negative",
        ),
        (
            "    clusterDefault: [\n",
            "5: ConfigMap knative-eventing/config-br-defaults: data.default-br-config: is no YAML",
        ),
        (
            "    clusterDefault: 7\n",
            "data.default-br-config.clusterDefault: is a number, but must be an object",
        ),
    ] {
        let bad = broker_defaults(defaults) + &broker_in("default", "");
        let alone = one(&bad);
        assert!(
            lines(&alone).iter().any(|line| line.contains(problem)),
            "{:#?}",
            lines(&alone)
        );
        assert_eq!(
            only(&alone).delivery.retry,
            0,
            "the Broker is served all the same"
        );
        let last = one(&good);
        let after = resolve(&manifests(&[("a.yaml", &bad)]), Some(&last), &settings());
        assert_eq!(only(&after).delivery.retry, 10);
    }
}

#[test]
fn default_channels_come_from_config_maps() {
    let config_map = |name: &str, key: &str, yaml: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: knative-eventing}}\ndata: {{{key}: '{yaml}'}}\n---\n"
        )
    };
    let memory = "{apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel}";
    let other = "{apiVersion: messaging.knative.dev/v1beta1, kind: KafkaChannel}";
    let channel = "apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: c}\n";
    let defaults = |default: &str| {
        config_map(
            "default-ch-webhook",
            "default-ch-config",
            &format!("{{clusterDefault: {default}}}"),
        ) + channel
    };
    good(&defaults(memory));
    assert!(
        lines(&one(&defaults(other)))[0]
            .contains("default-ch-webhook).kind: note: KafkaChannel is not made here")
    );
    let billing = format!("{{clusterDefault: {memory}, namespaceDefaults: {{billing: {other}}}}}");
    good(&(config_map("default-ch-webhook", "default-ch-config", &billing) + channel));

    let broker = |config: &str| {
        format!(
            "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {{name: b}}\nspec: {{config: {config}}}\n"
        )
    };
    let reference = "{apiVersion: v1, kind: ConfigMap, name: mine, namespace: knative-eventing}";
    let with =
        |template: &str| config_map("mine", "channel-template-spec", template) + &broker(reference);
    good(&with(memory));
    let missing =
        "spec.config: there is no ConfigMap knative-eventing/mine with channel-template-spec";
    assert!(lines(&one(&broker(reference)))[0].contains(missing));
    good(&broker(
        &reference.replace("mine", "config-br-default-channel"),
    ));
    good(&(config_map("mine", "channelTemplateSpec", memory) + &broker(reference)));
}

/// A namespace that asks for its Broker, that Broker, and a Trigger of it.
const TEAM: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: team, labels: {eventing.knative.dev/injection: enabled}}\n---\n";
const TEAM_BROKER: &str = "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata:\n  name: default\n  namespace: team\nspec: {delivery: {retry: 7}}\n---\n";
const TEAM_TRIGGER: &str = "apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {name: t, namespace: team}\nspec: {broker: default, subscriber: {uri: 'http://x'}}\n---\n";

/// The Broker that is asked for in that namespace.
fn team_broker() -> ChannelKey {
    ChannelKey {
        namespace: "team".to_owned(),
        ..broker("default")
    }
}

/// Nothing is made in place of what may be meant to be the Broker that is asked for.
#[test]
fn nothing_is_injected_in_place_of_what_is_misread() {
    let (namespace, broker, trigger) = (TEAM, TEAM_BROKER, TEAM_TRIGGER);
    let key = team_broker();
    let not_made = |resolution: &Resolution| {
        lines(resolution)
            .iter()
            .any(|line| line.contains(": no Broker team/default is made, since "))
    };
    for (right, wrong) in [
        ("kind: Broker", "kind: Brokr"),
        ("kind: Broker", "kind: EventBroker"),
        ("kind: Broker", "kind: Bus"),
        ("kind: Broker", "kind: Channel"),
        ("kind: Broker", "kind: Trigger"),
        ("kind: Broker\n", ""),
        ("eventing.knative.dev/v1", "eventing/v1"),
        ("eventing.knative.dev/v1", "eventing.example.com/v1"),
        ("eventing.knative.dev/v1", "eventing.knative.dev/v1beta1"),
        ("name: default", "name: defalt"),
        ("name: default", "name: Default"),
        ("name: default", "name: ${B}"),
        ("  name: default\n", ""),
        ("namespace: team", "namespace: taem"),
        ("namespace: team", "namespace: ${N}"),
        ("  namespace: team\n", ""),
        ("namespace: team", "namesapce: team"),
        (
            "apiVersion: eventing.knative.dev/v1\nkind: Broker",
            "- apiVersion: eventing.knative.dev/v1\n  kind: Broker",
        ),
        ("apiVersion: eventing", "- {{\napiVersion: eventing"),
    ] {
        let bad = broker.replacen(right, wrong, 1);
        let bad = if wrong.starts_with("- api") {
            bad.replace(
                "metadata:\n  name: default\n  namespace: team\nspec:",
                "  metadata: {name: default, namespace: team}\n  spec:",
            )
        } else {
            bad
        };
        assert_ne!(bad, broker, "{right}");
        let files = [("a.yaml", namespace), ("b.yaml", &bad), ("c.yaml", trigger)];
        let start = resolve(&manifests(&files), None, &settings());
        assert!(start.table.channel(&key).is_none(), "{bad}");
        assert!(not_made(&start), "{bad}: {:#?}", lines(&start));
    }
}

/// Nothing is made in place of a Broker that was served as it is written.
#[test]
fn nothing_is_injected_in_place_of_what_was_served() {
    let (namespace, broker, trigger) = (TEAM, TEAM_BROKER, TEAM_TRIGGER);
    let key = team_broker();
    let served = good(&format!("{namespace}{broker}{trigger}"));
    // What was made is not taken away by it.
    let made = good(&format!("{namespace}{trigger}"));
    let near = broker.replace("name: default", "name: defalt");
    let text = format!("{namespace}{trigger}{near}");
    let after = resolve(&manifests(&[("a.yaml", &text)]), Some(&made), &settings());
    assert_eq!(of(&after, &key), of(&made, &key));
    assert!(
        lines(&after)[0].contains("is served on, since Broker team/defalt at a.yaml:10 may be")
    );
    // An edit of what was served as it is written.
    for (right, wrong, field) in [
        (
            "name: default",
            "name: defalt",
            "metadata.name: was default",
        ),
        ("name: default", "name: main", "metadata.name: was default"),
        (
            "namespace: team",
            "namespace: taem",
            "metadata.namespace: was team",
        ),
        (
            "namespace: team",
            "namespace: prod",
            "metadata.namespace: was team",
        ),
        ("kind: Broker", "kind: EventBroker", "kind: was Broker"),
    ] {
        let bad = broker.replace(right, wrong);
        let text = format!("{namespace}{bad}{trigger}");
        let (mut last, mut read) = (served.clone(), None);
        for _ in 0..2 {
            let file = parse_file("a.yaml", &text, [0; 32], read.as_ref());
            let set = ManifestSet {
                files: vec![Arc::clone(&file)],
                problems: Vec::new(),
            };
            last = resolve(&set, Some(&last), &settings());
            read = Some(file);
            assert_eq!(of(&last, &key), of(&served, &key), "{bad}");
            assert!(
                lines(&last)[0].contains(&format!(
                    "{field}, and the Broker team/default is served on"
                )),
                "{:#?}",
                lines(&last)
            );
        }
    }
}

#[test]
fn what_others_use_is_not_what_is_to_be_injected() {
    let (namespace, broker, trigger) = (TEAM, TEAM_BROKER, TEAM_TRIGGER);
    // What others use is what it is meant to be.
    let of_other = trigger
        .replace("broker: default", "broker: defaults")
        .replace("name: t,", "name: u,");
    let beside = broker.replace("name: default", "name: defaults");
    good(&format!("{namespace}{trigger}{of_other}{beside}"));
    let other = |text: &str| {
        text.replace("team", "team2")
            .replace("labels", "annotations")
    };
    good(&format!(
        "{namespace}{trigger}{}{}",
        other(broker),
        other(trigger)
    ));
    let other = |text: &str| text.replace("team", "tean");
    good(&format!(
        "{namespace}{trigger}{}{}",
        other(broker),
        other(trigger)
    ));
    let other = |text: &str| text.replace("namespace: team", "namespace: default");
    good(&format!(
        "{namespace}{trigger}{}{}",
        other(broker),
        other(trigger)
    ));
}

/// A Broker that upstream's sugar controller would make is made: for a Trigger the one that it
/// names, for a Namespace `default`; with the defaults of Brokers, and unless it is written.
#[test]
fn brokers_are_injected_where_that_is_asked_for() {
    let enabled = |field: &str| {
        format!(
            "metadata: {{name: t, namespace: a, {field}: {{eventing.knative.dev/injection: enabled}}}}"
        )
    };
    let trigger = |metadata: &str, broker: &str| {
        format!(
            "apiVersion: eventing.knative.dev/v1\nkind: Trigger\n{metadata}\nspec: {{broker: {broker}, subscriber: {{uri: 'http://x'}}}}\n---\n"
        )
    };
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {eventing.knative.dev/injection: enabled}}\n---\n";
    let plain = "metadata: {name: t, namespace: a}";
    let key = |name: &str| ChannelKey {
        namespace: "a".to_owned(),
        ..broker(name)
    };
    for (text, name) in [
        (trigger(&enabled("annotations"), "default"), "default"),
        (trigger(&enabled("labels"), "mine"), "mine"),
        (
            format!("{namespace}{}", trigger(plain, "default")),
            "default",
        ),
        (
            format!("{}{namespace}", trigger(&enabled("annotations"), "default")),
            "default",
        ),
    ] {
        let resolution =
            good(&(broker_defaults("    clusterDefault: {delivery: {retry: 4}}\n") + &text));
        let [trigger] = &of(&resolution, &key(name))[..] else {
            panic!("{text}: {:#?}", lines(&resolution))
        };
        assert_eq!(trigger.delivery.retry, 4, "{text}");
        let made = resolution
            .inventory
            .objects
            .iter()
            .find(|object| object.kind == ObjectKind::Broker)
            .expect("a Broker");
        assert_eq!(
            made.manifest["metadata"]["labels"]["eventing.knative.dev/injected"],
            "true"
        );
        assert_eq!(ready(&resolution, ObjectKind::Broker, name).0, "True");
    }
    // One that is written is it, whatever it is.
    let own = "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: default, namespace: a}\nspec: {delivery: {retry: 1}}\n---\n";
    let resolution = good(&format!(
        "{own}{namespace}{}",
        trigger(&enabled("annotations"), "default")
    ));
    assert_eq!(only(&resolution).delivery.retry, 1);
    for text in [
        trigger(plain, "default"),
        trigger(
            &enabled("annotations").replace("enabled", "disabled"),
            "default",
        ),
        format!(
            "{}{}",
            namespace.replace("name: a", "name: b"),
            trigger(plain, "default")
        ),
        format!("{namespace}{}", trigger(plain, "mine")),
    ] {
        assert!(
            lines(&one(&text))[0].contains("there is no broker a/"),
            "{text}: {:#?}",
            lines(&one(&text))
        );
    }
    // What is wrong with it is told where it was asked for.
    let defaults = broker_defaults("    clusterDefault: {kind: ConfigMap, name: none}\n");
    let found = lines(&one(
        &(defaults + &trigger(&enabled("annotations"), "default"))
    ));
    assert!(
        found
            .iter()
            .any(|line| line.starts_with("a.yaml:8: Broker a/default: spec.config (default")),
        "{found:#?}"
    );
}

/// What a default leads to has to be there, as for `spec.config`.
#[test]
fn templates_of_defaults_are_there() {
    let default = "    clusterDefault: {CLASSapiVersion: v1, kind: ConfigMap, name: mine, namespace: knative-eventing}\n";
    let template = |key: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: mine, namespace: knative-eventing}}\ndata: {{{key}: '{{apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel}}'}}\n---\n"
        )
    };
    let missing = "there is no ConfigMap knative-eventing/mine with channel-template-spec: add its manifest, or ";
    let of_broker = format!(
        "Broker default/b: spec.config (default of ConfigMap config-br-defaults): {missing}correct the name there"
    );
    let of_defaults = |place: &str| {
        format!("data.default-br-config.{place}.name: warning: {missing}correct the name")
    };
    let near = "ConfigMap knative-eventing/mine: data.chanel-template-spec: warning: is no key that is read; did you mean channel-template-spec?";
    let class = |class: &str| default.replace("CLASS", &format!("brokerClass: {class}, "));
    let nested = "    clusterDefault: {brokerClasses: {Sealpost: {kind: ConfigMap, name: mine, namespace: knative-eventing}}}\n";
    let of_namespace = class("MTChannelBasedBroker")
        .replace("clusterDefault", "namespaceDefaults: {other")
        .replace("}\n", "}}\n");
    for (defaults, beside, expected) in [
        (
            &class("MTChannelBasedBroker"),
            String::new(),
            &[of_defaults("clusterDefault"), of_broker.clone()][..],
        ),
        (
            &class("Sealpost"),
            template("template"),
            &[of_defaults("clusterDefault"), of_broker.clone()],
        ),
        (
            &default.replace("CLASS", ""),
            template("chanel-template-spec"),
            &[
                of_defaults("clusterDefault"),
                near.to_owned(),
                of_broker.clone(),
            ],
        ),
        (&class("Sealpost"), template("channel-template-spec"), &[]),
        (
            &class("Sealpost").replace("mine", "config-br-default-channel"),
            String::new(),
            &[],
        ),
        // None of these is for the Broker that is there.
        (&class("Kafka"), String::new(), &[]),
        (
            &nested.to_owned(),
            String::new(),
            &[of_defaults("clusterDefault.brokerClasses.Sealpost")],
        ),
        (
            &of_namespace,
            String::new(),
            &[of_defaults("namespaceDefaults.other")],
        ),
    ] {
        let broker = broker_in("default", "").replace(
            "b, namespace: default}",
            "b, namespace: default, annotations: {eventing.knative.dev/broker.class: MTChannelBasedBroker}}",
        );
        let found = one(&(broker_defaults(defaults) + &beside + &broker));
        let told: Vec<String> = lines(&found)
            .into_iter()
            .filter(|line| !line.contains(" Trigger "))
            .collect();
        assert_eq!(told.len(), expected.len(), "{defaults}: {told:#?}");
        assert!(
            told.iter()
                .zip(expected)
                .all(|(line, expected)| line.ends_with(expected)),
            "{told:#?}"
        );
    }
}

/// A template stands in a ConfigMap of its own: what is wrong with it is told there, and what is
/// another implementation's is left alone with the Brokers that are made of it.
#[test]
fn kinds_of_templates_are_told_where_they_stand() {
    let world = |template: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: mine}}\ndata:\n  channel-template-spec: '{template}'\n---\n\
             apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {{name: b}}\nspec: {{config: {{apiVersion: v1, kind: \
             ConfigMap, name: mine}}}}\n---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: t}}\nspec: \
             {{broker: b, subscriber: {{uri: 'http://x'}}}}\n"
        )
    };
    let kafka = one(&world(
        "{apiVersion: messaging.knative.dev/v1beta1, kind: KafkaChannel, spec: {numPartitions: 3}}",
    ));
    assert_eq!(
        lines(&kafka),
        [
            "a.yaml:5: ConfigMap default/mine: data.channel-template-spec.kind: note: KafkaChannel is not made here, and \
             Brokers with this template are left alone",
            "a.yaml:10: Broker default/b: spec.config: warning: leads to a template of a KafkaChannel, which is left alone \
             here, and so is this Broker: write InMemoryChannel, DiskChannel or RabbitmqChannel there",
            "a.yaml:15: Trigger default/t: spec.broker: warning: broker default/b is not served here: this Trigger is left \
             alone, too",
        ]
    );
    assert!(kafka.table.channels().is_empty());
    for kind in [ObjectKind::Broker, ObjectKind::Trigger] {
        let name = if kind == ObjectKind::Broker { "b" } else { "t" };
        assert_ne!(ready(&kafka, kind, name).0, "True");
    }
    for (template, place, message) in [
        (
            "{apiVersion: messaging.knative.dev/v1, kind: InMemoryChanel}",
            "kind",
            "did you mean InMemoryChannel?",
        ),
        (
            "{apiVersion: messaging.knative.dev/v2, kind: InMemoryChannel}",
            "apiVersion",
            "write messaging.knative.dev/v1",
        ),
        (
            "{apiVersion: messaging.knative.dev/v1}",
            "kind",
            "is missing: write InMemoryChannel, DiskChannel or RabbitmqChannel",
        ),
        (
            "{apiVersion: messaging.knative.dev/v1, kind: Channel}",
            "kind",
            "write InMemoryChannel, DiskChannel or RabbitmqChannel",
        ),
        (
            "{apiVersion: example.com/v1, kind: Pipe}",
            "kind",
            "write InMemoryChannel, DiskChannel or RabbitmqChannel",
        ),
    ] {
        let found = lines(&one(&world(template)));
        let start =
            format!("a.yaml:5: ConfigMap default/mine: data.channel-template-spec.{place}: ");
        assert!(
            found[0].starts_with(&start) && found[0].contains(message),
            "{found:#?}"
        );
    }
    let default = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: default-ch-webhook, namespace: knative-eventing}\ndata:\n  \
                   default-ch-config: '{namespaceDefaults: {a: {apiVersion: messaging.knative.dev/v1, kind: InMemoryChanel}}}'\n";
    assert_eq!(
        lines(&one(default)),
        [
            "a.yaml:5: ConfigMap knative-eventing/default-ch-webhook: data.default-ch-config.namespaceDefaults.a.kind: \
          \"InMemoryChanel\" is unknown; did you mean InMemoryChannel?"
        ]
    );
}

/// What somebody has begun to write inside, and not finished.
#[test]
fn nothing_inside_is_told() {
    let nothing = "is nothing, and so as good as not there: write it, or remove the field";
    for (yaml, place) in [
        ("{clusterDefault: }", "clusterDefault"),
        (
            "{clusterDefault: {brokerClass: }}",
            "clusterDefault.brokerClass",
        ),
        ("{clusterDefault: {kind: }}", "clusterDefault.kind"),
        (
            "{namespaceDefaults: {a: {name: }}}",
            "namespaceDefaults.a.name",
        ),
        (
            "{namespaceDefaults: {a: {delivery: }}}",
            "namespaceDefaults.a.delivery",
        ),
        (
            "{clusterDefault: {delivery: {retry: }}}",
            "clusterDefault.delivery.retry",
        ),
        (
            "{clusterDefault: {brokerClasses: {MTChannelBasedBroker: {apiVersion: }}}}",
            "clusterDefault.brokerClasses.MTChannelBasedBroker.apiVersion",
        ),
    ] {
        let text = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: config-br-defaults, namespace: knative-eventing}}\ndata: \
             {{default-br-config: '{yaml}'}}\n"
        );
        let line = format!(
            "a.yaml:4: ConfigMap knative-eventing/config-br-defaults: data.default-br-config.{place}: warning: {nothing}"
        );
        assert_eq!(lines(&one(&text)), [line], "{yaml}");
    }
    let policy = "apiVersion: eventing.knative.dev/v1alpha1\nkind: EventPolicy\nmetadata: {name: p}\nspec:\n";
    let line = "a.yaml:4: EventPolicy default/p: spec: warning: is nothing, so that nobody may send to anything in its \
                namespace: write it, or remove the policy";
    assert_eq!(lines(&one(policy)), [line]);
}

/// The YAML inside ConfigMaps is judged as a whole: what stands one level too deep, and delivery
/// specs of templates.
#[test]
fn what_stands_inside_is_in_its_place() {
    let config_map = |name: &str, key: &str, yaml: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: knative-eventing}}\ndata: {{{key}: '{yaml}'}}\n"
        )
    };
    let template = "{apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, spec: {delivery: {retry: -1}}}";
    let deeper = "is no namespace: it belongs beside namespaceDefaults, and not below it";
    for (name, key, yaml, place, message) in [
        (
            "default-ch-webhook",
            "default-ch-config",
            "{namespaceDefaults: {clusterDefault: {apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel}}}",
            "namespaceDefaults.clusterDefault",
            deeper,
        ),
        (
            "config-br-defaults",
            "default-br-config",
            "{namespaceDefaults: {clusterDefault: {delivery: {retry: 1}}}}",
            "namespaceDefaults.clusterDefault",
            deeper,
        ),
        (
            "config-br-defaults",
            "default-br-config",
            "{namespaceDefaults: {Ns1: {delivery: {retry: 1}}}}",
            "namespaceDefaults.Ns1",
            "\"Ns1\" is not a namespace of Kubernetes",
        ),
        (
            "mine",
            "channel-template-spec",
            template,
            "spec.delivery.retry",
            "-1 is negative",
        ),
        (
            "default-ch-webhook",
            "default-ch-config",
            &format!("{{clusterDefault: {template}}}"),
            "clusterDefault.spec.delivery.retry",
            "-1 is negative",
        ),
    ] {
        let found = lines(&one(&config_map(name, key, yaml)));
        let start =
            format!("a.yaml:4: ConfigMap knative-eventing/{name}: data.{key}.{place}: {message}");
        assert!(
            found.len() == 1 && found[0].starts_with(&start),
            "{found:#?}"
        );
    }
}

/// Without a RabbitMQ, whatever asks for one is an error that says what to do.
#[test]
fn channels_on_rabbitmq() {
    use crate::control::RabbitmqAvailability;
    use crate::model::BackendKind;

    let broker = "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: b}\n";
    let plain = "apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: c}\n";
    let template = "spec: {channelTemplate: {apiVersion: messaging.knative.dev/v1alpha1, kind: RabbitmqChannel}}\n";
    let own =
        "apiVersion: messaging.knative.dev/v1alpha1\nkind: RabbitmqChannel\nmetadata: {name: c}\n";
    let rabbitmq = ControlSettings {
        default_backend: BackendKind::Rabbitmq,
        ..settings()
    };
    for (text, settings, storage, field) in [
        (own.to_owned(), settings(), BackendKind::Rabbitmq, "kind"),
        (
            format!("{plain}{template}"),
            settings(),
            BackendKind::Rabbitmq,
            "spec.channelTemplate.kind",
        ),
        (plain.to_owned(), settings(), BackendKind::Memory, ""),
        (broker.to_owned(), settings(), BackendKind::Memory, ""),
        (
            plain.to_owned(),
            rabbitmq.clone(),
            BackendKind::Rabbitmq,
            "spec.channelTemplate",
        ),
        (
            broker.to_owned(),
            rabbitmq.clone(),
            BackendKind::Rabbitmq,
            "spec.config",
        ),
    ] {
        let files = manifests(&[("a.yaml", &text)]);
        let resolution = resolve(&files, None, &settings);
        assert_eq!(lines(&resolution), [""; 0], "{text}");
        assert_eq!(resolution.table.channels()[0].backend, storage, "{text}");
        let missing = resolve(
            &files,
            None,
            &ControlSettings {
                rabbitmq: RabbitmqAvailability::Missing,
                ..settings
            },
        );
        let remedy = "run with --rabbitmq-uri, or use DiskChannel or InMemoryChannel";
        let expected = format!("{field}: needs RabbitMQ: {remedy}");
        let found = lines(&missing);
        assert_eq!(
            found.len(),
            usize::from(storage == BackendKind::Rabbitmq),
            "{text}"
        );
        assert!(
            found.iter().all(|line| line.ends_with(&expected)),
            "{found:?}"
        );
    }
}

/// Contract 5.2a: what a template says of its channel counts, its own or the default one.
#[test]
fn the_delivery_of_a_template_wins() {
    let kind = "apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel";
    let channel = |spec: &str| {
        let head =
            "apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: c}\nspec:\n";
        format!("{head}{spec}{}", subscription("{uri: 'http://x'}"))
    };
    let retries = |text: &str| only(&good(text)).delivery.retry;
    let template = format!("  channelTemplate: {{{kind}, spec: {{delivery: {{retry: 3}}}}}}\n");
    assert_eq!(retries(&channel(&template)), 3);
    let both = one(&channel(&format!("{template}  delivery: {{retry: 7}}\n")));
    assert_eq!(
        (only(&both).delivery.retry, lines(&both).len()),
        (3, 1),
        "{:#?}",
        lines(&both)
    );
    assert_eq!(
        retries(&channel(&format!(
            "  channelTemplate: {{{kind}}}\n  delivery: {{retry: 7}}\n"
        ))),
        7
    );
    let wrong = channel(&template.replace("retry: 3", "retry: -1"));
    assert!(
        lines(&one(&wrong))[0].contains("spec.channelTemplate.spec.delivery.retry"),
        "{:#?}",
        lines(&one(&wrong))
    );
}

/// Contract G-34.
#[test]
fn delivery_specs_merge_field_by_field_where_wanted() {
    let text = "{apiVersion: eventing.knative.dev/v1, kind: Broker, metadata: {name: b}, spec: {delivery: {retry: 3, \
                backoffPolicy: linear, backoffDelay: PT1S, format: json}}}\n---\napiVersion: eventing.knative.dev/v1\n\
                kind: Trigger\nmetadata: {name: t}\nspec:\n  broker: b\n  subscriber: {uri: 'http://x'}\n  \
                delivery: {backoffDelay: PT2S, deadLetterSink: {uri: 'http://dead'}}\n";
    let replaced = one(text);
    assert_eq!(
        lines(&replaced),
        [
            "a.yaml:9: Trigger default/t: spec.delivery: warning: replaces the parent's, so that its retry, \
          backoffPolicy, format are not used: write them here too, or run with --delivery-merge fields"
        ]
    );
    let two_seconds = Some(Duration::from_secs(2));
    assert_eq!(
        only(&replaced).delivery,
        DeliverySpec {
            backoff_delay: two_seconds,
            ..DeliverySpec::default()
        }
    );
    let settings = ControlSettings {
        delivery_merge: DeliveryMerge::Fields,
        ..settings()
    };
    let merged = resolve(&manifests(&[("a.yaml", text)]), None, &settings);
    assert_eq!(lines(&merged), [""; 0]);
    let expected = DeliverySpec {
        retry: 3,
        backoff_policy: Some(BackoffPolicy::Linear),
        backoff_delay: two_seconds,
        format: DeliveryFormat::Json,
        ..DeliverySpec::default()
    };
    assert_eq!(only(&merged).delivery, expected);
}
