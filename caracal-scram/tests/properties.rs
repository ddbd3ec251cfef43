//! What must hold for every input: records and exchanges agree, tampering is noticed, parsers do not panic.

use std::sync::LazyLock;

use caracal_scram::{Iterations, Mechanism, ScramClient, ScramCredential, ScramError, ScramServer};
use proptest::collection::vec;
use proptest::prelude::*;
use secrecy::{ExposeSecret as _, SecretString};

fn mechanism() -> impl Strategy<Value = Mechanism> {
    prop_oneof![Just(Mechanism::ScramSha256), Just(Mechanism::ScramSha512)]
}

/// ASCII, and letters beyond it that SASLprep keeps.
fn password() -> impl Strategy<Value = SecretString> {
    "[ -~\u{e0}-\u{f6}\u{3b1}-\u{3c9}]{1,40}".prop_map(SecretString::from)
}

/// Messages that look right at first, so that the parsers' depths are reached.
fn nearly_a_message() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        "[a-z]{0,6}=[A-Za-z0-9+/=%]{0,12}",
        Just("n,".to_owned()),
        Just("r=abc".to_owned()),
        Just("s=AAAA".to_owned()),
        Just("i=4096".to_owned()),
        Just("v=AAAA".to_owned()),
        Just("c=biws".to_owned()),
        Just("p=AAAA".to_owned()),
        Just("salt=AAAA".to_owned()),
        Just("iterations=99999999999".to_owned()),
        "\\PC{0,6}",
    ];
    prop_oneof![vec(part, 0..7).prop_map(|parts| parts.join(",").into_bytes()), vec(any::<u8>(), 0..64)]
}

/// Both sides on fresh nonces; every message passes through `wire`, which knows its number.
fn exchange(
    credential: &ScramCredential,
    username: &str,
    password: &SecretString,
    wire: impl Fn(usize, &[u8]) -> Vec<u8>,
) -> Result<String, ScramError> {
    let client = ScramClient::new(credential.mechanism(), username, password)?;
    let server = ScramServer::new(credential)?.handle_client_first(&wire(0, &client.first_message()))?;
    let seen = server.username().to_owned();
    let client = client.handle_server_first(&wire(1, server.first_message()))?;
    let answer = server.verify(&wire(2, client.final_message()))?;
    client.verify(&wire(3, &answer))?;
    Ok(seen)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn records_survive_the_round_trip(
        mechanism in mechanism(), password in password(), salt in vec(any::<u8>(), 1..64), rounds in 4096_u32..5000,
    ) {
        let iterations = Iterations::new(rounds).unwrap();
        let made = ScramCredential::derive_with_salt(mechanism, &password, &salt, iterations).unwrap();
        let record = made.to_kafka_record();
        let read = ScramCredential::from_kafka_record(mechanism, record.expose_secret()).unwrap();
        prop_assert_eq!(read.salt(), &salt[..]);
        prop_assert_eq!(read.iterations(), rounds);
        prop_assert_eq!(read.stored_key().expose_secret(), made.stored_key().expose_secret());
        prop_assert_eq!(read.server_key().expose_secret(), made.server_key().expose_secret());
        let again = read.to_kafka_record();
        prop_assert_eq!(again.expose_secret(), record.expose_secret());
        prop_assert!(read.verifies(&password).unwrap());
    }

    #[test]
    fn both_sides_agree(mechanism in mechanism(), password in password(), username in "[ -~]{1,24}") {
        let credential = ScramCredential::derive(mechanism, &password, Iterations::MIN).unwrap();
        let seen = exchange(&credential, &username, &password, |_, message| message.to_vec()).unwrap();
        prop_assert_eq!(seen, username);
    }

    #[test]
    fn another_password_is_refused(mechanism in mechanism(), right in password(), wrong in password()) {
        prop_assume!(right.expose_secret() != wrong.expose_secret());
        let credential = ScramCredential::derive(mechanism, &right, Iterations::MIN).unwrap();
        let outcome = exchange(&credential, "user", &wrong, |_, message| message.to_vec());
        prop_assert!(matches!(outcome, Err(ScramError::ClientProof { .. })), "{:?}", outcome);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Flips one bit of one message. No message has a byte that may be changed unnoticed.
    #[test]
    fn tampering_is_noticed(
        which in 0..2_usize, number in 0..4_usize, place in any::<prop::sample::Index>(), bit in 0..8_u8,
    ) {
        static CREDENTIALS: LazyLock<[ScramCredential; 2]> = LazyLock::new(|| {
            Mechanism::ALL.map(|mechanism| {
                ScramCredential::derive(mechanism, &"pencil".into(), Iterations::MIN).unwrap()
            })
        });
        let outcome = exchange(&CREDENTIALS[which], "user", &"pencil".into(), |at, message| {
            let mut message = message.to_vec();
            if at == number {
                let place = place.index(message.len());
                message[place] ^= 1 << bit;
            }
            message
        });
        prop_assert!(outcome.is_err(), "message {} taken", number);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic_and_never_pass(message in nearly_a_message()) {
        let password = SecretString::from("pencil");
        let record = format!("salt=AAAA,stored_key={0},server_key={0},iterations=4096", "A".repeat(43) + "=");
        let credential = ScramCredential::from_kafka_record(Mechanism::ScramSha256, &record).unwrap();

        let client = ScramClient::danger_with_nonce(Mechanism::ScramSha256, "user", &password, "client").unwrap();
        prop_assert!(client.handle_server_first(&message).is_err());
        let server = || ScramServer::danger_with_nonce(&credential, "server").unwrap();
        drop(server().handle_client_first(&message));
        let server = server().handle_client_first(b"n,,n=user,r=client").unwrap();
        prop_assert!(server.verify(&message).is_err());
        let text = String::from_utf8_lossy(&message);
        prop_assert!(ScramCredential::from_kafka_record(Mechanism::ScramSha256, &text).is_err());
        prop_assert!(text.parse::<Mechanism>().is_err());
    }

    /// A password is taken as it is or refused, and never quoted in the refusal.
    #[test]
    fn arbitrary_passwords_and_names_never_panic(text in "\\PC{1,12}") {
        let outcome = ScramClient::danger_with_nonce(Mechanism::ScramSha256, "user", &text.as_str().into(), "nonce");
        if let Err(error) = outcome {
            let known = matches!(error, ScramError::PasswordProhibited | ScramError::PasswordNotNormal);
            prop_assert!(known, "{:?}", error);
        }
        drop(ScramClient::danger_with_nonce(Mechanism::ScramSha256, &text, &"pencil".into(), "nonce"));
    }
}
