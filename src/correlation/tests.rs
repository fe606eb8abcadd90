//! Tests of correlation ids, by vectors that were made by another implementation of AES-GCM
//! following upstream's algorithm, and by properties.

use proptest::prelude::*;

use super::*;

/// The keys of upstream's own tests, cut to each length that AES has.
const KEYS: [&str; 3] = [
    "passphrasewhichneedstobe32bytes!",
    "passphrasewhichneedstobe",
    "passphrasewhichn",
];
/// Bytes 0 to 11.
const NONCE: [u8; NONCE_LEN] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
/// The place of the key, the event's id, the index, the sealed part.
const VECTORS: [(usize, &str, u32, &str); 6] = [
    (
        0,
        "exampleid",
        0,
        "AAECAwQFBgcICQoLI4cVEgRpyRh2fu6PxvLL91inrlTXyOCyZg==",
    ),
    (
        0,
        "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
        2,
        "AAECAwQFBgcICQoLM40aRQFwxRUoVRW_nS2NuA-nUKgoDKlqaNFcDinUQawdQXqDi54GMSMX63atbJrm_YzNlAWqgY8Sw7zYug==",
    ),
    (0, "", 0, "AAECAwQFBgcICQoLnlu81yY8WtHmGECnnRkHyQ=="),
    (0, "é", 7, "AAECAwQFBgcICQoLhVZRstHEEjM_v8iCHOTzOz-L"),
    (
        1,
        "exampleid",
        0,
        "AAECAwQFBgcICQoLjjIcJ-fNEtBD8BJscmajTUDQ8X-DuSng6Q==",
    ),
    (
        2,
        "exampleid",
        0,
        "AAECAwQFBgcICQoL9FhNfFAgzPw83eXUEcCQIyJQZdpZqkGR8A==",
    ),
];

fn key(text: &str) -> CorrelationKey {
    CorrelationKey::new(text.as_bytes()).expect("a key")
}

#[test]
fn ids_are_upstreams() {
    for (place, event, index, sealed) in VECTORS {
        let (key, text) = (key(KEYS[place]), format!("{event}:{sealed}:{index}"));
        assert_eq!(
            key.create_id_with(NONCE, event, index).as_ref(),
            Some(&text)
        );
        let id = CorrelationId::parse(&text).expect("an id");
        for (other, bytes) in KEYS.iter().enumerate() {
            assert_eq!(
                super::CorrelationKey::new(bytes.as_bytes())
                    .expect("a key")
                    .verifies(&id),
                other == place,
                "{text}"
            );
        }
    }
}

#[test]
fn what_is_forged_is_not_verified() {
    let key = key(KEYS[0]);
    let (_, event, index, sealed) = VECTORS[0];
    for text in [
        format!("otherid:{sealed}:{index}"),
        format!("{event}:{sealed}"),
        format!("{event}::{index}"),
        format!("{event}:AAECAwQFBgcICQoL:{index}"),
        format!("{event}:AAEC:{index}"),
        format!("{event}:{}:{index}", sealed.replace('I', "J")),
        format!("{event}:{}:{index}", sealed.trim_end_matches('=')),
        format!("{event}:{sealed}:"),
        format!("{event}:{sealed}:x"),
        format!("{event}:{sealed}:99999999999"),
        format!(" {event}:{sealed}:{index}"),
        String::new(),
        ":::".to_owned(),
    ] {
        assert!(
            !CorrelationId::parse(&text).is_some_and(|id| key.verifies(&id)),
            "{text}"
        );
    }
}

#[test]
fn keys_have_the_lengths_of_aes() {
    for length in 0..40 {
        assert_eq!(
            CorrelationKey::new(&vec![7; length]).is_some(),
            [16, 24, 32].contains(&length),
            "{length}"
        );
    }
    assert_eq!(
        format!("{:?} {:?}", key(KEYS[0]), CorrelationSeed([7; 32])),
        "Key Seed",
        "nothing is shown"
    );
}

#[test]
fn the_index_finds_the_process() {
    let id = |index: &str| format!("e:AAEC:{index}");
    for (index, process, replicas, is_for) in [
        ("0", 0, 1, true),
        ("7", 0, 1, true),
        ("0", 1, 1, false),
        ("3", 1, 2, true),
        ("3", 0, 2, false),
        ("0", 0, 0, false),
        ("0", 0, -1, false),
        ("-2147483648", 0, -1, false),
        ("-1", -1, 2, true),
    ] {
        assert_eq!(
            CorrelationId::parse(&id(index))
                .expect("an id")
                .is_for(process, replicas),
            is_for,
            "{index} {process}"
        );
    }
}

#[test]
fn keys_made_of_a_seed_differ_by_name() {
    let seed = CorrelationSeed([7; 32]);
    let made = |namespace, name| seed.derive_key(namespace, name).expect("a key");
    assert_eq!(made("a", "b"), made("a", "b"));
    assert_ne!(made("a", "b"), made("a", "c"));
    assert_ne!(made("a", "b-c"), made("a-b", "c"));
    assert_ne!(
        CorrelationSeed([8; 32]).derive_key("a", "b"),
        seed.derive_key("a", "b")
    );
    assert_ne!(CorrelationSeed::random(), CorrelationSeed::random());
}

#[test]
fn entries_are_of_one_request_reply() {
    for (text, parts) in [
        ("ns.rr.key-0", Some(("ns", "rr", "key-0"))),
        ("ns.r.r.key-0", Some(("ns", "r.r", "key-0"))),
        ("ns.rr", None),
        ("ns..key", None),
        (".rr.key", None),
        ("ns.rr.", None),
        ("tls.crt", None),
        ("", None),
    ] {
        let entry = KeyRingEntry::parse(text);
        let found = entry
            .as_ref()
            .map(|entry| (&*entry.namespace, &*entry.name, &*entry.key));
        assert_eq!(found, parts, "{text}");
        assert_eq!(
            entry.map(|entry| entry.to_string()),
            parts.map(|_| text.to_owned())
        );
    }
}

/// The last key in the order of names seals, all of them verify, and none but its own.
#[test]
fn a_ring_keeps_keys_apart() {
    let mut ring = KeyRing::default();
    for (entry, text) in [
        ("ns.a.key-1", KEYS[0]),
        ("ns.a.key-0", KEYS[1]),
        ("ns.a.b.key-0", KEYS[2]),
    ] {
        ring.add_key(
            "s",
            KeyRingEntry::parse(entry).expect("an entry"),
            key(text),
        );
    }
    ring.add_secret("empty");
    assert_eq!(
        [
            ring.has_secret("s"),
            ring.has_secret("empty"),
            ring.has_secret("t")
        ],
        [true, true, false]
    );
    let holder = |secret, name| KeyHolder {
        secret,
        namespace: "ns",
        name,
    };
    assert_eq!(ring.keys(holder("s", "a")).next_back(), Some(&key(KEYS[0])));
    for (text, verified) in KEYS.iter().zip([true, true, false]) {
        let id = key(text).create_id("e", 0).expect("an id");
        let id = CorrelationId::parse(&id).expect("an id");
        assert_eq!(ring.verifies(&id, holder("s", "a")), verified, "{text}");
        assert_eq!(ring.verifies(&id, holder("s", "a.b")), !verified, "{text}");
        assert!(!ring.verifies(&id, holder("t", "a")) && !ring.verifies(&id, holder("empty", "a")));
    }
}

proptest! {
    #[test]
    fn what_is_sealed_is_verified(event in ".{0,60}", index in 0..100_u32) {
        let key = key(KEYS[0]);
        let (one, two) = (key.create_id(&event, index).expect("an id"), key.create_id(&event, index).expect("an id"));
        prop_assert_ne!(&one, &two, "no two are alike");
        let id = CorrelationId::parse(&one).expect("an id");
        prop_assert!(key.verifies(&id) && !super::CorrelationKey::new(KEYS[1].as_bytes()).expect("a key").verifies(&id));
    }

    #[test]
    fn never_panics(text in ".{0,60}") {
        if let Some(id) = CorrelationId::parse(&text) {
            prop_assert!(!key(KEYS[0]).verifies(&id));
        }
    }
}
