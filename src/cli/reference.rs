//! What is made of the command line itself: completions for shells, and pages for `man`.

use std::path::PathBuf;

use clap::{Args, Command, CommandFactory, ValueEnum};
use clap_complete::Shell;

use super::Cli;

/// The name of the section of the pages: commands of users.
const SECTION: &str = "1";

/// A shell that completions are for, as the argument names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ShellArg {
    /// Bash, with its package bash-completion or without
    Bash,
    /// Zsh
    Zsh,
    /// Fish
    Fish,
    /// PowerShell 5 or later
    #[value(name = "powershell")]
    PowerShell,
}

/// The options of `sealpost completions`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  source <(sealpost completions bash)\n  sealpost completions zsh > ~/.zfunc/_sealpost\n  sealpost completions fish > ~/.config/fish/completions/sealpost.fish\n  sealpost completions powershell | Out-String | Invoke-Expression"
)]
pub struct CompletionOptions {
    /// The shell that reads them
    #[arg(value_name = "SHELL")]
    pub(crate) shell: ShellArg,
}

/// The options of `sealpost man`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  sealpost man | man -l -\n  sealpost man filter test | man -l -\n  sealpost man --output-dir /usr/local/share/man/man1"
)]
pub struct ManualOptions {
    /// The command that the page is of, such as `run` or `filter test` [default: the page of
    /// sealpost itself]
    #[arg(value_name = "COMMAND", conflicts_with = "output_dir")]
    pub(crate) command: Vec<String>,

    /// Directory that gets the pages of all commands, as files NAME.1; it is made if it is not
    /// there
    #[arg(long, value_name = "DIR", env = "SEALPOST_OUTPUT_DIR")]
    pub(crate) output_dir: Option<PathBuf>,
}

/// A page for `man`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ManualPage {
    /// The words of the command below `sealpost`, such as `filter test`; none for the whole.
    pub(crate) command: Vec<String>,
    /// The name of the file of the page.
    pub(crate) file_name: String,
    /// The page in roff.
    pub(crate) roff: String,
}

/// The script by which a shell completes commands, flags and their values.
#[must_use]
pub(crate) fn completion_script(shell: ShellArg) -> String {
    let shell = match shell {
        ShellArg::Bash => Shell::Bash,
        ShellArg::Zsh => Shell::Zsh,
        ShellArg::Fish => Shell::Fish,
        ShellArg::PowerShell => Shell::PowerShell,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "sealpost", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// The pages of the whole and of each command, the whole first.
///
/// # Errors
/// Fails if clap cannot write one, which it does into memory.
pub(crate) fn manual_pages() -> std::io::Result<Vec<ManualPage>> {
    let mut whole = Cli::command().disable_help_subcommand(true);
    // Gives each command below its whole name.
    whole.build();
    let mut pages = Vec::new();
    add_pages(&whole, &[], &mut pages)?;
    Ok(pages)
}

fn add_pages(
    command: &Command,
    words: &[String],
    pages: &mut Vec<ManualPage>,
) -> std::io::Result<()> {
    let name = [&["sealpost".to_owned()], words].concat().join("-");
    let page = clap_mangen::Man::new(command.clone())
        .title(&name)
        .section(SECTION)
        .source(concat!("sealpost ", env!("CARGO_PKG_VERSION")));
    let mut roff = Vec::new();
    page.render(&mut roff)?;
    pages.push(ManualPage {
        command: words.to_vec(),
        file_name: format!("{name}.{SECTION}"),
        roff: String::from_utf8_lossy(&roff).into_owned(),
    });
    for below in command.get_subcommands() {
        let words = [words, &[below.get_name().to_owned()]].concat();
        add_pages(below, &words, pages)?;
    }
    Ok(())
}
