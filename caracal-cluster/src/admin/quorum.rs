//! The quorum of KRaft's controllers, asked over their own listener, where a certificate is the whole log-in.
//!
//! Only the leader knows how far the others are, so every controller is asked and the leader's answer judges all
//! of them.

use std::fmt;
use std::time::Duration;

use futures::future::join_all;
use kafka_protocol::messages::DescribeQuorumRequest;
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::describe_quorum_response::PartitionData as Answer;
use kafka_protocol::protocol::StrBytes;

use super::BrokerEndpoint;
use crate::wire::{ApiError, Connection, Deadline, Endpoint, TlsConfig, WireError};

/// The log of metadata, as a topic.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// `NOT_LEADER_OR_FOLLOWER`: somebody else leads, or nobody does yet.
const NOT_LEADER: i16 = 6;

/// How old the leader's last sight of a follower may be, in milliseconds. Followers fetch every 500 ms.
const FRESH_MILLIS: i64 = 3000;

/// One controller as the leader of the quorum sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Voter {
    /// Its `node.id`.
    pub id: i32,
    /// When it was last heard of, in milliseconds of 1970; -1 for never.
    pub last_fetch: i64,
    /// The end of its log.
    pub log_end: i64,
}

/// The quorum, as its leader describes it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Quorum {
    /// The leader's `node.id`.
    pub leader: i32,
    /// Up to where the log is on a majority.
    pub high_watermark: i64,
    /// Every controller that votes, the leader among them.
    pub voters: Vec<Voter>,
}

impl Quorum {
    /// Whether a controller follows closely: it was heard of just now. The leader always does.
    pub fn follows(&self, id: i32) -> bool {
        let heard = |id| self.voters.iter().find(|voter| voter.id == id).map(|voter| voter.last_fetch);
        let (Some(now), Some(then)) = (heard(self.leader), heard(id)) else { return false };
        id == self.leader || (then > 0 && now - then <= FRESH_MILLIS)
    }
}

/// What a controller does.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "every reader must say what it makes of a new part")]
pub enum Part {
    /// It leads the quorum.
    Leads,
    /// It follows the leader closely.
    Follows,
    /// It answers, but the leader has not heard of it for seconds, or there is no leader.
    Behind,
    /// It could not be asked.
    Silent(WireError),
}

impl Part {
    /// Whether it counts for the quorum.
    pub fn serves(&self) -> bool {
        matches!(self, Self::Leads | Self::Follows)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leads => f.write_str("leads"),
            Self::Follows => f.write_str("follows"),
            Self::Behind => f.write_str("running, in no quorum"),
            Self::Silent(error) => error.fmt(f),
        }
    }
}

/// One controller and its part.
#[derive(Debug)]
#[non_exhaustive]
pub struct Controller {
    /// Its `node.id`.
    pub id: i32,
    /// Its node's name.
    pub node: String,
    /// What it does.
    pub part: Part,
}

/// Asks every controller at the same time; gives each one's part.
///
/// ```no_run
/// # async fn ask(endpoints: Vec<caracal_cluster::admin::BrokerEndpoint>, tls: caracal_cluster::wire::TlsConfig) {
/// use std::time::Duration;
///
/// let seen = caracal_cluster::admin::quorum::look(&endpoints, &tls, Duration::from_secs(5)).await;
/// assert_eq!(seen.iter().filter(|controller| controller.part.serves()).count(), 3);
/// # }
/// ```
pub async fn look(controllers: &[BrokerEndpoint], tls: &TlsConfig, patience: Duration) -> Vec<Controller> {
    let asked = controllers.iter().map(|controller| async move {
        (controller, describe(&controller.endpoint, tls, Deadline::after(patience)).await)
    });
    let answers = join_all(asked).await;
    let quorum = answers.iter().find_map(|(_, answer)| answer.as_ref().ok()?.clone());
    answers.into_iter().map(|(controller, answer)| judged(controller, answer, quorum.as_ref())).collect()
}

fn judged(
    controller: &BrokerEndpoint,
    answer: Result<Option<Quorum>, WireError>,
    quorum: Option<&Quorum>,
) -> Controller {
    let id = controller.id;
    let part = match (answer, quorum) {
        (Err(error), _) => Part::Silent(error),
        (Ok(_), Some(quorum)) if quorum.leader == id => Part::Leads,
        (Ok(_), Some(quorum)) if quorum.follows(id) => Part::Follows,
        (Ok(_), _) => Part::Behind,
    };
    Controller { id, node: controller.endpoint.node.clone(), part }
}

/// Asks one controller; none when it does not lead, for then it knows nothing of the others.
///
/// # Errors
/// [`WireError`]; without the right to it an API error `CLUSTER_AUTHORIZATION_FAILED`.
pub async fn describe(
    endpoint: &Endpoint,
    tls: &TlsConfig,
    deadline: Deadline,
) -> Result<Option<Quorum>, WireError> {
    const DOING: &str = "describe the quorum";
    let mut connection = Connection::open_unauthenticated(endpoint, tls, deadline).await?;
    let topic = TopicData::default()
        .with_topic_name(StrBytes::from_static_str(METADATA_TOPIC).into())
        .with_partitions(vec![PartitionData::default().with_partition_index(0)]);
    let request = DescribeQuorumRequest::default().with_topics(vec![topic]);
    let response = connection.call_as(DOING, &request, i16::MAX, deadline).await?;
    ApiError::check(response.error_code, None, "the quorum")
        .map_err(|error| connection.error(DOING, error.into()))?;
    let Some(partition) = response.topics.into_iter().flat_map(|topic| topic.partitions).next() else {
        return Ok(None);
    };
    if partition.error_code == NOT_LEADER {
        return Ok(None);
    }
    ApiError::check(partition.error_code, None, "the quorum")
        .map_err(|error| connection.error(DOING, error.into()))?;
    Ok(Some(quorum(&partition)))
}

fn quorum(partition: &Answer) -> Quorum {
    let voters = partition.current_voters.iter().map(|voter| Voter {
        id: voter.replica_id.0,
        last_fetch: voter.last_fetch_timestamp,
        log_end: voter.log_end_offset,
    });
    Quorum {
        leader: partition.leader_id.0,
        high_watermark: partition.high_watermark,
        voters: voters.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_that_was_not_heard_of_for_seconds_does_not_count() {
        let voter = |id, last_fetch| Voter { id, last_fetch, log_end: 7 };
        let quorum = Quorum {
            leader: 102,
            high_watermark: 7,
            voters: vec![voter(101, 99_000), voter(102, 100_000), voter(103, 96_999), voter(104, -1)],
        };
        assert!(quorum.follows(101) && quorum.follows(102));
        assert!(!quorum.follows(103) && !quorum.follows(104) && !quorum.follows(9));
    }

    #[test]
    fn without_a_leader_nobody_serves() {
        let plan = crate::plan::tests::default_plan();
        let node = &plan.nodes[0];
        let endpoint = Endpoint::of(node, &node.listeners[0]);
        let controller = BrokerEndpoint { id: 101, endpoint };
        let part = judged(&controller, Ok(None), None).part;
        assert!(!part.serves() && part.to_string() == "running, in no quorum");
        let alone = Quorum {
            leader: 101,
            high_watermark: 1,
            voters: vec![Voter { id: 101, last_fetch: 5, log_end: 1 }],
        };
        assert!(judged(&controller, Ok(Some(alone.clone())), Some(&alone)).part.serves());
    }
}
