//! Data directories of a KRaft cluster, formatted before the first start: who each node is, and in the controllers'
//! the users, because brokers log in to each other before anybody could make them, and the access rules.

use std::path::PathBuf;

use caracal_scram::{Iterations, Mechanism, ScramCredential};
use time::OffsetDateTime;

use crate::admin::AclBinding;
use crate::credentials::Credentials;
use crate::kraft;
use crate::lifecycle::engine::{Applied, Event, Observed};
use crate::lifecycle::error::StepError;
use crate::lifecycle::{Cluster, ClusterWorld};
use crate::plan::{ClusterPlan, NodePlan};

/// What a node's data directory tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Standing {
    /// It says that it is this node's of this cluster.
    Formatted,
    /// Nothing was ever written there, or all of it is lost.
    Empty,
    /// A log of metadata, and nothing that says whose.
    Nameless,
}

pub(in crate::lifecycle) fn observe(world: &mut ClusterWorld) -> Result<Observed, StepError> {
    let standings = standings(world)?;
    let of = |wanted| {
        let found = standings.iter().filter(move |(_, standing)| *standing == wanted);
        found.map(|(node, _)| node.name.as_str()).collect::<Vec<_>>()
    };
    let nameless = of(Standing::Nameless);
    if !nameless.is_empty() {
        let restore = |name: &&str| {
            format!(
                "{name}: restore its data folder as a whole, or remove the folder: then `cluster up` makes the \
                 node again from the others"
            )
        };
        let what = format!("data directories that have lost their `{}`", kraft::META);
        return Err(StepError::Items { what, items: nameless.iter().map(restore).collect() });
    }
    let empty = of(Standing::Empty);
    Ok(if empty.is_empty() {
        Observed::Satisfied(summary(&standings))
    } else if empty.len() == standings.len() {
        Observed::Absent("no data directory is formatted".to_owned())
    } else {
        Observed::Drifted(
            empty.iter().map(|name| format!("{name} has no formatted data directory")).collect(),
        )
    })
}

pub(in crate::lifecycle) fn apply(world: &mut ClusterWorld) -> Result<Applied, StepError> {
    let standings = standings(world)?;
    let empty = standings.iter().filter(|(_, standing)| *standing == Standing::Empty).map(|(node, _)| *node);
    let empty: Vec<&NodePlan> = empty.collect();
    if world.cluster.last_plan().is_some() {
        refuse_lost_majority(&world.cluster.plan, &empty)?;
        for node in &empty {
            world.reporter.tell(Event::Note(format!(
                "{} has lost its disk: it starts empty and copies what the others have",
                node.name
            )));
        }
    }
    let formatter = Formatter::new(&world.cluster, &world.credentials())?;
    for node in empty {
        formatter.format(node, world.now)?;
    }
    Ok(summary(&standings).into())
}

/// Whether a controller has nothing to vote with although its cluster has been carried out: it may start only
/// when the others have a leader, or it could help one to the lead that lacks what was committed.
pub(super) fn has_lost_its_log(world: &ClusterWorld, node: &NodePlan) -> bool {
    is_controller(node) && world.cluster.last_plan().is_some() && !log(world, node).exists()
}

/// A quorum is a majority: with the logs of half the controllers gone nobody knows what was committed.
fn refuse_lost_majority(plan: &ClusterPlan, empty: &[&NodePlan]) -> Result<(), StepError> {
    let all = plan.controllers().count();
    let lost: Vec<&&NodePlan> = empty.iter().filter(|node| is_controller(node)).collect();
    if (all - lost.len()) * 2 > all {
        return Ok(());
    }
    let names = lost.iter().map(|node| format!("{}: its data directory is gone or empty", node.name));
    Err(StepError::Items {
        what: format!(
            "the metadata of the cluster is lost: {} of {all} controllers have no log. Restore the data folder of \
             enough of them, or begin anew by `cluster down -v` and `cluster up`",
            lost.len()
        ),
        items: names.collect(),
    })
}

fn is_controller(node: &NodePlan) -> bool {
    node.listener(crate::plan::CONTROLLER_LISTENER).is_some()
}

fn log(world: &ClusterWorld, node: &NodePlan) -> PathBuf {
    world.cluster.dir.node_data(&node.name).join(kraft::METADATA_LOG)
}

/// Every node with what its data directory tells.
///
/// A directory of another node or of another cluster is an error: nothing may be written there.
fn standings(world: &ClusterWorld) -> Result<Vec<(&NodePlan, Standing)>, StepError> {
    let own_cluster = own_cluster(&world.cluster)?;
    let mut standings = Vec::new();
    let mut foreign = Vec::new();
    for node in world.cluster.plan.kraft_nodes() {
        let path = world.cluster.dir.node_data(&node.name).join(kraft::META);
        let standing = match world.cluster.dir.read_text(&path)? {
            Some(meta) => {
                let found = ["cluster.id", "node.id"].map(|key| kraft::meta_value(&meta, key));
                if found != [Some(own_cluster.as_str()), Some(node.id.to_string().as_str())] {
                    let [cluster, id] = found.map(|value| value.unwrap_or("nothing").to_owned());
                    foreign.push(format!(
                        "{}: {} says node {id} of cluster {cluster}, planned is node {} of cluster {own_cluster}",
                        node.name,
                        path.display(),
                        node.id
                    ));
                }
                Standing::Formatted
            }
            None if log(world, node).exists() => Standing::Nameless,
            None => Standing::Empty,
        };
        standings.push((node, standing));
    }
    if foreign.is_empty() {
        return Ok(standings);
    }
    let what = "data directories of another cluster or node; move them away, or restore what belongs there";
    Err(StepError::Items { what: what.to_owned(), items: foreign })
}

fn own_cluster(cluster: &Cluster) -> Result<String, StepError> {
    let ours = &cluster.record.cluster_id;
    kraft::cluster_id(ours).ok_or_else(|| StepError::Format {
        what: format!("the cluster's id `{ours}` in {}", cluster.dir.record().display()),
        why: "it is no UUID: the record was changed by hand".to_owned(),
    })
}

/// Writes into data folders what nodes must find there before their first start.
pub(crate) struct Formatter<'a> {
    cluster: &'a Cluster,
    own_cluster: String,
    users: Vec<(String, ScramCredential)>,
    rules: Vec<AclBinding>,
}

impl<'a> Formatter<'a> {
    /// Derives every user's keys.
    ///
    /// # Errors
    /// [`StepError`]: a password that is missing or cannot be one.
    pub(crate) fn new(cluster: &'a Cluster, credentials: &Credentials<'_>) -> Result<Self, StepError> {
        let derive = |user: &crate::plan::UserPlan| {
            let password = credentials.expect_password(&user.name)?;
            let iterations = Iterations::new(user.iterations).unwrap_or_default();
            let credential = ScramCredential::derive(Mechanism::ScramSha512, &password, iterations);
            let why = |error: caracal_scram::ScramError| StepError::Format {
                what: format!("the credential of {}", user.name),
                why: error.to_string(),
            };
            Ok::<_, StepError>((user.name.to_string(), credential.map_err(why)?))
        };
        Ok(Self {
            cluster,
            own_cluster: own_cluster(cluster)?,
            users: cluster.plan.users.iter().map(derive).collect::<Result<_, _>>()?,
            rules: cluster.plan.acls.iter().map(AclBinding::from).collect(),
        })
    }

    /// Writes a node's first records, then what says who it is: killed before, the next run begins again. A folder
    /// that says so already keeps its id.
    ///
    /// # Errors
    /// [`StepError`].
    pub(crate) fn format(&self, node: &NodePlan, now: OffsetDateTime) -> Result<(), StepError> {
        let version = &self.cluster.plan.kafka_version;
        let failed =
            |why: String| StepError::Format { what: format!("the data directory of {}", node.name), why };
        let features = kraft::features(version)
            .ok_or_else(|| failed(format!("nobody knows how Kafka {version} is formatted")))?;
        let millis = i64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
        // A broker reads users and rules from the controllers; keys of users are no business of its disk.
        let checkpoint = if is_controller(node) {
            let users: Vec<(&str, ScramCredential)> =
                self.users.iter().map(|(name, credential)| (name.as_str(), credential.clone())).collect();
            kraft::checkpoint(features, &users, &self.rules, millis)
        } else {
            kraft::checkpoint(features, &[], &[], millis)
        };
        let checkpoint = checkpoint.map_err(|error| failed(error.to_string()))?;
        let (dir, data) = (&self.cluster.dir, self.cluster.dir.node_data(&node.name));
        dir.write(&data.join(kraft::CHECKPOINT), &checkpoint)?;
        let meta = data.join(kraft::META);
        let known = dir.read_text(&meta)?.unwrap_or_default();
        let id = match kraft::meta_value(&known, "directory.id") {
            Some(id) => id.to_owned(),
            None => kraft::directory_id(),
        };
        dir.write(&meta, kraft::meta_properties(&self.own_cluster, node.id, &id).as_bytes())?;
        Ok(())
    }
}

fn summary(standings: &[(&NodePlan, Standing)]) -> String {
    let controllers = standings.iter().filter(|(node, _)| is_controller(node)).count();
    format!(
        "{} data directories, {controllers} of controllers with the first users and rules",
        standings.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::StateRoot;
    use crate::lifecycle::Cluster;
    use crate::lifecycle::commands::{self, Selection};
    use crate::lifecycle::engine::Reporter;

    /// A KRaft cluster with credentials, on the guide's ports, so that no lease is taken.
    async fn world(scratch: &tempfile::TempDir) -> ClusterWorld {
        let root = StateRoot::at(&scratch.path().join("state")).unwrap();
        let spec = scratch.path().join("spec.toml");
        let text = b"name = \"k\"\nmetadata = \"kraft\"\n[ports]\nmode = \"guide\"\n";
        caracal_pki::store::write_private(&spec, text).unwrap();
        let selection = Selection { spec_file: Some(spec), ..Selection::named(root.clone(), None) };
        commands::credentials(&selection, &Reporter::silent(), std::future::pending()).await.unwrap();
        let cluster = Cluster::existing(&root, Some(&"k".parse().unwrap())).unwrap();
        ClusterWorld::new(cluster, Reporter::silent())
    }

    #[tokio::test]
    async fn what_is_formatted_stays_and_a_killed_run_is_finished() {
        let scratch = tempfile::tempdir().unwrap();
        let mut world = world(&scratch).await;
        assert!(matches!(observe(&mut world).unwrap(), Observed::Absent(_)));
        apply(&mut world).unwrap();
        assert!(matches!(observe(&mut world).unwrap(), Observed::Satisfied(_)));
        let dir = world.cluster.dir.clone();
        let data = |node: &str| dir.node_data(&node.parse().unwrap());
        let controllers = std::fs::read(data("k-controller-1").join(kraft::CHECKPOINT)).unwrap();
        let brokers = std::fs::read(data("k-kafka-1").join(kraft::CHECKPOINT)).unwrap();
        let holds = |bytes: &[u8], name: &[u8]| bytes.windows(name.len()).any(|at| at == name);
        assert!(holds(&controllers, b"broker-a") && !holds(&brokers, b"broker-a"), "users on the wrong disk");
        let before = std::fs::read(data("k-kafka-1").join(kraft::META)).unwrap();
        std::fs::remove_file(data("k-kafka-2").join(kraft::META)).unwrap();
        assert!(matches!(observe(&mut world).unwrap(), Observed::Drifted(_)));
        apply(&mut world).unwrap();
        assert_eq!(std::fs::read(data("k-kafka-1").join(kraft::META)).unwrap(), before);
        assert!(matches!(observe(&mut world).unwrap(), Observed::Satisfied(_)));
    }

    #[tokio::test]
    async fn anothers_data_and_nameless_logs_are_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let mut world = world(&scratch).await;
        apply(&mut world).unwrap();
        let data = world.cluster.dir.node_data(&"k-kafka-1".parse().unwrap());
        let meta = kraft::meta_properties("AAAAAAAAAAAAAAAAAAAAEQ", 1, "d");
        caracal_pki::store::write_private(&data.join(kraft::META), meta.as_bytes()).unwrap();
        let error = observe(&mut world).unwrap_err().to_string();
        assert!(error.contains("k-kafka-1") && error.contains("AAAAAAAAAAAAAAAAAAAAEQ"), "{error}");
        std::fs::remove_file(data.join(kraft::META)).unwrap();
        std::fs::create_dir(data.join(kraft::METADATA_LOG)).unwrap();
        let error = observe(&mut world).unwrap_err().to_string();
        assert!(error.contains("have lost their `meta.properties`"), "{error}");
    }

    #[tokio::test]
    async fn one_lost_controller_is_made_again_and_two_are_the_end() {
        let scratch = tempfile::tempdir().unwrap();
        let mut world = world(&scratch).await;
        apply(&mut world).unwrap();
        let dir = world.cluster.dir.clone();
        dir.write_json(&dir.plan(), &world.cluster.plan).unwrap();
        let lose = |node: &str| std::fs::remove_dir_all(dir.node_data(&node.parse().unwrap())).unwrap();
        lose("k-controller-1");
        apply(&mut world).unwrap();
        lose("k-controller-1");
        lose("k-controller-3");
        let error = apply(&mut world).unwrap_err().to_string();
        assert!(error.contains("2 of 3 controllers") && error.contains("k-controller-3"), "{error}");
        assert!(!dir.node_data(&"k-controller-1".parse().unwrap()).exists(), "nothing is written");
    }
}
