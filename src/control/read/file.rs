//! Reads files and directories of manifests: finds the files, and parses the objects in them. Its
//! functions block.
//!
//! A file whose content is not YAML keeps the objects of its last good content. So does a file that
//! is suddenly empty, which is how a file looks while somebody writes it; one that was named and is
//! empty from the start is an error, as one that is not there.

mod flatten;
pub(crate) mod list;

use std::collections::{HashMap, HashSet};
use std::fs::File as OsFile;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::string::FromUtf8Error;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::document::{ManifestDocument, ManifestFile, ManifestSet};
use super::header::is_identified;
use super::problem::{Problem, Severity};
use super::yaml;
use flatten::flatten_lists;
use list::FileListing;

/// The largest file that is read, 64 MiB; standard input has the same limit, since reading takes a
/// multiple of it in memory. 5,000 Triggers as `kubectl get -o yaml` prints them have about 3 MiB.
const LONGEST: u64 = 64 << 20;

/// Reads the manifests at these paths: files, directories, or `-` for standard input. Blocks.
///
/// In a directory, the files `*.yaml`, `*.yml` and `*.json` count, in the order of their names, and
/// those of the directories in it; hidden files do not. A file that cannot be read becomes a
/// problem of the result.
#[must_use]
pub fn read_manifests(paths: &[PathBuf]) -> ManifestSet {
    reread_manifests(paths, &ManifestSet::default())
}

/// Reads the manifests in a text, as if it was a file of this name. Blocks, as [`read_manifests`]
/// does.
#[must_use]
pub fn parse_manifests(name: &str, text: &str) -> ManifestSet {
    let digest = Sha256::digest(text).into();
    ManifestSet {
        files: vec![parse_file(name, text, digest, None)],
        problems: Vec::new(),
    }
}

/// Reads the manifests at these paths again. `last`, which was read before, provides the last good
/// content and the files that have not changed.
pub(crate) fn reread_manifests(paths: &[PathBuf], last: &ManifestSet) -> ManifestSet {
    let FileListing {
        files: found,
        failed,
        problems,
    } = list::list_files(paths);
    let mut files = Vec::with_capacity(found.len());
    let before: HashMap<&str, &Arc<ManifestFile>> =
        last.files.iter().map(|file| (&*file.name, file)).collect();
    for found in &found {
        let name = found.name();
        match before.get(name.as_str()) {
            // Standard input and pipes can be read once only.
            Some(before) if found.is_readable_once => files.push(Arc::clone(before)),
            before => files.push(read_file(found, &name, before.copied())),
        }
    }
    // Unlike a file that is taken out of its directory, a whole path that is gone is taken for a
    // mistake, or for the moment between two versions of it.
    let vanished = |file: &ManifestFile| {
        failed
            .iter()
            .any(|path| Path::new(&*file.name).starts_with(path))
    };
    files.extend(
        last.files
            .iter()
            .filter(|file| vanished(file))
            .map(Arc::clone),
    );
    ManifestSet { files, problems }
}

fn read_file(
    found: &list::FoundFile,
    name: &str,
    before: Option<&Arc<ManifestFile>>,
) -> Arc<ManifestFile> {
    // The digest comes first: an unchanged file is not parsed again.
    if let Some(before) =
        before.filter(|before| before.digest.is_some() && before.digest == file_digest(found).ok())
    {
        return Arc::clone(before);
    }
    let bytes = match read_bytes(found) {
        Ok(bytes) => bytes,
        Err(error) => {
            let problem = unreadable_problem(name, &error);
            return keep_last_good_content(name, before, None, vec![problem]).into();
        }
    };
    let digest = Sha256::digest(&bytes).into();
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return file_of_other_encoding(&error, name, digest, before),
    };
    if found.is_named
        && text.trim().is_empty()
        && before.is_none_or(|before| before.documents.is_empty())
    {
        let message = "is empty, though it was named: write the objects into it, or leave it out";
        let problem = Problem::of_file(Severity::Error, name, None, message);
        return keep_last_good_content(name, before, Some(digest), vec![problem]).into();
    }
    parse_file(name, &text, digest, before)
}

/// The last good content of a file that is not UTF-8, or its text as far as it can be read.
fn file_of_other_encoding(
    error: &FromUtf8Error,
    name: &str,
    digest: [u8; 32],
    before: Option<&Arc<ManifestFile>>,
) -> Arc<ManifestFile> {
    let good = error
        .as_bytes()
        .get(..error.utf8_error().valid_up_to())
        .unwrap_or_default();
    let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
    let problem = Problem::of_file(
        Severity::Error,
        name,
        Some(line),
        "is not UTF-8: save it as UTF-8",
    );
    let kept = keep_last_good_content(name, before, Some(digest), vec![problem]);
    let text = || String::from_utf8_lossy(error.as_bytes()).into();
    with_unparsed_text(kept, text).into()
}

/// Adds the text of a file that cannot be parsed, if there is no last good content of it.
fn with_unparsed_text(kept: ManifestFile, text: impl FnOnce() -> Box<str>) -> ManifestFile {
    ManifestFile {
        unparsed_text: kept.documents.is_empty().then(text),
        ..kept
    }
}

/// The objects of a text; if the text is not YAML or has no objects, those of the file's last good
/// content.
pub(crate) fn parse_file(
    name: &str,
    text: &str,
    digest: [u8; 32],
    before: Option<&Arc<ManifestFile>>,
) -> Arc<ManifestFile> {
    let file: Arc<str> = name.into();
    let mut documents = Vec::new();
    let mut problems = Vec::new();
    // Every document is parsed, so that the problems of all of them are reported at once.
    for document in yaml::parse_documents(text) {
        match document {
            Ok(parsed) => flatten_lists(parsed, &file, &mut documents, &mut problems),
            Err(broken) => {
                problems.push(Problem::of_file(
                    Severity::Error,
                    name,
                    Some(broken.line),
                    broken.message,
                ));
            }
        }
    }
    // One unreadable document keeps the whole last content, since nobody knows which object it is.
    if !problems.is_empty() {
        let kept = keep_last_good_content(name, before, Some(digest), problems);
        return with_unparsed_text(kept, || text.into()).into();
    }
    if documents.is_empty() {
        let message = "holds no objects: write some, or remove the file";
        let problem = Problem::of_file(Severity::Warning, name, None, message);
        return keep_last_good_content(name, before, Some(digest), vec![problem]).into();
    }
    // Unchanged objects stay the same values, before missing ones are added from the last content.
    reuse_unchanged_values(&mut documents, before);
    retain_missing_objects(&mut documents, before);
    Arc::new(ManifestFile {
        name: file,
        digest: Some(digest),
        documents: Arc::new(documents),
        problems,
        manager: None,
        unparsed_text: None,
    })
}

/// Keeps the objects that have disappeared from a file, if one object of the file has no readable
/// kind, namespace or name: that object may be one of those that are missing.
fn retain_missing_objects(
    documents: &mut Vec<ManifestDocument>,
    before: Option<&Arc<ManifestFile>>,
) {
    let Some(before) = before.filter(|_| !documents.iter().all(is_identified)) else {
        return;
    };
    let identified = documents.iter().filter(|document| is_identified(document));
    let known: HashSet<_> = identified.map(ManifestDocument::identity).collect();
    let missing = before
        .documents
        .iter()
        .filter(|document| !known.contains(&document.identity()));
    let missing: Vec<ManifestDocument> = missing
        .filter(|document| is_identified(document))
        .cloned()
        .collect();
    documents.extend(missing);
}

/// Replaces each value that has not changed by the value of the last reading, so that both are one
/// place in memory.
fn reuse_unchanged_values(documents: &mut [ManifestDocument], before: Option<&Arc<ManifestFile>>) {
    let before = before
        .into_iter()
        .flat_map(|before| before.documents.iter());
    let known: HashMap<_, _> = before
        .map(|document| (document.identity(), &document.value))
        .collect();
    for document in documents {
        // The values are compared as text, since the lines of a value go by the order in which it
        // is written.
        let same = known
            .get(&document.identity())
            .filter(|known| known.to_string() == document.value.to_string());
        if let Some(same) = same.map(|same| Arc::clone(same)) {
            document.value = same;
        }
    }
}

/// A file whose content is not applied: it has these problems, and the objects that it had before.
fn keep_last_good_content(
    name: &str,
    before: Option<&Arc<ManifestFile>>,
    digest: Option<[u8; 32]>,
    mut problems: Vec<Problem>,
) -> ManifestFile {
    let documents = before
        .map(|before| Arc::clone(&before.documents))
        .unwrap_or_default();
    if !documents.is_empty() {
        for problem in &mut problems {
            problem
                .message
                .push_str("; until then its last good content stays in use");
        }
    }
    ManifestFile {
        name: name.into(),
        digest,
        documents,
        problems,
        manager: None,
        unparsed_text: None,
    }
}

fn unreadable_problem(name: &str, error: &io::Error) -> Problem {
    Problem::of_file(
        Severity::Error,
        name,
        None,
        format!("cannot be read: {error}"),
    )
}

/// The SHA-256 of a file, of which only a piece at a time is in memory.
fn file_digest(found: &list::FoundFile) -> io::Result<[u8; 32]> {
    let mut digest = Sha256::new();
    io::copy(
        &mut OsFile::open(&found.path)?.take(LONGEST + 1),
        &mut digest,
    )?;
    Ok(digest.finalize().into())
}

fn read_bytes(found: &list::FoundFile) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if list::is_stdin(&found.path) {
        io::stdin()
            .lock()
            .take(LONGEST + 1)
            .read_to_end(&mut bytes)?;
    } else {
        let file = OsFile::open(&found.path)?;
        let length = file.metadata()?.len().min(LONGEST);
        bytes.reserve_exact(usize::try_from(length).unwrap_or_default() + 1);
        file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > LONGEST {
        return Err(io::Error::other("it is larger than 64 MiB: split it"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
