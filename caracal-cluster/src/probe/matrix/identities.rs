//! Certificates that nobody should accept, made in memory and never written.

use std::collections::BTreeSet;

use caracal_pki::{
    CertificateAuthority, DistinguishedName, Issued, KeyAlgorithm, LeafRequest, PkiError, SubjectAltName,
    Usage, Validity,
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
    /// A certificate of the port's own authority, made for this run like the bad ones, and good.
    Minted,
    /// No certificate.
    Nothing,
    /// A ZooKeeper node's own certificate, by its id.
    Planned(String),
    /// A user's.
    User(UserName),
}

/// The certificates made for the probes, below the data authority, then below the control authority. They differ
/// from the good one in one thing each, so that it is what they are refused for: all of an authority have its
/// nodes' names, which ZooKeeper looks for in the certificates of its peers.
pub(super) struct Identities {
    /// None below an authority whose key is not here, as of the next two.
    minted: [Option<Issued>; 2],
    foreign: [Issued; 2],
    expired: [Option<Issued>; 2],
    not_yet_valid: [Option<Issued>; 2],
}

impl Identities {
    /// Makes them, as far as the keys of the authorities are here.
    pub(super) fn make(
        access: &Access<'_>,
        plan: &ClusterPlan,
        now: OffsetDateTime,
    ) -> Result<Self, VerifyError> {
        let [data, control] =
            [Made::by(access, plan, Ca::Data, now)?, Made::by(access, plan, Ca::Control, now)?];
        Ok(Self {
            minted: [data.minted, control.minted],
            foreign: [data.foreign, control.foreign],
            expired: [data.expired, control.expired],
            not_yet_valid: [data.not_yet_valid, control.not_yet_valid],
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
            Presented::Foreign => Some(&self.foreign[pair]),
            Presented::Minted => self.minted[pair].as_ref(),
            Presented::Expired => self.expired[pair].as_ref(),
            Presented::NotYetValid => self.not_yet_valid[pair].as_ref(),
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

/// An authority with its key; none for one outside.
fn authority(access: &Access<'_>, ca: Ca) -> Result<Option<CertificateAuthority>, VerifyError> {
    let missing = || CredentialsError::Missing { path: format!("the key of the authority {}", ca.stem()) };
    match access.credentials().authority(ca) {
        Err(CredentialsError::Outside { .. }) => Ok(None),
        found => {
            let found = found.map_err(AccessError::from)?;
            Ok(Some(found.ok_or_else(missing).map_err(AccessError::from)?))
        }
    }
}

/// What is made below one authority, and in its place.
struct Made {
    minted: Option<Issued>,
    foreign: Issued,
    /// None also when the authority is too young for one.
    expired: Option<Issued>,
    not_yet_valid: Option<Issued>,
}

impl Made {
    fn by(access: &Access<'_>, plan: &ClusterPlan, ca: Ca, now: OffsetDateTime) -> Result<Self, VerifyError> {
        let own = authority(access, ca)?;
        let names: BTreeSet<&SubjectAltName> = plan
            .pki
            .certificates
            .iter()
            .filter(|known| known.ca == ca)
            .flat_map(|known| &known.sans)
            .collect();
        let sans: Vec<SubjectAltName> = names.into_iter().cloned().collect();
        let valid = Validity::days_from(now, 1);
        let later = Validity { not_before: now + Duration::days(1), not_after: now + Duration::days(2) };
        let foreign = CertificateAuthority::create(
            DistinguishedName::common_name("caracal verify: foreign CA"),
            KeyAlgorithm::EcdsaP256,
            valid,
        );
        let foreign = foreign.map_err(|source| minting("the foreign authority", source))?;
        let issue = |ca: &CertificateAuthority, name, validity| issue(ca, name, &sans, validity);
        let foreign = issue(&foreign, "foreign", valid)?;
        let Some(own) = own else {
            return Ok(Self { minted: None, foreign, expired: None, not_yet_valid: None });
        };
        let expired = past(own.validity().not_before, now);
        Ok(Self {
            minted: Some(issue(&own, "minted", within(valid, own.validity()))?),
            foreign,
            expired: expired.map(|validity| issue(&own, "expired", validity)).transpose()?,
            not_yet_valid: Some(issue(&own, "not yet valid", later)?),
        })
    }
}

/// The part of a period that lies in its authority's.
fn within(period: Validity, authority: Validity) -> Validity {
    Validity {
        not_before: period.not_before.max(authority.not_before),
        not_after: period.not_after.min(authority.not_after),
    }
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

fn issue(
    ca: &CertificateAuthority,
    name: &str,
    sans: &[SubjectAltName],
    validity: Validity,
) -> Result<Issued, VerifyError> {
    let request = LeafRequest {
        subject: DistinguishedName::common_name(format!("caracal verify: {name}")),
        sans: sans.to_vec(),
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
