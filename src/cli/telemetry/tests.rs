//! The settings that flags, variables and the ConfigMap have together.

use clap::Parser;

use super::*;
use crate::cli::{Cli, CliCommand};
use crate::model::ExporterEndpoint;

fn options(arguments: &[&str]) -> RunOptions {
    let cli = Cli::parse_from([&["sealpost", "run", "-f", "x"], arguments].concat());
    let CliCommand::Run(options) = cli.command else {
        panic!("run")
    };
    *options
}

fn settings(
    arguments: &[&str],
    variables: &[(&str, &str)],
    configured: &ObservabilityConfig,
) -> Result<OtlpSettings, String> {
    let variable = |name: &str| {
        variables
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| (*value).to_owned())
    };
    options(arguments).telemetry_settings_from(configured, &variable)
}

fn config_map(protocol: &str, endpoint: &str, rate: Option<f64>) -> ObservabilityConfig {
    let export = ExporterEndpoint {
        protocol: protocol.to_owned(),
        endpoint: endpoint.to_owned(),
    };
    ObservabilityConfig {
        traces: Some(export),
        sampling_rate: rate,
        ..ObservabilityConfig::default()
    }
}

fn traces(
    arguments: &[&str],
    variables: &[(&str, &str)],
    configured: &ObservabilityConfig,
) -> Option<TraceExport> {
    settings(arguments, variables, configured)
        .expect("settings")
        .traces
}

#[test]
fn nothing_leaves_unless_it_is_said_where() {
    let settings = settings(&[], &[], &ObservabilityConfig::default()).expect("settings");
    assert_eq!((settings.traces, settings.metrics), (None, None));
}

/// Contract OB-3, OB-15.
#[test]
fn flags_go_before_variables_and_those_before_the_config_map() {
    let none = ObservabilityConfig::default();
    let flag = ["--tracing-endpoint", "http://flag:4318"];
    let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://own:4318/x");
    let common = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://common:4318/base/");
    let map = config_map("http/protobuf", "map:4318", Some(0.5));
    for (arguments, variables, configured, url) in [
        (
            &flag[..],
            &[own, common][..],
            &map,
            "http://flag:4318/v1/traces",
        ),
        (&[], &[own, common], &map, "http://own:4318/x"),
        (&[], &[common], &map, "http://common:4318/base/v1/traces"),
        (&[], &[], &map, "https://map:4318/v1/traces"),
        (&[], &[common], &none, "http://common:4318/base/v1/traces"),
    ] {
        assert_eq!(
            traces(arguments, variables, configured)
                .expect("traces")
                .endpoint
                .url
                .as_str(),
            url
        );
    }
    let grpc = config_map("grpc", "http://map:4317", None);
    let settings = traces(&[], &[], &grpc).expect("traces");
    assert_eq!(
        (settings.endpoint.url.as_str(), settings.sampler),
        ("http://map:4317/", Sampler::AlwaysOff),
        "contract OB-1"
    );
    for (arguments, variables, sampler) in [
        (
            &["--tracing-sampling-rate", "0.25"][..],
            &[("OTEL_TRACES_SAMPLER", "always_off")][..],
            Sampler::ParentBased(0.25),
        ),
        (
            &[],
            &[
                ("OTEL_TRACES_SAMPLER", "traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", "0.1"),
            ],
            Sampler::TraceIdRatio(0.1),
        ),
        (&[], &[], Sampler::ParentBased(0.5)),
    ] {
        assert_eq!(
            traces(arguments, variables, &map).expect("traces").sampler,
            sampler
        );
    }
    assert_eq!(
        traces(&flag, &[], &none).expect("traces").sampler,
        Sampler::ParentBased(1.0)
    );
    assert_eq!(
        traces(&[], &[common, ("OTEL_TRACES_EXPORTER", "none")], &none),
        None
    );
    assert_eq!(traces(&flag, &[("OTEL_SDK_DISABLED", "true")], &none), None);
}

/// Who names the collector decides what is sent there without a rate, and by which protocol.
#[test]
fn a_collector_and_its_protocol_have_places_of_their_own() {
    let at = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://own:4318");
    let (on, off) = (Sampler::ParentBased(1.0), Sampler::AlwaysOff);
    let (http, grpc) = (OtlpProtocol::HttpProtobuf, OtlpProtocol::Grpc);
    for (variables, protocol, endpoint, wanted) in [
        (&[at][..], "grpc", "", Some((grpc, on))),
        (&[at], "stdout", "", Some((http, on))),
        (&[at], "grpc", "http://map:4317", Some((grpc, on))),
        (&[], "grpc", "http://map:4317", Some((grpc, off))),
        (&[], "", "http://map:4317", None),
        (
            &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
            "",
            "http://map:4317",
            Some((grpc, off)),
        ),
        (&[], "grpc", "", None),
    ] {
        let configured = config_map(protocol, endpoint, None);
        let found = traces(&[], variables, &configured);
        let found = found.map(|found| (found.endpoint.protocol, found.sampler));
        assert_eq!(found, wanted, "{variables:?} {protocol} {endpoint}");
    }
    let flag = ["--tracing-protocol", "http/protobuf"];
    let found = traces(&flag, &[], &config_map("", "http://map:4318", None));
    assert_eq!(found.map(|found| found.endpoint.protocol), Some(http));
}

/// The fields for both signals may hold a secret that is not for the collector of one.
#[test]
fn fields_of_one_signal_replace_those_for_both() {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://both"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=both"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://own"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "api-key=own"),
    ];
    let settings = settings(&[], &variables, &ObservabilityConfig::default()).expect("settings");
    let names = |endpoint: &crate::telemetry::otlp::OtlpEndpoint| {
        let names = endpoint.headers.keys().map(ToString::to_string);
        names.collect::<Vec<_>>()
    };
    assert_eq!(
        (
            names(&settings.traces.expect("traces").endpoint),
            names(&settings.metrics.expect("metrics").endpoint)
        ),
        (vec!["api-key".to_owned()], vec!["authorization".to_owned()])
    );
}

/// What a header holds is a secret: it is sent, and shown nowhere.
#[test]
fn headers_are_secrets() {
    let variables = [
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "http://user:hidden@common:4318/hidden",
        ),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=Basic%20hidden,x-tenant=hidden",
        ),
    ];
    let settings = settings(&[], &variables, &ObservabilityConfig::default()).expect("settings");
    let endpoint = &settings.traces.as_ref().expect("traces").endpoint;
    assert_eq!(
        endpoint.headers.get("authorization").expect("a header"),
        "Basic hidden"
    );
    assert!(!format!("{settings:?}").contains("hidden"), "{settings:?}");
    assert!(!endpoint.origin().contains("hidden"));
}

/// A mistake ends the start, with the name of the variable or flag, and without its text.
#[test]
fn what_cannot_be_used_is_named() {
    let empty = std::env::temp_dir().join(format!("sealpost-no-ca-{}.pem", std::process::id()));
    std::fs::write(&empty, "no certificate").expect("written");
    let empty = empty.display().to_string();
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://secret@x"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://secret@x:99999"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "bad name=secret"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=b,secret"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "Content-Length=3"),
        (
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
            "transfer-encoding=secret",
        ),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/does/not/exist"),
        ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", &empty),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_METRICS_EXPORTER", "otlp,statsd"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-1"),
        ("OTEL_TRACES_EXPORTER", "otlp,console"),
        ("OTEL_SDK_DISABLED", "1"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=b,secret"),
        ("OTEL_RESOURCE_ATTRIBUTES", "=secret"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=secret%zz"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=secret%ff"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=secret%00"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=secret%2"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "grpc-timeout=1n"),
    ] {
        let base = [
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://x"),
            ("OTEL_TRACES_SAMPLER_ARG", "1"),
        ];
        let variables = [&[(name, value)], &base[..]].concat();
        let error = settings(&[], &variables, &ObservabilityConfig::default()).expect_err(name);
        assert!(error.starts_with(name), "{name}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
    let flag = ["--metrics-endpoint", "http://[::1"];
    let error = settings(&flag, &[], &ObservabilityConfig::default()).expect_err("no URL");
    assert!(error.starts_with("--metrics-endpoint: "), "{error}");
    std::fs::remove_file(&empty).expect("removed");
}

/// OpenTelemetry's names are read without regard to case; a timeout of 0 is none.
#[test]
fn variables_as_opentelemetry_reads_them() {
    let none = ObservabilityConfig::default();
    let at = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://x:4317");
    let with = |variables: &[(&str, &str)]| {
        let variables = [&[at], variables].concat();
        settings(&[], &variables, &none).expect("settings")
    };
    let read = with(&[
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "GRPC"),
        ("OTEL_TRACES_SAMPLER", "Always_Off"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=b,"),
        ("OTEL_METRICS_EXPORTER", "Prometheus"),
    ]);
    let traces = read.traces.expect("traces");
    assert_eq!(
        (
            traces.endpoint.protocol,
            traces.sampler,
            traces.endpoint.timeout
        ),
        (
            OtlpProtocol::Grpc,
            Sampler::AlwaysOff,
            Duration::from_secs(600)
        )
    );
    assert_eq!(read.metrics, None, "they are on the admin port");
    let both = with(&[("OTEL_METRICS_EXPORTER", "prometheus, otlp")]);
    assert!(both.metrics.is_some());
    assert_eq!(with(&[("OTEL_TRACES_EXPORTER", "NONE")]).traces, None);
    let console = with(&[("OTEL_TRACES_EXPORTER", "console")]).traces;
    let console = console.expect("traces").endpoint.protocol;
    assert_eq!(console, OtlpProtocol::Stdout);
}

/// Contract OB-5.
#[test]
fn who_sends() {
    let variables = [
        ("OTEL_RESOURCE_ATTRIBUTES", "a=b,service.name=x"),
        ("OTEL_SERVICE_NAME", "y"),
    ];
    let resource = settings(&[], &variables, &ObservabilityConfig::default())
        .expect("settings")
        .resource;
    let of = |key: &str| {
        resource
            .iter()
            .filter(|(known, _)| known.as_str() == key)
            .map(|(_, value)| value.as_str().into_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (of("service.name"), of("a"), of("service.version").len()),
        (vec!["y".to_owned()], vec!["b".to_owned()], 1)
    );
    let again = settings(&[], &variables, &ObservabilityConfig::default())
        .expect("settings")
        .resource;
    assert_eq!(
        (of("service.instance.id").len(), &again),
        (1, &resource),
        "one for the process"
    );
    let variables = [("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=mine")];
    let resource = settings(&[], &variables, &ObservabilityConfig::default())
        .expect("settings")
        .resource;
    let ids = resource
        .iter()
        .filter(|(key, _)| key.as_str() == "service.instance.id")
        .map(|(_, value)| value.as_str());
    assert_eq!(ids.collect::<Vec<_>>(), ["mine"]);
}
