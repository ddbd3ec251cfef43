//! What a server or client certificate is asked to be: usage, period, names.

use std::fmt;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime, UtcOffset};

use crate::{DistinguishedName, KeyAlgorithm, PkiError, SubjectAltName, x509};

/// Which sides of a TLS connection a certificate may take (RFC 5280, 4.2.1.12).
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Usage {
    /// serverAuth only.
    Server,
    /// clientAuth only.
    Client,
    /// Both, as a node needs that also connects to its peers.
    ServerAndClient,
}

impl Usage {
    /// Whether serverAuth belongs to it.
    #[must_use]
    pub const fn is_server(self) -> bool {
        matches!(self, Self::Server | Self::ServerAndClient)
    }

    /// Whether clientAuth belongs to it.
    #[must_use]
    pub const fn is_client(self) -> bool {
        matches!(self, Self::Client | Self::ServerAndClient)
    }

    fn purposes(self) -> Vec<ExtendedKeyUsagePurpose> {
        let mut purposes = Vec::new();
        if self.is_server() {
            purposes.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        if self.is_client() {
            purposes.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        purposes
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::ServerAndClient => "server-and-client",
        })
    }
}

/// Period in which a certificate is valid, both ends included, in whole seconds of UTC.
///
/// ```
/// use caracal_pki::Validity;
/// use time::macros::datetime;
///
/// let validity = Validity::days_from(datetime!(2026-11-22 12:00 UTC), 90);
/// assert_eq!(validity.not_before, datetime!(2026-11-22 11:55 UTC));
/// assert_eq!(validity.not_after, datetime!(2027-02-20 12:00 UTC));
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Validity {
    /// First second.
    pub not_before: OffsetDateTime,
    /// Last second.
    pub not_after: OffsetDateTime,
}

impl Validity {
    /// So many days from `now`. It begins five minutes earlier, because clocks differ.
    ///
    /// An end past the year 9999 is cut to it and then refused when a certificate is made.
    #[must_use]
    pub fn days_from(now: OffsetDateTime, days: u32) -> Self {
        let now = whole_seconds(now);
        Self {
            not_before: now.saturating_sub(Duration::minutes(5)),
            not_after: now.saturating_add(Duration::days(i64::from(days))),
        }
    }

    /// The same period in whole seconds of UTC, if a certificate can say it.
    pub(crate) fn checked(self) -> Result<Self, PkiError> {
        let Self { not_before, not_after } = self;
        let refuse = |reason| Err(PkiError::InvalidValidity { not_before, not_after, reason });
        let (begin, end) = (not_before.to_offset(UtcOffset::UTC), not_after.to_offset(UtcOffset::UTC));
        if begin >= end {
            return refuse("the period is empty");
        }
        if begin.year() < 1950 || end.year() >= 9999 {
            return refuse("a certificate can only name years from 1950 to 9998");
        }
        Ok(Self { not_before: whole_seconds(begin), not_after: whole_seconds(end) })
    }
}

/// A certificate to be issued together with a new key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LeafRequest {
    /// Who it is for.
    pub subject: DistinguishedName,
    /// Host names and addresses; a server's certificate needs at least one. Repetitions are dropped.
    pub sans: Vec<SubjectAltName>,
    /// Server, client or both.
    pub usage: Usage,
    /// Kind of the key.
    pub algorithm: KeyAlgorithm,
    /// Period; must end within that of the CA.
    pub validity: Validity,
}

impl LeafRequest {
    /// What rcgen is to encode, apart from serial number and validity, which only a CA decides.
    pub(crate) fn params(&self, is_rsa: bool) -> Result<CertificateParams, PkiError> {
        let sans = SubjectAltName::checked(&self.sans)?;
        if sans.is_empty() && self.usage.is_server() {
            return Err(PkiError::NoSubjectAltName { subject: self.subject.to_string() });
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = self.subject.to_rcgen()?;
        params.subject_alt_names = sans.iter().map(SubjectAltName::to_rcgen).collect::<Result<_, _>>()?;
        set_leaf_extensions(&mut params, self.usage, is_rsa);
        Ok(params)
    }
}

/// Key usages of a leaf: signatures always, key encipherment for the RSA key exchange of TLS 1.2.
pub(crate) fn set_leaf_extensions(params: &mut CertificateParams, usage: Usage, is_rsa: bool) {
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    if is_rsa {
        params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
    }
    params.extended_key_usages = usage.purposes();
}

/// What only a CA decides: serial number, validity, link to its own key.
pub(crate) fn set_issued(params: &mut CertificateParams, validity: Validity) -> Result<(), PkiError> {
    params.serial_number = Some(x509::random_serial()?);
    params.not_before = validity.not_before;
    params.not_after = validity.not_after;
    params.use_authority_key_identifier_extension = true;
    Ok(())
}

fn whole_seconds(at: OffsetDateTime) -> OffsetDateTime {
    at.replace_nanosecond(0).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_period_begins_early_and_in_whole_seconds() {
        let validity = Validity::days_from(datetime!(2026-11-22 20:00:00.5 UTC), 2);
        assert_eq!(validity.not_before, datetime!(2026-11-22 19:55:00 UTC));
        assert_eq!(validity.not_after, datetime!(2026-11-24 20:00:00 UTC));
    }

    #[test]
    fn impossible_periods_are_refused() {
        let now = datetime!(2026-11-22 20:00:00 UTC);
        let empty = Validity { not_before: now, not_after: now };
        assert!(empty.checked().unwrap_err().to_string().contains("empty"));
        let endless = Validity::days_from(now, u32::MAX);
        assert!(endless.checked().unwrap_err().to_string().contains("9998"));
    }

    #[test]
    fn offsets_do_not_matter() {
        let utc = Validity {
            not_before: datetime!(2026-01-01 00:00 UTC),
            not_after: datetime!(2026-01-02 00:00 UTC),
        };
        let east = Validity {
            not_before: datetime!(2026-01-01 02:00 +02:00),
            not_after: datetime!(2026-01-02 02:00 +02:00),
        };
        assert_eq!(east.checked().unwrap(), utc);
    }
}
