//! What `acls explain` says against what brokers do: the same question asked of both, case by case.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use caracal_cluster::admin::Admin;
use caracal_cluster::lifecycle::{Cluster, chain};
use caracal_cluster::plan::TopicPlan;
use caracal_cluster::wire::{Connection, Deadline, WireError, records};
use caracal_scram::Mechanism;

use crate::Test;
use crate::cluster::{self, TestCluster, access};
use crate::jdk::as_user;
use crate::product::{self, PATIENCE};
use crate::tools::{self, block};
use crate::users::{document, nothing_differs, operate};

pub(crate) const TESTS: &[Test] = &[
    ("acls::explain_says_what_brokers_do", explain_and_do),
    ("acls::a_refusal_is_explained_and_its_command_allows_it", from_the_log),
    ("acls::added_rules_are_no_drift_and_planned_ones_cannot_be_removed", own_rules),
];

const USER: &str = "live-explain";
const TOPIC: &str = "live-explain.a";
const NEW: &str = "live-explain.new";
const GROUP: &str = "live-explain";

/// What is asked: operation and resource.
type Questions = &'static [(&'static str, &'static str)];

/// Rules and the questions that are asked while they are there.
type Set = (&'static [&'static str], Questions);

/// Rules, as arguments of `acls add`, and what is asked while just they are there.
const SETS: &[Set] = &[
    (
        &[],
        &[
            ("Read", "topic:live-explain.a"),
            ("Write", "topic:live-explain.a"),
            ("Describe", "topic:live-explain.a"),
            ("Create", "topic:live-explain.new"),
            ("Delete", "topic:live-explain.a"),
            ("Alter", "topic:live-explain.a"),
            ("DescribeConfigs", "topic:live-explain.a"),
            ("AlterConfigs", "topic:live-explain.a"),
            ("Read", "group:live-explain"),
            ("Describe", "group:live-explain"),
            ("Write", "transactional-id:live-explain"),
            ("Describe", "cluster"),
            ("Alter", "cluster"),
            ("IdempotentWrite", "cluster"),
        ],
    ),
    // A whole name; Read implies Describe.
    (
        &["--operation read --resource topic:live-explain.a --resource group:live-explain"],
        &[
            ("Read", "topic:live-explain.a"),
            ("Describe", "topic:live-explain.a"),
            ("Write", "topic:live-explain.a"),
            ("DescribeConfigs", "topic:live-explain.a"),
            ("Read", "topic:caracal.dlq"),
            ("Read", "group:live-explain"),
            ("Describe", "group:live-explain"),
            ("IdempotentWrite", "cluster"),
        ],
    ),
    // The start of a name; Write on any topic is enough for an idempotent producer.
    (
        &["--operation write --resource topic:live-ex* --resource transactional-id:live-ex*"],
        &[
            ("Write", "topic:live-explain.a"),
            ("Describe", "topic:live-explain.a"),
            ("Read", "topic:live-explain.a"),
            ("Write", "topic:caracal.dlq"),
            ("Write", "transactional-id:live-explain"),
            ("IdempotentWrite", "cluster"),
        ],
    ),
    // Every name; a denial of one operation.
    (
        &["--operation all --resource topic:*", "--operation write --resource topic:live-explain.a --deny"],
        &[
            ("Read", "topic:live-explain.a"),
            ("Write", "topic:live-explain.a"),
            ("Describe", "topic:live-explain.a"),
            ("Write", "topic:caracal.dlq"),
            ("Create", "topic:live-explain.new"),
            ("AlterConfigs", "topic:live-explain.a"),
            ("Read", "group:live-explain"),
            ("Describe", "cluster"),
        ],
    ),
    // A denial by the start of the name, of everything.
    (
        &["--operation all --resource topic:*", "--operation all --resource topic:live-explain* --deny"],
        &[
            ("Read", "topic:live-explain.a"),
            ("Describe", "topic:live-explain.a"),
            ("Create", "topic:live-explain.new"),
            ("Read", "topic:caracal.dlq"),
            ("IdempotentWrite", "cluster"),
        ],
    ),
    // AlterConfigs implies DescribeConfigs, and not Describe.
    (
        &["--operation alter-configs --resource topic:live-explain.a"],
        &[
            ("AlterConfigs", "topic:live-explain.a"),
            ("DescribeConfigs", "topic:live-explain.a"),
            ("Describe", "topic:live-explain.a"),
        ],
    ),
    // Rights on the cluster; Create there is Create of any topic.
    (
        &["--operation create --operation describe --operation alter --resource cluster"],
        &[
            ("Create", "topic:live-explain.new"),
            ("Describe", "cluster"),
            ("Alter", "cluster"),
            ("Describe", "topic:live-explain.a"),
            ("IdempotentWrite", "cluster"),
        ],
    ),
    // Another host's rule.
    (
        &["--operation read --resource topic:live-explain.a --host 10.9.9.9"],
        &[("Read", "topic:live-explain.a")],
    ),
    (
        &["--operation alter --resource topic:live-explain.a"],
        &[("Alter", "topic:live-explain.a"), ("Describe", "topic:live-explain.a")],
    ),
    // Last: it does what it says.
    (
        &["--operation delete --resource topic:live-explain.a"],
        &[("Describe", "topic:live-explain.a"), ("Delete", "topic:live-explain.a")],
    ),
];

/// Somebody who does to brokers what was asked about.
struct Actor<'a> {
    test: &'a TestCluster,
    cluster: &'a Cluster,
    admin: Admin,
}

impl Actor<'_> {
    fn deadline() -> Deadline {
        Deadline::after(PATIENCE.min(Duration::from_secs(60)))
    }

    /// A connection of the user's to the leader of a topic, which it may not even be allowed to see.
    async fn leader_of(&mut self, topic: &str) -> Result<Connection> {
        let mut root = access(self.cluster).admin()?;
        let deadline = Self::deadline();
        let mut any = root.connect_to_leader(topic, 0, deadline).await?;
        let leader = records::leader(&mut any, topic, 0, deadline).await?;
        Ok(self.admin.connect(leader, deadline).await?)
    }

    async fn coordinator_of(&mut self, group: &str) -> Result<Connection> {
        let root = access(self.cluster).admin()?;
        let deadline = Self::deadline();
        let mut any = root.connect(1, deadline).await?;
        let coordinator = loop {
            match records::find_coordinator(&mut any, group, deadline).await {
                Err(error) if is_coming(&error) && !deadline.is_over() => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                found => break found?,
            }
        };
        Ok(self.admin.connect(coordinator, deadline).await?)
    }

    /// Does it; gives the error's words when it failed.
    fn act(&mut self, operation: &str, resource: &str) -> Result<Option<String>> {
        if operation != "DescribeConfigs" {
            return block(self.send(operation, resource));
        }
        // By Kafka's own tool, which asks for nothing else.
        let tool = as_user(self.test, USER, "kafka.admin.ConfigCommand")?;
        let topic = resource.trim_start_matches("topic:");
        let described = tool.args(["--describe", "--entity-type", "topics", "--entity-name", topic]).run()?;
        let failed = !described.status.success() || described.text().contains("Exception");
        Ok(failed.then(|| described.text()))
    }

    async fn send(&mut self, operation: &str, resource: &str) -> Result<Option<String>> {
        let deadline = Self::deadline();
        let (kind, name) = resource.split_once(':').unwrap_or((resource, ""));
        let failed = |error: &(dyn std::error::Error + 'static)| Some(chain(error));
        Ok(match (operation, kind) {
            ("Read", "topic") => {
                let mut leader = self.leader_of(name).await?;
                records::fetch(&mut leader, name, 0, 0, Duration::from_millis(100), deadline)
                    .await
                    .err()
                    .and_then(|e| failed(&e))
            }
            ("Write", "topic") => {
                let mut leader = self.leader_of(name).await?;
                let value = Some(b"explain"[..].into());
                records::produce(&mut leader, name, 0, None, value, deadline)
                    .await
                    .err()
                    .and_then(|e| failed(&e))
            }
            ("Describe", "topic") => {
                let mut any = self.admin.connect(1, deadline).await?;
                records::leader(&mut any, name, 0, deadline).await.err().and_then(|e| failed(&e))
            }
            ("Create", "topic") => {
                let topic = TopicPlan { name: name.parse()?, ..template(self.cluster)? };
                let made = self.admin.create_topics(&[topic], deadline).await?;
                let error = made.into_iter().find_map(|outcome| outcome.result.err());
                if error.is_none() {
                    drop_topic(self.cluster, name).await?;
                }
                error.map(|error| error.to_string())
            }
            ("Delete", "topic") => {
                let gone = self.admin.delete_topics(&[name], deadline).await?;
                gone.into_iter().find_map(|outcome| outcome.result.err()).map(|error| error.to_string())
            }
            ("Alter", "topic") => {
                let more = self.admin.create_partitions(name, 2, deadline).await?;
                more.err().map(|error| error.to_string())
            }
            ("AlterConfigs", "topic") => {
                let setting = [("retention.ms".to_owned(), "3600000".to_owned())];
                let altered = self.admin.alter_topic_config(name, &setting, deadline).await?;
                altered.err().map(|error| error.to_string())
            }
            ("Read", "group") => {
                let mut coordinator = self.coordinator_of(name).await?;
                let committed = records::commit_offset(&mut coordinator, name, TOPIC, 0, 0, deadline).await;
                committed.err().and_then(|e| failed(&e))
            }
            ("Describe", "group") => {
                let mut coordinator = self.coordinator_of(name).await?;
                let offset = records::committed_offset(&mut coordinator, name, TOPIC, 0, deadline).await;
                offset.err().and_then(|e| failed(&e))
            }
            ("Write", "transactional-id") => self.producer_id(Some(name)).await?,
            ("IdempotentWrite", "cluster") => self.producer_id(None).await?,
            ("Describe", "cluster") => self.admin.scram_users(deadline).await.err().and_then(|e| failed(&e)),
            ("Alter", "cluster") => {
                let nobody = [("live-nobody-at-all", Mechanism::ScramSha512)];
                let gone = self.admin.delete_scram_users(&nobody, deadline).await?;
                gone.into_iter().find_map(|outcome| outcome.result.err()).map(|error| error.to_string())
            }
            _ => bail!("nobody knows how to {operation} {resource}"),
        })
    }

    async fn producer_id(&mut self, id: Option<&str>) -> Result<Option<String>> {
        let deadline = Self::deadline();
        let root = access(self.cluster).admin()?;
        let mut any = root.connect(1, deadline).await?;
        let broker = match id {
            // The first of all makes the topic of transactions, which takes a moment.
            Some(id) => loop {
                match records::find_transaction_coordinator(&mut any, id, deadline).await {
                    Err(error) if is_coming(&error) && !deadline.is_over() => {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                    found => break found?,
                }
            },
            None => 1,
        };
        let mut connection = self.admin.connect(broker, deadline).await?;
        let got = records::init_producer_id(&mut connection, id, deadline).await;
        Ok(got.err().map(|error| chain(&error)))
    }
}

/// Whether a coordinator is being made: its topic is made by the first who asks.
fn is_coming(error: &WireError) -> bool {
    chain(error).contains("CoordinatorNotAvailable")
}

fn template(cluster: &Cluster) -> Result<TopicPlan> {
    let mut topic = cluster.plan.topics.first().context("no topic is planned")?.clone();
    (topic.partitions, topic.config) = (1, Vec::new());
    Ok(topic)
}

async fn drop_topic(cluster: &Cluster, name: &str) -> Result<()> {
    access(cluster).admin()?.delete_topics(&[name], Actor::deadline()).await?;
    Ok(())
}

/// The user, its topic, and nothing that it may do.
fn begin(cluster: &TestCluster) -> Result<Cluster> {
    // A rule that it needs to exist at all, and that no question is about.
    operate(cluster, &["users", "add", USER, "--allow", "Read topic:live-unasked"])?.succeeded()?;
    let resolved = cluster.resolved()?;
    let topic = TopicPlan { name: TOPIC.parse()?, ..template(&resolved)? };
    let made = block(async {
        access(&resolved)
            .admin()?
            .create_topics(&[topic], Actor::deadline())
            .await
            .map_err(anyhow::Error::from)
    })?;
    ensure!(made.iter().all(|outcome| outcome.result.is_ok()), "{made:?}");
    let seen = || {
        let topics = block(async {
            let admin = access(&resolved).admin()?;
            for broker in 1..=3 {
                let mut connection = admin.connect(broker, Actor::deadline()).await?;
                records::leader(&mut connection, TOPIC, 0, Actor::deadline()).await?;
            }
            anyhow::Ok(())
        });
        topics.map(Some).map_err(|error| format!("{error:#}"))
    };
    tools::await_until("the topic at every broker", Duration::from_secs(30), seen)?;
    Ok(resolved)
}

fn end(cluster: &TestCluster, resolved: &Cluster) -> Result<()> {
    operate(cluster, &["users", "remove", USER])?.succeeded()?;
    let deadline = Actor::deadline();
    block(async {
        let mut admin = access(resolved).admin()?;
        admin.delete_topics(&[TOPIC, NEW], deadline).await?;
        admin.delete_groups(|group| group == GROUP, deadline).await?;
        anyhow::Ok(())
    })
}

fn explain_and_do() -> Result<()> {
    let cluster = cluster::shared()?;
    let resolved = begin(cluster)?;
    let outcome = every_set(cluster, &resolved);
    end(cluster, &resolved)?;
    outcome?;
    nothing_differs(cluster)
}

fn every_set(cluster: &TestCluster, resolved: &Cluster) -> Result<()> {
    let user = resolved.plan.user(USER).context("the user is not in the plan")?;
    let mut wrong = Vec::new();
    let (mut allowed, mut denied) = (0, 0);
    for (rules, questions) in SETS {
        let change = |verb: &str, rule: &str| -> Result<()> {
            let mut words = vec!["acls", verb, "--principal", USER];
            words.extend(rule.split(' '));
            operate(cluster, &words)?.succeeded().map(drop)
        };
        for rule in *rules {
            change("add", rule)?;
        }
        for (operation, resource) in *questions {
            let ask =
                ["acls", "explain", "--principal", USER, "--operation", operation, "--resource", resource];
            let answer = document(cluster, &ask)?["answers"][0].clone();
            // A new one each time: a broker remembers nothing of what a connection may do.
            let mut actor =
                Actor { test: cluster, cluster: resolved, admin: access(resolved).as_user(user)? };
            let did = actor.act(operation, resource)?;
            let refused = did.as_deref().is_some_and(|error| error.to_lowercase().contains("authoriz"));
            *(if refused { &mut denied } else { &mut allowed }) += 1;
            if answer["allowed"] == refused {
                wrong.push(format!(
                    "{operation} {resource} with {rules:?}: the broker said {did:?}, we {answer}"
                ));
            }
        }
        // Several operations or resources were added at once, and are removed rule by rule.
        for rule in document(cluster, &["acls", "list", "--principal", USER])?["rules"]
            .as_array()
            .context("no rules")?
            .iter()
            .filter(|rule| rule["origin"] == "added")
        {
            let word = |key: &str| rule[key].as_str().unwrap_or_default().to_owned();
            let (operation, resource, host) = (word("operation"), word("resource"), word("host"));
            let mut words = vec!["acls", "remove", "--principal", USER];
            words.extend(["--operation", &operation, "--resource", &resource]);
            words.extend(if host == "*" { vec![] } else { vec!["--host", host.as_str()] });
            words.extend((rule["permission"] == "deny").then_some("--deny"));
            operate(cluster, &words)?.succeeded()?;
        }
    }
    tools::tell(&format!("{allowed} requests were allowed, {denied} denied"));
    ensure!(wrong.is_empty(), "explain and brokers differ:\n{}", wrong.join("\n"));
    ensure!(allowed > 20 && denied > 20, "{allowed} allowed and {denied} denied prove little");
    Ok(())
}

fn from_the_log() -> Result<()> {
    let cluster = cluster::shared()?;
    let resolved = begin(cluster)?;
    let outcome = explained_refusal(cluster, &resolved);
    end(cluster, &resolved)?;
    outcome
}

fn explained_refusal(cluster: &TestCluster, resolved: &Cluster) -> Result<()> {
    let user = resolved.plan.user(USER).context("the user is not in the plan")?;
    let mut actor = Actor { test: cluster, cluster: resolved, admin: access(resolved).as_user(user)? };
    let refused = actor.act("Write", "topic:live-explain.a")?;
    ensure!(refused.is_some(), "it was allowed to write");
    let mut command = String::new();
    // Nothing is said but who: what was refused comes from the audit log.
    let look = || {
        let ask = ["acls", "explain", "--principal", USER, "--since", "10m"];
        let report = document(cluster, &ask).map_err(|error| format!("{error:#}"))?;
        let answers = report["answers"].as_array().cloned().unwrap_or_default();
        let fits = |answer: &&serde_json::Value| {
            answer["operation"] == "Write" && answer["resource"] == "topic:live-explain.a"
        };
        let Some(answer) = answers.iter().find(fits) else { return Err(report.to_string()) };
        if answer["reason"] != "no-rule-allows" || answer["denials"]["requests"][0] != "Produce" {
            return Err(answer.to_string());
        }
        command = answer["commands"][0].as_str().unwrap_or_default().to_owned();
        Ok(Some(()))
    };
    tools::await_until("the refusal to be explained", Duration::from_secs(20), look)?;
    let ask = [
        "acls",
        "explain",
        "--principal",
        USER,
        "--operation",
        "write",
        "--resource",
        "topic:live-explain.a",
    ];
    operate(cluster, &[&ask[..], &["--exit-code"]].concat())?.ended_with(12)?.saying(&[
        "denied",
        "because: no rule lets",
        "refused:",
        "acls add --principal User:live-explain",
    ])?;
    let words: Vec<String> = command.split(' ').map(|word| word.trim_matches('\'').to_owned()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    operate(cluster, &words)?.succeeded()?.saying(&["1 rule added"])?;
    ensure!(actor.act("Write", "topic:live-explain.a")?.is_none(), "`{command}` did not allow it");
    operate(cluster, &[&ask[..], &["--exit-code"]].concat())?
        .succeeded()?
        .saying(&["allowed", "a rule of now"])?;
    Ok(())
}

fn own_rules() -> Result<()> {
    let cluster = cluster::shared()?;
    let rule =
        ["--principal", "consumer", "--operation", "describe-configs", "--resource", "topic:caracal.dlq"];
    operate(cluster, &[&["acls", "add", "--dry-run"], &rule[..]].concat())?
        .succeeded()?
        .saying(&["would be added"])?;
    operate(cluster, &[&["acls", "add"], &rule[..]].concat())?.succeeded()?;
    let again = document(cluster, &[&["acls", "add"], &rule[..]].concat())?;
    ensure!(again["unchanged"].as_array().is_some_and(|there| there.len() == 1), "{again}");
    nothing_differs(cluster)?;
    let listed =
        document(cluster, &["acls", "list", "--principal", "consumer", "--resource", "topic:caracal.dlq"])?;
    let rules = listed["rules"].as_array().context("no rules")?;
    let own: Vec<_> = rules.iter().filter(|rule| rule["origin"] == "added").collect();
    ensure!(own.len() == 1 && rules.len() > 2, "{listed}");
    let planned = [
        "acls",
        "remove",
        "--principal",
        "consumer",
        "--operation",
        "read",
        "--resource",
        "topic:caracal.dlq",
    ];
    operate(cluster, &planned)?.ended_with(product::USAGE)?.saying(&["would make them again", "--deny"])?;
    operate(cluster, &[&["acls", "remove"], &rule[..]].concat())?.succeeded()?.saying(&["1 rule removed"])?;
    operate(cluster, &[&["acls", "remove"], &rule[..]].concat())?.ended_with(product::USAGE)?;
    let stranger = [
        "acls",
        "add",
        "--dry-run",
        "--principal",
        "consumr",
        "--operation",
        "read",
        "--resource",
        "topic:x",
    ];
    operate(cluster, &stranger)?.succeeded()?.saying(&["no user `consumr` yet; did you mean `consumer`?"])?;
    let nonsense =
        ["acls", "add", "--principal", "consumer", "--operation", "write", "--resource", "group:g"];
    operate(cluster, &nonsense)?.ended_with(product::USAGE)?.saying(&["never asks for Write on a group"])?;
    nothing_differs(cluster)
}
