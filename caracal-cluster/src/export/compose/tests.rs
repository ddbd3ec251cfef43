use std::collections::BTreeMap;

use super::*;
use crate::plan::tests::{contained_plan, default_plan};
use crate::plan::{Operation, PatternKind, ResourceKind};

const FACTS: Facts<'_> = Facts { cluster_id: "id", owner: "1000:1000" };

#[test]
fn only_plans_of_containers_with_zookeeper_are_exported() {
    assert_eq!(document(&default_plan(), FACTS), Err(ComposeError::NoContainers));
    let kraft = ClusterPlan { metadata: Metadata::Kraft, ..contained_plan() };
    assert!(document(&kraft, FACTS).unwrap_err().to_string().contains("export one with ZooKeeper"));
}

#[test]
fn no_variable_but_the_owners_is_left_for_compose() {
    let text = document(&contained_plan(), FACTS).unwrap();
    for (at, _) in text.match_indices('$') {
        assert!(text[at..].starts_with("${CARACAL_OWNER:-1000:1000}"), "{}", &text[at..at + 40]);
    }
}

#[test]
fn every_rule_and_user_of_the_plan_is_written_once() {
    let plan = contained_plan();
    let credentials: BTreeMap<_, _> =
        plan.users.iter().map(|user| (user.name.clone(), "salt=..".to_owned())).collect();
    let text = setup::users(&plan, &credentials);
    let rules = text.matches("\"permissionType\":\"Allow\"").count();
    assert_eq!(rules, plan.acls.len());
    for user in &plan.users {
        let line = format!("create /config/users/{} '", user.name);
        assert_eq!(text.matches(&line).count(), 1, "{line}");
    }
    let paths: Vec<&str> = text.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    for (at, path) in paths.iter().enumerate() {
        let above = path.rsplit_once('/').unwrap().0;
        assert!(above.is_empty() || paths[..at].contains(&above), "{path} comes before {above}");
        assert!(!paths[..at].contains(path), "{path} comes twice");
    }
    // A space or a quote inside would be the end of a word for ZooKeeper's command line.
    for rule in &plan.acls {
        assert!(!rule.name.contains([' ', '\'', '"', '/']), "{}", rule.name);
    }
    assert!(plan.acls.iter().any(|rule| {
        rule.pattern == PatternKind::Prefixed
            && rule.resource == ResourceKind::Group
            && rule.operation == Operation::Read
    }));
}

#[test]
fn replicas_of_a_partition_are_on_different_brokers_and_leaders_go_round() {
    let plan = contained_plan();
    let files = setup::files(&plan);
    let topics = &files.iter().find(|file| file.path.ends_with(setup::TOPICS)).unwrap().text;
    for topic in &plan.topics {
        let start = format!("create /brokers/topics/{} '", topic.name);
        let line = topics.lines().find_map(|line| line.strip_prefix(&start)).unwrap();
        let data: serde_json::Value = serde_json::from_str(line.split_once('\'').unwrap().0).unwrap();
        let partitions = data["partitions"].as_object().unwrap();
        assert_eq!(partitions.len(), topic.partitions as usize);
        for replicas in partitions.values() {
            let set: std::collections::BTreeSet<u64> =
                replicas.as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
            assert_eq!(set.len(), usize::from(topic.replication_factor));
        }
    }
}

#[test]
fn a_request_says_how_long_its_body_is() {
    for file in setup::files(&contained_plan()).iter().filter(|file| file.path.ends_with(".http")) {
        let (head, body) = file.text.split_once("\r\n\r\n").unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        assert_eq!(length.map_or(0, |length| length.parse::<usize>().unwrap()), body.len(), "{}", file.path);
    }
}
