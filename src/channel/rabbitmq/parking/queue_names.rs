//! Names of the queues of one subscription that operations on parked events need.

use crate::channel::parked::ParkingSubscription;
use crate::channel::rabbitmq::queue_names;

/// Names of the queues of one subscription.
pub(super) struct ParkingQueueNames<'o> {
    pub(super) owner: &'o ParkingSubscription,
    /// Queue in which the subscription's events wait.
    pub(super) queue: String,
    /// Parking queue of the events that nobody took.
    pub(super) parking_queue: String,
}

impl<'o> ParkingQueueNames<'o> {
    pub(super) fn for_subscription(owner: &'o ParkingSubscription) -> Self {
        let queue = queue_names::subscription_queue(&owner.channel, &owner.subscription);
        Self {
            owner,
            parking_queue: queue_names::parking_queue(&queue),
            queue,
        }
    }
}
