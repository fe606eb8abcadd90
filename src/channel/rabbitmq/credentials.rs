//! User name and password by which RabbitMQ is reached. Those in files are read for every
//! connection that is made: what a Secret says now counts, without a restart.

use std::io;
use std::path::{Path, PathBuf};

use lapin::uri::AMQPUri;

/// The flags that name the files, for errors.
const USERNAME_FILE: &str = "--rabbitmq-username-file";
const PASSWORD_FILE: &str = "--rabbitmq-password-file";
/// Longest user name or password in a file, in bytes: AMQP's limit of a short text, and more than
/// enough for a token.
const LONGEST: usize = 64 * 1024;

/// Where a user name or a password is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum CredentialSource {
    /// The text itself.
    Text(String),
    /// A file that holds it; a line end behind it does not count.
    File(PathBuf),
}

/// The user name and the password that replace those of the URIs. Nothing shows a text of them.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct RabbitmqCredentials {
    /// The user name; `None` leaves the URI's.
    pub(crate) username: Option<CredentialSource>,
    /// The password; `None` leaves the URI's.
    pub(crate) password: Option<CredentialSource>,
}

/// User name and password as they are now.
#[derive(Default)]
pub(super) struct CredentialTexts {
    username: Option<String>,
    password: Option<String>,
}

impl RabbitmqCredentials {
    /// Reads the files at the start, where waiting for a disk is no harm.
    ///
    /// # Errors
    /// Names the flag and the file that cannot be used, and shows nothing of what is in it.
    pub(super) fn read_at_start(&self) -> Result<CredentialTexts, String> {
        let read = |source: &Option<CredentialSource>, flag| match source {
            None => Ok(None),
            Some(CredentialSource::Text(text)) => Ok(Some(text.clone())),
            Some(CredentialSource::File(file)) => {
                usable_text(std::fs::read_to_string(file), file, flag).map(Some)
            }
        };
        Ok(CredentialTexts {
            username: read(&self.username, USERNAME_FILE)?,
            password: read(&self.password, PASSWORD_FILE)?,
        })
    }

    /// Reads the files for a connection.
    ///
    /// # Errors
    /// As [`Self::read_at_start`].
    pub(super) async fn read(&self) -> Result<CredentialTexts, String> {
        Ok(CredentialTexts {
            username: read_source(self.username.as_ref(), USERNAME_FILE).await?,
            password: read_source(self.password.as_ref(), PASSWORD_FILE).await?,
        })
    }
}

impl CredentialTexts {
    /// Puts them in the place of what the URI says.
    pub(super) fn replace_in(&self, uri: &mut AMQPUri) {
        let login = &mut uri.authority.userinfo;
        if let Some(username) = &self.username {
            login.username.clone_from(username);
        }
        if let Some(password) = &self.password {
            login.password.clone_from(password);
        }
    }
}

async fn read_source(
    source: Option<&CredentialSource>,
    flag: &str,
) -> Result<Option<String>, String> {
    match source {
        None => Ok(None),
        Some(CredentialSource::Text(text)) => Ok(Some(text.clone())),
        Some(CredentialSource::File(file)) => {
            usable_text(tokio::fs::read_to_string(file).await, file, flag).map(Some)
        }
    }
}

/// What a file holds, without the line end that editors and `echo` leave.
fn usable_text(read: io::Result<String>, file: &Path, flag: &str) -> Result<String, String> {
    let refused = |reason: &dyn std::fmt::Display| format!("{flag} {}: {reason}", file.display());
    let text = read.map_err(|error| refused(&error))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(refused(&"it is empty"));
    }
    if text.len() > LONGEST || text.contains(['\n', '\0']) {
        return Err(refused(&"it is not one line of text"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_one_line() {
        let file = Path::new("p");
        let read = |text: &str| usable_text(Ok(text.to_owned()), file, PASSWORD_FILE);
        for text in ["s3cret", "s3cret\n", "s3cret\r\n"] {
            assert_eq!(read(text), Ok("s3cret".to_owned()), "{text:?}");
        }
        assert_eq!(
            read(" a b \n"),
            Ok(" a b ".to_owned()),
            "blanks are a part of it"
        );
        for (text, reason) in [("", "empty"), ("\n", "empty"), ("s3cret\nb\n", "one line")] {
            let error = read(text).expect_err(text);
            assert!(
                error.starts_with("--rabbitmq-password-file p: ")
                    && error.contains(reason)
                    && !error.contains("s3cret"),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn a_file_is_read_each_time() {
        let directory = tempfile::TempDir::new().expect("a directory");
        let file = directory.path().join("password");
        let credentials = RabbitmqCredentials {
            username: Some(CredentialSource::Text("u".to_owned())),
            password: Some(CredentialSource::File(file.clone())),
        };
        assert!(credentials.read_at_start().is_err(), "it is not there");
        for password in ["one", "two"] {
            std::fs::write(&file, password).expect("written");
            let mut uri: AMQPUri = "amqp://guest:guest@host".parse().expect("a URI");
            let texts = credentials.read().await.expect("read");
            texts.replace_in(&mut uri);
            let login = &uri.authority.userinfo;
            assert_eq!((&*login.username, &*login.password), ("u", password));
        }
    }
}
