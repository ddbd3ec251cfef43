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
    env, fmt,
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

/// Where this user's leases are: `$XDG_RUNTIME_DIR/caracal/ports`, else `ports` in the cache.
pub fn lease_dir(cache: &Path) -> PathBuf {
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    match runtime.filter(|dir| dir.is_absolute() && dir.is_dir()) {
        Some(dir) => dir.join("caracal/ports"),
        None => cache.join("ports"),
    }
}

/// Leases a free port; the same one again when this owner has one for this purpose.
///
/// Leases whose cluster's directory is gone are ended first. Blocking for some milliseconds.
///
/// # Errors
/// See [`LeaseError`].
pub fn lease(dir: &Path, owner: &LeaseOwner, purpose: &str) -> Result<Lease, LeaseError> {
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
    let free = |port: &u16| {
        let guide = GUIDE.iter().any(|range| range.contains(port));
        !guide && !leases.iter().any(|lease| lease.port == *port) && is_free(*port)
    };
    let port = candidates(&owner.cluster_id).find(free);
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
mod tests {
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    fn owner(dir: &TempDir, name: &str) -> LeaseOwner {
        let state_dir = dir.path().join(name);
        fs::create_dir_all(&state_dir).unwrap();
        LeaseOwner { cluster_id: name.to_owned(), state_dir }
    }

    #[test]
    fn whoever_holds_a_port_is_named() {
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = held.local_addr().unwrap();
        let owner = owner_of(address.port()).unwrap();
        assert_eq!((owner.pid, owner.node.is_none()), (std::process::id(), true));
        let clashes =
            check_free(&[("free", (Ipv4Addr::LOCALHOST, 0).into()), ("kafka-1", address)]).unwrap_err();
        assert_eq!(clashes.len(), 1);
        let text = clashes[0].to_string();
        assert!(text.starts_with(&format!("{address}, wanted for kafka-1, is in use by ")), "{text}");
        assert!(text.contains(&format!("pid {}", std::process::id())), "{text}");
        let wildcard = (Ipv4Addr::UNSPECIFIED, address.port()).into();
        assert_eq!(check_free(&[("kafka-1", wildcard)]).unwrap_err().len(), 1);
        drop(held);
        check_free(&[("kafka-1", address)]).unwrap();
        assert_eq!(owner_of(address.port()), None);
    }

    #[test]
    fn an_address_wanted_twice_or_not_here_is_told() {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let wildcard = (Ipv4Addr::UNSPECIFIED, free.port()).into();
        let clashes = check_free(&[("a", free), ("b", wildcard)]).unwrap_err();
        assert_eq!(clashes[0].to_string(), format!("{wildcard}, wanted for b, is wanted for a too"));
        // TEST-NET-1 (RFC 5737): nobody's.
        let clashes = check_free(&[("c", (Ipv4Addr::new(192, 0, 2, 1), 20_000).into())]).unwrap_err();
        assert!(matches!(clashes[0].clash, Clash::NotHere), "{}", clashes[0]);
    }

    #[test]
    fn a_lease_is_kept_found_again_and_ended() {
        let dir = TempDir::new().unwrap();
        let leased = dir.path().join("run/ports");
        let (a, b) = (owner(&dir, "a"), owner(&dir, "b"));
        let first = lease(&leased, &a, "kafka-1").unwrap();
        assert!(LEASABLE.contains(&first.port));
        assert_eq!(lease(&leased, &a, "kafka-1").unwrap(), first, "the same one for the same purpose");
        let second = lease(&leased, &a, "kafka-2").unwrap();
        let third = lease(&leased, &b, "kafka-1").unwrap();
        assert!(first.port != second.port && third.port != first.port && third.port != second.port);
        release(&leased, "b", first.port).unwrap();
        assert_eq!(leases(&leased).unwrap().len(), 3, "another cluster's lease is not ended");
        release_all(&leased, "a").unwrap();
        release_all(&leased, "a").unwrap();
        assert_eq!(leases(&leased).unwrap(), [third]);
    }

    #[test]
    fn a_lease_ends_with_the_directory_of_its_cluster() {
        let dir = TempDir::new().unwrap();
        let leased = dir.path().join("ports");
        let (a, b) = (owner(&dir, "a"), owner(&dir, "b"));
        lease(&leased, &a, "kafka-1").unwrap();
        fs::remove_dir(&a.state_dir).unwrap();
        let kept = lease(&leased, &b, "kafka-1").unwrap();
        assert_eq!(leases(&leased).unwrap(), [kept]);
        let error = lease(&leased, &a, "kafka-1").unwrap_err().to_string();
        assert!(error.contains("is not there"), "{error}");
    }

    #[test]
    fn a_port_in_use_is_not_leased() {
        let dir = TempDir::new().unwrap();
        let a = owner(&dir, "a");
        let first = lease(&dir.path().join("one"), &a, "x").unwrap();
        let _held = TcpListener::bind((Ipv4Addr::LOCALHOST, first.port)).unwrap();
        assert_ne!(lease(&dir.path().join("other"), &a, "x").unwrap().port, first.port);
    }

    #[test]
    fn leases_taken_at_once_differ() {
        let dir = TempDir::new().unwrap();
        let leased = dir.path().join("ports");
        let a = owner(&dir, "a");
        let take = &|n: usize| lease(&leased, &a, &format!("node {n}")).unwrap().port;
        let ports: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|n| scope.spawn(move || take(n))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let distinct: std::collections::BTreeSet<_> = ports.iter().collect();
        assert_eq!(distinct.len(), 8, "{ports:?}");
    }

    proptest! {
        #[test]
        fn every_cluster_may_have_every_leasable_port_and_no_other(id in "\\PC{0,20}") {
            let mut all: Vec<_> = candidates(&id).collect();
            all.sort_unstable();
            prop_assert!(all.into_iter().eq(LEASABLE));
            prop_assert!(GUIDE.iter().all(|range| !LEASABLE.contains(range.start()) && !LEASABLE.contains(range.end())));
        }
    }
}
