//! Which changes of a description kept data survives.

use tempfile::TempDir;

use super::*;

fn refusal(change: impl Fn(&mut ClusterSpec)) -> Option<String> {
    let spec = ClusterSpec::default();
    let record = new_record(&spec, RuntimeKind::Native);
    let mut wanted = spec;
    change(&mut wanted);
    refuse_kept_data(&wanted, &record).err().map(|error| error.to_string())
}

#[test]
fn what_kept_data_survives_is_allowed() {
    assert_eq!(refusal(|_| {}), None);
    assert_eq!(refusal(|spec| spec.kafka.brokers = 5), None, "more brokers lose nothing");
    assert_eq!(refusal(|spec| spec.kafka.heap_mib = 1024), None);
}

#[test]
fn what_kept_data_does_not_survive_is_refused_with_the_way_out() {
    let fewer = refusal(|spec| spec.kafka.brokers = 1).unwrap();
    assert!(fewer.contains("partitions on the last broker") && fewer.contains("down -v"), "{fewer}");
    let ensemble = refusal(|spec| spec.kafka.zookeepers = 5).unwrap();
    assert!(ensemble.contains("not resized"), "{ensemble}");
    let version = refusal(|spec| spec.kafka.version = "3.9.1".to_owned()).unwrap();
    assert!(version.contains("upgrade"), "{version}");
}

#[test]
fn another_mode_profile_or_quorum_than_the_kept_data_is_of_is_refused() {
    let moved = refusal(|spec| spec.metadata = Metadata::Kraft).unwrap();
    assert!(moved.contains("zookeeper") && moved.contains("kraft") && moved.contains("migration"), "{moved}");
    let kraft = ClusterSpec::parse("metadata = \"kraft\"", "x").unwrap();
    let record = new_record(&kraft, RuntimeKind::Native);
    assert_eq!((record.zookeepers, record.controllers), (0, 3));
    assert!(refuse_kept_data(&kraft, &record).is_ok());
    for change in ["controllers = 1", "roles = \"combined\""] {
        let other = ClusterSpec::parse(&format!("metadata = \"kraft\"\n[kafka]\n{change}"), "x").unwrap();
        let error = refuse_kept_data(&other, &record).unwrap_err().to_string();
        assert!(error.contains("3, nodes of their own") && error.contains("down -v"), "{error}");
    }
}

#[test]
fn a_flag_that_says_another_kind_is_refused_by_what_it_says() {
    let temp = TempDir::new().unwrap();
    let root = StateRoot::at(&temp.path().join("state")).unwrap();
    let kraft = ClusterSpec::parse("metadata = \"kraft\"", "x").unwrap();
    let dir = root.cluster(&kraft.name);
    dir.create().unwrap();
    dir.write_json(&dir.record(), &new_record(&kraft, RuntimeKind::Native)).unwrap();
    dir.write(&dir.spec(), kraft.to_toml().as_bytes()).unwrap();
    let looked = |overrides: Overrides| {
        let described = Described { overrides, ..Described::default() };
        Cluster::for_looking(&root, Some(&kraft.name), &described).map(|cluster| cluster.plan.metadata)
    };
    let metadata = |metadata| Overrides { metadata: Some(metadata), ..Overrides::default() };
    let error = looked(metadata(Metadata::Zookeeper)).unwrap_err().to_string();
    assert!(error.contains("metadata mode kraft") && error.contains("down -v"), "{error}");
    let minimal = Overrides { profile: Some(crate::spec::Profile::Minimal), ..Overrides::default() };
    let error = looked(minimal).unwrap_err().to_string();
    assert!(error.contains("profile full") && error.contains("minimal"), "{error}");
    let version = Overrides { kafka_version: Some("3.9.2".to_owned()), ..Overrides::default() };
    let error = looked(version).unwrap_err().to_string();
    assert!(error.contains("Kafka 4.3.1") && error.contains("upgrade"), "{error}");
    assert_eq!(looked(metadata(Metadata::Kraft)).unwrap(), Metadata::Kraft);
}

#[test]
fn every_cluster_has_an_identity_of_its_own() {
    let spec = ClusterSpec::default();
    assert_ne!(
        new_record(&spec, RuntimeKind::Native).cluster_id,
        new_record(&spec, RuntimeKind::Native).cluster_id
    );
}

#[test]
fn a_newer_versions_directory_is_refused_by_its_number_not_by_a_key_of_its_description() {
    let temp = TempDir::new().unwrap();
    let root = StateRoot::at(&temp.path().join("state")).unwrap();
    let spec = ClusterSpec::default();
    let dir = root.cluster(&spec.name);
    dir.create().unwrap();
    let record = ClusterRecord { format: STATE_FORMAT + 1, ..new_record(&spec, RuntimeKind::Native) };
    dir.write_json(&dir.record(), &record).unwrap();
    dir.write(&dir.spec(), format!("key_of_a_newer_version = 1\n{}", spec.to_toml()).as_bytes()).unwrap();
    let looked = Cluster::for_looking(&root, Some(&spec.name), &Described::default()).unwrap_err();
    let changed = Cluster::for_change(&root, Some(&spec.name), &Described::default(), "up").unwrap_err();
    for error in [looked.to_string(), changed.to_string()] {
        assert!(error.contains(&format!("format {}", STATE_FORMAT + 1)), "{error}");
        assert!(error.contains("newer version") && !error.contains("unknown field"), "{error}");
    }
}

#[test]
fn a_path_that_is_no_text_is_refused_before_anything_is_made() {
    use std::os::unix::ffi::OsStrExt as _;
    let temp = TempDir::new().unwrap();
    let root = StateRoot::at(&temp.path().join(std::ffi::OsStr::from_bytes(b"a\xff"))).unwrap();
    let error = Cluster::for_looking(&root, None, &Described::default()).unwrap_err().to_string();
    assert!(error.contains("is not UTF-8") && error.contains("CARACAL_STATE_DIR"), "{error}");
}
