//! The credentials that a request may carry (contract AU-6).

use http::HeaderValue;

use super::*;
use crate::model::{AuthorizationRule, OidcAuthentication, OidcDiscovery};

fn access() -> SenderAuthorization {
    let oidc = Arc::new(OidcAuthentication {
        discovery: OidcDiscovery::Unavailable,
    });
    SenderAuthorization {
        oidc,
        audience: "a".to_owned(),
        rule: AuthorizationRule::Policies(Vec::new()),
    }
}

/// Contract AU-6.
#[test]
fn credentials_are_one_token() {
    let latin = HeaderValue::from_bytes(b"Bearer \xe9").expect("a value");
    let text = |text: &'static str| HeaderValue::from_static(text);
    for (values, expected) in [
        (vec![], Err("send a token")),
        (vec![text("")], Err("send a token")),
        (vec![text("Bearer")], Err("send a token")),
        (vec![text("Bearer ")], Err("send a token")),
        (vec![text("Bearer x")], Ok("x")),
        (vec![text("bearer  x ")], Ok("x")),
        (vec![text("x")], Ok("x")),
        (vec![text("Basic eDp4")], Err("as Authorization: Bearer")),
        (
            vec![text("Bearer x"), text("Bearer x")],
            Err("one Authorization header only"),
        ),
        (
            vec![text("Bearer x"), text("")],
            Err("one Authorization header only"),
        ),
        (vec![latin], Err("characters that no token has")),
    ] {
        let headers =
            HeaderMap::from_iter(values.iter().map(|value| (AUTHORIZATION, value.clone())));
        let credentials = RequestCredentials::of_headers(&headers, Some(&access()));
        match (credentials.bearer_token(), expected) {
            (Ok(token), Ok(expected)) => assert_eq!(token, expected),
            (Err(denial), Err(words)) => {
                assert_eq!(denial.status(), 401);
                assert!(denial.to_string().contains(words), "{denial}");
            }
            (found, _) => panic!("{values:?}: {found:?}"),
        }
        assert!(
            !format!("{credentials:?}").contains('x'),
            "they are not shown"
        );
        assert!(
            RequestCredentials::of_headers(&headers, None)
                .fields
                .is_empty(),
            "they are looked for only where they are asked for"
        );
    }
}

/// Contract A-10, AU-7: without a token it is 401 whether keys are known or not; with one, it is
/// 503 until they are.
#[tokio::test]
async fn nobody_comes_in_before_keys_are_known() {
    let counters = Arc::new(ProcessCounters::default());
    let gate = SenderAuthorizer::new(Arc::default(), Arc::clone(&counters));
    let events = [Event::new("1", "/s", "t")];
    let (nobody, open) = (RequestCredentials::default(), None);
    let anybody = gate
        .authenticate(open, &nobody)
        .await
        .expect("nothing is asked for");
    assert_eq!(gate.authorize(open, &anybody, &events), Ok(()));
    let denied = gate
        .authenticate(Some(&access()), &nobody)
        .await
        .expect_err("denied");
    gate.count_denial(&denied);
    assert_eq!(denied.status(), 401);
    let token = "eyJhbGciOiJFUzI1NiJ9.e30.AAAA";
    let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(token))]);
    let credentials = RequestCredentials::of_headers(&headers, Some(&access()));
    let denied = gate
        .authenticate(Some(&access()), &credentials)
        .await
        .expect_err("denied");
    gate.count_denial(&denied);
    assert_eq!(denied.status(), 503, "{denied}");
    let counted = [
        &counters.unauthenticated,
        &counters.forbidden,
        &counters.undecidable,
    ];
    assert_eq!(
        counted.map(crate::telemetry::counter::Counter::get),
        [1, 0, 1]
    );
}
