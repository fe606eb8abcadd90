//! Tests of the server's faults.

use super::*;
use crate::channel::rabbitmq::tests::fake::{Confirm, Refusal, Settings};

#[tokio::test]
async fn messages_are_refused_as_told() {
    let server = FakeServer::start().await;
    let connection = connect(&server).await;
    let channel = open(&connection).await;
    declare(&channel, "q", FieldTable::default())
        .await
        .expect("a queue");
    declare(&channel, "p", FieldTable::default())
        .await
        .expect("a queue");
    let is_taken = |channel: Channel, queue: &'static str| async move {
        matches!(
            confirmed(publish(&channel, queue, "x").await).await,
            Confirmation::Ack(None)
        )
    };
    server.queue("q").nack(1);
    assert!(is_taken(channel.clone(), "p").await && !is_taken(channel.clone(), "q").await);
    assert!(is_taken(channel.clone(), "q").await, "only the next one");
    server.everywhere().nack_old();
    assert!(!is_taken(channel.clone(), "q").await);
    let new = open(&connection).await;
    assert!(
        is_taken(new.clone(), "q").await,
        "its leader was looked up after the election"
    );
    server.everywhere().heal();
    let history = server.history();
    server
        .channel(history.last().expect("one").channel)
        .nack_all();
    assert!(is_taken(channel, "q").await && !is_taken(new, "q").await);
    let confirms = server
        .published("q")
        .iter()
        .map(|published| published.confirm)
        .collect::<Vec<_>>();
    let (yes, no) = (Confirm::Acked, Confirm::Nacked);
    assert_eq!(
        (confirms, server.ready("q")),
        (vec![no, yes, no, yes, yes, no], 3)
    );
}

#[tokio::test]
async fn confirms_are_late_or_do_not_come() {
    let server = FakeServer::start().await;
    let connection = connect(&server).await;
    let channel = open(&connection).await;
    declare(&channel, "q", FieldTable::default())
        .await
        .expect("a queue");
    let late = Duration::from_millis(200);
    server.queue("q").confirm_after(late);
    let before = tokio::time::Instant::now();
    assert_eq!(
        confirmed(publish(&channel, "q", "x").await).await,
        Confirmation::Ack(None)
    );
    assert!(before.elapsed() >= late);
    server.queue("q").confirm_never();
    let withheld = publish(&channel, "q", "x").await;
    server
        .until("it has come", |server| server.published("q").len() == 2)
        .await;
    assert_eq!(
        (server.ready("q"), server.history()[1].confirm),
        (1, Confirm::Pending)
    );
    server.queue("q").heal();
    assert_eq!(
        (confirmed(withheld).await, server.ready("q")),
        (Confirmation::Ack(None), 2)
    );
}

/// Three at once: one frame confirms all of them, and the one that waits for nobody is confirmed
/// alone.
#[tokio::test]
async fn confirms_come_in_groups() {
    let server = FakeServer::start_with(Settings {
        confirms_at_once: 3,
        ..Settings::default()
    })
    .await;
    let connection = connect(&server).await;
    let channel = open(&connection).await;
    declare(&channel, "q", FieldTable::default())
        .await
        .expect("a queue");
    declare(&channel, "p", FieldTable::default())
        .await
        .expect("a queue");
    let mut confirms = Vec::new();
    for _ in 0..7 {
        confirms.push(publish(&channel, "q", "x").await);
    }
    for confirm in confirms {
        assert_eq!(confirmed(confirm).await, Confirmation::Ack(None));
    }
    server.queue("p").confirm_never();
    let withheld = publish(&channel, "p", "x").await;
    assert_eq!(
        confirmed(publish(&channel, "q", "x").await).await,
        Confirmation::Ack(None)
    );
    server.queue("p").heal();
    assert_eq!(confirmed(withheld).await, Confirmation::Ack(None));
}

/// Only who asks for that queue waits.
#[tokio::test]
async fn a_queue_without_leader_answers_nobody() {
    let server = FakeServer::start().await;
    let connection = connect(&server).await;
    let (channel, other) = (open(&connection).await, open(&connection).await);
    declare(&channel, "q", FieldTable::default())
        .await
        .expect("a queue");
    let mut consumer = consume(&other, "q", 10).await;
    server.queue("q").lose_leader();
    let withheld = publish(&other, "q", "x").await;
    let mut hung = std::pin::pin!(declare(&channel, "q", FieldTable::default()));
    assert!(
        tokio::time::timeout(Duration::from_millis(100), &mut hung)
            .await
            .is_err()
    );
    declare(&other, "p", FieldTable::default())
        .await
        .expect("a queue");
    server.queue("q").heal();
    hung.await.expect("an answer");
    assert_eq!(
        (confirmed(withheld).await, body(&next(&mut consumer).await)),
        (Confirmation::Ack(None), "x")
    );
    server
        .queue("q")
        .refuse(Refusal::new(541, "INTERNAL_ERROR - Cannot declare a queue"));
    let error = declare(&channel, "q", FieldTable::default())
        .await
        .expect_err("an error");
    assert_eq!(
        refusal(&error),
        (541, "INTERNAL_ERROR - Cannot declare a queue".to_owned())
    );
    server
        .until("the connection is closed", |server| {
            server.connections().is_empty()
        })
        .await;
}

#[tokio::test]
async fn connections_break_and_are_refused() {
    let server = FakeServer::start().await;
    let connection = connect(&server).await;
    server.drop_connections();
    until_lost(&connection).await;
    let connection = connect(&server).await;
    server.close_connections();
    until_lost(&connection).await;
    assert_eq!(server.connections_made(), 2);
    server.refuse_connections();
    assert!(
        try_connect(&server.uri())
            .await
            .expect("an answer")
            .is_err()
    );
    server.accept_connections();
    let connection = connect(&server).await;
    assert!(connection.status().connected());
}

#[tokio::test]
async fn who_has_another_password_is_refused() {
    let server = FakeServer::start().await;
    server.set(|settings| settings.password = "another".to_owned());
    let uri = server.uri().replace("another", "guest");
    let error = try_connect(&uri)
        .await
        .expect("an answer")
        .map(drop)
        .expect_err("no entry");
    assert_eq!(refusal(&error).0, 403);
}

/// Also what was asked before is answered when the silence is over.
#[tokio::test]
async fn a_server_falls_silent_after_the_handshake() {
    let server = FakeServer::start().await;
    server.fall_silent_after_handshake();
    let connection = connect(&server).await;
    let mut channel = std::pin::pin!(connection.create_channel());
    assert!(
        tokio::time::timeout(Duration::from_millis(100), &mut channel)
            .await
            .is_err()
    );
    server.speak();
    channel.await.expect("a channel");
}

#[tokio::test]
async fn heartbeats_come_unless_the_server_is_silent() {
    let server = FakeServer::start_with(Settings {
        heartbeat: 1,
        ..Settings::default()
    })
    .await;
    let connection = connect(&server).await;
    let wait = tokio::time::timeout(Duration::from_millis(2500), until_lost(&connection)).await;
    wait.expect_err("heartbeats come");
    server.fall_silent();
    assert!(
        tokio::time::timeout(Duration::from_millis(100), try_connect(&server.uri()))
            .await
            .is_err()
    );
    until_lost(&connection).await;
}

/// The client keeps to what was negotiated; one that does not is thrown out.
#[tokio::test]
async fn channels_are_limited() {
    let server = FakeServer::start_with(Settings {
        channel_max: 2,
        ..Settings::default()
    })
    .await;
    let connection = connect(&server).await;
    let _channels = (open(&connection).await, open(&connection).await);
    assert!(connection.create_channel().await.is_err());
    assert_eq!((server.channels_made(), server.channels_open()), (2, 2));
}

/// Connects, or learns in time that it cannot.
async fn try_connect(uri: &str) -> Result<lapin::Result<Connection>, tokio::time::error::Elapsed> {
    tokio::time::timeout(
        Duration::from_secs(2),
        Connection::connect(uri, ConnectionProperties::default()),
    )
    .await
}

async fn until_lost(connection: &Connection) {
    until(|| !connection.status().connected()).await;
}

/// Waits until something of the client is so.
async fn until(is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("in time");
}

#[tokio::test]
async fn an_alarm_is_told_to_all() {
    let server = FakeServer::start().await;
    let connection = connect(&server).await;
    let status = connection.status();
    server.block("low on memory");
    until(|| status.blocked()).await;
    let other = connect(&server).await;
    let late = other.status();
    until(|| late.blocked()).await;
    server.unblock();
    until(|| !status.blocked() && !late.blocked()).await;
}

#[tokio::test]
async fn consumers_are_cancelled_and_channels_closed() {
    let server = FakeServer::start().await;
    let connection = connect(&server).await;
    let channel = open(&connection).await;
    declare(&channel, "q", FieldTable::default())
        .await
        .expect("a queue");
    let mut consumer = consume(&channel, "q", 1).await;
    server.cancel_consumers("q");
    assert!(
        tokio::time::timeout(PATIENCE, consumer.next())
            .await
            .expect("in time")
            .is_none()
    );
    let mut consumer = consume(&channel, "q", 1).await;
    server.delete_queue("q");
    assert!(
        tokio::time::timeout(PATIENCE, consumer.next())
            .await
            .expect("in time")
            .is_none()
    );
    declare(&channel, "q", FieldTable::default())
        .await
        .expect("a queue");
    server.set(|settings| settings.consumer_timeout = Some(Duration::from_millis(150)));
    confirmed(publish(&channel, "q", "x").await).await;
    let mut consumer = consume_on(&channel).await;
    next(&mut consumer).await;
    let error = next_error(&mut consumer).await;
    let text = "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: 150 ms. This timeout value can be configured, see consumers doc guide to learn more";
    assert_eq!(
        (refusal(&error), server.ready("q")),
        ((406, text.to_owned()), 1)
    );
    let channel = open(&connection).await;
    let mut consumer = consume_on(&channel).await;
    server.set(|settings| settings.consumer_timeout = None);
    server.close_channel(
        server.consumers("q")[0],
        &Refusal::new(406, "PRECONDITION_FAILED - told to"),
    );
    next(&mut consumer).await;
    assert_eq!(
        refusal(&next_error(&mut consumer).await),
        (406, "PRECONDITION_FAILED - told to".to_owned())
    );
}

async fn consume_on(channel: &Channel) -> lapin::Consumer {
    consume(channel, "q", 1).await
}

async fn next_error(consumer: &mut lapin::Consumer) -> lapin::Error {
    let next = tokio::time::timeout(PATIENCE, consumer.next())
        .await
        .expect("in time");
    next.expect("an end").map(drop).expect_err("an error")
}
