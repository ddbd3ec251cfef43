//! Kafka's own SCRAM classes as the judge: same credentials, same text, and log-ins in both directions.
//!
//! Needs a JDK (11 or newer). `CARACAL_TEST_KAFKA_JARS` names a directory with the jars of Kafka's clients; without
//! it Maven fetches them.

#[path = "../../tests/support/jars.rs"]
mod support;

use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use caracal_scram::{Iterations, Mechanism, ScramClient, ScramCredential, ScramError, ScramServer};
use secrecy::{ExposeSecret as _, SecretString};

const PASSWORDS: [&str; 6] =
    ["pencil", "a,b=c d\"e\\f'g$h", "pa\u{df}w\u{f6}rd", "\u{3b1}\u{3b2}\u{3b3}", "\u{627}\u{628}", " x "];
/// Longer than a block of either hash, where HMAC hashes its key first.
const LONG: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\
    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const USERNAMES: [&str; 4] = ["producer", "schema-registry", "CN=caracal,O=Caracal Core", "=2C=3D,,=="];

#[test]
fn credentials_and_records_equal_kafkas() {
    let mut kafka = Judge::start();
    for mechanism in Mechanism::ALL {
        for (password, salt, rounds) in PASSWORDS
            .map(|password| (password, &b"\x00\xff0123456789abcd"[..], 4096))
            .into_iter()
            .chain([(LONG, &b"s"[..], 16_384), ("pencil", &[7; 200], 8192)])
        {
            let secret = SecretString::from(password);
            let iterations = Iterations::new(rounds).unwrap();
            let ours = ScramCredential::derive_with_salt(mechanism, &secret, salt, iterations).unwrap();
            let ours = ours.to_kafka_record();
            let question = format!("{mechanism}\t{}\t{}\t{rounds}", encode(password), encode(salt));
            let theirs = kafka.ask(&format!("derive\t{question}")).unwrap();
            assert_eq!(ours.expose_secret(), theirs, "{mechanism} {password:?}");

            let read = ScramCredential::from_kafka_record(mechanism, &theirs).unwrap();
            assert!(read.verifies(&secret).unwrap());
            assert_eq!(kafka.ask(&format!("rewrite\t{}", ours.expose_secret())).unwrap(), theirs);

            let salted =
                ScramCredential::expose_salted_password(mechanism, &secret, salt, iterations).unwrap();
            assert_eq!(encode(salted.expose_secret()), kafka.ask(&format!("salted\t{question}")).unwrap());
        }
    }
}

#[test]
fn our_client_logs_in_at_kafkas_server() {
    let mut kafka = Judge::start();
    for mechanism in Mechanism::ALL {
        for (username, password) in USERNAMES.into_iter().zip(PASSWORDS) {
            let password = SecretString::from(password);
            let credential = ScramCredential::derive(mechanism, &password, Iterations::MIN).unwrap();
            let record = credential.to_kafka_record();
            let question = format!("server\t{mechanism}\t{username}\t{}", record.expose_secret());

            kafka.ask(&question).unwrap();
            let client = ScramClient::new(mechanism, username, &password).unwrap();
            let first = kafka.step(&client.first_message()).unwrap();
            let client = client.handle_server_first(&first).unwrap();
            let last = kafka.step(client.final_message()).unwrap();
            client.verify(&last).unwrap();

            kafka.ask(&question).unwrap();
            let client = ScramClient::new(mechanism, username, &"wrong".into()).unwrap();
            let first = kafka.step(&client.first_message()).unwrap();
            let client = client.handle_server_first(&first).unwrap();
            let refused = kafka.step(client.final_message()).unwrap_err();
            assert!(refused.contains("Invalid client credentials"), "{refused}");
        }
    }
}

#[test]
fn kafkas_client_logs_in_at_our_server() {
    let mut kafka = Judge::start();
    for mechanism in Mechanism::ALL {
        for (username, password) in USERNAMES.into_iter().zip(PASSWORDS) {
            let right = SecretString::from(password);
            let credential = ScramCredential::derive(mechanism, &right, Iterations::MIN).unwrap();
            for (password, is_right) in [(password, true), ("wrong", false)] {
                kafka
                    .ask(&format!("client\t{mechanism}\t{}\t{}", encode(username), encode(password)))
                    .unwrap();
                let first = kafka.step(b"").unwrap();
                let server = ScramServer::new(&credential).unwrap().handle_client_first(&first).unwrap();
                assert_eq!(server.username(), username);
                let last = kafka.step(server.first_message()).unwrap();
                match server.verify(&last) {
                    Ok(signature) => {
                        assert!(is_right);
                        kafka.step(&signature).expect("Kafka's client takes our signature");
                    }
                    Err(error) => {
                        assert!(!is_right && matches!(error, ScramError::ClientProof { .. }), "{error}");
                    }
                }
            }
        }
    }
}

/// Why such passwords are refused here: to Kafka, what SASLprep holds equal are two passwords.
#[test]
fn kafka_does_not_apply_saslprep() {
    let mut kafka = Judge::start();
    let mut record = |password| {
        kafka.ask(&format!("derive\tSCRAM-SHA-512\t{}\tc2FsdA==\t4096", encode(password))).unwrap()
    };
    for (given, prepared) in [("I\u{ad}X", "IX"), ("\u{2168}", "IX"), ("a\u{a0}b", "a b")] {
        assert_ne!(record(given), record(prepared));
        let refused = ScramCredential::derive(Mechanism::ScramSha512, &given.into(), Iterations::MIN);
        assert_eq!(refused.unwrap_err(), ScramError::PasswordNotNormal);
    }
}

/// Why the empty password is refused here: Java's HMAC takes no empty key.
#[test]
fn kafka_takes_no_empty_password() {
    let refused = Judge::start().ask("derive\tSCRAM-SHA-512\t\tc2FsdA==\t4096").unwrap_err();
    assert!(refused.contains("Empty key"), "{refused}");
    let ours = ScramCredential::derive(Mechanism::ScramSha512, &"".into(), Iterations::MIN);
    assert_eq!(ours.unwrap_err(), ScramError::PasswordEmpty);
}

/// Why such user names are refused here: Kafka's server does not even read them.
#[test]
fn kafkas_server_reads_ascii_user_names_only() {
    let mut kafka = Judge::start();
    let password = SecretString::from("pencil");
    let credential = ScramCredential::derive(Mechanism::ScramSha256, &password, Iterations::MIN).unwrap();
    let record = credential.to_kafka_record();
    kafka.ask(&format!("server\tSCRAM-SHA-256\t\u{e9}t\u{e9}\t{}", record.expose_secret())).unwrap();
    let refused = kafka.step("n,,n=\u{e9}t\u{e9},r=nonce".as_bytes()).unwrap_err();
    assert!(refused.contains("Invalid SCRAM client first message format"), "{refused}");
    let ours = ScramClient::new(Mechanism::ScramSha256, "\u{e9}t\u{e9}", &password);
    assert!(matches!(ours, Err(ScramError::UsernameInvalid { .. })));
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64.encode(bytes)
}

/// A JVM that answers one question a line (`tests/java/ScramJudge.java`).
struct Judge {
    jvm: Child,
    questions: ChildStdin,
    answers: mpsc::Receiver<String>,
    stderr: PathBuf,
}

impl Judge {
    fn start() -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let stderr = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("scram-judge-{number}.stderr"));
        let log = OpenOptions::new().create(true).write(true).truncate(true).open(&stderr).unwrap();
        let java = std::env::var_os("JAVA_HOME")
            .map_or_else(|| PathBuf::from("java"), |home| Path::new(&home).join("bin/java"));
        let mut jvm = support::command(&java)
            .arg("-cp")
            .arg(jars().join("*"))
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/java/ScramJudge.java"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}; install a JDK", java.display()));
        let questions = jvm.stdin.take().unwrap();
        let lines = BufReader::new(jvm.stdout.take().unwrap()).lines();
        let (sender, answers) = mpsc::channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { jvm, questions, answers, stderr }
    }

    /// Kafka's answer, or why it refuses.
    fn ask(&mut self, question: &str) -> Result<String, String> {
        let asked = writeln!(self.questions, "{question}").and_then(|()| self.questions.flush());
        let answer = self.answers.recv_timeout(Duration::from_secs(120));
        let (Ok(()), Ok(answer)) = (&asked, &answer) else {
            let log = fs::read_to_string(&self.stderr).unwrap_or_default();
            panic!("no answer from the JVM (asked: {asked:?}, answer: {answer:?}); it said:\n{log}");
        };
        match answer.split_once(' ') {
            Some(("ok", text)) => Ok(text.to_owned()),
            Some(("refused", reason)) => Err(reason.to_owned()),
            _ => panic!("the judge says {answer:?}"),
        }
    }

    /// The next message of the exchange that the last `server` or `client` question began.
    fn step(&mut self, message: &[u8]) -> Result<Vec<u8>, String> {
        self.ask(&format!("step\t{}", encode(message))).map(|answer| BASE64.decode(answer).unwrap())
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        // Killed rather than asked: its standard input closes only after this.
        drop(self.jvm.kill());
        drop(self.jvm.wait());
    }
}

/// A directory with Kafka's clients and what they need.
fn jars() -> PathBuf {
    support::jars("org.apache.kafka:kafka-clients:3.9.2", "CARACAL_TEST_KAFKA_JARS")
}
