//! Tests of the HTTP binding and the JSON format, by tables and properties.

use super::*;
use crate::event::AttributeType;
use proptest::prelude::*;

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name: HeaderName = name.parse().expect("a header name");
        headers.append(name, HeaderValue::from_str(value).expect("a header value"));
    }
    headers
}

fn binary_event(pairs: &[(&str, &str)]) -> Result<Event, DecodeError> {
    let mut all = vec![
        ("ce-specversion", "1.0"),
        ("ce-id", "i1"),
        ("ce-source", "/s"),
        ("ce-type", "t"),
    ];
    all.retain(|(name, _)| !pairs.iter().any(|(given, _)| given == name));
    all.extend(pairs.iter().filter(|(_, value)| *value != "(absent)"));
    decode(
        headers(&all),
        Bytes::from_static(b"x"),
        AttributeLimit::default(),
    )
    .map(|mut events| events.remove(0))
}

fn structured_event(json: &str) -> Result<Event, DecodeError> {
    let headers = headers(&[(
        "content-type",
        "application/cloudevents+json; charset=utf-8",
    )]);
    decode(
        headers,
        Bytes::copy_from_slice(json.as_bytes()),
        AttributeLimit::default(),
    )
    .map(|mut events| events.remove(0))
}

/// What waits is the same event; small data are copied, large ones are not.
#[test]
fn a_detached_event_is_the_same_event() {
    for (length, is_copied) in [
        (0, true),
        (1024, true),
        (16 * 1024, true),
        (16 * 1024 + 1, false),
    ] {
        let mut headers = headers(&[
            ("ce-specversion", "1.0"),
            ("ce-id", "i"),
            ("ce-source", "/s"),
            ("ce-type", "t"),
            ("ce-note", "caf%C3%A9"),
            ("content-type", "text/plain"),
            ("x-request-id", "x"),
        ]);
        headers
            .get_mut("x-request-id")
            .expect("there")
            .set_sensitive(true);
        let event = decode(
            headers,
            Bytes::from(vec![b'x'; length]),
            AttributeLimit::default(),
        )
        .expect("an event")
        .remove(0);
        let detached = event.clone().owned_copy();
        assert_eq!(binary_headers(&detached), binary_headers(&event));
        assert_eq!(
            (detached.data(), detached.forwarded()),
            (event.data(), event.forwarded())
        );
        assert!(
            detached
                .forwarded()
                .iter()
                .any(|(_, value)| value.is_sensitive())
        );
        if length > 0 {
            assert_eq!(
                detached.data().as_ptr() != event.data().as_ptr(),
                is_copied,
                "{length}"
            );
        }
    }
}

/// Contract CR-16 to CR-20.
#[test]
fn binary_requests_accepted_and_refused() {
    let accepted: &[&[(&str, &str)]] = &[
        &[],
        &[("ce-specversion", "0.3")],
        &[("ce-subject", "")],
        &[("ce-data", "an extension")],
        &[("ce-abcdefghijklmnopqrstuvwxyz1234", "long")],
        &[("ce-time", "2020-01-01T10:00:00.5+02:00")],
        &[("ce-source", "/a b")],
        &[("ce-source", "/a%20b")],
        &[("ce-dataschema", "https://example.com/schema")],
        &[("content-type", "application/cloudevents+avro")],
    ];
    for pairs in accepted {
        assert!(
            binary_event(pairs).is_ok(),
            "{pairs:?}: {:?}",
            binary_event(pairs)
        );
    }
    let refused: &[(&[(&str, &str)], &str)] = &[
        (
            &[("ce-specversion", "1.1")],
            "specversion \"1.1\" is not supported",
        ),
        (
            &[("ce-specversion", "(absent)")],
            "neither a ce-specversion header",
        ),
        (&[("ce-id", "(absent)")], "attribute id is missing"),
        (&[("ce-id", "  ")], "attribute id is missing"),
        (&[("ce-source", "(absent)")], "attribute source is missing"),
        (&[("ce-type", "")], "attribute type is missing"),
        (&[("ce-time", "yesterday")], "RFC 3339"),
        (&[("ce-dataschema", "relative")], "absolute URI"),
        (&[("ce-source", "%zz")], "URI-reference"),
        (&[("ce-my-ext", "1")], "is not an attribute name"),
        (&[("ce-my_ext", "1")], "is not an attribute name"),
        (&[("ce-datacontenttype", "a/b")], "Content-Type header"),
        (&[("ce-bad", "%C0%A0")], "UTF-8"),
        (&[("content-type", "nonsense")], "media type"),
    ];
    for (pairs, message) in refused {
        let error = binary_event(pairs).expect_err("refused").to_string();
        assert!(error.contains(message), "{pairs:?}: {error}");
        assert!(!error.contains('\n'), "one line: {error}");
    }
}

/// Contract CR-14: a batch is accepted (contract G-43), formats other than JSON are not.
#[test]
fn formats_other_than_json_are_named() {
    let error = decode(
        headers(&[("content-type", "application/cloudevents+protobuf")]),
        Bytes::new(),
        AttributeLimit::default(),
    )
    .expect_err("refused");
    assert_eq!(
        error,
        DecodeError::UnknownFormat(WireText::new("application/cloudevents+protobuf"))
    );
}

/// Contract G-42, W-9: what comes in binary leaves as the same bytes.
#[test]
fn binary_values_are_kept_byte_for_byte() {
    let sent = [
        ("ce-time", "2020-01-01T10:00:00.5+02:00"),
        ("ce-subject", "%C3%A9 x"),
        ("ce-foo", "a%20b\"c"),
        ("ce-source", "/a b"),
        ("content-type", "text/plain; charset=utf-8"),
    ];
    let mut all: Vec<(&str, &str)> = sent.to_vec();
    all.push(("ce-dup", "1"));
    all.push(("ce-dup", "2"));
    let event = binary_event(&all).expect("an event");
    let out = binary_headers(&event);
    for (name, value) in sent {
        assert_eq!(
            out.get(name).map(HeaderValue::as_bytes),
            Some(value.as_bytes()),
            "{name}"
        );
    }
    assert_eq!(
        out.get_all("ce-dup").iter().collect::<Vec<_>>(),
        ["1"],
        "contract CR-20"
    );
    assert_eq!(event.get("subject").as_deref(), Some("é x"));
}

/// Contract CR-29, CR-31: which headers travel beside the event.
#[test]
fn only_knatives_headers_are_forwarded() {
    let event = binary_event(&[
        ("x-request-id", "rid"),
        ("x-b3-traceid", "1"),
        ("knative-a", "1"),
        ("knative-a", "2"),
        ("retry-after", "3"),
        ("authorization", "Bearer secret"),
        ("prefer", "reply"),
        ("kn-namespace", "spoofed"),
        ("cookie", "c"),
        // What is about the connection that it came by is named by it (RFC 9110, 7.6.1).
        ("connection", "close, Knative-Hop"),
        ("knative-hop", "h"),
    ])
    .expect("an event");
    let mut names: Vec<&str> = event
        .forwarded()
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "knative-a",
            "knative-a",
            "retry-after",
            "x-b3-traceid",
            "x-request-id"
        ]
    );
}

/// Contract CR-15, CR-18, CR-19.
#[test]
fn structured_requests_accepted_and_refused() {
    let with =
        |rest: &str| format!(r#"{{"specversion":"1.0","id":"i","source":"/s","type":"t"{rest}}}"#);
    let event = structured_event(&with(
        r#","MyExt":"v","n":1.5,"flag":true,"none":null,"data":{"a": 1}"#,
    ))
    .expect("an event");
    assert_eq!(event.get("myext").as_deref(), Some("v"));
    assert_eq!(event.get("n").as_deref(), Some("1"));
    assert_eq!(
        event.attribute("n").map(ContextAttribute::attribute_type),
        Some(AttributeType::Integer)
    );
    assert_eq!(
        event
            .attribute("flag")
            .map(ContextAttribute::attribute_type),
        Some(AttributeType::Boolean)
    );
    assert_eq!(event.get("none"), None);
    assert_eq!(event.data(), &Bytes::from_static(br#"{"a": 1}"#));
    assert_eq!(
        event.content_type().map(HeaderValue::as_bytes),
        Some(&b"application/json"[..])
    );
    for (json, message) in [
        (with(r#","e":{}"#), "string, an integer or a boolean"),
        (with(r#","e":[1]"#), "string, an integer or a boolean"),
        (with(r#","e":2147483648"#), "32 bits"),
        (with(r#","e":1e300"#), "32 bits"),
        (with(r#","data_base64":"%""#), "base64"),
        (with(r#","id":"again""#), "appears twice"),
        (with(r#","ID":"again""#), "in upper and lower case"),
        (with(r#","ext":"1","Ext":"2""#), "in upper and lower case"),
        (with(r#","dAta":"x""#), "in lower case"),
        (with(r#","SpecVersion":"1.0""#), "in lower case"),
        (with(r#","time":"now""#), "RFC 3339"),
        (r#"{"id":"i"}"#.to_owned(), "specversion is missing"),
        (r#"{"specversion":1}"#.to_owned(), "must be a string"),
        ("[]".to_owned(), "not a CloudEvent in JSON format"),
        (String::new(), "not a CloudEvent in JSON format"),
        ("\u{0}".to_owned(), "not a CloudEvent in JSON format"),
    ] {
        let error = structured_event(&json).expect_err("refused").to_string();
        assert!(error.contains(message), "{json}: {error}");
    }
}

/// JSON format §3.1.1 and §3.1.2.
#[test]
fn data_by_content_type() {
    for (members, data) in [
        (r#""data":"text""#, r#""text""#),
        (
            r#""datacontenttype":"application/json","data":"text""#,
            r#""text""#,
        ),
        (
            r#""datacontenttype":"application/x+json","data":[1,2]"#,
            "[1,2]",
        ),
        (r#""datacontenttype":"text/plain","data":"a\nb""#, "a\nb"),
        (
            r#""datacontenttype":"application/octet-stream","data_base64":"AAEC""#,
            "\u{0}\u{1}\u{2}",
        ),
    ] {
        let json =
            format!(r#"{{"specversion":"1.0","id":"i","source":"/s","type":"t",{members}}}"#);
        assert_eq!(
            structured_event(&json).expect("an event").data(),
            data.as_bytes(),
            "{members}"
        );
    }
}

#[test]
fn a_batch_is_taken_whole_or_not_at_all() {
    let batch = |json: &str| {
        decode(
            headers(&[("content-type", BATCHED)]),
            Bytes::copy_from_slice(json.as_bytes()),
            AttributeLimit::default(),
        )
    };
    let one = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#;
    let broken = r#"{"specversion":"1.0","id":"2","source":"/s"}"#;
    assert_eq!(batch("[]").expect("an empty batch").len(), 0);
    assert_eq!(batch(&format!("[{one},{one}]")).expect("a batch").len(), 2);
    let error = batch(&format!("[{one},{broken}]"))
        .expect_err("refused")
        .to_string();
    assert_eq!(
        error,
        "event 1 of the batch: attribute type is missing or empty: it is required"
    );
}

/// Contract DP-21 to DP-24.
#[test]
fn replies() {
    assert_eq!(
        decode_reply(
            headers(&[("content-type", "text/plain")]),
            &Bytes::from_static(b"ok"),
            AttributeLimit::default()
        ),
        Ok(None)
    );
    let without_id = headers(&[("ce-specversion", "1.0"), ("ce-type", "rt")]);
    assert!(
        decode_reply(without_id, &Bytes::new(), AttributeLimit::default())
            .is_ok_and(|reply| reply.is_some()),
        "contract DP-23"
    );
    for content_type in [STRUCTURED, BATCHED] {
        assert!(
            decode_reply(
                headers(&[("content-type", content_type)]),
                &Bytes::from_static(b"{"),
                AttributeLimit::default()
            )
            .is_err(),
            "contract DP-24"
        );
    }
}

/// Contract W-6.
#[test]
fn structured_out() {
    let mut event = binary_event(&[("content-type", "application/json")]).expect("an event");
    event.data = Bytes::from_static(br#"{"a":"b"}"#);
    event.set_typed("myint", "5", AttributeType::Integer);
    let (headers, body) = encode_structured(&event);
    assert_eq!(headers[CONTENT_TYPE], STRUCTURED);
    let json: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    let expected = serde_json::json!({"specversion":"1.0","id":"i1","source":"/s","type":"t",
        "datacontenttype":"application/json","data":{"a":"b"},"myint":5});
    assert_eq!(json, expected);
}

fn any_event() -> impl Strategy<Value = Event> {
    let extension = (
        "x[a-z0-9]{1,18}",
        any::<String>().prop_filter("set", |text| !text.is_empty()),
    );
    let data = prop_oneof![
        Just((None, Bytes::new())),
        any::<Vec<u8>>().prop_map(|data| (Some("application/octet-stream"), Bytes::from(data))),
        "[ -~]{0,40}".prop_map(|data| (Some("text/plain"), Bytes::from(data))),
        Just((
            Some("application/json"),
            Bytes::from_static(br#"{"a": [1, null]}"#)
        )),
        Just((Some("application/json"), Bytes::from_static(b"not json"))),
    ];
    (
        "[!-~]{1,20}",
        "/[a-z]{0,10}",
        "[a-z.]{1,20}",
        proptest::collection::vec(extension, 0..4),
        data,
    )
        .prop_map(|(id, source, ty, extensions, (content_type, data))| {
            let mut event = Event::new(&id, &source, &ty);
            for (name, value) in extensions {
                event.set(&name, &value);
            }
            event.content_type = content_type.map(HeaderValue::from_static);
            event.data = data;
            event
        })
}

proptest! {
    #[test]
    fn binary_decode_of_encode_is_identity(event in any_event()) {
        let decoded = decode(binary_headers(&event), event.data().clone(), AttributeLimit::default());
        prop_assert_eq!(decoded, Ok(vec![event]));
    }

    #[test]
    fn structured_decode_of_encode_is_identity(event in any_event()) {
        let (headers, body) = encode_structured(&event);
        prop_assert_eq!(decode(headers, body, AttributeLimit::default()), Ok(vec![event]));
    }

    #[test]
    fn decoding_never_panics(body in any::<Vec<u8>>(), mode in 0..3usize) {
        let content_type = ["application/json", STRUCTURED, BATCHED][mode];
        drop(decode(headers(&[("content-type", content_type), ("ce-specversion", "1.0")]), Bytes::from(body), AttributeLimit::default()));
    }
}
