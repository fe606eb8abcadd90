//! The events that a sender may send (contract 7.8, AU-9 to AU-13).

use proptest::prelude::*;

use super::*;
use crate::filter::Filter;
use crate::model::{OidcAuthentication, OidcDiscovery, SubjectPattern};

const WRITER: &str = "system:serviceaccount:orders:invoice-writer";

fn access(rule: AuthorizationRule) -> SenderAuthorization {
    let oidc = Arc::new(OidcAuthentication {
        discovery: OidcDiscovery::Unavailable,
    });
    SenderAuthorization {
        oidc,
        audience: "a".to_owned(),
        rule,
    }
}

fn policy(subjects: &[&str], filter: Filter) -> Arc<EventPolicy> {
    Arc::new(EventPolicy {
        subjects: subjects
            .iter()
            .map(|text| SubjectPattern::parse(text))
            .collect(),
        filter,
    })
}

fn prefix(text: &str) -> Filter {
    Filter::Prefix(vec![("type".to_owned(), text.to_owned())])
}

fn of_type(ty: &str) -> Event {
    Event::new("1", "/s", ty)
}

fn status(rule: AuthorizationRule, subject: &str, events: &[Event]) -> u16 {
    authorize(&access(rule), subject, events)
        .map_or_else(|denial| denial.status().as_u16(), |()| 202)
}

/// Contract AU-11.
#[test]
fn the_default_decides_where_no_policy_is() {
    use AuthorizationMode::{AllowAll, AllowSameNamespace, DenyAll};
    for (mode, subject, expected) in [
        (AllowAll, WRITER, 202),
        (AllowAll, "jane", 202),
        (DenyAll, WRITER, 403),
        (AllowSameNamespace, WRITER, 202),
        (AllowSameNamespace, "system:serviceaccount:orders2:x", 403),
        (AllowSameNamespace, "system:serviceaccount:order:x", 403),
        (AllowSameNamespace, "system:serviceaccount:orders", 403),
        (AllowSameNamespace, "system:serviceaccounts:orders:x", 403),
        (AllowSameNamespace, "orders:x", 403),
        (AllowSameNamespace, "", 403),
    ] {
        let rule = AuthorizationRule::Default(mode, "orders".to_owned());
        assert_eq!(
            status(rule, subject, &[of_type("t")]),
            expected,
            "{mode:?} {subject}"
        );
    }
}

/// Contract 7.8, AU-9, AU-10; one policy is enough, in whatever order they are (unlike contract
/// G-52).
#[test]
fn policies_allow_together() {
    let invoices = || policy(&[WRITER], prefix("com.example.invoice."));
    let orders = || {
        policy(
            &["system:serviceaccount:orders:*"],
            prefix("com.example.order."),
        )
    };
    let nobody = || policy(&[], Filter::MatchAll);
    let (invoice, order, other) = (
        of_type("com.example.invoice.created"),
        of_type("com.example.order.created"),
        of_type("x"),
    );
    for policies in [
        vec![invoices(), orders(), nobody()],
        vec![nobody(), orders(), invoices()],
    ] {
        for (subject, events, expected) in [
            (WRITER, vec![invoice.clone()], 202),
            (WRITER, vec![order.clone()], 202),
            (WRITER, vec![invoice.clone(), order.clone()], 202),
            (WRITER, vec![other.clone()], 403),
            (WRITER, vec![invoice.clone(), other.clone()], 403),
            (
                "SYSTEM:serviceaccount:orders:invoice-writer",
                vec![invoice.clone()],
                202,
            ),
            (
                "system:serviceaccount:orders:other",
                vec![invoice.clone()],
                403,
            ),
            (
                "system:serviceaccount:orders:other",
                vec![order.clone()],
                202,
            ),
            ("system:serviceaccount:billing:x", vec![order.clone()], 403),
            ("", vec![invoice.clone()], 403),
        ] {
            let found = status(
                AuthorizationRule::Policies(policies.clone()),
                subject,
                &events,
            );
            assert_eq!(found, expected, "{subject} {events:?}");
        }
    }
    assert_eq!(
        status(
            AuthorizationRule::Policies(vec![nobody()]),
            WRITER,
            &[other]
        ),
        403
    );
}

/// Contract A-12, AU-12, AU-13.
#[test]
fn what_is_not_known_lets_nobody_in() {
    let rule = |text: &str| AuthorizationRule::Unknown(text.to_owned());
    assert_eq!(status(rule("EventPolicy a/b is missing"), WRITER, &[]), 500);
    assert_eq!(
        status(
            AuthorizationRule::ObjectMissing("no subscription".to_owned()),
            WRITER,
            &[]
        ),
        404
    );
    assert_eq!(
        status(
            AuthorizationRule::OnlySubject(WRITER.to_owned()),
            WRITER,
            &[]
        ),
        202
    );
    assert_eq!(
        status(
            AuthorizationRule::OnlySubject(WRITER.to_owned()),
            "system:serviceaccount:orders:other",
            &[]
        ),
        403
    );
    assert_eq!(
        status(
            AuthorizationRule::OnlySubject(WRITER.to_owned()),
            &WRITER.to_uppercase(),
            &[]
        ),
        403
    );
}

/// An event from inside is asked for what a token would have shown.
#[test]
fn the_inside_is_asked_too() {
    let account = ServiceAccount {
        namespace: "orders".to_owned(),
        name: "invoice-writer".to_owned(),
    };
    let stranger = ServiceAccount {
        namespace: "billing".to_owned(),
        name: "x".to_owned(),
    };
    let asking = access(AuthorizationRule::Default(
        AuthorizationMode::AllowSameNamespace,
        "orders".to_owned(),
    ));
    for (access, sender, audience, expected) in [
        (None, None, None, 202),
        (Some(&asking), Some(&account), Some("a"), 202),
        (Some(&asking), Some(&stranger), Some("a"), 403),
        (Some(&asking), Some(&account), Some("b"), 401),
        (Some(&asking), Some(&account), None, 401),
        (Some(&asking), None, Some("a"), 401),
        (Some(&asking), None, None, 401),
    ] {
        let admitted =
            authorize_internal(access, InternalSender { sender, audience }, &of_type("t"));
        let status = admitted.map_or_else(|denial| denial.status().as_u16(), |()| 202);
        assert_eq!(status, expected, "{sender:?} {audience:?}");
    }
}

proptest! {
    /// The order of policies means nothing, one more never forbids, and what is allowed is allowed
    /// by one of them.
    #[test]
    fn policies_are_a_set(
        chosen in proptest::collection::vec((0usize..4, 0usize..3), 0..6),
        more in (0usize..4, 0usize..3),
        subject in 0usize..4,
        ty in 0usize..3,
    ) {
        let subjects = [WRITER, "system:serviceaccount:orders:*", "jane", "*"];
        let types = ["a", "b", "ab"];
        let make = |(subject, filter): &(usize, usize)| policy(&[subjects[*subject]], prefix(types[*filter]));
        let event = [of_type(types[ty])];
        let subject = ["jane", WRITER, "system:serviceaccount:orders:x", "joe"][subject];
        let allowed = |policies: Vec<Arc<EventPolicy>>| status(AuthorizationRule::Policies(policies), subject, &event) == 202;
        let policies: Vec<_> = chosen.iter().map(make).collect();
        let now = allowed(policies.clone());
        prop_assert_eq!(now, allowed(policies.iter().rev().cloned().collect()));
        prop_assert_eq!(now, policies.iter().any(|policy| allowed(vec![Arc::clone(policy)])));
        prop_assert!(!now || allowed(policies.into_iter().chain([make(&more)]).collect()));
    }
}
