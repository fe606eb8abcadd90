//! Parked events of a subscription while one of its queues goes.

use futures_util::FutureExt;

use crate::channel::disk::log::{
    DataDirectory, DirectoryOptions, LogOptions, QueueLeftover, QueueOptions,
};
use crate::channel::disk::parking::{DiskParking, QueueFinder};
use crate::channel::disk::queue::DeclaredQueue;
use crate::channel::parked::{
    ParkedAction, ParkedFuture, ParkedOperation, ParkedStore, ParkingSubscription,
};
use crate::model::{BackendKind, ChannelKey, ChannelKind, SubscriptionKey, SubscriptionKind};

/// Finds these queues, whether they are still there or not.
struct FoundBefore(Vec<DeclaredQueue>);

impl QueueFinder for FoundBefore {
    fn find_queues<'a>(
        &'a self,
        _owner: &'a ParkingSubscription,
    ) -> ParkedFuture<'a, Vec<DeclaredQueue>> {
        std::future::ready(Ok(self.0.clone())).boxed()
    }
}

/// The queue of a replay goes when the replay has ended, which may be after it was found.
#[tokio::test]
async fn a_queue_that_goes_has_nothing_parked() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let directory = DataDirectory::open(directory.path(), &DirectoryOptions::default());
    let opened = directory.expect("a data directory");
    let (log, _) = opened
        .open_log("log", LogOptions::default())
        .await
        .expect("a log");
    let id = log
        .declare("a", QueueOptions::default())
        .await
        .expect("a queue");
    log.retire(id, QueueLeftover::GivenUp).await.expect("gone");
    let parking = DiskParking {
        finder: FoundBefore(vec![DeclaredQueue { log, id }]),
    };
    let owner = owner();
    let operation = ParkedOperation::default();
    assert_eq!(
        parking.count(std::slice::from_ref(&owner)).await,
        Ok(vec![0])
    );
    let listing = parking
        .show(&owner, 10, &operation)
        .await
        .expect("a listing");
    assert_eq!((listing.parked, listing.events.len()), (0, 0));
    for action in [ParkedAction::Replay, ParkedAction::Discard] {
        let change = parking.change(&owner, action, &operation).await;
        assert_eq!(change.map(|change| change.done), Ok(0));
    }
}

fn owner() -> ParkingSubscription {
    ParkingSubscription {
        backend: BackendKind::Disk,
        channel: ChannelKey {
            kind: ChannelKind::Channel,
            namespace: "default".to_owned(),
            name: "c".to_owned(),
        },
        subscription: SubscriptionKey {
            kind: SubscriptionKind::Subscription,
            namespace: "default".to_owned(),
            name: "s".to_owned(),
        },
    }
}
