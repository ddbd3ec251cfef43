//! Clashes with real listeners, and leases in a folder of the test's.

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
    let clashes = check_free(&[("free", (Ipv4Addr::LOCALHOST, 0).into()), ("kafka-1", address)]).unwrap_err();
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
    let first = lease(&leased, &a, "kafka-1", None).unwrap();
    assert!(LEASABLE.contains(&first.port));
    assert_eq!(lease(&leased, &a, "kafka-1", None).unwrap(), first, "the same one for the same purpose");
    let second = lease(&leased, &a, "kafka-2", None).unwrap();
    let third = lease(&leased, &b, "kafka-1", None).unwrap();
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
    lease(&leased, &a, "kafka-1", None).unwrap();
    fs::remove_dir(&a.state_dir).unwrap();
    let kept = lease(&leased, &b, "kafka-1", None).unwrap();
    assert_eq!(leases(&leased).unwrap(), [kept]);
    let error = lease(&leased, &a, "kafka-1", None).unwrap_err().to_string();
    assert!(error.contains("is not there"), "{error}");
}

#[test]
fn a_port_in_use_is_not_leased() {
    let dir = TempDir::new().unwrap();
    let a = owner(&dir, "a");
    let first = lease(&dir.path().join("one"), &a, "x", None).unwrap();
    let _held = TcpListener::bind((Ipv4Addr::LOCALHOST, first.port)).unwrap();
    assert_ne!(lease(&dir.path().join("other"), &a, "x", None).unwrap().port, first.port);
}

#[test]
fn a_lost_lease_is_taken_again_while_free_or_held_by_the_clusters_own_node() {
    let dir = TempDir::new().unwrap();
    let leased = dir.path().join("ports");
    let (a, b) = (owner(&dir, "a"), owner(&dir, "b"));
    // One that a search would not find first.
    let had = candidates("a").skip(40).find(|port| is_free(*port)).unwrap();
    let again = |owner, ours: bool| lease_if(&leased, owner, "x", Some(had), |_| ours).unwrap().port;
    assert_eq!(again(&a, false), had, "it is free");
    assert_ne!(again(&b, true), had, "another cluster has leased it since");
    release_all(&leased, "a").unwrap();
    let _node = TcpListener::bind((Ipv4Addr::LOCALHOST, had)).unwrap();
    assert_eq!(again(&a, true), had, "a node of the cluster listens there");
    release_all(&leased, "a").unwrap();
    assert_ne!(again(&a, false), had, "somebody else listens there");
    release_all(&leased, "a").unwrap();
    assert!(LEASABLE.contains(&lease(&leased, &a, "x", Some(9093)).unwrap().port), "none of the guide's");
}

#[test]
fn leases_outlast_the_session() {
    assert_eq!(lease_dir(Path::new("/home/u/.cache/caracal")), Path::new("/home/u/.cache/caracal/ports"));
}

#[test]
fn leases_taken_at_once_differ() {
    let dir = TempDir::new().unwrap();
    let leased = dir.path().join("ports");
    let a = owner(&dir, "a");
    let take = &|n: usize| lease(&leased, &a, &format!("node {n}"), None).unwrap().port;
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
