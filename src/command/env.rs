//! `sealpost env`: prints what `sealpost exec` gives to a command, for a shell to read.

use std::process::ExitCode;

use super::sink::{self, SinkVariables};
use crate::cli::EnvOptions;

/// Prints the variables as shell commands.
///
/// # Errors
/// Fails if the sink has no address, or nothing can be printed.
pub fn run(options: &EnvOptions) -> anyhow::Result<ExitCode> {
    super::print(&shell_lines(&sink::sink_variables(&options.sink)?))?;
    Ok(ExitCode::SUCCESS)
}

/// The variables as POSIX shells read them. One without a value is unset, since a shell may have it
/// from before.
fn shell_lines(variables: &SinkVariables) -> String {
    let line = |(name, value): &(&str, Option<String>)| match value {
        Some(value) => format!("export {name}='{}'\n", value.replace('\'', "'\\''")),
        None => format!("unset {name}\n"),
    };
    variables.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_what_is_printed() {
        let value = "it's $HOME `x` \"y\" \\ \n;|&".to_owned();
        let variables: SinkVariables = [
            ("K_SINK", Some(value.clone())),
            ("K_CA_CERTS", None),
            ("K_CE_OVERRIDES", Some(String::new())),
        ];
        let script = format!(
            "K_CA_CERTS=x\n{}printf '%s|%s|%s' \"$K_SINK\" \"${{K_CA_CERTS-unset}}\" \"${{K_CE_OVERRIDES-unset}}\"",
            shell_lines(&variables)
        );
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .output()
            .expect("a shell");
        assert_eq!(
            String::from_utf8(output.stdout).expect("text"),
            format!("{value}|unset|")
        );
    }
}
