//! One node's container: made, started, looked at, struck, stopped, removed.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerSummaryStateEnum, HostConfig,
    HostConfigLogConfig, Mount, MountType, NetworkingConfig, PortBinding, RestartPolicy,
    RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, KillContainerOptionsBuilder,
    ListContainersOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions,
    StopContainerOptionsBuilder,
};
use futures::StreamExt as _;
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{GenericImage, ImageExt as _, ReuseDirective};

use super::error::{EngineError, is_absent, is_conflict, words};
use super::{DockerRuntime, Found, network, runs};
use crate::plan::containers::{AGENT_FOLDER, ENTRY_POINT, ENVIRONMENT, LOG_LIMITS, argument, labels};
use crate::plan::{ContainerPlan, NodePlan};
use crate::runtime::process::Blow;

/// By this label testcontainers knows what it may start.
const MANAGED: (&str, &str) = ("org.testcontainers.managed-by", "testcontainers");

/// How long a start may take: the engine's part, not the node's.
const START: Duration = Duration::from_secs(60);

/// Makes a node's container; says whether it is still to be started.
pub(super) async fn make(
    docker: &Docker,
    runtime: &DockerRuntime,
    node: &NodePlan,
    planned: &ContainerPlan,
) -> Result<bool, EngineError> {
    let name = node.name.as_str();
    if let Some(seen) = inspect(docker, &runtime.cluster_id, name).await? {
        if runs(&seen) {
            return Ok(false);
        }
        remove(docker, name).await?;
    }
    let options = CreateContainerOptionsBuilder::new().name(name).build();
    match docker.create_container(Some(options), body(runtime, node, planned)).await {
        Ok(_) => Ok(true),
        Err(error) if is_absent(&error) => {
            Err(EngineError::Image { image: planned.image.clone(), why: words(&error) })
        }
        // Somebody was faster: it is ours, or this names whose it is.
        Err(error) if is_conflict(&error) => {
            Ok(inspect(docker, &runtime.cluster_id, name).await?.is_none_or(|seen| !runs(&seen)))
        }
        Err(error) => Err(EngineError::request(format!("making the container {name}"))(error)),
    }
}

/// Starts it as a container that outlives its handle.
pub(super) async fn launch(
    docker: &Docker,
    runtime: &DockerRuntime,
    node: &NodePlan,
    planned: &ContainerPlan,
) -> Result<(), EngineError> {
    let name = node.name.as_str();
    let (image, tag) = planned.image.rsplit_once(':').unwrap_or((&planned.image, "latest"));
    let request = GenericImage::new(image, tag)
        .with_container_name(name)
        .with_labels(marks(runtime, node))
        .with_startup_timeout(START)
        .with_reuse(ReuseDirective::Always);
    let Err(error) = request.start().await else { return Ok(()) };
    let why = words(&error);
    // One that could not be started would only be in the way of the next try.
    let _ = remove(docker, name).await;
    if why.contains("port is already allocated") || why.contains("address already in use") {
        return Err(EngineError::Port { node: name.to_owned(), why });
    }
    Err(EngineError::Request { what: format!("starting the container {name}"), why })
}

/// The labels of a node's container.
fn marks(runtime: &DockerRuntime, node: &NodePlan) -> HashMap<String, String> {
    let mut marks = network::marks(&runtime.cluster_id);
    marks.insert(labels::CLUSTER.to_owned(), runtime.dir.cluster().to_string());
    marks.insert(labels::NODE.to_owned(), node.name.to_string());
    marks.insert(MANAGED.0.to_owned(), MANAGED.1.to_owned());
    marks
}

fn body(runtime: &DockerRuntime, node: &NodePlan, planned: &ContainerPlan) -> ContainerCreateBody {
    let name = node.name.to_string();
    let endpoints = HashMap::from([(runtime.network.name.clone(), network::endpoint(&name, planned))]);
    ContainerCreateBody {
        hostname: Some(name),
        image: Some(planned.image.clone()),
        entrypoint: Some(vec![ENTRY_POINT.to_owned()]),
        cmd: Some(vec![argument(planned)]),
        env: Some(ENVIRONMENT.map(str::to_owned).into()),
        user: Some(owner(runtime)),
        working_dir: Some(planned.mount.clone()),
        labels: Some(marks(runtime, node)),
        stop_timeout: Some(node.stop_seconds.into()),
        exposed_ports: Some(ports(node).into_iter().map(|(port, _)| port).collect()),
        host_config: Some(host_config(runtime, node, planned)),
        networking_config: Some(NetworkingConfig { endpoints_config: Some(endpoints) }),
        ..ContainerCreateBody::default()
    }
}

fn host_config(runtime: &DockerRuntime, node: &NodePlan, planned: &ContainerPlan) -> HostConfig {
    let limits = LOG_LIMITS.map(|(key, value)| (key.to_owned(), value.to_owned()));
    HostConfig {
        network_mode: Some(runtime.network.name.clone()),
        port_bindings: Some(
            ports(node).into_iter().map(|(port, binding)| (port, Some(vec![binding]))).collect(),
        ),
        mounts: Some(mounts(runtime, node, planned)),
        memory: Some(i64::from(planned.memory_mib) << 20),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
            maximum_retry_count: None,
        }),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(limits.into()),
        }),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        ..HostConfig::default()
    }
}

/// The node's directory as a whole, its data as a volume over the data folder in it, and the agent's folder.
///
/// Single files would keep their old content when they are replaced by a rename.
pub(super) fn mounts(runtime: &DockerRuntime, node: &NodePlan, planned: &ContainerPlan) -> Vec<Mount> {
    let mount = |typ, source: String, target: String, read_only| Mount {
        typ: Some(typ),
        source: Some(source),
        target: Some(target),
        read_only: Some(read_only),
        ..Mount::default()
    };
    let home = runtime.dir.node(&node.name).display().to_string();
    let agent = runtime
        .agent
        .as_ref()
        .map(|agent| mount(MountType::BIND, agent.display().to_string(), AGENT_FOLDER.to_owned(), true));
    [
        mount(MountType::BIND, home, planned.mount.clone(), false),
        mount(MountType::VOLUME, planned.volume.clone(), format!("{}/data", planned.mount), false),
    ]
    .into_iter()
    .chain(agent)
    .collect()
}

/// Who owns the cluster's directory: keys are readable for nobody else, and a container must not be somebody else.
pub(super) fn owner(runtime: &DockerRuntime) -> String {
    std::fs::metadata(runtime.dir.path())
        .map_or_else(|_| String::new(), |about| format!("{}:{}", about.uid(), about.gid()))
}

/// Each listener's port in the container, and where on loopback it is published.
fn ports(node: &NodePlan) -> Vec<(String, PortBinding)> {
    let published = |listener: &crate::plan::ListenerPlan| {
        let binding = PortBinding {
            host_ip: Some(listener.bind.ip().to_string()),
            host_port: Some(listener.bind.port().to_string()),
        };
        Some((format!("{}/tcp", listener.inside?.port()), binding))
    };
    node.listeners.iter().filter_map(published).collect()
}

/// A container of ours by its name; one of somebody else is an error that says so.
pub(super) async fn inspect(
    docker: &Docker,
    cluster_id: &str,
    name: &str,
) -> Result<Option<ContainerInspectResponse>, EngineError> {
    let seen = match docker.inspect_container(name, None::<InspectContainerOptions>).await {
        Ok(seen) => seen,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(EngineError::request(format!("looking at the container {name}"))(error)),
    };
    let config = seen.config.as_ref();
    let known = config.and_then(|config| config.labels.as_ref());
    if known.and_then(|known| known.get(labels::CLUSTER_ID)).is_some_and(|id| id == cluster_id) {
        return Ok(Some(seen));
    }
    let image = config.and_then(|config| config.image.clone()).unwrap_or_default();
    let owner = match known.and_then(|known| known.get(labels::CLUSTER)) {
        Some(cluster) => format!("of a cluster `{cluster}` in another state directory"),
        None => format!("made from the image {image}"),
    };
    Err(EngineError::Foreign { container: name.to_owned(), owner })
}

/// What selects everything of a cluster.
pub(super) fn filter(cluster_id: &str) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![format!("{}={cluster_id}", labels::CLUSTER_ID)])])
}

pub(super) async fn find_all(docker: &Docker, cluster_id: &str) -> Result<Vec<Found>, EngineError> {
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filter(cluster_id)).build();
    let seen =
        docker.list_containers(Some(options)).await.map_err(EngineError::request("listing containers"))?;
    let found = seen.into_iter().filter_map(|seen| {
        let node = seen.labels.as_ref()?.get(labels::NODE)?.clone();
        let runs = matches!(
            seen.state,
            Some(ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::PAUSED)
        );
        Some(Found { node, runs })
    });
    let mut found: Vec<Found> = found.collect();
    found.sort_by(|a, b| a.node.cmp(&b.node));
    Ok(found)
}

/// The end of what a container printed.
pub(super) async fn printed(docker: &Docker, name: &str) -> Result<String, EngineError> {
    let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail("200").build();
    let mut stream = std::pin::pin!(docker.logs(name, Some(options)));
    let mut text = String::new();
    while let Some(piece) = stream.next().await {
        let piece: LogOutput = piece.map_err(EngineError::request(format!("reading what {name} printed")))?;
        text.push_str(&String::from_utf8_lossy(&piece.into_bytes()));
    }
    Ok(text)
}

pub(super) async fn strike(docker: &Docker, name: &str, what: Blow) -> Result<(), EngineError> {
    let done = match what {
        Blow::Kill => {
            docker
                .kill_container(name, Some(KillContainerOptionsBuilder::new().signal("SIGKILL").build()))
                .await
        }
        Blow::Pause => docker.pause_container(name).await,
        Blow::Resume => docker.unpause_container(name).await,
    };
    match done {
        // It is paused already, or is not.
        Err(error) if is_conflict(&error) => Ok(()),
        other => other.map_err(EngineError::request(format!("signalling the container {name}"))),
    }
}

/// Starts one that is there.
pub(super) async fn start(docker: &Docker, name: &str) -> Result<(), EngineError> {
    let started = docker.start_container(name, None::<StartContainerOptions>).await;
    started.map_err(EngineError::request(format!("starting the container {name}")))
}

pub(super) async fn stop(docker: &Docker, name: &str, seconds: u32) -> Result<(), EngineError> {
    // A paused process would only be killed at the end of its time.
    let _ = docker.unpause_container(name).await;
    let seconds = i32::try_from(seconds).unwrap_or(i32::MAX);
    let options = StopContainerOptionsBuilder::new().t(seconds).build();
    match docker.stop_container(name, Some(options)).await {
        Err(error) if !is_absent(&error) => {
            Err(EngineError::request(format!("stopping the container {name}"))(error))
        }
        _ => Ok(()),
    }
}

pub(super) async fn remove(docker: &Docker, name: &str) -> Result<(), EngineError> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(false).build();
    match docker.remove_container(name, Some(options)).await {
        Err(error) if !is_absent(&error) && !is_conflict(&error) => {
            Err(EngineError::request(format!("removing the container {name}"))(error))
        }
        _ => Ok(()),
    }
}
