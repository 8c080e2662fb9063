//! The tree of commands as a whole: that it is sound, says what it says everywhere, and is documented.

mod columns;

use std::collections::BTreeSet;

use super::*;
use clap::CommandFactory;

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn global_flags_may_follow_the_command_and_become_settings() {
    let cli = Cli::try_parse_from(["core314", "run", "list", "--data-dir", "/d", "-o", "json"]).unwrap();
    assert_eq!(cli.global.output, Output::Json);
    let listen = "127.0.0.1:1".to_owned();
    let inputs = cli.global.inputs(&[("server.listen", "--listen", Some(&listen)), ("log.filter", "--log", None)]);
    assert_eq!(
        inputs.flags,
        [
            Setting::new("data.dir", "/d", "flag --data-dir"),
            Setting::new("server.listen", "127.0.0.1:1", "flag --listen")
        ]
    );
}

#[test]
fn a_wrong_word_is_wrong_usage() {
    for words in [
        &["core314", "fly"][..],
        &["core314", "run", "show"],
        &["core314", "run", "list", "-o", "xml"],
        // What the server does not take, or gives no more of.
        &["core314", "log", "failed", "--hours", "3"],
        &["core314", "log", "slowest", "--limit", "101"],
    ] {
        assert_eq!(Cli::try_parse_from(words).expect_err("wrong").exit_code(), 2);
    }
}

/// Every command that does something, as its words: `core314 flow apply`.
fn commands(command: &clap::Command, above: &str, found: &mut BTreeSet<String>) {
    let name = format!("{above}{}", command.get_name());
    let below: Vec<_> = command.get_subcommands().filter(|below| below.get_name() != "help").collect();
    if below.is_empty() || !command.is_subcommand_required_set() {
        found.insert(name.clone());
    }
    for below in below {
        commands(below, &format!("{name} "), found);
    }
}

/// The commands of the page's table: each row's first cell, with `a|b` in place of a word for several at once.
fn documented(page: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for row in page.lines().filter_map(|line| line.strip_prefix("| `core314 ")) {
        let cell = row.split('`').next().unwrap().replace("\\|", "|");
        let mut names = vec!["core314".to_owned()];
        // Words of commands are in lower case; an argument in capitals may stand between them, flags come last.
        let words = cell.split(' ').take_while(|word| !word.starts_with(['-', '[']));
        for word in words.filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase())) {
            names = names.iter().flat_map(|name| word.split('|').map(move |word| format!("{name} {word}"))).collect();
        }
        found.extend(names);
    }
    found
}

#[test]
fn the_page_has_every_command_and_no_other() {
    let mut tree = BTreeSet::new();
    commands(&Cli::command(), "", &mut tree);
    tree.remove("core314");
    assert!(tree.contains("core314 actors") && tree.contains("core314 actors restart"), "{tree:?}");
    let page = documented(include_str!("../../docs/cli.md"));
    let missing: Vec<_> = tree.difference(&page).collect();
    let gone: Vec<_> = page.difference(&tree).collect();
    assert!(missing.is_empty() && gone.is_empty(), "docs/cli.md lacks {missing:?}, and has in excess {gone:?}");
}

#[test]
fn every_command_and_argument_says_what_it_is() {
    fn look(command: &clap::Command, above: &str) {
        let name = format!("{above} {}", command.get_name());
        assert!(command.get_about().is_some(), "{name} has no description");
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            assert!(argument.get_help().is_some(), "{name}: {} has no description", argument.get_id());
        }
        command.get_subcommands().for_each(|below| look(below, &name));
    }
    look(&Cli::command(), "");
}

#[test]
fn the_short_form_of_waiting_needs_no_number() {
    let wait = |words: &[&str]| {
        let all = ["core314", "flow", "run", "x"].iter().chain(words);
        Cli::try_parse_from(all).map(|cli| format!("{:?}", cli.command))
    };
    assert!(wait(&["--wait"]).unwrap().contains("wait: Some(300)"));
    assert!(wait(&["--wait", "7", "--context", "{}"]).unwrap().contains("wait: Some(7)"));
    assert!(wait(&["--each", "f", "--follow"]).is_err());
    assert!(wait(&["--on-conflict", "reject"]).is_err(), "there is no key to conflict");
}
