//! Proves that services can talk through a cluster: by the client library that they use, with the
//! profiles that they are given. The cluster's `verify` runs it and reads its report.
//!
//! Standard output carries one JSON document and nothing else; the exit code is 0 when each round
//! trip succeeded, 1 when one did not, 2 when the arguments are wrong.

mod arguments;
mod round_trip;

use std::io::Write as _;
use std::process::ExitCode;

use arguments::{Arguments, Command};
use round_trip::Report;

const USAGE: &str = "\
caracal-kafka-probe: sends one event of each type through a cluster and reads it back

usage: caracal-kafka-probe round-trip --producer-profile PATH --consumer-profile PATH
                                      [--group-prefix NAME] [--timeout-secs N] [--json]

  --producer-profile PATH   profile.toml of the principal that writes
  --consumer-profile PATH   profile.toml of the principal that reads
  --group-prefix NAME       beginning of the consumer groups' names (default caracal-probe); the
                            reading principal needs Read on groups with this prefix
  --timeout-secs N          time for all of it (default 60, at most 3600)
  --json                    report as JSON (the default is a line an event)

exit code: 0 all round trips succeeded, 1 one did not, 2 wrong arguments
";

fn main() -> ExitCode {
    let arguments = match Command::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => {
            print(USAGE);
            return ExitCode::SUCCESS;
        }
        Ok(Command::RoundTrip(arguments)) => arguments,
        Err(why) => {
            complain(&format!("caracal-kafka-probe: {why}\n\n{USAGE}"));
            return ExitCode::from(2);
        }
    };
    let report = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => {
            let report = runtime.block_on(round_trip::all(&arguments));
            // librdkafka may still be busy with a broker that does not answer.
            runtime.shutdown_background();
            report
        }
        Err(error) => Report::failed(&format!("no runtime: {error}")),
    };
    show(&report, &arguments);
    if report.ok { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn show(report: &Report, arguments: &Arguments) {
    if arguments.json {
        match serde_json::to_string(report) {
            Ok(json) => print(&format!("{json}\n")),
            Err(error) => complain(&format!("caracal-kafka-probe: no report: {error}\n")),
        }
        return;
    }
    for trip in &report.round_trips {
        let outcome = trip.error.as_deref().unwrap_or("ok");
        print(&format!("{:<20} {:>6} ms  {outcome}\n", trip.event, trip.millis));
    }
}

// A closed pipe is the reader's choice, not a fault of the probe's.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn complain(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
