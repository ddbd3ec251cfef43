//! Every JDK (17 or newer) of this machine as judge: `keytool` lists the stores, and a small Java program
//! shakes hands with rustls in both directions, certificates on both sides.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use caracal_pki::{
    CertificateAuthority, DistinguishedName, Issued, KeyAlgorithm, LeafRequest, Usage, stores,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, Stream};
use secrecy::ExposeSecret as _;

use crate::fixture::{ALIAS, Scratch, ca, ca_of, command, leaf, password, request, succeed};

const PATIENCE: Duration = Duration::from_secs(30);

/// Java homes by major version, one each, those with a compiler (a JRE cannot run a source file).
fn jdks() -> BTreeMap<u32, PathBuf> {
    let mut homes: Vec<PathBuf> = std::env::var_os("JAVA_HOME").map(PathBuf::from).into_iter().collect();
    for dir in std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()) {
        if let Ok(javac) = dir.join("javac").canonicalize()
            && let Some(home) = javac.parent().and_then(Path::parent)
        {
            homes.push(home.to_owned());
        }
    }
    for parent in ["/usr/lib/jvm", "/usr/java", "/opt/java", "/Library/Java/JavaVirtualMachines"] {
        for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
            homes.push(entry.path());
            homes.push(entry.path().join("Contents/Home"));
        }
    }
    let mut found = BTreeMap::new();
    for home in homes {
        let release = std::fs::read_to_string(home.join("release")).unwrap_or_default();
        let version =
            release.lines().find_map(|line| line.strip_prefix("JAVA_VERSION=\"")).unwrap_or_default();
        let major =
            version.split(['.', '"', '-', '+']).next().and_then(|major| major.parse().ok()).unwrap_or(0);
        if major >= 17 && home.join("bin/javac").exists() && home.join("bin/keytool").exists() {
            found.entry(major).or_insert(home);
        }
    }
    assert!(
        !found.is_empty(),
        "this test needs a JDK 17 or newer in JAVA_HOME, PATH or the system's JVM folder"
    );
    found
}

struct Files {
    scratch: Scratch,
    password: PathBuf,
}

impl Files {
    /// Stores of both kinds for one leaf, and trust in its CA.
    fn new(ca: &CertificateAuthority, issued: &Issued) -> Self {
        let scratch = Scratch::new();
        let store = stores::keystore_pkcs12(ALIAS, issued, &[ca.certificate_pem()], &password()).unwrap();
        scratch.write("keystore.p12", store);
        let store = stores::truststore_pkcs12(&[("data-ca", ca.certificate_pem())], &password()).unwrap();
        scratch.write("truststore.p12", store);
        scratch.write("keystore.pem", stores::keystore_pem(issued).expose_secret());
        scratch.write("truststore.pem", stores::truststore_pem(&[ca.certificate_pem()]).unwrap());
        let password = scratch.write_password();
        Self { scratch, password }
    }

    fn pair(&self, kind: &str) -> String {
        let path = |name: &str| self.scratch.path(&format!("{name}.{kind}")).display().to_string();
        format!("{} {}", path("keystore"), path("truststore"))
    }
}

fn keytool(home: &Path, files: &Files, store: &str) -> String {
    let mut command = command(home.join("bin/keytool"));
    command.args(["-J-Duser.language=en", "-list", "-v", "-storetype", "PKCS12", "-keystore"]);
    command.arg(files.scratch.path(store)).arg("-storepass:file").arg(&files.password);
    succeed(&mut command)
}

#[test]
fn keytool_lists_the_right_entries() {
    for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Rsa2048] {
        let ca = ca_of(algorithm);
        let issued = ca.issue(&LeafRequest { algorithm, ..request(Usage::ServerAndClient) }).unwrap();
        let files = Files::new(&ca, &issued);
        for (version, home) in jdks() {
            let said = keytool(&home, &files, "keystore.p12");
            for part in [
                "contains 1 entry",
                &format!("Alias name: {ALIAS}"),
                "Entry type: PrivateKeyEntry",
                "Certificate chain length: 2",
                "Owner: CN=caracal-kafka-1, OU=Kafka, O=Caracal",
                &format!("Serial number: {}", issued.serial_hex()),
                "serverAuth",
                "clientAuth",
                "DNSName: caracal-kafka-1",
                "DNSName: node_1.example",
                "DNSName: 3rd.example",
                "DNSName: *.brokers.example",
                "IPAddress: 127.0.0.1",
            ] {
                assert!(said.contains(part), "JDK {version}: {part} is not in {said}");
            }
            let said = keytool(&home, &files, "truststore.p12");
            for part in ["contains 1 entry", "Alias name: data-ca", "Entry type: trustedCertEntry"] {
                assert!(said.contains(part), "JDK {version}: {part} is not in {said}");
            }
        }
    }
}

#[test]
fn a_jvm_and_rustls_shake_hands_both_ways() {
    for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Rsa2048] {
        let ca = ca_of(algorithm);
        let issued = ca.issue(&LeafRequest { algorithm, ..request(Usage::ServerAndClient) }).unwrap();
        let files = Files::new(&ca, &issued);
        for (version, home) in jdks() {
            let mut java = Java::start(&home);
            java.ask(&format!("password {}", password().expose_secret()), "ok");
            for kind in ["p12", "pem"] {
                let load = if kind == "p12" { "pkcs12" } else { "pem" };
                java.ask(&format!("{load} {}", files.pair(kind)), "ok");
                for (name, protocol) in
                    [("TLSv1.2", &rustls::version::TLS12), ("TLSv1.3", &rustls::version::TLS13)]
                {
                    let case = format!("JDK {version}, {algorithm}, {kind}, {name}");
                    let said = java
                        .accept(name, |port| connect(&client(&ca, Some(&issued), protocol), port).unwrap());
                    assert_eq!(said, "peer CN=caracal-kafka-1,OU=Kafka,O=Caracal", "{case}");
                    let said = java.connect(name, &server(&ca, &issued, protocol), Result::unwrap);
                    assert_eq!(said, "peer CN=caracal-kafka-1,OU=Kafka,O=Caracal", "{case}");
                }
            }
        }
    }
}

#[test]
fn a_jvm_refuses_what_it_must() {
    let (ca, foreign) = (ca(), ca());
    let issued = leaf(&ca, Usage::ServerAndClient);
    let files = Files::new(&ca, &issued);
    for (version, home) in jdks() {
        let mut java = Java::start(&home);
        java.ask(&format!("password {}", password().expose_secret()), "ok");
        java.ask(&format!("pkcs12 {}", files.pair("p12")), "ok");
        let protocol = &rustls::version::TLS13;
        let strangers = [
            ("no certificate", None),
            ("a foreign CA", Some(leaf(&foreign, Usage::Client))),
            ("a server's certificate", Some(leaf(&ca, Usage::Server))),
        ];
        for (case, stranger) in strangers {
            let config = client(&ca, stranger.as_ref(), protocol);
            let said = java.accept("TLSv1.3", |port| {
                connect(&config, port).expect_err(case);
            });
            assert!(said.starts_with("failed javax.net.ssl."), "JDK {version}, {case}: {said}");
        }
        let other_name =
            LeafRequest { sans: vec!["elsewhere.example".parse().unwrap()], ..request(Usage::Server) };
        for (case, stranger) in [
            ("a foreign CA", leaf(&foreign, Usage::Server)),
            ("a client's certificate", leaf(&ca, Usage::Client)),
            ("another name", ca.issue(&other_name).unwrap()),
        ] {
            let said = java.connect("TLSv1.3", &server(&ca, &stranger, protocol), |result| {
                result.expect_err(case);
            });
            assert!(said.starts_with("failed javax.net.ssl."), "JDK {version}, {case}: {said}");
        }
    }
}

#[test]
fn a_jvm_prints_subjects_as_we_do() {
    let ca = ca();
    let plain = DistinguishedName::common_name;
    let subjects = [
        plain("caracal-kafka-1").with_organizational_unit("Kafka").with_organization("Caracal, Inc."),
        plain("  spaces  "),
        plain("#1").with_organization("a=b+c"),
        plain("<\"quoted\";\\back>").with_organizational_unit("#"),
        plain("Stra\u{df}e \u{65e5}\u{672c} \u{1f600}"),
        plain("* @ ' / ? ! _ & |"),
    ];
    let scratch = Scratch::new();
    for (version, home) in jdks() {
        let mut java = Java::start(&home);
        for subject in &subjects {
            let issued =
                ca.issue(&LeafRequest { subject: subject.clone(), ..request(Usage::Client) }).unwrap();
            let file = scratch.write("leaf.pem", issued.chain_pem());
            let said = java.tell(&format!("subject {}", file.display()));
            assert_eq!(said, subject.to_string(), "JDK {version}");
        }
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(ca: &CertificateAuthority) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.certificate_pem().as_bytes()).unwrap()).unwrap();
    Arc::new(roots)
}

fn identity(issued: &Issued) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain =
        CertificateDer::pem_slice_iter(issued.chain_pem().as_bytes()).collect::<Result<_, _>>().unwrap();
    (chain, PrivateKeyDer::from_pem_slice(issued.key_pem().expose_pem().as_bytes()).unwrap())
}

fn client(
    ca: &CertificateAuthority,
    issued: Option<&Issued>,
    protocol: &'static rustls::SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[protocol])
        .unwrap()
        .with_root_certificates(roots(ca));
    Arc::new(match issued {
        Some(issued) => {
            let (chain, key) = identity(issued);
            builder.with_client_auth_cert(chain, key).unwrap()
        }
        None => builder.with_no_client_auth(),
    })
}

fn server(
    ca: &CertificateAuthority,
    issued: &Issued,
    protocol: &'static rustls::SupportedProtocolVersion,
) -> Arc<ServerConfig> {
    let (chain, key) = identity(issued);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(ca), provider()).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[protocol])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    Arc::new(config)
}

fn patient(socket: &TcpStream) {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
}

/// One octet each way, as the Java side does.
fn exchange(mut stream: impl std::io::Read + std::io::Write) -> std::io::Result<()> {
    stream.write_all(b"r")?;
    stream.flush()?;
    let mut octet = [0];
    stream.read_exact(&mut octet)?;
    if octet == *b"j" { Ok(()) } else { Err(std::io::Error::other(format!("the peer said {octet:?}"))) }
}

fn connect(config: &Arc<ClientConfig>, port: u16) -> std::io::Result<()> {
    let mut socket = TcpStream::connect(("localhost", port))?;
    patient(&socket);
    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = ClientConnection::new(Arc::clone(config), name).map_err(std::io::Error::other)?;
    exchange(Stream::new(&mut connection, &mut socket))
}

/// The Java program, ended with the value.
struct Java {
    child: Child,
    stdin: ChildStdin,
    answers: mpsc::Receiver<String>,
}

impl Java {
    fn start(home: &Path) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judges/TlsPeer.java");
        let mut command = command(home.join("bin/java"));
        // Short-lived: the first compiler is enough, and one thread for the collector.
        command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]).arg(source);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, answers) = mpsc::channel();
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line).map_err(drop))
        });
        Self { child, stdin, answers }
    }

    fn send(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
        self.stdin.flush().unwrap();
    }

    fn receive(&self) -> String {
        let patience = PATIENCE + PATIENCE;
        self.answers.recv_timeout(patience).unwrap_or_else(|error| panic!("Java did not answer: {error}"))
    }

    fn tell(&mut self, line: &str) -> String {
        self.send(line);
        self.receive()
    }

    fn ask(&mut self, line: &str, wanted: &str) {
        let said = self.tell(line);
        assert_eq!(said, wanted, "{}", line.split(' ').next().unwrap_or_default());
    }

    /// Java as server; what it says of the peer.
    fn accept(&mut self, protocol: &str, connect: impl FnOnce(u16)) -> String {
        let said = self.tell(&format!("accept {protocol}"));
        let port = said.strip_prefix("listening ").unwrap_or_else(|| panic!("{said}")).parse().unwrap();
        self.send("wait");
        connect(port);
        self.receive()
    }

    /// Java as client; what it says of the peer. `judge` gets our side's outcome.
    fn connect(
        &mut self,
        protocol: &str,
        config: &Arc<ServerConfig>,
        judge: impl FnOnce(std::io::Result<()>),
    ) -> String {
        let listener = TcpListener::bind("localhost:0").unwrap();
        self.send(&format!("connect {} {protocol}", listener.local_addr().unwrap().port()));
        let (mut socket, _) = listener.accept().unwrap();
        patient(&socket);
        let mut connection = ServerConnection::new(Arc::clone(config)).unwrap();
        judge(exchange(Stream::new(&mut connection, &mut socket)));
        // What the peer still has to say must be read, or closing would reset the connection under it.
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let _ = socket.read_to_end(&mut Vec::new());
        drop(socket);
        self.receive()
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
