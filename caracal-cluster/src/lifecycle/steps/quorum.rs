//! KRaft's controllers: who leads, who follows, and when one that has lost its log may start.

use std::convert::Infallible;
use std::time::Duration;

use super::nodes::await_node;
use crate::admin::quorum::{self, Controller, Part};
use crate::lifecycle::ClusterWorld;
use crate::lifecycle::error::{StepError, chain};
use crate::plan::NodePlan;
use crate::wait::{Probe, wait_for};

/// How long one look may take.
const LOOK: Duration = Duration::from_secs(5);

/// How long an election may take: a few time-outs of 1 to 2 s each, on a busy machine.
const ELECTION: Duration = Duration::from_secs(60);

/// How often it is looked at.
const INTERVAL: Duration = Duration::from_millis(100);

/// Every controller with its part in the quorum.
pub(in crate::lifecycle) async fn look(world: &ClusterWorld) -> Result<Vec<Controller>, StepError> {
    let access = world.access();
    Ok(quorum::look(&access.controllers(), &access.controllers_tls()?, LOOK).await)
}

/// Waits until a controller leads, or is followed by the leader's own account.
pub(super) async fn member(
    world: &ClusterWorld,
    node: &NodePlan,
    patience: Duration,
) -> Result<String, StepError> {
    let access = world.access();
    let (endpoints, tls) = (access.controllers(), access.controllers_tls()?);
    await_node(&world.runtime, node, "a leader or follower", patience, || async {
        let seen = quorum::look(&endpoints, &tls, LOOK).await;
        match seen.into_iter().find(|controller| controller.node == node.name.as_str()) {
            Some(Controller { part, .. }) if part.serves() => Probe::Ready(part.to_string()),
            Some(Controller { part: Part::Silent(error), .. }) => Probe::NotYet(chain(&error)),
            Some(Controller { part, .. }) => Probe::NotYet(part.to_string()),
            None => Probe::NotYet("no listener of controllers is planned for it".to_owned()),
        }
    })
    .await
}

/// Waits until somebody leads. Without one, the node is started all the same: a cluster that cannot serve
/// without it gains nothing by waiting.
pub(super) async fn somebody_leads(world: &ClusterWorld, node: &NodePlan) -> Result<(), StepError> {
    let access = world.access();
    let (endpoints, tls) = (access.controllers(), access.controllers_tls()?);
    let what = format!("a leader of the other controllers before {} starts", node.name);
    let waited = wait_for(&what, ELECTION, INTERVAL, || async {
        let seen = quorum::look(&endpoints, &tls, LOOK).await;
        if seen.iter().any(|controller| matches!(controller.part, Part::Leads)) {
            Probe::<_, Infallible>::Ready(())
        } else {
            Probe::NotYet("nobody leads".to_owned())
        }
    });
    waited.await.map_err(|error| StepError::Proof { what: error.to_string() })
}
