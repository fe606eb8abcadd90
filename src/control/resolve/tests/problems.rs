//! Every problem of manifests, each as one golden line.

use proptest::prelude::*;

use super::*;

/// Resolves a text with one problem, and gives its line without the file.
fn problem(text: &str) -> String {
    let resolution = one(text);
    let [line] = &lines(&resolution)[..] else {
        panic!("not one problem: {:#?}\n{text}", lines(&resolution))
    };
    line.strip_prefix("a.yaml:").expect("file").to_owned()
}

const BROKER: &str =
    "{apiVersion: eventing.knative.dev/v1, kind: Broker, metadata: {name: b}}\n---\n";

fn trigger(spec: &str) -> String {
    format!(
        "{BROKER}apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: t}}\nspec:\n  broker: b\n  \
         subscriber: {{uri: 'http://x'}}\n  {spec}\n"
    )
}

#[test]
fn of_headers() {
    for (text, line) in [
        (
            "[{\"kind\": \"Broker\"}]",
            "1: is a list of objects: write a document for each, or apiVersion: v1 and kind: List with them as items; of JSON, \
             jq makes that by '{apiVersion: \"v1\", kind: \"List\", items: .}'",
        ),
        (
            "- a: 1\n- b: 2",
            "1: is not an object: write apiVersion, kind, metadata and spec",
        ),
        (
            "- a\n- b",
            "1: is not an object: write apiVersion, kind, metadata and spec",
        ),
        ("a: 1", "1: kind: is missing: write for example Broker"),
        (
            "metadata: {name: a}",
            "1: object default/a: kind: is missing: write for example Broker",
        ),
        (
            "kind: Broker",
            "1: Broker default/: apiVersion: is missing: write for example eventing.knative.dev/v1",
        ),
        (
            "kind: Broker\nmetadata: {name: b}\napiVersion: eventing.knative.dev/v2",
            "3: Broker default/b: apiVersion: \"eventing.knative.dev/v2\" has no Broker that is served here: \
             write eventing.knative.dev/v1, and a ConfigMap with channel-template-spec, named in spec.config, where \
             spec.channelTemplate was",
        ),
        (
            "apiVersion: eventing.knative.dev/v1\nkind: Brocker\nmetadata: {name: b}",
            "2: Brocker default/b: kind: \"Brocker\" is unknown; did you mean Broker?",
        ),
        (
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: d, namespace: x}",
            "2: Ingress x/d: kind: note: Ingress of networking.k8s.io/v1 is not read here: ignored",
        ),
        (
            "apiVersion: sources.knative.dev/v1\nkind: SinkBinding\nmetadata: {name: d, namespace: x}",
            "2: SinkBinding x/d: kind: note: SinkBinding of sources.knative.dev/v1 is not served here, and left alone: run \
             its program by `sealpost exec --sink SINK -- COMMAND`",
        ),
        (
            "apiVersion: eventing.knative.dev/v1\nkind: EventTrigger\nmetadata: {name: d, namespace: x}",
            "2: EventTrigger x/d: kind: warning: EventTrigger of eventing.knative.dev/v1 is no kind that Knative is known to \
             have, and ignored: correct it",
        ),
        (
            "apiVersion: eventing.knative.dev/v1beta3\nkind: EventType\nmetadata: {name: d, namespace: x}",
            "2: EventType x/d: kind: note: EventType of eventing.knative.dev/v1beta3 is not read here: ignored",
        ),
        (
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d, anotations: {a: b}}",
            "3: Deployment default/d: metadata.anotations: is not a field that is known here; did you mean annotations?",
        ),
        (
            "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {}",
            "3: Broker default/: metadata.name: is missing: give the object a name",
        ),
        (
            "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata:\n  name: a/b",
            "4: Broker default/a/b: metadata.name: \"a/b\" is not a name of Kubernetes: use a-z, 0-9, '-' and '.', \
             beginning and ending with a letter or digit",
        ),
        (
            "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata:\n  namespace: A\n  name: a",
            "4: Broker A/a: metadata.namespace: \"A\" is not a namespace of Kubernetes: use at most 63 of a-z, 0-9 \
             and '-'",
        ),
    ] {
        assert_eq!(problem(text), line, "{text}");
    }
}

#[test]
fn of_delivery_specs() {
    let delivery = |field: &str| trigger(&format!("delivery:\n    {field}"));
    for (text, line) in [
        (
            delivery("retry: -1"),
            "10: Trigger default/t: spec.delivery.retry: -1 is negative: write 0 or more",
        ),
        (
            delivery("retry: 3000000000"),
            "10: Trigger default/t: spec.delivery.retry: 3000000000 is too large: at most 2147483647",
        ),
        (
            delivery("retry: '3'"),
            "10: Trigger default/t: spec.delivery.retry: is text, but must be a whole number: write it without \
             quotes",
        ),
        (
            delivery("backoffDelay: 5s"),
            "10: Trigger default/t: spec.delivery.backoffDelay: \"5s\" is not an ISO 8601 duration: write for example \
             PT0.5S, PT10S, PT1M30S or P1D",
        ),
        (
            delivery("timeout: PT0S"),
            "10: Trigger default/t: spec.delivery.timeout: is zero, so that no attempt could succeed: write for example \
             PT30S",
        ),
        (
            delivery("backoffPolicy: Exponential"),
            "10: Trigger default/t: spec.delivery.backoffPolicy: \"Exponential\" is no policy: write linear or \
             exponential",
        ),
        (
            delivery("format: xml"),
            "10: Trigger default/t: spec.delivery.format: \"xml\" is no format: write binary or json",
        ),
        (
            delivery("deadletterSink: {uri: 'http://d'}"),
            "10: Trigger default/t: spec.delivery.deadletterSink: is not a field that is known here; did you \
             mean deadLetterSink?",
        ),
    ] {
        assert_eq!(problem(&text), line, "{text}");
    }
    // As for an API server.
    assert_eq!(only(&good(&delivery("retry: 3.0"))).delivery.retry, 3);
    assert_eq!(only(&good(&delivery("retry: 1e1"))).delivery.retry, 10);
    let [line] = &lines(&one(&delivery("retry: 3.5")))[..] else {
        panic!("one problem")
    };
    assert!(
        line.ends_with("spec.delivery.retry: is a number, but must be a whole number"),
        "{line}"
    );
}

#[test]
fn of_triggers() {
    for (text, line) in [
        (
            trigger("filter: {attributes: {Type: a}}"),
            "9: Trigger default/t: spec.filter.attributes.Type: \"Type\" is not the name of an attribute: use a-z and \
             0-9, beginning with a letter",
        ),
        (
            trigger("filter: {attributes: {type: }}"),
            "9: Trigger default/t: spec.filter.attributes.type: is nothing, but must be text: write what it has to be",
        ),
        (
            trigger("filter: {attributes: {type: 5}}"),
            "9: Trigger default/t: spec.filter.attributes.type: is a number, but must be text: write it in quotes",
        ),
        (
            trigger("brokerRef: {name: b, namespace: other}").replace("  broker: b\n", ""),
            "8: Trigger default/t: spec.brokerRef.namespace: is other, and a Trigger of the namespace default may belong \
             to a Broker there only with cross-namespace-event-links: enabled in the ConfigMap config-features: set that, \
             or name a Broker of default",
        ),
        (
            trigger("brokerRef: {name: b}"),
            "9: Trigger default/t: spec.brokerRef: is there beside broker: keep one of the two",
        ),
        (
            trigger("brokerRef: {name: b, kind: Channel}").replace("  broker: b\n", ""),
            "8: Trigger default/t: spec.brokerRef.kind: Channel is no Broker: write Broker, or leave it out",
        ),
        (
            trigger("").replace("broker: b", "broker: br"),
            "7: Trigger default/t: spec.broker: there is no broker default/br: create it, or correct the reference",
        ),
        (
            trigger("").replace("  broker: b\n", ""),
            "6: Trigger default/t: spec.broker: is missing: name the Broker",
        ),
        (
            trigger("").replace("  subscriber: {uri: 'http://x'}\n", ""),
            "6: Trigger default/t: spec.subscriber: is missing: say who gets the events",
        ),
    ] {
        assert_eq!(problem(&text), line, "{text}");
    }
}

/// Filters fail closed, and say where (contract G-48) (contract TF-9).
#[test]
fn of_filters() {
    for (text, line) in [
        (
            trigger("filters: [{exact: {type: a}, suffix: {type: b}}]"),
            "9: Trigger default/t: spec.filters[0]: must have exactly one of exact, prefix, suffix, all, any, not or \
             cesql: put several into all",
        ),
        (
            trigger("filters: [{any: [{exact: {Type: a}}]}]"),
            "9: Trigger default/t: spec.filters[0].any[0].exact.Type: \"Type\" is not the name of an attribute: use \
             a-z and 0-9, beginning with a letter",
        ),
        (
            trigger("filters: [{not: {}}]"),
            "9: Trigger default/t: spec.filters[0].not: must have exactly one of exact, prefix, suffix, all, any, not \
             or cesql: put several into all",
        ),
        (
            trigger("filters: [{all: []}]"),
            "9: Trigger default/t: spec.filters[0].all: must be a list of filters, at least one",
        ),
        (
            trigger("filters: [{exact: {type: ''}}]"),
            "9: Trigger default/t: spec.filters[0].exact.type: must not be empty: for an attribute that exists, use \
             cesql: EXISTS",
        ),
        (
            trigger("filters: [{exact: {five: 5}}]"),
            "9: Trigger default/t: spec.filters[0].exact.five: is a number, but must be text: write it in quotes",
        ),
        (
            trigger("filters: [{cesql: 'type ='}]"),
            "9: Trigger default/t: spec.filters[0].cesql: line 1, column 7: the expression ends too early",
        ),
        (
            trigger("filters: [{regex: {type: a}}]"),
            "9: Trigger default/t: spec.filters[0].regex: is not a field that is known here: there are exact, prefix, \
             suffix, all, any, not, cesql",
        ),
        (
            trigger(&format!(
                "filters: [{{cesql: \"id = '{}'\"}}]",
                "x".repeat(16 * 1024)
            )),
            "9: Trigger default/t: spec.filters[0].cesql: line 1, column 1: the expression is longer than 16384 bytes",
        ),
        (
            trigger(&format!(
                "filters: [{{all: [{{exact: {{type: {0}}}}}, {{suffix: {{type: {0}}}}}]}}]",
                "x".repeat(64 * 1024)
            )),
            "9: Trigger default/t: spec.filters: has 131094 bytes of text, more than 131072: divide it among several objects",
        ),
        (
            trigger(&format!(
                "filter: {{attributes: {{type: {0}, source: {0}}}}}",
                "x".repeat(64 * 1024)
            )),
            "9: Trigger default/t: spec.filter.attributes: has 131082 bytes of text, more than 131072: divide it among \
             several objects",
        ),
    ] {
        assert_eq!(problem(&text), line, "{text}");
        assert!(
            one(&text)
                .table
                .channels()
                .iter()
                .all(|channel| channel.subscriptions.is_empty()),
            "{text}"
        );
    }
}

/// An extension may be called nearly as an attribute is, but hardly ever is meant to be.
#[test]
fn of_names_in_filters() {
    let [near, doubled] = [
        "warning: is an extension; did you mean type?",
        "warning: is an extension; did you mean id?",
    ];
    for (filter, place, message) in [
        (
            "filters: [{not: {exact: {tpye: x}}}]",
            "filters[0].not.exact.tpye",
            near,
        ),
        (
            "filters: [{any: [{prefix: {typ: x}}]}]",
            "filters[0].any[0].prefix.typ",
            near,
        ),
        (
            "filters: [{all: [{suffix: {types: x}}]}]",
            "filters[0].all[0].suffix.types",
            near,
        ),
        (
            "filter: {attributes: {idd: x}}",
            "filter.attributes.idd",
            doubled,
        ),
        (
            "filters: [{cesql: \"NOT (type = 'a' OR soruce = 'b')\"}]",
            "filters[0].cesql",
            "warning: line 1, column 20: soruce is an extension; did you mean source?",
        ),
    ] {
        let text = trigger(filter);
        assert_eq!(
            problem(&text),
            format!("9: Trigger default/t: spec.{place}: {message}"),
            "{filter}"
        );
        assert_eq!(of(&one(&text), &broker("b")).len(), 1, "it is served");
    }
    let policy = "apiVersion: eventing.knative.dev/v1alpha1\nkind: EventPolicy\nmetadata: {name: p}\nspec:\n  \
                  filters: [{not: {exact: {suorce: x}}}]\n";
    let nothing = problem(&trigger("filters: [{not: {prefix: {type: }}}]"));
    let rule = "is nothing, but must be text: write what it has to be";
    assert_eq!(
        nothing,
        format!("9: Trigger default/t: spec.filters[0].not.prefix.type: {rule}")
    );
    // What nobody has filled in.
    for (filter, place, value) in [
        (
            "filter: {attributes: {type: '${TYPE}'}}",
            "filter.attributes.type",
            "${TYPE}",
        ),
        (
            "filters: [{exact: {type: '{{ .t }}'}}]",
            "filters[0].exact.type",
            "{{ .t }}",
        ),
        (
            "filter: {attributes: {type: $TYPE}}",
            "filter.attributes.type",
            "$TYPE",
        ),
        (
            "filters: [{exact: {type: $(TYPE)}}]",
            "filters[0].exact.type",
            "$(TYPE)",
        ),
        (
            "filters: [{prefix: {type: <event-type>}}]",
            "filters[0].prefix.type",
            "<event-type>",
        ),
        (
            "filters: [{exact: {type: '%TYPE%'}}]",
            "filters[0].exact.type",
            "%TYPE%",
        ),
    ] {
        let rule = "is this a template that was not rendered? Render it first";
        let line = format!("9: Trigger default/t: spec.{place}: warning: is {value:?}: {rule}");
        assert_eq!(problem(&trigger(filter)), line);
    }
    assert_eq!(
        problem(policy),
        "5: EventPolicy default/p: spec.filters[0].not.exact.suorce: warning: is an extension; did you mean source?"
    );
}

fn assert_filter_warnings(rows: &[(&str, &str, String)]) {
    for (filter, place, message) in rows {
        let line = format!("9: Trigger default/t: spec.{place}: warning: {message}");
        assert_eq!(problem(&trigger(filter)), line, "{filter}");
    }
}

/// Texts are compared as they are, which people of other languages do not expect.
#[test]
fn of_values_in_filters() {
    let star = |value: &str, remedy: &str| {
        format!(
            "is {value:?}: a * stands for itself only, and for no other text: write {remedy} in filters"
        )
    };
    let any = |value: &str, name: &str| {
        star(value, "x").replace(
            "write x in filters",
            &format!("remove it if any value will do, or write cesql: EXISTS {name}"),
        )
    };
    let empty = "is empty, which any value passes, and every event has one: write what it has to be, or remove it";
    assert_filter_warnings(&[
        (
            "filter: {attributes: {type: ''}}",
            "filter.attributes.type",
            empty.to_owned(),
        ),
        (
            "filter: {attributes: {tenant: a, source: ''}}",
            "filter.attributes.source",
            empty.to_owned(),
        ),
        (
            "filter: {attributes: {type: '*'}}",
            "filter.attributes.type",
            any("*", "type"),
        ),
        (
            "filter: {attributes: {type: 'dev.*'}}",
            "filter.attributes.type",
            star("dev.*", "prefix: {type: dev.}"),
        ),
        (
            "filters: [{exact: {source: '*/a'}}]",
            "filters[0].exact.source",
            star("*/a", "suffix: {source: /a}"),
        ),
        (
            "filters: [{exact: {type: 'a.*.b'}}]",
            "filters[0].exact.type",
            star("a.*.b", "cesql: type LIKE 'a.%.b'"),
        ),
        (
            "filters: [{prefix: {type: 'dev.*'}}]",
            "filters[0].prefix.type",
            star("dev.*", "prefix: {type: dev.}"),
        ),
        (
            "filters: [{not: {suffix: {type: '**'}}}]",
            "filters[0].not.suffix.type",
            any("**", "type"),
        ),
        (
            "filters: [{exact: {type: '.*'}}]",
            "filters[0].exact.type",
            any(".*", "type"),
        ),
    ]);
    for filter in [
        "filter: {attributes: {tenant: ''}}",
        "filters: [{exact: {cron: '*/5 * * * *'}}, {exact: {schedule: '0 9 ? * MON-FRI'}}]",
        "filters: [{exact: {subject: '$5'}}, {exact: {type: $aws}}, {suffix: {subject: '>'}}, {exact: {subject: '<a> b'}}]",
        "filters: [{prefix: {subject: 'order '}}]",
        "filters: [{suffix: {subject: ' done'}}]",
        "filter: {attributes: {source: 'https://a.example/b?c=d e%2A'}}",
    ] {
        good(&trigger(filter));
    }
}

#[test]
fn of_regular_expressions_in_filters() {
    let like = "write prefix, suffix, or cesql with LIKE, where % is any text";
    let regular =
        |value: &str| format!("is {value:?}: regular expressions are compared as they are: {like}");
    assert_filter_warnings(&[
        (
            "filters: [{exact: {type: '^a.*$'}}]",
            "filters[0].exact.type",
            regular("^a.*$"),
        ),
        (
            "filters: [{exact: {type: '^dev'}}]",
            "filters[0].exact.type",
            regular("^dev"),
        ),
        (
            "filter: {attributes: {type: 'dev\\..+'}}",
            "filter.attributes.type",
            regular("dev\\..+"),
        ),
    ]);
}

#[test]
fn of_blanks_in_filters() {
    let blank = |value: &str, more: &str| {
        format!(
            "is {value:?}: blanks and line ends count, and events hardly have them there: remove them{more}"
        )
    };
    let block = ", for a block of text by |- instead of |";
    assert_filter_warnings(&[
        (
            "filter: {attributes: {type: 'x '}}",
            "filter.attributes.type",
            blank("x ", ""),
        ),
        (
            "filters: [{exact: {tenant: ' x'}}]",
            "filters[0].exact.tenant",
            blank(" x", ""),
        ),
        (
            "filters: [{prefix: {type: ' x'}}]",
            "filters[0].prefix.type",
            blank(" x", ""),
        ),
        (
            "filters: [{suffix: {type: 'x '}}]",
            "filters[0].suffix.type",
            blank("x ", ""),
        ),
        (
            "filters: [{prefix: {type: \"x\\n\"}}]",
            "filters[0].prefix.type",
            blank("x\n", block),
        ),
        (
            "filter: {attributes: {type: \"a\\tb\"}}",
            "filter.attributes.type",
            blank("a\tb", ""),
        ),
    ]);
}

/// A channel with a subscriber.
fn subscribed(subscriber: &str) -> String {
    format!("{CHANNEL}{}", subscription(subscriber))
}

/// A channel with a Service as subscriber.
fn service_ref(more: &str) -> String {
    let subscriber = format!("{{ref: {{apiVersion: v1, kind: Service, name: x}}{more}}}");
    let endpoint = "  annotations:\n    sealpost.dev/endpoint: http://127.0.0.1:9\n";
    format!("{}{}", subscribed(&subscriber), service("x", endpoint))
}

#[test]
fn of_destinations() {
    for (text, line) in [
        (
            subscribed("{}"),
            "10: spec.subscriber: names no destination: give a ref or a uri",
        ),
        (
            subscribed("{uri: 'ftp://x'}"),
            "10: spec.subscriber.uri: has the scheme \"ftp\": events go over http or https; write for example \
             http://sink.example/events",
        ),
        (
            subscribed("{uri: /x}"),
            "10: spec.subscriber.uri: is relative, so it has no host: write for example \
             http://sink.example/events",
        ),
        (
            service_ref(", uri: 'http://y'"),
            "10: spec.subscriber.uri: is absolute beside a ref: keep one of the two, or write only a path such as /events",
        ),
    ] {
        assert_eq!(
            problem(&text).replace("Subscription default/s: ", ""),
            line,
            "{text}"
        );
    }
}

#[test]
fn of_references() {
    for (text, line) in [
        (
            subscribed("{ref: {kind: Service, name: x}}"),
            "10: spec.subscriber.ref.apiVersion: is missing: write v1",
        ),
        (
            subscribed("{ref: {apiVersion: v1, kind: Service}}"),
            "10: spec.subscriber.ref.name: is missing: name the object",
        ),
        (
            subscribed("{ref: {apiVersion: v1, kind: Pod, name: x}}"),
            "10: spec.subscriber.ref.kind: Pod takes no events: refer to a Service, a channel or a Broker, or give a uri",
        ),
        (
            subscribed(
                "{ref: {apiVersion: messaging.knative.dev/v1, kind: Channel, name: x, namespace: other}}",
            ),
            "10: spec.subscriber.ref: there is no channel other/x: create it, or correct the reference",
        ),
        (
            subscribed(
                "{ref: {apiVersion: messaging.knative.dev/v1, kind: Channel, name: c}, uri: /x}",
            ),
            "10: spec.subscriber.uri: warning: has no meaning beside a reference to channel default/c: it is ignored",
        ),
        (
            subscribed("{uri: 'http://x-kn-channel.default.svc.cluster.local'}"),
            "10: spec.subscriber.uri: warning: is the address of channel default/x, which is not served here",
        ),
    ] {
        assert_eq!(
            problem(&text).replace("Subscription default/s: ", ""),
            line,
            "{text}"
        );
    }
    assert_eq!(
        lines(&one(&service_ref("").replace("http://127", "127"))),
        [
            "a.yaml:10: Subscription default/s: spec.subscriber.ref: Service default/x has problems of its own: solve \
             them first",
            "a.yaml:17: Service default/x: metadata.annotations.sealpost.dev/endpoint: is relative, so it has no host: \
             write for example http://sink.example/events",
        ]
    );
}

#[test]
fn of_channels() {
    let channel = |more: &str| {
        format!(
            "apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {{name: c}}\n{more}"
        )
    };
    for (text, line) in [
        (
            channel("spec: {channelTemplate: {apiVersion: example.com/v1, kind: Pipe}}"),
            "4: Channel default/c: spec.channelTemplate.kind: \"Pipe\" cannot be made here: write \
             InMemoryChannel, DiskChannel or RabbitmqChannel, or leave the template out",
        ),
        (
            channel(
                "spec: {channelTemplate: {apiVersion: messaging.knative.dev/v2, kind: InMemoryChannel}}",
            ),
            "4: Channel default/c: spec.channelTemplate.apiVersion: \"messaging.knative.dev/v2\" has no \
             InMemoryChannel: write messaging.knative.dev/v1",
        ),
        (
            format!(
                "{CHANNEL}---\n{}",
                CHANNEL
                    .replace("v1\n", "v1alpha1\n")
                    .replace("InMemoryChannel", "RabbitmqChannel")
            ),
            "7: RabbitmqChannel default/c: metadata.name: the InMemoryChannel at a.yaml:1 has the same name and address: \
             rename or remove one of the two",
        ),
        (
            format!("{}---\n{CHANNEL}", channel("")),
            "7: InMemoryChannel default/c: metadata.name: the Channel at a.yaml:1 makes the InMemoryChannel of its name \
             itself: remove this one",
        ),
        (
            format!(
                "{CHANNEL}---\n{}",
                CHANNEL.replace("metadata:", "\n\nmetadata:")
            ),
            "9: InMemoryChannel default/c: metadata.name: is taken at a.yaml:1, which stays: rename or remove one of the \
             two",
        ),
        (
            format!("{CHANNEL}---\n{}", BROKER.replace("name: b", "name: c")),
            "5: Broker default/c: metadata.name: warning: /default/c is the path of a channel, too, so that path alone \
             is answered by 400: send to their hosts, or rename one",
        ),
        (
            channel(
                "spec:\n  delivery:\n    deadLetterSink: {ref: {apiVersion: v1, kind: Service, name: x}}",
            ),
            "6: Channel default/c: spec.delivery.deadLetterSink.ref: there is no Service default/x: add its manifest, or \
             say where it is by --resolve x.default.svc.cluster.local=ADDR:PORT, by the annotation sealpost.dev/endpoint \
             on the manifest of its Service, or by a uri",
        ),
        (
            CHANNEL.replace(
                "{name: c}",
                "{name: c, annotations: {messaging.knative.dev/async-handler: maybe}}",
            ),
            "3: InMemoryChannel default/c: metadata.annotations.messaging.knative.dev/async-handler: warning: \"maybe\" \
             is neither \"true\" nor \"false\", and counts as \"false\"",
        ),
    ] {
        assert_eq!(problem(&text), line, "{text}");
    }
}

/// A broker of another implementation is left alone, with its triggers, and so is no error
/// (contract 5.6).
#[test]
fn other_classes_are_left_alone() {
    let other = "{name: b, annotations: {eventing.knative.dev/broker.class: RabbitMQBroker}}";
    let resolution = one(&trigger("").replacen("{name: b}", other, 1));
    let severities: Vec<_> = resolution
        .problems
        .iter()
        .map(|problem| problem.severity)
        .collect();
    assert_eq!(
        severities,
        [
            crate::control::Severity::Note,
            crate::control::Severity::Warning
        ]
    );
    assert!(resolution.table.channels().is_empty());
    assert_eq!(ready(&resolution, ObjectKind::Broker, "b").0, "Unknown");
    assert_eq!(ready(&resolution, ObjectKind::Trigger, "t").0, "Unknown");
}

/// Two channels that dead-letter into each other are fine; one that refers to a broken one is not,
/// nor who refers to it.
#[test]
fn broken_dead_letter_sinks_spread() {
    let channel = |name: &str, sink: &str, more: &str| {
        let sink = format!(
            "{{ref: {{apiVersion: messaging.knative.dev/v1, kind: Channel, name: {sink}}}}}"
        );
        format!(
            "{}spec: {{delivery: {{{more}deadLetterSink: {sink}}}}}\n---\n",
            CHANNEL.replace("name: c", &format!("name: {name}"))
        )
    };
    let resolution = good(&format!(
        "{}{}",
        channel("p", "q", ""),
        channel("q", "p", "")
    ));
    assert_eq!(resolution.table.channels().len(), 2);
    let resolution = one(&format!(
        "{}{}{}",
        channel("p", "q", ""),
        channel("q", "r", ""),
        channel("r", "r", "retry: -1, ")
    ));
    assert!(resolution.table.channels().is_empty());
    let problems = lines(&resolution);
    assert_eq!(problems.len(), 3, "{problems:#?}");
    assert!(problems[0].ends_with(
        "spec.delivery.deadLetterSink: channel default/q has problems of its own: solve them first"
    ));
}

fn features(namespace: &str, data: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: config-features, namespace: {namespace}}}\ndata: {data}"
    )
}

/// What may be `config-features`, and is not where or what it should be, closes plain HTTP.
#[test]
fn of_config_features_that_are_astray() {
    let text = features("default", "{transport-encryption: strict}");
    let rule =
        "metadata.namespace: must be knative-eventing, where config-features counts: write that";
    assert_eq!(
        problem(&text),
        format!("3: ConfigMap default/config-features: {rule}")
    );
    assert_eq!(
        one(&text).table.transport_encryption(),
        TransportEncryption::Strict
    );
    let text_oidc = features("default", "{authentication-oidc: enabled}");
    assert_eq!(
        problem(&text_oidc),
        format!("3: ConfigMap default/config-features: {rule}")
    );
    let channel = "apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: c}\n---\n";
    let closed = one(&format!("{channel}{text_oidc}"));
    assert!(
        closed.table.channels()[0].authorization.is_some(),
        "senders are asked who they are"
    );
    let both = format!(
        "{}\n---\n{text}",
        features("knative-eventing", "{transport-encryption: disabled}")
    );
    assert!(
        problem(&both)
            .ends_with("warning: counts in the namespace knative-eventing only: it is ignored")
    );
    assert_eq!(
        one(&both).table.transport_encryption(),
        TransportEncryption::Disabled,
        "the right one is there"
    );
    let text = features("knative-serving", "{transport-encryption: strict}");
    assert_eq!(
        one(&text).problems,
        [],
        "Knative Serving has one of its own"
    );
    let other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: features, namespace: knative-eventing}\ndata: {transport-encryption: strict}";
    assert!(
        problem(other)
            .contains("metadata.name: is no ConfigMap that is read; did you mean config-features?")
    );
    assert_eq!(
        one(other).table.transport_encryption(),
        TransportEncryption::Strict
    );
    let alone = features("knative-eventing", "{transport-encryption: strict}");
    for astray in [
        format!(
            "[{{{}}}]",
            "apiVersion: v1, kind: ConfigMap, metadata: {name: config-features}"
        ),
        format!("|\n  {}", alone.replace('\n', "\n  ")),
    ] {
        let told = problem(&astray);
        assert!(
            told.contains("is not an object: write ")
                || told.contains("is a list of objects: write "),
            "{astray}"
        );
        assert_eq!(
            one(&astray).table.transport_encryption(),
            TransportEncryption::Strict,
            "{astray}"
        );
    }
    let nothing = features("knative-eventing", "");
    assert!(
        problem(&nothing).ends_with("data: is nothing: write the flags, or {} if there are none"),
        "{}",
        problem(&nothing)
    );
    assert_eq!(
        one(&nothing).table.transport_encryption(),
        TransportEncryption::Strict
    );
    let defaults = alone
        .replace("config-features", "config-br-defaults")
        .replace("knative-eventing", "knative-evnting")
        .replace("{transport-encryption: strict}", "{}");
    let found = problem(&defaults);
    assert!(
        found.ends_with(
            "is misspelt: config-br-defaults counts in knative-eventing only; write that"
        ),
        "{found}"
    );
}

fn system_config_map(name: &str, metadata: &str, rest: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: knative-eventing\n{metadata}{rest}"
    )
}

fn annotated(key: &str) -> String {
    format!("  annotations:\n    {key}: x\n")
}

/// Keys of ConfigMaps where nothing reads them, as far as somebody has meant them to be read.
#[test]
fn of_keys_that_are_not_in_the_data() {
    for (name, metadata, rest, line) in [
        (
            "config-features",
            annotated("transport-encryption").as_str(),
            "",
            "7: metadata.annotations.transport-encryption: … in annotations: write transport-encryption directly below data",
        ),
        (
            "config-features",
            "  labels:\n    authentication_oidc: enabled\n",
            "data: {transport-encryption: strict}",
            "7: metadata.labels.authentication_oidc: … in labels: write authentication-oidc directly below data",
        ),
        (
            "config-observability",
            &annotated("tracing-protocol"),
            "data: {}",
            "7: metadata.annotations.tracing-protocol: … in annotations: write tracing-protocol directly below data",
        ),
        (
            "config-features",
            "",
            "data:\n  _example: |\n    # disabled, permissive or strict\n    transport-encryption: \"Strict\" # now\n    \
             # authentication-oidc: enabled\n",
            "7: data._example: sets transport-encryption to \"Strict\", which … there: write it directly below data",
        ),
        (
            "config-features",
            "",
            "data:\n  transport-encryption: strict\n  _example: |\n    transport-encryption: permissive\n    \
             default-authorization-mode: deny-all\n",
            "8: data._example: sets default-authorization-mode to \"deny-all\", which … there: write it directly below data",
        ),
        (
            "config-observability",
            &annotated("knative.dev/example-checksum"),
            "data: {_example: 'tracing-protocol: grpc'}",
            "8: data._example: is not what knative.dev/example-checksum says, so that somebody has edited it, which …: \
             write what is to count directly below data",
        ),
    ] {
        let (place, rest_of_line) = line.split_once(": ").expect("a line");
        let (field, message) = rest_of_line.split_once(": ").expect("a field");
        let line = format!(
            "{place}: ConfigMap knative-eventing/{name}: {field}: warning: {}",
            message.replace('…', "has no effect")
        );
        assert_eq!(problem(&system_config_map(name, metadata, rest)), line);
    }
}

/// Collectors that `config-observability` names and nobody can reach; what stands in a URL is not
/// repeated, since it may hold a password.
#[test]
fn of_collectors() {
    let said = |signal: &str, protocol: &str, endpoint: &str| {
        let data =
            format!("data:\n  {signal}-protocol: {protocol}\n  {signal}-endpoint: '{endpoint}'");
        problem(&system_config_map("config-observability", "", &data))
    };
    for (signal, endpoint, why) in [
        ("tracing", "not a url", "no URL"),
        ("tracing", "http://[::1", "no URL"),
        ("tracing", "http://u:secret@h:99999", "no URL: invalid port"),
        ("metrics", "unix:///x", "neither http nor https"),
    ] {
        let line = said(signal, "grpc", endpoint);
        let start = format!(
            "8: ConfigMap knative-eventing/config-observability: data.{signal}-endpoint: warning: "
        );
        assert!(line.starts_with(&start) && line.contains(why), "{line}");
        assert!(!line.contains("secret"), "{line}");
    }
    for (signal, protocol, message) in [
        ("tracing", "grpc", "needs tracing-endpoint"),
        ("metrics", "http/protobuf", "needs metrics-endpoint"),
        ("tracing", "zipkin", "grpc, stdout or none"),
        ("metrics", "stdout", "grpc, prometheus or none"),
    ] {
        let line = said(signal, protocol, "");
        let start = format!(
            "7: ConfigMap knative-eventing/config-observability: data.{signal}-protocol: warning: "
        );
        assert!(line.starts_with(&start) && line.contains(message), "{line}");
    }
    let alone = "data: {tracing-endpoint: 'http://collector:4318'}";
    let line = problem(&system_config_map("config-observability", "", alone));
    assert!(
        line.contains("data.tracing-endpoint: warning: needs tracing-protocol"),
        "{line}"
    );
    good(&system_config_map(
        "config-observability",
        "",
        "data: {tracing-protocol: stdout, metrics-protocol: prometheus}",
    ));
}

/// What upstream ships, and what others write.
#[test]
fn of_examples_that_nobody_has_edited() {
    let example = "data:\n  _example: |\n    # What could be written.\n\n\n    transport-encryption: strict\n    \
                   tracing-protocol: grpc\n";
    let checksum = annotated("knative.dev/example-checksum").replace(": x", ": de255271");
    for (name, metadata, rest) in [
        ("config-features", checksum.as_str(), example),
        ("config-observability", &checksum, example),
        ("config-observability", "", example),
        (
            "config-features",
            "",
            "data: {_example: 'transport-encryption: disabled | permissive | strict'}",
        ),
        (
            "config-features",
            "  labels: {istio: a, app.kubernetes.io/name: knative-eventing}\n",
            "data: {istio: enabled}",
        ),
        (
            "config-features",
            &annotated("transport-encryption"),
            "data: {transport-encryption: disabled}",
        ),
        ("mine", &annotated("transport-encryption"), "data: {a: b}"),
    ] {
        good(&system_config_map(name, metadata, rest));
    }
}

/// An object, beside a Channel.
fn object(version: &str, kind: &str, (namespace, name): (&str, &str), rest: &str) -> String {
    format!(
        "apiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\n{rest}\n---\n\
         apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {{name: c}}\n"
    )
}

/// Flags of `config-features` in what is no ConfigMap.
#[test]
fn of_config_features_of_other_kinds() {
    let system = "knative-eventing";
    let rule = "holds flags of config-features, which count in a ConfigMap of v1 only";
    for (version, kind, name, namespace, rest, right) in [
        (
            "v1",
            "Secret",
            "config-features",
            system,
            "stringData: {transport-encryption: strict}",
            "2: ConfigMap",
        ),
        (
            "v1",
            "Secret",
            "features",
            system,
            "data: {authentication-oidc: ZW5hYmxlZA==}",
            "2: ConfigMap",
        ),
        (
            "v1",
            "CM",
            "config-features",
            "default",
            "data: {transport-encryption: strict}",
            "2: ConfigMap",
        ),
        (
            "v1",
            "ConfigFeatures",
            "mine",
            system,
            "spec: {default-authorization-mode: deny-all}",
            "2: ConfigMap",
        ),
        (
            "core/v1",
            "ConfigMap",
            "config-features",
            system,
            "data: {authentication-oidc: enabled}",
            "1: v1",
        ),
    ] {
        let text = object(version, kind, (namespace, name), rest);
        let (line, right) = right.split_once(": ").expect("a line");
        let field = if right == "v1" { "apiVersion" } else { "kind" };
        let message = format!("{rule}: write {right}, and config-features as its name");
        let line = format!("a.yaml:{line}: {kind} {namespace}/{name}: {field}: {message}");
        assert!(
            lines(&one(&text)).contains(&line),
            "{line}: {:#?}",
            lines(&one(&text))
        );
        let closed = one(&text).table;
        assert_eq!(
            closed.transport_encryption(),
            TransportEncryption::Strict,
            "{text}"
        );
        if !rest.contains("transport-encryption") {
            assert!(closed.channels()[0].authorization.is_some(), "{text}");
        }
        let right = format!(
            "{text}---\n{}",
            features(system, "{transport-encryption: disabled}")
        );
        let told = lines(&one(&right));
        assert!(
            told.iter()
                .any(|line| line.contains(&format!("{field}: warning: {rule}: it is ignored"))),
            "{told:#?}"
        );
        assert_eq!(
            one(&right).table.transport_encryption(),
            TransportEncryption::Disabled,
            "{right}"
        );
    }
    for (kind, name, rest) in [
        ("Secret", "config-features", "stringData: {a: b}"),
        ("CM", "config-features", "data: {a: b}"),
        ("Secret", "config-features", "data:"),
    ] {
        let text = object("v1", kind, (system, name), rest);
        assert_eq!(
            one(&text).table.transport_encryption(),
            TransportEncryption::Disabled,
            "{text}"
        );
    }
    let of_serving = object(
        "v1",
        "Secret",
        ("knative-serving", "config-features"),
        "stringData: {transport-encryption: a}",
    );
    good(&of_serving);
}

/// What Knative's operator would make ConfigMaps of.
#[test]
fn of_configuration_for_the_operator() {
    let system = "knative-eventing";
    let operator = |config: &str| {
        let rest = format!("spec: {{config: {config}}}");
        object(
            "operator.knative.dev/v1beta1",
            "KnativeEventing",
            (system, system),
            &rest,
        )
    };
    for (config, key, name) in [
        (
            "{features: {transport-encryption: strict}}",
            "features",
            "config-features",
        ),
        (
            "{config-features: {transport-encryption: strict}}",
            "config-features",
            "config-features",
        ),
        (
            "{default-ch-webhook: {a: b}}",
            "default-ch-webhook",
            "default-ch-webhook",
        ),
        (
            "{br-default-channel: {a: b}, sugar: {a: b}}",
            "br-default-channel",
            "config-br-default-channel",
        ),
    ] {
        let line = format!(
            "a.yaml:4: KnativeEventing {system}/knative-eventing: spec.config.{key}: warning: is for Knative's operator, and \
             has no effect here: write it as data of the ConfigMap {name} in {system}"
        );
        let told = lines(&one(&operator(config)));
        assert!(told.len() == 2 && told.contains(&line), "{told:#?}");
    }
    let both = format!(
        "{}---\n{}",
        operator("{features: {a: b}}"),
        features(system, "{}")
    );
    assert_eq!(lines(&one(&both)).len(), 1, "{:#?}", lines(&one(&both)));
    let empty = lines(&one(&operator("{features: {}, default-ch-webhook: {}}")));
    assert_eq!(empty.len(), 1, "{empty:#?}");
}

#[test]
fn of_config_features() {
    let text = features("knative-eventing", "{transport-encryption: tls-please}");
    assert_eq!(
        problem(&text),
        "4: ConfigMap knative-eventing/config-features: data.transport-encryption: \"tls-please\" is no mode, and \
         counts as strict until it is: write disabled, permissive or strict"
    );
    assert_eq!(
        one(&text).table.transport_encryption(),
        TransportEncryption::Strict
    );
    for (written, what, line) in [
        ("", "is missing", 3),
        ("\n  namespace: knative-eventng", "is misspelt", 5),
    ] {
        let text = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: config-features{written}\ndata: {{transport-encryption: strict}}"
        );
        let found = problem(&text);
        let namespace = if written.is_empty() {
            "default"
        } else {
            "knative-eventng"
        };
        let rule = "config-features counts in knative-eventing only; write that";
        let rest =
            format!("ConfigMap {namespace}/config-features: metadata.namespace: {what}: {rule}");
        assert_eq!(found, format!("{line}: {rest}"));
        assert_eq!(
            one(&text).table.transport_encryption(),
            TransportEncryption::Strict
        );
        let open = resolve(&ManifestSet::default(), None, &settings());
        let after = resolve(&manifests(&[("a.yaml", &text)]), Some(&open), &settings());
        assert_eq!(
            after.table.transport_encryption(),
            TransportEncryption::Disabled,
            "the mode before stays"
        );
    }
    let settings = ControlSettings {
        transport_encryption: Some(TransportEncryption::Strict),
        ..settings()
    };
    let permissive = manifests(&[(
        "a.yaml",
        &features("knative-eventing", "{transport-encryption: permissive}"),
    )]);
    assert_eq!(
        resolve(&permissive, None, &settings)
            .table
            .transport_encryption(),
        TransportEncryption::Strict
    );
}

/// An object of the system namespace.
fn core(kind: &str, name: &str, rest: &str) -> String {
    format!(
        "apiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: knative-eventing}}\n{rest}"
    )
}

fn assert_all_told(text: &str, messages: &[&str]) {
    let found = lines(&one(text));
    let is_told = |message: &&str| found.iter().any(|line| line.contains(*message));
    assert!(
        found.len() == messages.len() && messages.iter().all(is_told),
        "{text}: {found:#?}"
    );
}

/// One mistake hides no other one, also where nothing of the object counts with it.
#[test]
fn of_config_maps_with_several() {
    let unknown = "is no key that";
    for (text, messages) in [
        (
            core(
                "ConfigMap",
                "config-features",
                "data: {transport_encryption: strict, transport-encryption: x, authentication-oidc: maybe, \
                 requestreply-default-timeout: soon}",
            ),
            &[
                unknown,
                "\"x\" is no mode",
                "\"maybe\" is neither",
                "\"soon\" is not an ISO 8601",
            ][..],
        ),
        (
            core(
                "ConfigMap",
                "config-br-defaults",
                "data: {default-br-confg: x, default-br-config: '{clusterDefault: {delivery: {retry: -1}}}'}",
            ),
            &[unknown, "-1 is negative"],
        ),
        (
            core(
                "ConfigMap",
                "mine",
                "immutble: true\ndata: {channel-template-spec: '{kind: InMemoryChanel}'}",
            ),
            &["did you mean immutable?", "did you mean InMemoryChannel?"],
        ),
        (
            core(
                "ConfigMap",
                "config-logging",
                "data: {zap-loger-config: x, zap-logger-config: '{'}",
            ),
            &[unknown, "warning: is no JSON"],
        ),
        (
            core(
                "ConfigMap",
                "config-observability",
                "data: {tracing_protocol: x, tracing-sampling-rate: '2'}",
            ),
            &[unknown, "warning: \"2\" is no number"],
        ),
        (
            core(
                "ConfigMap",
                "config-imc-backend",
                "data: {default_backend: memory, namespaces: 'a: tape'}",
            ),
            &[unknown, "\"tape\" is no backend"],
        ),
    ] {
        assert_all_told(&text, messages);
    }
}

#[test]
fn of_secrets_and_services_with_several() {
    for (text, messages) in [
        (
            core(
                "Secret",
                "imc-dispatcher-server-tls",
                "typ: x\ndata: {tls.crt: '?'}",
            ),
            &[
                "did you mean type?",
                "data: has no key tls.key",
                "data.tls.crt: is not base64",
            ][..],
        ),
        (
            core(
                "Secret",
                "request-reply-keys",
                "typ: x\ndata: {default.r.key: '?'}",
            ),
            &["did you mean type?", "is not base64: encode the key"],
        ),
        (
            core(
                "Service",
                "s",
                "spec: {type: externalName, externalName: x.example}",
            ),
            &["spec.type: \"externalName\" is no type of a Service: write ClusterIP or"],
        ),
        (
            core(
                "Service",
                "s",
                "spec: {slector: {a: b}, type: ExternalName, externalName: 'http://x'}",
            ),
            &["did you mean selector?", "\"http://x\" is no DNS name"],
        ),
    ] {
        assert_all_told(&text, messages);
    }
}

/// What does not count is told, and looked at all the same.
#[test]
fn of_what_is_overridden() {
    let channel = "apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: c}\nspec:\n  channelTemplate: \
                   {apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, spec: {delivery: {retry: 1}}}\n";
    let warning =
        "warning: does not count, since spec.channelTemplate.spec.delivery replaces it as a whole";
    let told = |text: &str| lines(&one(text));
    let found = told(&format!(
        "{channel}  delivery: {{deadLetterSink: {{uri: 'http://x'}}}}\n"
    ));
    assert!(found.len() == 1 && found[0].contains(warning), "{found:#?}");
    let found = told(&format!(
        "{channel}  delivery: {{retry: -1, backoffDelay: soon, deadLetterSink: {{uri: x}}}}\n"
    ));
    let words = [
        "retry: -1 is negative",
        "\"soon\" is not",
        "deadLetterSink.uri: is relative",
        warning,
    ];
    assert!(
        found.len() == 4
            && words
                .iter()
                .all(|word| found.iter().any(|line| line.contains(word))),
        "{found:#?}"
    );
    let found = problem(&trigger(
        "filters: [{exact: {type: a}}]\n  filter: {attributes: {Type: a}}",
    ));
    assert!(
        found.contains("spec.filter.attributes.Type: \"Type\" is not the name"),
        "{found}"
    );
    let parallel = "apiVersion: flows.knative.dev/v1\nkind: Parallel\nmetadata: {name: p}\nspec:\n  branches: [{subscriber: \
                    {uri: 'http://x'}, reply: {uri: 'http://y'}}]\n  reply: ";
    let unused = "spec.reply: warning: is for branches without a reply of their own, and there is none: remove it";
    assert!(problem(&format!("{parallel}{{uri: 'http://z'}}")).ends_with(unused));
    let found = told(&format!("{parallel}{{}}"));
    assert!(
        found.len() == 2
            && found
                .iter()
                .any(|line| line.contains("names no destination")),
        "{found:#?}"
    );
}

/// Of what makes Pods, the template is read, as strictly as kubectl reads it; what is beside it is
/// free.
#[test]
fn of_templates_of_pods() {
    let with = |version: &str, kind: &str, spec: &str| {
        format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: d}}\nspec: {spec}")
    };
    for (version, kind, spec, line) in [
        (
            "apps/v1",
            "Deployment",
            "{template: {spec: {contaniers: []}}}",
            "spec.template.spec.contaniers: … containers?",
        ),
        (
            "batch/v1",
            "Job",
            "{template: {metadata: {lables: {}}, spec: {containers: [{name: a}]}}}",
            "spec.template.metadata.lables: … labels?",
        ),
        (
            "apps/v1",
            "StatefulSet",
            "{templte: {}}",
            "spec.templte: … template?",
        ),
        (
            "serving.knative.dev/v1",
            "Service",
            "{template: {spec: {containers: [{imgae: x}]}}}",
            "spec.template.spec.containers[0].imgae: … image?",
        ),
    ] {
        let line = line.replace('…', "is not a field that is known here; did you mean");
        assert_eq!(
            problem(&with(version, kind, spec)),
            format!("4: {kind} default/d: {line}")
        );
    }
    good(&with(
        "apps/v1",
        "Deployment",
        "{replica: 1, template: {spec: {containers: [{image: x, env: [{nme: a}]}]}}}",
    ));
    good(&with(
        "serving.knative.dev/v1",
        "Service",
        "{traffic: [], template: {spec: {containerConcurrency: 1, timeoutSeconds: 2, containers: [{image: x}]}}}",
    ));
}

/// What is nearly the name of a ConfigMap that is read, where it would be read. Flags that nobody
/// reads would open.
#[test]
fn of_names_of_config_maps() {
    let config_map = |namespace: &str, name: &str, data: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {namespace}}}\ndata: {data}"
        )
    };
    let system = "knative-eventing";
    for (name, data, severity, meant) in [
        ("features-config", "{a: b}", "warning: ", "config-features"),
        (
            "features-config",
            "{transport-encryption: strict}",
            "",
            "config-features",
        ),
        ("config-feature", "{a: b}", "", "config-features"),
        ("feature-config", "{a: b}", "warning: ", "config-features"),
        ("config-loging", "{a: b}", "warning: ", "config-logging"),
        (
            "observability-config",
            "{a: b}",
            "warning: ",
            "config-observability",
        ),
        (
            "config-br-default",
            "{a: b}",
            "warning: ",
            "config-br-defaults",
        ),
        (
            "default-ch-webhok",
            "{a: b}",
            "warning: ",
            "default-ch-webhook",
        ),
        (
            "config-br-default-channels",
            "{a: b}",
            "warning: ",
            "config-br-default-channel",
        ),
    ] {
        let line = format!(
            "3: ConfigMap {system}/{name}: metadata.name: {severity}is no ConfigMap that is read; did you mean {meant}?"
        );
        assert_eq!(problem(&config_map(system, name, data)), line);
        good(&config_map("default", name, data));
    }
    let closed = one(&config_map(
        system,
        "features-config",
        "{transport-encryption: strict}",
    ));
    assert_eq!(
        closed.table.transport_encryption(),
        TransportEncryption::Strict
    );
    for name in [
        "config-tracing",
        "config-leader-election",
        "config-sugar",
        "config-ping-defaults",
        "config-defaults",
        "my-features",
    ] {
        good(&config_map(system, name, "{a: b}"));
    }
    let other = lines(&one(&config_map(system, "config_features", "{a: b}")));
    assert_eq!(other.len(), 2, "{other:#?}");
    assert!(
        other[0].contains("is not a name of Kubernetes")
            && other[1].ends_with("did you mean config-features?")
    );
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::{Map, Value};
    let words = [
        "exact",
        "prefix",
        "suffix",
        "all",
        "any",
        "not",
        "cesql",
        "type",
        "Exact",
        "",
        "true",
        "type = 'x'",
    ];
    let word = prop::sample::select(words.to_vec()).prop_map(str::to_owned);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        word.clone().prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 24, 3, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec((word.clone(), inner), 0..3)
                .prop_map(|pairs| Value::Object(Map::from_iter(pairs))),
        ]
    })
}

/// Whether a filter has an entry that lets everything pass by itself.
fn has_hole(filter: &Filter) -> bool {
    match filter {
        Filter::MatchAll => true,
        Filter::Attributes(pairs)
        | Filter::Exact(pairs)
        | Filter::Prefix(pairs)
        | Filter::Suffix(pairs) => pairs.is_empty(),
        Filter::All(filters) | Filter::Any(filters) => {
            filters.is_empty() || filters.iter().any(has_hole)
        }
        Filter::Not(filter) => has_hole(filter),
        Filter::Cesql(..) => false,
    }
}

proptest! {
    /// Whatever stands in `filters`: it is understood whole, or the Trigger is not served and the
    /// reason is said (contract G-48).
    #[test]
    fn filters_are_understood_whole_or_closed(filters in prop::collection::vec(any_json(), 1..3)) {
        let resolution = one(&trigger(&format!("filters: {}", serde_json::Value::from(filters))));
        let served = of(&resolution, &broker("b"));
        let errors = resolution.problems.iter().filter(|problem| problem.is_error()).count();
        match &served[..] {
            [] => prop_assert!(errors > 0),
            [trigger] => prop_assert!(errors == 0 && !has_hole(&trigger.filter), "{:?}", trigger.filter),
            _ => prop_assert!(false, "more than one"),
        }
    }
}
