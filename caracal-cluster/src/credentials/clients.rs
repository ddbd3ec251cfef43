//! What a client of one user needs, in every format that its tools read.
//!
//! Java tools read `client.properties` (PKCS12 stores), librdkafka's tools `kcat.conf` (PEM), services
//! `profile.toml` or the variables of `.env.kafka`. All of them name the same certificate and password.

use std::collections::BTreeMap;

use caracal_kafka_contract::profile::{
    ConnectionProfile, KafkaEndpoint, Mechanism, RegistryEndpoint, SaslLogin, TlsFiles,
};
use caracal_pki::{Issued, store, stores};
use ring::digest;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::{Credentials, CredentialsError, file_digest, generate_password};
use crate::dir::DirError;
use crate::plan::{APPLICATION_PREFIX, Ca, UserPlan};
use crate::properties::Properties;

/// The shape of a bundle; a new one makes every bundle again.
const BUNDLE_FORMAT: u32 = 2;

/// What a bundle was made from; stores are encrypted with fresh salts, so only this tells whether one is
/// still right.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct BundleRecord {
    format: u32,
    source_sha256: String,
    /// SHA-256 of every file as it was written, so that a change by hand is found.
    files: BTreeMap<String, String>,
}

/// The files of one user.
#[derive(Clone, Debug)]
pub struct ClientFiles<'a> {
    credentials: &'a Credentials<'a>,
    user: &'a UserPlan,
}

impl<'a> ClientFiles<'a> {
    /// The files of a user; none for a user without a certificate, which only nodes use.
    pub fn new(credentials: &'a Credentials<'a>, user: &'a UserPlan) -> Option<Self> {
        user.certificate.is_some().then_some(Self { credentials, user })
    }

    /// Why the files have to be made again; none when they are right.
    ///
    /// # Errors
    /// When a credential that they are made from is missing.
    pub fn problem(&self) -> Result<Option<String>, CredentialsError> {
        let user = &self.user.name;
        let folder = self.credentials.dir.client(user);
        let Some(text) = self.credentials.dir.read_text(&folder.join("bundle.json"))? else {
            return Ok(Some(format!("client files of {user} are missing")));
        };
        let record: Option<BundleRecord> = serde_json::from_str(&text).ok();
        let Some(record) = record.filter(|record| record.format == BUNDLE_FORMAT) else {
            return Ok(Some(format!("client files of {user} were made by another version")));
        };
        if record.source_sha256 != self.source()? {
            return Ok(Some(format!(
                "client files of {user} were made for another certificate, password or address"
            )));
        }
        Ok(record.files.iter().find_map(|(file, written)| {
            let path = folder.join(file);
            if !path.exists() {
                return Some(format!("client file {file} of {user} is missing"));
            }
            (file_digest(&path).as_ref() != Some(written))
                .then(|| format!("client file {file} of {user} was changed by hand or is open to others"))
        }))
    }

    /// Makes every file of several users, side by side: most of the time goes into deriving the stores' keys.
    ///
    /// # Errors
    /// As [`Self::write`], the first of them.
    pub fn write_all(several: &[Self]) -> Result<(), CredentialsError> {
        std::thread::scope(|scope| {
            let running: Vec<_> = several.iter().map(|files| scope.spawn(|| files.write())).collect();
            running.into_iter().try_for_each(|one| match one.join() {
                Ok(written) => written,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })
    }

    /// Makes every file.
    ///
    /// # Errors
    /// When a file cannot be written or a credential is missing.
    pub fn write(&self) -> Result<(), CredentialsError> {
        let issued = self.issued()?;
        let ca = self.credentials.authority_pem(Ca::Data)?;
        let password = self.credentials.expect_password(&self.user.name)?;
        let store_password = generate_password(&self.user.name)?;
        let pki = |source| CredentialsError::Pki {
            what: format!("the stores of {}", self.user.name),
            source: Box::new(source),
        };
        let key_store = stores::keystore_pkcs12(self.user.name.as_str(), &issued, &[&ca], &store_password)
            .map_err(pki)?;
        let trust_store =
            stores::truststore_pkcs12(&[("caracal-data-ca", &ca)], &store_password).map_err(pki)?;
        let profile = self.profile().to_toml().map_err(|error| DirError::Unreadable {
            path: "profile.toml".to_owned(),
            what: "a profile",
            why: error.to_string(),
        })?;
        let files: Vec<(&str, Vec<u8>)> = vec![
            ("ca.pem", ca.into_bytes()),
            ("client.pem", issued.chain_pem().as_bytes().to_vec()),
            ("client.key", issued.key_pem().expose_pem().as_bytes().to_vec()),
            ("password", password.expose_secret().as_bytes().to_vec()),
            ("keystore.p12", key_store),
            ("truststore.p12", trust_store),
            ("store-password", store_password.expose_secret().as_bytes().to_vec()),
            ("client.properties", self.java("client", &password, &store_password, &[] as &[(&str, &str)])),
            ("producer.properties", self.java("producer", &password, &store_password, PRODUCER)),
            ("consumer.properties", self.java("consumer", &password, &store_password, &self.consumer())),
            ("kcat.conf", self.kcat(&password)),
            (".env.kafka", self.environment()),
            ("profile.toml", profile.into_bytes()),
        ];
        let folder = self.credentials.dir.client(&self.user.name);
        store::create_private_dir(&folder).map_err(DirError::from)?;
        for (name, bytes) in &files {
            self.credentials.dir.write(&folder.join(name), bytes)?;
        }
        // Last: a bundle without its record is made again.
        let record = BundleRecord {
            format: BUNDLE_FORMAT,
            source_sha256: self.source()?,
            files: files
                .iter()
                .map(|(name, bytes)| {
                    ((*name).to_owned(), hex::encode(digest::digest(&digest::SHA256, bytes)))
                })
                .collect(),
        };
        self.credentials.dir.write_json(&folder.join("bundle.json"), &record)?;
        Ok(())
    }

    /// The profile that `profile.toml` holds.
    pub fn profile(&self) -> ConnectionProfile {
        let plan = self.credentials.plan;
        let kafka = KafkaEndpoint {
            bootstrap: plan.endpoints.bootstrap.clone(),
            tls: TlsFiles {
                ca_file: "ca.pem".into(),
                certificate_file: "client.pem".into(),
                key_file: "client.key".into(),
            },
            sasl: SaslLogin {
                mechanism: Mechanism::ScramSha512,
                username: self.user.name.to_string(),
                password_file: "password".into(),
            },
        };
        let mut profile = ConnectionProfile::new(plan.cluster.as_str(), self.user.name.as_str(), kafka);
        profile.registry = plan.endpoints.registry_url.clone().map(RegistryEndpoint::new);
        profile
    }

    fn issued(&self) -> Result<Issued, CredentialsError> {
        self.credentials.issued(self.user.certificate.as_deref().unwrap_or_default())
    }

    fn source(&self) -> Result<String, CredentialsError> {
        let issued = self.issued()?;
        let password = self.credentials.expect_password(&self.user.name)?;
        let ca = self.credentials.authority_pem(Ca::Data)?;
        let endpoints = &self.credentials.plan.endpoints;
        let folder = self.credentials.dir.client(&self.user.name);
        let mut context = digest::Context::new(&digest::SHA256);
        let folder = folder.display().to_string();
        for part in
            [issued.chain_pem(), issued.key_pem().expose_pem(), password.expose_secret(), &ca, &folder]
                .into_iter()
                .chain(endpoints.bootstrap.iter().map(String::as_str))
                .chain(endpoints.registry_url.as_deref())
        {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        Ok(hex::encode(context.finish()))
    }

    fn path(&self, file: &str) -> String {
        self.credentials.dir.client(&self.user.name).join(file).display().to_string()
    }

    fn consumer(&self) -> Vec<(&'static str, String)> {
        vec![
            ("group.id", format!("{APPLICATION_PREFIX}{}", self.user.name)),
            ("isolation.level", "read_committed".to_owned()),
            ("enable.auto.commit", "false".to_owned()),
            ("auto.offset.reset", "earliest".to_owned()),
        ]
    }

    fn java<V: ToString>(
        &self,
        kind: &str,
        password: &SecretString,
        store_password: &SecretString,
        extra: &[(&'static str, V)],
    ) -> Vec<u8> {
        let user = &self.user.name;
        let login = format!(
            "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"{user}\" password=\"{}\";",
            password.expose_secret()
        );
        let store_password = store_password.expose_secret();
        let mut p = Properties::new();
        p.section("Brokers")
            .set("bootstrap.servers", self.credentials.plan.endpoints.bootstrap.join(","))
            .set("security.protocol", "SASL_SSL");
        p.section("Log-in").set("sasl.mechanism", "SCRAM-SHA-512").set("sasl.jaas.config", login);
        p.section("Mutual TLS")
            .set("ssl.keystore.type", "PKCS12")
            .set("ssl.keystore.location", self.path("keystore.p12"))
            .set("ssl.keystore.password", store_password)
            .set("ssl.key.password", store_password)
            .set("ssl.truststore.type", "PKCS12")
            .set("ssl.truststore.location", self.path("truststore.p12"))
            .set("ssl.truststore.password", store_password)
            .set("ssl.endpoint.identification.algorithm", "https")
            .set("ssl.enabled.protocols", "TLSv1.3,TLSv1.2");
        if !extra.is_empty() {
            p.section(if kind == "producer" { "Producer" } else { "Consumer" });
            for (key, value) in extra {
                p.set(*key, value.to_string());
            }
        }
        p.render(&format!("Java {kind} as {user}")).into_bytes()
    }

    /// librdkafka's own form: everything behind the first `=` is the value as it stands, in UTF-8. It undoes
    /// no escapes; neither password nor path can hold a line's end.
    fn kcat(&self, password: &SecretString) -> Vec<u8> {
        let user = &self.user.name;
        let lines = [
            format!("# kcat and every other librdkafka client as {user}"),
            "# Generated from the cluster's plan; changes made here are overwritten.".to_owned(),
            "\n# Brokers".to_owned(),
            format!("bootstrap.servers={}", self.credentials.plan.endpoints.bootstrap.join(",")),
            "security.protocol=SASL_SSL".to_owned(),
            "\n# Log-in".to_owned(),
            "sasl.mechanism=SCRAM-SHA-512".to_owned(),
            format!("sasl.username={user}"),
            format!("sasl.password={}", password.expose_secret()),
            "\n# Mutual TLS".to_owned(),
            format!("ssl.ca.location={}", self.path("ca.pem")),
            format!("ssl.certificate.location={}", self.path("client.pem")),
            format!("ssl.key.location={}", self.path("client.key")),
            "ssl.endpoint.identification.algorithm=https\n".to_owned(),
        ];
        lines.join("\n").into_bytes()
    }

    /// The variables that the contract documents; secrets by file only.
    fn environment(&self) -> Vec<u8> {
        let endpoints = &self.credentials.plan.endpoints;
        let lines = [
            format!("# Kafka as {}; secrets are named by file, never by value.", self.user.name),
            "# Generated from the cluster's plan; changes made here are overwritten.".to_owned(),
            format!("CARACAL_KAFKA_PROFILE=\"{}\"", self.path("profile.toml")),
            format!("CARACAL_KAFKA_CLUSTER={}", self.credentials.plan.cluster),
            format!("CARACAL_KAFKA_PRINCIPAL={}", self.user.name),
            format!("CARACAL_KAFKA_BOOTSTRAP=\"{}\"", endpoints.bootstrap.join(",")),
            format!("CARACAL_KAFKA_TLS_CA_FILE=\"{}\"", self.path("ca.pem")),
            format!("CARACAL_KAFKA_TLS_CERTIFICATE_FILE=\"{}\"", self.path("client.pem")),
            format!("CARACAL_KAFKA_TLS_KEY_FILE=\"{}\"", self.path("client.key")),
            "CARACAL_KAFKA_SASL_MECHANISM=SCRAM-SHA-512".to_owned(),
            format!("CARACAL_KAFKA_SASL_USERNAME={}", self.user.name),
            format!("CARACAL_KAFKA_SASL_PASSWORD_FILE=\"{}\"", self.path("password")),
            format!(
                "CARACAL_KAFKA_REGISTRY_URL=\"{}\"",
                endpoints.registry_url.as_deref().unwrap_or_default()
            ),
            String::new(),
        ];
        lines.join("\n").into_bytes()
    }
}

const PRODUCER: &[(&str, &str)] =
    &[("acks", "all"), ("enable.idempotence", "true"), ("compression.type", "snappy"), ("linger.ms", "5")];
