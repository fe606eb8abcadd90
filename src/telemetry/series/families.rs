//! Makes metric families of the series. Counters that were never used are left out where that makes
//! many data points few.

mod channel;
mod dispatch;
mod http;
mod labels;
mod points;
mod request_reply;
mod subscription;

use super::registry::SeriesRegistry;
use crate::telemetry::metric_family::MetricFamily;

impl SeriesRegistry {
    /// Returns the families of all series now; series that nobody holds are forgotten.
    #[must_use]
    pub(crate) fn collect_families(&self) -> Vec<MetricFamily<'static>> {
        let (channels, subscriptions) = (self.channels.live(), self.subscriptions.live());
        let mut families = vec![channel::channel_family(&channels)];
        families.extend(subscription::subscription_families(&subscriptions));
        families.extend(dispatch::dispatch_families(&channels, &subscriptions));
        families.extend(http::http_families(self));
        families.extend(request_reply::request_reply_families(
            &self.request_replies.live(),
        ));
        families
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::model::DestinationRole;
    use crate::telemetry::series::{ArrivalOutcome, DeliveryEnd, SeriesKey};

    fn name(name: &str) -> SeriesKey {
        SeriesKey {
            kind: "subscription",
            namespace: "ns".into(),
            name: name.into(),
        }
    }

    fn text(series: &SeriesRegistry) -> String {
        let mut text = String::new();
        series.collect_families().iter().for_each(|family| {
            family.write_to(
                &mut text,
                crate::telemetry::metric_family::ExpositionFormat::PrometheusText,
            )
        });
        text
    }

    /// What is read of a subscription, and that nothing is left when it goes.
    #[test]
    fn series_live_as_long_as_their_object() {
        let series = SeriesRegistry::default();
        let one = series.subscription(&name("a"));
        let same = series.subscription(&name("a"));
        assert!(Arc::ptr_eq(&one, &same));
        one.count_enqueued();
        one.start_delivery();
        one.count_attempt(DestinationRole::Subscriber, Ok(503));
        one.count_attempt(DestinationRole::DeadLetterSink, Err("timeout"));
        one.count_attempt(DestinationRole::DeadLetterSink, Err("new reason"));
        one.count_end(DeliveryEnd::DeadLettered);
        one.record_dispatch(Some(503), Duration::from_millis(3), None);
        let labels = "subscription_kind=\"subscription\",subscription_namespace=\"ns\",subscription_name=\"a\"";
        let read = text(&series);
        for line in [
            format!("sealpost_subscription_enqueued_total{{{labels}}} 1"),
            format!(
                "sealpost_subscription_deliveries_total{{{labels},outcome=\"dead_lettered\"}} 1"
            ),
            format!(
                "sealpost_subscription_attempts_total{{{labels},destination=\"subscriber\",result=\"5xx\"}} \
                 1"
            ),
            format!(
                "sealpost_subscription_attempts_total{{{labels},destination=\"dead_letter_sink\",result=\"timeout\"}} \
                 1"
            ),
            format!(
                "sealpost_subscription_attempts_total{{{labels},destination=\"dead_letter_sink\",result=\"other\"}} \
                 1"
            ),
            format!("sealpost_subscription_queue_depth{{{labels}}} 0"),
        ] {
            assert!(
                read.lines().any(|found| found == line),
                "{line} is not in\n{read}"
            );
        }
        assert!(read.contains(
            "messaging_destination_name=\"subscription:a.ns\",http_response_status_code=\"503\""
        ));
        drop((one, same));
        assert!(!text(&series).contains("subscription_name=\"a\""));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_event_has_an_age_while_it_waits() {
        let series = SeriesRegistry::default();
        let one = series.subscription(&name("a"));
        let came = tokio::time::Instant::now();
        tokio::time::advance(Duration::from_secs(5)).await;
        one.set_oldest_waiting(came);
        assert!(
            (one.oldest_waiting_age().as_secs_f64() - 5.0).abs() < 0.01,
            "{:?}",
            one.oldest_waiting_age()
        );
        one.start_delivery();
        assert_eq!(one.oldest_waiting_age(), Duration::ZERO);
    }

    #[test]
    fn channels_tell_what_became_of_events() {
        let series = SeriesRegistry::default();
        let channel = series.channel(&SeriesKey {
            kind: "broker",
            namespace: "ns".into(),
            name: "b".into(),
        });
        channel.count_arrivals(ArrivalOutcome::Accepted, 3);
        channel.count_arrivals(ArrivalOutcome::TtlExhausted, 1);
        let read = text(&series);
        let labels = "channel_kind=\"broker\",channel_namespace=\"ns\",channel_name=\"b\"";
        assert!(
            read.contains(&format!(
                "sealpost_channel_events_total{{{labels},result=\"accepted\"}} 3\n"
            )),
            "{read}"
        );
        assert!(
            read.contains(&format!("{{{labels},result=\"ttl_exhausted\"}} 1\n")),
            "{read}"
        );
    }
}
