//! AuditLogger: every policy decision as one line of an append-only file, each sealed with the one before it.
//!
//! `CARACAL_KAFKA_PROFILE=... cargo run --example audit_logger -- AUDIT-FILE`; ends by Ctrl-C or SIGTERM.
//!
//! A line ends with the SHA-256 of itself and of the seal before it: a line that is changed, taken away or put between
//! breaks every seal behind it, which the next start finds. A record that comes again is known by its place.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program, and these are its words")]

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::time::Duration;

use caracal_kafka_client::events::PolicyDecision;
use caracal_kafka_client::profile::ConnectionProfile;
use caracal_kafka_client::{ConsumerOptions, Group, HandleError, Kafka, Received, Service, Shutdown};
use ring::digest::{Context, SHA256};
use serde_json::{Value, json};

struct Audit {
    file: File,
    seal: String,
    /// The newest offset of each partition.
    newest: BTreeMap<i64, i64>,
    /// Lines that were written since the start.
    logged: u64,
}

fn sealed(before: &str, line: &str) -> String {
    let mut context = Context::new(&SHA256);
    context.update(before.as_bytes());
    context.update(line.as_bytes());
    hex::encode(context.finish())
}

impl Audit {
    /// Checks every seal. A last line that a crash cut off is taken away: its record was never committed.
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let (mut seal, mut newest) = (String::new(), BTreeMap::new());
        let (mut whole, mut line, mut number) = (0, String::new(), 0);
        let mut reader = BufReader::new(&file);
        while reader.read_line(&mut line)? > 0 && line.ends_with('\n') {
            number += 1;
            let broken = || io::Error::other(format!("line {number} of the audit file breaks its seal"));
            let (text, found) = line.trim_end().rsplit_once('\t').ok_or_else(broken)?;
            seal = sealed(&seal, text);
            let entry: Value = serde_json::from_str(text).map_err(|_| broken())?;
            if found != seal {
                return Err(broken());
            }
            let at = |key: &str| entry[key].as_i64().unwrap_or_default();
            newest.insert(at("partition"), at("offset"));
            whole += line.len() as u64;
            line.clear();
        }
        file.set_len(whole)?;
        Ok(Self { file, seal, newest, logged: 0 })
    }

    fn log(&mut self, received: &Received<PolicyDecision>) -> io::Result<()> {
        let (partition, offset) = (i64::from(received.position.partition), received.position.offset);
        if self.newest.get(&partition).is_some_and(|newest| offset <= *newest) {
            return Ok(());
        }
        let entry = json!({ "partition": partition, "offset": offset, "decision": received.event });
        let text = entry.to_string();
        let seal = sealed(&self.seal, &text);
        self.file.write_all(format!("{text}\t{seal}\n").as_bytes())?;
        self.file.sync_data()?;
        self.seal = seal;
        self.logged += 1;
        self.newest.insert(partition, offset);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: audit_logger AUDIT-FILE")?;
    let mut audit = Audit::open(Path::new(&path))?;
    let kafka = Kafka::connect(ConnectionProfile::discover()?, Service::named("audit-logger")).await?;
    let group = Group::named("caracal-audit");
    let mut decisions = kafka.consumer::<PolicyDecision>(group, ConsumerOptions::default()).await?;
    let shutdown = Shutdown::on_signal()?;
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    // One after the other: an audit file has one order. A line that cannot be written ends the service, and
    // its record comes again.
    while !shutdown.is_due() {
        tokio::select! {
            handled = decisions.handle(async |received| audit.log(received)) => match handled {
                Ok(()) => {}
                Err(HandleError::Commit(error)) => eprintln!("{error}"),
                Err(error) => return Err(error.into()),
            },
            _ = tick.tick() => {}
        }
    }
    decisions.close(Duration::from_secs(10)).await;
    println!("{} decisions logged, the last seal is {}", audit.logged, audit.seal);
    Ok(())
}
