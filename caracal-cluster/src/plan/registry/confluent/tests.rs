//! The settings against their documentation, and what follows from the flavour in the rest of a plan.

use std::collections::{BTreeMap, BTreeSet};

use crate::lifecycle::engine::Step;
use crate::plan::check::{self, Severity};
use crate::plan::tests::{confluent_plan, contained, golden_inputs};
use crate::plan::{ClusterPlan, NodePlan, NodeRole, PlanError, RegistryFlavor, SecretContent, plan};
use crate::properties;
use crate::spec::ClusterSpec;

/// What a documented key takes.
#[derive(Clone, Copy, Debug)]
enum Takes {
    Boolean,
    Number { least: u64 },
    Text,
    OneOf(&'static [&'static str]),
    Each(&'static [&'static str]),
    Urls(&'static str),
}

impl Takes {
    fn accepts(self, value: &str) -> bool {
        match self {
            Self::Boolean => matches!(value, "true" | "false"),
            Self::Number { least } => value.parse::<u64>().is_ok_and(|number| number >= least),
            Self::Text => !value.is_empty() && value.trim() == value,
            Self::OneOf(allowed) => allowed.contains(&value),
            Self::Each(allowed) => value.split(',').all(|part| allowed.contains(&part)),
            Self::Urls(scheme) => value.split(',').all(|url| {
                let port = url.strip_prefix(scheme).and_then(|rest| rest.rsplit_once(':'));
                port.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
            }),
        }
    }
}

const STORES: &[&str] = &["JKS", "PKCS12", "PEM"];

/// Keys of the reference of the registry's settings, version 7.9, with the type or the values that it gives them.
const DOCUMENTED: &[(&str, Takes)] = &[
    ("listeners", Takes::Urls("http://")),
    ("host.name", Takes::Text),
    ("host.port", Takes::Number { least: 1 }),
    ("inter.instance.protocol", Takes::OneOf(&["http", "https"])),
    ("inter.instance.listener.name", Takes::Text),
    ("debug", Takes::Boolean),
    ("kafkastore.bootstrap.servers", Takes::Urls("SASL_SSL://")),
    ("kafkastore.topic", Takes::Text),
    ("kafkastore.topic.replication.factor", Takes::Number { least: 1 }),
    ("kafkastore.topic.skip.validation", Takes::Boolean),
    ("kafkastore.group.id", Takes::Text),
    ("kafkastore.timeout.ms", Takes::Number { least: 0 }),
    ("kafkastore.init.timeout.ms", Takes::Number { least: 0 }),
    ("kafkastore.write.max.retries", Takes::Number { least: 0 }),
    ("schema.registry.group.id", Takes::Text),
    ("leader.eligibility", Takes::Boolean),
    ("mode.mutability", Takes::Boolean),
    ("kafkastore.security.protocol", Takes::OneOf(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"])),
    ("kafkastore.sasl.mechanism", Takes::Text),
    ("kafkastore.ssl.endpoint.identification.algorithm", Takes::OneOf(&["", "https"])),
    ("kafkastore.ssl.enabled.protocols", Takes::Each(&["TLSv1.3", "TLSv1.2"])),
    ("kafkastore.ssl.keystore.type", Takes::OneOf(STORES)),
    ("kafkastore.ssl.keystore.location", Takes::Text),
    ("kafkastore.ssl.keystore.password", Takes::Text),
    ("kafkastore.ssl.key.password", Takes::Text),
    ("kafkastore.ssl.truststore.type", Takes::OneOf(STORES)),
    ("kafkastore.ssl.truststore.location", Takes::Text),
    ("kafkastore.ssl.truststore.password", Takes::Text),
    (
        "schema.compatibility.level",
        Takes::OneOf(&[
            "none",
            "backward",
            "backward_transitive",
            "forward",
            "forward_transitive",
            "full",
            "full_transitive",
        ]),
    ),
];

/// What stands below `kafkastore.` and is documented with Kafka's clients, to which the registry hands it on.
const OF_KAFKAS_CLIENTS: &[(&str, Takes)] = &[("kafkastore.sasl.jaas.config", Takes::Text)];

fn registry(plan: &ClusterPlan) -> &NodePlan {
    plan.nodes_of(NodeRole::SchemaRegistry).next().unwrap()
}

fn text(plan: &ClusterPlan) -> String {
    let secret = registry(plan).secrets.iter().find(|secret| secret.path == super::SETTINGS).unwrap();
    match &secret.content {
        SecretContent::Properties(text) => text.clone(),
        other => panic!("{other:?}"),
    }
}

fn settings(plan: &ClusterPlan) -> BTreeMap<String, String> {
    properties::parse(&text(plan)).into_iter().collect()
}

#[test]
fn every_key_is_documented_with_the_value_that_it_has() {
    let plan = confluent_plan();
    assert_eq!(properties::doubled_keys(&text(&plan)), Vec::<String>::new());
    let settings = settings(&plan);
    assert!(settings.len() >= 20, "{settings:?}");
    for (key, value) in &settings {
        let known = DOCUMENTED.iter().chain(OF_KAFKAS_CLIENTS).find(|(known, _)| known == key);
        let (_, takes) = known.unwrap_or_else(|| panic!("{key} is in no documentation"));
        assert!(takes.accepts(value), "{key}: {value} is not {takes:?}");
    }
}

#[test]
fn a_table_of_keys_has_each_once_and_its_types_refuse_something() {
    let names: BTreeSet<&str> = DOCUMENTED.iter().chain(OF_KAFKAS_CLIENTS).map(|(key, _)| *key).collect();
    assert_eq!(names.len(), DOCUMENTED.len() + OF_KAFKAS_CLIENTS.len());
    for (_, takes) in DOCUMENTED {
        assert!(!takes.accepts(" no value "), "{takes:?}");
    }
    assert!(!Takes::Urls("http://").accepts("http://0.0.0.0") && !Takes::Number { least: 1 }.accepts("0"));
}

#[test]
fn every_compatibility_level_is_one_of_the_registrys() {
    for level in ["backward", "backward-transitive", "forward-transitive", "full", "none"] {
        let text = format!("[registry]\nflavor = \"confluent\"\ncompatibility = \"{level}\"");
        let settings = settings(&contained(&ClusterSpec::parse(&text, "the test").unwrap()));
        let (_, takes) = DOCUMENTED.last().unwrap();
        assert!(takes.accepts(&settings["schema.compatibility.level"]), "{level}");
    }
}

#[test]
fn it_logs_in_over_mutual_tls_and_checks_the_brokers_names() {
    let settings = settings(&confluent_plan());
    for (key, value) in [
        ("kafkastore.security.protocol", "SASL_SSL"),
        ("kafkastore.sasl.mechanism", "SCRAM-SHA-512"),
        ("kafkastore.ssl.endpoint.identification.algorithm", "https"),
        ("kafkastore.ssl.keystore.type", "PEM"),
        ("kafkastore.ssl.truststore.type", "PEM"),
    ] {
        assert_eq!(settings[key], value, "{key}");
    }
    let login = &settings["kafkastore.sasl.jaas.config"];
    assert!(login.contains("ScramLoginModule") && login.contains("@{password:schema-registry}"), "{login}");
    for public in &registry(&confluent_plan()).files {
        assert!(!public.text.contains("password"), "{}", public.path);
    }
}

#[test]
fn its_user_has_just_the_rights_on_its_topic_and_its_group() {
    let plan = confluent_plan();
    let rules: BTreeSet<String> = plan
        .acls
        .iter()
        .filter(|rule| rule.user.as_str() == "schema-registry")
        .map(|rule| format!("{:?} {:?} {:?} {}", rule.operation, rule.pattern, rule.resource, rule.name))
        .collect();
    let wanted = [
        "Describe Literal Group schema-registry",
        "Describe Literal Topic _schemas",
        "DescribeConfigs Literal Topic _schemas",
        "Read Literal Group schema-registry",
        "Read Literal Topic _schemas",
        "Write Literal Topic _schemas",
    ];
    assert_eq!(rules.iter().map(String::as_str).collect::<Vec<_>>(), wanted);
    let settings = settings(&plan);
    assert_eq!(settings["schema.registry.group.id"], "schema-registry");
    assert_eq!(settings["kafkastore.group.id"], "schema-registry");
    let topic = plan.topics.iter().find(|topic| topic.name.as_str() == settings["kafkastore.topic"]).unwrap();
    assert_eq!((topic.partitions, topic.replication_factor), (1, 3));
    assert!(topic.config.contains(&("cleanup.policy".to_owned(), "compact".to_owned())), "{topic:?}");
    assert!(!plan.topics.iter().any(|topic| topic.name.as_str().contains("kafkasql")));
}

#[test]
fn clients_are_told_its_root_and_its_image_is_the_vendors() {
    let plan = confluent_plan();
    assert_eq!(plan.endpoints.registry_url.as_deref(), Some("http://localhost:8081"));
    let node = registry(&plan);
    assert_eq!(node.listeners.len(), 1, "no second port for health: {:?}", node.listeners);
    assert_eq!(node.container.as_ref().unwrap().image, "confluentinc/cp-schema-registry:7.9.11");
    assert_eq!((plan.registry, plan.registry_version.as_str()), (RegistryFlavor::Confluent, "7.9.11"));
    assert!(check::check(&plan).iter().all(|note| note.severity < Severity::Error));
    let named =
        "[registry]\nflavor = \"confluent\"\n[docker]\nimages = \"local\"\nregistry_image = \"mine:1\"";
    let plan = contained(&ClusterSpec::parse(named, "the test").unwrap());
    assert_eq!(registry(&plan).container.as_ref().unwrap().image, "mine:1");
}

#[test]
fn it_is_launched_when_its_topic_is_there() {
    let at = |plan: &ClusterPlan, step: Step| Step::of(plan).iter().position(|known| *known == step).unwrap();
    let mut plan = confluent_plan();
    assert_eq!(at(&plan, Step::RegistryLaunch), at(&plan, Step::Topics) + 1);
    let mut steps = Step::of(&plan);
    plan.registry = RegistryFlavor::Apicurio;
    assert!(at(&plan, Step::RegistryLaunch) < at(&plan, Step::Acls));
    let mut others = Step::of(&plan);
    steps.sort();
    others.sort();
    assert_eq!(steps, others, "the same steps in another order");
}

#[test]
fn as_a_process_it_is_refused_with_what_to_do_unless_there_is_none() {
    let spec = ClusterSpec::parse("[registry]\nflavor = \"confluent\"", "the test").unwrap();
    let error = plan(&spec, &golden_inputs(&spec)).unwrap_err();
    assert_eq!(error, PlanError::RegistryNeedsContainers { flavor: "confluent" });
    let text = error.to_string();
    assert!(text.contains("--runtime docker") && text.contains("--registry apicurio"), "{text}");
    let mut without = spec;
    without.registry.enabled = false;
    assert!(plan(&without, &golden_inputs(&without)).is_ok());
}
