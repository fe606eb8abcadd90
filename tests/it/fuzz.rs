//! The properties that the fuzz targets look for counterexamples of, asked of their seeds, of
//! pieces of them, and of chance.

use std::path::Path;

use proptest::prelude::*;

#[path = "../../fuzz/fuzz_targets/properties.rs"]
mod properties;

#[path = "../../fuzz/fuzz_targets/tokens.rs"]
mod tokens;

#[path = "../../fuzz/fuzz_targets/answers.rs"]
mod answers;

#[path = "../../fuzz/fuzz_targets/manifests.rs"]
mod manifests;

#[path = "../../fuzz/fuzz_targets/logs.rs"]
mod logs;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(target);
    let files = std::fs::read_dir(directory).expect("seeds");
    let mut seeds: Vec<_> = files
        .map(|file| std::fs::read(file.expect("a file").path()).expect("a seed"))
        .collect();
    seeds.sort();
    assert!(seeds.len() >= 2);
    seeds
}

/// Seeds with a piece of them replaced.
fn near(target: &str) -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop_oneof![
        any::<Vec<u8>>(),
        "[ -~\n]{0,8}".prop_map(String::into_bytes)
    ];
    (
        prop::sample::select(seeds(target)),
        any::<prop::sample::Index>(),
        0usize..8,
        bytes,
    )
        .prop_map(|(mut seed, at, length, bytes)| {
            let at = at.index(seed.len() + 1);
            let end = (at + length).min(seed.len());
            seed.splice(at..end, bytes);
            seed
        })
}

#[test]
fn seeds_hold() {
    seeds("event")
        .iter()
        .for_each(|seed| properties::event(seed));
    seeds("batch")
        .iter()
        .for_each(|seed| properties::batch(seed));
    seeds("message")
        .iter()
        .for_each(|seed| properties::message(seed));
    seeds("pem").iter().for_each(|seed| properties::pem(seed));
    seeds("token").iter().for_each(|seed| tokens::token(seed));
    seeds("cesql")
        .iter()
        .for_each(|seed| properties::cesql(seed));
    seeds("answer")
        .iter()
        .for_each(|seed| answers::answer(seed));
    seeds("differential")
        .iter()
        .for_each(|seed| answers::differential(seed));
    seeds("reuse").iter().for_each(|seed| answers::reuse(seed));
    seeds("manifest")
        .iter()
        .for_each(|seed| manifests::manifest(seed));
    seeds("log").iter().for_each(|seed| logs::log(seed));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn events_hold(data in near("event")) {
        properties::event(&data);
    }

    #[test]
    fn batches_hold(data in near("batch")) {
        properties::batch(&data);
    }

    #[test]
    fn messages_hold(data in near("message")) {
        properties::message(&data);
    }

    #[test]
    fn trust_holds(data in near("pem")) {
        properties::pem(&data);
    }

    #[test]
    fn logs_hold(data in near("log")) {
        logs::log(&data);
    }

    #[test]
    fn expressions_hold(data in near("cesql")) {
        properties::cesql(&data);
    }
}

proptest! {
    // Each is resolved a dozen times.
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn manifests_hold(data in near("manifest")) {
        manifests::manifest(&data);
    }
}

proptest! {
    // Each verifies several signatures.
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn tokens_hold(data in near("token")) {
        tokens::token(&data);
    }
}

proptest! {
    // Each opens several connections.
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn answers_hold(data in near("answer")) {
        answers::answer(&data);
    }

    #[test]
    fn answers_are_what_hyper_makes_of_them(data in near("differential")) {
        answers::differential(&data);
    }

    #[test]
    fn connections_are_used_again_in_good_order(data in near("reuse")) {
        answers::reuse(&data);
    }
}
