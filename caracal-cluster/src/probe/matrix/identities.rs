//! Certificates that nobody should accept, made in memory and never written.

use caracal_pki::{
    CertificateAuthority, DistinguishedName, Issued, KeyAlgorithm, LeafRequest, PkiError, Usage, Validity,
};
use secrecy::SecretString;
use time::{Duration, OffsetDateTime};

use crate::credentials::CredentialsError;
use crate::lifecycle::Access;
use crate::lifecycle::access::AccessError;
use crate::names::UserName;
use crate::plan::{BOOTSTRAP_CERTIFICATE, Ca, ClusterPlan};
use crate::wire::{TlsConfig, TlsIdentity};

use super::VerifyError;

/// What is presented in a handshake.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Presented {
    /// A certificate of the port's own authority whose validity is over.
    Expired,
    /// A certificate of an authority that nobody knows.
    Foreign,
    /// What the brokers present to ZooKeeper.
    MetadataClient,
    /// A certificate of the port's own authority whose validity has not begun.
    NotYetValid,
    /// No certificate.
    Nothing,
    /// A ZooKeeper node's own certificate, by its id.
    Planned(String),
    /// A certificate of the control authority that is not the brokers'.
    Stranger,
    /// A user's.
    User(UserName),
}

/// The certificates made for the probes.
pub(super) struct Identities {
    foreign: Issued,
    stranger: Issued,
    // Below the data authority, then below the control authority.
    expired: [Option<Issued>; 2],
    not_yet_valid: [Issued; 2],
}

impl Identities {
    /// Makes them; needs the keys of both authorities.
    pub(super) fn make(access: &Access<'_>, now: OffsetDateTime) -> Result<Self, VerifyError> {
        let data = authority(access, Ca::Data)?;
        let control = authority(access, Ca::Control)?;
        let valid = Validity::days_from(now, 1);
        let later = Validity { not_before: now + Duration::days(1), not_after: now + Duration::days(2) };
        let foreign = CertificateAuthority::create(
            DistinguishedName::common_name("caracal verify: foreign CA"),
            KeyAlgorithm::EcdsaP256,
            valid,
        );
        let foreign = foreign.map_err(|source| minting("the foreign authority", source))?;
        Ok(Self {
            foreign: issue(&foreign, "foreign", valid)?,
            stranger: issue(&control, "stranger", valid)?,
            expired: [expired(&data, now)?, expired(&control, now)?],
            not_yet_valid: [issue(&data, "not yet valid", later)?, issue(&control, "not yet valid", later)?],
        })
    }

    /// TLS that presents this and trusts the authority of the port; none when there is no such certificate.
    pub(super) fn tls(
        &self,
        access: &Access<'_>,
        plan: &ClusterPlan,
        presented: &Presented,
        trusted: Ca,
    ) -> Result<Option<TlsConfig>, AccessError> {
        let pair = usize::from(trusted == Ca::Control);
        let issued = match presented {
            Presented::Nothing => return access.tls_without_certificate(trusted).map(Some),
            Presented::MetadataClient => {
                return access.tls_trusting(BOOTSTRAP_CERTIFICATE, trusted).map(Some);
            }
            Presented::Planned(id) => return access.tls_trusting(id, trusted).map(Some),
            Presented::User(name) => {
                let certificate = plan.user(name.as_str()).and_then(|user| user.certificate.as_deref());
                let Some(certificate) = certificate else { return Ok(None) };
                return access.tls_trusting(certificate, trusted).map(Some);
            }
            Presented::Foreign => Some(&self.foreign),
            Presented::Stranger => Some(&self.stranger),
            Presented::Expired => self.expired[pair].as_ref(),
            Presented::NotYetValid => Some(&self.not_yet_valid[pair]),
        };
        let Some(issued) = issued else { return Ok(None) };
        let identity = TlsIdentity {
            ca_pem: access.credentials().authority_pem(trusted)?,
            chain_pem: issued.chain_pem().to_owned(),
            key_pem: SecretString::from(issued.key_pem().expose_pem().to_owned()),
        };
        let tls = TlsConfig::mutual(&identity);
        tls.map(Some).map_err(|source| AccessError::Tls { id: format!("{presented:?}"), source })
    }
}

fn authority(access: &Access<'_>, ca: Ca) -> Result<CertificateAuthority, VerifyError> {
    let missing = || CredentialsError::Missing { path: format!("the key of the authority {}", ca.stem()) };
    let found = access.credentials().authority(ca).map_err(AccessError::from)?;
    Ok(found.ok_or_else(missing).map_err(AccessError::from)?)
}

/// A leaf whose validity ended inside that of its authority; none when the authority is too young for one.
fn expired(ca: &CertificateAuthority, now: OffsetDateTime) -> Result<Option<Issued>, VerifyError> {
    let Some(validity) = past(ca.validity().not_before, now) else { return Ok(None) };
    issue(ca, "expired", validity).map(Some)
}

/// The last minutes of the authority's past, ending a minute ago, or half-way when it has no whole minute.
fn past(since: OffsetDateTime, now: OffsetDateTime) -> Option<Validity> {
    let age = now - since;
    if age < Duration::seconds(4) {
        return None;
    }
    let not_after = if age > Duration::minutes(2) { now - Duration::minutes(1) } else { now - age / 2 };
    Some(Validity { not_before: since, not_after })
}

fn issue(ca: &CertificateAuthority, name: &str, validity: Validity) -> Result<Issued, VerifyError> {
    let request = LeafRequest {
        subject: DistinguishedName::common_name(format!("caracal verify: {name}")),
        sans: Vec::new(),
        usage: Usage::Client,
        // Whatever the cluster's own: an RSA key would cost seconds.
        algorithm: KeyAlgorithm::EcdsaP256,
        validity,
    };
    ca.issue(&request).map_err(|source| minting(name, source))
}

fn minting(what: &str, source: PkiError) -> VerifyError {
    VerifyError::Minting { what: what.to_owned(), source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expired_certificate_lies_wholly_in_its_authoritys_past() {
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        for seconds in [4, 61, 119, 121, 300, 86_400] {
            let since = now - Duration::seconds(seconds);
            let validity = past(since, now).unwrap();
            assert!(validity.not_before == since && since < validity.not_after, "{seconds}");
            assert!(validity.not_after <= now - Duration::seconds(2), "{seconds}");
        }
        assert!(past(now - Duration::seconds(3), now).is_none());
    }
}
