//! Another password.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use super::login::{self, LoggedIn};
use super::{Origin, put, refuse_existing, usable, write_out};
use crate::credentials::ClientFiles;
use crate::lifecycle::cluster::Cluster;
use crate::lifecycle::commands::Selection;
use crate::names::{ClusterName, NodeName, UserName};
use crate::ops::restart::{self, RestartedNode};
use crate::ops::{Operated, OpsError, millis_since, soon};
use crate::plan::{ClusterPlan, NodePlan, NodeRole, SecretContent};

/// How long a restarted node may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// What is asked for.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct PasswordOptions {
    /// Whose.
    pub user: UserName,
    /// The new password; none means a generated one.
    pub password: Option<SecretString>,
    /// A new file that the password is written to, for somebody to take away.
    pub out: Option<PathBuf>,
    /// Restart all brokers at the same time when they log in as this user.
    pub all_at_once: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What was done.
#[derive(Debug, Serialize)]
pub struct PasswordReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// Whether it was only said.
    pub dry_run: bool,
    /// The user.
    pub user: UserName,
    /// Where its client files lie, made anew; none for a user that has none here.
    pub client_files: Option<PathBuf>,
    /// Where its password was written to, if anywhere else.
    pub password_file: Option<PathBuf>,
    /// Nodes that log in as this user, and were restarted with the new password.
    pub restarted: Vec<NodeName>,
    /// Its log-ins with the new password, one a broker and listener.
    pub log_ins: Vec<LoggedIn>,
    /// Whether every broker was seen to refuse the old password; none when the old one was not known.
    pub old_refused: Option<bool>,
    /// How long it took.
    pub millis: u64,
    /// A generated password, to be shown once on a terminal.
    #[serde(skip)]
    pub generated: Option<SecretString>,
}

/// Gives a user another password: file, credential and client files, then proves that every broker takes the new
/// one and refuses the old. Nodes that log in as this user are restarted.
///
/// # Errors
/// [`OpsError::NoSuch`]; [`OpsError::Refused`] for a password that cannot be used, for a foreign user whose
/// generated password would lie nowhere, and for the brokers' own user without `all_at_once`.
pub async fn set_password(
    selection: &Selection,
    options: &PasswordOptions,
) -> Result<PasswordReport, OpsError> {
    let begun = Instant::now();
    let cluster = Cluster::existing(&selection.root, selection.name.as_ref())?;
    let lock = if options.dry_run { None } else { Some(cluster.dir.lock("users set-password")?) };
    let operated = Operated::of(cluster);
    let nodes: Vec<NodePlan> =
        nodes_of(&operated.cluster().plan, &options.user).into_iter().cloned().collect();
    // Before the file changes: the administrator may be changing its own password.
    let mut admin = operated.admin()?;
    let known = admin.scram_users(soon()).await?;
    let name = options.user.as_str();
    if operated.cluster().plan.user(name).is_none() && !known.iter().any(|user| user.name == name) {
        return Err(OpsError::no_such("user", name, known.iter().map(|user| user.name.as_str())));
    }
    refuse(&operated, options, &nodes)?;
    let password = usable(&options.user, options.password.as_ref())?;
    let old = operated.access().credentials().password(&options.user)?;
    let mut report = PasswordReport {
        cluster: operated.cluster().plan.cluster.clone(),
        dry_run: options.dry_run,
        user: options.user.clone(),
        client_files: client_files(&operated, &options.user),
        password_file: options.out.clone(),
        restarted: nodes.iter().map(|node| node.name.clone()).collect(),
        log_ins: Vec::new(),
        old_refused: None,
        millis: 0,
        generated: None,
    };
    if !options.dry_run {
        change(&operated, &mut admin, options, &password, old.as_ref()).await?;
        // Of its own: a cache of salted passwords belongs to the old one.
        let operated = Operated::open(selection)?;
        report.log_ins = login::await_everywhere(&operated, &options.user, &password).await?;
        let changed = old.filter(|old| old.expose_secret() != password.expose_secret());
        if let Some(old) = changed {
            login::await_refused(&operated, &options.user, &old).await?;
            report.old_refused = Some(true);
        }
        drop(lock);
        restart_nodes(selection, &nodes).await?;
        report.generated = options.password.is_none().then_some(password);
    }
    report.millis = millis_since(begun);
    Ok(report)
}

/// File first, then the credential: whatever ends in between, the next `up` writes the credential that fits the
/// file. A credential that is refused gives the file its old password back.
async fn change(
    operated: &Operated,
    admin: &mut crate::admin::Admin,
    options: &PasswordOptions,
    password: &SecretString,
    old: Option<&SecretString>,
) -> Result<(), OpsError> {
    let (cluster, credentials) = (operated.cluster(), operated.access().credentials());
    let planned = cluster.plan.user(options.user.as_str());
    if let Some(out) = &options.out {
        write_out(out, password)?;
    }
    if planned.is_some() {
        credentials.put_password(&options.user, password)?;
    }
    if let Err(error) = put(admin, cluster, &options.user, password).await {
        if let Some(old) = old.filter(|_| planned.is_some()) {
            credentials.put_password(&options.user, old)?;
        }
        return Err(error);
    }
    if let Some(files) = planned.and_then(|user| ClientFiles::new(&credentials, user)) {
        files.write()?;
    }
    Ok(())
}

fn client_files(operated: &Operated, user: &UserName) -> Option<PathBuf> {
    let planned = operated.cluster().plan.user(user.as_str())?;
    planned.certificate.is_some().then(|| operated.cluster().dir.client(user))
}

fn refuse(operated: &Operated, options: &PasswordOptions, nodes: &[NodePlan]) -> Result<(), OpsError> {
    let user = &options.user;
    refuse_existing(options.out.as_deref())?;
    if nodes.iter().any(|node| node.role == NodeRole::Broker) && !options.all_at_once {
        return Err(OpsError::refused(format!(
            "brokers log in to each other as `{user}`: those with the old and with the new password cannot work \
             together, so they have to be restarted at the same time; --all-at-once does that, and the cluster is \
             away for some seconds"
        )));
    }
    let foreign = Origin::of(&operated.cluster().plan, user.as_str()) == Origin::Foreign;
    if foreign && options.password.is_none() && options.out.is_none() {
        return Err(OpsError::refused(format!(
            "`{user}` was not made here, so its new password would lie nowhere: say where by --out FILE"
        )));
    }
    Ok(())
}

/// Nodes whose files hold a user's password.
pub(super) fn nodes_of<'a>(plan: &'a ClusterPlan, user: &UserName) -> Vec<&'a NodePlan> {
    let reference = format!("@{{password:{user}}}");
    let holds = |content: &SecretContent| match content {
        SecretContent::Password(known) => known == user,
        SecretContent::Properties(text) => text.contains(&reference),
        SecretContent::KeystorePem(_) | SecretContent::TruststorePem(_) => false,
    };
    plan.nodes.iter().filter(|node| node.secrets.iter().any(|secret| holds(&secret.content))).collect()
}

async fn restart_nodes(selection: &Selection, nodes: &[NodePlan]) -> Result<(), OpsError> {
    if nodes.is_empty() {
        return Ok(());
    }
    let options = restart::Options {
        nodes: nodes.iter().map(|node| node.name.to_string()).collect(),
        all_at_once: nodes.iter().any(|node| node.role == NodeRole::Broker),
        dry_run: false,
        patience: PATIENCE,
    };
    restart::restart(selection, &options, &|_: &RestartedNode| {}).await.map(drop)
}
