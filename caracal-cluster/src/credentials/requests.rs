//! An authority outside: what it is asked to sign, and what it has signed.
//!
//! Keys never leave. Each lies with its request in `pki/requests`, and only the request is copied out. What comes back is
//! taken when all of it fits; one certificate that does not leaves everything as it was. From then on the authority's
//! certificate lies here without its key, and whatever has to be signed anew has to go that way again.

use std::path::{Path, PathBuf};

use caracal_pki::inventory::{self, Status};
use caracal_pki::{CertificateRequest, Issued, LeafRequest, PrivateKeyPem, Validity, store, stores};

use super::{Credentials, CredentialsError, InventoryEntry, subject};
use crate::dir::DirError;
use crate::lifecycle::chain;
use crate::plan::{Ca, CertificatePlan};

/// The certificate of the outside authority, in the folder of what it signed.
const ANCHOR: &str = "ca.pem";

/// What one authority returned, checked.
struct Answer {
    ca: Ca,
    anchor: String,
    issued: Vec<(String, Issued)>,
}

impl Credentials<'_> {
    /// Where each planned certificate's request would lie below a folder: `<authority>/<certificate>.csr`.
    pub fn requests(&self, to: &Path) -> Vec<PathBuf> {
        let certificates = self.plan.pki.certificates.iter();
        certificates.map(|certificate| answer(to, certificate, "csr")).collect()
    }

    /// Writes a request for every planned certificate into a folder; the keys stay here. A request that was made before
    /// and still fits is written again, so that an answer to it stays good.
    ///
    /// # Errors
    /// When a key cannot be made or a file cannot be written.
    pub fn request(&self, to: &Path) -> Result<Vec<PathBuf>, CredentialsError> {
        store::create_private_dir(&self.requests_dir()).map_err(DirError::from)?;
        for certificate in &self.plan.pki.certificates {
            let request = match self.known_request(certificate)? {
                Some(request) => request,
                None => self.new_request(certificate)?,
            };
            let path = answer(to, certificate, "csr");
            let folder = path.parent().unwrap_or(to);
            std::fs::create_dir_all(folder).map_err(|source| DirError::Io {
                action: "making",
                path: folder.display().to_string(),
                source,
            })?;
            store::write_public(&path, request.csr_pem().as_bytes()).map_err(DirError::from)?;
        }
        Ok(self.requests(to))
    }

    /// Takes what outside authorities signed: from `<folder>/data-ca`, `<folder>/control-ca`, or both, each with `ca.pem`
    /// and a `<certificate>.pem` a request. Gives the names of the certificates; with `only_look` nothing is written.
    ///
    /// # Errors
    /// [`CredentialsError::Answer`] with everything that does not fit; when a file cannot be read or written.
    pub fn accept(&self, from: &Path, only_look: bool) -> Result<Vec<String>, CredentialsError> {
        let (mut answers, mut problems) = (Vec::new(), Vec::new());
        for ca in Ca::ALL {
            if from.join(ca.stem()).join(ANCHOR).exists() {
                answers.extend(self.answered(ca, from, &mut problems));
            }
        }
        if answers.is_empty() && problems.is_empty() {
            let [data, control] = Ca::ALL.map(|ca| from.join(ca.stem()).join(ANCHOR).display().to_string());
            problems.push(format!("neither {data} nor {control} is there"));
        }
        if !problems.is_empty() {
            return Err(CredentialsError::Answer { problems });
        }
        let names =
            answers.iter().flat_map(|answer| answer.issued.iter().map(|(id, _)| id.clone())).collect();
        if !only_look {
            store::create_private_dir(&self.dir.pki()).map_err(DirError::from)?;
            answers.iter().try_for_each(|answer| self.take(answer))?;
        }
        Ok(names)
    }

    /// The certificate of an authority whose key is not here because it never was; none for one of ours.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn outside(&self, ca: Ca) -> Result<Option<String>, CredentialsError> {
        let Some(known) = self.inventory()?.outside.remove(ca.stem()) else { return Ok(None) };
        let Some(text) = self.dir.read_text(&self.pki_path(ca.stem(), "pem"))? else { return Ok(None) };
        let same = self.inspect(ca.stem(), &text)?.fingerprint_sha256 == known;
        // With a key it is somebody's own authority, put there by hand.
        Ok((same && !self.pki_path(ca.stem(), "key").exists()).then_some(text))
    }

    /// That nothing below an outside authority has to be signed.
    pub(super) fn signed_outside(&self, ca: Ca, anchor: &str) -> Result<(), CredentialsError> {
        let issuer = self.inspect(ca.stem(), anchor)?.fingerprint_sha256;
        let inventory = self.inventory()?;
        let mut certificates = Vec::new();
        for certificate in self.plan.pki.certificates.iter().filter(|certificate| certificate.ca == ca) {
            if self.certificate_problem(certificate, &inventory, Some(&issuer))?.is_some() {
                certificates.push(certificate.id.clone());
            }
        }
        if certificates.is_empty() { Ok(()) } else { Err(self.unsigned(ca, certificates)) }
    }

    pub(super) fn unsigned(&self, ca: Ca, certificates: Vec<String>) -> CredentialsError {
        let authority = self.pki_path(ca.stem(), "pem").display().to_string();
        CredentialsError::Outside { authority, certificates }
    }

    fn requests_dir(&self) -> PathBuf {
        self.dir.pki().join("requests")
    }

    fn new_request(&self, certificate: &CertificatePlan) -> Result<CertificateRequest, CredentialsError> {
        let asked = LeafRequest {
            subject: subject(certificate),
            sans: certificate.sans.clone(),
            usage: certificate.usage,
            algorithm: self.plan.pki.algorithm,
            // A request names no period; this one is not used.
            validity: Validity::days_from(self.now, self.plan.pki.leaf_days),
        };
        let request = CertificateRequest::generate(&asked).map_err(|source| CredentialsError::Pki {
            what: format!("the request for {}", certificate.id),
            source: Box::new(source),
        })?;
        let path = |extension| self.requests_dir().join(format!("{}.{extension}", certificate.id));
        // The key first: a request whose key is lost is of no use when it comes back signed.
        self.dir.write(&path("key"), request.key_pem().expose_pem().as_bytes())?;
        self.dir.write(&path("csr"), request.csr_pem().as_bytes())?;
        Ok(request)
    }

    /// The request that was made for a certificate, while it says what is planned.
    fn known_request(
        &self,
        certificate: &CertificatePlan,
    ) -> Result<Option<CertificateRequest>, CredentialsError> {
        let path = |extension| self.requests_dir().join(format!("{}.{extension}", certificate.id));
        let (Some(csr), Some(key)) = (self.dir.read_text(&path("csr"))?, self.dir.read_text(&path("key"))?)
        else {
            return Ok(None);
        };
        let request = PrivateKeyPem::parse(&key).and_then(|key| CertificateRequest::from_pem(&csr, &key));
        let fits = |request: &CertificateRequest| {
            request.subject() == subject(certificate).to_string() && request.sans() == certificate.sans
        };
        Ok(request.ok().filter(fits))
    }

    /// What one authority returned; whatever does not fit is added to the problems.
    fn answered(&self, ca: Ca, from: &Path, problems: &mut Vec<String>) -> Option<Answer> {
        let path = from.join(ca.stem()).join(ANCHOR);
        let anchor = read(&path).and_then(|text| {
            // Certificates alone: a key that lies in the same file stays where it is.
            let text = stores::truststore_pem(&[text.as_str()]).map_err(|error| chain(&error))?;
            let found = inventory::inspect_pem(&text).map_err(|error| chain(&error))?;
            let sound =
                |info: &inventory::CertificateInfo| info.is_ca && info.status(self.now) == Status::Valid;
            if found.iter().all(sound) {
                Ok(text)
            } else {
                Err("it is no authority that is valid now".to_owned())
            }
        });
        let anchor = anchor.map_err(|why| problems.push(format!("{}: {why}", path.display()))).ok()?;
        let mut issued = Vec::new();
        for certificate in self.plan.pki.certificates.iter().filter(|certificate| certificate.ca == ca) {
            let path = answer(from, certificate, "pem");
            match self.accepted(certificate, &path, &anchor) {
                Ok(one) => issued.push((certificate.id.clone(), one)),
                Err(why) => problems.push(format!("{}: {why}", path.display())),
            }
        }
        Some(Answer { ca, anchor, issued })
    }

    fn accepted(&self, certificate: &CertificatePlan, path: &Path, anchor: &str) -> Result<Issued, String> {
        let text = read(path)?;
        let request = self.known_request(certificate).map_err(|error| chain(&error))?;
        let request = request.ok_or("nothing was asked for that is planned now: `--request` it anew")?;
        let issued = request.accept(&text, anchor).map_err(|error| chain(&error))?;
        let info = self.inspect(&certificate.id, issued.chain_pem()).map_err(|error| chain(&error))?;
        match info.status(self.now) {
            Status::Valid => Ok(issued),
            Status::NotYetValid => Err(format!("it is not valid before {}", info.not_before)),
            Status::Expired => Err(format!("it expired at {}", info.not_after)),
        }
    }

    fn take(&self, answer: &Answer) -> Result<(), CredentialsError> {
        let mut inventory = self.inventory()?;
        self.set_aside(answer.ca.stem())?;
        self.dir.write(&self.pki_path(answer.ca.stem(), "pem"), answer.anchor.as_bytes())?;
        let issuer = self.inspect(answer.ca.stem(), &answer.anchor)?.fingerprint_sha256;
        for (id, issued) in &answer.issued {
            self.set_aside(id)?;
            self.dir.write(&self.pki_path(id, "key"), issued.key_pem().expose_pem().as_bytes())?;
            self.dir.write(&self.pki_path(id, "pem"), issued.chain_pem().as_bytes())?;
            let info = self.inspect(id, issued.chain_pem())?;
            let entry = InventoryEntry {
                fingerprint_sha256: info.fingerprint_sha256,
                serial_hex: info.serial_hex,
                issuer_fingerprint_sha256: issuer.clone(),
            };
            inventory.certificates.insert(id.clone(), entry);
        }
        inventory.outside.insert(answer.ca.stem().to_owned(), issuer);
        self.dir.write_json(&self.inventory_path(), &inventory)?;
        Ok(())
    }
}

fn answer(folder: &Path, certificate: &CertificatePlan, extension: &str) -> PathBuf {
    folder.join(certificate.ca.stem()).join(format!("{}.{extension}", certificate.id))
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use caracal_pki::{CertificateAuthority, DistinguishedName, KeyAlgorithm};
    use time::OffsetDateTime;

    use super::*;
    use crate::dir::{ClusterDir, StateRoot};
    use crate::plan::ClusterPlan;
    use crate::plan::tests::default_plan;

    fn signed(
        folder: &Path,
        plan: &ClusterPlan,
        ca: Ca,
        outside: &CertificateAuthority,
        now: OffsetDateTime,
    ) {
        let put = |path: &Path, text: &str| store::write_public(path, text.as_bytes()).unwrap();
        put(&folder.join(ca.stem()).join(ANCHOR), outside.certificate_pem());
        for certificate in plan.pki.certificates.iter().filter(|certificate| certificate.ca == ca) {
            let csr = std::fs::read_to_string(answer(folder, certificate, "csr")).unwrap();
            let chain = outside.sign_request(&csr, certificate.usage, Validity::days_from(now, 30)).unwrap();
            put(&answer(folder, certificate, "pem"), &chain);
        }
    }

    fn files(dir: &ClusterDir) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files: Vec<_> = std::fs::read_dir(dir.pki())
            .unwrap()
            .flatten()
            .filter(|entry| entry.path().is_file())
            .map(|entry| (entry.path(), std::fs::read(entry.path()).unwrap()))
            .collect();
        files.sort();
        files
    }

    #[test]
    fn an_outside_authority_signs_and_its_key_is_never_needed_here() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = StateRoot::at(&scratch.path().join("state")).unwrap().cluster(&"caracal".parse().unwrap());
        dir.create().unwrap();
        let (plan, now) = (default_plan(), OffsetDateTime::now_utc());
        let credentials = Credentials::new(&dir, &plan, now);
        credentials.apply().unwrap();
        let before = files(&dir);
        let folder = scratch.path().join("out");
        let requests = credentials.request(&folder).unwrap();
        assert_eq!(requests.len(), plan.pki.certificates.len());
        let text = std::fs::read_to_string(&requests[0]).unwrap();
        assert!(text.contains("CERTIFICATE REQUEST") && !text.contains("PRIVATE"));
        credentials.request(&folder).unwrap();
        assert_eq!(std::fs::read_to_string(&requests[0]).unwrap(), text, "an answer to it stays good");
        let refusal = credentials.accept(&folder, false).unwrap_err().to_string();
        assert!(refusal.contains("ca.pem"), "{refusal}");

        let name = DistinguishedName::common_name("of the company");
        let outside =
            CertificateAuthority::create(name, KeyAlgorithm::EcdsaP256, Validity::days_from(now, 300))
                .unwrap();
        signed(&folder, &plan, Ca::Data, &outside, now);
        // One answer of another request spoils all of it, and nothing is changed.
        let consumer = folder.join("data-ca/client.consumer.pem");
        let right = std::fs::read_to_string(&consumer).unwrap();
        std::fs::copy(folder.join("data-ca/client.producer.pem"), &consumer).unwrap();
        let refusal = credentials.accept(&folder, false).unwrap_err().to_string();
        assert!(
            refusal.contains("client.consumer.pem") && refusal.contains("key of the request"),
            "{refusal}"
        );
        assert_eq!(files(&dir), before);

        store::write_public(&consumer, right.as_bytes()).unwrap();
        assert!(credentials.accept(&folder, true).unwrap().contains(&"client.consumer".to_owned()));
        assert_eq!(files(&dir), before, "it was only looked at");
        credentials.accept(&folder, false).unwrap();
        assert!(credentials.observe().unwrap().is_clean(), "{:?}", credentials.observe().unwrap());
        assert!(credentials.apply().unwrap().is_clean());
        assert!(!dir.pki().join("data-ca.key").exists() && dir.pki().join("control-ca.key").exists());
        let refusal = credentials.reissue("client.consumer").unwrap_err();
        assert!(matches!(refusal, CredentialsError::Outside { .. }), "{refusal}");
        // A certificate that is lost has to be signed there again.
        std::fs::remove_file(dir.pki().join("client.consumer.pem")).unwrap();
        let refusal = credentials.apply().unwrap_err().to_string();
        assert!(refusal.contains("client.consumer") && refusal.contains("--request"), "{refusal}");
    }
}
