//! The client library's connections to a real cluster: from file, from variables, from code, and the ways in which each
//! can be wrong. What a program is told must name the cause and the next step.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use caracal_kafka_client::events::MeteringEvent;
use caracal_kafka_client::profile::{ConnectionProfile, Mechanism};
use caracal_kafka_client::{
    Connection, ConnectionBuilder, ConsumerOptions, Delivery, Group, Kafka, ProducerOptions, Service, Source,
};
use caracal_pki::{CertificateAuthority, DistinguishedName, KeyAlgorithm, LeafRequest, Usage, Validity};

use crate::Test;
use crate::cluster;
use crate::tools::{self, block};

pub(crate) const TESTS: &[Test] = &[
    ("client_connects::from_file_from_variables_and_from_code", every_way),
    ("client_connects::a_broken_set_up_is_refused_with_its_cause", broken),
    ("client_connects::a_broken_registry_is_refused_with_its_cause", broken_registry),
    ("client_connects::swapped_files_are_taken_up_while_events_are_written", swapped),
    ("client_connects::what_a_user_may_not_do_is_told_when_it_is_made", unauthorised),
];

fn folder(user: &str) -> Result<PathBuf> {
    Ok(cluster::shared()?.dir()?.client(&user.parse()?))
}

fn file(user: &str, name: &str) -> Result<Source> {
    Ok(Source::file(folder(user)?.join(name)))
}

fn text(user: &str, name: &str) -> Result<Source> {
    Ok(Source::text(tools::read(&folder(user)?.join(name))?))
}

/// One that works, by files, as the producer.
fn builder() -> Result<ConnectionBuilder> {
    let plan = cluster::shared()?.resolved()?.plan;
    let registry = plan.endpoints.registry_url.clone().context("no registry is planned")?;
    Ok(Connection::to(plan.endpoints.bootstrap)
        .trusting(file("producer", "ca.pem")?)
        .presenting(file("producer", "client.pem")?, file("producer", "client.key")?)
        .log_in("producer", file("producer", "password")?)
        .registry(registry))
}

async fn connect(to: impl Into<Connection>) -> Result<Kafka, caracal_kafka_client::ConnectError> {
    Kafka::connect(to, Service::named("live-suite")).await
}

fn every_way() -> Result<()> {
    cluster::shared()?;
    let folder = folder("producer")?;
    let in_memory = builder()?
        .trusting(text("producer", "ca.pem")?)
        .presenting(text("producer", "client.pem")?, text("producer", "client.key")?)
        .log_in("producer", text("producer", "password")?);
    let ways: [(&str, Connection); 4] = [
        ("profile", ConnectionProfile::load(folder.join("profile.toml"))?.into()),
        ("variables", ConnectionProfile::from_env_file(folder.join(".env.kafka"))?.into()),
        ("code, by files", builder()?.build()?),
        ("code, in memory", in_memory.build()?),
    ];
    block(async {
        for (way, connection) in ways {
            let kafka = connect(connection).await.with_context(|| way.to_owned())?;
            // Not only let in: the registry is reached and the topic may be written.
            let out = kafka.producer::<MeteringEvent>(ProducerOptions::default()).await;
            out.with_context(|| way.to_owned())?;
        }
        Ok(())
    })
}

/// Certificate and key of a stranger with the producer's name.
fn stranger() -> Result<(Source, Source, Source)> {
    let now = std::time::SystemTime::now().into();
    let validity = Validity::days_from(now, 2);
    let name = DistinguishedName::common_name;
    let authority = CertificateAuthority::create(name("stranger"), KeyAlgorithm::EcdsaP256, validity)?;
    let own = authority.issue(&LeafRequest {
        subject: name("producer"),
        sans: Vec::new(),
        usage: Usage::Client,
        algorithm: KeyAlgorithm::EcdsaP256,
        validity,
    })?;
    let memory = |text: &str| Source::text(text);
    Ok((memory(authority.certificate_pem()), memory(own.chain_pem()), memory(own.key_pem().expose_pem())))
}

fn broken() -> Result<()> {
    let plan = cluster::shared()?.resolved()?.plan;
    let first = plan.endpoints.bootstrap.first().context("no broker")?.clone();
    let port = first.rsplit_once(':').context("no port")?.1.to_owned();
    let registry = plan.endpoints.registry_url.as_deref().context("no registry is planned")?;
    let plain = registry.split('/').nth(2).context("no host")?.to_owned();
    let (authority, certificate, key) = stranger()?;
    let elsewhere = |address: String| -> Result<ConnectionBuilder> {
        Ok(Connection::to([address])
            .trusting(file("producer", "ca.pem")?)
            .presenting(file("producer", "client.pem")?, file("producer", "client.key")?)
            .log_in("producer", file("producer", "password")?))
    };
    let missing = folder("producer")?.join("none.pem");
    let cases: Vec<(&str, ConnectionBuilder, &str, &str)> = vec![
        ("wrong CA", builder()?.trusting(authority), "authority that this client trusts", "very cluster"),
        (
            "wrong host name",
            elsewhere(format!("127.1:{port}"))?,
            "no certificate is for `127.1`",
            "certificate has",
        ),
        ("a plain port", elsewhere(plain)?, "does not speak TLS", "SASL_SSL listener"),
        ("nobody there", elsewhere("localhost:1".into())?, "nothing listens there", "start the cluster"),
        (
            "a stranger",
            builder()?.presenting(certificate, key),
            "refused this client's certificate",
            "CA that",
        ),
        (
            "wrong password",
            builder()?.log_in("producer", Source::text("hunter2-is-wrong")),
            "refused user name and password",
            "check that the user exists",
        ),
        (
            "unknown user",
            builder()?.log_in("nobody", file("producer", "password")?),
            "refused user name and password",
            "check that the user exists",
        ),
        (
            "another mechanism",
            builder()?.mechanism(Mechanism::ScramSha256),
            "does not offer the mechanism",
            "kafka.sasl.mechanism",
        ),
        (
            "another user's key",
            builder()?.presenting(file("producer", "client.pem")?, file("consumer", "client.key")?),
            "does not belong to the certificate",
            "write both again",
        ),
        ("no file", builder()?.trusting(Source::file(missing)), "none.pem", "write its client files again"),
    ];
    block(async {
        for (case, builder, cause, next) in cases {
            let Err(error) = connect(builder.build()?).await else { anyhow::bail!("{case}: it connects") };
            let shown = format!("{error} {error:?}");
            ensure!(error.to_string().contains(cause), "{case}: not `{cause}`, but: {error}");
            ensure!(error.to_string().contains(next), "{case}: no `{next}`, but: {error}");
            ensure!(
                !shown.contains("hunter2") && !shown.contains("PRIVATE KEY"),
                "{case}: a secret: {shown}"
            );
        }
        Ok(())
    })
}

fn broken_registry() -> Result<()> {
    let plan = cluster::shared()?.resolved()?.plan;
    let right = plan.endpoints.registry_url.clone().context("no registry is planned")?;
    let broker = plan.endpoints.bootstrap.first().context("no broker")?.clone();
    let cases = [
        (right.replacen("http://", "https://", 1), "does not speak TLS"),
        (format!("http://{broker}"), "https://"),
        (right.replace("/apis/ccompat/v7", "/nowhere"), "/apis/ccompat/v7"),
        ("http://localhost:1".to_owned(), "start the registry"),
    ];
    block(async {
        for (url, next) in cases {
            let connection = builder()?.registry(url.clone()).build()?;
            let Err(error) = connect(connection).await else {
                anyhow::bail!("{url} is taken for a registry")
            };
            ensure!(error.to_string().contains(next), "{url}: no `{next}`, but: {error}");
        }
        Ok(())
    })
}

fn unauthorised() -> Result<()> {
    cluster::shared()?;
    let profile =
        |user: &str| Ok::<_, anyhow::Error>(ConnectionProfile::load(folder(user)?.join("profile.toml"))?);
    let (reader, writer) = (profile("consumer")?, profile("producer")?);
    block(async {
        let (reader, writer) = (connect(reader).await?, connect(writer).await?);
        let group = Group::named("elsewhere-not-ours");
        let refused = reader.consumer::<MeteringEvent>(group, ConsumerOptions::default()).await;
        let refused = refused.err().context("a group that is not ours was given")?.to_string();
        ensure!(refused.contains("`consumer`") && refused.contains("Read on the group"), "{refused}");
        let ours = Group::named("caracal-live-connects");
        reader.consumer::<MeteringEvent>(ours.clone(), ConsumerOptions::default()).await?;
        let refused = writer.consumer::<MeteringEvent>(ours, ConsumerOptions::default()).await;
        let refused = refused.err().context("a producer may read")?.to_string();
        ensure!(refused.contains("`producer`"), "{refused}");
        Ok(())
    })
}

/// The producer's files in a folder of their own, with another user's certificate: users and certificates are not
/// bound to each other, so brokers let both in.
fn files(name: &str, certificate: &str, key: &str) -> Result<PathBuf> {
    let to = cluster::shared()?.home().join(name);
    caracal_pki::store::create_private_dir(&to)?;
    let copy = |from: PathBuf, name: &str| -> Result<()> {
        caracal_pki::store::write_private(&to.join(name), tools::read(&from)?.as_bytes())?;
        Ok(())
    };
    for name in ["profile.toml", "ca.pem", "password"] {
        copy(folder("producer")?.join(name), name)?;
    }
    copy(folder(certificate)?.join("client.pem"), "client.pem")?;
    copy(folder(key)?.join("client.key"), "client.key")?;
    Ok(to)
}

/// Points the link elsewhere, in one rename.
fn point(link: &std::path::Path, to: &std::path::Path) -> Result<()> {
    let beside = link.with_extension("new");
    std::os::unix::fs::symlink(to, &beside)?;
    std::fs::rename(beside, link)?;
    Ok(())
}

fn swapped() -> Result<()> {
    let first = files("swap-1", "producer", "producer")?;
    let second = files("swap-2", "consumer", "consumer")?;
    let broken = files("swap-3", "producer", "consumer")?;
    let link = cluster::shared()?.home().join("swap");
    point(&link, &first)?;
    let connection = Connection::from(ConnectionProfile::load(link.join("profile.toml"))?);
    block(async {
        let kafka = connect(connection.with_renewal(None)).await?;
        let out = kafka.producer::<MeteringEvent>(ProducerOptions::default()).await?;
        let mut handles = Vec::new();
        for seed in 0..300 {
            handles.push(out.enqueue(&MeteringEvent::sample(seed)).await?);
            match seed {
                50 => ensure!(!kafka.renew().await?, "nothing is new, but it is taken up"),
                100 => {
                    point(&link, &broken)?;
                    let refused = kafka.renew().await.err().context("half a swap is taken up")?;
                    ensure!(refused.to_string().contains("does not belong to"), "{refused}");
                }
                200 => {
                    point(&link, &second)?;
                    ensure!(kafka.renew().await?, "what is new is not taken up");
                }
                _ => {}
            }
        }
        for handle in handles {
            let delivery = handle.await;
            ensure!(matches!(delivery, Delivery::Written(_)), "{delivery:?}");
        }
        let report = kafka.close(Duration::from_secs(20)).await;
        ensure!(report.written == 300 && report.all_written(), "{report:?}");
        Ok(())
    })?;
    for path in [first, second, broken] {
        std::fs::remove_dir_all(path)?;
    }
    std::fs::remove_file(link)?;
    Ok(())
}
