//! The objects that stand in for upstream's, by statements of the contract.

use serde_json::{Value, json};

use super::objects::{below, binds, container, keys, list, one, rights, table, text};

const COMPLETE: &str = "kubernetes/drop-in/complete";

/// What identifies a Deployment of upstream's.
struct Identity {
    deployment: &'static str,
    container: &'static str,
    selector: Value,
    service: &'static str,
    /// Port names of the Service: http, https.
    ports: [&'static str; 2],
    metrics: u16,
}

/// Contract 1.1, 1.2, 1.3, 1.7, 1.13, 5.11, 5.12.
fn identities() -> [Identity; 3] {
    let broker = |deployment, role, service| Identity {
        deployment,
        container: role,
        selector: json!({"eventing.knative.dev/brokerRole": role}),
        service,
        ports: ["http", "https"],
        metrics: 9092,
    };
    let channel = Identity {
        deployment: "imc-dispatcher",
        container: "dispatcher",
        selector: json!({
            "messaging.knative.dev/channel": "in-memory-channel",
            "messaging.knative.dev/role": "dispatcher",
        }),
        service: "imc-dispatcher",
        ports: ["http-dispatcher", "https-dispatcher"],
        metrics: 9090,
    };
    [
        channel,
        broker("mt-broker-ingress", "ingress", "broker-ingress"),
        broker("mt-broker-filter", "filter", "broker-filter"),
    ]
}

/// Contract 1.1, 1.2, 1.3, 1.7, 1.14, 1.20, 5.11, 5.12.
#[test]
fn deployments_are_upstreams() {
    for identity in identities() {
        let deployment = one(COMPLETE, "Deployment", identity.deployment);
        let spec = &deployment["spec"];
        assert_eq!(
            keys(spec),
            ["selector", "template"],
            "no replicas, no strategy"
        );
        assert_eq!(spec["selector"], json!({"matchLabels": identity.selector}));
        assert_eq!(
            spec["template"]["spec"]["serviceAccountName"],
            identity.deployment
        );
        one(COMPLETE, "ServiceAccount", identity.deployment);
        let container = container(&deployment);
        assert_eq!(container["name"], identity.container);
        let port = |name: &str, number: u16| json!({"name": name, "containerPort": number, "protocol": "TCP"});
        let ports = json!([
            port("http", 8080),
            port("https", 8443),
            port("metrics", identity.metrics)
        ]);
        assert_eq!(container["ports"], ports);
        assert_eq!(container["env"][0]["name"], "SYSTEM_NAMESPACE");
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            assert_eq!(
                container[probe]["httpGet"],
                json!({"path": "/healthz", "port": 8080, "scheme": "HTTP"}),
                "1.8"
            );
        }
    }
}

/// Contract 1.5, 5.11, 5.12: exactly these variables, and no other but that of the admin socket.
#[test]
fn variables_are_upstreams() {
    let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
    let logging = [
        ("CONFIG_LOGGING_NAME", json!("config-logging")),
        ("CONFIG_OBSERVABILITY_NAME", json!("config-observability")),
    ];
    let names = [
        ("SYSTEM_NAMESPACE", field("metadata.namespace")),
        ("POD_NAME", field("metadata.name")),
    ];
    let socket = [("SEALPOST_ADMIN_SOCKET", json!("/run/sealpost/admin.sock"))];
    let common: Vec<(&str, Value)> = names.into_iter().chain(logging).chain(socket).collect();
    let channel = [
        ("CONTAINER_NAME", json!("dispatcher")),
        (
            "METRICS_DOMAIN",
            json!("knative.dev/inmemorychannel-dispatcher"),
        ),
        ("MAX_IDLE_CONNS", json!("1000")),
        ("MAX_IDLE_CONNS_PER_HOST", json!("1000")),
    ];
    let broker = |role: &str, http: &'static str, https: &'static str| {
        vec![
            ("CONTAINER_NAME", json!(role)),
            ("METRICS_DOMAIN", json!("knative.dev/internal/eventing")),
            ("NAMESPACE", field("metadata.namespace")),
            (http, json!("8080")),
            (https, json!("8443")),
        ]
    };
    let tables = [
        ("imc-dispatcher", channel.to_vec()),
        (
            "mt-broker-ingress",
            broker("ingress", "INGRESS_PORT", "INGRESS_PORT_HTTPS"),
        ),
        (
            "mt-broker-filter",
            broker("filter", "FILTER_PORT", "FILTER_PORT_HTTPS"),
        ),
    ];
    for (name, own) in tables {
        let deployment = one(COMPLETE, "Deployment", name);
        let mut expected: Vec<(String, Value)> = common
            .iter()
            .cloned()
            .chain(own)
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let value = |one: &Value| {
            one.get("value")
                .or_else(|| one.get("valueFrom"))
                .cloned()
                .unwrap_or_default()
        };
        let mut found: Vec<(String, Value)> = list(&container(&deployment)["env"])
            .iter()
            .map(|variable| (text(&variable["name"]).to_owned(), value(variable)))
            .collect();
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        found.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(found, expected, "{name}");
    }
}

/// Contract 1.13, 5.11, 5.12.
#[test]
fn services_are_upstreams() {
    for identity in identities() {
        let service = one(COMPLETE, "Service", identity.service);
        assert_eq!(service["spec"]["selector"], identity.selector);
        for key in keys(&identity.selector) {
            assert_eq!(
                service["metadata"]["labels"][key], identity.selector[key],
                "a ServiceMonitor finds it"
            );
        }
        let port = |name: &str, from: u16, to: u16| json!({"name": name, "port": from, "targetPort": to, "protocol": "TCP"});
        let [http, https] = identity.ports;
        let metrics = port("http-metrics", identity.metrics, identity.metrics);
        assert_eq!(
            service["spec"]["ports"],
            json!([port(http, 80, 8080), port(https, 443, 8443), metrics])
        );
    }
}

/// Contract 5.13: the HorizontalPodAutoscalers of upstream need requests; contract 1.11:
/// imc-dispatcher has none.
#[test]
fn requests_are_kept() {
    let requests = json!({"requests": {"cpu": "100m", "memory": "100Mi"}});
    for (name, expected) in [
        ("mt-broker-ingress", &requests),
        ("mt-broker-filter", &requests),
        ("imc-dispatcher", &Value::Null),
    ] {
        assert_eq!(
            container(&one(COMPLETE, "Deployment", name))["resources"],
            *expected,
            "{name}"
        );
    }
    assert!(
        below(COMPLETE)
            .iter()
            .all(|object| object.is_kustomization() || object.kind() != "HorizontalPodAutoscaler")
    );
}

/// Contract 1.14, row by row: these rights and no more.
#[test]
fn rights_of_the_dispatcher() {
    let expected = table(&[
        (
            "messaging.knative.dev/inmemorychannels",
            "get list watch patch",
        ),
        (
            "messaging.knative.dev/inmemorychannels/status",
            "get list watch patch",
        ),
        ("messaging.knative.dev/inmemorychannels/finalizers", "patch"),
        ("/configmaps", "get list watch"),
        ("/events", "create patch"),
        ("/serviceaccounts/token", "create"),
        (
            "coordination.k8s.io/leases",
            "get list watch create update patch",
        ),
        ("eventing.knative.dev/eventtypes", "get list watch create"),
        ("eventing.knative.dev/eventpolicies", "get list watch"),
    ]);
    assert_eq!(
        rights(&one(COMPLETE, "ClusterRole", "imc-dispatcher")),
        expected
    );
    let secrets = table(&[("/secrets", "get list watch")]);
    assert_eq!(
        rights(&one(COMPLETE, "Role", "imc-dispatcher-tls-role")),
        secrets
    );
    binds(
        COMPLETE,
        "ClusterRoleBinding",
        "imc-dispatcher",
        "imc-dispatcher",
        "imc-dispatcher",
    );
    binds(
        COMPLETE,
        "RoleBinding",
        "imc-dispatcher-tls-role-binding",
        "imc-dispatcher-tls-role",
        "imc-dispatcher",
    );
}

/// Contract 5.11.
#[test]
fn rights_of_the_ingress() {
    let name = "knative-eventing-mt-broker-ingress";
    let expected = table(&[
        ("eventing.knative.dev/brokers", "get list watch"),
        ("eventing.knative.dev/eventpolicies", "get list watch"),
        ("eventing.knative.dev/eventtypes", "get list watch create"),
        ("/configmaps", "get list watch"),
    ]);
    assert_eq!(rights(&one(COMPLETE, "ClusterRole", name)), expected);
    let own = table(&[
        ("/secrets", "get list watch"),
        ("/serviceaccounts/token=mt-broker-ingress-oidc", "create"),
    ]);
    assert_eq!(rights(&one(COMPLETE, "Role", "mt-broker-ingress")), own);
    binds(
        COMPLETE,
        "ClusterRoleBinding",
        name,
        name,
        "mt-broker-ingress",
    );
    binds(
        COMPLETE,
        "RoleBinding",
        "mt-broker-ingress",
        "mt-broker-ingress",
        "mt-broker-ingress",
    );
    one(COMPLETE, "ServiceAccount", "mt-broker-ingress-oidc");
}

/// Contract 5.12.
#[test]
fn rights_of_the_filter() {
    let name = "knative-eventing-mt-broker-filter";
    let expected = table(&[
        ("eventing.knative.dev/brokers", "get list watch"),
        ("eventing.knative.dev/brokers/status", "get list watch"),
        ("eventing.knative.dev/triggers", "get list watch"),
        ("eventing.knative.dev/triggers/status", "get list watch"),
        ("eventing.knative.dev/eventpolicies", "get list watch"),
        ("eventing.knative.dev/eventtypes", "get list watch create"),
        ("messaging.knative.dev/subscriptions", "get list watch"),
        ("/configmaps", "get list watch"),
        ("/serviceaccounts/token", "create"),
    ]);
    assert_eq!(rights(&one(COMPLETE, "ClusterRole", name)), expected);
    assert_eq!(
        rights(&one(COMPLETE, "Role", "mt-broker-filter")),
        table(&[("/secrets", "get list watch")])
    );
    binds(
        COMPLETE,
        "ClusterRoleBinding",
        name,
        name,
        "mt-broker-filter",
    );
    binds(
        COMPLETE,
        "RoleBinding",
        "mt-broker-filter",
        "mt-broker-filter",
        "mt-broker-filter",
    );
}

/// Contract 1.3: the patches over upstream's Deployments change the image, and nothing else.
#[test]
fn patches_change_the_image_only() {
    let image = concat!("sealpost:", env!("CARGO_PKG_VERSION"));
    let patches = [
        ("imc-dispatcher", "imc-dispatcher/image.yaml", "dispatcher"),
        ("mt-broker-ingress", "mt-broker/ingress.yaml", "ingress"),
        ("mt-broker-filter", "mt-broker/filter.yaml", "filter"),
    ];
    for (name, file, container) in patches {
        let expected = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": "knative-eventing"},
            "spec": {"template": {"spec": {"containers": [{"name": container, "image": image}]}}},
        });
        assert_eq!(
            one(&format!("kubernetes/drop-in/{file}"), "Deployment", name),
            expected
        );
    }
}

/// Contract 11.4: InMemoryChannels on RabbitMQ need a ConfigMap and a connection, and no other
/// right; and a place for the admin socket, for who looks after parked events.
#[test]
fn the_backend_is_a_config_map_and_a_connection() {
    let config = one(
        "kubernetes/backend-config",
        "ConfigMap",
        "config-imc-backend",
    );
    assert_eq!(
        config["data"]["default-backend"], "memory",
        "applying it changes nothing by itself"
    );
    assert_eq!(keys(&config["data"]), ["default-backend", "namespaces"]);
    let patch = one(
        "kubernetes/rabbitmq-backend",
        "Deployment",
        "imc-dispatcher",
    );
    assert_eq!(keys(container(&patch)), ["env", "name", "volumeMounts"]);
    let socket = super::objects::socket_and_credentials();
    assert_eq!(
        (
            &patch["spec"]["template"]["spec"]["volumes"],
            &container(&patch)["volumeMounts"]
        ),
        (&socket.0, &socket.1)
    );
    let own = one(
        "kubernetes/rabbitmq-channel",
        "Deployment",
        "sealpost-rabbitmq-dispatcher",
    );
    for variable in list(&container(&patch)["env"]) {
        assert!(
            list(&container(&own)["env"]).contains(variable),
            "the same Secret as for channels of their own kind"
        );
    }
    assert_eq!(list(&container(&patch)["env"]).len(), 4);
}
