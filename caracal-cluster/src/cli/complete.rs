//! What a shell offers after a press of Tab: words of the command tree, and names of what there is.
//!
//! Nodes, users and clusters come from files; topics and groups are asked of the brokers, within a second. When no
//! broker answers, the topics of the plan are offered. Whatever fails offers nothing: a shell is no place for errors.
//!
//! The engine is clap's own (`unstable-dynamic`: its interface may change between releases, its scripts do not outlive
//! the program that printed them).

use std::ffi::{OsStr, OsString};
use std::io;
use std::time::Duration;

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};

use crate::dir::StateRoot;
use crate::lifecycle::cluster::{Cluster, last_plan, wanted_name};
use crate::lifecycle::commands::Selection;
use crate::names::ClusterName;
use crate::ops::{Operated, OpsError};
use crate::plan::ClusterPlan;
use crate::wire::Deadline;

/// The variable by which a shell asks; its value is the shell's name.
pub const VARIABLE: &str = "CARACAL_COMPLETE";

/// How long somebody waits after pressing Tab.
const PATIENCE: Duration = Duration::from_secs(1);

/// Answers a shell that asks for completions, and then does not return; does nothing else.
pub fn answer(tree: fn() -> clap::Command) {
    CompleteEnv::with_factory(tree).var(VARIABLE).complete();
}

/// The script that makes a shell ask `program` for the completions of `name`.
///
/// # Errors
/// When there is no such shell, with those that there are.
pub fn script(shell: &str, name: &str, program: &str) -> io::Result<String> {
    let shells = Shells::builtins();
    let Some(completer) = shells.completer(shell) else {
        let known: Vec<&str> = shells.names().collect();
        return Err(io::Error::other(format!(
            "no completions for `{shell}`; there are: {}",
            known.join(", ")
        )));
    };
    let mut text = Vec::new();
    completer.write_registration(VARIABLE, name, name, program, &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Offers the cluster's nodes, without its name.
pub fn nodes() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let plan = plan();
        offered(
            typed,
            plan.iter().flat_map(|plan| {
                let prefix = format!("{}-", plan.cluster);
                plan.nodes.iter().map(move |node| {
                    let name = node.name.as_str();
                    name.strip_prefix(&prefix).unwrap_or(name).to_owned()
                })
            }),
        )
    })
}

/// Offers the cluster's users.
pub fn users() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let plan = plan();
        offered(typed, plan.iter().flat_map(|plan| &plan.users).map(|user| user.name.to_string()))
    })
}

/// Offers the clusters of the workspace.
pub fn clusters() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let names = root().map(|root| root.clusters()).unwrap_or_default();
        offered(typed, names.iter().map(ToString::to_string))
    })
}

/// Offers the cluster's topics, as its brokers tell, or else as they are planned.
pub fn topics() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let names = asked(|operated| async move {
            let topics = operated.admin()?.topics(None, Deadline::after(PATIENCE)).await?;
            Ok(topics.into_iter().filter(|topic| !topic.internal).map(|topic| topic.name).collect())
        });
        offered(typed, names.unwrap_or_else(planned_topics).into_iter())
    })
}

/// Offers the cluster's consumer groups, as its brokers tell.
pub fn groups() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let names = asked(|operated| async move {
            let groups = operated.admin()?.groups(Deadline::after(PATIENCE)).await?;
            Ok(groups.into_iter().map(|group| group.name).collect())
        });
        offered(typed, names.unwrap_or_default().into_iter())
    })
}

fn offered(typed: &OsStr, names: impl Iterator<Item = String>) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    names.filter(|name| name.starts_with(&*typed)).map(CompletionCandidate::new).collect()
}

fn root() -> Option<StateRoot> {
    match word_after("--state-dir") {
        Some(path) => StateRoot::at(path.as_ref()).ok(),
        None => StateRoot::from_environment().ok(),
    }
}

fn name() -> Option<ClusterName> {
    word_after("--name")?.into_string().ok()?.parse().ok()
}

/// The value of an option on the line that is being completed, which stands in our own arguments.
fn word_after(option: &str) -> Option<OsString> {
    let mut words = std::env::args_os().skip_while(|word| word != option);
    words.next()?;
    words.next()
}

/// The plan that the cluster was last made by, or would be made by where none was carried out wholly yet.
fn plan() -> Option<ClusterPlan> {
    let (root, name) = (root()?, name());
    let last = last_plan(&root.cluster(&wanted_name(name.as_ref())));
    last.or_else(|| Some(Cluster::existing(&root, name.as_ref()).ok()?.plan))
}

fn planned_topics() -> Vec<String> {
    plan().iter().flat_map(|plan| &plan.topics).map(|topic| topic.name.to_string()).collect()
}

/// Asks the brokers, on a thread and a runtime of its own: whoever completes may already be on one. None when they do
/// not answer.
fn asked<F>(question: impl FnOnce(Operated) -> F + Send + 'static) -> Option<Vec<String>>
where
    F: Future<Output = Result<Vec<String>, OpsError>>,
{
    let ask = move || {
        let operated = Operated::open(&Selection::named(root()?, name())).ok()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let answer = runtime.block_on(Deadline::after(PATIENCE).run(question(operated)));
        answer.ok()?.ok()
    };
    std::thread::spawn(ask).join().ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_a_script_that_asks_the_program() {
        for shell in ["bash", "zsh", "fish"] {
            let text = script(shell, "xtask", "/path/to/xtask").unwrap();
            assert!(text.contains("/path/to/xtask") && text.contains(VARIABLE), "{shell}:\n{text}");
        }
        let error = script("tcsh", "xtask", "/x").unwrap_err().to_string();
        assert!(error.contains("`tcsh`") && error.contains("bash"), "{error}");
    }

    #[test]
    fn names_are_offered_by_their_beginning() {
        let names = ["kafka-1", "kafka-2", "schema-registry"].map(str::to_owned);
        let found = offered(OsStr::new("kafka"), names.clone().into_iter());
        assert_eq!(found.len(), 2);
        assert_eq!(offered(OsStr::new(""), names.into_iter()).len(), 3);
    }
}
