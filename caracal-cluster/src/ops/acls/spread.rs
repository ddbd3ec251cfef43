//! Whether every broker knows of a change: the controller answers before the others have heard of it.

use std::time::Duration;

use futures::future::join_all;

use crate::admin::AclBinding;
use crate::admin::acls::known_to;
use crate::lifecycle::chain;
use crate::ops::{Operated, OpsError};
use crate::wait::{Probe, WaitError, wait_for};
use crate::wire::{Connection, Deadline, Endpoint, Login, TlsConfig, WireError};

/// How long a change may take to reach every broker.
const SPREADING: Duration = Duration::from_secs(15);

/// How long one broker may take to answer.
const LOOK: Duration = Duration::from_secs(5);

/// Waits until every broker that answers has these rules, or has them no more.
pub(in crate::ops) async fn await_everywhere(
    operated: &Operated,
    rules: &[AclBinding],
    wanted: bool,
) -> Result<(), OpsError> {
    let access = operated.access();
    let (tls, login) = access.administrator()?;
    let brokers = access.brokers("EXTERNAL");
    let what = "every broker to know of the changed access rules";
    let waited: Result<(), WaitError<OpsError>> =
        wait_for(what, SPREADING, Duration::from_millis(50), || async {
            let seen = join_all(brokers.iter().map(|broker| known(&broker.endpoint, &tls, &login))).await;
            let late = brokers.iter().zip(seen).find_map(|(broker, seen)| match seen {
                Ok(known) => rules
                    .iter()
                    .find(|rule| known.contains(rule) != wanted)
                    .map(|rule| format!("{} does not know of `{rule}` yet", broker.endpoint.node)),
                // One that is away reads the rules when it starts.
                Err(error) if error.kind.is_absence() => None,
                Err(error) => Some(chain(&error)),
            });
            late.map_or(Probe::Ready(()), Probe::NotYet)
        })
        .await;
    let explanation = "\n  the controller has made the change; look again with `acls list`";
    waited.map_err(|error| OpsError::waited(error, explanation))
}

async fn known(endpoint: &Endpoint, tls: &TlsConfig, login: &Login) -> Result<Vec<AclBinding>, WireError> {
    let deadline = Deadline::after(LOOK);
    let mut connection = Connection::open(endpoint, tls, login, deadline).await?;
    known_to(&mut connection, deadline).await
}
