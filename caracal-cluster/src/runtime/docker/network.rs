//! The cluster's network with its fixed addresses, and the volumes of its nodes.

use std::collections::HashMap;

use bollard::Docker;
use bollard::models::{
    EndpointIpamConfig, EndpointSettings, Ipam, IpamConfig, Network, NetworkConnectRequest,
    NetworkCreateRequest, NetworkDisconnectRequest, VolumeCreateRequest,
};
use bollard::query_parameters::{
    InspectNetworkOptions, ListNetworksOptions, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
    RemoveVolumeOptions,
};

use super::error::{EngineError, is_absent, is_conflict};
use super::{container, engine};
use crate::dir::ClusterDir;
use crate::plan::containers::labels;
use crate::plan::{ContainerPlan, NetworkPlan, NodePlan};
use crate::spec::Subnet;

/// Makes the network unless it is there with the planned addresses.
pub(super) async fn ensure(docker: &Docker, plan: &NetworkPlan, cluster_id: &str) -> Result<(), EngineError> {
    match docker.inspect_network(&plan.name, None::<InspectNetworkOptions>).await {
        Ok(seen) => {
            let ours = seen
                .labels
                .as_ref()
                .and_then(|labels| labels.get(labels::CLUSTER_ID))
                .is_some_and(|id| id == cluster_id);
            let addresses = subnets(seen.ipam.as_ref());
            match (ours, addresses.contains(&plan.subnet)) {
                (true, true) => return Ok(()),
                (false, _) => {
                    return Err(EngineError::Subnet {
                        what: format!(
                            "a network named `{}` is there and is not ours (docker network rm {})",
                            plan.name, plan.name
                        ),
                    });
                }
                // Left over from a description with another subnet: nothing of ours can be in it any more, or
                // the engine refuses.
                (true, false) => docker.remove_network(&plan.name).await.map_err(EngineError::request(
                    format!("removing the network {} for other addresses", plan.name),
                ))?,
            }
        }
        Err(error) if is_absent(&error) => {}
        Err(error) => {
            return Err(EngineError::request(format!("looking at the network {}", plan.name))(error));
        }
    }
    create(docker, plan, cluster_id).await
}

async fn create(docker: &Docker, plan: &NetworkPlan, cluster_id: &str) -> Result<(), EngineError> {
    let addresses = IpamConfig {
        subnet: Some(plan.subnet.to_string()),
        gateway: Some(plan.gateway.to_string()),
        ..IpamConfig::default()
    };
    let request = NetworkCreateRequest {
        name: plan.name.clone(),
        driver: Some("bridge".to_owned()),
        ipam: Some(Ipam { config: Some(vec![addresses]), ..Ipam::default() }),
        labels: Some(marks(cluster_id)),
        ..NetworkCreateRequest::default()
    };
    match docker.create_network(request).await {
        Ok(_) => Ok(()),
        // Somebody was faster.
        Err(error) if is_conflict(&error) => Ok(()),
        Err(error) => {
            let clash = clashes(docker, plan, cluster_id).await?.into_iter().next();
            Err(clash.map_or_else(
                || EngineError::request(format!("making the network {} ({})", plan.name, plan.subnet))(error),
                |what| EngineError::Subnet { what },
            ))
        }
    }
}

/// Other networks with addresses of ours, each as a sentence.
pub(super) async fn clashes(
    docker: &Docker,
    plan: &NetworkPlan,
    cluster_id: &str,
) -> Result<Vec<String>, EngineError> {
    let mut found = Vec::new();
    for network in networks(docker).await? {
        let ours = network
            .labels
            .as_ref()
            .and_then(|known| known.get(labels::CLUSTER_ID))
            .is_some_and(|id| id == cluster_id);
        let name = network.name.clone().unwrap_or_default();
        let overlap = subnets(network.ipam.as_ref()).into_iter().find(|subnet| subnet.overlaps(plan.subnet));
        if let Some(subnet) = overlap.filter(|_| !ours) {
            let owner = network.labels.as_ref().and_then(|known| known.get(labels::CLUSTER));
            let owner = owner.map_or_else(String::new, |cluster| format!(" of cluster `{cluster}`"));
            found.push(format!(
                "the addresses {} are taken by the network `{name}`{owner} ({subnet}): choose another subnet by `--subnet 172.30.0.0/16`, or remove that network (docker network rm {name})",
                plan.subnet
            ));
        } else if name == plan.name && !ours {
            found.push(format!("a network named `{name}` is there and is not ours: remove it (docker network rm {name}), or use another cluster (`--name other`)"));
        }
    }
    Ok(found)
}

async fn networks(docker: &Docker) -> Result<Vec<Network>, EngineError> {
    docker.list_networks(None::<ListNetworksOptions>).await.map_err(EngineError::request("listing networks"))
}

fn subnets(ipam: Option<&Ipam>) -> Vec<Subnet> {
    let configured = ipam.and_then(|ipam| ipam.config.as_ref()).into_iter().flatten();
    configured.filter_map(|config| config.subnet.as_ref()?.parse().ok()).collect()
}

/// A small subnet that no network of the engine has; the search begins where the cluster's id says, so that two
/// clusters that are made at the same time rarely look at the same one.
pub(crate) fn free_subnet(cluster_id: &str) -> Subnet {
    let begin = cluster_id.bytes().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
    let taken = engine::ask(async move |docker| {
        Ok(networks(&docker)
            .await?
            .iter()
            .flat_map(|network| subnets(network.ipam.as_ref()))
            .collect::<Vec<_>>())
    });
    let taken = taken.unwrap_or_default();
    let candidates = (0..=u8::MAX).map(|at| Subnet::small(begin.wrapping_add(at)));
    let mut free = candidates.filter(|subnet| !taken.iter().any(|other| other.overlaps(*subnet)));
    free.next().unwrap_or_else(|| Subnet::small(begin))
}

/// Makes the volume of a node's data: its folder, on the disk where the cluster's directory lies.
pub(super) async fn ensure_volume(
    docker: &Docker,
    dir: &ClusterDir,
    cluster_id: &str,
    node: &NodePlan,
    planned: &ContainerPlan,
) -> Result<(), EngineError> {
    let folder = dir.node_data(&node.name);
    let device = folder.display().to_string();
    let request = VolumeCreateRequest {
        name: Some(planned.volume.clone()),
        driver: Some("local".to_owned()),
        driver_opts: Some(HashMap::from([
            ("type".to_owned(), "none".to_owned()),
            ("o".to_owned(), "bind".to_owned()),
            ("device".to_owned(), device.clone()),
        ])),
        labels: Some(marks(cluster_id)),
        ..VolumeCreateRequest::default()
    };
    let what = || format!("making the volume {}", planned.volume);
    let seen = docker.create_volume(request.clone()).await.map_err(EngineError::request(what()))?;
    // The engine answers with the one that is there, whoever made it.
    let foreign = seen.labels.get(labels::CLUSTER_ID).is_none_or(|id| id != cluster_id);
    if seen.options.get("device") == Some(&device) && !foreign {
        return Ok(());
    }
    if foreign {
        let why =
            format!("a volume of that name is there and is not ours (docker volume rm {})", planned.volume);
        return Err(EngineError::Request { what: what(), why });
    }
    // The directory was moved: the volume only says where it lies.
    docker
        .remove_volume(&planned.volume, None::<RemoveVolumeOptions>)
        .await
        .map_err(EngineError::request(what()))?;
    docker.create_volume(request).await.map_err(EngineError::request(what()))?;
    Ok(())
}

/// What marks something as a cluster's.
pub(super) fn marks(cluster_id: &str) -> HashMap<String, String> {
    HashMap::from([(labels::CLUSTER_ID.to_owned(), cluster_id.to_owned())])
}

/// A node's place in the network: its fixed address, and its name.
pub(super) fn endpoint(name: &str, planned: &ContainerPlan) -> EndpointSettings {
    EndpointSettings {
        ipam_config: Some(EndpointIpamConfig {
            ipv4_address: Some(planned.address.to_string()),
            ..EndpointIpamConfig::default()
        }),
        aliases: Some(vec![name.to_owned()]),
        ..EndpointSettings::default()
    }
}

pub(super) async fn connect(
    docker: &Docker,
    network: &NetworkPlan,
    name: &str,
    planned: &ContainerPlan,
) -> Result<(), EngineError> {
    let request =
        NetworkConnectRequest { container: name.to_owned(), endpoint_config: Some(endpoint(name, planned)) };
    let what = format!("connecting {name} to the network {}", network.name);
    docker.connect_network(&network.name, request).await.map_err(EngineError::request(what))
}

pub(super) async fn disconnect(
    docker: &Docker,
    network: &NetworkPlan,
    name: &str,
) -> Result<(), EngineError> {
    let request = NetworkDisconnectRequest { container: name.to_owned(), force: Some(true) };
    let what = format!("taking {name} out of the network {}", network.name);
    docker.disconnect_network(&network.name, request).await.map_err(EngineError::request(what))
}

/// Removes the network, and the volumes when the data shall go.
pub(super) async fn remove_all(docker: &Docker, cluster_id: &str, volumes: bool) -> Result<(), EngineError> {
    let filters = container::filter(cluster_id);
    let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
    let networks =
        docker.list_networks(Some(options)).await.map_err(EngineError::request("listing networks"))?;
    for name in networks.into_iter().filter_map(|network| network.name) {
        match docker.remove_network(&name).await {
            Err(error) if !is_absent(&error) => {
                return Err(EngineError::request(format!("removing the network {name}"))(error));
            }
            _ => {}
        }
    }
    if !volumes {
        return Ok(());
    }
    let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
    let volumes =
        docker.list_volumes(Some(options)).await.map_err(EngineError::request("listing volumes"))?;
    for volume in volumes.volumes.unwrap_or_default() {
        match docker.remove_volume(&volume.name, None::<RemoveVolumeOptions>).await {
            Err(error) if !is_absent(&error) => {
                return Err(EngineError::request(format!("removing the volume {}", volume.name))(error));
            }
            _ => {}
        }
    }
    Ok(())
}
