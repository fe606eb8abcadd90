//! CACerts, trust bundles and TLS Secrets, with certificates that the tests make.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use time::OffsetDateTime;

use super::*;

/// Validity in days from now.
struct Made {
    pem: String,
    key: String,
}

fn made(name: &str, is_ca: IsCa, days: std::ops::Range<i64>) -> Made {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = is_ca;
    let day = |days: i64| OffsetDateTime::from_unix_timestamp(NOW + days * 86_400).expect("time");
    (params.not_before, params.not_after) = (day(days.start), day(days.end));
    let key = KeyPair::generate().expect("key");
    Made {
        pem: params.self_signed(&key).expect("certificate").pem(),
        key: key.serialize_pem(),
    }
}

fn ca(name: &str) -> String {
    made(name, IsCa::Ca(BasicConstraints::Unconstrained), -1..1).pem
}

fn ca_valid(name: &str, days: std::ops::Range<i64>) -> String {
    made(name, IsCa::Ca(BasicConstraints::Unconstrained), days).pem
}

/// A text as a block scalar, each line after these blanks.
fn indented(text: &str, blanks: &str) -> String {
    text.lines()
        .map(|line| format!("{blanks}{line}\n"))
        .collect()
}

fn with_ca_certs(uri: &str, scalar: &str) -> String {
    format!(
        "{CHANNEL}{}",
        subscription(&format!("\n    uri: {uri}\n    CACerts: {scalar}"))
    )
}

/// The problem with this YAML value of CACerts, without its place.
fn problem(scalar: &str) -> String {
    let resolution = one(&with_ca_certs("https://x", scalar));
    let [line] = &lines(&resolution)[..] else {
        panic!("not one problem: {:#?}", lines(&resolution))
    };
    let message = line
        .strip_prefix("a.yaml:12: Subscription default/s: spec.subscriber.CACerts: ")
        .expect(line);
    assert_eq!(
        of(&resolution, &channel("c")).len(),
        1,
        "it is served, so that its events fail: {message}"
    );
    message.to_owned()
}

#[test]
fn ca_certs_that_are_none() {
    let pem = ca("root");
    let block = |text: &str| format!("|\n{}", indented(text, "      "));
    let key = made("x", IsCa::NoCa, -1..1).key;
    let public = KeyPair::from_pem(&key).expect("a key").public_key_pem();
    let uneven = pem.lines().enumerate().map(|(index, line)| {
        if index == 3 {
            format!("  {line}\n")
        } else {
            format!("{line}\n")
        }
    });
    let second = format!("{pem}   {}", pem.replace('\n', "\n   "));
    for (scalar, start) in [
        ("' '".to_owned(), "holds no PEM certificate"),
        ("garbage".to_owned(), "holds no PEM certificate"),
        (block(&key), "holds a private key instead of a certificate"),
        (
            block(&public),
            "holds a public key instead of a certificate",
        ),
        (
            block(&(pem.clone() + &key)),
            "warning: holds a private key beside the certificates, which does not count: take it out, and make its owner",
        ),
        (
            block(&(public.clone() + &pem)),
            "warning: holds a public key beside the certificates",
        ),
        (
            block(&pem.replace("MII", "!!!")),
            "certificate 1 does not decode",
        ),
        (
            block(pem.split_once("-----END").expect("end").0),
            "certificate 1 does not decode",
        ),
        (
            format!(">\n{}", indented(&pem, "      ")),
            "is a certificate folded into one line: write `CACerts: |`",
        ),
        (
            pem.trim().replace('\n', " "),
            "is a certificate folded into one line: write `CACerts: |`",
        ),
        (
            format!("'{}'", pem.trim().replace('\n', "\\n")),
            "contains \\n as text: write `CACerts: |`",
        ),
        (
            format!("|1\n{}", indented(&pem, "      ")),
            "is indented unevenly: line 1 of it begins with blanks",
        ),
        (BASE64_STANDARD.encode(&pem), "is base64 of PEM: decode it"),
        (
            "/etc/ssl/ca.crt".to_owned(),
            "is the name of a file: write the content",
        ),
        (
            block(&second),
            "holds a certificate that does not count: indent line",
        ),
        (
            block(&ca_valid("old", -9..-2)),
            "CN=old expired on 2026-06-18: replace it",
        ),
        (
            block(&ca_valid("young", 3..9)),
            "CN=young is not valid before 2026-06-23: replace it",
        ),
        (
            block(&(ca_valid("old", -9..-2) + &pem)),
            "warning: CN=old expired on 2026-06-18: replace it",
        ),
        (
            block(&made("leaf", IsCa::NoCa, -1..1).pem),
            "note: CN=leaf is not the certificate of a CA",
        ),
    ] {
        let message = problem(&scalar);
        assert!(message.starts_with(start), "{message}\n{scalar}");
        assert!(!message.contains("MII"), "{message}");
    }
    // One line that is indented further still decodes, as it does for others.
    let uneven: String = uneven.collect();
    assert_eq!(
        lines(&one(&with_ca_certs("https://x", &block(&uneven)))),
        [""; 0]
    );
}

#[test]
fn ca_certs_without_tls_are_a_warning() {
    let text = with_ca_certs(
        "http://x",
        &format!("|\n{}", indented(&ca("root"), "      ")),
    );
    let resolution = one(&text);
    assert_eq!(
        lines(&resolution),
        [
            "a.yaml:12: Subscription default/s: spec.subscriber.CACerts: warning: is not used, since the destination \
          http://x/ is reached without TLS"
        ]
    );
    assert!(
        only(&resolution)
            .subscriber
            .as_ref()
            .expect("subscriber")
            .trust
            .certificates()
            .is_empty()
    );
    let typo = text.replace("CACerts", "CAcerts");
    assert!(lines(&one(&typo))[0].ends_with(
        "spec.subscriber.CAcerts: is not a field that is known here; did you mean CACerts?"
    ));
}

/// Contract TL-9: CACerts make https out of a reference to a Service.
#[test]
fn ca_certs_turn_a_service_to_https() {
    let root = ca("root");
    let subscriber = format!(
        "\n    ref: {{apiVersion: v1, kind: Service, name: sink}}\n    uri: /secure\n    CACerts: |\n{}",
        indented(&root, "      ")
    );
    let (found, problems) = destination(&subscriber, &service("sink", ""), &settings());
    assert_eq!(problems, [""; 0]);
    let found = found.expect("destination");
    assert_eq!(
        found.url.as_str(),
        "https://sink.default.svc.cluster.local/secure"
    );
    assert_eq!(found.trust.certificates()[0].subject, "CN=root");
}

fn bundle(namespace: &str, label: &str, data: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: bundle\n  namespace: {namespace}\n  \
         labels: {{networking.knative.dev/trust-bundle: {label}}}\n{data}\n"
    )
}

/// Contract 3.9, 3.10.
#[test]
fn trust_bundles_join_the_trust_of_every_https_destination() {
    let (a, b, own) = (ca("a"), ca("b"), ca("own"));
    let data = format!(
        "data:\n  a.pem: |\n{}  readme: no certificate\nbinaryData:\n  b.pem: {}\n  c.p12: MIIBAgMEBQY=\n  d.jks: '*'\n",
        indented(&a, "    "),
        BASE64_STANDARD.encode(&b)
    );
    let text = format!(
        "{}---\n{}{}",
        with_ca_certs("https://x", &format!("|\n{}", indented(&own, "      "))),
        subscription("{uri: 'https://y'}")
            .trim_start_matches("---\n")
            .replace("name: s}", "name: s2}"),
        subscription("{uri: 'http://z'}").replace("name: s}", "name: s3}")
    );
    let subjects = |resolution: &Resolution| -> Vec<Vec<String>> {
        let of_one = |s: &Arc<Subscription>| {
            let trust = &s.subscriber.as_ref().expect("subscriber").trust;
            let mut subjects: Vec<_> = trust
                .certificates()
                .iter()
                .map(|c| c.subject.clone())
                .collect();
            subjects.sort();
            subjects
        };
        of(resolution, &channel("c")).iter().map(of_one).collect()
    };
    let resolution = good(&format!(
        "{text}{}",
        bundle("knative-eventing", "'true'", &data)
    ));
    assert_eq!(
        subjects(&resolution),
        [vec!["CN=a", "CN=b", "CN=own"], vec!["CN=a", "CN=b"], vec![]]
    );
    for (namespace, label, notes) in [("default", "'true'", 1), ("knative-eventing", "'yes'", 1)] {
        let resolution = one(&format!("{text}{}", bundle(namespace, label, &data)));
        assert_eq!(subjects(&resolution), [vec!["CN=own"], vec![], vec![]]);
        assert_eq!(
            resolution.problems.len(),
            notes,
            "{:#?}",
            lines(&resolution)
        );
    }
}

const TRUST_LABEL: &str = "networking.knative.dev/trust-bundle";
const IN_SYSTEM: &str = "  namespace: knative-eventing\n";
const IN_DEFAULT: &str = "  namespace: default\n";

/// A Secret, beside a channel.
fn named_secret(name: &str, namespace: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}{namespace}}}\nstringData: {{a: b}}\n---\n{CHANNEL}"
    )
}

/// A trust bundle with this label, beside a channel.
fn labelled_bundle(namespace: &str, label: &str) -> String {
    let certificates = format!("data:\n  ca.pem: |\n{}", indented(&ca("a"), "    "));
    let text = bundle("NAMESPACE", "'true'", &certificates).replace(TRUST_LABEL, label);
    format!(
        "{CHANNEL}{}",
        text.replace("  namespace: NAMESPACE\n", namespace)
    )
}

fn is_of_namespace(what: &str, name: &str) -> String {
    format!(
        "metadata.namespace: warning: is {what}: {name} counts in knative-eventing only; write that"
    )
}

fn assert_only_line(text: &str, said: &str) {
    let found = lines(&one(text));
    assert!(
        found.len() == 1 && found[0].ends_with(said),
        "{text}: {found:#?}"
    );
}

/// Keys that are kept beside those that are read have a version in their name.
#[test]
fn a_version_behind_the_name_of_a_secret_is_meant() {
    let secret = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: knative-eventing}}\nstringData: {{a: b}}\n"
        )
    };
    good(&secret("request-reply-keys-v1"));
    for name in ["request-reply-keys-x", "request-reply-keysv1"] {
        assert_eq!(lines(&one(&secret(name))).len(), 1, "{name}");
    }
}

/// What is nearly a Secret that is read is told, as nearly a ConfigMap. Those of others, and of
/// other roles, are left alone.
#[test]
fn secrets_that_are_nearly_read_are_told() {
    let (system, near) = (
        ", namespace: knative-eventing",
        ", namespace: knative-evnting",
    );
    let name = |meant: &str| {
        format!("metadata.name: warning: is no Secret that is read; did you mean {meant}?")
    };
    for (text, said) in [
        (
            named_secret("imc-dispatcher-server-tl", system),
            name("imc-dispatcher-server-tls"),
        ),
        (
            named_secret("imc-dispatcher-tls-server", system),
            name("imc-dispatcher-server-tls"),
        ),
        (
            named_secret("request-reply-key", ""),
            name("request-reply-keys"),
        ),
        (
            named_secret("imc-dispatcher-server-tls", ""),
            is_of_namespace("missing", "imc-dispatcher-server-tls"),
        ),
        (
            named_secret("request-reply-keys", near),
            is_of_namespace("misspelt", "request-reply-keys"),
        ),
        (
            named_secret("mt-broker-ingress-server-tls", near),
            is_of_namespace("misspelt", "mt-broker-ingress-server-tls"),
        ),
    ] {
        assert_only_line(&text, &said);
    }
    for text in [
        named_secret("imc-dispatcher-server-tls", ", namespace: orders"),
        named_secret("imc-dispatcher-server-tl", ", namespace: orders"),
        named_secret("mt-broker-filter-server-tls", system),
        named_secret("database", system),
    ] {
        assert_eq!(lines(&one(&text)), [""; 0], "{text}");
    }
}

/// What is nearly a trust bundle is told, too; a copy that Knative makes of a bundle is a note.
#[test]
fn bundles_that_nearly_count_are_told() {
    let no_label = |label: &str| {
        format!(
            "metadata.labels.{label}: warning: is no label that counts, and this is no trust bundle; did you mean networking.knative.dev/trust-bundle?"
        )
    };
    for (text, said) in [
        (
            labelled_bundle(IN_SYSTEM, "networking.knative.dev/trust-bundel"),
            no_label("networking.knative.dev/trust-bundel"),
        ),
        (
            labelled_bundle(IN_DEFAULT, "networking.knative.dev/trust-bundel"),
            no_label("networking.knative.dev/trust-bundel"),
        ),
        (
            labelled_bundle(IN_SYSTEM, "knative.dev/trust-bundle"),
            no_label("knative.dev/trust-bundle"),
        ),
        (
            labelled_bundle("", "trust-bundles"),
            no_label("trust-bundles"),
        ),
        (
            labelled_bundle("", TRUST_LABEL),
            is_of_namespace("missing", "a trust bundle"),
        ),
        (
            labelled_bundle("  namespace: knativeeventing\n", TRUST_LABEL),
            is_of_namespace("misspelt", "a trust bundle"),
        ),
        (
            labelled_bundle(IN_SYSTEM, TRUST_LABEL).replace("labels:", "annotations:"),
            format!(
                "metadata.annotations.{TRUST_LABEL}: warning: is a label, and counts as that only: write it below metadata.labels"
            ),
        ),
    ] {
        assert_only_line(&text, &said);
    }
    for text in [
        labelled_bundle(IN_DEFAULT, "example.com/trust-bundle"),
        labelled_bundle(IN_SYSTEM, "app"),
    ] {
        assert_eq!(lines(&one(&text)), [""; 0], "{text}");
    }
    assert!(
        lines(&one(&labelled_bundle(IN_DEFAULT, TRUST_LABEL)))[0]
            .contains("note: counts in the namespace knative-eventing only")
    );
}

#[test]
fn one_bad_certificate_of_a_bundle_spares_the_others() {
    let data = format!(
        "data:\n  a.pem: |\n{}",
        indented(
            &format!("{}{}", ca("a").replace("MII", "!!!"), ca("b")),
            "    "
        )
    );
    let resolution = one(&format!(
        "{CHANNEL}{}{}",
        subscription("{uri: 'https://y'}"),
        bundle("knative-eventing", "'true'", &data)
    ));
    assert_eq!(
        only(&resolution)
            .subscriber
            .as_ref()
            .expect("subscriber")
            .trust
            .certificates()[0]
            .subject,
        "CN=b"
    );
    assert!(
        lines(&resolution)[0].contains("data.a.pem: warning: certificate 1 is skipped"),
        "{:#?}",
        lines(&resolution)
    );
}

/// What stands beside a certificate does not keep it from counting, and a bundle without any is
/// told.
#[test]
fn bundles_say_what_does_not_count() {
    let key = made("x", IsCa::NoCa, -1..1).key;
    let said = |label: &str, data: &str| {
        lines(&one(&format!(
            "{CHANNEL}{}",
            bundle("knative-eventing", label, data)
        )))
    };
    let block = |key: &str, text: &str| format!("data:\n  {key}: |\n{}", indented(text, "    "));
    let mixed = block("a.pem", &format!("{key}{}", ca("a")));
    assert!(
        said("'true'", &mixed)[0]
            .contains("data.a.pem: warning: holds a private key beside the certificates")
    );
    let text = format!(
        "{CHANNEL}{}{}",
        subscription("{uri: 'https://y'}"),
        bundle("knative-eventing", "'true'", &mixed)
    );
    assert_eq!(
        only(&one(&text))
            .subscriber
            .as_ref()
            .expect("subscriber")
            .trust
            .certificates()[0]
            .subject,
        "CN=a"
    );
    let pem = ca("a");
    let der = rustls_pemfile::certs(&mut pem.as_bytes())
        .next()
        .expect("one")
        .expect("a certificate");
    for (data, words) in [
        (
            block("a.pem", &BASE64_STANDARD.encode(ca("a"))),
            "data.a.pem: warning: is base64 of PEM",
        ),
        (
            block("a.pem", &BASE64_STANDARD.encode(&der)),
            "data.a.pem: warning: holds a certificate in DER",
        ),
        (
            format!("binaryData:\n  a.der: {}", BASE64_STANDARD.encode(&der)),
            "binaryData.a.der: warning: holds a certificate in DER",
        ),
        (
            block("a.pem", &key),
            "data.a.pem: warning: holds a private key instead",
        ),
        (
            block("note", "nothing yet"),
            "data.note: warning: holds no PEM certificate",
        ),
    ] {
        let said = said("'true'", &data);
        assert!(
            said.len() == 1
                && said[0].contains(words)
                && said[0].contains("nothing more is trusted"),
            "{said:#?}"
        );
    }
    assert_eq!(said("'true'", "data: {}"), [""; 0]);
    assert_eq!(said("'false'", &mixed), [""; 0]);
    for label in ["'True'", "'yes'", "''"] {
        let said = said(label, &mixed);
        assert!(
            label == "''" || said[0].contains("warning: must be \"true\", in lower case"),
            "{said:#?}"
        );
    }
}

#[test]
fn equal_trust_is_one_value_even_across_resolutions() {
    let root = ca("root");
    let twice = format!("{root}# the same twice\n{root}");
    let text = |first: &str| {
        let second = subscription(&format!(
            "\n    uri: https://y\n    CACerts: |\n{}",
            indented(&twice, "      ")
        ));
        let first = with_ca_certs(first, &format!("|\n{}", indented(&root, "      ")));
        format!("{first}{}", second.replace("name: s}", "name: s2}"))
    };
    let trust = |resolution: &Resolution| -> Vec<_> {
        let subscriptions = of(resolution, &channel("c"));
        subscriptions
            .iter()
            .map(|s| Arc::clone(&s.subscriber.as_ref().expect("subscriber").trust))
            .collect()
    };
    let before = good(&text("https://x"));
    let after = resolve(
        &manifests(&[("a.yaml", &text("https://z"))]),
        Some(&before),
        &settings(),
    );
    let (before, after) = (trust(&before), trust(&after));
    assert!(Arc::ptr_eq(&before[0], &before[1]));
    assert!(Arc::ptr_eq(&before[0], &after[0]));
}

fn secret(name: &str, field: &str, entries: &[(&str, &str)]) -> String {
    let mut text = format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: knative-eventing}}\n{field}:\n"
    );
    for (key, value) in entries {
        text.push_str(&format!("  {key}: |\n{}", indented(value, "    ")));
    }
    text
}

/// Contract 3.11, 3.12, 3.13.
#[test]
fn server_certificates_come_from_secrets_and_stay() {
    let (server, root) = (made("server", IsCa::NoCa, -1..1), ca("root"));
    let plain = [
        ("tls.crt", &*server.pem),
        ("tls.key", &server.key),
        ("ca.crt", &root),
    ];
    let encoded = plain.map(|(key, value)| (key, BASE64_STANDARD.encode(value)));
    let encoded = encoded
        .each_ref()
        .map(|(key, value)| (*key, value.as_str()));
    let first = secret("imc-dispatcher-server-tls", "data", &encoded);
    let resolution = good(&first);
    let certificate = resolution.certificate.clone().expect("certificate");
    assert_eq!(certificate.certificate_chain_pem, server.pem);
    assert_eq!(certificate.private_key_pem, server.key);
    assert_eq!(certificate.ca_pem, Some(root.clone()));
    assert_eq!(
        certificate.origin,
        "Secret knative-eventing/imc-dispatcher-server-tls"
    );
    assert!(
        !format!("{resolution:?}").contains("PRIVATE"),
        "the key is shown"
    );

    let other = made("other", IsCa::NoCa, -1..1);
    let second = secret(
        "mt-broker-ingress-server-tls",
        "stringData",
        &[("tls.crt", &other.pem), ("tls.key", &other.key)],
    );
    assert_eq!(good(&second).certificate.expect("certificate").ca_pem, None);
    assert_eq!(
        good(&format!("{second}{first}")).certificate,
        Some(certificate.clone())
    );

    let bad = secret(
        "imc-dispatcher-server-tls",
        "stringData",
        &[("tls.crt", &server.pem)],
    );
    for text in ["", &bad] {
        let after = resolve(
            &manifests(&[("a.yaml", text)]),
            Some(&resolution),
            &settings(),
        );
        assert_eq!(after.certificate, Some(certificate.clone()));
    }
}

#[test]
fn problems_of_secrets_show_no_values() {
    let server = made("server", IsCa::NoCa, -9..-2);
    let name = "imc-dispatcher-server-tls";
    for (text, field, message) in [
        (
            secret(name, "stringData", &[("tls.crt", &server.pem)]),
            "data",
            "has no key tls.key",
        ),
        (
            secret(name, "data", &[("tls.crt", "*"), ("tls.key", "*")]),
            "data.tls.crt",
            "is not base64",
        ),
        (
            secret(
                name,
                "stringData",
                &[("tls.crt", &server.pem), ("tls.key", "x")],
            ),
            "stringData.tls.key",
            "holds no PEM private key",
        ),
        (
            secret(
                name,
                "stringData",
                &[("tls.crt", &server.key), ("tls.key", &server.key)],
            ),
            "stringData.tls.crt",
            "holds a private key",
        ),
        (
            secret(
                name,
                "stringData",
                &[("tls.crt", &server.pem), ("tls.key", &server.key)],
            ),
            "stringData.tls.crt",
            "the certificate of CN=server expired on 2026-06-18",
        ),
        (
            format!(
                "{}: |\n  {}",
                secret(name, "x", &[]).replace("\nx:\n", "\nstringData"),
                server.key.replace('\n', "\n  ")
            ),
            "stringData",
            "is text, but must be an object",
        ),
    ] {
        let resolution = one(&text);
        let line = lines(&resolution).join("\n");
        let start = format!("Secret knative-eventing/{name}: {field}: {message}");
        assert!(line.contains(&start), "{line}\n{start}");
        assert!(
            !line.contains(server.key.lines().nth(1).expect("key")),
            "{line}"
        );
    }
}
