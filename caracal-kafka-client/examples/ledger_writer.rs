//! LedgerWriter: books each metering event once in an append-only file, whatever comes twice.
//!
//! `CARACAL_KAFKA_PROFILE=... cargo run --example ledger_writer -- LEDGER-FILE`; ends by Ctrl-C or SIGTERM.
//!
//! A handler may see an event again: after a crash, a rebalance, a failed commit. So the ledger remembers the ids
//! that it holds, and a line is on the disk before the handler says that the event is handled.

#![expect(clippy::print_stdout, reason = "a program, and these are its words")]

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use caracal_kafka_client::events::{MeteringEvent, Uuid};
use caracal_kafka_client::profile::ConnectionProfile;
use caracal_kafka_client::{ConsumerOptions, Group, Kafka, Received, Service, Shutdown};

struct Ledger {
    file: File,
    booked: HashSet<Uuid>,
}

impl Ledger {
    /// Reads what is booked. A last line that a crash cut off is taken away: its event was never committed.
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let (mut booked, mut whole, mut line) = (HashSet::new(), 0, String::new());
        let mut reader = BufReader::new(&file);
        while reader.read_line(&mut line)? > 0 && line.ends_with('\n') {
            let id = line.split('\t').next().and_then(|id| id.parse().ok());
            booked.insert(id.ok_or_else(|| io::Error::other(format!("no ledger: {}", path.display())))?);
            whole += line.len() as u64;
            line.clear();
        }
        file.set_len(whole)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { file, booked })
    }

    /// Whether the event was new.
    fn book(&mut self, event: &MeteringEvent) -> io::Result<bool> {
        if self.booked.contains(&event.event_id) {
            return Ok(false);
        }
        let cost = event.cost.map_or_else(|| "-".to_owned(), |cost| cost.to_string());
        let MeteringEvent { event_id, agent_id, quantity, unit, .. } = event;
        self.file.write_all(format!("{event_id}\t{agent_id}\t{quantity}\t{unit}\t{cost}\n").as_bytes())?;
        self.file.sync_data()?;
        self.booked.insert(*event_id);
        Ok(true)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: ledger_writer LEDGER-FILE")?;
    let ledger = Arc::new(Mutex::new(Ledger::open(Path::new(&path))?));
    let kafka = Kafka::connect(ConnectionProfile::discover()?, Service::named("ledger-writer")).await?;
    let events =
        kafka.consumer::<MeteringEvent>(Group::named("caracal-ledger"), ConsumerOptions::default()).await?;
    let handler = move |received: Arc<Received<MeteringEvent>>| {
        let ledger = Arc::clone(&ledger);
        async move {
            // A write to a disk blocks, and handlers share the runtime's threads.
            let booking = tokio::task::spawn_blocking(move || {
                ledger.lock().unwrap_or_else(PoisonError::into_inner).book(&received.event)
            });
            booking.await.unwrap_or_else(|error| Err(io::Error::other(error))).map(drop)
        }
    };
    let report = events.run(handler, Shutdown::on_signal()?).await?;
    println!(
        "{} handled, {} tried again, {} dead letters",
        report.handled, report.retried, report.dead_lettered
    );
    let closed = kafka.close(Duration::from_secs(10)).await;
    if closed.all_written() { Ok(()) } else { Err("dead letters were lost".into()) }
}
