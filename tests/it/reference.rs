//! Completions for shells and pages for `man`: what real shells make of them, and that no command
//! is left out.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::binary;

fn printed(arguments: &[&str]) -> String {
    let output = Command::new(binary())
        .args(arguments)
        .output()
        .expect("it runs");
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// What a shell says of a script; nothing if this machine has no such shell.
fn asked(shell: &str, arguments: &[&str], script: &Path) -> Option<String> {
    let mut command = Command::new(shell);
    let Ok(output) = command
        .args(arguments)
        .arg(script)
        .stdin(Stdio::null())
        .output()
    else {
        eprintln!("no {shell} here: its completions are not read");
        return None;
    };
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{shell}: {complaint}");
    assert_eq!(complaint, "", "{shell}");
    Some(String::from_utf8(output.stdout).expect("text"))
}

/// Every shell that is here takes its script; Bash, which is everywhere, without exception.
#[test]
fn shells_read_their_completions() {
    let directory = tempfile::TempDir::new().expect("a directory");
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = directory.path().join(shell);
        let text = printed(&["completions", shell]);
        for word in ["run", "check", "parked", "transport-encryption"] {
            assert!(text.contains(word), "{shell}: {word}");
        }
        fs::write(&script, text).expect("written");
        match shell {
            "bash" => assert!(asked("bash", &["-n"], &script).is_some(), "no bash"),
            // No flag of PowerShell only parses; this one ends with the parser's errors.
            "powershell" => {
                let parse = "$e = $null; [void][System.Management.Automation.Language.Parser]::ParseFile($args[0], \
                             [ref]$null, [ref]$e); $e | ForEach-Object { [Console]::Error.WriteLine($_.Message) }";
                asked("pwsh", &["-NoProfile", "-Command", parse], &script);
            }
            _ => drop(asked(shell, &["-n"], &script)),
        }
    }
}

/// What is typed is completed: commands, flags, and the values of flags.
#[test]
fn bash_completes() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let script = directory.path().join("complete");
    for (line, expected) in [
        ("sealpost che", "check"),
        ("sealpost parked dr", "drop"),
        ("sealpost run --transport-enc", "--transport-encryption"),
        ("sealpost run --log-format js", "json"),
        ("sealpost completions pow", "powershell"),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let asking = format!(
            "{}\nCOMP_WORDS=({line})\nCOMP_CWORD={}\n_sealpost sealpost '{}' '{}'\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
            printed(&["completions", "bash"]),
            words.len() - 1,
            words[words.len() - 1],
            words[words.len() - 2],
        );
        fs::write(&script, asking).expect("written");
        assert_eq!(
            asked("bash", &[], &script).expect("bash").trim(),
            expected,
            "{line}"
        );
    }
}

/// The commands below one, by its help.
fn below(command: &[String]) -> Vec<Vec<String>> {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    let help = printed(&[&words[..], &["--help"]].concat());
    let listed = help.split_once("\nCommands:\n").map(|(_, rest)| rest);
    let lines = listed.into_iter().flat_map(|rest| {
        rest.lines()
            .take_while(|line| !line.is_empty())
            .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
    });
    let names = lines.filter_map(|line| line.split_whitespace().next());
    let commands = names
        .filter(|name| *name != "help")
        .map(|name| [command, &[name.to_owned()]].concat());
    commands
        .flat_map(|command| [vec![command.clone()], below(&command)].concat())
        .collect()
}

/// Each command has a page, in which all of its flags and its variables stand.
#[test]
fn every_command_has_its_page() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let pages = directory.path().join("share/man1");
    assert_eq!(
        printed(&["man", "--output-dir", pages.to_str().expect("text")]),
        ""
    );
    let commands = [vec![Vec::new()], below(&[])].concat();
    assert!(commands.len() > 15, "{commands:?}");
    assert!(commands.contains(&vec!["filter".to_owned(), "test".to_owned()]));
    for command in &commands {
        let name = [&["sealpost".to_owned()], command.as_slice()]
            .concat()
            .join("-");
        let page = fs::read_to_string(pages.join(format!("{name}.1"))).expect(&name);
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        assert_eq!(printed(&[&["man"], &words[..]].concat()), page, "{name}");
        let help = printed(&[&words[..], &["--help"]].concat());
        let flags = help
            .split_whitespace()
            .filter(|word| word.starts_with("--") && word.len() > 2)
            .map(|word| word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()))
            .filter(|flag| {
                help.lines().any(|line| {
                    let line = line.trim_start();
                    line.starts_with(flag)
                        || line.get(4..).is_some_and(|rest| rest.starts_with(flag))
                })
            });
        let plain = page.replace("\\-", "-");
        for flag in flags {
            assert!(plain.contains(flag), "{name}: {flag}");
        }
        for variable in help.split("[env: ").skip(1) {
            let variable = variable.split(['=', ']']).next().unwrap_or_default();
            assert!(plain.contains(variable), "{name}: {variable}");
        }
    }
    let written = fs::read_dir(&pages).expect("a directory").count();
    assert_eq!(written, commands.len(), "a page for nothing");
}

/// groff has nothing to say against any of them.
#[test]
fn pages_can_be_shown() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let file = directory.path().join("page");
    for command in [&[][..], &["run"], &["filter", "test"]] {
        let page = printed(&[&["man"], command].concat());
        fs::write(&file, page).expect("written");
        // Without overstriking for bold letters.
        let arguments = ["-man", "-Tutf8", "-P-cbou", "-ww", "-b"];
        let Some(shown) = asked("groff", &arguments, &file) else {
            return;
        };
        assert!(shown.contains("SYNOPSIS"), "{shown}");
    }
}

#[test]
fn what_is_no_command_has_no_page() {
    let output = Command::new(binary())
        .args(["man", "filter", "rest"])
        .output()
        .expect("it runs");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        complaint.contains("no command \"filter rest\"") && complaint.contains("filter test"),
        "{complaint}"
    );
    let shell = Command::new(binary())
        .args(["completions", "csh"])
        .output()
        .expect("it runs");
    assert_eq!(shell.status.code(), Some(2));
}
