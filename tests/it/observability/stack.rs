//! The compose file and what it mounts: paths, ports and names agree. Its images are not run here.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{dashboards, directory, list, page, string, yaml};

fn services() -> Vec<(String, Value)> {
    let compose = yaml("compose.yaml");
    let services = compose["services"].as_object().expect("services");
    services
        .iter()
        .map(|(name, service)| (name.clone(), service.clone()))
        .collect()
}

fn service(name: &str) -> Value {
    services()
        .into_iter()
        .find(|(found, _)| found == name)
        .expect("a service")
        .1
}

/// Ports of the host that a service has, each with the service's own.
fn ports(service: &Value) -> Vec<(u16, u16)> {
    let port = |port: &Value| {
        let parts: Vec<&str> = string(port).split(':').collect();
        let [host, outer, inner] = parts[..] else {
            panic!("{port}: host, port and port")
        };
        assert_eq!(host, "127.0.0.1", "{port}");
        (
            outer.parse().expect("a port"),
            inner.parse().expect("a port"),
        )
    };
    list(&service["ports"]).iter().map(port).collect()
}

/// What a service sees of a path beside the compose file.
fn mounted(service: &Value, source: &str) -> Option<String> {
    let volumes = list(&service["volumes"]).iter().map(string);
    let mut targets = volumes.filter_map(|volume| volume.strip_prefix(source)?.strip_prefix(':'));
    targets
        .next()
        .map(|target| target.trim_end_matches(":ro").to_owned())
}

fn port(address: &Value) -> u16 {
    string(address)
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .expect("a port")
}

fn flag(service: &Value, name: &str) -> String {
    let mut flags = list(&service["command"]).iter().map(string);
    let value = flags.find_map(|flag| flag.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("{name}")).to_owned()
}

#[test]
fn images_are_pinned_and_mounts_exist() {
    for (name, service) in services() {
        let (_, tag) = string(&service["image"]).rsplit_once(':').expect("a tag");
        assert!(
            tag.trim_start_matches('v')
                .split('.')
                .filter(|part| part.parse::<u16>().is_ok())
                .count()
                == 3,
            "{name}"
        );
        for volume in list(&service["volumes"])
            .iter()
            .map(string)
            .filter(|volume| volume.starts_with('.'))
        {
            let source = volume.split(':').next().expect("a source");
            assert!(directory().join(source).exists(), "{name}: {source}");
            assert!(volume.ends_with(":ro"), "{name}: {volume}");
        }
        let named = list(&service["depends_on"]).iter().map(string);
        named.for_each(|other| drop(self::service(other)));
    }
}

/// Nothing is open to other machines, and no port is taken twice, least of all one of sealpost's.
#[test]
fn everything_is_on_loopback() {
    let mut taken = BTreeSet::from([8080, 8443, 9090]);
    for (name, service) in services() {
        let own = match service["network_mode"].as_str() {
            None => ports(&service)
                .into_iter()
                .map(|(outer, _)| outer)
                .collect(),
            Some("host") if name == "prometheus" => vec![prometheus_port()],
            Some("host") if name == "grafana" => {
                assert_eq!(service["environment"]["GF_SERVER_HTTP_ADDR"], "127.0.0.1");
                vec![port(&service["environment"]["GF_SERVER_HTTP_PORT"])]
            }
            Some(other) => panic!("{name}: {other}"),
        };
        own.into_iter()
            .for_each(|port| assert!(taken.insert(port), "{name}: {port} is taken"));
    }
}

fn prometheus_port() -> u16 {
    let address = flag(&service("prometheus"), "--web.listen-address");
    address
        .strip_prefix("127.0.0.1:")
        .and_then(|port| port.parse().ok())
        .expect("a port on loopback")
}

/// Prometheus reads its files where they are mounted, sealpost where it listens, and the collector
/// where it is published.
#[test]
fn prometheus_finds_everything() {
    let prometheus = service("prometheus");
    let mount = mounted(&prometheus, "./prometheus").expect("a mount");
    assert_eq!(
        flag(&prometheus, "--config.file"),
        format!("{mount}/prometheus.yaml")
    );
    let config = yaml("prometheus/prometheus.yaml");
    let rules = list(&config["rule_files"]).iter().map(string);
    rules.for_each(|file| assert!(directory().join("prometheus").join(file).exists(), "{file}"));
    let target = |job: &str| {
        let jobs = list(&config["scrape_configs"]).iter();
        let found = jobs
            .filter(|one| one["job_name"] == job)
            .collect::<Vec<_>>();
        string(&found[0]["static_configs"][0]["targets"][0]).to_owned()
    };
    assert!(
        page("CONFIGURATION.md").contains(&format!("| `--admin-addr` | `{}`", target("sealpost")))
    );
    let exporter = port(&yaml("otel-collector.yaml")["exporters"]["prometheus"]["endpoint"]);
    let published = ports(&service("collector"))
        .into_iter()
        .find(|(_, inner)| *inner == exporter)
        .expect("published");
    assert_eq!(target("collector"), format!("127.0.0.1:{}", published.0));
}

/// The collector takes OTLP where docs say, and gives traces to Jaeger; its pipelines name what is
/// defined.
#[test]
fn the_collector_is_whole() {
    let (config, collector) = (yaml("otel-collector.yaml"), service("collector"));
    assert_eq!(
        flag(&collector, "--config"),
        mounted(&collector, "./otel-collector.yaml").expect("a mount")
    );
    for (protocol, expected) in [("grpc", 4317), ("http", 4318)] {
        let own = port(&config["receivers"]["otlp"]["protocols"][protocol]["endpoint"]);
        assert!(ports(&collector).contains(&(expected, own)), "{protocol}");
        assert!(
            page("OBSERVABILITY.md").contains(&format!("localhost:{expected}")),
            "{protocol}"
        );
    }
    let pipelines = config["service"]["pipelines"]
        .as_object()
        .expect("pipelines");
    assert_eq!(
        pipelines
            .keys()
            .map(String::as_str)
            .collect::<BTreeSet<_>>(),
        BTreeSet::from(["metrics", "traces"])
    );
    let mut used = BTreeSet::new();
    for (name, pipeline) in pipelines {
        for part in ["receivers", "processors", "exporters"] {
            assert!(!list(&pipeline[part]).is_empty(), "{name}: {part}");
            for component in list(&pipeline[part]).iter().map(string) {
                assert!(
                    config[part].get(component).is_some(),
                    "{name}: {component} of {part}"
                );
                used.insert(component.to_owned());
            }
        }
    }
    let defined = ["receivers", "processors", "exporters"]
        .iter()
        .flat_map(|part| config[*part].as_object());
    defined
        .flat_map(|part| part.keys())
        .for_each(|name| assert!(used.contains(name), "{name} is not used"));
    let jaeger = string(&config["exporters"]["otlp/jaeger"]["endpoint"]);
    let (host, _) = jaeger.split_once(":4317").expect("Jaeger's port for OTLP");
    assert_eq!(
        service(host)["environment"]["COLLECTOR_OTLP_ENABLED"],
        "true"
    );
}

/// Grafana's datasources are where the services listen, and its dashboards where they are mounted.
#[test]
fn grafana_finds_everything() {
    let grafana = service("grafana");
    assert_eq!(
        mounted(&grafana, "./grafana/provisioning").as_deref(),
        Some("/etc/grafana/provisioning")
    );
    let datasources = yaml("grafana/provisioning/datasources/datasources.yaml");
    let of = |uid: &str| {
        let mut found = list(&datasources["datasources"])
            .iter()
            .filter(|one| one["uid"] == uid && one["type"] == uid);
        found.next().expect("a datasource").clone()
    };
    assert_eq!(
        of("prometheus")["url"],
        format!("http://127.0.0.1:{}", prometheus_port())
    );
    assert_eq!(of("prometheus")["isDefault"], true);
    let interval = &yaml("prometheus/prometheus.yaml")["global"]["scrape_interval"];
    assert_eq!(of("prometheus")["jsonData"]["timeInterval"], *interval);
    let ui = ports(&service("jaeger"))[0];
    assert_eq!(of("jaeger")["url"], format!("http://127.0.0.1:{}", ui.0));
    let provider = &yaml("grafana/provisioning/dashboards/dashboards.yaml")["providers"][0];
    let path = mounted(&grafana, "./grafana").expect("a mount");
    assert_eq!(provider["options"]["path"], path);
    let home = string(&grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]);
    let home = home
        .strip_prefix(&path)
        .and_then(|rest| rest.strip_prefix('/'))
        .expect("below the mount");
    assert!(dashboards::names().contains(home), "{home}");
}
