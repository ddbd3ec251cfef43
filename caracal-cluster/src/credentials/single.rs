//! One user's or one certificate's credentials: what operations on a running cluster change.

use caracal_pki::inventory::CertificateInfo;
use caracal_pki::store;
use secrecy::{ExposeSecret as _, SecretString};

use super::{Credentials, CredentialsError, InventoryEntry, Problem, broken_rule, generate_password};
use crate::dir::DirError;
use crate::names::UserName;
use crate::plan::CertificatePlan;

impl Credentials<'_> {
    /// A password of 160 random bits, as every generated one.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn generated_password(user: &UserName) -> Result<SecretString, CredentialsError> {
        generate_password(user)
    }

    /// The rule that a password breaks, if any: one of its readers could not carry it.
    pub fn password_problem(password: &SecretString) -> Option<&'static str> {
        broken_rule(password.expose_secret())
    }

    /// Replaces a user's password file.
    ///
    /// # Errors
    /// [`CredentialsError::Password`] when one of its readers could not carry it.
    pub fn put_password(&self, user: &UserName, password: &SecretString) -> Result<(), CredentialsError> {
        let path = self.dir.password(user);
        if let Some(rule) = Self::password_problem(password) {
            return Err(CredentialsError::Password { path: path.display().to_string(), rule });
        }
        store::create_private_dir(&self.dir.passwords()).map_err(DirError::from)?;
        self.dir.write(&path, password.expose_secret().as_bytes())?;
        Ok(())
    }

    /// Issues one planned certificate, unless the one that is there fits.
    ///
    /// # Errors
    /// When its authority is missing or has expired, or a file cannot be written.
    pub fn ensure_certificate(&self, id: &str) -> Result<(), CredentialsError> {
        let plan = self.planned(id)?;
        let issuer = self.authority_pem(plan.ca)?;
        let issuer = self.inspect(plan.ca.stem(), &issuer)?.fingerprint_sha256;
        match self.certificate_problem(plan, &self.inventory()?, Some(&issuer))? {
            None => Ok(()),
            Some(Problem::Missing | Problem::Drift(_)) => self.reissue(id).map(drop),
        }
    }

    /// Issues one planned certificate anew, with a key of its own, below the authority as it is; the old one is
    /// set aside. Gives what the new one says.
    ///
    /// # Errors
    /// As [`ensure_certificate`](Self::ensure_certificate).
    pub fn reissue(&self, id: &str) -> Result<CertificateInfo, CredentialsError> {
        let plan = self.planned(id)?;
        if self.outside(plan.ca)?.is_some() {
            return Err(self.unsigned(plan.ca, vec![id.to_owned()]));
        }
        let authority = self.authority(plan.ca)?.ok_or_else(|| CredentialsError::Missing {
            path: self.pki_path(plan.ca.stem(), "key").display().to_string(),
        })?;
        let issuer = self.inspect(plan.ca.stem(), authority.certificate_pem())?;
        if issuer.not_after <= self.now {
            let path = |extension| self.pki_path(plan.ca.stem(), extension).display().to_string();
            let (certificate, key) = (path("pem"), path("key"));
            return Err(CredentialsError::ExpiredAuthority { certificate, key, expired: issuer.not_after });
        }
        self.set_aside(id)?;
        let issued = self.issue(&authority, plan)?;
        let info = self.inspect(id, issued.chain_pem())?;
        let mut inventory = self.inventory()?;
        let entry = InventoryEntry {
            fingerprint_sha256: info.fingerprint_sha256.clone(),
            serial_hex: info.serial_hex.clone(),
            issuer_fingerprint_sha256: issuer.fingerprint_sha256,
        };
        inventory.certificates.insert(id.to_owned(), entry);
        self.dir.write_json(&self.inventory_path(), &inventory)?;
        Ok(info)
    }

    /// Takes everything of a user away that lies here: password, client files, certificate (set aside, as every
    /// certificate that is not used any more). Gives the paths that are gone.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn forget_user(
        &self,
        user: &UserName,
        certificate: Option<&str>,
    ) -> Result<Vec<String>, CredentialsError> {
        let mut gone = Vec::new();
        if let Some(id) = certificate.filter(|id| self.pki_path(id, "pem").exists()) {
            self.set_aside(id)?;
            let mut inventory = self.inventory()?;
            inventory.certificates.remove(id);
            self.dir.write_json(&self.inventory_path(), &inventory)?;
            gone.push(self.pki_path(id, "pem").display().to_string());
        }
        let removed = |path: &std::path::Path, outcome: std::io::Result<()>| match outcome {
            Ok(()) => Ok(Some(path.display().to_string())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(DirError::Io { action: "removing", path: path.display().to_string(), source }),
        };
        let (folder, password) = (self.dir.client(user), self.dir.password(user));
        gone.extend(removed(&folder, std::fs::remove_dir_all(&folder))?);
        gone.extend(removed(&password, std::fs::remove_file(&password))?);
        Ok(gone)
    }

    fn planned(&self, id: &str) -> Result<&CertificatePlan, CredentialsError> {
        let planned = self.plan.pki.certificates.iter().find(|certificate| certificate.id == id);
        planned.ok_or_else(|| CredentialsError::Missing { path: format!("a plan for the certificate {id}") })
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::dir::StateRoot;
    use crate::plan::tests::default_plan;

    #[test]
    fn a_reissued_certificate_is_another_and_still_fits_the_plan() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = StateRoot::at(&scratch.path().join("state")).unwrap().cluster(&"caracal".parse().unwrap());
        dir.create().unwrap();
        let plan = default_plan();
        let credentials = Credentials::new(&dir, &plan, OffsetDateTime::now_utc());
        credentials.apply().unwrap();
        let before = credentials.certificates().unwrap();
        let serial = |list: &[(String, CertificateInfo)], id: &str| {
            list.iter().find(|(known, _)| known == id).map(|(_, info)| info.serial_hex.clone())
        };
        let id = "caracal-kafka-1.listener";
        let renewed = credentials.reissue(id).unwrap();
        let after = credentials.certificates().unwrap();
        assert_ne!(serial(&before, id), serial(&after, id));
        assert_eq!(Some(renewed.serial_hex), serial(&after, id));
        assert_eq!(serial(&before, "data-ca"), serial(&after, "data-ca"), "the authority stays");
        credentials.ensure_certificate(id).unwrap();
        assert_eq!(
            serial(&credentials.certificates().unwrap(), id),
            serial(&after, id),
            "one that fits stays"
        );
        assert!(credentials.observe().unwrap().is_clean(), "{:?}", credentials.observe().unwrap());
    }

    #[test]
    fn a_forgotten_user_leaves_nothing_but_what_was_set_aside() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = StateRoot::at(&scratch.path().join("state")).unwrap().cluster(&"caracal".parse().unwrap());
        dir.create().unwrap();
        let plan = default_plan();
        let credentials = Credentials::new(&dir, &plan, OffsetDateTime::now_utc());
        credentials.apply().unwrap();
        let user = "consumer".parse().unwrap();
        let gone = credentials.forget_user(&user, Some("client.consumer")).unwrap();
        assert_eq!(gone.len(), 2, "{gone:?}");
        assert!(!dir.password(&user).exists() && !dir.pki().join("client.consumer.pem").exists());
        assert!(credentials.forget_user(&user, Some("client.consumer")).unwrap().is_empty());
        assert!(matches!(
            credentials.put_password(&user, &SecretString::from("short".to_owned())),
            Err(CredentialsError::Password { .. })
        ));
    }
}
