//! `sealpost man`: prints the page of a command for `man`, or writes those of all.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

use crate::cli::{ManualOptions, ManualPage, manual_pages};

/// Prints the page of a command, or writes the pages of all into a directory.
///
/// # Errors
/// Fails if there is no such command, or something cannot be written.
pub fn run(options: &ManualOptions) -> anyhow::Result<ExitCode> {
    let pages = manual_pages()?;
    match &options.output_dir {
        Some(directory) => write_pages(&pages, directory)?,
        None => super::print(&page_of(&pages, &options.command)?.roff)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn page_of<'p>(pages: &'p [ManualPage], command: &[String]) -> anyhow::Result<&'p ManualPage> {
    let known = || {
        let names = pages.iter().map(|page| page.command.join(" "));
        names.skip(1).collect::<Vec<_>>().join(", ")
    };
    let page = pages.iter().find(|page| page.command == command);
    page.with_context(|| {
        format!(
            "there is no command {:?}: there are {}",
            command.join(" "),
            known()
        )
    })
}

fn write_pages(pages: &[ManualPage], directory: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("{}", directory.display()))?;
    for page in pages {
        let file = directory.join(&page.file_name);
        fs::write(&file, &page.roff).with_context(|| format!("{}", file.display()))?;
    }
    Ok(())
}
