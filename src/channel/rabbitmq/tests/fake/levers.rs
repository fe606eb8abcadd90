//! Levers by which a test makes the server misbehave, while it runs.

use std::time::Duration;

use tokio::time::Instant;

use super::FakeServer;
use super::broker::Refusal;
use super::faults::{Confirming, Fault, Silence, Target};
use super::settings::Settings;

/// Breaks and mends something: everything, a queue, or a channel.
pub(crate) struct Lever<'s> {
    server: &'s FakeServer,
    target: Target,
}

impl Lever<'_> {
    fn change(&self, change: impl FnOnce(&mut Fault)) {
        self.server
            .shared
            .with(|broker| broker.break_at(self.target.clone(), change));
    }

    fn confirm(&self, confirming: Confirming) {
        self.change(|fault| fault.confirming = confirming);
    }

    /// The next so many messages are refused.
    pub(crate) fn nack(&self, count: usize) {
        self.confirm(Confirming::Nack(Some(count)));
    }

    /// All messages are refused.
    pub(crate) fn nack_all(&self) {
        self.confirm(Confirming::Nack(None));
    }

    /// Messages are refused on the channels that there are now: they have looked the leader up
    /// before the election.
    pub(crate) fn nack_old(&self) {
        self.confirm(Confirming::NackOld(Instant::now()));
    }

    /// Messages are stored at once and confirmed later.
    pub(crate) fn confirm_after(&self, wait: Duration) {
        self.confirm(Confirming::After(wait));
    }

    /// Messages are neither stored nor refused, until that is mended: then they are stored.
    pub(crate) fn confirm_never(&self) {
        self.confirm(Confirming::Never);
    }

    /// Declarations, looks and consumers are not answered; their channels hang until that is
    /// mended.
    pub(crate) fn hang(&self) {
        self.change(|fault| fault.hangs = true);
    }

    /// Declarations and looks are answered with an error.
    pub(crate) fn refuse(&self, refusal: Refusal) {
        self.change(|fault| fault.refusal = Some(refusal));
    }

    /// The queue has no majority: nothing is confirmed, answered or delivered.
    pub(crate) fn lose_leader(&self) {
        self.change(|fault| {
            *fault = Fault {
                confirming: Confirming::Never,
                hangs: true,
                leaderless: true,
                refusal: None,
            };
        });
    }

    /// Mends all that.
    pub(crate) fn heal(&self) {
        self.server.shared.with(|broker| broker.heal(&self.target));
    }
}

impl FakeServer {
    /// What is wrong everywhere.
    pub(crate) fn everywhere(&self) -> Lever<'_> {
        Lever {
            server: self,
            target: Target::Everywhere,
        }
    }

    /// What is wrong with a queue, whether it is there or not.
    pub(crate) fn queue(&self, name: &str) -> Lever<'_> {
        Lever {
            server: self,
            target: Target::Queue(name.to_owned()),
        }
    }

    /// What is wrong with a channel, by its serial number.
    pub(crate) fn channel(&self, serial: u64) -> Lever<'_> {
        Lever {
            server: self,
            target: Target::Channel(serial),
        }
    }

    /// Changes how the server behaves.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Settings)) {
        self.shared.with(|broker| change(&mut broker.settings));
    }

    /// An alarm: connections are told that nothing is taken.
    pub(crate) fn block(&self, reason: &str) {
        self.shared.with(|broker| {
            broker.blocked = Some(reason.to_owned());
            broker.tell_blocked();
        });
    }

    /// The alarm is over.
    pub(crate) fn unblock(&self) {
        self.shared.with(|broker| {
            broker.blocked = None;
            broker.tell_blocked();
        });
    }

    /// Nothing is answered any more, not even a handshake, as by a process that was stopped.
    pub(crate) fn fall_silent(&self) {
        self.shared
            .with(|broker| broker.silence = Silence::Everything);
    }

    /// Handshakes are answered, and nothing after them.
    pub(crate) fn fall_silent_after_handshake(&self) {
        self.shared
            .with(|broker| broker.silence = Silence::AfterHandshake);
    }

    /// Everything is answered again, also what was asked before.
    pub(crate) fn speak(&self) {
        self.shared.with(|broker| broker.silence = Silence::Nothing);
    }

    /// Breaks all connections, without a word.
    pub(crate) fn drop_connections(&self) {
        self.shared.with(|broker| {
            broker
                .sessions
                .values()
                .for_each(|session| session.end.cancel())
        });
    }

    /// Closes all connections, as a node that is stopped.
    pub(crate) fn close_connections(&self) {
        self.shared.with(|broker| broker.force_closed());
    }

    /// New connections end at once.
    pub(crate) fn refuse_connections(&self) {
        self.shared.with(|broker| broker.refuses = true);
    }

    /// New connections are served again.
    pub(crate) fn accept_connections(&self) {
        self.shared.with(|broker| broker.refuses = false);
    }

    /// Closes a channel with an error.
    pub(crate) fn close_channel(&self, serial: u64, refusal: &Refusal) {
        self.shared
            .with(|broker| broker.close_channel(serial, refusal, (0, 0)));
    }

    /// Cancels all consumers of a queue, as when its node stops.
    pub(crate) fn cancel_consumers(&self, queue: &str) {
        self.shared.with(|broker| {
            let Some(there) = broker.queues.get_mut(queue) else {
                return;
            };
            for consumer in std::mem::take(&mut there.consumers) {
                broker.tell_cancelled(consumer.channel, &consumer.tag);
            }
        });
    }

    /// Deletes a queue with what is in it.
    pub(crate) fn delete_queue(&self, queue: &str) {
        self.shared.with(|broker| broker.drop_queue(queue));
    }
}
