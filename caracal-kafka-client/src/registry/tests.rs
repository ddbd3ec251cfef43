//! The registry's side by a stub that counts; encoder and decoder by what they must refuse.
#![cfg(unix)]

mod stub;

use futures::future::join_all;
use proptest::prelude::*;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::*;
use crate::config::tests as fixture;
use crate::events::{DecisionOutcome, MeteringEvent, PolicyDecision};
use stub::Stub;

fn registry(stub: &Stub) -> Arc<Registry> {
    with_credentials(stub, &fixture::credentials()).expect("an address")
}

fn with_credentials(stub: &Stub, credentials: &Credentials) -> Result<Arc<Registry>, ConnectError> {
    let mut profile = fixture::profile("/p");
    profile.registry = Some(crate::profile::RegistryEndpoint::new(stub.url.clone()));
    Ok(Registry::new(&profile, credentials)?.expect("the profile names one"))
}

fn body<E: Event>() -> serde_json::Value {
    json!({ "schema": E::SCHEMA, "schemaType": "AVRO", "references": [] })
}

const SUBJECT: &str = "caracal.metering.events-value";

async fn id<E: Event>(registry: &Registry, subject: &str, terms: Terms) -> Result<u32, String> {
    registry.encoder::<E>(subject, terms).await.map(|encoder| encoder.id).map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_first_uses_are_one_question() {
    let stub = Stub::start();
    let expected = stub.put(SUBJECT, body::<MeteringEvent>());
    let registry = registry(&stub);
    let asks = (0..1000).map(|_| {
        let registry = Arc::clone(&registry);
        tokio::spawn(async move { id::<MeteringEvent>(&registry, SUBJECT, Terms::default()).await })
    });
    for answer in join_all(asks).await {
        assert_eq!(answer.expect("ran"), Ok(expected));
    }
    assert_eq!((stub.count(&format!("POST /subjects/{SUBJECT}")), stub.total()), (1, 1));
    let reads = (0..1000).map(|_| {
        let registry = Arc::clone(&registry);
        tokio::spawn(async move { registry.by_id(expected).await.map(drop).is_ok() })
    });
    assert!(join_all(reads).await.into_iter().all(|answer| answer.expect("ran")));
    assert_eq!((stub.count(&format!("GET /schemas/ids/{expected}?deleted=true")), stub.total()), (1, 2));
}

#[tokio::test]
async fn nothing_is_registered_unless_asked_for() {
    let stub = Stub::start();
    let registry = registry(&stub);
    let refused = id::<MeteringEvent>(&registry, SUBJECT, Terms::default()).await.expect_err("none is there");
    assert!(
        refused.contains("the subject does not exist") && refused.contains("register_schema"),
        "{refused}"
    );
    assert_eq!(stub.count(&format!("POST /subjects/{SUBJECT}/versions")), 0);
    let terms = Terms { register: true, ..Terms::default() };
    assert_eq!(id::<MeteringEvent>(&registry, SUBJECT, terms).await, Ok(1));
    assert_eq!(stub.count(&format!("POST /subjects/{SUBJECT}/versions")), 1);
    assert_eq!(
        id::<MeteringEvent>(&registry, SUBJECT, Terms::default()).await,
        Ok(1),
        "asked again after a failure"
    );
    let terms = Terms { normalize: true, ..Terms::default() };
    assert_eq!(id::<MeteringEvent>(&registry, SUBJECT, terms).await, Ok(1));
    assert_eq!(stub.count(&format!("POST /subjects/{SUBJECT}?normalize=true")), 1);
}

#[tokio::test]
async fn another_layout_of_the_same_schema_is_found_by_the_latest() {
    let stub = Stub::start();
    let other: serde_json::Value = serde_json::from_str(MeteringEvent::SCHEMA).expect("JSON");
    let expected = stub.put(SUBJECT, json!({ "schema": other.to_string(), "references": [] }));
    assert_eq!(id::<MeteringEvent>(&registry(&stub), SUBJECT, Terms::default()).await, Ok(expected));
    stub.put("other-value", body::<PolicyDecision>());
    let refused = id::<MeteringEvent>(&registry(&stub), "other-value", Terms::default()).await;
    assert!(refused.is_err_and(|why| why.contains("holds other versions")));
}

#[tokio::test]
async fn only_a_subject_that_is_absent_is_called_so() {
    for (status, code, absent) in
        [(404, 40401, true), (404, 40402, true), (500, 50001, false), (401, 40101, false)]
    {
        let stub = Stub::start();
        stub.state.lock().expect("sound").faults = vec![("GET", status, code), ("POST", 404, 40403)];
        let why = id::<MeteringEvent>(&registry(&stub), SUBJECT, Terms::default()).await.expect_err("no id");
        assert_eq!(why.contains("the subject does not exist"), absent, "{why}");
        assert!(absent || why.contains("told so"), "{why}");
    }
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Payment {
    id: String,
    amount: Money,
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Money {
    cents: i64,
    currency: Currency,
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Currency {
    Eur,
    Usd,
}

impl Event for Payment {
    const RECORD: &'static str = "t.Payment";
    const TOPIC: &'static str = "payments";
    const SCHEMA: &'static str = r#"{"type":"record","name":"Payment","namespace":"t","fields":[
        {"name":"id","type":"string"}, {"name":"amount","type":"common.Money"}]}"#;
    const REFERENCES: &'static [SchemaReference] = &[
        SchemaReference {
            name: "common.Currency",
            subject: "common.Currency",
            schema: r#"{"type":"enum","name":"Currency","namespace":"common","symbols":["EUR","USD"]}"#,
        },
        SchemaReference {
            name: "common.Money",
            subject: "common.Money",
            schema: r#"{"type":"record","name":"Money","namespace":"common","fields":[
                {"name":"cents","type":"long"}, {"name":"currency","type":"Currency"}]}"#,
        },
    ];

    fn key(&self) -> &str {
        &self.id
    }
}

#[tokio::test]
async fn references_are_registered_looked_up_and_read_back() {
    let stub = Stub::start();
    let first = registry(&stub);
    let refused = id::<Payment>(&first, "payments-value", Terms::default()).await.expect_err("none is there");
    assert!(refused.contains("common.Currency"), "the one that lacks is named: {refused}");
    let terms = Terms { register: true, ..Terms::default() };
    let found = first.encoder::<Payment>("payments-value", terms).await.expect("registered");
    // By another service, which registers nothing.
    let second = registry(&stub);
    let encoder = second.encoder::<Payment>("payments-value", Terms::default()).await.expect("looked up");
    assert_eq!((found.id, encoder.id), (3, 3));
    let payment = Payment { id: "p".into(), amount: Money { cents: 5, currency: Currency::Usd } };
    let mut bytes = Vec::new();
    encoder.encode(&payment, &mut bytes).expect("encoded");
    let (id, datum) = wire::split(&bytes).expect("framed");
    let mut decoder = Decoder::new::<Payment>().expect("a schema");
    decoder.learn(id, &second.by_id(id).await.expect("known")).expect("compatible");
    assert_eq!(decoder.decode::<Payment>(id, datum), Ok(payment));
}

/// A newer version with one field more.
fn newer() -> String {
    MeteringEvent::SCHEMA.replacen(
        "\"fields\": [",
        "\"fields\": [{\"name\":\"site\",\"type\":\"string\",\"default\":\"x\"},",
        1,
    )
}

#[tokio::test]
async fn the_latest_and_a_fixed_id_are_written_when_they_hold_everything() {
    let stub = Stub::start();
    stub.put(SUBJECT, body::<MeteringEvent>());
    let latest = stub.put(SUBJECT, json!({ "schema": newer() }));
    let without: serde_json::Value = serde_json::from_str(MeteringEvent::SCHEMA).expect("JSON");
    let mut without = without;
    without["fields"].as_array_mut().expect("fields").retain(|field| field["name"] != "unit");
    let lacking = stub.put(SUBJECT, json!({ "schema": without.to_string() }));
    let registry = registry(&stub);
    let terms = |choice| Terms { choice, ..Terms::default() };
    let refused = id::<MeteringEvent>(&registry, SUBJECT, terms(WriterSchema::Latest)).await;
    assert!(refused.as_ref().is_err_and(|why| why.contains("no field `unit`")), "{refused:?}");
    let refused = id::<MeteringEvent>(&registry, SUBJECT, terms(WriterSchema::Id(lacking))).await;
    assert!(refused.is_err());
    let absent = id::<MeteringEvent>(&registry, SUBJECT, terms(WriterSchema::Id(99))).await;
    assert!(absent.is_err_and(|why| why.contains("told so")));
    let encoder = registry.encoder::<MeteringEvent>(SUBJECT, terms(WriterSchema::Id(latest))).await;
    let encoder = encoder.expect("it holds everything");
    let mut bytes = Vec::new();
    encoder.encode(&MeteringEvent::sample(4), &mut bytes).expect("encoded");
    let (id, datum) = wire::split(&bytes).expect("framed");
    let mut decoder = Decoder::new::<MeteringEvent>().expect("a schema");
    decoder.learn(id, &Schema::parse(&newer()).expect("a schema")).expect("compatible");
    assert_eq!((id, decoder.decode(id, datum)), (latest, Ok(MeteringEvent::sample(4))));
}

#[tokio::test]
async fn basic_authentication_is_sent_and_never_shown() {
    let stub = Stub::with_login("Basic dXNlcjpodW50ZXIy");
    stub.put(SUBJECT, body::<MeteringEvent>());
    let refused = registry(&stub).ping().await.expect_err("no log-in").to_string();
    assert!(refused.contains("registry.login"), "{refused}");
    let mut credentials = fixture::credentials();
    credentials.registry_login = Some(("user".into(), SecretString::from("hunter2")));
    let registry = with_credentials(&stub, &credentials).expect("an address");
    registry.ping().await.expect("let in");
    assert_eq!(id::<MeteringEvent>(&registry, SUBJECT, Terms::default()).await, Ok(1));
    registry.by_id(1).await.expect("let in");
    let shown = format!("{registry:?} {credentials:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("dXNlcjpodW50ZXIy"), "{shown}");
}

/// As tools ask: by texts, with the connection's log-in, and what is not there is no fault.
#[tokio::test]
async fn a_registry_is_asked_by_hand() {
    let stub = Stub::with_login("Basic dXNlcjpodW50ZXIy");
    let connection = |password: &str| {
        crate::Connection::to(["localhost:1"])
            .trusting(crate::Source::text(fixture::CERTIFICATE))
            .presenting(crate::Source::text(fixture::CERTIFICATE), crate::Source::text(fixture::KEY))
            .log_in("producer", crate::Source::text("x"))
            .registry(&stub.url)
            .registry_log_in("user", crate::Source::text(password))
            .build()
            .expect("complete")
    };
    let registry = SchemaRegistry::of(connection("hunter2")).expect("sound").expect("a registry");
    assert_eq!(registry.latest("s").await.expect("an answer"), None);
    let schema = r#""string""#;
    let id = registry.register("s", schema).await.expect("registered");
    assert_eq!(registry.register("s", schema).await.expect("known"), id);
    assert_eq!(registry.latest("s").await.expect("an answer"), Some((id, schema.to_owned())));
    assert_eq!(registry.by_id(id).await.expect("an answer").as_deref(), Some(schema));
    assert_eq!(registry.by_id(99).await.expect("an answer"), None);
    assert_eq!(registry.subjects_of(id).await.expect("an answer"), ["s"]);
    let wrong = SchemaRegistry::of(connection("other")).expect("sound").expect("a registry");
    let refused = wrong.latest("s").await.expect_err("a wrong password").to_string();
    assert!(refused.contains("HTTP 401") && !refused.contains("other"), "{refused}");
}

mod mutual_tls {
    use caracal_pki::{
        CertificateAuthority, DistinguishedName, Issued, KeyAlgorithm, LeafRequest, Usage, Validity,
    };
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    use super::*;

    fn authority() -> CertificateAuthority {
        let validity = Validity::days_from(time::OffsetDateTime::now_utc(), 2);
        CertificateAuthority::create(DistinguishedName::common_name("ca"), KeyAlgorithm::EcdsaP256, validity)
            .expect("an authority")
    }

    fn leaf(authority: &CertificateAuthority, usage: Usage) -> Issued {
        let request = LeafRequest {
            subject: DistinguishedName::common_name("localhost"),
            sans: vec!["localhost".parse().expect("a name")],
            usage,
            algorithm: KeyAlgorithm::EcdsaP256,
            validity: Validity::days_from(time::OffsetDateTime::now_utc(), 1),
        };
        authority.issue(&request).expect("issued")
    }

    fn chain(leaf: &Issued) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(leaf.chain_pem().as_bytes()).collect::<Result<_, _>>().expect("PEM")
    }

    fn key(leaf: &Issued) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(leaf.key_pem().expose_pem().as_bytes()).expect("PEM")
    }

    fn roots(authority: &CertificateAuthority) -> rustls::RootCertStore {
        let mut roots = rustls::RootCertStore::empty();
        let pem = authority.certificate_pem().as_bytes();
        roots.add(CertificateDer::from_pem_slice(pem).expect("PEM")).expect("a root");
        roots
    }

    fn provider() -> Arc<rustls::crypto::CryptoProvider> {
        Arc::new(rustls::crypto::ring::default_provider())
    }

    fn client(trusts: &CertificateAuthority, leaf: &Issued) -> Credentials {
        let tls = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots(trusts))
            .with_client_auth_cert(chain(leaf), key(leaf))
            .expect("a pair");
        Credentials { registry_tls: Arc::new(tls), ..fixture::credentials() }
    }

    #[tokio::test]
    async fn a_registry_by_mutual_tls_lets_in_whom_it_should() {
        let (ours, others) = (authority(), authority());
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots(&ours)), provider());
        let server = leaf(&ours, Usage::Server);
        let tls = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier.build().expect("a verifier"))
            .with_single_cert(chain(&server), key(&server))
            .expect("a pair");
        let stub = Stub::with_tls(tls);
        stub.put(SUBJECT, body::<MeteringEvent>());
        let right = client(&ours, &leaf(&ours, Usage::Client));
        let registry = with_credentials(&stub, &right).expect("an address");
        registry.ping().await.expect("let in");
        assert_eq!(id::<MeteringEvent>(&registry, SUBJECT, Terms::default()).await, Ok(1));
        let stranger = client(&ours, &leaf(&others, Usage::Client));
        with_credentials(&stub, &stranger).expect("an address").ping().await.expect_err("a stranger");
        let deceived = client(&others, &leaf(&ours, Usage::Client));
        let refused = with_credentials(&stub, &deceived).expect("an address").ping().await;
        let refused = refused.expect_err("another authority").to_string();
        assert!(refused.to_lowercase().contains("certificate"), "{refused}");
    }
}

fn decoder<E: Event>() -> Decoder {
    let mut decoder = Decoder::new::<E>().expect("a schema");
    decoder.learn(7, &own::<E>().expect("a schema")).expect("the same schema");
    decoder
}

fn encoded<E: Event>(event: &E) -> Vec<u8> {
    let mut bytes = vec![1, 2, 3];
    Encoder::new::<E>(7).expect("a schema").encode(event, &mut bytes).expect("encoded");
    bytes
}

/// A number, so that it is recognised however an error words it.
const MARK: u64 = 424_242_424_242;

/// Wider than its schema.
#[derive(Serialize, Deserialize)]
struct Wide {
    n: u64,
}

/// Narrower than its schema.
#[derive(Debug, Serialize, Deserialize)]
struct Narrow {
    n: u8,
}

impl Event for Wide {
    const RECORD: &'static str = "N";
    const TOPIC: &'static str = "n";
    const SCHEMA: &'static str = r#"{"type":"record","name":"N","fields":[{"name":"n","type":"int"}]}"#;

    fn key(&self) -> &str {
        ""
    }
}

impl Event for Narrow {
    const RECORD: &'static str = "N";
    const TOPIC: &'static str = "n";
    const SCHEMA: &'static str = r#"{"type":"record","name":"N","fields":[{"name":"n","type":"long"}]}"#;

    fn key(&self) -> &str {
        ""
    }
}

#[test]
fn no_error_repeats_a_value() {
    let encoder = Encoder::new::<Wide>(7).expect("a schema");
    let encoding = encoder.encode(&Wide { n: MARK }, &mut Vec::new()).expect_err("too wide");
    // MARK as a zigzag varint.
    let mut rest = MARK << 1;
    let mut datum = Vec::new();
    while rest > 0x7f {
        datum.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    datum.push(rest as u8);
    let narrow = decoder::<Narrow>();
    let fitting = narrow.decode::<Narrow>(7, &datum).expect_err("too narrow");
    let reading = narrow.decode::<Narrow>(7, &[0xff; 3]).expect_err("no datum");
    for why in [encoding, fitting, reading] {
        assert!(!why.contains(&MARK.to_string()) && !why.contains("255"), "{why}");
    }
}

#[test]
fn a_schema_that_ours_cannot_read_is_refused_before_any_record() {
    let mut narrow = Decoder::new::<Narrow>().expect("a schema");
    let union = Narrow::SCHEMA.replace(r#""long""#, r#"["long","string"]"#);
    let refused =
        narrow.learn(8, &Schema::parse(&union).expect("a schema")).expect_err("a string is no long");
    assert!(refused.contains("/fields/0/type"), "{refused}");
    assert!(!narrow.knows(8));
    narrow.learn(9, &own::<Wide>().expect("a schema")).expect("an int is a long");
}

#[test]
fn bytes_left_over_are_refused() {
    let mut bytes = encoded(&PolicyDecision::sample(1));
    let (id, datum) = wire::split(&bytes).expect("framed");
    assert_eq!(decoder::<PolicyDecision>().decode(id, datum), Ok(PolicyDecision::sample(1)));
    bytes.push(0);
    let (id, datum) = wire::split(&bytes).expect("framed");
    let refused = decoder::<PolicyDecision>().decode::<PolicyDecision>(id, datum);
    assert!(refused.is_err_and(|why| why.contains("left over")));
}

/// A newer service writes, this one reads.
#[test]
fn a_symbol_newer_than_the_reader_becomes_unknown() {
    let newer = PolicyDecision::SCHEMA.replace("[\"UNKNOWN\"", "[\"DEFER\", \"UNKNOWN\"");
    assert_ne!(newer, PolicyDecision::SCHEMA);
    let newer = Schema::parse(&newer).expect("a schema");
    let mut event = serde_json::to_value(PolicyDecision::sample(3)).expect("JSON");
    event["outcome"] = "DEFER".into();
    let mut bytes = Vec::new();
    avro::encode(&newer, &event, &mut bytes).expect("written");
    let mut decoder = Decoder::new::<PolicyDecision>().expect("a schema");
    decoder.learn(8, &newer).expect("compatible");
    let event: PolicyDecision = decoder.decode(8, &bytes).expect("read");
    assert_eq!(event.outcome, DecisionOutcome::Unknown);
}

proptest! {
    #[test]
    fn any_event_survives(seed: u64) {
        let bytes = encoded(&MeteringEvent::sample(seed));
        let (id, datum) = wire::split(&bytes).expect("framed");
        prop_assert_eq!(decoder::<MeteringEvent>().decode(id, datum), Ok(MeteringEvent::sample(seed)));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let _ = decoder::<MeteringEvent>().decode::<MeteringEvent>(7, &bytes);
    }

    #[test]
    fn a_damaged_event_never_panics(seed: u64, at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let mut bytes = encoded(&MeteringEvent::sample(seed));
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(cut.index(bytes.len() + 1));
        if let Ok((id, datum)) = wire::split(&bytes) {
            let _ = decoder::<MeteringEvent>().decode::<MeteringEvent>(id, datum);
        }
    }
}
