//! What is, as lists: users, versions of the protocol, certificates. Nothing here changes anything.

use std::time::Instant;

use caracal_pki::inventory::CertificateInfo;
use futures::future::join_all;
use serde::Serialize;
use time::OffsetDateTime;

use super::users::Origin;
use super::{Operated, OpsError, millis_since, soon};
use crate::admin::ScramUser;
use crate::lifecycle::chain;
use crate::names::ClusterName;
use crate::plan::{ClusterPlan, Role};
use crate::wire::Connection;

/// One SCRAM user.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct User {
    /// Its name.
    pub user: String,
    /// Whose it is.
    pub origin: Origin,
    /// What the plan lets it do; none for a user that the plan does not know.
    pub role: Option<Role>,
    /// Whether it may do everything.
    pub super_user: bool,
    /// Its credentials; empty for a planned user that the cluster does not know.
    pub credentials: Vec<Credential>,
}

/// One credential, without anything secret.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Credential {
    /// `SCRAM-SHA-512` or `SCRAM-SHA-256`.
    pub mechanism: &'static str,
    /// Iterations of the derivation.
    pub iterations: i32,
}

/// Every user, planned or found.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct UsersReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// Every user, by name.
    pub users: Vec<User>,
    /// How long it took.
    pub millis: u64,
}

/// Lists the users of the cluster beside those of the plan.
///
/// # Errors
/// When no broker can be asked.
pub async fn users(operated: &Operated) -> Result<UsersReport, OpsError> {
    let begun = Instant::now();
    let found = operated.admin()?.scram_users(soon()).await?;
    let plan = &operated.cluster().plan;
    Ok(UsersReport {
        cluster: plan.cluster.clone(),
        users: beside(plan, &found),
        millis: millis_since(begun),
    })
}

fn beside(plan: &ClusterPlan, found: &[ScramUser]) -> Vec<User> {
    let planned = plan.users.iter().map(|user| user.name.as_str());
    let mut names: Vec<&str> = planned.chain(found.iter().map(|user| user.name.as_str())).collect();
    names.sort_unstable();
    names.dedup();
    let user = |name: &str| {
        let known = plan.user(name);
        let credentials = found.iter().filter(|user| user.name == name).flat_map(|user| &user.credentials);
        User {
            user: name.to_owned(),
            origin: Origin::of(plan, name),
            role: known.map(|user| user.role),
            super_user: known.is_some_and(|user| user.super_user),
            credentials: credentials
                .map(|(mechanism, iterations)| Credential {
                    mechanism: mechanism.name(),
                    iterations: *iterations,
                })
                .collect(),
        }
    };
    names.into_iter().map(user).collect()
}

/// One request of the protocol.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Api {
    /// Its number.
    pub key: i16,
    /// The lowest version that the broker speaks.
    pub min: i16,
    /// The highest.
    pub max: i16,
}

/// What one broker speaks.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct BrokerApis {
    /// The broker's node.
    pub node: String,
    /// Its id.
    pub id: i32,
    /// What it speaks; empty when it could not be asked.
    pub apis: Vec<Api>,
    /// Why it could not be asked.
    pub error: Option<String>,
}

/// What every broker speaks.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ApisReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// Every planned broker.
    pub brokers: Vec<BrokerApis>,
    /// How long it took.
    pub millis: u64,
}

/// Logs in to every broker as the administrator and asks which versions of which requests it speaks.
///
/// # Errors
/// Only when our own credentials cannot be read; a broker that cannot be asked is an entry with its error.
pub async fn api_versions(operated: &Operated) -> Result<ApisReport, OpsError> {
    let begun = Instant::now();
    let access = operated.access();
    let (tls, login) = access.administrator()?;
    let asked = access.brokers("EXTERNAL").into_iter().map(|broker| {
        let (tls, login) = (&tls, &login);
        async move {
            let opened = Connection::open(&broker.endpoint, tls, login, soon()).await;
            let (apis, error) = match opened {
                Ok(connection) => {
                    (connection.versions().map(|(key, min, max)| Api { key, min, max }).collect(), None)
                }
                Err(error) => (Vec::new(), Some(chain(&error))),
            };
            BrokerApis { node: broker.endpoint.node, id: broker.id, apis, error }
        }
    });
    let brokers = join_all(asked).await;
    Ok(ApisReport { cluster: operated.cluster().plan.cluster.clone(), brokers, millis: millis_since(begun) })
}

/// One certificate that lies in the cluster's directory.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Certificate {
    /// The stem of its files: `caracal-kafka-1.listener`, `client.producer`, `data-ca`.
    pub id: String,
    /// Whole days until it ends; negative once it has.
    pub days_left: i64,
    /// What it says.
    #[serde(flatten)]
    pub info: CertificateInfo,
}

/// Every certificate, the one that ends first at the front.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct CertificatesReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// Every certificate, authorities included.
    pub certificates: Vec<Certificate>,
}

impl CertificatesReport {
    /// Those that end within so many days.
    pub fn ending_within(&self, days: i64) -> impl Iterator<Item = &Certificate> {
        self.certificates.iter().filter(move |certificate| certificate.days_left < days)
    }
}

/// Reads the certificates in the cluster's directory; the cluster need not run.
///
/// # Errors
/// When one cannot be read.
pub fn certificates(operated: &Operated) -> Result<CertificatesReport, OpsError> {
    let now = OffsetDateTime::now_utc();
    let found = operated.access().credentials().certificates()?;
    let mut certificates: Vec<Certificate> = found
        .into_iter()
        .map(|(id, info)| Certificate { id, days_left: info.days_left(now), info })
        .collect();
    certificates.sort_by(|a, b| (a.days_left, &a.id).cmp(&(b.days_left, &b.id)));
    Ok(CertificatesReport { cluster: operated.cluster().plan.cluster.clone(), certificates })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_that_are_only_planned_or_only_there_are_seen() {
        let plan = crate::plan::tests::default_plan();
        let users = beside(&plan, &[]);
        assert_eq!(users.len(), plan.users.len());
        let admin = users.iter().find(|user| user.user == "admin").unwrap();
        assert_eq!((admin.role, admin.super_user), (Some(Role::Admin), true));
        assert!(users.iter().all(|user| user.credentials.is_empty()));
    }
}
