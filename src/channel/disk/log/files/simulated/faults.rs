//! Which faults a simulated disk has, how often, and by which chance.

/// Chances of faults, each in a million operations of its kind, and the size of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskFaults {
    /// A read fails.
    pub read_errors: u32,
    /// A write fails, after a part of it was done or none.
    pub write_errors: u32,
    /// A sync fails: some of what was written since the last one is lost, and read back as if it
    /// was not.
    pub sync_errors: u32,
    /// A file cannot be made, renamed or removed.
    pub name_errors: u32,
    /// A read or write does less than it was asked for.
    pub short: u32,
    /// Bytes that all files may take; 0 for any number.
    pub capacity: u64,
}

/// What a disk has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCounts {
    /// Operations of all kinds.
    pub operations: u64,
    /// Crashes.
    pub crashes: u64,
    /// Writes that were lost in a crash.
    pub lost: u64,
    /// Writes that a crash has torn.
    pub torn: u64,
    /// Writes that survived a crash without being synced.
    pub survived: u64,
    /// Writes that survived, in part at least, behind a part that did not.
    pub reordered: u64,
    /// Names that were made, changed or removed and were as before after a crash.
    pub lost_names: u64,
    /// Reads, writes, syncs and changes of names that failed.
    pub failed: u64,
    /// Writes that found the disk full.
    pub full: u64,
    /// Reads and writes that did less than they were asked for.
    pub short: u64,
}

/// Chance that depends on a seed alone (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct SeededChance(u64);

impl SeededChance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, or 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    /// True as often as `chance` in a million.
    pub(crate) fn hits(&mut self, chance: u32) -> bool {
        chance > 0 && self.below(1_000_000) < u64::from(chance)
    }
}

impl DiskCounts {
    /// Adds what another disk has done.
    pub fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.crashes += other.crashes;
        self.lost += other.lost;
        self.torn += other.torn;
        self.survived += other.survived;
        self.reordered += other.reordered;
        self.lost_names += other.lost_names;
        self.failed += other.failed;
        self.full += other.full;
        self.short += other.short;
    }
}
