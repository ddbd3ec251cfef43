//! A killed broker's registration outlives it: ZooKeeper keeps its session until the session's time-out.
//!
//! A broker that starts meanwhile finds its own number taken and ends by itself, so it is started only when
//! the former registration is gone.

use std::time::Duration;

use super::users;
use crate::lifecycle::ClusterWorld;
use crate::lifecycle::engine::Event;
use crate::lifecycle::error::StepError;
use crate::plan::{NodePlan, NodeRole};
use crate::spec::Metadata;
use crate::wait::{Probe, WaitError, wait_for};
use crate::wire::Deadline;
use crate::zookeeper::ZkError;

/// A broker's session lives for 18 s (`zookeeper.session.timeout.ms`); ZooKeeper looks once a tick.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often ZooKeeper is asked.
const INTERVAL: Duration = Duration::from_millis(250);

/// Waits until no earlier run of the broker is registered. Any other node needs no wait.
///
/// When the registration stays, the broker is started all the same: its own log then says who has the number.
pub(in crate::lifecycle) async fn former_run_is_forgotten(
    world: &ClusterWorld,
    node: &NodePlan,
) -> Result<(), StepError> {
    // KRaft's controllers keep a broker waiting that is too early, instead of letting it end.
    if node.role != NodeRole::Broker || world.cluster.plan.metadata == Metadata::Kraft {
        return Ok(());
    }
    let deadline = Deadline::after(PATIENCE + Duration::from_secs(10));
    let path = format!("/brokers/ids/{}", node.id);
    let mut zookeeper = users::connect(world, deadline).await?;
    if zookeeper.exists(&path, deadline).await?.is_some() {
        let name = &node.name;
        world.reporter.tell(Event::Note(format!(
            "{name} was killed: it is started again as soon as ZooKeeper has forgotten its former run"
        )));
        let shared = tokio::sync::Mutex::new(&mut zookeeper);
        let what = format!("the end of the former session of {name}");
        let gone = wait_for(&what, PATIENCE, INTERVAL, || async {
            match shared.lock().await.exists(&path, deadline).await {
                Ok(None) => Probe::Ready(()),
                Ok(Some(_)) => Probe::NotYet(format!("{path} is still there")),
                Err(error) => Probe::Failed(error),
            }
        });
        match gone.await {
            Ok(()) | Err(WaitError::TimedOut { .. }) => {}
            Err(WaitError::Failed::<ZkError>(error)) => return Err(error.into()),
        }
    }
    zookeeper.close(deadline).await?;
    Ok(())
}
