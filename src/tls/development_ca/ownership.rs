//! Checks who owns the files of the development CA: a CA that another user could have written is
//! not advertised as one to be trusted.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Mode bits by which other users may change something.
const WRITABLE: u32 = 0o022;
/// Mode bits by which other users may do anything.
const OPEN: u32 = 0o077;
const ROOT: u32 = 0;

/// The files and the directory that are checked, by what others may do with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CaFileKind {
    /// The state directory, in which others must not replace anything.
    Directory,
    /// The certificate, which others may read.
    Certificate,
    /// The private key, which others may not read.
    Key,
}

/// Returns what is wrong with the owner or mode of a path, with the remedy; `None` if it belongs to
/// this user or root, and others may do no more than they should.
///
/// # Errors
/// Fails if the path cannot be examined.
pub(super) fn check_ownership(path: &Path, place: CaFileKind) -> io::Result<Option<String>> {
    let metadata = fs::metadata(path)?;
    // Opening something that is no file, such as a pipe, may wait for ever.
    if place != CaFileKind::Directory && !metadata.is_file() {
        return Ok(Some("it is no file: remove it".to_owned()));
    }
    let (owner, mode) = (metadata.uid(), metadata.permissions().mode() & 0o7777);
    let user = rustix::process::geteuid().as_raw();
    if owner != user && owner != ROOT {
        let remedy = format!("run chown {user} on it if it is to be trusted");
        return Ok(Some(format!(
            "it belongs to user {owner}, and this process is user {user}: {remedy}"
        )));
    }
    let (refused, who, remedy) = match place {
        CaFileKind::Directory | CaFileKind::Certificate => {
            (WRITABLE, "others may write to it", "chmod go-w")
        }
        CaFileKind::Key => (OPEN, "it is not its owner's only", "chmod 600"),
    };
    Ok((mode & refused != 0)
        .then(|| format!("{who} (mode {mode:04o}): run {remedy} on it if it is to be trusted")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::chown;
    use tempfile::TempDir;

    #[test]
    fn modes_that_let_others_in_are_complained_of() {
        let directory = TempDir::new().expect("a directory");
        let file = directory.path().join("file");
        fs::write(&file, "").expect("written");
        for (place, mode, words) in [
            (CaFileKind::Certificate, 0o644, None),
            (CaFileKind::Certificate, 0o600, None),
            (
                CaFileKind::Certificate,
                0o664,
                Some("0664): run chmod go-w"),
            ),
            (
                CaFileKind::Certificate,
                0o646,
                Some("0646): run chmod go-w"),
            ),
            (CaFileKind::Directory, 0o755, None),
            (CaFileKind::Directory, 0o1777, Some("1777): run chmod go-w")),
            (CaFileKind::Directory, 0o775, Some("0775): run chmod go-w")),
            (CaFileKind::Key, 0o600, None),
            (CaFileKind::Key, 0o400, None),
            (CaFileKind::Key, 0o640, Some("0640): run chmod 600")),
            (CaFileKind::Key, 0o604, Some("0604): run chmod 600")),
        ] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).expect("set");
            let complaint = check_ownership(&file, place).expect("it is there");
            let is_right = match (&complaint, words) {
                (Some(complaint), Some(words)) => complaint.contains(words),
                (complaint, words) => complaint.is_none() && words.is_none(),
            };
            assert!(is_right, "{place:?} {mode:o}: {complaint:?}");
        }
        assert!(check_ownership(&directory.path().join("none"), CaFileKind::Key).is_err());
    }

    #[test]
    fn what_is_no_file_is_complained_of() {
        let directory = TempDir::new().expect("a directory");
        let told = check_ownership(directory.path(), CaFileKind::Key)
            .expect("it is there")
            .expect("a complaint");
        assert!(told.starts_with("it is no file"), "{told}");
    }

    /// Only root may give files away: elsewhere `/` stands for what is root's, and nothing for what
    /// is a stranger's.
    #[test]
    fn owners_are_this_user_and_root() {
        let directory = TempDir::new().expect("a directory");
        let file = directory.path().join("file");
        fs::write(&file, "").expect("written");
        assert_eq!(
            check_ownership(&file, CaFileKind::Certificate).expect("it is there"),
            None
        );
        assert_eq!(
            check_ownership(Path::new("/"), CaFileKind::Directory).expect("it is there"),
            None
        );
        if !rustix::process::geteuid().is_root() {
            assert!(
                chown(&file, Some(12_345), None).is_err(),
                "the test is not root, so it cannot make a stranger's file"
            );
            return;
        }
        chown(&file, Some(12_345), None).expect("root may");
        for place in [
            CaFileKind::Directory,
            CaFileKind::Certificate,
            CaFileKind::Key,
        ] {
            let complaint = check_ownership(&file, place)
                .expect("it is there")
                .expect("a complaint");
            assert!(
                complaint
                    .contains("belongs to user 12345, and this process is user 0: run chown 0"),
                "{complaint}"
            );
        }
    }
}
