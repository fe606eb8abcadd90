//! What a crash leaves of what was not synced.

use super::disk::{DiskInode, DiskState, put_at};

/// Bytes that the medium writes at once, or not at all.
const SECTOR: u64 = 512;

impl DiskState {
    /// What is left after a crash: of the names, a beginning of what was changed, as on a file
    /// system with a journal; of each file any of its writes, whole or in any of its sectors.
    pub(crate) fn restart(&mut self) {
        self.counts.crashes += 1;
        let changes = std::mem::take(&mut self.changes);
        let kept = self.chance.below(changes.len() as u64 + 1);
        for (place, change) in changes.into_iter().enumerate() {
            if (place as u64) < kept {
                self.make_durable(change);
            } else {
                self.counts.lost_names += 1;
            }
        }
        let mut inodes: Vec<u64> = self.durable_names.values().copied().collect();
        inodes.sort_unstable();
        let mut files = std::mem::take(&mut self.inodes);
        for inode in inodes {
            if let Some(mut file) = files.remove(&inode) {
                self.crash_file(&mut file);
                self.inodes.insert(inode, file);
            }
        }
        self.names = self.durable_names.clone();
        self.life += 1;
        self.holder = None;
        self.is_crashed = false;
        self.crash_at = None;
    }

    fn crash_file(&mut self, file: &mut DiskInode) {
        let mut has_lost = false;
        for (offset, bytes) in std::mem::take(&mut file.pending) {
            match self.chance.below(3) {
                0 => {
                    self.counts.lost += 1;
                    has_lost = true;
                }
                1 => {
                    put_at(&mut file.medium, offset, &bytes);
                    self.counts.survived += 1;
                    self.counts.reordered += u64::from(has_lost);
                }
                _ => {
                    self.counts.torn += 1;
                    self.tear(file, offset, &bytes);
                }
            }
        }
        file.cached = file.medium.clone();
    }

    /// Writes some of the sectors that a write touches, and in one crash of four a part of one.
    fn tear(&mut self, file: &mut DiskInode, offset: u64, bytes: &[u8]) {
        let (mut at, mut has_lost, mut is_reordered) = (0_u64, false, false);
        while at < bytes.len() as u64 {
            let to_sector = SECTOR - (offset + at) % SECTOR;
            let count = to_sector.min(bytes.len() as u64 - at);
            let kept = match self.chance.below(8) {
                0..=3 => 0,
                4 => self.chance.below(count + 1),
                _ => count,
            };
            is_reordered |= has_lost && kept > 0;
            has_lost |= kept < count;
            let range = usize::try_from(at).unwrap_or(0)..usize::try_from(at + kept).unwrap_or(0);
            put_at(
                &mut file.medium,
                offset + at,
                bytes.get(range).unwrap_or_default(),
            );
            at += count;
        }
        self.counts.reordered += u64::from(is_reordered);
    }
}
