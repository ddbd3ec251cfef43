//! Ports of this machine: whether they are free, who holds them, and leases for clusters that need their own.
//!
//! A lease is a file per port in a directory of the user's. It holds from the planning of a cluster until its
//! directory is gone or [`release`] is called, also while the cluster is stopped, so two clusters never plan
//! for the same port.
//!
//! ```
//! use std::net::{Ipv4Addr, SocketAddr, TcpListener};
//! use caracal_cluster::ports::{Clash, check_free};
//!
//! let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
//! let clashes = check_free(&[("a broker", held.local_addr()?)]).unwrap_err();
//! assert!(matches!(clashes[0].clash, Clash::InUse { .. }));
//! # Ok::<(), std::io::Error>(())
//! ```

use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    ops::RangeInclusive,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{distribution::Sha256, runtime::process};

/// Leased ports are out of this range: below what systems hand out for outgoing connections (Linux from
/// 32768, macOS and IANA from 49152), above what services are known by, and none of the guide's.
const LEASABLE: RangeInclusive<u16> = 20_000..=29_999;

/// Ports of the cluster named `caracal`, which nobody may lease.
const GUIDE: [RangeInclusive<u16>; 5] = [9092..=9097, 8081..=8081, 2181..=2183, 2888..=2890, 3888..=3890];

/// Who listens on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PortOwner {
    /// Process id.
    pub pid: u32,
    /// Name of the process.
    pub name: String,
    /// Path of its program; empty when the system does not tell.
    ///
    /// Not its arguments: those of other people's programs may hold secrets.
    pub command: String,
    /// Cluster id and node, when it is one of ours.
    pub node: Option<(String, String)>,
}

impl fmt::Display for PortOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {}", self.name, self.pid)?;
        if let Some((cluster, node)) = &self.node {
            write!(f, ", node {node} of cluster {cluster}")?;
        } else if !self.command.is_empty() {
            write!(f, ", {}", self.command)?;
        }
        f.write_str(")")
    }
}

/// The process that listens on a TCP port, or `None`: nobody does, or it is not ours to see (a process
/// of another user, a container's).
pub fn owner_of(port: u16) -> Option<PortOwner> {
    let listeners = listeners::get_all().ok()?;
    let tcp = |found: &listeners::Listener| found.protocol == listeners::Protocol::TCP;
    let found = listeners.into_iter().find(|found| tcp(found) && found.socket.port() == port)?;
    let listeners::Process { pid, name, path } = found.process;
    Some(PortOwner { pid, name, command: path, node: process::node_of(pid) })
}

/// An address that cannot be listened on.
#[derive(Debug)]
#[non_exhaustive]
pub struct PortClash {
    /// What it was wanted for.
    pub purpose: String,
    /// The address.
    pub address: SocketAddr,
    /// What is in the way.
    pub clash: Clash,
}

/// What is in the way of listening on an address.
#[derive(Debug)]
#[non_exhaustive]
pub enum Clash {
    /// Somebody listens there already.
    InUse {
        /// Who; `None` when the system does not tell this user.
        owner: Option<PortOwner>,
    },
    /// The same list wants it for something else too.
    WantedTwice {
        /// The other purpose.
        other: String,
    },
    /// This user may not listen there (ports below 1024).
    NotPermitted,
    /// The address is none of this machine's.
    NotHere,
    /// Another failure.
    Other(io::Error),
}

impl fmt::Display for PortClash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { purpose, address, clash } = self;
        write!(f, "{address}, wanted for {purpose}, ")?;
        match clash {
            Clash::InUse { owner: Some(owner) } => write!(f, "is in use by {owner}"),
            Clash::InUse { owner: None } => f.write_str(
                "is in use by a process that this user may not see (another user's, or a container's)",
            ),
            Clash::WantedTwice { other } => write!(f, "is wanted for {other} too"),
            Clash::NotPermitted => f.write_str("may not be listened on by this user: choose one above 1023"),
            Clash::NotHere => f.write_str("is not an address of this machine"),
            Clash::Other(error) => write!(f, "cannot be listened on ({error})"),
        }
    }
}

/// Whether all of these addresses can be listened on, each given with its purpose.
///
/// Tried by listening for an instant, as a JVM would (`SO_REUSEADDR`): connections that are still dying do
/// not matter.
///
/// # Errors
/// Every address that cannot, with what is in the way.
pub fn check_free(wanted: &[(&str, SocketAddr)]) -> Result<(), Vec<PortClash>> {
    // All are held until the end, so that two purposes for one address meet.
    let mut held: Vec<(TcpListener, &str, SocketAddr)> = Vec::new();
    let mut clashes = Vec::new();
    for &(purpose, address) in wanted {
        let clash = match listen(address) {
            Ok(listener) => {
                held.push((listener, purpose, address));
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let meets = |other: &SocketAddr| {
                    let wild = other.ip().is_unspecified() || address.ip().is_unspecified();
                    other.port() == address.port() && (other.ip() == address.ip() || wild)
                };
                match held.iter().find(|(_, _, other)| meets(other)) {
                    Some((_, other, _)) => Clash::WantedTwice { other: (*other).to_owned() },
                    None => Clash::InUse { owner: owner_of(address.port()) },
                }
            }
            Err(error) => match error.kind() {
                io::ErrorKind::PermissionDenied => Clash::NotPermitted,
                io::ErrorKind::AddrNotAvailable => Clash::NotHere,
                _ => Clash::Other(error),
            },
        };
        clashes.push(PortClash { purpose: purpose.to_owned(), address, clash });
    }
    if clashes.is_empty() { Ok(()) } else { Err(clashes) }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    // macOS lets a loopback address be bound below somebody's wildcard: ask whether anybody answers.
    if cfg!(not(target_os = "linux")) && address.ip().is_loopback() && address.port() != 0 {
        let patience = std::time::Duration::from_millis(200);
        if std::net::TcpStream::connect_timeout(&address, patience).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
    }
    TcpListener::bind(address)
}

/// For whom a port is leased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct LeaseOwner {
    /// Id of the cluster.
    pub cluster_id: String,
    /// Its directory, absolute. The lease ends when it is gone.
    pub state_dir: PathBuf,
}

/// A port that is kept for a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Lease {
    /// The port.
    pub port: u16,
    /// For whom.
    pub owner: LeaseOwner,
    /// What for: `kafka-1 EXTERNAL`.
    pub purpose: String,
}

/// Why no port was leased or released.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// The leases cannot be read or written.
    #[error("the leases of ports in {} could not be used", path.display())]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// The cluster's directory is not there, so the lease would end at once.
    #[error("a port for {purpose} cannot be leased: the cluster's directory {} is not there", path.display())]
    NoStateDir {
        /// What the port was wanted for.
        purpose: String,
        /// The directory.
        path: PathBuf,
    },
    /// There is none left.
    #[error("no port from {} to {} is left for {purpose}: run `prune` to end clusters that nobody needs", LEASABLE.start(), LEASABLE.end())]
    NoneLeft {
        /// What it was wanted for.
        purpose: String,
    },
}

/// Where this user's leases are: `ports` in the cache. It outlasts the session, and a shell of cron, CI or
/// another log-in finds it as well; what is bound to a session (`$XDG_RUNTIME_DIR`) is gone while nodes run.
pub fn lease_dir(cache: &Path) -> PathBuf {
    cache.join("ports")
}

/// Leases a free port; the same one again when this owner has one for this purpose.
///
/// `before` is the port that the owner had for it when it last was up: it is taken again, also while a node
/// of this cluster listens there. A lost lease must not move a cluster that runs. Leases whose cluster's
/// directory is gone are ended first. Blocking for some milliseconds.
///
/// # Errors
/// See [`LeaseError`].
pub fn lease(
    dir: &Path,
    owner: &LeaseOwner,
    purpose: &str,
    before: Option<u16>,
) -> Result<Lease, LeaseError> {
    lease_if(dir, owner, purpose, before, |port| is_held_by(port, &owner.cluster_id))
}

/// Whether a node of this cluster listens on a port.
pub(crate) fn is_held_by(port: u16, cluster_id: &str) -> bool {
    owner_of(port).and_then(|owner| owner.node).is_some_and(|(cluster, _)| cluster == cluster_id)
}

fn lease_if(
    dir: &Path,
    owner: &LeaseOwner,
    purpose: &str,
    before: Option<u16>,
    held_by_us: impl Fn(u16) -> bool,
) -> Result<Lease, LeaseError> {
    if !owner.state_dir.is_dir() {
        return Err(LeaseError::NoStateDir { purpose: purpose.to_owned(), path: owner.state_dir.clone() });
    }
    let io = |source| LeaseError::Io { path: dir.to_owned(), source };
    let _lock = lock(dir).map_err(io)?;
    let mut leases = read_all(dir).map_err(io)?;
    leases.retain(|lease| {
        let holds = lease.owner.state_dir.is_dir();
        if !holds {
            let _ = fs::remove_file(dir.join(lease.port.to_string()));
        }
        holds
    });
    if let Some(lease) = leases.iter().find(|lease| lease.owner == *owner && lease.purpose == purpose) {
        return Ok(lease.clone());
    }
    let unleased = |port: &u16| {
        let guide = GUIDE.iter().any(|range| range.contains(port));
        LEASABLE.contains(port) && !guide && !leases.iter().any(|lease| lease.port == *port)
    };
    let before = before.filter(unleased).filter(|port| is_free(*port) || held_by_us(*port));
    let port = before.or_else(|| candidates(&owner.cluster_id).find(|port| unleased(port) && is_free(*port)));
    let port = port.ok_or_else(|| LeaseError::NoneLeft { purpose: purpose.to_owned() })?;
    let lease = Lease { port, owner: owner.clone(), purpose: purpose.to_owned() };
    write(dir, &lease).map_err(io)?;
    Ok(lease)
}

/// Ends the lease of a port, if it is this cluster's. Ending it twice is no error.
///
/// # Errors
/// [`LeaseError::Io`].
pub fn release(dir: &Path, cluster_id: &str, port: u16) -> Result<(), LeaseError> {
    release_those(dir, |lease| lease.owner.cluster_id == cluster_id && lease.port == port)
}

/// Ends all leases of a cluster.
///
/// # Errors
/// [`LeaseError::Io`].
pub fn release_all(dir: &Path, cluster_id: &str) -> Result<(), LeaseError> {
    release_those(dir, |lease| lease.owner.cluster_id == cluster_id)
}

/// Every lease, in the order of the ports.
///
/// # Errors
/// [`LeaseError::Io`].
pub fn leases(dir: &Path) -> Result<Vec<Lease>, LeaseError> {
    read_all(dir).map_err(|source| LeaseError::Io { path: dir.to_owned(), source })
}

fn release_those(dir: &Path, which: impl Fn(&Lease) -> bool) -> Result<(), LeaseError> {
    let io = |source| LeaseError::Io { path: dir.to_owned(), source };
    let _lock = lock(dir).map_err(io)?;
    for lease in read_all(dir).map_err(io)?.iter().filter(|lease| which(lease)) {
        fs::remove_file(dir.join(lease.port.to_string())).map_err(io)?;
    }
    Ok(())
}

/// Held while leases change; freed when dropped, or by the kernel. Nobody holds it for longer than a search.
fn lock(dir: &Path) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(dir.join(".lock"))?;
    file.lock()?;
    Ok(file)
}

fn read_all(dir: &Path) -> io::Result<Vec<Lease>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut leases = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let port: Option<u16> = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        let Some(port) = port else { continue };
        // A file that is no lease is left alone, and its port with it: `write` will not replace it.
        let lease = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Lease>(&text).ok());
        leases.extend(lease.filter(|lease| lease.port == port));
    }
    leases.sort_by_key(|lease| lease.port);
    Ok(leases)
}

fn write(dir: &Path, lease: &Lease) -> io::Result<()> {
    // Complete or not there, however this process ends: a name of its own first, then the port's.
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(&serde_json::to_vec(lease)?)?;
    file.persist(dir.join(lease.port.to_string()))?;
    Ok(())
}

/// All leasable ports, from a place that depends on the cluster: users who do not see each other's leases
/// meet less often.
fn candidates(cluster_id: &str) -> impl Iterator<Item = u16> {
    let digest = Sha256::of(cluster_id.as_bytes()).first_bytes();
    let (first, count) = (*LEASABLE.start(), LEASABLE.end() - LEASABLE.start() + 1);
    let offset = u16::from_be_bytes(digest) % count;
    (0..count).map(move |n| first + (offset + n) % count)
}

fn is_free(port: u16) -> bool {
    // Both: a listener on one address does not keep the other from being bound on every system.
    [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED]
        .iter()
        .all(|ip| listen(SocketAddr::from((*ip, port))).is_ok())
}

#[cfg(test)]
mod tests;
