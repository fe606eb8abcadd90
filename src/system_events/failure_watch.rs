//! Destinations that begin to fail, and take events again.

use std::collections::BTreeMap;

use super::own_deliveries::OwnDeliveries;
use super::system_event::{SystemEvent, SystemEventType, format_seconds};
use crate::telemetry::series::{FailingDestination, SeriesKey, SeriesRegistry, ToldSpell};

/// News of one destination, and what is known of it when they are told.
#[derive(Debug)]
pub(super) struct FailureNews {
    destination: FailingDestination,
    event: SystemEvent,
    /// The spell as it is told; `None` if it has ended.
    spell: Option<ToldSpell>,
}

impl FailureNews {
    pub(super) fn event(&self) -> &SystemEvent {
        &self.event
    }
}

/// The failure spells that were told, and have not ended.
#[derive(Debug, Default)]
pub(super) struct FailureWatch(BTreeMap<FailingDestination, ToldSpell>);

impl FailureWatch {
    /// What is so now and has not been told, at this time in seconds since the epoch.
    pub(super) fn news(
        &mut self,
        series: &SeriesRegistry,
        own: &OwnDeliveries,
        now: i64,
    ) -> Vec<FailureNews> {
        let spells: BTreeMap<FailingDestination, ToldSpell> = series
            .told_spells()
            .into_iter()
            .filter(|(destination, _spell)| !own.has(&destination.key))
            .collect();
        let mut news = Vec::new();
        for (destination, spell) in &spells {
            match self.0.get_mut(destination) {
                Some(known) => known.failures = spell.failures,
                None => news.push(FailureNews {
                    event: failing(destination, spell, now),
                    destination: destination.clone(),
                    spell: Some(spell.clone()),
                }),
            }
        }
        let ended = self
            .0
            .iter()
            .filter(|(known, _)| !spells.contains_key(known));
        news.extend(ended.map(|(destination, spell)| {
            FailureNews {
                event: recovered(destination, spell, now)
                    .with("removed", !series.is_live(&destination.key)),
                destination: destination.clone(),
                spell: None,
            }
        }));
        news
    }

    /// Notes that news have been told.
    pub(super) fn set_told(&mut self, news: FailureNews) {
        match news.spell {
            Some(spell) => self.0.insert(news.destination, spell),
            None => self.0.remove(&news.destination),
        };
    }
}

/// An event about an object, with its name in the data.
pub(super) fn about(event_type: SystemEventType, key: &SeriesKey) -> SystemEvent {
    let SeriesKey {
        kind,
        namespace,
        name,
    } = key;
    let subject = format!("{kind}/{namespace}/{name}");
    SystemEvent::new(event_type, subject)
        .with("kind", *kind)
        .with("namespace", &**namespace)
        .with("name", &**name)
}

fn failing(destination: &FailingDestination, spell: &ToldSpell, now: i64) -> SystemEvent {
    about(SystemEventType::DestinationFailing, &destination.key)
        .with("destination", destination.role)
        .with("url", spell.url.clone())
        .with("reason", spell.reason.clone())
        .with("failures", spell.failures)
        .with("since", format_seconds(now - spell.seconds()))
}

fn recovered(destination: &FailingDestination, spell: &ToldSpell, now: i64) -> SystemEvent {
    about(SystemEventType::DestinationRecovered, &destination.key)
        .with("destination", destination.role)
        .with("url", spell.url.clone())
        .with("failures", spell.failures)
        .with("since", format_seconds(now - spell.seconds()))
        .with("seconds", spell.seconds())
}
