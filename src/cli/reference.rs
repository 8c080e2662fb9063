//! `core314 completions` and `core314 man`: what is generated from the commands themselves, and so is never out of date.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use super::outcome::{Exit, Failure};
use super::print::Printer;

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Which shell.
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write one page for each command into this directory, such as ~/.local/share/man/man1.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub fn completions(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "core314", &mut script);
    put(&script)
}

pub fn man(args: &ManArgs) -> Result<Exit, Failure> {
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        return put(&page);
    };
    std::fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), dir))
        .map_err(|error| Failure::new(Exit::Failed, format!("{}: {error}", dir.display())))?;
    Ok(Exit::Done)
}

fn put(text: &[u8]) -> Result<Exit, Failure> {
    Printer::document(&String::from_utf8_lossy(text)).map(|()| Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_shell_completes_every_command() {
        let names: Vec<String> = Cli::command().get_subcommands().map(|c| c.get_name().to_owned()).collect();
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "core314", &mut script);
            let script = String::from_utf8(script).unwrap();
            for name in &names {
                assert!(script.contains(name.as_str()), "{shell} knows no {name}");
            }
        }
    }

    #[test]
    fn every_command_has_a_page() {
        let scratch = tempfile::tempdir().unwrap();
        man(&ManArgs { dir: Some(scratch.path().join("man1")) }).unwrap();
        for page in ["core314.1", "core314-flow.1", "core314-flow-apply.1", "core314-doctor.1"] {
            let text = std::fs::read_to_string(scratch.path().join("man1").join(page)).unwrap();
            assert!(text.contains(".TH") && text.contains(".SH NAME"), "{page}");
        }
    }
}
