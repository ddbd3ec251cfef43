//! Users of a running cluster: added, removed, given other passwords, logged in (KIP-554).
//!
//! A user that is added has everything that a described one has: certificate, password, client files, rules. It
//! is remembered in the cluster's directory, so a later `up` keeps it as it is.

mod add;
mod login;
mod password;
mod remove;

use secrecy::SecretString;
use serde::Serialize;

pub use self::add::{AddOptions, AddReport, add};
pub use self::login::{LogInReport, LoggedIn, Tried, verify};
pub use self::password::{PasswordOptions, PasswordReport, set_password};
pub use self::remove::{RemoveReport, remove};
use super::{OpsError, soon};
use crate::admin::{Admin, Outcome, ScramUpsert};
use crate::credentials::Credentials;
use crate::lifecycle::cluster::Cluster;
use crate::names::UserName;
use crate::plan::ClusterPlan;

/// Whose a user is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The cluster's description names it.
    Described,
    /// It was added by `users add`.
    Added,
    /// Only the cluster knows it.
    Foreign,
}

impl Origin {
    /// Whose a user of a name is.
    pub fn of(plan: &ClusterPlan, user: &str) -> Self {
        match plan.user(user) {
            Some(user) if user.added => Self::Added,
            Some(_) => Self::Described,
            None => Self::Foreign,
        }
    }
}

/// Writes one user's credential through the controller.
async fn put(
    admin: &mut Admin,
    cluster: &Cluster,
    user: &UserName,
    password: &SecretString,
) -> Result<(), OpsError> {
    let iterations =
        caracal_scram::Iterations::new(cluster.spec.security.scram_iterations).unwrap_or_default();
    let (name, password) = (user.to_string(), password.clone());
    // Deriving takes milliseconds of pure computing, so it leaves the async threads alone.
    let derived = tokio::task::spawn_blocking(move || {
        ScramUpsert::derive(name, &password, caracal_scram::Mechanism::ScramSha512, iterations)
    });
    let upsert = match derived.await {
        Ok(upsert) => {
            upsert.map_err(|error| OpsError::refused(format!("no credential can be made: {error}")))?
        }
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    };
    all_done("credentials that could not be written", admin.put_scram_users(&[upsert], soon()).await?)
}

/// Every item of a request, or an error that names those that were refused.
pub(super) fn all_done<T>(what: &str, outcomes: Vec<Outcome<T>>) -> Result<(), OpsError> {
    let failed: Vec<String> =
        outcomes.into_iter().filter_map(|outcome| Some(outcome.result.err()?.to_string())).collect();
    if failed.is_empty() { Ok(()) } else { Err(OpsError::Items { what: what.to_owned(), items: failed }) }
}

/// The password that was given, if its readers can all carry it, or a generated one.
fn usable(user: &UserName, given: Option<&SecretString>) -> Result<SecretString, OpsError> {
    let Some(given) = given else { return Ok(Credentials::generated_password(user)?) };
    match Credentials::password_problem(given) {
        None => Ok(given.clone()),
        Some(rule) => Err(OpsError::refused(format!(
            "the password for `{user}` cannot be used: {rule}; give at least 12 letters and digits, or none to \
             get a generated one"
        ))),
    }
}

/// Writes a password for somebody to take away, private from creation; never over something.
fn write_out(path: &std::path::Path, password: &SecretString) -> Result<(), OpsError> {
    use secrecy::ExposeSecret as _;
    let line = SecretString::from([password.expose_secret(), "\n"].concat());
    caracal_pki::store::write_private(path, line.expose_secret().as_bytes())
        .map_err(|error| crate::dir::DirError::from(error).into())
}

fn refuse_existing(out: Option<&std::path::Path>) -> Result<(), OpsError> {
    match out {
        Some(path) if path.exists() => {
            let path = path.display();
            Err(OpsError::refused(format!("{path} is there already; name a new file for the password")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
