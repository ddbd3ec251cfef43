//! The four messages of a SCRAM exchange, each as the other side could send it. The first octet says which.

#![no_main]

use std::sync::LazyLock;

use caracal_scram::{
    Iterations, Mechanism, ScramClient, ScramCredential, ScramError, ScramServer, ServerFinalExpected,
};
use libfuzzer_sys::fuzz_target;
use secrecy::SecretString;

const CLIENT_NONCE: &str = "client";
const SERVER_NONCE: &str = "server";

static CREDENTIAL: LazyLock<ScramCredential> = LazyLock::new(|| {
    let iterations = Iterations::new(4096).expect("the least count");
    ScramCredential::derive_with_salt(Mechanism::ScramSha256, &password(), b"salt", iterations)
        .expect("a credential")
});

fn password() -> SecretString {
    SecretString::from("a password")
}

fn client() -> Result<ScramClient, ScramError> {
    ScramClient::danger_with_nonce(Mechanism::ScramSha256, "user", &password(), CLIENT_NONCE)
}

fn awaiting_the_end() -> Result<ServerFinalExpected, ScramError> {
    let server = ScramServer::danger_with_nonce(&CREDENTIAL, SERVER_NONCE)?;
    let exchange = server.handle_client_first(&client()?.first_message())?;
    client()?.handle_server_first(exchange.first_message())
}

fuzz_target!(|input: &[u8]| {
    let Some((which, message)) = input.split_first() else { return };
    let server = ScramServer::danger_with_nonce(&CREDENTIAL, SERVER_NONCE).expect("a server");
    match which % 4 {
        0 => drop(server.handle_client_first(message)),
        // Up to a million iterations are honest work, and too slow to be fuzzed: five digits are left out.
        1 if message.windows(5).any(|digits| digits.iter().all(u8::is_ascii_digit)) => {}
        1 => drop(client().expect("a client").handle_server_first(message)),
        2 => {
            let first = client().expect("a client").first_message();
            let exchange = server.handle_client_first(&first).expect("an exchange");
            assert!(exchange.verify(message).is_err() || message.starts_with(b"c=biws,r=clientserver"));
        }
        _ => drop(awaiting_the_end().expect("an exchange").verify(message)),
    }
});
