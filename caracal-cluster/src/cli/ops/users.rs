//! `users list`, `add`, `remove`, `set-password`, `verify`.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use secrecy::{ExposeSecret as _, SecretString};

use super::super::exit;
use super::super::output::{Output, Tone};
use super::facts::FactArgs;
use super::shown::{Grid, count, seconds};
use super::{Call, Common, Failure, ended};
use crate::cli::complete;
use crate::names::UserName;
use crate::ops::acls::Rule;
use crate::ops::facts::{self, UsersReport};
use crate::ops::users::{
    self, AddOptions, AddReport, LogInReport, LoggedIn, Origin, PasswordOptions, PasswordReport,
    RemoveReport, Tried,
};
use crate::plan::{NamePattern, Role, Scope};

/// Longest password that is read, in bytes.
const LONGEST: u64 = 4096;

/// What can be done with users.
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum UsersCommand {
    /// Show every SCRAM user: whose it is, role, mechanism, iterations
    ///
    /// Lists the users that the cluster knows beside those of the plan; one that only the plan knows has no
    /// credential, one that only the cluster knows no role. Changes nothing and shows no secret.
    ///
    /// Example:
    ///     cargo xtask users list
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    List(FactArgs),
    /// Add a user to the running cluster: password, certificate, client files, access rules
    ///
    /// Gives it a role, or single rules, or both; then logs it in on every broker. A generated password is shown
    /// once on a terminal; it always lies, private, beside the other client files. Changes the cluster and its
    /// directory; a later `up` keeps the user. What a role may do (on what the options name, else its default):
    ///     producer                writes topics, idempotently and in transactions `caracal-*`
    ///     transactional-producer  the same in transactions `caracal-USER*` of its own; with --group it may commit
    ///                             that group's offsets in them
    ///     consumer                reads topics in groups `caracal-*`, writes dead letters
    ///     consumer-group          reads topics in one group, `caracal-USER`
    ///     registry                what a schema registry needs on its own topics
    ///     read-only-admin         sees everything and its settings, reads no record, may alter nothing
    ///     admin                   everything, by a rule: `super.users` cannot change while brokers run
    ///
    /// Examples:
    ///     cargo xtask users add ledger --role consumer-group --topic caracal.metering.events
    ///     cargo xtask users add billing --allow 'Read topic:orders.*' --allow 'Read group:billing'
    ///     cargo xtask users add probe --role read-only-admin --password-file - < secret
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Add(AddArgs),
    /// Remove a user with its access rules and its files
    ///
    /// Says which. Refuses users of the cluster's description (`up` would make them again), the last administrator,
    /// and whoever brokers and registry log in as. Changes the cluster and its directory; the certificate is set
    /// aside. Connections that are open live on, but may do nothing any more.
    ///
    /// Example:
    ///     cargo xtask users remove ledger
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Remove(RemoveArgs),
    /// Give a user another password, and prove that the old one is refused
    ///
    /// Changes the password file, the credential and the client files together, so `up` finds nothing that differs.
    /// The schema registry is restarted when it is its user; for the brokers' own user all brokers have to be
    /// restarted at the same time, which --all-at-once allows.
    ///
    /// Examples:
    ///     cargo xtask users set-password producer
    ///     cargo xtask users set-password producer --password-file new-password
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    SetPassword(PasswordArgs),
    /// Log users in on every listener of every broker, and say which failed and why
    ///
    /// Without names every user. Changes nothing. Exits with 12 when a broker refused a user, with 13 when a
    /// handshake failed, with 10 when a broker could not be reached or a password is not known here.
    ///
    /// Examples:
    ///     cargo xtask users verify
    ///     cargo xtask users verify producer --password-file old-password
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Verify(VerifyUsersArgs),
}

/// Roles that a user can be added with.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is a role of the plan")]
pub enum RoleChoice {
    Producer,
    TransactionalProducer,
    Consumer,
    ConsumerGroup,
    Registry,
    ReadOnlyAdmin,
    Admin,
}

impl From<RoleChoice> for Role {
    fn from(choice: RoleChoice) -> Self {
        match choice {
            RoleChoice::Producer => Self::Producer,
            RoleChoice::TransactionalProducer => Self::TransactionalProducer,
            RoleChoice::Consumer => Self::Consumer,
            RoleChoice::ConsumerGroup => Self::ConsumerGroup,
            RoleChoice::Registry => Self::Registry,
            RoleChoice::ReadOnlyAdmin => Self::ReadOnlyAdmin,
            RoleChoice::Admin => Self::Admin,
        }
    }
}

/// Where a password comes from and goes to.
#[derive(Args, Clone, Debug, Default)]
#[non_exhaustive]
pub struct SecretArgs {
    /// A file (mode 0600) with the password, or `-` for standard input [default: a generated one]
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Also write the password to this new file, mode 0600
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Arguments of `users add`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct AddArgs {
    /// The user's name
    #[arg(value_name = "USER")]
    pub user: UserName,
    /// What it may do
    #[arg(long, value_name = "ROLE", value_enum)]
    pub role: Option<RoleChoice>,
    /// Topics of the role: NAME, PREFIX* or *; may be given several times
    #[arg(long = "topic", value_name = "NAME", value_parser = NamePattern::parse, requires = "role")]
    pub topics: Vec<NamePattern>,
    /// Consumer groups of the role
    #[arg(long = "group", value_name = "NAME", value_parser = NamePattern::parse, requires = "role")]
    pub groups: Vec<NamePattern>,
    /// Transactional ids of the role
    #[arg(long = "transactional-id", value_name = "NAME", value_parser = NamePattern::parse, requires = "role")]
    pub transactional_ids: Vec<NamePattern>,
    /// A rule beside the role's: 'OPERATION RESOURCE'; may be given several times
    #[arg(long = "allow", value_name = "RULE")]
    pub rules: Vec<Rule>,
    /// Its password.
    #[command(flatten)]
    pub secret: SecretArgs,
    /// Only say what would be done; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `users remove`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct RemoveArgs {
    /// The user's name
    #[arg(value_name = "USER", add = complete::users())]
    pub user: String,
    /// Only say what would be removed; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `users set-password`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct PasswordArgs {
    /// The user's name
    #[arg(value_name = "USER", add = complete::users())]
    pub user: UserName,
    /// The password.
    #[command(flatten)]
    pub secret: SecretArgs,
    /// Restart all brokers at the same time when they log in as this user
    #[arg(long)]
    pub all_at_once: bool,
    /// Only say what would be done; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `users verify`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct VerifyUsersArgs {
    /// Users to log in [default: all]
    #[arg(value_name = "USER", add = complete::users())]
    pub users: Vec<String>,
    /// A file (mode 0600) with the password to try, or `-` for standard input [default: the one that lies here]
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

pub(super) async fn run(command: UsersCommand) -> ExitCode {
    match command {
        UsersCommand::List(args) => {
            let call = Call::new("users list", &args.common);
            let listed = async {
                let report = facts::users(&call.operated()?).await?;
                call.report(&report, || list_text(&report, call.output))
            };
            ended(&call, listed).await
        }
        UsersCommand::Add(args) => {
            let call = Call::new("users add", &args.common);
            ended(&call, add(&call, args)).await
        }
        UsersCommand::Remove(args) => {
            let call = Call::new("users remove", &args.common);
            let removed = async {
                let report = users::remove(&call.selection()?, &args.user, args.dry_run).await?;
                call.report(&report, || remove_text(&report))
            };
            ended(&call, removed).await
        }
        UsersCommand::SetPassword(args) => {
            let call = Call::new("users set-password", &args.common);
            ended(&call, set_password(&call, args)).await
        }
        UsersCommand::Verify(args) => {
            let call = Call::new("users verify", &args.common);
            let verified = async {
                let given = given(args.password_file.as_deref())?;
                let report = users::verify(&call.operated()?, &args.users, given.as_ref()).await?;
                call.report(&report, || verify_text(&report, call.output))?;
                Ok(code(&report))
            };
            ended(&call, verified).await
        }
    }
}

async fn add(call: &Call, args: AddArgs) -> Result<u8, Failure> {
    let options = AddOptions {
        user: args.user,
        role: args.role.map(Role::from),
        scope: Scope { topics: args.topics, groups: args.groups, transactional_ids: args.transactional_ids },
        rules: args.rules,
        password: given(args.secret.password_file.as_deref())?,
        out: args.secret.out,
        dry_run: args.dry_run,
    };
    let report = users::add(&call.selection()?, &options).await?;
    call.report(&report, || add_text(&report, call))
}

async fn set_password(call: &Call, args: PasswordArgs) -> Result<u8, Failure> {
    let options = PasswordOptions {
        user: args.user,
        password: given(args.secret.password_file.as_deref())?,
        out: args.secret.out,
        all_at_once: args.all_at_once,
        dry_run: args.dry_run,
    };
    let report = users::set_password(&call.selection()?, &options).await?;
    call.report(&report, || password_text(&report, call))
}

/// The password in a file or on standard input; one newline at its end does not count.
fn given(file: Option<&Path>) -> Result<Option<SecretString>, Failure> {
    let Some(file) = file else { return Ok(None) };
    let said = |message: String| Failure::Said { message, code: exit::USAGE };
    let text = if file == Path::new("-") {
        let mut text = String::new();
        let read = std::io::stdin().lock().take(LONGEST).read_to_string(&mut text);
        read.map_err(|error| said(format!("no password can be read from standard input: {error}")))?;
        text
    } else {
        let bytes = caracal_pki::store::read_private(file).map_err(|error| said(error.to_string()))?;
        let shown = file.display();
        String::from_utf8(bytes.to_vec()).map_err(|_| said(format!("{shown} is not UTF-8 text")))?
    };
    Ok(Some(SecretString::from(text.strip_suffix('\n').unwrap_or(&text).to_owned())))
}

fn list_text(report: &UsersReport, output: Output) -> String {
    let rows = report.users.iter().map(|user| {
        let credentials: Vec<String> = user
            .credentials
            .iter()
            .map(|credential| format!("{} ({})", credential.mechanism, credential.iterations))
            .collect();
        let credentials = if credentials.is_empty() {
            "none: `cluster up` writes it".to_owned()
        } else {
            credentials.join(", ")
        };
        let origin = match user.origin {
            Origin::Described => "",
            Origin::Added => "added",
            Origin::Foreign => "not from here",
        };
        let name = user.user.clone();
        vec![
            name,
            user.role.map_or("-", Role::label).to_owned(),
            origin.to_owned(),
            if user.super_user { "yes" } else { "" }.to_owned(),
            credentials,
        ]
    });
    let head = &["USER", "ROLE", "ORIGIN", "SUPER", "CREDENTIAL (ITERATIONS)"];
    let table = Grid { head, rows: rows.collect(), numbers: &[], spare: &[3, 2] }.text(output);
    format!("{table}\n\n{} ({})", count(report.users.len(), "user"), seconds(report.millis))
}

/// A generated password is shown on a terminal only: elsewhere it would stay in a log.
fn shown(
    generated: Option<&SecretString>,
    files: Option<&Path>,
    out: Option<&Path>,
    terminal: bool,
) -> String {
    if let Some(out) = out {
        return format!("\n  password: in {}", out.display());
    }
    match (generated, files) {
        (Some(password), _) if terminal => {
            format!("\n  password: {}   (shown this once)", password.expose_secret())
        }
        (_, Some(files)) => format!("\n  password: in {}", files.join("password").display()),
        (_, None) => String::new(),
    }
}

fn add_text(report: &AddReport, call: &Call) -> String {
    let rules: String = report.rules.iter().map(|rule| format!("\n  - {rule}")).collect();
    let (user, role) = (&report.user, report.role.label());
    if report.dry_run {
        return format!("user {user} (role {role}) would be added, with these rules:{rules}");
    }
    let shown = shown(
        report.generated.as_ref(),
        Some(&report.client_files),
        report.password_file.as_deref(),
        call.output.terminal,
    );
    format!(
        "user {user} (role {role}) was added and logs in on all {} listeners ({}), with these rules:{rules}\n{shown}\n  \
         files:    {}\n  undo:     {}",
        report.log_ins.len(),
        seconds(report.millis),
        report.client_files.display(),
        call.command(&format!("users remove {user}")),
    )
}

fn remove_text(report: &RemoveReport) -> String {
    let verb = if report.dry_run { "would be removed" } else { "was removed" };
    let mut text = format!("user {} {verb} ({})", report.user, seconds(report.millis));
    let mut part = |what: &str, items: &[String]| {
        if !items.is_empty() {
            let items: String = items.iter().map(|item| ["\n  - ", item].concat()).collect();
            text.push_str(&["\n", what, &items].concat());
        }
    };
    part("credentials:", &report.credentials.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    part("access rules:", &report.rules);
    part("files:", &report.files);
    if !report.dry_run {
        text.push_str("\nconnections that it has open live on, but may do nothing any more");
    }
    text
}

fn password_text(report: &PasswordReport, call: &Call) -> String {
    let user = &report.user;
    let nodes: Vec<&str> = report.restarted.iter().map(|node| node.as_str()).collect();
    if report.dry_run {
        let nodes =
            if nodes.is_empty() { String::new() } else { format!("; restarted: {}", nodes.join(", ")) };
        return format!("user {user} would get another password{nodes}");
    }
    let shown = shown(
        report.generated.as_ref(),
        report.client_files.as_deref(),
        report.password_file.as_deref(),
        call.output.terminal,
    );
    let old = match report.old_refused {
        Some(true) => "; the old one is refused on all of them",
        _ => "",
    };
    let nodes = if nodes.is_empty() { String::new() } else { format!("\n  restarted: {}", nodes.join(", ")) };
    format!(
        "user {user} logs in with its new password on all {} listeners{old} ({}){shown}{nodes}",
        report.log_ins.len(),
        seconds(report.millis)
    )
}

fn verify_text(report: &LogInReport, output: Output) -> String {
    let mut users: Vec<&str> = report.log_ins.iter().map(|login| login.user.as_str()).collect();
    users.dedup();
    users.sort_unstable();
    users.dedup();
    let mut lines = Vec::new();
    for user in users {
        let of_user: Vec<&LoggedIn> = report.log_ins.iter().filter(|login| login.user == user).collect();
        let failed: Vec<&&LoggedIn> =
            of_user.iter().filter(|login| login.outcome != Tried::Accepted).collect();
        if failed.is_empty() {
            let mark = output.paint.paint(Tone::Good, "\u{2713}");
            lines.push(format!("{mark} {user} logs in on all {} listeners", of_user.len()));
            continue;
        }
        let mark = output.paint.paint(Tone::Bad, "\u{2717}");
        lines.push(format!(
            "{mark} {user} fails on {} of {}",
            failed.len(),
            count(of_user.len(), "listener")
        ));
        for login in failed {
            let at = if login.node.is_empty() {
                String::new()
            } else {
                format!("{} {}: ", login.node, login.listener)
            };
            let why = login.why.as_deref().unwrap_or_default();
            lines.push(format!("  - {at}{}: {why}", word(login.outcome)));
        }
    }
    let verdict = if report.ok { "every user gets in everywhere" } else { "not every user gets in" };
    lines.push(format!("\n{verdict} ({})", seconds(report.millis)));
    lines.join("\n")
}

fn word(outcome: Tried) -> &'static str {
    match outcome {
        Tried::Accepted => "accepted",
        Tried::Refused => "refused",
        Tried::Tls => "handshake failed",
        Tried::Unreachable => "not reached",
        Tried::NotTried => "not tried",
    }
}

fn code(report: &LogInReport) -> u8 {
    let any = |outcome: Tried| report.log_ins.iter().any(|login| login.outcome == outcome);
    match report.ok {
        true => exit::OK,
        false if any(Tried::Refused) => exit::AUTHENTICATION,
        false if any(Tried::Tls) => exit::TLS,
        false => exit::UNHEALTHY,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::output::Paint;
    use super::*;

    fn login(user: &str, outcome: Tried) -> LoggedIn {
        LoggedIn {
            user: user.to_owned(),
            node: "n1".to_owned(),
            listener: "EXTERNAL".to_owned(),
            outcome,
            why: (outcome != Tried::Accepted).then(|| "because".to_owned()),
        }
    }

    #[test]
    fn a_generated_password_is_shown_on_a_terminal_only() {
        let password = SecretString::from("only-here-42".to_owned());
        let files = Path::new("/c/ledger");
        assert!(shown(Some(&password), Some(files), None, true).contains("only-here-42"));
        for (generated, out, terminal) in [
            (Some(&password), None, false),
            (Some(&password), Some(Path::new("/o")), true),
            (None, None, true),
        ] {
            let text = shown(generated, Some(files), out, terminal);
            assert!(!text.contains("only-here-42") && text.contains("password: in /"), "{text}");
        }
    }

    #[test]
    fn who_fails_is_named_with_the_reason_and_decides_the_code() {
        let output = Output { json: false, paint: Paint(false), terminal: false, width: None };
        let report = |outcomes: &[(&str, Tried)]| LogInReport {
            cluster: "demo".parse().unwrap(),
            ok: outcomes.iter().all(|(_, outcome)| *outcome == Tried::Accepted),
            log_ins: outcomes.iter().map(|(user, outcome)| login(user, *outcome)).collect(),
            millis: 12,
        };
        let good = report(&[("a", Tried::Accepted)]);
        assert_eq!(code(&good), exit::OK);
        let bad = report(&[("a", Tried::Accepted), ("b", Tried::Refused), ("c", Tried::Unreachable)]);
        assert_eq!(code(&bad), exit::AUTHENTICATION);
        let text = verify_text(&bad, output);
        for part in ["a logs in on all 1", "b fails on 1 of 1 listener", "n1 EXTERNAL: refused: because"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert_eq!(code(&report(&[("c", Tried::Tls)])), exit::TLS);
        assert_eq!(code(&report(&[("c", Tried::NotTried)])), exit::UNHEALTHY);
    }
}
