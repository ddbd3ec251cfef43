//! Properties over arbitrary input: names, PKCS#12 round trips, and that nothing shows a key.

use caracal_pki::{
    CertificateAuthority, CertificateRequest, DistinguishedName, LeafRequest, PrivateKeyPem, Usage,
    inventory, stores,
};
use p12_keystore::{KeyStore, KeyStoreEntry, Pkcs12ImportPolicy};
use proptest::prelude::*;
use secrecy::SecretString;

use crate::fixture::{ca, leaf, request};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn names_read_as_they_were_written(
        cn in "[^\\p{C}]{1,20}", o in proptest::option::of("[^\\p{C}]{1,20}"), ou in proptest::option::of("[ ,=+<>#;\"\\\\a]{1,9}"),
    ) {
        let subject = DistinguishedName { common_name: cn, organization: o, organizational_unit: ou };
        let issued = ca().issue(&LeafRequest { subject: subject.clone(), ..request(Usage::Client) }).unwrap();
        let info = inventory::inspect_pem(issued.chain_pem()).unwrap().remove(0);
        prop_assert_eq!(info.subject, subject.to_string());
    }

    #[test]
    fn alternative_names_read_as_they_were_written(
        names in proptest::collection::vec("[a-z][a-z0-9_]{0,8}(\\.[a-z]{1,5}){0,2}", 1..6),
        addresses in proptest::collection::vec(any::<std::net::IpAddr>(), 0..4),
    ) {
        let mut sans = Vec::new();
        for text in names.into_iter().chain(addresses.iter().map(ToString::to_string)) {
            let san = text.parse().unwrap();
            if !sans.contains(&san) {
                sans.push(san);
            }
        }
        let issued = ca().issue(&LeafRequest { sans: sans.clone(), ..request(Usage::Server) }).unwrap();
        prop_assert_eq!(&inventory::inspect_pem(issued.chain_pem()).unwrap()[0].sans, &sans);
    }

    #[test]
    fn readers_refuse_arbitrary_text_without_panic(text in "(-----(BEGIN|END) (CERTIFICATE|PRIVATE KEY|CERTIFICATE REQUEST)-----|MII[A-Za-z0-9+/=]{0,60}|\\PC{0,20}|\n){0,12}") {
        prop_assert!(inventory::inspect_pem(&text).is_err());
        prop_assert!(PrivateKeyPem::parse(&text).is_err());
        prop_assert!(ca().sign_request(&text, Usage::Client, request(Usage::Client).validity).is_err());
        let _ = stores::truststore_pem(&[&text]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn pkcs12_stores_give_back_what_was_put_in(password in "[ -~]{6,24}", alias in "[a-z0-9._-]{1,16}") {
        let (ca, password) = (ca(), SecretString::from(password));
        let issued = leaf(&ca, Usage::Server);
        let store = stores::keystore_pkcs12(&alias, &issued, &[ca.certificate_pem()], &password).unwrap();
        let text = secrecy::ExposeSecret::expose_secret(&password);
        let read = KeyStore::from_pkcs12(&store, text, Pkcs12ImportPolicy::Strict).unwrap();
        let Some(KeyStoreEntry::PrivateKeyChain(chain)) = read.entry(&alias) else { panic!("no key entry") };
        prop_assert_eq!(chain.certs().len(), 2);

        let store = stores::truststore_pkcs12(&[(&alias, ca.certificate_pem())], &password).unwrap();
        let read = KeyStore::from_pkcs12(&store, text, Pkcs12ImportPolicy::Strict).unwrap();
        prop_assert!(matches!(read.entry(&alias), Some(KeyStoreEntry::Certificate(_))));
        prop_assert!(KeyStore::from_pkcs12(&store, "not the password", Pkcs12ImportPolicy::Strict).is_err());
    }
}

#[test]
fn pkcs12_input_that_some_reader_refuses_is_refused() {
    let ca = ca();
    let issued = leaf(&ca, Usage::Client);
    let good = SecretString::from("long enough");
    for (alias, password, part) in [
        ("", "long enough", "alias"),
        ("a\u{1f600}", "long enough", "alias"),
        ("a", "short", "password"),
        ("a", "p\u{e4}ssword", "password"),
    ] {
        let error = stores::keystore_pkcs12(alias, &issued, &[], &SecretString::from(password))
            .unwrap_err()
            .to_string();
        assert!(error.contains(part) && (password.len() < 4 || !error.contains(password)), "{error}");
    }
    let error = stores::truststore_pkcs12(&[], &good).unwrap_err().to_string();
    assert!(error.contains("trusts nobody"), "{error}");
    let twice = [("CA", ca.certificate_pem()), ("ca", ca.certificate_pem())];
    let error = stores::truststore_pkcs12(&twice, &good).unwrap_err().to_string();
    assert!(error.contains("same alias"), "{error}");
}

#[test]
fn debug_output_shows_no_key() {
    let ca = ca();
    let issued = leaf(&ca, Usage::Client);
    let asked = CertificateRequest::generate(&request(Usage::Client)).unwrap();
    let mismatch = CertificateAuthority::from_pem(ca.certificate_pem(), issued.key_pem()).unwrap_err();
    let shown =
        format!("{ca:?} {issued:?} {asked:?} {mismatch:?} {mismatch} {:?}", stores::keystore_pem(&issued));
    for key in [ca.key_pem(), issued.key_pem(), asked.key_pem()] {
        for line in key.expose_pem().lines().filter(|line| line.len() > 16 && !line.starts_with('-')) {
            assert!(!shown.contains(line));
        }
    }
    assert!(!shown.contains("PRIVATE KEY"), "{shown}");
}
