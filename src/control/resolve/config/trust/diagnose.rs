//! Explains the faults of certificates, in words that lead to the remedy.

use std::collections::BTreeSet;

use time::OffsetDateTime;

use super::BEGIN;
use crate::control::read::problem::Severity;
use crate::model::{TrustBundle, TrustError, TrustedCertificate};

/// The reason why a text holds no certificates, and a remedy.
pub(crate) fn unusable_reason(text: &str, error: &TrustError) -> String {
    let trimmed = text.trim();
    let begins = trimmed.contains(BEGIN);
    let one_line = !trimmed.contains('\n');
    if begins && one_line && trimmed.contains("\\n") {
        return "contains \\n as text: write `CACerts: |` and the certificate in lines below it"
            .to_owned();
    }
    if begins && one_line {
        return "is a certificate folded into one line: write `CACerts: |` instead of `>` or \
             plain text"
            .to_owned();
    }
    if begins && let Some(line) = uneven_indentation_line(text) {
        return format!(
            "is indented unevenly: line {line} of it begins with blanks that the others do not have"
        );
    }
    if trimmed.starts_with("LS0tLS1CRUdJTi") {
        return "is base64 of PEM: decode it, and write the -----BEGIN CERTIFICATE----- lines"
            .to_owned();
    }
    if one_line
        && (trimmed.starts_with('/') || trimmed.ends_with(".crt") || trimmed.ends_with(".pem"))
    {
        return "is the name of a file: write the content of the file, below `CACerts: |`"
            .to_owned();
    }
    match error {
        // A folded text has lost the line break after the first BEGIN, where a blank line ends a
        // paragraph.
        TrustError::Malformed { .. } if begins && is_begin_line_folded(text) => {
            "is a certificate folded by `>`: write `CACerts: |` instead".to_owned()
        }
        TrustError::NoCertificate
        | TrustError::NotACertificate(_)
        | TrustError::Malformed { .. } => error.to_string(),
    }
}

/// The number of the first line that begins with blanks, if some lines do and some do not.
fn uneven_indentation_line(text: &str) -> Option<usize> {
    let lines = || {
        text.lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
    };
    let indented = |line: &str| line.starts_with([' ', '\t']);
    let first = lines()
        .find(|(_, line)| indented(line))
        .map(|(index, _)| index + 1);
    first.filter(|_| {
        lines().any(|(_, line)| line.starts_with("-----"))
            || lines().all(|(_, line)| indented(line))
    })
}

/// True if a BEGIN stands in one line with the text that should be below it.
fn is_begin_line_folded(text: &str) -> bool {
    text.lines().any(|line| {
        line.trim_start()
            .strip_prefix(BEGIN)
            .is_some_and(|rest| !rest.trim().is_empty())
    })
}

/// Finds a certificate that a reader of PEM skips, since its BEGIN is not at the start of a line.
pub(crate) fn skipped_certificate(text: &str) -> Option<(Severity, String)> {
    let hidden = text
        .lines()
        .position(|line| line.contains(BEGIN) && !line.starts_with("-----"))?;
    let message = format!(
        "holds a certificate that does not count: indent line {} of it like the others",
        hidden + 1
    );
    Some((Severity::Error, message))
}

/// The problem of PEM items of other types beside certificates, which do not count.
pub(crate) fn other_pem_items(kinds: &BTreeSet<&'static str>) -> Option<(Severity, String)> {
    if kinds.is_empty() {
        return None;
    }
    let is_secret = kinds.contains("private key");
    let secret = if is_secret {
        ", and make its owner a new one, since it is no secret any more"
    } else {
        ""
    };
    let kinds = kinds.iter().copied().collect::<Vec<_>>().join(" and a ");
    let message = format!(
        "holds a {kinds} beside the certificates, which does not count: take it out{secret}"
    );
    Some((Severity::Warning, message))
}

/// The reason why a value of a trust bundle holds no certificate at all.
pub(crate) fn no_certificate_reason(value: &[u8]) -> String {
    /// The first bytes of each certificate in DER.
    const DER: [u8; 2] = [0x30, 0x82];
    let text = str::from_utf8(value).unwrap_or_default().trim();
    let decoded = super::decode_base64(text).filter(|_| !text.is_empty());
    if value.starts_with(&DER) || decoded.is_some_and(|decoded| decoded.starts_with(&DER)) {
        return "holds a certificate in DER, which does not count: convert it by `openssl x509 \
             -inform der`"
            .to_owned();
    }
    unusable_reason(
        text,
        &TrustBundle::from_pem(text)
            .err()
            .unwrap_or(TrustError::NoCertificate),
    )
}

/// The problems of certificates that can be read.
pub(crate) fn certificate_findings(bundle: &TrustBundle, now: i64) -> Vec<(Severity, String)> {
    let invalid: Vec<_> = bundle.invalid_at(now).collect();
    let severity = if invalid.len() == bundle.certificates().len() {
        Severity::Error
    } else {
        Severity::Warning
    };
    let mut findings: Vec<_> = invalid
        .into_iter()
        .map(|certificate| {
            (
                severity,
                format!(
                    "{}: replace it by a valid one",
                    describe_invalidity(certificate, now)
                ),
            )
        })
        .collect();
    for certificate in bundle
        .certificates()
        .iter()
        .filter(|certificate| !certificate.is_ca)
    {
        let message = format!(
            "{} is not the certificate of a CA: only a server that shows this very \
             certificate is trusted",
            certificate.subject
        );
        findings.push((Severity::Note, message));
    }
    findings
}

/// The subject of a certificate, and the day since which it is not valid, or from which it will be.
pub(crate) fn describe_invalidity(certificate: &TrustedCertificate, now: i64) -> String {
    let (verb, time) = if certificate.not_after < now {
        ("expired on", certificate.not_after)
    } else {
        ("is not valid before", certificate.not_before)
    };
    format!("{} {verb} {}", certificate.subject, format_day(time))
}

/// The day (UTC) of a time in seconds since the epoch.
pub(in crate::control::resolve) fn format_day(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds).map_or_else(
        |_range| "a day far away".to_owned(),
        |time| time.date().to_string(),
    )
}
