//! PEM texts of others: certificates, keys, stores. Nothing may panic, and what a trust store takes must be
//! certificates that can be read again.

#![no_main]

use caracal_pki::{CertificateAuthority, Issued, PrivateKeyPem, inventory, stores};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let key = PrivateKeyPem::parse(text);
    let certificates = inventory::inspect_pem(text);
    if let Ok(store) = stores::truststore_pem(&[text]) {
        let read = inventory::inspect_pem(&store).expect("a trust store can be read");
        assert_eq!(Ok(read), certificates.map_err(|_| "taken, but not readable"));
        assert!(!store.contains("PRIVATE KEY"));
    }
    if let Ok(key) = key {
        let _ = inventory::key_matches(text, &key);
        let _ = Issued::from_pem(text, &key);
        let _ = CertificateAuthority::from_pem(text, &key);
    }
});
