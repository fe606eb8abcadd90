//! The admin token: the content of a file, read again for each request that shows a token, so that
//! it can be replaced while the process runs. It is never logged, and compared in constant time.

use std::path::{Path, PathBuf};

use anyhow::Context;
use sha2::{Digest, Sha256};

/// Least number of bytes of a token, since everybody who reaches the port can try tokens.
const SHORTEST: usize = 16;

/// The file that holds the token.
#[derive(Clone, Debug)]
pub(crate) struct AdminToken(PathBuf);

impl AdminToken {
    /// Checks the token in this file, which is read again later.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or if its token is too short or not one line of ASCII.
    pub(crate) fn new(file: &Path) -> anyhow::Result<Self> {
        let read = std::fs::read_to_string(file).map_err(anyhow::Error::from);
        read.and_then(|text| parse_token(&text).map(drop))
            .with_context(|| flag_text(file))?;
        Ok(Self(file.to_owned()))
    }

    /// Returns true if this is the token, as the file is now.
    ///
    /// # Errors
    /// Fails if the file holds no valid token any more.
    pub(super) async fn matches(&self, shown: &str) -> anyhow::Result<bool> {
        let read = tokio::fs::read_to_string(&self.0)
            .await
            .map_err(anyhow::Error::from);
        let text = read.with_context(|| flag_text(&self.0))?;
        let token = parse_token(&text).with_context(|| flag_text(&self.0))?;
        Ok(is_equal_in_constant_time(
            &token_digest(token),
            &token_digest(shown),
        ))
    }
}

fn flag_text(file: &Path) -> String {
    format!("--admin-token-file {}", file.display())
}

/// Returns the token in the text of the file, without blanks around it.
fn parse_token(text: &str) -> anyhow::Result<&str> {
    let token = text.trim();
    anyhow::ensure!(
        token.len() >= SHORTEST,
        "a token has {SHORTEST} characters or more: make one with openssl rand -hex 32"
    );
    anyhow::ensure!(
        token.bytes().all(|byte| byte.is_ascii_graphic()),
        "a token is one line of ASCII without blanks"
    );
    Ok(token)
}

fn token_digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// Compares every byte, wherever the first difference is, so that the time says nothing about it.
fn is_equal_in_constant_time(one: &[u8; 32], other: &[u8; 32]) -> bool {
    one.iter()
        .zip(other)
        .fold(0, |differences, (one, other)| differences | (one ^ other))
        == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_is_what_is_in_the_file_now() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let write = |text: &str| std::fs::write(file.path(), text).expect("written");
        for wrong in [
            "",
            "\n",
            "0123456789abcde\n",
            "0123456789 abcdef",
            "0123456789abcdé0",
        ] {
            write(wrong);
            let refused = AdminToken::new(file.path()).expect_err("no token");
            let text = format!("{refused:#}");
            assert!(
                text.starts_with("--admin-token-file ") && !text.contains("0123"),
                "{text}"
            );
        }
        write(" 0123456789abcdef\n");
        let token = AdminToken::new(file.path()).expect("a token");
        let is = async |shown| token.matches(shown).await.ok();
        assert_eq!(
            (is("0123456789abcdef").await, is("0123456789abcdeg").await),
            (Some(true), Some(false))
        );
        assert_eq!(
            (is("").await, is("0123456789abcdef0").await),
            (Some(false), Some(false))
        );
        write("fedcba9876543210");
        assert_eq!(
            (is("0123456789abcdef").await, is("fedcba9876543210").await),
            (Some(false), Some(true))
        );
        write("");
        assert_eq!(is("").await, None);
    }
}
