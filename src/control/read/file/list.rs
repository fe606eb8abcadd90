//! Lists the files at some paths, and notices that one has changed.

use std::fs::{self, FileType};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::control::read::problem::{Problem, Severity};

/// A file of manifests that was found at a path, or in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundFile {
    /// The path of the file; `-` for standard input.
    pub(crate) path: PathBuf,
    /// True if the file can be read once only: standard input, or a pipe.
    pub(crate) is_readable_once: bool,
    /// True if the file itself was named, and not only a directory that holds it.
    pub(crate) is_named: bool,
}

impl FoundFile {
    /// The name of the file in problems.
    pub(crate) fn name(&self) -> String {
        if is_stdin(&self.path) {
            "stdin".to_owned()
        } else {
            self.path.display().to_string()
        }
    }
}

/// The endings of names of manifests in a directory.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// The files that were found at some paths.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileListing {
    /// The files, each once, in the order of paths and names.
    pub(crate) files: Vec<FoundFile>,
    /// The paths at which nothing could be found.
    pub(crate) failed: Vec<PathBuf>,
    pub(crate) problems: Vec<Problem>,
}

/// Everything about a set of files that changes when one of them does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control) struct FilesSignature {
    /// The path and state of each file; no state if the file cannot be looked at.
    files: Vec<(PathBuf, Option<FileStat>)>,
    failed: Vec<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct FileStat {
    device: u64,
    inode: u64,
    size: u64,
    /// The time of the last change of the content, in seconds and nanoseconds since the epoch.
    modified: (i64, i64),
    /// The time of the last change of the inode, in seconds and nanoseconds since the epoch.
    changed: (i64, i64),
}

/// The state of the files at these paths, found out without reading them. Blocks.
pub(in crate::control) fn files_signature(paths: &[PathBuf]) -> FilesSignature {
    let FileListing {
        files: found,
        failed,
        ..
    } = list_files(paths);
    let files = found
        .into_iter()
        .filter(|found| !found.is_readable_once)
        .map(|found| {
            let stat = fs::metadata(&found.path).ok().map(|metadata| FileStat {
                device: metadata.dev(),
                inode: metadata.ino(),
                size: metadata.size(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
            });
            (found.path, stat)
        });
    FilesSignature {
        files: files.collect(),
        failed,
    }
}

/// True if a path means standard input.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Lists the files at these paths. A path that cannot be read becomes a problem of the result.
pub(crate) fn list_files(paths: &[PathBuf]) -> FileListing {
    let mut listing = FileListing::default();
    for path in paths {
        if let Err((error, remedy)) = add_path(path, &mut listing) {
            let message = format!("cannot be read: {error}{remedy}");
            listing.problems.push(Problem::of_file(
                Severity::Error,
                &path.display().to_string(),
                None,
                message,
            ));
            listing.failed.push(path.clone());
        }
    }
    // One path names each of its files once; several may name one by two spellings.
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let is_one = paths.len() < 2;
    let mut seen = std::collections::HashSet::new();
    listing.files.retain(|found| {
        seen.insert(if is_one || found.is_readable_once {
            found.path.clone()
        } else {
            real(&found.path)
        })
    });
    listing
}

fn add_path(path: &Path, listing: &mut FileListing) -> Result<(), (io::Error, &'static str)> {
    if is_stdin(path) {
        listing.files.push(FoundFile {
            path: path.to_owned(),
            is_readable_once: true,
            is_named: true,
        });
        return Ok(());
    }
    let metadata =
        fs::metadata(path).map_err(|error| (error, ": give a file or directory that exists"))?;
    if !metadata.is_dir() {
        listing.files.push(FoundFile {
            path: path.to_owned(),
            is_readable_once: !metadata.is_file(),
            is_named: true,
        });
        return Ok(());
    }
    let before = listing.files.len();
    add_directory(path, DirectoryDepth::Top, listing)
        .map_err(|error| (error, ": give the right to list it"))?;
    if listing.files.len() == before {
        let message = "holds no manifest: put *.yaml, *.yml or *.json files into it";
        let name = path.display().to_string();
        listing
            .problems
            .push(Problem::of_file(Severity::Warning, &name, None, message));
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum DirectoryDepth {
    /// A directory that was named, whose directories are read, too.
    Top,
    /// A directory inside of one that was named.
    Inside,
}

/// Adds the manifests of a directory and of the directories in it. Hidden entries do not count: a
/// ConfigMap that is mounted shows its files a second time in `..data`, which is where its visible
/// entries lead.
fn add_directory(path: &Path, depth: DirectoryDepth, listing: &mut FileListing) -> io::Result<()> {
    let mut entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let path = entry.path();
        let Some(kind) = entry_type(&entry) else {
            continue;
        };
        if kind.is_dir() && depth == DirectoryDepth::Top {
            add_directory(&path, DirectoryDepth::Inside, listing)?;
        } else if !kind.is_dir() && is_manifest(&path) {
            listing.files.push(FoundFile {
                path,
                is_readable_once: false,
                is_named: false,
            });
        } else if let Some(meant) = misspelt_extension(&path) {
            let message =
                format!("is not read, since its name does not end in .{meant}: rename it");
            listing.problems.push(Problem::of_file(
                Severity::Warning,
                &path.display().to_string(),
                None,
                message,
            ));
        }
    }
    Ok(())
}

/// The type of an entry, or of what it links to; a link that leads nowhere has its own type, so
/// that reading it becomes a problem. `None` if the entry cannot be read like a file, or has
/// disappeared meanwhile.
fn entry_type(entry: &fs::DirEntry) -> Option<FileType> {
    let kind = entry.file_type().ok()?;
    if !kind.is_symlink() {
        return Some(kind).filter(|kind| kind.is_file() || kind.is_dir());
    }
    match fs::metadata(entry.path()) {
        Ok(metadata) => Some(metadata.file_type()).filter(|kind| kind.is_file() || kind.is_dir()),
        Err(_) => Some(kind),
    }
}

fn is_manifest(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known))
}

/// The ending that was probably meant by one with the same letters (`.YAML`, `.ymal`), or by one
/// behind which `.txt` was added, as editors do that know no YAML. Their backups (`.bak`, `~`) are
/// not meant to be read.
fn misspelt_extension(path: &Path) -> Option<&'static str> {
    let letters = |text: &str| {
        let mut letters: Vec<char> = text.to_ascii_lowercase().chars().collect();
        letters.sort_unstable();
        letters
    };
    let is_text = path.extension()?.eq_ignore_ascii_case("txt");
    let before = Path::new(path.file_stem()?).extension();
    let written = letters((if is_text { before? } else { path.extension()? }).to_str()?);
    EXTENSIONS
        .into_iter()
        .find(|known| letters(known) == written && !is_manifest(path))
}
