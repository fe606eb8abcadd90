//! The files of the development CA, and the directory that they stand in.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::DevelopmentCaError;

/// Mode of a file that only its owner may read.
pub(super) const OWNER_ONLY: u32 = 0o600;
/// Mode of a file that everybody may read.
pub(super) const PUBLIC: u32 = 0o644;

/// Makes the state directory, unless it exists. Others may read it, since senders need the
/// certificate of the CA, perhaps in a container under another user; files with secrets are
/// readable by their owner only.
///
/// # Errors
/// Fails if the directory cannot be made.
pub(crate) fn create_state_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

/// Writes a whole file beside `path` and returns where it is. It has this mode whatever the umask
/// is.
fn write_beside(path: &Path, text: &str, mode: u32) -> io::Result<PathBuf> {
    let unfinished = path.with_file_name(format!(".{}.new", uuid::Uuid::new_v4()));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(OWNER_ONLY)
        .open(&unfinished)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(unfinished)
}

/// Replaces the certificate by a newer one, at once for all readers. If that fails, the old one is
/// used as long as it is valid.
pub(super) fn replace_certificate(certificate: &Path, pem: &str) {
    let renewed = write_beside(certificate, pem, PUBLIC)
        .and_then(|unfinished| fs::rename(&unfinished, certificate));
    let path = certificate.display();
    match renewed {
        Ok(()) => {
            tracing::info!(
                certificate = %path,
                "The development CA is renewed: its key is the same"
            )
        }
        Err(error) => {
            tracing::warn!(certificate = %path, %error, "The development CA could not be renewed")
        }
    }
}

/// Writes a whole file, of this mode whatever the umask is, unless it exists: then the existing
/// file stays.
pub(super) fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let unfinished = write_beside(path, text, mode)?;
    let linked = fs::hard_link(&unfinished, path);
    fs::remove_file(&unfinished)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}

pub(super) fn read_file(path: &Path) -> Result<String, DevelopmentCaError> {
    fs::read_to_string(path).map_err(|source| DevelopmentCaError::Directory {
        path: path.to_owned(),
        source,
    })
}

/// Lets others read the certificate: older versions made it readable by its owner only. If that
/// fails, the file belongs to another user and stays as it is.
pub(super) fn make_readable(certificate: &Path) {
    let mode = fs::metadata(certificate).map(|metadata| metadata.permissions().mode() & 0o777);
    if mode.is_ok_and(|mode| mode == OWNER_ONLY)
        && let Err(error) = fs::set_permissions(certificate, Permissions::from_mode(PUBLIC))
    {
        tracing::debug!(%error, "The CA's certificate stays readable by its owner only");
    }
}

pub(super) fn directory_error(path: &Path) -> impl FnOnce(io::Error) -> DevelopmentCaError {
    let path = path.to_owned();
    move |source| DevelopmentCaError::Directory { path, source }
}
