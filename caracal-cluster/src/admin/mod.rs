//! Administration over the wire: users, access rules, topics and the cluster's state.
//!
//! Stands on [`crate::wire`]. Every operation has a deadline and answers item by item: that one topic of five
//! could not be made is a value, not an error. Changes go to the controller, which is found by asking any
//! broker for its *id*; where that broker is dialled comes from the plan.

pub mod acls;
mod broker_configs;
pub mod cluster;
pub mod groups;
pub mod groups_describe;
pub mod log_dirs;
pub mod offsets;
pub mod quorum;
pub mod topics;
mod topics_alter;
mod topics_delete;
pub mod users;

use std::time::Duration;

use crate::wire::requests::WireRequest;
use crate::wire::{ApiError, Connection, Deadline, Endpoint, Login, TlsConfig, WireError, records};

pub use acls::{AclBinding, AclDrift};
pub use cluster::ClusterState;
pub use log_dirs::LogDir;
pub use offsets::OffsetAt;
pub use topics::{TopicDrift, TopicState};
pub use topics_alter::Intent;
pub use users::{ScramUpsert, ScramUser};

/// How long to wait before asking again who the controller is.
const CONTROLLER_PAUSE: Duration = Duration::from_millis(100);

/// A broker that the plan knows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BrokerEndpoint {
    /// Its `broker.id`.
    pub id: i32,
    /// The listener to use.
    pub endpoint: Endpoint,
}

/// What became of one item of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outcome<T> {
    /// The item.
    pub item: T,
    /// Whether it was done.
    pub result: Result<(), ApiError>,
}

/// Why an operation as a whole failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// A connection or a call failed.
    #[error(transparent)]
    Wire(Box<WireError>),
    /// No broker of the plan could be reached.
    #[error("none of the {brokers} planned brokers could be reached within {:.1} s (next: see the last one's reason)", waited.as_secs_f64())]
    Unreachable {
        /// How many were tried.
        brokers: usize,
        /// For how long.
        waited: Duration,
        /// The last one's reason.
        #[source]
        last: Option<Box<WireError>>,
    },
    /// The cluster has no settled controller.
    #[error("no controller after {:.1} s; last seen: {} (likely cause: brokers are starting or lost the metadata quorum; next: read the brokers' logs)", waited.as_secs_f64(), seen(*last))]
    NoController {
        /// How long was waited.
        waited: Duration,
        /// The id that was named last.
        last: Option<i32>,
    },
    /// The cluster names a broker that the plan does not know.
    #[error(
        "the cluster names broker {id}, the plan knows {planned:?} (likely cause: another cluster answers at these addresses; next: compare the cluster ids)"
    )]
    UnknownBroker {
        /// The id.
        id: i32,
        /// The plan's ids.
        planned: Vec<i32>,
    },
}

impl From<WireError> for AdminError {
    fn from(error: WireError) -> Self {
        Self::Wire(Box::new(error))
    }
}

/// Administers one cluster as one principal. Keeps its connection to the controller.
#[derive(Debug)]
pub struct Admin {
    brokers: Vec<BrokerEndpoint>,
    tls: TlsConfig,
    login: Login,
    controller: Option<Connection>,
    anybody: bool,
}

impl Admin {
    /// An administrator who will dial these brokers; nothing is dialled yet.
    pub fn new(brokers: Vec<BrokerEndpoint>, tls: TlsConfig, login: Login) -> Self {
        Self { brokers, tls, login, controller: None, anybody: false }
    }

    /// An administrator who asks one of these brokers, whether it is the controller or not: to see what that one
    /// knows, and for KRaft, where every broker forwards.
    #[must_use]
    pub fn asking_anybody(self) -> Self {
        Self { anybody: true, ..self }
    }

    /// Opens a connection of its own to one broker.
    ///
    /// # Errors
    /// [`AdminError::UnknownBroker`] for an id that is not in the plan, else [`AdminError::Wire`].
    pub async fn connect(&self, id: i32, deadline: Deadline) -> Result<Connection, AdminError> {
        let broker = self.brokers.iter().find(|broker| broker.id == id).ok_or_else(|| {
            AdminError::UnknownBroker { id, planned: self.brokers.iter().map(|broker| broker.id).collect() }
        })?;
        Ok(Connection::open(&broker.endpoint, &self.tls, &self.login, deadline).await?)
    }

    /// Opens a connection of its own to the leader of a partition.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn connect_to_leader(
        &mut self,
        topic: &str,
        partition: i32,
        deadline: Deadline,
    ) -> Result<Connection, AdminError> {
        let controller = self.controller(deadline).await?;
        let leader = records::leader(controller, topic, partition, deadline).await?;
        self.connect(leader, deadline).await
    }

    /// The connection to the controller, opened when there is none.
    pub(crate) async fn controller(&mut self, deadline: Deadline) -> Result<&mut Connection, AdminError> {
        let connection = match self.controller.take().filter(Connection::is_usable) {
            Some(connection) => connection,
            None => self.find_controller(deadline).await?,
        };
        Ok(self.controller.insert(connection))
    }

    /// Calls the controller; when it answers that it no longer is, finds the new one until the deadline.
    pub(crate) async fn call<R: WireRequest>(
        &mut self,
        doing: &'static str,
        request: &R,
        moved: impl Fn(&R::Response) -> bool,
        deadline: Deadline,
    ) -> Result<R::Response, AdminError> {
        loop {
            let response =
                self.controller(deadline).await?.call_as(doing, request, i16::MAX, deadline).await?;
            if !moved(&response) {
                return Ok(response);
            }
            self.controller = None;
            pause(deadline, None).await?;
        }
    }

    async fn find_controller(&self, deadline: Deadline) -> Result<Connection, AdminError> {
        loop {
            let (asked, mut connection) = self.any_broker(deadline).await?;
            if self.anybody {
                return Ok(connection);
            }
            let named = records::metadata(&mut connection, Some(&[]), deadline).await?.controller;
            match named {
                Some(id) if id == asked => return Ok(connection),
                // The named controller may just have died; then the next question names another.
                Some(id) => match self.connect(id, deadline).await {
                    Err(AdminError::Wire(error)) if error.kind.is_absence() => {}
                    settled => return settled,
                },
                None => {}
            }
            pause(deadline, named).await?;
        }
    }

    async fn any_broker(&self, deadline: Deadline) -> Result<(i32, Connection), AdminError> {
        let mut last = None;
        let left = self.brokers.len();
        for (index, broker) in self.brokers.iter().enumerate() {
            // A broker that hangs must not use up the time of those that do not.
            let share = u32::try_from(left - index).unwrap_or(u32::MAX);
            let turn = deadline.at_most(deadline.remaining() / share);
            match Connection::open(&broker.endpoint, &self.tls, &self.login, turn).await {
                Ok(connection) => return Ok((broker.id, connection)),
                Err(error) if error.kind.is_absence() => last = Some(Box::new(error)),
                Err(error) => return Err(error.into()),
            }
        }
        Err(AdminError::Unreachable { brokers: left, waited: deadline.elapsed(), last })
    }
}

async fn pause(deadline: Deadline, last: Option<i32>) -> Result<(), AdminError> {
    tokio::time::sleep(CONTROLLER_PAUSE.min(deadline.remaining())).await;
    if deadline.is_over() {
        return Err(AdminError::NoController { waited: deadline.elapsed(), last });
    }
    Ok(())
}

fn seen(id: Option<i32>) -> String {
    id.map_or_else(|| "none".to_owned(), |id| format!("broker {id}"))
}

/// Turns a code and message of a response into an item's result.
fn outcome<T>(item: T, code: i16, message: Option<&str>, subject: String) -> Outcome<T> {
    Outcome { item, result: ApiError::check(code, message, subject) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_broker_outside_the_plan_is_never_dialled() {
        let tls = TlsConfig::trusting_nobody();
        let admin = Admin::new(Vec::new(), tls, Login::new("admin", "secret".to_owned().into()));
        let deadline = Deadline::after(Duration::from_secs(1));
        let error = admin.connect(7, deadline).await.unwrap_err();
        assert!(matches!(error, AdminError::UnknownBroker { id: 7, .. }));
        assert!(matches!(
            admin.find_controller(deadline).await.unwrap_err(),
            AdminError::Unreachable { brokers: 0, .. }
        ));
        assert!(!format!("{admin:?}").contains("secret"));
    }
}
