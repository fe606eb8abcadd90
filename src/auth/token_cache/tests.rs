//! Tokens of a scripted issuer, with time paused: hours pass in milliseconds.

use std::sync::Mutex as Lock;

use futures_util::future::join_all;
use proptest::prelude::*;

use super::*;

/// Issues numbered tokens, unless it is told to fail or to be silent.
#[derive(Default)]
struct Issuer {
    asked: Lock<Vec<(String, String)>>,
    state: Lock<State>,
}

#[derive(Clone, Copy, Default)]
enum State {
    #[default]
    Good,
    /// Tokens that live so many seconds.
    Living(u64),
    Failing,
    Silent,
}

impl Issuer {
    fn is(&self, state: State) {
        *self.state.lock().expect("lock") = state;
    }

    fn count(&self) -> usize {
        self.asked.lock().expect("lock").len()
    }
}

impl TokenIssuer for Issuer {
    fn issue<'a>(
        &'a self,
        account: &'a ServiceAccount,
        audience: &'a str,
    ) -> BoxFuture<'a, Result<IssuedToken, TokenError>> {
        let mut asked = self.asked.lock().expect("lock");
        asked.push((account.to_string(), audience.to_owned()));
        let (number, state) = (asked.len(), *self.state.lock().expect("lock"));
        async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let token = format!("{account}|{audience}|{number}");
            match state {
                State::Good => Ok(IssuedToken {
                    token,
                    lifetime: LIFETIME,
                }),
                State::Living(seconds) => Ok(IssuedToken {
                    token,
                    lifetime: Duration::from_secs(seconds),
                }),
                State::Failing => Err(TokenError::new(account, audience, "403 Forbidden")),
                State::Silent => std::future::pending().await,
            }
        }
        .boxed()
    }
}

fn account(name: &str) -> Arc<ServiceAccount> {
    Arc::new(ServiceAccount {
        namespace: "ns".to_owned(),
        name: name.to_owned(),
    })
}

fn tokens() -> (Arc<Issuer>, TokenCache, Arc<ProcessCounters>) {
    let (issuer, counters) = (
        Arc::new(Issuer::default()),
        Arc::new(ProcessCounters::default()),
    );
    let tokens = TokenCache::new(
        Arc::clone(&issuer) as Arc<dyn TokenIssuer>,
        Arc::clone(&counters),
    );
    (issuer, tokens, counters)
}

fn text(header: &HeaderValue) -> &str {
    header.to_str().expect("text")
}

async fn pass(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

/// Contract 7.2, 7.3, G-59: one request for all who wait, and none as long as the token is good.
#[tokio::test(start_paused = true)]
async fn a_token_is_asked_for_once() {
    let (issuer, tokens, counters) = tokens();
    let sa = account("a");
    let got = join_all((0..1000).map(|_| tokens.authorization_field(&sa, "x"))).await;
    assert!(got.iter().all(|header| {
        header.as_ref().is_ok_and(|header| {
            text(header) == "Bearer system:serviceaccount:ns:a|x|1" && header.is_sensitive()
        })
    }));
    pass(2600).await;
    tokens.authorization_field(&sa, "x").await.expect("a token");
    assert_eq!(
        (
            issuer.count(),
            counters.token_requests.get(),
            counters.token_failures.get()
        ),
        (1, 1, 0)
    );
}

/// Replaced ahead of its end by one of those who use it; nobody waits for that one.
#[tokio::test(start_paused = true)]
async fn a_token_is_replaced_ahead() {
    let (issuer, tokens, _) = tokens();
    let sa = account("a");
    tokens.authorization_field(&sa, "x").await.expect("a token");
    pass(2700).await;
    let started = Instant::now();
    let got = join_all((0..100).map(|_| async {
        let header = tokens.authorization_field(&sa, "x").await.expect("a token");
        (text(&header).ends_with("|2"), started.elapsed())
    }))
    .await;
    let (replaced, at_once): (Vec<_>, Vec<_>) = got.into_iter().partition(|(new, _)| *new);
    assert_eq!((replaced.len(), at_once.len(), issuer.count()), (1, 99, 2));
    assert!(at_once.iter().all(|(_, took)| took.is_zero()));
}

/// While its issuer is away, a token is used to its margin, and not beyond.
#[tokio::test(start_paused = true)]
async fn an_old_token_serves_until_its_margin() {
    let (issuer, tokens, counters) = tokens();
    let sa = account("a");
    tokens.authorization_field(&sa, "x").await.expect("a token");
    issuer.is(State::Failing);
    for _ in 0..5 {
        pass(650).await;
        let header = tokens
            .authorization_field(&sa, "x")
            .await
            .expect("the old token");
        assert!(text(&header).ends_with("|1"));
    }
    pass(60).await;
    let error = tokens
        .authorization_field(&sa, "x")
        .await
        .expect_err("3,300 s have passed");
    assert_eq!(
        error.to_string(),
        "no token for system:serviceaccount:ns:a and the audience x: 403 Forbidden"
    );
    assert!(counters.token_failures.get() >= 2);
    issuer.is(State::Good);
    pass(2).await;
    assert!(
        tokens.authorization_field(&sa, "x").await.is_ok(),
        "failures are forgotten"
    );
}

/// A thousand deliveries that need a token which is not to be had ask once a second together.
#[tokio::test(start_paused = true)]
async fn failures_are_shared_for_a_moment() {
    let (issuer, tokens, _) = tokens();
    issuer.is(State::Failing);
    let sa = account("a");
    for round in 1..=5 {
        let got = join_all((0..1000).map(|_| tokens.authorization_field(&sa, "x"))).await;
        assert!(got.iter().all(Result::is_err));
        assert_eq!(issuer.count(), round);
        pass(2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_issuer_has_failed() {
    let (issuer, tokens, _) = tokens();
    issuer.is(State::Silent);
    let started = Instant::now();
    let error = tokens
        .authorization_field(&account("a"), "x")
        .await
        .expect_err("no token");
    assert!(error.reason.contains("no answer within 10 s"), "{error}");
    assert_eq!(started.elapsed(), TIMEOUT);
}

/// Nobody who has a good token waits long for the next one.
#[tokio::test(start_paused = true)]
async fn a_silent_issuer_delays_little() {
    let (issuer, tokens, _) = tokens();
    let sa = account("a");
    tokens.authorization_field(&sa, "x").await.expect("a token");
    issuer.is(State::Silent);
    pass(2700).await;
    let started = Instant::now();
    let header = tokens
        .authorization_field(&sa, "x")
        .await
        .expect("the old one");
    assert!(text(&header).ends_with("|1"));
    assert_eq!(started.elapsed(), TIMEOUT_AHEAD);
}

/// A caller that gives up leaves nothing locked.
#[tokio::test(start_paused = true)]
async fn whoever_gives_up_harms_nobody() {
    let (issuer, tokens, _) = tokens();
    issuer.is(State::Silent);
    let sa = account("a");
    let given_up =
        tokio::time::timeout(Duration::from_secs(1), tokens.authorization_field(&sa, "x")).await;
    assert!(given_up.is_err());
    issuer.is(State::Good);
    assert!(tokens.authorization_field(&sa, "x").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn short_lives_are_used_by_half() {
    for (lives, used) in [
        (3600, 3300),
        (600, 300),
        (400, 200),
        (60, 30),
        (0, 0),
        (7200, 3300),
    ] {
        assert_eq!(
            usable_lifetime(Duration::from_secs(lives).min(LIFETIME)),
            Duration::from_secs(used),
            "{lives}"
        );
    }
    let (issuer, tokens, _) = tokens();
    issuer.is(State::Living(60));
    let sa = account("a");
    tokens.authorization_field(&sa, "x").await.expect("a token");
    pass(31).await;
    let header = tokens.authorization_field(&sa, "x").await.expect("a token");
    assert!(text(&header).ends_with("|2"));
}

/// Contract AU-1: no token without ServiceAccount or audience, and then no header either.
#[tokio::test(start_paused = true)]
async fn only_who_is_asked_proves_who_sends() {
    let (issuer, tokens, _) = tokens();
    let to = |audience: Option<&str>| Addressable {
        url: "https://sink/".parse().expect("a URL"),
        route: crate::model::DestinationRoute::Remote { connect: None },
        trust: Arc::default(),
        audience: audience.map(str::to_owned),
    };
    let sa = account("a");
    for (sender, to, proves) in [
        (None, to(Some("x")), false),
        (Some(&sa), to(None), false),
        (Some(&sa), to(Some("x")), true),
    ] {
        let proof = tokens
            .authorization_for(sender, &to)
            .await
            .expect("no failure");
        assert_eq!(proof.is_some(), proves);
        assert!(
            !format!("{proof:?}").contains("|x|"),
            "a token is not shown"
        );
    }
    assert_eq!(issuer.count(), 1);
    let issued = IssuedToken {
        token: "secret".to_owned(),
        lifetime: LIFETIME,
    };
    assert!(!format!("{issued:?}").contains("secret"));
}

/// Whoever is on the way could use what is sent over http.
#[tokio::test(start_paused = true)]
async fn tokens_are_sent_over_https_unless_it_is_said() {
    let (issuer, tokens, _) = tokens();
    let to = |url: &str| Addressable {
        url: url.parse().expect("a URL"),
        route: crate::model::DestinationRoute::Remote { connect: None },
        trust: Arc::default(),
        audience: Some("x".to_owned()),
    };
    let sa = account("a");
    let error = tokens
        .authorization_for(Some(&sa), &to("http://sink/"))
        .await
        .expect_err("over http");
    assert!(error.to_string().contains("--tokens-over-http"), "{error}");
    assert_eq!(issuer.count(), 0, "none is asked for");
    assert!(
        tokens
            .authorization_for(Some(&sa), &to("https://sink/"))
            .await
            .expect("over https")
            .is_some()
    );
    let tokens = tokens.with_transport(TokenTransport::Any);
    assert!(
        tokens
            .authorization_for(Some(&sa), &to("http://sink/"))
            .await
            .expect("over http")
            .is_some()
    );
}

proptest! {
    /// Nobody gets a token of another account or for another audience, whatever characters the
    /// names have.
    #[test]
    fn tokens_are_nobody_elses(
        wanted in proptest::collection::vec(("[a/|:]{1,2}", "[a/|:]{1,2}", "[a/|:]{0,2}"), 1..12),
    ) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let (issuer, tokens, _) = tokens();
            for (namespace, name, audience) in &wanted {
                let account = Arc::new(ServiceAccount { namespace: namespace.clone(), name: name.clone() });
                let header = tokens.authorization_field(&account, audience).await.expect("a token");
                let number: usize = text(&header).rsplit('|').next().expect("a number").parse().expect("a number");
                let asked = issuer.asked.lock().expect("lock");
                assert_eq!(asked[number - 1], (account.to_string(), audience.clone()));
            }
            let distinct: std::collections::HashSet<_> = wanted.iter().collect();
            assert_eq!(issuer.count(), distinct.len());
        });
    }
}
