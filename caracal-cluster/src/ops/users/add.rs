//! A user more.

use std::path::{Path, PathBuf};
use std::time::Instant;

use secrecy::SecretString;
use serde::Serialize;

use super::login::{self, LoggedIn};
use super::{all_done, put, refuse_existing, usable, write_out};
use crate::admin::AclBinding;
use crate::credentials::ClientFiles;
use crate::lifecycle::cluster::Cluster;
use crate::lifecycle::commands::Selection;
use crate::names::{ClusterName, UserName};
use crate::ops::acls::Rule;
use crate::ops::acls::spread::await_everywhere;
use crate::ops::{Operated, OpsError, millis_since, soon};
use crate::plan::{AddedUser, ClusterPlan, Role, Scope, added_rules, twin};

/// What is asked for.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct AddOptions {
    /// Its name.
    pub user: UserName,
    /// What it may do; none means the rules alone.
    pub role: Option<Role>,
    /// On what; what is empty is the role's default.
    pub scope: Scope,
    /// Rules beside the role's.
    pub rules: Vec<Rule>,
    /// Its password; none means a generated one.
    pub password: Option<SecretString>,
    /// A new file that the password is written to, for somebody to take away.
    pub out: Option<PathBuf>,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What was done.
#[derive(Debug, Serialize)]
pub struct AddReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// Whether it was only said.
    pub dry_run: bool,
    /// The user.
    pub user: UserName,
    /// What it may do.
    pub role: Role,
    /// Every rule that it has from now on.
    pub rules: Vec<String>,
    /// Where its client files lie, the password among them.
    pub client_files: PathBuf,
    /// Where its password was written to, if anywhere else.
    pub password_file: Option<PathBuf>,
    /// Its log-ins, one a broker and listener.
    pub log_ins: Vec<LoggedIn>,
    /// How long it took.
    pub millis: u64,
    /// A generated password, to be shown once on a terminal.
    #[serde(skip)]
    pub generated: Option<SecretString>,
}

/// Adds a user to a running cluster: credential, rules, certificate, client files; then logs it in everywhere.
///
/// What was begun is remembered first, so after a failure `cluster up` finishes it and `remove` undoes it.
///
/// # Errors
/// [`OpsError::Refused`] for a name that is taken or reserved, or a password that cannot be used; else when the
/// cluster refuses, or the user cannot log in on every broker within 15 s.
pub async fn add(selection: &Selection, options: &AddOptions) -> Result<AddReport, OpsError> {
    let begun = Instant::now();
    let cluster = Cluster::existing(&selection.root, selection.name.as_ref())?;
    let _lock = if options.dry_run { None } else { Some(cluster.dir.lock("users add")?) };
    let operated = Operated::of(cluster);
    let wanted = wanted(options)?;
    refuse_name(&operated.cluster().plan, &options.user)?;
    refuse_existing(options.out.as_deref())?;
    let mut admin = operated.admin()?;
    let there = admin.scram_users(soon()).await?;
    if there.iter().any(|user| user.name == options.user.as_str()) {
        let user = &options.user;
        return Err(OpsError::refused(format!(
            "the cluster has a user `{user}`: `users set-password {user}` gives it another password, \
             `users remove {user}` takes it away"
        )));
    }
    let password = usable(&options.user, options.password.as_ref())?;
    let rules = added_rules(&operated.cluster().spec, &wanted);
    let cluster = operated.cluster();
    let mut report = AddReport {
        cluster: cluster.plan.cluster.clone(),
        dry_run: options.dry_run,
        user: options.user.clone(),
        role: wanted.role,
        rules: rules.iter().map(|rule| AclBinding::from(rule).to_string()).collect(),
        client_files: cluster.dir.client(&options.user),
        password_file: options.out.clone(),
        log_ins: Vec::new(),
        millis: 0,
        generated: None,
    };
    if !options.dry_run {
        // First, so that from here on `up` finishes what is begun.
        let mut additions = cluster.additions.clone();
        additions.users.retain(|user| user.name != wanted.name);
        additions.users.push(wanted);
        additions.users.sort_by(|a, b| a.name.cmp(&b.name));
        let operated = Operated::of(cluster.with_additions(&additions)?);
        make_files(&operated, &options.user, &password, options.out.as_deref())?;
        put(&mut admin, operated.cluster(), &options.user, &password).await?;
        all_done("access rules that could not be made", admin.create_acls(&rules, soon()).await?)?;
        let rules: Vec<AclBinding> = rules.iter().map(AclBinding::from).collect();
        await_everywhere(&operated, &rules, true).await?;
        report.log_ins = login::await_everywhere(&operated, &options.user, &password).await?;
        report.generated = options.password.is_none().then_some(password);
    }
    report.millis = millis_since(begun);
    Ok(report)
}

fn make_files(
    operated: &Operated,
    name: &UserName,
    password: &SecretString,
    out: Option<&Path>,
) -> Result<(), OpsError> {
    let credentials = operated.access().credentials();
    credentials.put_password(name, password)?;
    if let Some(user) = operated.cluster().plan.user(name.as_str()) {
        if let Some(certificate) = &user.certificate {
            credentials.ensure_certificate(certificate)?;
        }
        if let Some(files) = ClientFiles::new(&credentials, user) {
            files.write()?;
        }
    }
    out.map_or(Ok(()), |out| write_out(out, password))
}

fn wanted(options: &AddOptions) -> Result<AddedUser, OpsError> {
    let rules = options.rules.iter().map(|rule| {
        rule.for_user(&options.user).ok_or_else(|| {
            OpsError::refused(format!("`{rule}` is for brokers; an application's user cannot have it"))
        })
    });
    let rules = rules.collect::<Result<Vec<_>, _>>()?;
    let role = match options.role {
        Some(Role::InterBroker) => {
            return Err(OpsError::refused(
                "brokers log in as the user that the description names; write it there, then run `cluster up`",
            ));
        }
        Some(role) => role,
        None => Role::Custom,
    };
    if role == Role::Custom && rules.is_empty() {
        return Err(OpsError::refused(
            "a user without a role and without a rule could log in and do nothing: give --role, or --allow \
             'OPERATION RESOURCE'",
        ));
    }
    Ok(AddedUser { name: options.user.clone(), role, scope: options.scope.clone(), rules })
}

/// Refuses names that others have, or that would make a super user by its spelling.
pub(super) fn refuse_name(plan: &ClusterPlan, name: &UserName) -> Result<(), OpsError> {
    if let Some(known) = plan.user(name.as_str()).filter(|known| !known.added) {
        let role = known.role.label();
        return Err(OpsError::refused(format!(
            "`{name}` is a user of the cluster's description already (role {role}); choose another name"
        )));
    }
    let reserved = plan.users.iter().filter(|user| user.role == Role::InterBroker);
    for broker in reserved {
        if twin(broker.name.as_str()).as_deref() == Some(name.as_str()) {
            return Err(OpsError::refused(format!(
                "`{name}` takes over from `{}` and is a super user for that: choose another name",
                broker.name
            )));
        }
    }
    Ok(())
}
