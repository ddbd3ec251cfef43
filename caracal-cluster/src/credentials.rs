//! Step 1 of the guide: authorities, certificates, passwords, and the files of every node and client.
//!
//! [`Credentials::observe`] compares what lies in the cluster's directory with the plan and names every
//! difference; [`Credentials::apply`] makes what is missing and replaces what does not fit. What is
//! replaced is set aside, never deleted.
//!
//! A certificate is known by its fingerprint in `pki/inventory.json`; one that was changed by hand is
//! found by it. A changed `security.key_algorithm` makes every certificate anew, below the authorities as they
//! are. A certificate authority that was put there by hand, with its key, is taken as it is, and
//! every certificate below it is issued anew: that is how a team's own authority is brought. One whose key may not come
//! here signs requests instead ([`Credentials::request`], [`Credentials::accept`]).

mod clients;
mod nodes;
mod requests;
mod single;

use std::collections::BTreeMap;

use caracal_pki::inventory::{self, CertificateInfo, Status};
use caracal_pki::{
    CertificateAuthority, DistinguishedName, Issued, KeyAlgorithm, LeafRequest, PkiError, PrivateKeyPem,
    Validity, store,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub use self::clients::ClientFiles;
pub use self::nodes::{CONTAINER, LISTENERS, NodeFiles, file_digest};
use crate::dir::{ClusterDir, DirError};
use crate::names::UserName;
use crate::plan::{Ca, CertificatePlan, ClusterPlan};

/// Fewest characters of a password. A generated one has 32; one typed by hand has to hold out against
/// guessing with at most 16384 iterations of the derivation.
const MINIMUM_PASSWORD: usize = 12;

/// Organisation in every subject.
const ORGANIZATION: &str = "Caracal";

/// What goes wrong with credentials.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The directory.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// A certificate or key.
    #[error("{what} cannot be made or read")]
    Pki {
        /// Which one.
        what: String,
        /// The cause.
        #[source]
        source: Box<PkiError>,
    },
    /// Randomness.
    #[error("the operating system gives no randomness for the password of `{user}`")]
    Random {
        /// The user.
        user: String,
    },
    /// A file that a step before should have made.
    #[error("{path} is missing: run `cargo xtask credentials` again")]
    Missing {
        /// The file.
        path: String,
    },
    /// A password that its readers would take differently from one another.
    #[error(
        "{path} holds a password that cannot be used: {rule}; write another one of at least {MINIMUM_PASSWORD} letters and digits, \
         or move the file away to get a generated one"
    )]
    Password {
        /// The file; the value is never shown.
        path: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// An authority that cannot sign any more.
    #[error(
        "the authority {certificate} expired at {expired}, so no certificate below it can be issued: move it and {key} \
         away to get a new authority, or put a valid one with its key in their place"
    )]
    ExpiredAuthority {
        /// Its certificate.
        certificate: String,
        /// Its key.
        key: String,
        /// The end of its validity.
        expired: OffsetDateTime,
    },
    /// Certificates that only an outside authority can sign.
    #[error(
        "{} must be signed by the outside authority {authority}, whose key is not here: `cargo xtask credentials \
         --request DIR` writes what it has to sign, `--accept DIR` takes what it signed", certificates.join(", ")
    )]
    Outside {
        /// The authority's certificate.
        authority: String,
        /// The certificates.
        certificates: Vec<String>,
    },
    /// What an outside authority returned does not fit.
    #[error("what was signed outside does not fit, and nothing was changed:{}", listed(problems))]
    Answer {
        /// Each file with the reason.
        problems: Vec<String>,
    },
    /// A certificate authority without one of its two files.
    #[error(
        "{path} is missing although the other half of the authority is there: put it back, or move both away to get a new authority"
    )]
    HalfAuthority {
        /// The missing file.
        path: String,
    },
}

/// One certificate as issued, remembered to find later changes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct InventoryEntry {
    fingerprint_sha256: String,
    serial_hex: String,
    issuer_fingerprint_sha256: String,
}

/// Every certificate as issued, by id.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
struct Inventory {
    certificates: BTreeMap<String, InventoryEntry>,
    /// Authorities whose key was never here, by the fingerprint of their certificate.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    outside: BTreeMap<String, String>,
}

fn listed(problems: &[String]) -> String {
    problems.iter().map(|problem| ["\n  - ", problem].concat()).collect()
}

/// What was found, or done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What is not there yet.
    pub missing: Vec<String>,
    /// What is there and does not fit, each with the reason.
    pub drifted: Vec<String>,
}

impl Findings {
    /// Whether everything is there and fits.
    pub fn is_clean(&self) -> bool {
        self.missing.is_empty() && self.drifted.is_empty()
    }
}

/// Authorities, certificates and passwords of one cluster.
#[derive(Clone, Debug)]
pub struct Credentials<'a> {
    dir: &'a ClusterDir,
    plan: &'a ClusterPlan,
    now: OffsetDateTime,
}

impl<'a> Credentials<'a> {
    /// The credentials of a plan in a directory; `now` decides what has expired.
    pub fn new(dir: &'a ClusterDir, plan: &'a ClusterPlan, now: OffsetDateTime) -> Self {
        Self { dir, plan, now }
    }

    /// Compares the directory with the plan.
    ///
    /// # Errors
    /// When something that is there cannot be read at all.
    pub fn observe(&self) -> Result<Findings, CredentialsError> {
        let mut findings = Findings::default();
        let inventory = self.inventory()?;
        let mut issuers = BTreeMap::new();
        for ca in Ca::ALL {
            let anchor = match self.outside(ca)? {
                Some(anchor) => Some(anchor),
                None => self.authority(ca)?.map(|authority| authority.certificate_pem().to_owned()),
            };
            match anchor {
                None => findings.missing.push(format!("{} authority", ca.stem())),
                Some(anchor) => {
                    issuers.insert(ca, self.inspect(ca.stem(), &anchor)?.fingerprint_sha256);
                }
            }
        }
        for certificate in &self.plan.pki.certificates {
            match self.certificate_problem(certificate, &inventory, issuers.get(&certificate.ca))? {
                None => {}
                Some(Problem::Missing) => findings.missing.push(format!("certificate {}", certificate.id)),
                Some(Problem::Drift(why)) => {
                    findings.drifted.push(format!("certificate {} {why}", certificate.id));
                }
            }
        }
        for user in &self.plan.users {
            if self.password(&user.name)?.is_none() {
                findings.missing.push(format!("password of {}", user.name));
            }
        }
        Ok(findings)
    }

    /// Makes what is missing and replaces what does not fit; returns what was found before.
    ///
    /// # Errors
    /// When a file cannot be written or a certificate cannot be made.
    pub fn apply(&self) -> Result<Findings, CredentialsError> {
        let mut findings = Findings::default();
        store::create_private_dir(&self.dir.pki()).map_err(DirError::from)?;
        store::create_private_dir(&self.dir.passwords()).map_err(DirError::from)?;
        let mut inventory = self.inventory()?;
        for ca in Ca::ALL {
            if let Some(anchor) = self.outside(ca)? {
                self.signed_outside(ca, &anchor)?;
                continue;
            }
            let authority = match self.authority(ca)? {
                Some(authority) => authority,
                None => {
                    findings.missing.push(format!("{} authority", ca.stem()));
                    self.create_authority(ca)?
                }
            };
            self.issue_below(ca, &authority, &mut inventory, &mut findings)?;
        }
        let planned = |id: &String| self.plan.pki.certificates.iter().any(|cert| cert.id == **id);
        inventory.certificates.retain(|id, _| planned(id));
        self.dir.write_json(&self.inventory_path(), &inventory)?;
        for user in &self.plan.users {
            if self.password(&user.name)?.is_none() {
                findings.missing.push(format!("password of {}", user.name));
                let password = generate_password(&user.name)?;
                self.dir.write(&self.dir.password(&user.name), password.expose_secret().as_bytes())?;
            }
        }
        Ok(findings)
    }

    fn issue_below(
        &self,
        ca: Ca,
        authority: &CertificateAuthority,
        inventory: &mut Inventory,
        findings: &mut Findings,
    ) -> Result<(), CredentialsError> {
        let authority_info = self.inspect(ca.stem(), authority.certificate_pem())?;
        let (expired, issuer) =
            (authority_info.status(self.now) == Status::Expired, authority_info.fingerprint_sha256);
        for certificate in self.plan.pki.certificates.iter().filter(|certificate| certificate.ca == ca) {
            let problem = self.certificate_problem(certificate, inventory, Some(&issuer))?;
            // Before anything is set aside: nothing could take its place.
            if problem.is_some() && expired {
                let path = |extension| self.pki_path(ca.stem(), extension).display().to_string();
                let (certificate, key) = (path("pem"), path("key"));
                return Err(CredentialsError::ExpiredAuthority {
                    certificate,
                    key,
                    expired: authority_info.not_after,
                });
            }
            match problem {
                None => continue,
                Some(Problem::Missing) => findings.missing.push(format!("certificate {}", certificate.id)),
                Some(Problem::Drift(why)) => {
                    findings.drifted.push(format!("certificate {} {why}", certificate.id));
                    self.set_aside(&certificate.id)?;
                }
            }
            let issued = self.issue(authority, certificate)?;
            let info = self.inspect(&certificate.id, issued.chain_pem())?;
            let entry = InventoryEntry {
                fingerprint_sha256: info.fingerprint_sha256,
                serial_hex: info.serial_hex,
                issuer_fingerprint_sha256: issuer.clone(),
            };
            inventory.certificates.insert(certificate.id.clone(), entry);
        }
        Ok(())
    }

    /// The authority's certificate as PEM.
    ///
    /// # Errors
    /// When it is not there.
    pub fn authority_pem(&self, ca: Ca) -> Result<String, CredentialsError> {
        let path = self.pki_path(ca.stem(), "pem");
        self.dir
            .read_text(&path)?
            .ok_or_else(|| CredentialsError::Missing { path: path.display().to_string() })
    }

    /// An authority with its key; none when it has not been made.
    ///
    /// # Errors
    /// When half of it is missing, or it is not an authority.
    pub fn authority(&self, ca: Ca) -> Result<Option<CertificateAuthority>, CredentialsError> {
        let (certificate, key) = (self.pki_path(ca.stem(), "pem"), self.pki_path(ca.stem(), "key"));
        let half =
            |path: &std::path::Path| CredentialsError::HalfAuthority { path: path.display().to_string() };
        match (self.dir.read_text(&certificate)?, self.dir.read_text(&key)?) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(half(&certificate)),
            (Some(_), None) if self.outside(ca)?.is_some() => {
                Err(self.unsigned(ca, vec!["whatever is to be new".to_owned()]))
            }
            (Some(_), None) => Err(half(&key)),
            (Some(certificate), Some(key)) => PrivateKeyPem::parse(&key)
                .and_then(|key| CertificateAuthority::from_pem(&certificate, &key))
                .map(Some)
                .map_err(|source| CredentialsError::Pki {
                    what: format!("the authority {}", ca.stem()),
                    source: Box::new(source),
                }),
        }
    }

    /// A certificate with its key.
    ///
    /// # Errors
    /// When it is not there or its halves do not fit.
    pub fn issued(&self, id: &str) -> Result<Issued, CredentialsError> {
        let (chain, key) = (self.pki_path(id, "pem"), self.pki_path(id, "key"));
        let read = |path: &std::path::Path| {
            self.dir
                .read_text(path)?
                .ok_or_else(|| CredentialsError::Missing { path: path.display().to_string() })
        };
        let (chain, key) = (read(&chain)?, read(&key)?);
        PrivateKeyPem::parse(&key).and_then(|key| Issued::from_pem(&chain, &key)).map_err(|source| {
            CredentialsError::Pki { what: format!("the certificate {id}"), source: Box::new(source) }
        })
    }

    /// A user's password; none when it has not been made. One newline at the end does not count.
    ///
    /// # Errors
    /// When its file is not private or not text; [`CredentialsError::Password`] when one of its readers
    /// could not carry it.
    pub fn password(&self, user: &UserName) -> Result<Option<SecretString>, CredentialsError> {
        let path = self.dir.password(user);
        let Some(text) = self.dir.read_text(&path)? else { return Ok(None) };
        let text = text.strip_suffix('\n').unwrap_or(&text);
        if let Some(rule) = broken_rule(text) {
            return Err(CredentialsError::Password { path: path.display().to_string(), rule });
        }
        Ok(Some(SecretString::from(text.to_owned())))
    }

    /// A user's password, which must be there.
    ///
    /// # Errors
    /// [`CredentialsError::Missing`].
    pub fn expect_password(&self, user: &UserName) -> Result<SecretString, CredentialsError> {
        self.password(user)?
            .ok_or_else(|| CredentialsError::Missing { path: self.dir.password(user).display().to_string() })
    }

    /// Every certificate that is there, authorities first, with its id.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn certificates(&self) -> Result<Vec<(String, CertificateInfo)>, CredentialsError> {
        let ids = Ca::ALL.iter().map(|ca| ca.stem().to_owned());
        let ids = ids.chain(self.plan.pki.certificates.iter().map(|certificate| certificate.id.clone()));
        let mut list = Vec::new();
        for id in ids {
            if let Some(text) = self.dir.read_text(&self.pki_path(&id, "pem"))? {
                let info = self.inspect(&id, &text)?;
                list.push((id, info));
            }
        }
        Ok(list)
    }

    fn pki_path(&self, id: &str, extension: &str) -> std::path::PathBuf {
        self.dir.pki().join(format!("{id}.{extension}"))
    }

    fn inventory_path(&self) -> std::path::PathBuf {
        self.dir.pki().join("inventory.json")
    }

    fn inventory(&self) -> Result<Inventory, CredentialsError> {
        let path = self.inventory_path();
        let Some(text) = self.dir.read_text(&path)? else { return Ok(Inventory::default()) };
        serde_json::from_str(&text).map_err(|error| {
            let (path, why) = (path.display().to_string(), error.to_string());
            DirError::Unreadable { path, what: "the inventory of certificates", why }.into()
        })
    }

    fn create_authority(&self, ca: Ca) -> Result<CertificateAuthority, CredentialsError> {
        let name = format!(
            "{} {} CA",
            self.plan.cluster,
            match ca {
                Ca::Data => "data",
                Ca::Control => "control",
            }
        );
        let subject = DistinguishedName::common_name(name).with_organization(ORGANIZATION);
        let validity = Validity::days_from(self.now, self.plan.pki.ca_days);
        let authority =
            CertificateAuthority::create(subject, self.plan.pki.algorithm, validity).map_err(|source| {
                CredentialsError::Pki {
                    what: format!("the authority {}", ca.stem()),
                    source: Box::new(source),
                }
            })?;
        // The key first: a certificate without its key would look like somebody's own authority, half there.
        self.dir.write(&self.pki_path(ca.stem(), "key"), authority.key_pem().expose_pem().as_bytes())?;
        self.dir.write(&self.pki_path(ca.stem(), "pem"), authority.certificate_pem().as_bytes())?;
        Ok(authority)
    }

    fn issue(
        &self,
        authority: &CertificateAuthority,
        certificate: &CertificatePlan,
    ) -> Result<Issued, CredentialsError> {
        let pki = |source| CredentialsError::Pki {
            what: format!("the certificate {}", certificate.id),
            source: Box::new(source),
        };
        let ca = self.inspect(certificate.ca.stem(), authority.certificate_pem())?;
        let mut validity = Validity::days_from(self.now, self.plan.pki.leaf_days);
        validity.not_before = validity.not_before.max(ca.not_before);
        validity.not_after = validity.not_after.min(ca.not_after);
        let request = LeafRequest {
            subject: subject(certificate),
            sans: certificate.sans.clone(),
            usage: certificate.usage,
            algorithm: self.plan.pki.algorithm,
            validity,
        };
        let issued = authority.issue(&request).map_err(pki)?;
        self.dir.write(&self.pki_path(&certificate.id, "key"), issued.key_pem().expose_pem().as_bytes())?;
        self.dir.write(&self.pki_path(&certificate.id, "pem"), issued.chain_pem().as_bytes())?;
        Ok(issued)
    }

    fn inspect(&self, what: &str, pem: &str) -> Result<CertificateInfo, CredentialsError> {
        let pki = |source| CredentialsError::Pki {
            what: format!("the certificate {what}"),
            source: Box::new(source),
        };
        let first = inventory::inspect_pem(pem).map_err(pki)?.into_iter().next();
        first.ok_or_else(|| CredentialsError::Missing {
            path: format!("a certificate in {}", self.pki_path(what, "pem").display()),
        })
    }

    /// What keeps an existing certificate from being used as it is.
    fn certificate_problem(
        &self,
        plan: &CertificatePlan,
        inventory: &Inventory,
        issuer: Option<&String>,
    ) -> Result<Option<Problem>, CredentialsError> {
        let drift = |why: &str| Ok(Some(Problem::Drift(why.to_owned())));
        let (chain, key) = (self.pki_path(&plan.id, "pem"), self.pki_path(&plan.id, "key"));
        let (Some(chain), Some(key)) = (self.dir.read_text(&chain)?, self.dir.read_text(&key)?) else {
            return Ok(Some(Problem::Missing));
        };
        let Some(known) = inventory.certificates.get(&plan.id) else {
            return drift("is not in the inventory: it was put there by hand or its making was interrupted");
        };
        let Ok(info) = self.inspect(&plan.id, &chain) else { return drift("is not a certificate any more") };
        if info.fingerprint_sha256 != known.fingerprint_sha256 {
            return drift("was changed by hand: it is not the one that was issued");
        }
        if !PrivateKeyPem::parse(&key).is_ok_and(|key| inventory::key_matches(&chain, &key).unwrap_or(false))
        {
            return drift("has a key that was changed by hand: the two do not belong together");
        }
        if issuer.is_some_and(|issuer| *issuer != known.issuer_fingerprint_sha256) {
            return drift("was issued by an authority that has been replaced since");
        }
        if info.status(self.now) == Status::Expired {
            return drift("has expired");
        }
        // An outside authority may add names of its own.
        let outside = inventory.outside.contains_key(plan.ca.stem());
        let named = if outside {
            plan.sans.iter().all(|san| info.sans.contains(san))
        } else {
            info.sans == plan.sans
        };
        if info.subject != subject(plan).to_string() || !named {
            return drift("carries other names than the plan");
        }
        // An authority keeps the key that it has: another one would cut off every client, for no gain that
        // was asked for by a kind of key. Whoever wants that moves the authority away.
        if info.key_algorithm != Some(self.plan.pki.algorithm) {
            let is = info.key_algorithm.map_or("of another kind", KeyAlgorithm::as_str);
            return drift(&format!("has a key that is {is}, planned is {}", self.plan.pki.algorithm));
        }
        Ok(None)
    }

    /// Moves a certificate and its key out of the way; nothing is deleted.
    fn set_aside(&self, id: &str) -> Result<(), CredentialsError> {
        let folder = self.dir.pki().join("set-aside");
        store::create_private_dir(&folder).map_err(DirError::from)?;
        let stamp = self.now.unix_timestamp();
        for extension in ["pem", "key"] {
            let from = self.pki_path(id, extension);
            let to = folder.join(format!("{id}.{stamp}.{extension}"));
            if from.exists() {
                std::fs::rename(&from, &to).map_err(|source| DirError::Io {
                    action: "moving aside",
                    path: from.display().to_string(),
                    source,
                })?;
            }
        }
        Ok(())
    }
}

enum Problem {
    Missing,
    Drift(String),
}

fn subject(certificate: &CertificatePlan) -> DistinguishedName {
    DistinguishedName::common_name(&certificate.common_name)
        .with_organizational_unit(&certificate.organizational_unit)
        .with_organization(ORGANIZATION)
}

/// The rule that a password breaks, if any.
///
/// A password stands in quotes of a JAAS line, in a Java properties file, in librdkafka's configuration and
/// in a file of the registry that expands `${...}`. They quote differently, so what would need quoting in any
/// of them is not taken at all.
fn broken_rule(password: &str) -> Option<&'static str> {
    if !password.bytes().all(|b| b.is_ascii_graphic()) {
        return Some("it may hold printable ASCII only, without spaces and line ends");
    }
    if password.bytes().any(|b| matches!(b, b'"' | b'\\' | b'$')) {
        return Some("it may not hold a double quote, a backslash or a dollar sign");
    }
    (password.len() < MINIMUM_PASSWORD).then_some("it is too short")
}

/// A password of 160 bits from the operating system, in letters and digits that need no quoting anywhere.
///
/// Kafka caps the iterations of the derivation at 16384, far below what a typed password would need, so
/// strength comes from the password itself.
fn generate_password(user: &UserName) -> Result<SecretString, CredentialsError> {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut random = [0_u8; 32];
    SystemRandom::new().fill(&mut random).map_err(|_| CredentialsError::Random { user: user.to_string() })?;
    // 32 letters of 5 bits each: 160 bits.
    let text: String = random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect();
    Ok(SecretString::from(text))
}

#[cfg(test)]
mod tests;
