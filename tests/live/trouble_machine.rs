//! A machine that lacks something: Java, Maven, the network, room, a port. None of these gets as far as a process.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use caracal_cluster::distribution::{Artifact, Cache, find_java};
use caracal_cluster::plan::NodeRole;

use crate::cluster::{self, TestCluster};
use crate::program::{Ended, Program};
use crate::tools::{self, block};
use crate::{Test, product};

pub(crate) const TESTS: &[Test] = &[
    ("trouble::a_port_in_use_is_named_with_its_holder", a_port_in_use),
    ("trouble::no_java_anywhere_says_what_to_install", no_java),
    ("trouble::a_named_java_that_is_none_is_refused", a_named_java_that_is_none),
    ("trouble::too_old_a_java_is_named_with_its_version", too_old_a_java),
    ("trouble::no_maven_says_what_to_install", no_maven),
    ("trouble::no_network_is_told_from_other_failures", no_network),
    ("trouble::a_jar_with_another_digest_is_refused_by_name", a_tampered_jar),
    ("trouble::a_full_disk_is_named_before_anything_starts", a_full_disk),
    ("trouble::a_registry_that_only_images_have_is_refused_as_a_process", a_registry_of_images),
    ("trouble::a_state_directory_below_a_file_is_refused", a_folder_below_a_file),
    ("trouble::a_state_directory_that_is_read_only_is_refused", a_read_only_folder),
];

fn up(cluster: &TestCluster) -> Result<Program> {
    cluster.command(&product::up(cluster.name()))
}

/// Runs an `up` that must fail before it starts anything.
fn fails(cluster: &TestCluster, command: Program) -> Result<Ended> {
    let ended = cluster.run(command)?.failed()?;
    if let Ok(id) = cluster.id() {
        let running = caracal_cluster::runtime::process::find_all(&id);
        ensure!(running.is_empty(), "`up` failed but left {running:?}; it said:\n{}", ended.text());
    }
    Ok(ended)
}

fn a_port_in_use() -> Result<()> {
    let cluster = cluster::unstarted()?;
    let plan = cluster.resolved()?.plan;
    let node = plan.nodes_of(NodeRole::Broker).nth(1).context("there is no second broker")?;
    let listener = node.listener("EXTERNAL").context("it has no external listener")?;
    let _held = TcpListener::bind(listener.bind)?;
    let holder = tools::read(Path::new("/proc/self/comm"))?;
    fails(cluster, up(cluster)?)?.saying(&[
        &listener.bind.to_string(),
        &format!("{} EXTERNAL", node.name),
        "is in use by",
        holder.trim(),
        &format!("pid {}", std::process::id()),
    ])?;
    Ok(())
}

fn a_registry_of_images() -> Result<()> {
    let cluster = TestCluster::new()?;
    let flags = ["--runtime", "native", "--registry", "confluent"];
    let command = cluster.command(&product::up_with(cluster.name(), &flags))?;
    let ended = fails(&cluster, command)?.ended_with(product::USAGE)?;
    ended.saying(&["runs in containers only", "--runtime docker", "--registry apicurio"])?;
    ensure!(!cluster.state().exists(), "a refused `up` left {}", cluster.state().display());
    Ok(())
}

/// A folder with links to what a command may find, and nothing else.
fn path_with(cluster: &TestCluster, folder: &str, programs: &[&str]) -> Result<PathBuf> {
    let path = cluster.home().join(folder);
    if !path.is_dir() {
        std::fs::create_dir(&path)?;
        for program in programs {
            std::os::unix::fs::symlink(tools::need(program)?, path.join(program))?;
        }
    }
    Ok(path)
}

/// Runs the product where a script of a shell has changed what is mounted; seen by nobody else, gone with it.
fn below_mounts(cluster: &TestCluster, script: &str, arguments: &[&Path]) -> Result<Program> {
    let mut wrapper = Program::needed("unshare")?;
    wrapper = if tools::is_root() {
        wrapper.args(["--mount"])
    } else {
        wrapper.args(["--mount", "--map-root-user"])
    };
    let script =
        format!("{script} || {{ echo 'live suite: nothing may be mounted here'; exit 99; }}\nexec \"$@\"");
    wrapper = wrapper.args(["/bin/sh", "-c", &script, "sh"]).args(arguments);
    cluster.command_below(wrapper, &product::up(cluster.name()))
}

/// That a mount did not work is no answer of the product.
fn mounted(ended: Ended) -> Result<Ended> {
    let why = "this machine lets nobody mount (unshare --mount): run the live suite as root or allow user namespaces";
    ensure!(ended.status.code() != Some(99), "{why}; it said:\n{}", ended.text());
    Ok(ended)
}

fn no_java() -> Result<()> {
    let cluster = cluster::unstarted()?;
    let bare = path_with(cluster, "bare-path", &[])?;
    // The usual folders, and those of users, are empty here; without Python none can be fetched either.
    let script = r#"for folder in /usr/lib/jvm /opt; do
        if [ -d "$folder" ]; then mount -t tmpfs none "$folder" || exit 99; fi; done; PATH=$1; shift"#;
    let command = below_mounts(cluster, script, &[&bare])?
        .without("JAVA_HOME")
        .without("CARACAL_JAVA")
        .env("HOME", cluster.home())
        .env("CARACAL_CACHE_DIR", Cache::discover()?.root());
    mounted(fails(cluster, command)?)?.saying(&[
        "no Java was found",
        "JAVA_HOME",
        "Install Java 21",
        "python3",
    ])?;
    Ok(())
}

fn a_named_java_that_is_none() -> Result<()> {
    let cluster = cluster::unstarted()?;
    let nowhere = cluster.home().join("nowhere");
    let ended = fails(cluster, up(cluster)?.env("CARACAL_JAVA", &nowhere))?;
    ended.saying(&["CARACAL_JAVA", &nowhere.display().to_string(), "no Java's home"])?;
    Ok(())
}

fn too_old_a_java() -> Result<()> {
    let cluster = cluster::unstarted()?;
    let home = cluster.home().join("old-java");
    let program = home.join("bin/java");
    caracal_pki::store::create_private_dir(&home.join("bin"))?;
    // Its version stands in `release`: it must not even be started to know that it is too old.
    caracal_pki::store::write_private(&home.join("release"), b"JAVA_VERSION=\"17.0.2\"\n")?;
    caracal_pki::store::write_private(&program, b"#!/bin/sh\nexit 1\n")?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700))?;
    let ended = fails(cluster, up(cluster)?.env("CARACAL_JAVA", &home))?;
    ended.saying(&["CARACAL_JAVA", &home.display().to_string(), "Java 17.0.2", "at least 21"])?;
    Ok(())
}

/// A fresh cluster with a cache that holds nothing, and the Java that was found here.
fn with_empty_cache() -> Result<(TestCluster, Program)> {
    let cluster = TestCluster::new()?;
    let java = block(find_java(21))?.home;
    let command =
        up(&cluster)?.env("CARACAL_CACHE_DIR", cluster.home().join("cache")).env("CARACAL_JAVA", java);
    Ok((cluster, command))
}

fn no_maven() -> Result<()> {
    let (cluster, command) = with_empty_cache()?;
    let bare = path_with(&cluster, "bare-path", &[])?;
    let ended = fails(&cluster, command.env("PATH", bare))?;
    ended.saying(&["`mvn`", "not on PATH", "apt-get install maven"])?;
    cluster.take_down()
}

fn no_network() -> Result<()> {
    tools::need("mvn")?;
    let (cluster, command) = with_empty_cache()?;
    // A home without a local repository, and a mirror of everything on a port where nobody listens.
    let home = cluster.home().join("home");
    let closed = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let settings = format!(
        "<settings><mirrors><mirror><id>closed</id><mirrorOf>*</mirrorOf><url>http://{closed}/</url></mirror></mirrors></settings>"
    );
    caracal_pki::store::create_private_dir(&home.join(".m2"))?;
    caracal_pki::store::write_private(&home.join(".m2/settings.xml"), settings.as_bytes())?;
    let options = format!("-Duser.home={}", home.display());
    let command = command.env("HOME", &home).env("MAVEN_OPTS", options).without("MAVEN_ARGS");
    let ended = fails(&cluster, command)?;
    ended.saying(&["Maven could not fetch", "network", "cannot be reached", "proxy", &closed.to_string()])?;
    cluster.take_down()
}

fn a_tampered_jar() -> Result<()> {
    let cluster = TestCluster::new()?;
    let kafka =
        Cache::discover()?.installed(Artifact::default_kafka()).context("Kafka is not in the cache")?;
    let registry =
        Cache::discover()?.installed(Artifact::registry()).context("the registry is not in the cache")?;
    let cache = cluster.home().join("cache");
    caracal_pki::store::create_private_dir(&cache)?;
    for installed in [&kafka, &registry] {
        copy_tree(installed.dir(), &cache.join(installed.dir().file_name().unwrap_or_default()))?;
    }
    let jar =
        kafka.kafka_class_path().into_iter().find(|jar| jar.to_string_lossy().contains("kafka-clients"));
    let jar = jar.context("there is no jar of Kafka's clients")?;
    let name = jar.file_name().unwrap_or_default();
    let ours = cache.join(kafka.dir().file_name().unwrap_or_default()).join(name);
    let mut bytes = std::fs::read(&jar)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    // Removed first: the copies are links, and the true one stays as it is.
    std::fs::remove_file(&ours)?;
    caracal_pki::store::write_private(&ours, &bytes)?;
    let ended = fails(&cluster, up(&cluster)?.env("CARACAL_CACHE_DIR", &cache))?;
    ended.saying(&[&name.to_string_lossy(), "expected"])?;
    ensure!(kafka.dir().join(name).is_file(), "the true jar is gone");
    block(kafka.verify())?;
    cluster.take_down()
}

/// Links every file below a folder; copies where links cannot be made.
fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for path in tools::walk(from) {
        let target = to.join(path.strip_prefix(from)?);
        if path.is_dir() {
            std::fs::create_dir(&target)?;
        } else if std::fs::hard_link(&path, &target).is_err() {
            std::fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

fn a_full_disk() -> Result<()> {
    let cluster = TestCluster::new()?;
    caracal_pki::store::create_private_dir(&cluster.state())?;
    let script = r#"mount -t tmpfs -o size=64m,mode=0700 none "$1"; ok=$?; shift; [ $ok = 0 ]"#;
    let ended = mounted(fails(&cluster, below_mounts(&cluster, script, &[&cluster.state()])?)?)?;
    ended.saying(&["MiB are free", &cluster.state().display().to_string(), "1024"])?;
    cluster.take_down()
}

fn a_folder_below_a_file() -> Result<()> {
    let cluster = TestCluster::new()?;
    let file = cluster.home().join("file");
    caracal_pki::store::write_private(&file, b"")?;
    let below = file.join("state");
    let ended = fails(&cluster, up(&cluster)?.env("CARACAL_STATE_DIR", &below))?;
    ended.saying(&[&file.display().to_string(), "irectory"])?;
    cluster.take_down()
}

fn a_read_only_folder() -> Result<()> {
    let cluster = TestCluster::new()?;
    caracal_pki::store::create_private_dir(&cluster.state())?;
    let script = r#"mount -t tmpfs -o ro,mode=0700 none "$1"; ok=$?; shift; [ $ok = 0 ]"#;
    let ended = mounted(fails(&cluster, below_mounts(&cluster, script, &[&cluster.state()])?)?)?;
    ended.saying(&[&cluster.state().display().to_string(), "ead-only"])?;
    cluster.take_down()
}
