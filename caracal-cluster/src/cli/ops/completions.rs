//! `completions`.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::super::args::{Reporting, Target};
use super::super::{complete, exit};
use super::{Call, Common, Failure, ended};

/// The word that is completed: `cargo xtask` is two, and the first of them has completions of its own.
const NAME: &str = "xtask";

/// Arguments of `completions`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL", value_parser = ["bash", "elvish", "fish", "powershell", "zsh"])]
    pub shell: String,
    /// How it is shown.
    #[command(flatten)]
    pub reporting: Reporting,
}

/// What a shell has to read.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
struct Script {
    shell: String,
    /// The word that is completed.
    name: &'static str,
    script: String,
}

pub(super) async fn run(args: &CompletionsArgs) -> ExitCode {
    let common = Common { target: Target::default(), reporting: args.reporting };
    let call = Call::new("completions", &common);
    ended(&call, async { printed(&call, args) }).await
}

fn printed(call: &Call, args: &CompletionsArgs) -> Result<u8, Failure> {
    let fault = |what: &str, error: std::io::Error| Failure::Said {
        message: format!("{what}: {error}"),
        code: exit::FAULT,
    };
    let program =
        std::env::current_exe().map_err(|error| fault("this program's path is not known", error))?;
    let script = complete::script(&args.shell, NAME, &program.display().to_string())
        .map_err(|error| fault("the completions cannot be written", error))?;
    let script = format!("{}{script}", typed(&args.shell));
    let report = Script { shell: args.shell.clone(), name: NAME, script };
    call.report(&report, || report.script.trim_end().to_owned())
}

/// What makes `xtask` a word that can be typed, where the shell has functions that we know.
fn typed(shell: &str) -> &'static str {
    match shell {
        "bash" | "zsh" => "xtask() { command cargo xtask \"$@\"; }\n",
        "fish" => "function xtask; command cargo xtask $argv; end\n",
        _ => "",
    }
}
