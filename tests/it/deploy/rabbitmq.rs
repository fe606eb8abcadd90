//! The kind `RabbitmqChannel`, and what serves it, by statements of the contract.

use serde_json::{Value, json};

use super::objects::{below, binds, container, keys, list, one, rights, table, text, texts};

const PART: &str = "kubernetes/rabbitmq-channel";
const DISPATCHER: &str = "sealpost-rabbitmq-dispatcher";
const CONTROLLER: &str = "sealpost-rabbitmq-controller";

fn definition() -> Value {
    one(
        PART,
        "CustomResourceDefinition",
        "rabbitmqchannels.messaging.knative.dev",
    )
}

/// Contract 11.6: what upstream's controllers and conformance tests look for.
#[test]
fn the_kind_is_a_channel() {
    let definition = definition();
    for label in [
        "messaging.knative.dev/subscribable",
        "duck.knative.dev/addressable",
        "knative.dev/crd-install",
    ] {
        assert_eq!(definition["metadata"]["labels"][label], "true", "{label}");
    }
    let spec = &definition["spec"];
    assert_eq!(spec["group"], "messaging.knative.dev");
    assert_eq!(spec["scope"], "Namespaced");
    let names = &spec["names"];
    let kind = text(&names["kind"]);
    assert_eq!(kind, "RabbitmqChannel");
    assert_eq!(
        text(&names["plural"]),
        format!("{}s", kind.to_lowercase()),
        "controllers guess it"
    );
    assert_eq!(
        definition["metadata"]["name"],
        format!("{}.messaging.knative.dev", text(&names["plural"]))
    );
    assert_eq!(text(&names["singular"]), kind.to_lowercase());
    assert_eq!(text(&names["listKind"]), format!("{kind}List"));
    assert!(texts(&names["categories"]).contains(&"channel"));
    assert_eq!(list(&spec["versions"]).len(), 1);
    let version = &spec["versions"][0];
    assert_eq!(version["name"], "v1alpha1");
    assert_eq!(
        (&version["served"], &version["storage"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(version["subresources"], json!({"status": {}}));
}

#[test]
fn kubectl_shows_what_matters() {
    let version = &definition()["spec"]["versions"][0];
    let columns: Vec<(&str, &str)> = list(&version["additionalPrinterColumns"])
        .iter()
        .map(|column| (text(&column["name"]), text(&column["jsonPath"])))
        .collect();
    let expected = [
        ("Ready", ".status.conditions[?(@.type==\"Ready\")].status"),
        ("Reason", ".status.conditions[?(@.type==\"Ready\")].reason"),
        ("URL", ".status.address.url"),
        ("Age", ".metadata.creationTimestamp"),
    ];
    assert_eq!(columns, expected);
}

/// Every field of a schema with its type, as `a.b[].c type`.
fn fields(path: &str, schema: &Value, found: &mut Vec<String>) {
    let kind = text(&schema["type"]);
    if kind == "array" {
        return fields(&format!("{path}[]"), &schema["items"], found);
    }
    let open = if schema["x-kubernetes-preserve-unknown-fields"] == true {
        " open"
    } else {
        ""
    };
    found.push(format!("{path} {kind}{open}"));
    for key in keys(&schema["properties"]) {
        fields(&format!("{path}.{key}"), &schema["properties"][key], found);
    }
}

/// Contract 2.2, 2.3, 2.4, 11.6: what is not in the schema is pruned before anybody sees it.
#[test]
fn the_schema_keeps_what_knative_writes() {
    let definition = definition();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    let mut found = Vec::new();
    fields("spec", &schema["spec"], &mut found);
    fields("status", &schema["status"], &mut found);
    let delivery = |path: &str| {
        let texts = [
            "backoffDelay",
            "backoffPolicy",
            "format",
            "retryAfterMax",
            "timeout",
        ]
        .map(|one| format!("{one} string"));
        let sink = [
            "CACerts",
            "audience",
            "uri",
            "ref.apiVersion",
            "ref.kind",
            "ref.name",
            "ref.namespace",
        ];
        let sink = sink.map(|one| format!("deadLetterSink.{one} string"));
        let objects = [
            "retry integer",
            "deadLetterSink object",
            "deadLetterSink.ref object",
        ]
        .map(str::to_owned);
        let all = texts
            .into_iter()
            .chain(sink)
            .chain(objects)
            .map(|one| format!("{path}.{one}"));
        all.chain([format!("{path} object open")])
            .collect::<Vec<String>>()
    };
    let address = |path: &str| {
        let fields =
            ["CACerts", "audience", "name", "url"].map(|one| format!("{path}.{one} string"));
        fields
            .into_iter()
            .chain([format!("{path} object")])
            .collect::<Vec<String>>()
    };
    let auth = |path: &str| {
        let fields = [
            " object",
            ".serviceAccountName string",
            ".serviceAccountNames[] string",
        ];
        fields.map(|one| format!("{path}.auth{one}"))
    };
    let texts = |path: &str, names: &str| {
        names
            .split(' ')
            .map(|name| format!("{path}.{name} string"))
            .collect::<Vec<String>>()
    };
    let subscribers = "name namespace uid subscriberUri subscriberCACerts subscriberAudience replyUri replyCACerts replyAudience";
    let mut expected: Vec<String> = [
        vec!["spec object".to_owned(), "status object".to_owned()],
        delivery("spec.delivery"),
        vec![
            "spec.subscribers[] object open".to_owned(),
            "spec.subscribers[].generation integer".to_owned(),
        ],
        texts("spec.subscribers[]", subscribers),
        delivery("spec.subscribers[].delivery"),
        auth("spec.subscribers[]").to_vec(),
        vec![
            "status.observedGeneration integer".to_owned(),
            "status.annotations object open".to_owned(),
        ],
        vec!["status.conditions[] object".to_owned()],
        texts(
            "status.conditions[]",
            "type status severity reason message lastTransitionTime",
        ),
        address("status.address"),
        address("status.addresses[]"),
        texts(
            "status",
            "deadLetterSinkUri deadLetterSinkCACerts deadLetterSinkAudience",
        ),
        vec!["status.policies[] object".to_owned()],
        texts("status.policies[]", "apiVersion name"),
        vec![
            "status.subscribers[] object".to_owned(),
            "status.subscribers[].observedGeneration integer".to_owned(),
        ],
        texts("status.subscribers[]", "uid ready message"),
        auth("status.subscribers[]").to_vec(),
    ]
    .concat();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

/// Contract 11.7: aggregated into roles that Knative's own controllers have.
#[test]
fn knative_gets_its_rights_by_aggregation() {
    let (all, read) = (
        "create get list watch update patch delete",
        "get list watch",
    );
    let (kind, status) = (
        "messaging.knative.dev/rabbitmqchannels",
        "messaging.knative.dev/rabbitmqchannels/status",
    );
    let rows = [
        (
            "rabbitmq-channelable-manipulator",
            "duck.knative.dev/channelable",
            vec![(kind, all), (status, all)],
        ),
        (
            "rabbitmq-channel-addressable-resolver",
            "duck.knative.dev/addressable",
            vec![(kind, read), (status, read)],
        ),
        (
            "rabbitmq-channel-subscriber",
            "duck.knative.dev/crossnamespace-subscribable",
            vec![(kind, "knsubscribe")],
        ),
    ];
    for (name, label, expected) in rows {
        let role = one(PART, "ClusterRole", name);
        let labels: Vec<&str> = keys(&role["metadata"]["labels"])
            .into_iter()
            .filter(|key| key.starts_with("duck."))
            .collect();
        assert_eq!(labels, [label]);
        assert_eq!(role["metadata"]["labels"][label], "true");
        assert_eq!(rights(&role), table(&expected), "{name}");
    }
}

/// The table of contract 1A for this kind, and no more. Secrets and ConfigMaps of the system
/// namespace only, and of the Secrets only the certificate.
#[test]
fn rights_of_the_dispatcher() {
    let expected = table(&[
        ("messaging.knative.dev/rabbitmqchannels", "get list watch"),
        ("messaging.knative.dev/rabbitmqchannels/status", "patch"),
        ("eventing.knative.dev/eventpolicies", "get list watch"),
        ("eventing.knative.dev/eventtypes", "get list watch create"),
        ("/events", "create patch"),
    ]);
    assert_eq!(rights(&one(PART, "ClusterRole", DISPATCHER)), expected);
    let own = table(&[
        ("/configmaps", "get list watch"),
        (
            "/secrets=sealpost-rabbitmq-dispatcher-server-tls",
            "get list watch",
        ),
        ("coordination.k8s.io/leases", "create"),
        (
            "coordination.k8s.io/leases=sealpost-rabbitmq-dispatcher",
            "get update",
        ),
    ]);
    assert_eq!(rights(&one(PART, "Role", DISPATCHER)), own);
    binds(
        PART,
        "ClusterRoleBinding",
        DISPATCHER,
        DISPATCHER,
        DISPATCHER,
    );
    binds(PART, "RoleBinding", DISPATCHER, DISPATCHER, DISPATCHER);
}

/// To act as any ServiceAccount is nothing that a dispatcher needs by default: it is asked for by a
/// component, which grants that and no more, and only to the dispatcher.
#[test]
fn tokens_are_a_component() {
    let component = "kubernetes/rabbitmq-channel-tokens";
    let name = "sealpost-rabbitmq-dispatcher-tokens";
    assert_eq!(
        rights(&one(component, "ClusterRole", name)),
        table(&[("/serviceaccounts/token", "create")])
    );
    binds(component, "ClusterRoleBinding", name, name, DISPATCHER);
    let objects = below(component);
    assert_eq!(objects.len(), 3, "a kustomization, a role and its binding");
    assert!(
        objects.iter().any(|object| object.kind() == "Component"),
        "whoever wants it names it"
    );
    let named = |object: &super::objects::Object| {
        object.value.to_string().contains("rabbitmq-channel-tokens")
    };
    assert!(
        !below("kubernetes").iter().any(named),
        "nothing includes it"
    );
}

/// Contract 11.8: what imc-controller does for InMemoryChannels. It starts no pods, and sees no
/// Secret but one.
#[test]
fn rights_of_the_controller() {
    let expected = table(&[
        (
            "messaging.knative.dev/rabbitmqchannels",
            "get list watch patch",
        ),
        ("messaging.knative.dev/rabbitmqchannels/status", "patch"),
        (
            "messaging.knative.dev/rabbitmqchannels/finalizers",
            "update",
        ),
        ("/services", "get list watch create patch"),
        ("eventing.knative.dev/eventpolicies", "get list watch"),
    ]);
    assert_eq!(rights(&one(PART, "ClusterRole", CONTROLLER)), expected);
    let own = table(&[
        ("/configmaps", "get list watch"),
        (
            "/secrets=sealpost-rabbitmq-dispatcher-server-tls",
            "get list watch",
        ),
        ("discovery.k8s.io/endpointslices", "get list watch"),
        ("coordination.k8s.io/leases", "create"),
        (
            "coordination.k8s.io/leases=sealpost-rabbitmq-controller",
            "get update",
        ),
    ]);
    assert_eq!(rights(&one(PART, "Role", CONTROLLER)), own);
    binds(
        PART,
        "ClusterRoleBinding",
        CONTROLLER,
        CONTROLLER,
        CONTROLLER,
    );
    binds(PART, "RoleBinding", CONTROLLER, CONTROLLER, CONTROLLER);
    binds(
        PART,
        "ClusterRoleBinding",
        "sealpost-rabbitmq-controller-resolver",
        "addressable-resolver",
        CONTROLLER,
    );
}

/// The same ports as upstream's dispatcher (contract 1.7, 1.13), under names that are nobody
/// else's.
#[test]
fn the_service_leads_to_the_dispatcher() {
    let service = one(PART, "Service", DISPATCHER);
    let deployment = one(PART, "Deployment", DISPATCHER);
    assert_eq!(
        service["spec"]["selector"],
        deployment["spec"]["selector"]["matchLabels"]
    );
    let ports: Vec<(&str, u64, u64)> = list(&service["spec"]["ports"])
        .iter()
        .map(|port| {
            let number = |key: &str| port[key].as_u64().expect("a number");
            (text(&port["name"]), number("port"), number("targetPort"))
        })
        .collect();
    assert_eq!(
        ports,
        [
            ("http-dispatcher", 80, 8080),
            ("https-dispatcher", 443, 8443),
            ("http-metrics", 9090, 9090)
        ]
    );
    let offered: Vec<u64> = list(&container(&deployment)["ports"])
        .iter()
        .map(|port| port["containerPort"].as_u64().expect("a number"))
        .collect();
    assert_eq!(offered, [8080, 8443, 9090]);
}

/// A pod is restarted for its own sake only: what asks for that, or waits for the start, asks for
/// the process. Traffic comes to what serves channels, and so hangs on RabbitMQ.
#[test]
fn liveness_hangs_on_no_backend() {
    for name in [DISPATCHER, CONTROLLER] {
        let deployment = one(PART, "Deployment", name);
        let container = container(&deployment);
        for (probe, path) in [
            ("startupProbe", "/healthz"),
            ("livenessProbe", "/healthz"),
            ("readinessProbe", "/readyz"),
        ] {
            let expected = json!({"path": path, "port": 9090, "scheme": "HTTP"});
            assert_eq!(container[probe]["httpGet"], expected, "{name}: {probe}");
        }
        let start = &container["startupProbe"];
        let seconds = |key: &str| start[key].as_u64().expect("a number");
        assert!(
            seconds("periodSeconds") * seconds("failureThreshold") >= 60,
            "{name}: a slow start is no failure"
        );
    }
}

/// Which process is what; where the password comes from; that events' memory is within the limit.
#[test]
fn the_deployments_know_their_part() {
    let env = |name: &str| list(&container(&one(PART, "Deployment", name))["env"]).to_vec();
    let value =
        |name: &str, variable: &str| env(name).into_iter().find(|one| one["name"] == variable);
    assert_eq!(
        value(CONTROLLER, "SEALPOST_ROLE").expect("set")["value"],
        "controller"
    );
    assert_eq!(
        value(DISPATCHER, "SEALPOST_CHANNEL_KIND").expect("set")["value"],
        "RabbitmqChannel"
    );
    assert!(
        value(CONTROLLER, "SEALPOST_RABBITMQ_URI").is_none(),
        "it never speaks to RabbitMQ"
    );
    let uri = value(DISPATCHER, "SEALPOST_RABBITMQ_URI").expect("set");
    assert_eq!(
        uri["valueFrom"]["secretKeyRef"],
        json!({"name": "sealpost-rabbitmq", "key": "uri"}),
        "11.2"
    );
    for (variable, file) in [("USERNAME", "username"), ("PASSWORD", "password")] {
        let found = value(DISPATCHER, &format!("SEALPOST_RABBITMQ_{variable}_FILE")).expect("set");
        assert_eq!(found["value"], format!("/etc/sealpost/rabbitmq/{file}"));
    }
    for name in [DISPATCHER, CONTROLLER] {
        for variable in [
            "SYSTEM_NAMESPACE",
            "POD_NAME",
            "CONTAINER_NAME",
            "CONFIG_LOGGING_NAME",
            "CONFIG_OBSERVABILITY_NAME",
        ] {
            assert!(value(name, variable).is_some(), "{name}: {variable}");
        }
        let deployment = one(PART, "Deployment", name);
        let resources = &container(&deployment)["resources"];
        assert!(
            resources["requests"]["cpu"].is_string() && resources["limits"]["memory"].is_string(),
            "{name}"
        );
        assert!(
            resources["limits"].get("cpu").is_none(),
            "{name}: a limit of CPU time stops it in the middle of events"
        );
    }
    assert_eq!(one(PART, "Deployment", DISPATCHER)["spec"]["replicas"], 2);
    assert!(
        below(PART)
            .iter()
            .all(|object| !object.kind().contains("Webhook")),
        "none is served"
    );
}
