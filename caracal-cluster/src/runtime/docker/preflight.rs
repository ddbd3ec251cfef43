//! Whether an image can run a node, tried by a container that does what the node will: it reads a secret and
//! writes the data volume as the node's user, and it shows the jars and the Java that are in the image.

use testcontainers::core::wait::ExitWaitStrategy;
use testcontainers::core::{Mount, WaitFor};
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{GenericImage, ImageExt as _};

use super::error::{EngineError, words};
use super::{DockerRuntime, container};
use crate::plan::{ContainerPlan, NodePlan, NodeRole, RegistryFlavor};
use crate::spec::ImageLayout;

/// Prints one line a fact; `absent` where there is none.
const LOOK: &str = r#"
say() { printf '%s=%s\n' "$1" "$2"; }
for layout in confluent:/usr/share/java/kafka apache:/opt/kafka/libs; do
    folder=${layout#*:}
    [ -d "$folder" ] && say layout "${layout%%:*}"
done
for jar in /usr/share/java/kafka/kafka_2*.jar /opt/kafka/libs/kafka_2*.jar; do
    [ -f "$jar" ] && say jar "${jar##*/}"
done
for jar in /deployments/quarkus-run.jar /usr/share/java/schema-registry/kafka-schema-registry-[0-9]*.jar; do
    [ -f "$jar" ] && say registry "$jar"
done
say java "$(java -version 2>&1 | head -n 1)"
cat "$1" > /dev/null && say secret readable
touch "$2/.preflight" && rm "$2/.preflight" && say data writable
exit 0
"#;

/// What an image must have.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Kafka of this version.
    pub kafka: String,
    /// Or a registry of this flavour.
    pub registry: RegistryFlavor,
}

/// Proves it; gives the version that the jars say.
pub(super) async fn prove(
    runtime: &DockerRuntime,
    node: &NodePlan,
    planned: &ContainerPlan,
    wanted: &Wanted,
) -> Result<String, EngineError> {
    let seen = look(runtime, node, planned).await?;
    judge(&seen, node.role, planned, wanted).map_err(|why| EngineError::Unfit {
        image: planned.image.clone(),
        node: node.name.to_string(),
        why,
    })
}

async fn look(
    runtime: &DockerRuntime,
    node: &NodePlan,
    planned: &ContainerPlan,
) -> Result<String, EngineError> {
    let (image, tag) = planned.image.rsplit_once(':').unwrap_or((&planned.image, "latest"));
    let secret =
        node.secrets.first().map_or_else(String::new, |secret| format!("{}/{}", planned.mount, secret.path));
    let data = format!("{}/data", planned.mount);
    let home = runtime.dir.node(&node.name).display().to_string();
    let request = GenericImage::new(image, tag)
        .with_entrypoint("/bin/sh")
        .with_wait_for(WaitFor::exit(ExitWaitStrategy::new().with_exit_code(0)))
        .with_cmd(["-c", LOOK, "sh", &secret, &data])
        .with_user(container::owner(runtime))
        .with_mount(Mount::bind_mount(home, &planned.mount))
        .with_mount(Mount::volume_mount(planned.volume.clone(), data.clone()))
        .with_host_config_modifier(|host| {
            host.network_mode = Some("none".to_owned());
            host.publish_all_ports = Some(false);
        });
    let failed = |error: testcontainers::TestcontainersError| {
        let why = words(&error);
        match why.contains("exec") && why.contains("/bin/sh") {
            true => EngineError::Unfit {
                image: planned.image.clone(),
                node: node.name.to_string(),
                why: "it has no shell to look at it with".to_owned(),
            },
            false => EngineError::Request { what: format!("trying the image {}", planned.image), why },
        }
    };
    let tried = request.start().await.map_err(failed)?;
    let said = tried.stdout_to_vec().await.map_err(failed)?;
    let complained = tried.stderr_to_vec().await.map_err(failed)?;
    tried.rm().await.map_err(failed)?;
    Ok(String::from_utf8_lossy(&said).into_owned() + &String::from_utf8_lossy(&complained))
}

/// What the facts mean.
fn judge(seen: &str, role: NodeRole, planned: &ContainerPlan, wanted: &Wanted) -> Result<String, String> {
    let facts = |key: &str| -> Vec<&str> {
        seen.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
    };
    let complaints = || {
        let lines = seen.lines().filter(|line| line.contains("denied") || line.contains("Read-only"));
        lines.collect::<Vec<_>>().join("; ")
    };
    if !facts("java").iter().any(|line| line.contains("version")) {
        return Err("it has no `java` on its path".to_owned());
    }
    if facts("secret").is_empty() {
        return Err(format!("a node cannot read its keys there: {}", complaints()));
    }
    if facts("data").is_empty() {
        return Err(format!("a node cannot write its data there: {}", complaints()));
    }
    if role == NodeRole::SchemaRegistry {
        return registry(&facts("registry"), wanted.registry);
    }
    let jars = facts("jar");
    let Some(version) = jars.iter().find_map(|jar| version_of(jar)) else {
        let looked: Vec<&str> = ImageLayout::ALL.iter().map(|layout| layout.jars()).collect();
        return Err(format!("no jars of Kafka lie in {}", looked.join(" or in ")));
    };
    let found = facts("layout");
    let layout = planned_layout(planned);
    if let Some(wanted) = layout.filter(|layout| !found.contains(&layout.label())) {
        return Err(format!(
            "its jars do not lie in {}; it has the layout `{}`, which `docker.layout` in the description can say",
            wanted.jars(),
            found.first().unwrap_or(&"none")
        ));
    }
    let planned = &wanted.kafka;
    if line(&version) != line(planned) {
        return Err(format!(
            "its jars are of Kafka {version}, planned is {planned}: choose another image by `--images`, or the version by `--kafka-version`"
        ));
    }
    Ok(version)
}

/// The version of the planned registry that an image has; the planned one where no jar says it.
fn registry(jars: &[&str], wanted: RegistryFlavor) -> Result<String, String> {
    let home = wanted.image_home();
    if let Some(jar) = jars.iter().find(|jar| jar.starts_with(home)) {
        let version =
            jar.rsplit_once("/kafka-schema-registry-").and_then(|(_, rest)| rest.strip_suffix(".jar"));
        return Ok(version.unwrap_or_else(|| wanted.version()).to_owned());
    }
    let jar = match wanted {
        RegistryFlavor::Apicurio => "quarkus-run.jar, where Apicurio's image has it",
        RegistryFlavor::Confluent => {
            "schema-registry/kafka-schema-registry-*.jar, where Confluent's image has it"
        }
    };
    let other = match jars {
        [] => "",
        _ => "; it has another registry, which `--registry` can say for a new cluster",
    };
    Err(format!("there is no {home}/{jar}{other}"))
}

fn planned_layout(planned: &ContainerPlan) -> Option<ImageLayout> {
    ImageLayout::ALL.into_iter().find(|layout| Some(*layout) == planned.layout)
}

/// `3.9.2` of `kafka_2.13-3.9.2.jar`, and of the vendor's `kafka_2.13-7.9.11-ccs.jar`, whose 7.9 is 3.9.
fn version_of(jar: &str) -> Option<String> {
    let version = jar.strip_prefix("kafka_")?.strip_suffix(".jar")?.split_once('-')?.1;
    let Some((vendors, _)) = version.split_once('-') else { return Some(version.to_owned()) };
    let (major, rest) = vendors.split_once('.')?;
    let major = major.parse::<u32>().ok()?.checked_sub(4)?;
    Some(format!("{major}.{rest}"))
}

/// The line of a version: what decides about formats and settings.
fn line(version: &str) -> String {
    version.split('.').take(2).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "layout=confluent\njar=kafka_2.13-3.9.2.jar\njava=openjdk version \"17\"\nsecret=readable\ndata=writable\n";

    fn planned(layout: ImageLayout) -> ContainerPlan {
        let plan = crate::plan::tests::contained_plan();
        let container = plan.node("caracal-kafka-1").unwrap().container.clone().unwrap();
        ContainerPlan { layout: Some(layout), ..container }
    }

    fn wanted() -> Wanted {
        Wanted { kafka: "3.9.2".to_owned(), registry: RegistryFlavor::Confluent }
    }

    #[test]
    fn an_image_of_the_other_registry_is_refused() {
        let judged = |jar: &str, registry| {
            let seen = GOOD.replace("jar=kafka_2.13-3.9.2.jar", &format!("registry={jar}"));
            let wanted = Wanted { registry, ..wanted() };
            judge(&seen, NodeRole::SchemaRegistry, &planned(ImageLayout::Confluent), &wanted)
        };
        let (apicurio, confluent) = (
            "/deployments/quarkus-run.jar",
            "/usr/share/java/schema-registry/kafka-schema-registry-7.9.11.jar",
        );
        assert_eq!(
            judged(apicurio, RegistryFlavor::Apicurio).as_deref(),
            Ok(RegistryFlavor::Apicurio.version())
        );
        let other = confluent.replace("7.9.11", "7.9.10-0");
        assert_eq!(judged(&other, RegistryFlavor::Confluent).as_deref(), Ok("7.9.10-0"));
        for (jar, wanted) in [(apicurio, RegistryFlavor::Confluent), (confluent, RegistryFlavor::Apicurio)] {
            assert!(judged(jar, wanted).unwrap_err().contains("another registry"), "{jar}");
        }
        let error = judged("", RegistryFlavor::Confluent).unwrap_err();
        assert!(error.contains("/usr/share/java/schema-registry/kafka-schema-registry-*.jar"), "{error}");
    }

    #[test]
    fn versions_are_read_from_jars_also_from_the_vendors() {
        assert_eq!(version_of("kafka_2.13-3.9.2.jar").as_deref(), Some("3.9.2"));
        assert_eq!(version_of("kafka_2.13-7.9.11-ccs.jar").as_deref(), Some("3.9.11"));
        assert_eq!((version_of("kafka_2.13.jar"), version_of("quarkus-run.jar")), (None, None));
    }

    #[test]
    fn an_image_is_taken_or_refused_with_the_reason() {
        let judged = |seen: &str, layout| judge(seen, NodeRole::Broker, &planned(layout), &wanted());
        assert_eq!(judged(GOOD, ImageLayout::Confluent).as_deref(), Ok("3.9.2"));
        for (seen, layout, reason) in [
            (GOOD.replace("openjdk version", "not found"), ImageLayout::Confluent, "no `java`"),
            (GOOD.replace("secret=readable", "cat: permission denied"), ImageLayout::Confluent, "denied"),
            (GOOD.replace("data=writable", ""), ImageLayout::Confluent, "write its data"),
            (GOOD.replace("jar=kafka_2.13-3.9.2.jar", ""), ImageLayout::Confluent, "/opt/kafka/libs"),
            (GOOD.to_owned(), ImageLayout::Apache, "layout `confluent`"),
            (GOOD.replace("3.9.2", "4.3.1"), ImageLayout::Confluent, "Kafka 4.3.1, planned is 3.9.2"),
        ] {
            let error = judged(&seen, layout).unwrap_err();
            assert!(error.contains(reason), "{reason}: {error}");
        }
    }
}
