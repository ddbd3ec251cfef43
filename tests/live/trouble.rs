//! What people and machines do to a cluster, and what the product says and does about it.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow, ensure};
use caracal_cluster::plan::Role;
use caracal_cluster::wire::{Connection, Deadline};

use crate::cluster::{self, TestCluster, access};
use crate::product::{self, PATIENCE};
use crate::tools::{self, block};
use crate::{Test, converge};

pub(crate) const TESTS: &[Test] = &[
    ("trouble::a_state_directory_of_a_newer_version_is_refused", a_newer_version),
    ("trouble::a_state_directory_of_another_user_is_refused", another_user),
    ("trouble::a_state_directory_with_open_permissions_is_refused", open_permissions),
    ("trouble::a_second_up_names_who_holds_the_cluster", a_second_up),
    ("trouble::an_unknown_key_is_named_with_line_and_what_is_allowed", an_unknown_key),
    ("trouble::contradictory_keys_are_all_named_with_their_lines", contradictory_keys),
    ("trouble::a_node_that_dies_while_starting_is_explained", a_dying_node),
    ("trouble::a_password_changed_by_hand_is_named_and_mended", a_changed_password),
    ("trouble::a_changed_password_of_the_brokers_themselves_converges", a_changed_inter_broker_password),
    ("trouble::a_certificate_changed_by_hand_is_named_and_mended", a_changed_certificate),
    ("trouble::a_configuration_changed_by_hand_is_named_and_mended", a_changed_configuration),
];

/// A cluster whose brokers end while they start, because of a setting; `up` has failed once.
pub(crate) fn failing() -> Result<&'static TestCluster> {
    static FAILING: OnceLock<Result<TestCluster, String>> = OnceLock::new();
    let made = FAILING.get_or_init(|| {
        let make = || {
            let cluster = TestCluster::new()?;
            describe(&cluster, "[kafka.config]\n\"num.network.threads\" = \"none\"\n")?;
            cluster.up()?.failed()?;
            Ok(cluster)
        };
        make().map_err(|error: anyhow::Error| format!("no failing cluster could be made: {error:#}"))
    });
    made.as_ref().map_err(|error| anyhow!("{error}"))
}

/// Writes a cluster's description, as if it had been made from it.
pub(crate) fn describe(cluster: &TestCluster, settings: &str) -> Result<()> {
    let dir = cluster.dir()?;
    dir.create()?;
    dir.write(&dir.spec(), format!("name = \"{}\"\n{settings}", cluster.name()).as_bytes())?;
    Ok(())
}

fn a_newer_version() -> Result<()> {
    let cluster = cluster::unstarted()?;
    let path = cluster.dir()?.record();
    let right = tools::read(&path)?;
    let newer = right.replacen("\"format\": 1", "\"format\": 99", 1);
    ensure!(newer != right, "the record does not say its format:\n{right}");
    tools::spoil(&path, newer.as_bytes())?;
    let up = cluster.up();
    let kept = tools::read(&path)?;
    tools::spoil(&path, right.as_bytes())?;
    up?.failed()?.saying(&["format 99", "newer version", &path.display().to_string()])?;
    ensure!(kept == newer, "a refused directory was changed");
    Ok(())
}

fn another_user() -> Result<()> {
    ensure!(
        tools::is_root(),
        "only root can give a folder to another user: run the live suite as root for this one"
    );
    let cluster = cluster::unstarted()?;
    let state = cluster.state();
    std::os::unix::fs::chown(&state, Some(65534), None)?;
    let up = cluster.up();
    std::os::unix::fs::chown(&state, Some(0), None)?;
    up?.failed()?.saying(&[&state.display().to_string(), "65534"])?;
    Ok(())
}

fn open_permissions() -> Result<()> {
    let cluster = cluster::unstarted()?;
    let state = cluster.state();
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o755))?;
    let up = cluster.up();
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o700))?;
    up?.failed()?.saying(&[&state.display().to_string(), "755", "700"])?;
    Ok(())
}

fn a_second_up() -> Result<()> {
    let cluster = cluster::unstarted()?;
    let lock = cluster.dir()?.lock("up of the live suite")?;
    let up = cluster.up();
    let down = cluster.down(true);
    drop(lock);
    let holder = format!("process {}", std::process::id());
    up?.failed()?.saying(&["another command", &holder, "up of the live suite"])?;
    down?.failed()?.saying(&[&holder])?;
    ensure!(cluster.dir()?.record().is_file(), "`down -v` deleted a cluster that somebody else held");
    Ok(())
}

fn an_unknown_key() -> Result<()> {
    let cluster = TestCluster::new()?;
    describe(&cluster, "\n[kafka]\nbrokers = 3\nbrokerz = 3\n")?;
    let path = cluster.dir()?.spec().display().to_string();
    let up = cluster.up()?.failed()?;
    up.saying(&[&path, "line 5", "brokerz", "brokers", "zookeepers", "heap_mib"])?;
    cluster.take_down()
}

fn contradictory_keys() -> Result<()> {
    let cluster = TestCluster::new()?;
    describe(&cluster, "\n[kafka]\nbrokers = 3\nzookeepers = 2\n\n[replication]\nfactor = 4\nmin_isr = 5\n")?;
    let up = cluster.up()?.failed()?;
    up.saying(&[
        "line 5",
        "kafka.zookeepers",
        "line 8",
        "replication.factor",
        "allowed: 1 to 3",
        "line 9",
        "replication.min_isr",
        "allowed: 1 to 4",
    ])?;
    cluster.take_down()
}

fn a_dying_node() -> Result<()> {
    let cluster = failing()?;
    let up = cluster.up()?.failed()?;
    ensure!(up.took.as_secs() < 60, "it took {:?} to see that a broker had ended", up.took);
    up.saying(&["brokers", "ended while starting", "likely cause", "num.network.threads", "server.log"])?;
    Ok(())
}

/// Demands that an `up` said of a step that it differed, and mended it.
fn mended(up: &crate::program::Ended, step: &str) -> Result<()> {
    ensure!(product::mended(up, step), "`{step}` was not named and mended; it said:\n{}", up.text());
    Ok(())
}

fn a_changed_password() -> Result<()> {
    let cluster = cluster::shared()?;
    let path = cluster.dir()?.password(&"consumer".parse()?);
    let old = tools::read(&path)?;
    tools::spoil(&path, b"Written-by-hand-in-the-live-suite-0123456789")?;
    let up = cluster.up()?.succeeded()?;
    mended(&up, "SCRAM users")?;
    mended(&up, "client files")?;
    up.saying(&["password file of consumer"])?;
    let profile_password = cluster.dir()?.client(&"consumer".parse()?).join("password");
    ensure!(tools::read(&profile_password)?.trim() != old.trim(), "the client files keep the old password");
    let resolved = cluster.resolved()?;
    let access = access(&resolved);
    let user = access.user(Role::Consumer)?;
    let (tls, login) = (access.user_tls(user)?, access.login(user)?);
    for broker in access.brokers("EXTERNAL") {
        block(Connection::open(&broker.endpoint, &tls, &login, Deadline::after(PATIENCE)))?;
    }
    converge::nothing_to_do(cluster)
}

/// Brokers with the old and with the new password cannot log in to each other: one after the other would
/// never end.
fn a_changed_inter_broker_password() -> Result<()> {
    let cluster = cluster::shared()?;
    let before = cluster.resolved()?;
    let user = before.plan.user_of(Role::InterBroker).context("nobody logs brokers in to each other")?;
    let password = b"Of-the-brokers-by-hand-in-the-live-suite-0123456789";
    tools::spoil(&cluster.dir()?.password(&user.name), password)?;
    let pids = converge::pids(cluster)?;
    let up = cluster.up()?.succeeded()?;
    mended(&up, "SCRAM users")?;
    mended(&up, "configuration")?;
    mended(&up, "brokers")?;
    up.saying(&[&format!("password file of {}", user.name), "secrets/passwords/inter-broker"])?;
    for (node, pid) in pids {
        let restarted = cluster.pid(&node)? != pid;
        ensure!(restarted || node.contains("-zookeeper-"), "{node} still runs with the old password");
        ensure!(!restarted || !node.contains("-zookeeper-"), "{node} was restarted for nothing");
    }
    converge::nothing_to_do(cluster)
}

fn a_changed_certificate() -> Result<()> {
    let cluster = cluster::shared()?;
    let pki = cluster.dir()?.pki();
    let (ours, others) = (pki.join("client.producer.pem"), pki.join("client.consumer.pem"));
    let right = tools::read(&ours)?;
    tools::spoil(&ours, tools::read(&others)?.as_bytes())?;
    let up = cluster.up()?;
    if !up.status.success() {
        tools::spoil(&ours, right.as_bytes())?;
    }
    let up = up.succeeded()?;
    mended(&up, "credentials")?;
    up.saying(&["certificate client.producer"])?;
    let now = tools::read(&ours)?;
    ensure!(now != tools::read(&others)?, "the wrong certificate is still there");
    let client = cluster.dir()?.client(&"producer".parse()?).join("client.pem");
    ensure!(tools::read(&client)? == now, "the client files hold another certificate");
    converge::nothing_to_do(cluster)
}

fn a_changed_configuration() -> Result<()> {
    let cluster = cluster::shared()?;
    let resolved = cluster.resolved()?;
    let node = resolved.plan.nodes.iter().find(|node| node.name.as_str().ends_with("kafka-2"));
    let node = node.context("there is no second broker")?;
    let path = cluster.dir()?.node(&node.name).join("config/server.properties");
    let right = tools::read(&path)?;
    let pid = cluster.pid(node.name.as_str())?;
    tools::spoil(&path, format!("{right}\nauto.create.topics.enable=true\n").as_bytes())?;
    let up = cluster.up()?.succeeded()?;
    mended(&up, "configuration")?;
    up.saying(&["config/server.properties", node.name.as_str(), "differs from the plan"])?;
    ensure!(tools::read(&path)? == right, "the file is not as planned again");
    // It runs with what was planned all the time: there is no reason to restart it.
    ensure!(cluster.pid(node.name.as_str())? == pid, "{} was restarted", node.name);
    converge::nothing_to_do(cluster)
}
