//! Reading and writing PEM (RFC 7468). The only module that uses `rustls-pemfile`, which its authors have
//! archived: whoever replaces it changes this file alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer};
use rustls_pemfile::Item;
use zeroize::Zeroizing;

use crate::PkiError;

/// Every certificate in the text, in order; other sections and text between them are passed over.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let mut found = Vec::new();
    for item in items(pem, "a certificate")? {
        if let Item::X509Certificate(certificate) = item? {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        return Err(missing("a certificate", "there is no section 'BEGIN CERTIFICATE'"));
    }
    Ok(found)
}

/// The first private key in the text, in whichever of the three forms it is written.
pub(crate) fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, PkiError> {
    // An encrypted key would otherwise be passed over (PKCS#8) or be called bad base64 (PKCS#1, SEC1).
    if contains(pem, b"BEGIN ENCRYPTED PRIVATE KEY") || contains(pem, b"Proc-Type: 4,ENCRYPTED") {
        return Err(missing(
            "a private key",
            "the key is encrypted; decrypt it first with 'openssl pkey -in KEY -out PLAIN' into a file \
             that only you can read",
        ));
    }
    for item in items(pem, "a private key")? {
        match item? {
            Item::Pkcs1Key(key) => return Ok(key.into()),
            Item::Pkcs8Key(key) => return Ok(key.into()),
            Item::Sec1Key(key) => return Ok(key.into()),
            _ => {}
        }
    }
    Err(missing("a private key", "there is no section 'BEGIN PRIVATE KEY'"))
}

/// The first certificate request in the text.
pub(crate) fn certificate_request(pem: &[u8]) -> Result<CertificateSigningRequestDer<'static>, PkiError> {
    for item in items(pem, "a certificate request")? {
        if let Item::Csr(request) = item? {
            return Ok(request);
        }
    }
    Err(missing("a certificate request", "there is no section 'BEGIN CERTIFICATE REQUEST'"))
}

/// One certificate as PEM text with a final line feed.
pub(crate) fn encode_certificate(der: &[u8]) -> String {
    encode("CERTIFICATE", der).to_string()
}

/// One section as PEM text with a final line feed; zeroed on drop, since it may be a key.
pub(crate) fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(der));
    // Reserved at once: a growing string would leave copies of a key behind.
    let mut text = Zeroizing::new(String::with_capacity(body.len() + body.len() / 64 + 2 * label.len() + 48));
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

const CUT_OFF: &str = "a section is cut off or not base64; copy the file again, whole";

fn items(pem: &[u8], what: &'static str) -> Result<impl Iterator<Item = Result<Item, PkiError>>, PkiError> {
    if !sections_are_whole(pem) {
        return Err(missing(what, CUT_OFF));
    }
    let mut rest = pem;
    Ok(std::iter::from_fn(move || rustls_pemfile::read_one(&mut rest).transpose()).map(move |item| {
        item.map_err(|error| PkiError::MalformedPem { what, reason: CUT_OFF, source: Some(error.into()) })
    }))
}

/// Whether each section ends, under its own label, before another begins. The reader below would silently
/// drop one that does not, or take it for part of the next.
fn sections_are_whole(pem: &[u8]) -> bool {
    let mut open = None;
    for line in pem.split(|octet| matches!(octet, b'\n' | b'\r')).map(<[u8]>::trim_ascii) {
        if let Some(label) = line.strip_prefix(b"-----BEGIN ") {
            if open.replace(label).is_some() {
                return false;
            }
        } else if let Some(label) = line.strip_prefix(b"-----END ")
            && let Some(begun) = open.take()
            && begun != label
        {
            return false;
        }
    }
    open.is_none()
}

fn missing(what: &'static str, reason: &'static str) -> PkiError {
    PkiError::MalformedPem { what, reason, source: None }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_what_is_missing() {
        let error = certificates(b"nothing here").unwrap_err().to_string();
        assert!(error.contains("BEGIN CERTIFICATE"), "{error}");
        let error = private_key(
            b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n",
        )
        .unwrap_err()
        .to_string();
        assert!(error.contains("encrypted") && error.contains("openssl pkey"), "{error}");
        let whole = encode_certificate(b"some octets");
        for cut in [
            "-----BEGIN CERTIFICATE-----\nAAAA\n".to_owned(),
            format!("-----BEGIN CERTIFICATE-----\r\nAAAA\r\n{whole}"),
            format!("{whole}-----BEGIN X509 CRL-----\nAAAA\n{whole}"),
            format!("{whole}-----BEGIN PRIVATE KEY-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ] {
            let error = certificates(cut.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("cut off"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_octets_never_panic(octets in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = certificates(&octets);
            let _ = private_key(&octets);
            let _ = certificate_request(&octets);
        }

        #[test]
        fn almost_pem_never_panics(text in "(-----(BEGIN|END) (CERTIFICATE|PRIVATE KEY|EC PRIVATE KEY)-----|[A-Za-z0-9+/=\n\r -]{0,40}|\n){0,12}") {
            let _ = certificates(text.as_bytes());
            let _ = private_key(text.as_bytes());
            let _ = certificate_request(text.as_bytes());
        }

        #[test]
        fn certificates_survive_encoding(sections in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 1..4)) {
            let text: String = sections.iter().map(|der| encode_certificate(der)).collect();
            let read = certificates(text.as_bytes()).unwrap();
            prop_assert_eq!(read.len(), sections.len());
            for (read, written) in read.iter().zip(&sections) {
                prop_assert_eq!(read.as_ref(), written.as_slice());
            }
        }
    }
}
