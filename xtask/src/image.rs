//! Images made on this machine, for machines without a registry of images: a base that is here, the Java that is
//! here, and the pinned jars, laid out as in the vendor's, the Kafka project's and the registry's own images.
//!
//! They are carriers of jars and nothing more, as the others are to us: no start script, no setting, no user.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use caracal_cluster::distribution::{Artifact, Cache, JavaPolicy, Progress, Tools, find_or_fetch};
use caracal_cluster::plan::containers::{LOCAL_IMAGES, REGISTRY_HOME};
use caracal_cluster::spec::ImageLayout;
use clap::{Args, Subcommand};

use crate::shell;

/// The base that is taken when none is named.
const BASE: &str = "debian:bookworm-slim";

/// The release of which a root file system is made where no base is here.
const RELEASE: &str = "bookworm";

/// What of a JDK no node needs.
const LEFT_OUT: &str = "demo\ninclude\njmods\nlegal\nlib/src.zip\nman\n";

/// What is done with images.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Make images from what is on this machine, for `cluster up --runtime docker --images local`
    ///
    /// Makes, from a base image that is here (or a root file system by debootstrap), the newest Java that is
    /// here and the pinned jars: Kafka in the layout of Confluent's images (`--images local`) and of the Kafka
    /// project's (`--images local-apache`), and the registry. Needs a container engine and its program
    /// `docker`; pulls nothing. Changes: images named `caracal-local/...`, and the cache of downloads.
    ///
    /// Example:
    ///     cargo xtask image build
    #[command(verbatim_doc_comment)]
    Build(BuildArguments),
}

/// Arguments of `image build`.
#[derive(Args, Debug)]
pub(crate) struct BuildArguments {
    /// The image to begin with; it must have a shell and glibc
    #[arg(long, value_name = "IMAGE")]
    base: Option<String>,
    /// Versions of Kafka [default: those that a new cluster gets, with ZooKeeper and with KRaft]
    #[arg(long, value_name = "VERSION")]
    kafka_version: Vec<String>,
}

/// Carries out a command about images.
///
/// # Errors
/// When something is missing or an image cannot be made.
pub(crate) async fn run(command: &ImageCommand) -> Result<bool> {
    let ImageCommand::Build(arguments) = command;
    if shell::which("docker").is_none() {
        bail!("the program `docker` is not here: install a container engine (apt-get install docker.io)");
    }
    docker(&["version"])
        .context("no container engine answers: start it (systemctl start docker, or `dockerd` as root)")?;
    let mut versions = arguments.kafka_version.clone();
    if versions.is_empty() {
        versions = [Artifact::default_kafka(), Artifact::newest_kafka()]
            .map(|kafka| kafka.version().to_owned())
            .into();
    }
    let base = base(arguments.base.as_deref())?;
    let java = java_image(&base).await?;
    for version in &versions {
        let Some(kafka) = Artifact::kafka(version) else {
            bail!("no distribution of Kafka {version} is pinned");
        };
        let jars = installed(kafka).await?;
        for layout in ImageLayout::ALL {
            let image = format!("{LOCAL_IMAGES}/kafka-{}:{version}", layout.label());
            build(&image, &format!("FROM {java}\nCOPY . {}/\n", layout.jars()), &jars)?;
        }
    }
    let registry = Artifact::registry();
    let home = installed(registry).await?;
    let image = format!("{LOCAL_IMAGES}/apicurio-registry:{}", registry.version());
    build(&image, &format!("FROM {java}\nCOPY . {REGISTRY_HOME}/\n"), &home)?;
    Ok(true)
}

async fn installed(artifact: &'static Artifact) -> Result<PathBuf> {
    let cache = Cache::discover()?;
    let installed = cache.install(artifact, &Tools::default(), &tell).await?;
    installed.verify().await?;
    Ok(installed.dir().to_owned())
}

fn tell(progress: Progress<'_>) {
    // One line a thing, not one a piece.
    if progress.done == 0 {
        println!("{}", progress.what);
    }
}

/// The image to begin with: the one that is named, the usual one, the one that was made before, or a new one.
fn base(named: Option<&str>) -> Result<String> {
    if let Some(named) = named {
        docker(&["image", "inspect", named]).with_context(|| {
            format!("the image {named} is not here; `docker images` lists those that are")
        })?;
        return Ok(named.to_owned());
    }
    let made = format!("{LOCAL_IMAGES}/base:{RELEASE}");
    for known in [BASE, &made] {
        if docker(&["image", "inspect", known]).is_ok() {
            println!("base {known}");
            return Ok(known.to_owned());
        }
    }
    println!("base {made}: a root file system by debootstrap");
    if shell::which("debootstrap").is_none() {
        bail!(
            "no base image is here and debootstrap is not installed: name an image that is here by --base, load \
             {BASE} (docker load), or install debootstrap (apt-get install debootstrap) and run this as root"
        );
    }
    let folder = context("root")?;
    let mut bootstrap = shell::program("debootstrap")?;
    bootstrap.args(["--variant=minbase", RELEASE]).arg(&folder);
    shell::quiet(bootstrap).context("debootstrap makes no root file system (it must run as root)")?;
    let mut pack = shell::program("tar")?;
    pack.arg("-C")
        .arg(&folder)
        .args(["--exclude=./var/cache/apt/archives/*.deb", "-c", "."])
        .stdout(Stdio::piped());
    let mut packing = pack.spawn().context("tar cannot be started")?;
    let packed = packing.stdout.take().context("tar gives nothing")?;
    let mut import = shell::program("docker")?;
    import.args(["import", "-", &made]).stdin(packed);
    let imported = import.output().context("docker cannot be started")?;
    if !packing.wait()?.success() || !imported.status.success() {
        bail!("the root file system cannot be imported: {}", String::from_utf8_lossy(&imported.stderr));
    }
    clear(&folder)?;
    Ok(made)
}

/// Base and Java. The Java is where the vendor's images have it; on the path it is in all of them.
async fn java_image(base: &str) -> Result<String> {
    let java = find_or_fetch(&JavaPolicy::new(Cache::discover()?), &tell).await?;
    let image = format!("{LOCAL_IMAGES}/java:{}", java.version);
    let image = image.replace('+', "-");
    println!("Java {} from {}", java.version, java.home.display());
    let folder = context("java")?;
    let mut copy = shell::program("cp")?;
    // Links are followed: a distribution's Java has its settings elsewhere.
    copy.arg("-RL").arg(java.home.join(".")).arg(&folder);
    shell::quiet(copy).context("Java cannot be copied")?;
    let mut ignore = shell::program("sh")?;
    ignore.args(["-c", "printf %s \"$1\" > \"$2\"", "sh", LEFT_OUT]).arg(folder.join(".dockerignore"));
    shell::quiet(ignore)?;
    let text = format!(
        "FROM {base}\nCOPY . /usr/lib/jvm/java/\nENV JAVA_HOME=/usr/lib/jvm/java PATH=/usr/lib/jvm/java/bin:/usr/local/bin:/usr/bin:/bin\nRUN java -version\n"
    );
    build(&image, &text, &folder)?;
    clear(&folder)?;
    Ok(image)
}

/// An empty folder of ours.
fn context(name: &str) -> Result<PathBuf> {
    let folder = shell::root().join("target/image").join(name);
    clear(&folder)?;
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    Ok(folder)
}

fn clear(folder: &Path) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("{} cannot be removed", folder.display()))?;
    }
    Ok(())
}

/// Makes one image; its text comes by standard input, so that a folder is not changed.
fn build(image: &str, text: &str, context: &Path) -> Result<()> {
    let mut command = shell::program("docker")?;
    command.args(["build", "--quiet", "--tag", image, "--file", "-"]).arg(context);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("docker cannot be started")?;
    child.stdin.take().context("docker takes no text")?.write_all(text.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("the image {image} cannot be made:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    println!("made {image}");
    Ok(())
}

fn docker(arguments: &[&str]) -> Result<String> {
    let mut command = shell::program("docker")?;
    command.args(arguments);
    shell::quiet(command)
}
