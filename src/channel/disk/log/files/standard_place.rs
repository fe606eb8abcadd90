//! Whether an open file or directory is still where it was opened.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::FilePlace;

/// Where an open file or directory is, compared with a path.
pub(super) fn place_of(open: &File, path: &Path) -> io::Result<FilePlace> {
    let open = open.metadata()?;
    match fs::metadata(path) {
        Err(error) if is_absent(&error) && open.nlink() == 0 => Ok(FilePlace::Removed),
        Ok(found) if (found.dev(), found.ino()) == (open.dev(), open.ino()) => Ok(FilePlace::Same),
        Ok(_) => Ok(FilePlace::Moved),
        Err(error) if is_absent(&error) => Ok(FilePlace::Moved),
        Err(error) => Err(error),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
