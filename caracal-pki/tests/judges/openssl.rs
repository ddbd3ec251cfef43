//! The `openssl` command (3.x) as judge: chains, fields, keys, key stores without the legacy provider; and
//! as the maker of keys and CAs that somebody brings along.

use std::path::Path;

use caracal_pki::{
    CertificateAuthority, Issued, KeyAlgorithm, LeafRequest, PrivateKeyPem, Usage, Validity, inventory,
    stores,
};
use secrecy::ExposeSecret as _;

use crate::fixture::{ALIAS, Scratch, ca, ca_of, command, fail, leaf, now, password, request, succeed};

fn openssl(arguments: &[&str]) -> String {
    succeed(command("openssl").args(arguments))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn verify(purpose: &str, ca: &Path, leaf: &Path) -> std::process::Command {
    let mut command = command("openssl");
    command.args(["verify", "-x509_strict", "-purpose", purpose, "-CAfile"]).arg(ca).arg(leaf);
    command
}

#[test]
fn chains_hold_for_their_purpose_alone() {
    for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Rsa2048] {
        let scratch = Scratch::new();
        let ca = ca_of(algorithm);
        let ca_file = scratch.write("ca.pem", ca.certificate_pem());
        for (usage, server, client) in
            [(Usage::Server, true, false), (Usage::Client, false, true), (Usage::ServerAndClient, true, true)]
        {
            let issued = ca.issue(&LeafRequest { algorithm, ..request(usage) }).unwrap();
            let leaf = scratch.write("leaf.pem", issued.chain_pem());
            for (purpose, good) in [("sslserver", server), ("sslclient", client)] {
                let command = &mut verify(purpose, &ca_file, &leaf);
                let said = if good { succeed(command) } else { fail(command) };
                assert!(said.contains(if good { "OK" } else { "unsuitable certificate purpose" }), "{said}");
            }
        }
        let foreign = scratch.write("foreign.pem", crate::fixture::ca().certificate_pem());
        fail(&mut verify("sslclient", &foreign, &scratch.path("leaf.pem")));
    }
}

#[test]
fn fields_are_as_asked() {
    let scratch = Scratch::new();
    let (ca, rsa_ca) = (ca(), ca_of(KeyAlgorithm::Rsa2048));
    let issued = leaf(&ca, Usage::ServerAndClient);
    let file = scratch.write("leaf.pem", issued.chain_pem());
    let said = openssl(&["x509", "-in", text(&file), "-noout", "-text", "-nameopt", "RFC2253"]);
    for part in [
        "Version: 3 (0x2)",
        "Subject: CN=caracal-kafka-1,OU=Kafka,O=Caracal",
        "Issuer: CN=Caracal test CA,O=Caracal",
        "X509v3 Key Usage: critical\n                Digital Signature\n",
        "X509v3 Extended Key Usage: \n                TLS Web Server Authentication, TLS Web Client Authentication",
        "X509v3 Basic Constraints: critical\n                CA:FALSE",
        "DNS:caracal-kafka-1, DNS:localhost, DNS:*.brokers.example, DNS:node_1.example, DNS:3rd.example, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1",
        "X509v3 Authority Key Identifier",
        "X509v3 Subject Key Identifier",
        "ecdsa-with-SHA256",
        "prime256v1",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let said = openssl(&["x509", "-in", text(&file), "-noout", "-serial", "-fingerprint", "-sha256"]);
    let info = &inventory::inspect_pem(issued.chain_pem()).unwrap()[0];
    assert!(said.to_lowercase().contains(issued.serial_hex()), "{said}");
    assert!(said.replace(':', "").to_lowercase().contains(&info.fingerprint_sha256), "{said}");

    let rsa =
        rsa_ca.issue(&LeafRequest { algorithm: KeyAlgorithm::Rsa2048, ..request(Usage::Client) }).unwrap();
    let said = openssl(&["x509", "-in", text(&scratch.write("rsa.pem", rsa.chain_pem())), "-noout", "-text"]);
    assert!(said.contains("Digital Signature, Key Encipherment\n"), "{said}");
    assert!(said.contains("Public-Key: (2048 bit)") && said.contains("sha256WithRSAEncryption"), "{said}");

    let said =
        openssl(&["x509", "-in", text(&scratch.write("ca.pem", ca.certificate_pem())), "-noout", "-text"]);
    assert!(
        said.contains("X509v3 Basic Constraints: critical\n                CA:TRUE, pathlen:0"),
        "{said}"
    );
    assert!(
        said.contains("X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign\n"),
        "{said}"
    );
    assert!(said.contains("X509v3 Subject Key Identifier"), "{said}");
}

#[test]
fn keys_are_consistent_pkcs8() {
    let scratch = Scratch::new();
    for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Rsa2048, KeyAlgorithm::Rsa3072] {
        let key = scratch.write("key.pem", ca_of(algorithm).key_pem().expose_pem());
        let said = openssl(&["pkey", "-in", text(&key), "-check", "-noout"]);
        assert!(said.contains("Key is valid"), "{said}");
        openssl(&["pkcs8", "-in", text(&key), "-topk8", "-nocrypt", "-out", "/dev/null"]);
    }
}

fn pkcs12(file: &Path, password_file: &Path) -> std::process::Command {
    let mut command = command("openssl");
    command.args(["pkcs12", "-info", "-noenc", "-in"]).arg(file);
    command.arg("-passin").arg(format!("file:{}", text(password_file)));
    command
}

#[test]
fn pkcs12_key_stores_are_read_without_the_legacy_provider() {
    let scratch = Scratch::new();
    let password_file = scratch.write_password();
    let ca = ca();
    for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Rsa2048] {
        let issued = ca.issue(&LeafRequest { algorithm, ..request(Usage::Server) }).unwrap();
        let store = stores::keystore_pkcs12(ALIAS, &issued, &[ca.certificate_pem()], &password()).unwrap();
        let said = succeed(&mut pkcs12(&scratch.write("keystore.p12", store), &password_file));
        for part in ["MAC: sha256, Iteration 10000", "PBES2, PBKDF2, AES-256-CBC", "hmacWithSHA256", ALIAS] {
            assert!(said.contains(part), "{part} is not in {said}");
        }
        let certificates = inventory::inspect_pem(&said).unwrap();
        assert_eq!(certificates.len(), 2);
        assert!(certificates.iter().any(|info| info.serial_hex == issued.serial_hex()));
        let key = PrivateKeyPem::parse(&said).unwrap();
        assert!(inventory::key_matches(issued.chain_pem(), &key).unwrap());
    }
    let wrong = scratch.write("wrong", "another password");
    let said = fail(&mut pkcs12(&scratch.path("keystore.p12"), &wrong));
    assert!(said.contains("invalid password"), "{said}");
}

#[test]
fn pkcs12_trust_stores_are_read() {
    let scratch = Scratch::new();
    let (data, control) = (ca(), ca());
    let entries = [("data-ca", data.certificate_pem()), ("control-ca", control.certificate_pem())];
    let store = stores::truststore_pkcs12(&entries, &password()).unwrap();
    let said = succeed(&mut pkcs12(&scratch.write("truststore.p12", store), &scratch.write_password()));
    assert!(said.contains("data-ca") && said.contains("control-ca"), "{said}");
    assert_eq!(inventory::inspect_pem(&said).unwrap().len(), 2);
    assert!(!said.contains("PRIVATE KEY"));
}

#[test]
fn pem_stores_are_read() {
    let scratch = Scratch::new();
    let ca = ca();
    let issued = leaf(&ca, Usage::Server);
    let store = stores::keystore_pem(&issued);
    let file = scratch.write("keystore.pem", store.expose_secret());
    let key = openssl(&["pkey", "-in", text(&file), "-pubout"]);
    let certificate = openssl(&["x509", "-in", text(&file), "-pubkey", "-noout"]);
    assert_eq!(key, certificate);

    let remark = format!("remark\n{}", ca.certificate_pem());
    let all = stores::truststore_pem(&[ca.certificate_pem(), store.expose_secret(), &remark]).unwrap();
    let said = openssl(&["storeutl", "-noout", "-certs", text(&scratch.write("truststore.pem", &all))]);
    assert!(said.contains("Total found: 3"), "{said}");
    assert!(!all.contains("PRIVATE KEY") && !all.contains("remark"));
}

#[test]
fn keys_of_every_form_are_taken() {
    let scratch = Scratch::new();
    let forms: [(&str, &[&str], &str); 6] = [
        ("sec1", &["ecparam", "-name", "prime256v1", "-genkey", "-noout"], "BEGIN EC PRIVATE KEY"),
        ("sec1-384", &["ecparam", "-name", "secp384r1", "-genkey"], "BEGIN EC PRIVATE KEY"),
        ("pkcs1", &["genrsa", "-traditional", "2048"], "BEGIN RSA PRIVATE KEY"),
        (
            "pkcs8-ec",
            &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            "BEGIN PRIVATE KEY",
        ),
        (
            "pkcs8-rsa",
            &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
            "BEGIN PRIVATE KEY",
        ),
        ("ed25519", &["genpkey", "-algorithm", "ED25519"], "BEGIN PRIVATE KEY"),
    ];
    for (name, arguments, header) in forms {
        let original = openssl(arguments);
        assert!(original.contains(header), "{name}");
        let read = PrivateKeyPem::parse(&original).unwrap_or_else(|error| panic!("{name}: {error}"));
        let before = scratch.write("before.pem", &original);
        let after = scratch.write("after.pem", read.expose_pem());
        assert!(read.expose_pem().starts_with("-----BEGIN PRIVATE KEY-----\n"), "{name}");
        let public = |file: &Path| openssl(&["pkey", "-in", text(file), "-pubout"]);
        assert_eq!(public(&before), public(&after), "{name}");
    }
}

#[test]
fn unusable_keys_are_refused_with_a_way_out() {
    let scratch = Scratch::new();
    let password = format!("file:{}", text(&scratch.write_password()));
    let plain = scratch.write("plain.pem", openssl(&["genrsa", "2048"]));
    let encrypted = openssl(&["pkey", "-in", text(&plain), "-aes256", "-passout", &password]);
    let traditional =
        openssl(&["rsa", "-in", text(&plain), "-traditional", "-aes256", "-passout", &password]);
    let p521 = openssl(&["ecparam", "-name", "secp521r1", "-genkey", "-noout"]);
    let small = openssl(&["genrsa", "1024"]);
    let k256 = openssl(&["ecparam", "-name", "secp256k1", "-genkey", "-noout"]);
    for (key, part) in [
        (encrypted, "encrypted"),
        (traditional, "encrypted"),
        (p521, "ECDSA P-256"),
        (k256, "ECDSA P-256"),
        (small, "2048 to 4096"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA".into(), "cut off"),
        ("remark".into(), "BEGIN PRIVATE KEY"),
    ] {
        let error = PrivateKeyPem::parse(&key).unwrap_err().to_string();
        assert!(error.contains(part), "{part} is not in {error}");
        assert!(!error.contains("MII"), "{error}");
    }
}

/// Enough for `openssl req`, and an attribute whose kind no name should have.
const REQ_CONFIG: &str = "oid_section=oids\n[req]\ndistinguished_name=dn\nprompt=no\n[dn]\nCN=unused\n\
                          [oids]\nodd=2.999.1\n";

/// A CA as people make it by hand, key in PKCS#8 or SEC1, no key usage extension.
fn own_ca(scratch: &Scratch, name: &str, extensions: &[&str]) -> (String, PrivateKeyPem) {
    let key = scratch.write("own.key", openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout"]));
    let config = scratch.write("own.cnf", REQ_CONFIG);
    let mut command = command("openssl");
    command.args(["req", "-x509", "-new", "-days", "60", "-subj", name, "-key"]).arg(&key);
    command.arg("-config").arg(&config);
    for extension in extensions {
        command.args(["-addext", extension]);
    }
    (succeed(&mut command), openssl_key(&key))
}

#[test]
fn a_ca_made_by_openssl_issues() {
    let scratch = Scratch::new();
    let (certificate, key) =
        own_ca(&scratch, "/C=DE/O=Own/CN=Own CA", &["basicConstraints=critical,CA:TRUE"]);
    let ca = CertificateAuthority::from_pem(&certificate, &key).unwrap();
    assert_eq!(ca.subject(), "CN=Own CA,O=Own,C=DE");
    let ca_file = scratch.write("ca.pem", ca.certificate_pem());
    let leaf_file = scratch.write("leaf.pem", leaf(&ca, Usage::Server).chain_pem());
    succeed(
        command("openssl").args(["verify", "-purpose", "sslserver", "-CAfile"]).arg(ca_file).arg(leaf_file),
    );
}

#[test]
fn cas_that_would_break_every_chain_are_refused() {
    let scratch = Scratch::new();
    let refused = |name: &str, extensions: &[&str]| {
        let (certificate, key) = own_ca(&scratch, name, extensions);
        CertificateAuthority::from_pem(&certificate, &key).unwrap_err().to_string()
    };
    let error = refused("/CN=a", &["basicConstraints=critical,CA:FALSE"]);
    assert!(error.contains("basic constraints"), "{error}");
    let error = refused("/CN=a", &["basicConstraints=critical,CA:TRUE", "keyUsage=critical,cRLSign"]);
    assert!(error.contains("keyCertSign"), "{error}");
    let error = refused("/OU=one/OU=two/CN=a", &["basicConstraints=critical,CA:TRUE"]);
    assert!(error.contains("attribute twice"), "{error}");
    let error = refused("/odd=x/CN=a", &["basicConstraints=critical,CA:TRUE"]);
    assert!(error.contains("cannot be repeated"), "{error}");
}

#[test]
fn an_intermediate_brings_its_chain_along() {
    let scratch = Scratch::new();
    let (root, root_key) = own_ca(&scratch, "/CN=Root", &["basicConstraints=critical,CA:TRUE"]);
    let root_file = scratch.write("root.pem", &root);
    let root_key = scratch.write("root.key", root_key.expose_pem());
    let key = scratch
        .write("sub.key", openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]));
    let csr = scratch.write("sub.csr", openssl(&["req", "-new", "-subj", "/CN=Sub", "-key", text(&key)]));
    let extensions =
        scratch.write("sub.ext", "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=keyCertSign\n");
    let sub = succeed(
        command("openssl")
            .args(["x509", "-req", "-days", "50", "-in", text(&csr), "-CA", text(&root_file), "-CAkey"])
            .args([text(&root_key), "-extfile", text(&extensions)]),
    );
    let key = openssl_key(&key);

    let ca = CertificateAuthority::from_pem(&format!("{sub}\n{root}"), &key).unwrap();
    let issued = leaf(&ca, Usage::Server);
    let subjects: Vec<_> =
        inventory::inspect_pem(issued.chain_pem()).unwrap().into_iter().map(|info| info.subject).collect();
    assert_eq!(subjects, ["CN=caracal-kafka-1,OU=Kafka,O=Caracal", "CN=Sub"]);
    assert_eq!(inventory::inspect_pem(&ca.trust_anchor_pem()).unwrap()[0].subject, "CN=Root");
    let chain = scratch.write("chain.pem", issued.chain_pem());
    succeed(
        command("openssl")
            .args(["verify", "-purpose", "sslserver", "-CAfile", text(&root_file), "-untrusted"])
            .args([&chain, &chain]),
    );
    let again = Issued::from_pem(issued.chain_pem(), issued.key_pem()).unwrap();
    assert_eq!(again.chain_pem(), issued.chain_pem());

    let error = CertificateAuthority::from_pem(
        &format!("{sub}\n{}", ca_of(KeyAlgorithm::EcdsaP256).certificate_pem()),
        &key,
    )
    .unwrap_err()
    .to_string();
    assert!(error.contains("did not sign it"), "{error}");
}

#[test]
fn a_ca_of_ours_cannot_make_another() {
    // What somebody with the CA's key could try by hand: a CA below it, and a leaf below that.
    let scratch = Scratch::new();
    let ca = ca();
    let below = rcgen::KeyPair::generate().unwrap();
    let ca_key = rcgen::KeyPair::from_pem(ca.key_pem().expose_pem()).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(ca.certificate_pem(), ca_key).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "intermediate");
    let intermediate = params.signed_by(&below, &issuer).unwrap();
    let key = below.serialize_pem().parse().unwrap();
    let authority = CertificateAuthority::from_pem(&intermediate.pem(), &key).unwrap();
    let chain = scratch.write("chain.pem", leaf(&authority, Usage::Server).chain_pem());
    let ca_file = scratch.write("ca.pem", ca.certificate_pem());
    let said = fail(
        command("openssl").args(["verify", "-CAfile", text(&ca_file), "-untrusted"]).args([&chain, &chain]),
    );
    assert!(said.contains("path length constraint exceeded"), "{said}");
}

#[test]
fn requests_made_by_openssl_are_signed() {
    let scratch = Scratch::new();
    let ca = ca();
    let ca_file = scratch.write("ca.pem", ca.certificate_pem());
    let key = scratch.write("key.pem", openssl(&["genrsa", "2048"]));
    let config = scratch.write("req.cnf", REQ_CONFIG);
    let csr = |subject: &str, extension: &str| {
        openssl(&[
            "req",
            "-new",
            "-config",
            text(&config),
            "-subj",
            subject,
            "-key",
            text(&key),
            "-addext",
            extension,
        ])
    };
    let validity = Validity::days_from(now(), 5);
    let good = csr("/O=Caracal/CN=outside", "subjectAltName=DNS:outside.example,IP:10.0.0.1");
    let chain = ca.sign_request(&good, Usage::Server, validity).unwrap();
    let info = inventory::inspect_pem(&chain).unwrap().remove(0);
    assert_eq!(info.subject, "CN=outside,O=Caracal");
    assert_eq!(info.usages, ["digitalSignature", "keyEncipherment", "serverAuth"]);
    let leaf = scratch.write("leaf.pem", &chain);
    succeed(&mut verify("sslserver", &ca_file, &leaf));
    fail(&mut verify("sslclient", &ca_file, &leaf));

    for (request, part) in [
        (csr("/CN=a", "basicConstraints=critical,CA:TRUE"), "asks to become a CA"),
        (csr("/CN=a", "subjectAltName=email:a@b.example"), "neither DNS name nor IP"),
        (csr("/CN=a", "nameConstraints=permitted;DNS:a"), "extension"),
        (csr("/OU=1/OU=2/CN=a", "subjectAltName=DNS:a"), "attribute twice"),
        (csr("/odd=x/CN=a", "subjectAltName=DNS:a"), "cannot be written again"),
        (csr("/CN=a", "keyUsage=digitalSignature"), "no subject alternative name"),
        (good.replacen("MII", "MIJ", 1), "request"),
        ("nothing".into(), "BEGIN CERTIFICATE REQUEST"),
    ] {
        let error = ca.sign_request(&request, Usage::Server, validity).unwrap_err().to_string();
        assert!(error.contains(part), "{part} is not in {error}");
    }
}

#[test]
fn requests_for_keys_of_every_kind_are_signed() {
    const P256: &[&str] = &["ecparam", "-name", "prime256v1", "-genkey", "-noout"];
    const P384: &[&str] = &["ecparam", "-name", "secp384r1", "-genkey", "-noout"];
    const RSA: &[&str] = &["genrsa", "2048"];
    // How openssl makes the key, which hash it is told to sign with (SHA-256 if none), how it shows the key.
    let kinds: [(&[&str], &[&str], &str); 6] = [
        (P384, &[], "ASN1 OID: secp384r1"),
        (P384, &["-sha384"], "ASN1 OID: secp384r1"),
        (P256, &["-sha384"], "ASN1 OID: prime256v1"),
        (&["genpkey", "-algorithm", "ED25519"], &[], "ED25519 Public-Key"),
        (RSA, &["-sha384"], "Public-Key: (2048 bit)"),
        (RSA, &["-sha512"], "Public-Key: (2048 bit)"),
    ];
    let scratch = Scratch::new();
    let ca = ca();
    let ca_file = scratch.write("ca.pem", ca.certificate_pem());
    let config = scratch.write("req.cnf", "[req]\ndistinguished_name=dn\nprompt=no\n[dn]\nCN=outside\n");
    for (make_key, hash, shown) in kinds {
        let kind = format!("{make_key:?} {hash:?}");
        let key = scratch.write("key.pem", openssl(make_key));
        let fixed = ["-config", text(&config), "-key", text(&key), "-addext", "subjectAltName=DNS:a.example"];
        let csr = openssl(&[&["req", "-new"], &fixed[..], hash].concat());
        let chain = ca.sign_request(&csr, Usage::Server, Validity::days_from(now(), 5)).unwrap();
        let leaf = scratch.write("leaf.pem", &chain);
        succeed(&mut verify("sslserver", &ca_file, &leaf));
        let public = openssl(&["x509", "-in", text(&leaf), "-noout", "-pubkey"]);
        assert_eq!(public, openssl(&["pkey", "-in", text(&key), "-pubout"]), "{kind}");
        let said = openssl(&["x509", "-in", text(&leaf), "-noout", "-text"]);
        assert!(said.contains(shown), "{kind}: {shown} is not in {said}");
        let info = inventory::inspect_pem(&chain).unwrap().remove(0);
        let usages: &[&str] = if make_key == RSA {
            &["digitalSignature", "keyEncipherment", "serverAuth"]
        } else {
            &["digitalSignature", "serverAuth"]
        };
        assert_eq!(info.usages, usages, "{kind}");
        assert!(inventory::key_matches(&chain, &openssl_key(&key)).unwrap(), "{kind}");
    }
}

/// The key in a file, as ours.
fn openssl_key(file: &Path) -> PrivateKeyPem {
    let text = String::from_utf8(caracal_pki::store::read_private(file).unwrap().to_vec()).unwrap();
    PrivateKeyPem::parse(&text).unwrap()
}
