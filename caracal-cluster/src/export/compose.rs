//! `docker-compose.yml` of a plan in containers.
//!
//! Each node is what the Docker runtime makes of it: same image, command, mounts, address, limits. What a runtime does
//! step by step is said by dependencies here: `volumes` gives each volume to whoever owns the files, with what a node
//! must find in it (KRaft: users and access rules too), `users` writes them into ZooKeeper before a broker starts,
//! `topics` makes the topics, and `schemas` writes into the registry. See [`setup`] for what these run, and
//! [`write`](write::write) for the folder as a whole.
//!
//! A service is healthy when it does its work, told without a log-in: a check must not hold a secret, and a handshake
//! that is broken off is a line in a broker's log. A broker opens its listeners when its start is finished, so the
//! kernel's table of sockets tells; what comes after proves it by writing through it.

pub mod setup;
pub mod write;
mod yaml;

use yaml::Yaml;

use crate::plan::containers::{self, labels};
use crate::plan::{
    CONTROLLER_LISTENER, ClusterPlan, ContainerPlan, METRICS, NetworkPlan, NodePlan, NodeRole,
};
use crate::spec::Metadata;

/// Its name in the folder, which every version of compose looks for.
pub const FILE: &str = "docker-compose.yml";

/// The same under the guide's name.
pub const GUIDES_FILE: &str = "docker-compose.kafka.yml";

/// Variables that compose reads; no secrets.
pub const ENVIRONMENT_FILE: &str = ".env.kafka";

/// Who owns the files, and so whom nodes run as: a key is readable for nobody else.
pub const OWNER_VARIABLE: &str = "CARACAL_OWNER";

/// The folder with what the administrator's tools read inside a broker's container.
pub const CERTIFICATES: &str = "kafka-certs";

/// Where that folder is mounted.
pub const CERTIFICATES_MOUNT: &str = "/etc/kafka/secrets";

/// Where the files of the services that are no nodes are mounted.
pub const SETUP_MOUNT: &str = "/caracal/setup";

/// How often a service is looked at: its first look comes after one interval, and the next service waits for it.
const INTERVAL: &str = "3s";

/// Why a plan is not exported.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ComposeError {
    /// Its nodes are processes.
    #[error("the plan is not one of containers")]
    NoContainers,
}

/// What the document depends on beside the plan.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct Facts<'a> {
    /// The cluster's id, by which all that belongs to it is found.
    pub cluster_id: &'a str,
    /// Who owns the files, as `uid:gid`.
    pub owner: &'a str,
}

/// The whole document.
///
/// # Errors
/// [`ComposeError`].
pub fn document(plan: &ClusterPlan, facts: Facts<'_>) -> Result<String, ComposeError> {
    let network = plan.network.as_ref().ok_or(ComposeError::NoContainers)?;
    let compose = Compose { plan, network, facts };
    let mut yaml = Yaml::new(&format!(
        "Kafka cluster {}: docker compose up -d --wait\nGenerated from the cluster's plan by `export compose`; changes \
         made here are overwritten by the next one.",
        plan.cluster
    ));
    yaml.entry("name", plan.cluster.as_str());
    yaml.below("services", |yaml| {
        compose.volumes_service(yaml);
        for role in [NodeRole::Zookeeper, NodeRole::Controller] {
            plan.nodes_of(role).for_each(|node| compose.node(yaml, node));
        }
        if plan.metadata == Metadata::Zookeeper {
            compose.users_service(yaml);
        }
        plan.nodes_of(NodeRole::Broker).for_each(|node| compose.node(yaml, node));
        compose.topics_service(yaml);
        if let Some(registry) = plan.nodes_of(NodeRole::SchemaRegistry).next() {
            compose.node(yaml, registry);
            compose.schemas_service(yaml, registry);
        }
    });
    yaml.below("networks", |yaml| compose.network(yaml));
    yaml.below("volumes", |yaml| {
        for (node, container) in compose.contained() {
            yaml.below(&compose.volume(node), |yaml| {
                yaml.entry("name", &container.volume);
                compose.labels(yaml, None);
            });
        }
    });
    Ok(yaml.text())
}

/// A service that does something once and ends.
struct Job<'a> {
    name: &'static str,
    /// Its place in the network: behind all nodes.
    place: u32,
    /// Its script with the arguments of the same.
    words: Vec<&'a str>,
    /// Where its script lies.
    folder: &'static str,
    /// Whether it is the administrator.
    administers: bool,
    needs: Vec<(&'a str, &'static str)>,
}

const USERS: &str = "users";
const TOPICS: &str = "topics";
const USERS_PLACE: u32 = 51;
const TOPICS_PLACE: u32 = 52;
const SCHEMAS_PLACE: u32 = 53;
const VOLUMES: &str = "volumes";
const SCHEMAS: &str = "schemas";
const HEALTHY: &str = "service_healthy";
const ENDED: &str = "service_completed_successfully";

struct Compose<'a> {
    plan: &'a ClusterPlan,
    network: &'a NetworkPlan,
    facts: Facts<'a>,
}

impl Compose<'_> {
    /// Every node with its container.
    fn contained(&self) -> impl Iterator<Item = (&NodePlan, &ContainerPlan)> {
        self.plan.nodes.iter().filter_map(|node| Some((node, node.container.as_ref()?)))
    }

    /// A node's name as the guide's commands have it: `kafka-1`.
    fn service<'n>(&self, node: &'n NodePlan) -> &'n str {
        let name = node.name.as_str();
        name.strip_prefix(self.plan.cluster.as_str()).and_then(|rest| rest.strip_prefix('-')).unwrap_or(name)
    }

    fn volume(&self, node: &NodePlan) -> String {
        format!("{}-data", self.service(node))
    }

    /// The folder of the cluster's directory, as seen from the document.
    fn folder(&self, rest: &str) -> String {
        format!("./clusters/{}/{rest}", self.plan.cluster)
    }

    fn node(&self, yaml: &mut Yaml, node: &NodePlan) {
        let Some(container) = &node.container else { return };
        yaml.below(self.service(node), |yaml| {
            self.surroundings(yaml, node.name.as_str(), &container.image);
            yaml.list("entrypoint", &[containers::ENTRY_POINT]);
            yaml.list("command", &[&containers::argument(container)]);
            yaml.entry("working_dir", &container.mount);
            yaml.list("environment", &containers::ENVIRONMENT);
            self.labels(yaml, Some(node));
            yaml.entry("restart", "unless-stopped");
            yaml.entry("stop_grace_period", &format!("{}s", node.stop_seconds.max(60)));
            yaml.entry("mem_limit", &format!("{}m", container.memory_mib));
            let published: Vec<String> = node
                .listeners
                .iter()
                .filter_map(|listener| Some(format!("{}:{}", listener.bind, listener.inside?.port())))
                .collect();
            yaml.list("ports", &published);
            self.connected(yaml, container.address);
            yaml.below("volumes", |yaml| {
                yaml.bind(&self.folder(&format!("nodes/{}", node.name)), &container.mount, false);
                yaml.volume(&self.volume(node), &format!("{}/data", container.mount));
                if node.listener(METRICS).is_some() {
                    yaml.bind(&self.folder(setup::AGENT_FOLDER), containers::AGENT_FOLDER, true);
                }
                match node.role {
                    NodeRole::Broker => yaml.bind(&format!("./{CERTIFICATES}"), CERTIFICATES_MOUNT, true),
                    NodeRole::SchemaRegistry => {
                        yaml.bind(&self.folder(setup::REGISTRY_FOLDER), SETUP_MOUNT, true);
                    }
                    _ => {}
                }
            });
            self.depends(yaml, &self.needs(node.role));
            health(yaml, &self.check(node));
        });
    }

    /// What a node of a role waits for. Nodes of a quorum do not wait for each other, combined ones neither.
    fn needs(&self, role: NodeRole) -> Vec<(&str, &'static str)> {
        let controllers = self.plan.nodes_of(NodeRole::Controller).next().is_some();
        match (role, self.plan.metadata) {
            (NodeRole::Broker, Metadata::Zookeeper) => self.nodes_and(NodeRole::Zookeeper, Some(USERS)),
            (NodeRole::Broker, Metadata::Kraft) if controllers => self.nodes_and(NodeRole::Controller, None),
            (NodeRole::SchemaRegistry, _) => self.nodes_and(NodeRole::Broker, Some(TOPICS)),
            _ => vec![(VOLUMES, ENDED)],
        }
    }

    /// Nodes of a role, which must be healthy, and a job, which must have ended.
    fn nodes_and<'s>(&'s self, role: NodeRole, job: Option<&'s str>) -> Vec<(&'s str, &'static str)> {
        let nodes = self.plan.nodes_of(role).map(|node| (self.service(node), HEALTHY));
        nodes.chain(job.map(|job| (job, ENDED))).collect()
    }

    /// What tells that a node works.
    fn check(&self, node: &NodePlan) -> String {
        let listens = |port: u16| format!("grep -Eqs ':{port:04X} [0-9A-F]+:0000 0A ' {SOCKETS}");
        let inside = |name: &str| {
            node.listener(name).and_then(|listener| listener.inside).map_or(0, |inside| inside.port())
        };
        match node.role {
            NodeRole::Zookeeper => {
                in_quorum(self.plan.nodes_of(node.role).count(), listens(inside("CLIENT")), inside("QUORUM"))
            }
            NodeRole::Controller => {
                let port = inside(CONTROLLER_LISTENER);
                in_quorum(self.plan.nodes_of(node.role).count(), listens(port), port)
            }
            NodeRole::SchemaRegistry => {
                let port = inside("HTTP");
                format!("bash {SETUP_MOUNT}/{} 127.0.0.1 {port} {SETUP_MOUNT}/{}", setup::HTTP, setup::ASK)
            }
            _ => {
                let ports = node.kafka_listeners().filter_map(|listener| listener.inside);
                ports.map(|inside| listens(inside.port())).collect::<Vec<_>>().join(" && ")
            }
        }
    }

    /// What every service has.
    fn surroundings(&self, yaml: &mut Yaml, name: &str, image: &str) {
        yaml.entry("container_name", name);
        yaml.entry("hostname", name);
        yaml.entry("image", image);
        yaml.interpolated("user", &format!("${{{OWNER_VARIABLE}:-{}}}", self.facts.owner));
        yaml.list("cap_drop", &["ALL"]);
        yaml.list("security_opt", &["no-new-privileges:true"]);
        yaml.below("logging", |yaml| {
            yaml.entry("driver", "json-file");
            yaml.below("options", |yaml| {
                containers::LOG_LIMITS.iter().for_each(|(key, value)| yaml.entry(key, value));
            });
        });
    }

    fn labels(&self, yaml: &mut Yaml, node: Option<&NodePlan>) {
        yaml.below("labels", |yaml| {
            yaml.entry(labels::CLUSTER, self.plan.cluster.as_str());
            yaml.entry(labels::CLUSTER_ID, self.facts.cluster_id);
            if let Some(node) = node {
                yaml.entry(labels::NODE, node.name.as_str());
            }
        });
    }

    fn connected(&self, yaml: &mut Yaml, address: std::net::Ipv4Addr) {
        yaml.below("networks", |yaml| {
            yaml.below("kafka", |yaml| yaml.entry("ipv4_address", &address.to_string()));
        });
    }

    fn depends(&self, yaml: &mut Yaml, on: &[(&str, &'static str)]) {
        yaml.below("depends_on", |yaml| {
            for (service, condition) in on {
                yaml.below(service, |yaml| yaml.entry("condition", condition));
            }
        });
    }

    fn network(&self, yaml: &mut Yaml) {
        yaml.below("kafka", |yaml| {
            yaml.entry("name", &self.network.name);
            yaml.entry("driver", "bridge");
            yaml.below("ipam", |yaml| {
                yaml.below("config", |yaml| {
                    yaml.item("subnet", &self.network.subnet.to_string());
                    yaml.continued("gateway", &self.network.gateway.to_string());
                });
            });
            self.labels(yaml, None);
        });
    }

    /// The image with Kafka's and ZooKeeper's jars.
    fn kafka_image(&self) -> &str {
        let broker = self.plan.nodes_of(NodeRole::Broker).next();
        broker.and_then(|node| node.container.as_ref()).map_or("", |container| &container.image)
    }

    /// Gives new volumes to the owner of the files, with what a node must find in its data. It is the only service that
    /// is root, and it has no network. Of secrets it sees the keys that KRaft's controllers keep of users.
    fn volumes_service(&self, yaml: &mut Yaml) {
        let name = format!("{}-{VOLUMES}", self.plan.cluster);
        yaml.below(VOLUMES, |yaml| {
            yaml.entry("container_name", &name);
            yaml.entry("image", self.kafka_image());
            yaml.entry("user", "0:0");
            yaml.entry("network_mode", "none");
            yaml.list("cap_drop", &["ALL"]);
            yaml.list("cap_add", &["CHOWN", "DAC_OVERRIDE"]);
            yaml.list("security_opt", &["no-new-privileges:true"]);
            yaml.entry("restart", "no");
            yaml.list("entrypoint", &["sh", &format!("{SETUP_MOUNT}/{}", setup::PREPARE)]);
            yaml.interpolated_list("command", &format!("${{{OWNER_VARIABLE}:-{}}}", self.facts.owner));
            self.labels(yaml, None);
            yaml.below("volumes", |yaml| {
                yaml.bind(&self.folder(setup::VOLUMES_FOLDER), SETUP_MOUNT, true);
                for (node, _) in self.contained() {
                    let data = self.folder(&format!("nodes/{}/data", node.name));
                    yaml.bind(&data, &format!("/from/{}", node.name), true);
                    yaml.volume(&self.volume(node), &format!("/to/{}", node.name));
                }
            });
        });
    }

    /// Writes users and access rules into ZooKeeper.
    fn users_service(&self, yaml: &mut Yaml) {
        let job = Job {
            name: USERS,
            place: USERS_PLACE,
            words: vec![setup::APPLY, setup::USERS],
            folder: setup::ZOOKEEPER_FOLDER,
            administers: false,
            needs: self.nodes_and(NodeRole::Zookeeper, None),
        };
        self.job(yaml, &job, false);
    }

    /// Makes the topics: as znodes, or through the brokers.
    fn topics_service(&self, yaml: &mut Yaml) {
        let zookeeper = self.plan.metadata == Metadata::Zookeeper;
        let job = Job {
            name: TOPICS,
            place: TOPICS_PLACE,
            words: if zookeeper { vec![setup::APPLY, setup::TOPICS] } else { vec![setup::TOPICS_SCRIPT] },
            folder: if zookeeper { setup::ZOOKEEPER_FOLDER } else { setup::KAFKA_FOLDER },
            administers: !zookeeper,
            needs: self.nodes_and(NodeRole::Broker, zookeeper.then_some(USERS)),
        };
        self.job(yaml, &job, self.plan.nodes_of(NodeRole::SchemaRegistry).next().is_none());
    }

    fn job(&self, yaml: &mut Yaml, job: &Job<'_>, stay: bool) {
        yaml.below(job.name, |yaml| {
            self.surroundings(yaml, &format!("{}-{}", self.plan.cluster, job.name), self.kafka_image());
            yaml.entry("restart", "on-failure:3");
            let (script, arguments) = job.words.split_first().unwrap_or((&"", &[]));
            yaml.list("entrypoint", &["sh", &format!("{SETUP_MOUNT}/{script}")]);
            let last: &[&str] = if stay { &[setup::STAY] } else { &[] };
            yaml.list("command", &[arguments, last].concat());
            self.labels(yaml, None);
            self.connected(yaml, self.network.subnet.address(job.place));
            yaml.below("volumes", |yaml| {
                yaml.bind(&self.folder(job.folder), SETUP_MOUNT, true);
                if job.administers {
                    yaml.bind(&format!("./{CERTIFICATES}"), CERTIFICATES_MOUNT, true);
                }
            });
            self.depends(yaml, &job.needs);
            if stay {
                stays(yaml);
            }
        });
    }

    /// Compose waits for what runs, and takes one that has ended for a failure unless somebody depends on it. So the last
    /// service stays.
    fn schemas_service(&self, yaml: &mut Yaml, registry: &NodePlan) {
        let Some(container) = &registry.container else { return };
        let http = registry.listener("HTTP").and_then(|listener| listener.inside);
        let port = http.map_or(0, |inside| inside.port()).to_string();
        yaml.below(SCHEMAS, |yaml| {
            self.surroundings(yaml, &format!("{}-{SCHEMAS}", self.plan.cluster), &container.image);
            yaml.entry("restart", "unless-stopped");
            yaml.list("entrypoint", &["bash", &format!("{SETUP_MOUNT}/{}", setup::REGISTER)]);
            yaml.list("command", &[registry.name.as_str(), &port]);
            self.labels(yaml, None);
            self.connected(yaml, self.network.subnet.address(SCHEMAS_PLACE));
            yaml.below("volumes", |yaml| yaml.bind(&self.folder(setup::REGISTRY_FOLDER), SETUP_MOUNT, true));
            self.depends(yaml, &[(self.service(registry), HEALTHY)]);
            stays(yaml);
        });
    }
}

/// The kernel's tables of sockets; a JVM may use either for IPv4.
const SOCKETS: &str = "/proc/net/tcp /proc/net/tcp6";

/// That a node listens, and where it is one of several that it has found another: a leader has a follower at its quorum's
/// port, a follower is at the leader's.
fn in_quorum(members: usize, listens: String, port: u16) -> String {
    if members == 1 {
        return listens;
    }
    format!("{listens} && grep -Eqs ':{port:04X} ([0-9A-F]+:[0-9A-F]+ )?01 ' {SOCKETS}")
}

fn stays(yaml: &mut Yaml) {
    // What only waits is no process that ends on a signal by itself.
    yaml.plain("init", "true");
    health(yaml, &format!("test -e {}", setup::DONE));
}

fn health(yaml: &mut Yaml, check: &str) {
    yaml.below("healthcheck", |yaml| {
        yaml.list("test", &["CMD-SHELL", check]);
        yaml.entry("interval", INTERVAL);
        yaml.entry("timeout", "10s");
        yaml.plain("retries", "10");
        yaml.entry("start_period", "180s");
    });
}

#[cfg(test)]
mod tests;
