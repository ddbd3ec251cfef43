//! The schema registry: which id a schema has, and which schema an id has.
//!
//! A producer writes by *its own* schema, so it asks for the id of exactly that one (never for the
//! latest of the subject, whose id on other bytes would make records that nobody can read). A
//! consumer reads by the schema that the record names, and resolves it to its own.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;
use schema_registry_converter::async_impl::schema_registry::{SrSettings, get_schema_by_id, perform_sr_call};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{RawError, SchemaType, SrCall};

use crate::credentials::Credentials;
use crate::error::ConnectError;
use crate::events::Event;
use crate::schema;
use crate::wire;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Most bytes that one length in a datum may ask for; brokers take records of a few at most.
const ALLOCATION: usize = 32 << 20;

/// Confluent's error codes of a registry without the subject, and of a subject without the version or
/// the schema.
const SUBJECT_NOT_FOUND: u32 = 40401;
const VERSION_NOT_FOUND: u32 = 40402;
const SCHEMA_NOT_FOUND: u32 = 40403;

/// One registry, for all producers and consumers of a connection.
#[derive(Debug)]
pub(crate) struct Registry {
    url: String,
    settings: SrSettings,
    http: reqwest::Client,
    /// Writer schemas by id: an id never changes its schema.
    by_id: Mutex<HashMap<u32, &'static Schema>>,
    /// Ids by subject and the schema's text.
    ids: Mutex<HashMap<(String, &'static str), u32>>,
}

impl Registry {
    pub(crate) fn new(url: &str, credentials: &Credentials) -> Result<Arc<Self>, ConnectError> {
        let url = url.trim_end_matches('/').to_owned();
        let failed = |why: String| ConnectError::Registry { url: url.clone(), why };
        // No proxy: the registry stands beside the brokers, and no proxy leads to those either.
        let builder = || {
            reqwest::Client::builder()
                .tls_backend_preconfigured((*credentials.tls).clone())
                .no_proxy()
                .connect_timeout(TIMEOUT)
                .timeout(TIMEOUT)
        };
        let http = builder().build().map_err(|error| failed(chain(&error)))?;
        let settings = SrSettings::new_builder(url.clone())
            .no_proxy()
            .set_timeout(TIMEOUT)
            .build_with(builder())
            .map_err(|error| failed(text(&error)))?;
        Ok(Arc::new(Self { url, settings, http, by_id: Mutex::default(), ids: Mutex::default() }))
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Asks for the schema types: a small answer that only a schema registry gives.
    pub(crate) async fn ping(&self) -> Result<(), ConnectError> {
        let failed = |why: String| ConnectError::Registry { url: self.url.clone(), why };
        let answer = self.http.get(format!("{}/schemas/types", self.url)).send().await.map_err(|error| {
            failed(format!("{}; start the registry, or correct `registry.url`", chain(&error)))
        })?;
        let status = answer.status();
        let types: Vec<String> = match answer.json().await {
            Ok(types) if status.is_success() => types,
            _ => {
                return Err(failed(format!(
                    "it answers HTTP {status}, but not as a schema registry does; `registry.url` must be where \
                     Confluent's REST API begins, for Apicurio with /apis/ccompat/v7"
                )));
            }
        };
        if !types.iter().any(|kind| kind == "AVRO") {
            return Err(failed("it does not know AVRO".into()));
        }
        Ok(())
    }

    /// The id under which `E`'s own schema is registered at `subject`.
    pub(crate) async fn id_of<E: Event>(&self, subject: &str, register: bool) -> Result<u32, ConnectError> {
        let key = (subject.to_owned(), E::SCHEMA);
        if let Some(id) = lock(&self.ids).get(&key) {
            return Ok(*id);
        }
        let id = self.look_up::<E>(subject, register).await?;
        lock(&self.ids).insert(key, id);
        Ok(id)
    }

    async fn look_up<E: Event>(&self, subject: &str, register: bool) -> Result<u32, ConnectError> {
        let failed =
            |why: String| ConnectError::Schema { subject: subject.into(), url: self.url.clone(), why };
        let body = serde_json::json!({ "schema": E::SCHEMA, "schemaType": "AVRO" }).to_string();
        let without_id = || failed("the registry's answer has no id".into());
        match perform_sr_call(&self.settings, SrCall::PostForVersion(subject, &body)).await {
            Ok(found) => return found.id.ok_or_else(without_id),
            Err(error) if matches!(error_code(&error), Some(SUBJECT_NOT_FOUND | SCHEMA_NOT_FOUND)) => {}
            Err(error) => return Err(failed(text(&error))),
        }
        if register {
            let registered = perform_sr_call(&self.settings, SrCall::PostNew(subject, &body)).await;
            return registered
                .map_err(|error| {
                    failed(format!("the schema of {} was refused: {}", E::RECORD, text(&error)))
                })?
                .id
                .ok_or_else(without_id);
        }
        // Registered by somebody who laid out the same schema differently?
        let latest = perform_sr_call(&self.settings, SrCall::GetLatest(subject)).await.map_err(|error| {
            failed(match error_code(&error) {
                Some(SUBJECT_NOT_FOUND | VERSION_NOT_FOUND) => format!(
                    "the subject does not exist; register the schema of {}, which the cluster does on its start, for \
                     this client does not unless `ProducerOptions::register_schema` asks it to",
                    E::RECORD
                ),
                _ => text(&error),
            })
        })?;
        let same = latest.schema.as_deref().is_some_and(
            |theirs| matches!((intern(theirs), intern(E::SCHEMA)), (Ok(theirs), Ok(ours)) if theirs == ours),
        );
        match latest.id {
            Some(id) if same => Ok(id),
            _ => Err(failed(format!(
                "it holds other versions of {}, but not the one that this service was built with; register that \
                 version, or build the service with the registered one",
                E::RECORD
            ))),
        }
    }

    /// The schema that records with `id` were written with.
    pub(crate) async fn by_id(&self, id: u32) -> Result<&'static Schema, Lookup> {
        if let Some(schema) = lock(&self.by_id).get(&id) {
            return Ok(schema);
        }
        let found = get_schema_by_id(id, &self.settings).await.map_err(|error| match error_code(&error) {
            // The registry's own "no such schema", by whatever sub-code of 404.
            Some(code) if code / 100 == 404 => Lookup::Absent(text(&error)),
            _ => Lookup::Failed(text(&error)),
        })?;
        if found.schema_type != SchemaType::Avro || !found.references.is_empty() {
            return Err(Lookup::Absent(format!("schema {id} is not one self-contained Avro schema")));
        }
        let schema = intern(&found.schema).map_err(Lookup::Absent)?;
        lock(&self.by_id).insert(id, schema);
        Ok(schema)
    }
}

/// Why there is no schema for an id.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// There is none, and asking again will not change that.
    Absent(String),
    /// The registry could not be asked.
    Failed(String),
}

/// Writes events of one type, framed.
pub(crate) struct Encoder {
    header: [u8; wire::HEADER],
    writer: GenericDatumWriter<'static>,
}

impl Encoder {
    pub(crate) fn new<E: Event>(schema_id: u32) -> Result<Self, String> {
        let writer =
            GenericDatumWriter::builder(intern(E::SCHEMA)?).build().map_err(|error| error.to_string())?;
        Ok(Self { header: wire::header(schema_id), writer })
    }

    pub(crate) fn encode<E: Event>(&self, event: &E, into: &mut Vec<u8>) -> Result<(), String> {
        into.clear();
        into.extend_from_slice(&self.header);
        // The library's own texts repeat values.
        let misfit = |_| "a field's value is not of the type that the schema has for it".to_owned();
        self.writer.write_ser(into, event).map(drop).map_err(misfit)
    }
}

/// Reads events of one type, whatever version they were written with.
pub(crate) struct Decoder {
    reader: &'static Schema,
    /// Resolving a pair of schemas costs more than a record: once for each writer.
    by_writer: HashMap<u32, GenericDatumReader<'static>>,
}

impl Decoder {
    pub(crate) fn new<E: Event>() -> Result<Self, String> {
        Ok(Self { reader: intern(E::SCHEMA)?, by_writer: HashMap::new() })
    }

    pub(crate) fn knows(&self, id: u32) -> bool {
        self.by_writer.contains_key(&id)
    }

    /// Refuses a writer's schema that ours cannot read, once and by the schemas alone.
    pub(crate) fn learn(&mut self, id: u32, writer: &'static Schema) -> Result<(), String> {
        let text = |schema: &Schema| serde_json::to_string(schema).map_err(|error| error.to_string());
        let report = schema::check(&[text(writer)?], &text(self.reader)?, schema::Mode::Backward)
            .map_err(|error| error.to_string())?;
        if !report.is_compatible() {
            return Err(report.to_string());
        }
        let reader = GenericDatumReader::builder(writer)
            .reader_schema(self.reader)
            .build()
            .map_err(|error| error.to_string())?;
        self.by_writer.insert(id, reader);
        Ok(())
    }

    /// The library's own texts repeat values, so none of them is passed on.
    pub(crate) fn decode<E: Event>(&self, id: u32, datum: &[u8]) -> Result<E, String> {
        let Some(reader) = self.by_writer.get(&id) else { return Err(format!("schema {id} is not known")) };
        let mut rest = datum;
        let value = reader.read_value(&mut rest).map_err(|_| {
            format!("its bytes cannot be read by its schema {id}: damaged or written by another")
        })?;
        if !rest.is_empty() {
            return Err(format!("{} bytes are left over behind it", rest.len()));
        }
        apache_avro::from_value(&value).map_err(|_| format!("a field's value does not fit `{}`", E::RECORD))
    }
}

/// Parses a schema once in the life of the process. Readers and writers borrow it for ever, so it
/// is leaked; the number of different schemas that a process meets bounds that.
pub(crate) fn intern(schema: &str) -> Result<&'static Schema, String> {
    static KNOWN: LazyLock<Mutex<HashMap<String, &'static Schema>>> = LazyLock::new(|| {
        // Process-wide in the library, and whoever sets it first wins: before the first datum.
        apache_avro::util::max_allocation_bytes(ALLOCATION);
        Mutex::default()
    });
    let mut known = lock(&KNOWN);
    if let Some(found) = known.get(schema) {
        return Ok(found);
    }
    let parsed = Schema::parse_str(schema).map_err(|error| format!("not an Avro schema: {error}"))?;
    let parsed: &'static Schema = Box::leak(Box::new(parsed));
    known.insert(schema.to_owned(), parsed);
    Ok(parsed)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Maps that are only added to: whole after a panic elsewhere.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn error_code(error: &SRCError) -> Option<u32> {
    std::error::Error::source(error)?.downcast_ref::<RawError>().map(|raw| raw.error_code)
}

fn text(error: &SRCError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{}: {}", error.error, chain(source)),
        None => error.error.clone(),
    }
}

/// An error with its causes: the outermost alone says "error sending request" and no more.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::events::{MeteringEvent, PolicyDecision};

    fn decoder<E: Event>() -> Decoder {
        let mut decoder = Decoder::new::<E>().expect("a schema");
        decoder.learn(7, intern(E::SCHEMA).expect("a schema")).expect("the same schema");
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
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Wide {
        n: u64,
    }

    /// Narrower than its schema.
    #[derive(Debug, serde::Serialize, serde::Deserialize)]
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
        let value = narrow.by_writer[&7].read_value(&mut datum.as_slice()).expect("read");
        let theirs = apache_avro::from_value::<Narrow>(&value).expect_err("too narrow");
        assert!(theirs.to_string().contains(&MARK.to_string()), "else ours need not hide it: {theirs}");
        let fitting = narrow.decode::<Narrow>(7, &datum).expect_err("too narrow");
        let reading = narrow.decode::<Narrow>(7, &[0xff; 3]).expect_err("no datum");
        for why in [encoding, fitting, reading] {
            assert!(!why.contains(&MARK.to_string()) && !why.contains("255"), "{why}");
        }
    }

    /// A registry that knows no schema by content, and answers the question for the latest so.
    #[cfg(unix)]
    async fn look_up(status: u16, code: u32) -> String {
        use std::io::{BufRead as _, BufReader, Read as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let answers = [(404, SCHEMA_NOT_FOUND), (status, code)];
        std::thread::spawn(move || {
            for (status, code) in answers {
                let (mut stream, _) = listener.accept().expect("a client");
                let mut reader = BufReader::new(stream.try_clone().expect("a handle"));
                let (mut line, mut length) = (String::new(), 0);
                while reader.read_line(&mut line).expect("a line") > 2 {
                    let header = line.to_ascii_lowercase();
                    if let Some(value) = header.strip_prefix("content-length:") {
                        length = value.trim().parse().expect("a number");
                    }
                    line.clear();
                }
                reader.read_exact(&mut vec![0; length]).expect("the body");
                let body = format!(r#"{{"error_code":{code},"message":"told so"}}"#);
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
                     connection: close\r\n\r\n",
                    body.len()
                );
                stream.write_all(format!("{head}{body}").as_bytes()).expect("sent");
            }
        });
        let registry = Registry::new(&url, &crate::config::tests::credentials()).expect("an address");
        registry.id_of::<Narrow>("n-value", false).await.expect_err("no id").to_string()
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn only_a_subject_that_is_absent_is_called_so() {
        for code in [SUBJECT_NOT_FOUND, VERSION_NOT_FOUND] {
            let why = look_up(404, code).await;
            assert!(why.contains("the subject does not exist"), "{why}");
        }
        for (status, code) in [(500, 50001), (401, 40101)] {
            let why = look_up(status, code).await;
            assert!(!why.contains("does not exist") && why.contains("told so"), "{why}");
        }
    }

    #[test]
    fn a_schema_that_ours_cannot_read_is_refused_before_any_record() {
        let mut narrow = Decoder::new::<Narrow>().expect("a schema");
        let union = Narrow::SCHEMA.replace(r#""long""#, r#"["long","string"]"#);
        let refused = narrow.learn(8, intern(&union).expect("a schema")).expect_err("a string is no long");
        assert!(refused.contains("/fields/0/type"), "{refused}");
        assert!(!narrow.knows(8));
        narrow.learn(9, intern(Wide::SCHEMA).expect("a schema")).expect("an int is a long");
    }

    #[test]
    fn damaged_lengths_cannot_fill_the_memory() {
        let _ = decoder::<PolicyDecision>();
        assert_eq!(apache_avro::util::max_allocation_bytes(1), ALLOCATION);
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
        let newer = PolicyDecision::SCHEMA.replace("\"DENY\"]", "\"DENY\", \"DEFER\"]");
        assert_ne!(newer, PolicyDecision::SCHEMA);
        let newer = intern(&newer).expect("a schema");
        let mut value = apache_avro::to_value(PolicyDecision::sample(3))
            .and_then(|value| value.resolve(newer))
            .expect("fits");
        let apache_avro::types::Value::Record(fields) = &mut value else { panic!("a record") };
        for (name, field) in fields {
            if name == "outcome" {
                *field = apache_avro::types::Value::Enum(3, "DEFER".into());
            }
        }
        let bytes = GenericDatumWriter::builder(newer)
            .build()
            .and_then(|writer| writer.write_value_to_vec(value))
            .expect("written");
        let mut decoder = Decoder::new::<PolicyDecision>().expect("a schema");
        decoder.learn(8, newer).expect("compatible");
        let event: PolicyDecision = decoder.decode(8, &bytes).expect("read");
        assert_eq!(event.outcome, crate::events::DecisionOutcome::Unknown);
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
}
