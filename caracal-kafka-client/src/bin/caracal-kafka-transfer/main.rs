//! Moves records in bulk: writes and reads single topics, backs them up and restores them. The cluster's command
//! line runs it, because it stands on librdkafka, which that command line must not compile.
//!
//! Standard output carries records (`consume`) or one report; whatever else there is to say goes to standard error.
//! Exit code: 0 done, 2 the arguments or the input cannot be used, 10 the cluster did not do it or a proof failed,
//! 12 user name or password was refused, 13 a TLS handshake was refused.

mod arguments;
mod avro;
mod backup;
mod consume;
mod decimal;
mod failure;
mod file;
mod line;
mod link;
mod measure;
mod produce;
mod progress;
mod reader;
mod registry;
mod restore;
mod writer;

use std::io::Write as _;
use std::process::ExitCode;

use arguments::Options;
use failure::Failure;

const USAGE: &str = "\
caracal-kafka-transfer: moves records of one topic

usage: caracal-kafka-transfer COMMAND --profile PATH --topic TOPIC [...]

  produce   [--format json|text|raw] [--key-separator TEXT] [--key TEXT] [--header NAME=VALUE]...
            [--partition N] [--timestamp MS] [--encoding auto|avro|text] [--count N] [--dry-run] [--json]
  consume   [--format json|text|raw] [--partition N]... [--from WHERE] [--until OFFSET] [--follow]
            [--count N] [--encoding auto|text|base64] [--uncommitted]
            WHERE is beginning, end, an offset, -N (the last N), or time:MS
  backup    --to DIR --facts JSON [--json] [--quiet]
  restore   --from DIR [--checked] [--no-verify] [--json] [--quiet]
  check     --from DIR                    whether a back-up is whole; needs neither profile nor topic
  digest    [--json]                      the digest that a back-up would have
  fill      --count N                     writes so many events, for measurements
  pour      --count N                     the same by nothing but librdkafka, for measurements
  drain     [--json]                      reads everything and keeps nothing, for measurements

exit code: 0 done, 2 arguments or input, 10 the cluster, 12 log-in refused, 13 TLS refused
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "error: {}", failure.text);
            ExitCode::from(failure.code)
        }
    }
}

fn run() -> Result<(), Failure> {
    let mut words = std::env::args_os()
        .skip(1)
        .map(|word| word.into_string().map_err(|_| Failure::usage("an argument is not UTF-8".to_owned())));
    let command = match words.next() {
        None => return Err(Failure::usage(format!("a command is missing\n\n{USAGE}"))),
        Some(word) => word?,
    };
    let mut options = Options::parse(words.collect::<Result<Vec<_>, _>>()?)?;
    let done = match command.as_str() {
        "produce" => produce::run(&mut options),
        "consume" => consume::run(&mut options),
        "backup" => backup::run(&mut options),
        "restore" => restore::run(&mut options),
        "check" => restore::check(&mut options),
        "digest" => backup::digest(&mut options),
        "fill" => measure::fill(&mut options),
        "pour" => measure::pour(&mut options),
        "drain" => measure::drain(&mut options),
        "help" | "-h" | "--help" => print(USAGE),
        other => Err(Failure::usage(format!("unknown command `{other}`\n\n{USAGE}"))),
    };
    done.map_err(|failure| failure.of(&command))
}

/// Prints to standard output.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::output)
}
