//! Recognizes the names of the ServiceAccounts that Knative creates for senders (contract 7.1). No
//! other name is allowed: a person who may edit a channel does not get the tokens of every account
//! of its namespace.

/// The end of the name after that of the Subscription, Trigger or source, in lower case, as names
/// of accounts are.
const SUFFIXES: [&str; 3] = [
    "-oidc-messaging.knative.dev-subscription",
    "-oidc-eventing.knative.dev-trigger",
    "-oidc-sources.knative.dev-pingsource",
];
/// The longest name. A longer one is shortened, as by Knative's `kmeta.ChildName`: the start of the
/// object's name, a checksum, and as much of the suffix as there is room for.
const LONGEST: usize = 63;
const CHECKSUM: usize = 32;
const LONGEST_START: usize = LONGEST - CHECKSUM;

/// True if an account has a name that Knative creates.
pub(crate) fn is_sender_account_name(name: &str) -> bool {
    SUFFIXES
        .iter()
        .any(|suffix| has_whole_suffix(name, suffix) || has_shortened_suffix(name, suffix))
}

fn has_whole_suffix(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix)
        .is_some_and(|object| !object.is_empty())
}

fn has_shortened_suffix(name: &str, suffix: &str) -> bool {
    // An object with a shorter name has room for the whole suffix.
    let lengths = (LONGEST - suffix.len() + 1)..=LONGEST_START;
    lengths.into_iter().any(|start| {
        let Some((checksum, rest)) = name
            .get(start..)
            .and_then(|behind| behind.split_at_checked(CHECKSUM))
        else {
            return false;
        };
        let room = suffix.get(..LONGEST_START - start).unwrap_or_default();
        let is_hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        checksum.bytes().all(is_hexadecimal) && rest == room.trim_end_matches(['-', '.'])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contract 7.1.
    #[test]
    fn only_names_that_knative_makes() {
        let checksum = "0123456789abcdef0123456789abcdef";
        let long = |start: usize, rest: &str| format!("{}{checksum}{rest}", "a".repeat(start));
        for (name, is_made) in [
            (
                "orders-oidc-messaging.knative.dev-subscription".to_owned(),
                true,
            ),
            ("t-oidc-eventing.knative.dev-trigger".to_owned(), true),
            ("p-oidc-sources.knative.dev-pingsource".to_owned(), true),
            (long(31, ""), true),
            (long(30, ""), true),
            (long(26, "-oidc"), true),
            (long(24, "-oidc-m"), true),
            ("default".to_owned(), false),
            ("s-oidc".to_owned(), false),
            ("mt-broker-ingress-oidc".to_owned(), false),
            ("-oidc-messaging.knative.dev-subscription".to_owned(), false),
            ("t-oidc-eventing.knative.dev-broker".to_owned(), false),
            ("t-oidc-evil.dev-trigger".to_owned(), false),
            ("T-OIDC-eventing.knative.dev-Trigger".to_owned(), false),
            (long(23, "-oidc-me"), false),
            (long(24, "-oidc-x"), false),
            (long(31, "-"), false),
            (long(31, "").replace('f', "g"), false),
            (long(20, ""), false),
            ("é".repeat(31), false),
            (String::new(), false),
        ] {
            assert_eq!(is_sender_account_name(&name), is_made, "{name}");
        }
    }
}
