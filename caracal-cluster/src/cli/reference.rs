//! The reference of all commands, made from their own help: `docs/reference.md`, which a test keeps true.

use clap::{CommandFactory as _, Parser};

use super::{Command, exit};

/// The tree below the name by which it is typed.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Tree {
    #[command(subcommand)]
    command: Command,
}

/// The whole tree as clap knows it, for whoever completes or describes it.
pub fn tree() -> clap::Command {
    Tree::command()
}

/// Every command with its help, as Markdown.
///
/// ```
/// let text = caracal_cluster::cli::reference::markdown();
/// assert!(text.contains("## `cargo xtask cluster up`"));
/// ```
pub fn markdown() -> String {
    let mut text = "# Commands\n\n\
         Made from the commands' own help by `cargo xtask golden --bless`; a test compares it. Commands that only \
         contributors need (`test`, `ci`, `tidy`, `golden`, `bench`) are in [CONTRIBUTING.md](../CONTRIBUTING.md).\n\n\
         Every command ends with one of these codes:\n\n```text\n"
        .to_owned();
    text.push_str(exit::HELP);
    text.push_str("\n```\n");
    for page in commands() {
        text.push_str(&described(page));
    }
    text
}

/// Every command that does something, in the order of the help; its `bin_name` is what is typed.
pub fn commands() -> Vec<clap::Command> {
    let mut tree = tree();
    tree.build();
    let mut found = Vec::new();
    leaves(&tree, &mut found);
    found
}

/// Whether a command takes `--dry-run`, as each does that changes something.
pub fn takes_dry_run(command: &clap::Command) -> bool {
    command.get_arguments().any(|argument| argument.get_long() == Some("dry-run"))
}

/// The words of every command that changes something.
///
/// ```
/// let changing = caracal_cluster::cli::reference::changing();
/// assert!(changing.contains(&"topics delete".to_owned()));
/// assert!(!changing.contains(&"topics list".to_owned()));
/// ```
pub fn changing() -> Vec<String> {
    let changing = commands().into_iter().filter(takes_dry_run);
    let words = |command: clap::Command| {
        let typed = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned();
        typed.strip_prefix("cargo xtask ").unwrap_or(&typed).to_owned()
    };
    changing.map(words).collect()
}

/// The commands that do something, in the order of the help.
fn leaves(command: &clap::Command, found: &mut Vec<clap::Command>) {
    let below: Vec<&clap::Command> = command.get_subcommands().filter(|one| !one.is_hide_set()).collect();
    if below.is_empty() || !command.is_subcommand_required_set() && command.get_name() != "cargo xtask" {
        found.push(command.clone());
    }
    below.into_iter().for_each(|below| leaves(below, found));
}

fn described(mut page: clap::Command) -> String {
    let name = page.get_bin_name().unwrap_or_else(|| page.get_name()).to_owned();
    // The exit codes are the same everywhere, and stand above.
    page = page.after_help("").after_long_help("");
    let help = page.render_long_help().to_string();
    let lines: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
    format!("\n## `{name}`\n\n```text\n{}\n```\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_its_page_and_its_examples() {
        let text = markdown();
        for name in [
            "cluster up",
            "cluster logs",
            "health",
            "doctor",
            "doctor connect",
            "dashboard",
            "export grafana",
        ] {
            assert!(text.contains(&format!("\n## `cargo xtask {name}`\n")), "{name}");
        }
        assert_eq!(text.matches("Exit codes:").count(), 1);
        assert!(text.matches("cargo xtask").count() > 40);
    }
}
