//! Whole exchanges with known outcomes: RFC 7677's example, and the same inputs with SHA-512.
//! (RFC 5802's example is SHA-1; it is held against the formulas next to them, in `derive.rs`.)

use caracal_scram::{
    Iterations, Mechanism, SaltedPasswordCache, ScramClient, ScramCredential, ScramError, ScramServer,
};
use secrecy::{ExposeSecret as _, SecretString};

const CLIENT_NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const SALT: [u8; 16] = *b"\x5b\x6d\x99\x68\x9d\x12\x35\x8e\xec\xa0\x4b\x14\x12\x36\xfa\x81";
const SERVER_FIRST: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

struct Vector {
    mechanism: Mechanism,
    proof: &'static str,
    signature: &'static str,
    record: &'static str,
}

const VECTORS: [Vector; 2] = [
    // Proof and signature: RFC 7677 section 3. The record's keys: Python's hashlib and hmac.
    Vector {
        mechanism: Mechanism::ScramSha256,
        proof: "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        signature: "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        record: "salt=W22ZaJ0SNY7soEsUEjb6gQ==,stored_key=WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,\
            server_key=wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=,iterations=4096",
    },
    // No standard publishes one for SHA-512: all of it by Python's hashlib and hmac.
    Vector {
        mechanism: Mechanism::ScramSha512,
        proof: "gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==",
        signature: "ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==",
        record: "salt=W22ZaJ0SNY7soEsUEjb6gQ==,\
            stored_key=6AAub3065EYRmyFpM2RNwqK+eGnrkYuEWbXn19LsEmBqzu8QaCXNc1FwpnX9NhH2hK/60dzj9DoO5DvVkOHbvg==,\
            server_key=jZHbYjC1aHh0/hKbxyBuGFjDrgjgKTT1esA7awWiKcRZ0o/0b1yWEebBeSVkkCFewf91nLDfKF24mvD5nmE6rA==,\
            iterations=4096",
    },
];

fn pencil() -> SecretString {
    "pencil".into()
}

fn client(mechanism: Mechanism) -> ScramClient {
    ScramClient::danger_with_nonce(mechanism, "user", &pencil(), CLIENT_NONCE).unwrap()
}

fn credential(mechanism: Mechanism) -> ScramCredential {
    ScramCredential::derive_with_salt(mechanism, &pencil(), &SALT, Iterations::MIN).unwrap()
}

#[test]
fn client_says_what_the_vector_says() {
    for Vector { mechanism, proof, signature, .. } in VECTORS {
        let client = client(mechanism);
        assert_eq!(client.first_message(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let client = client.handle_server_first(SERVER_FIRST.as_bytes()).unwrap();
        let expected = format!("c=biws,r={CLIENT_NONCE}{SERVER_NONCE},p={proof}");
        assert_eq!(std::str::from_utf8(client.final_message()).unwrap(), expected);
        client.verify(format!("v={signature}").as_bytes()).unwrap();
    }
}

#[test]
fn server_says_what_the_vector_says() {
    for Vector { mechanism, proof, signature, .. } in VECTORS {
        let credential = credential(mechanism);
        let server = ScramServer::danger_with_nonce(&credential, SERVER_NONCE).unwrap();
        let server = server.handle_client_first(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
        assert_eq!((server.username(), server.first_message()), ("user", SERVER_FIRST.as_bytes()));
        let answer = server.verify(format!("c=biws,r={CLIENT_NONCE}{SERVER_NONCE},p={proof}").as_bytes());
        assert_eq!(answer.unwrap(), format!("v={signature}").into_bytes());
    }
}

#[test]
fn record_is_what_the_vector_says() {
    for Vector { mechanism, record, .. } in VECTORS {
        assert_eq!(credential(mechanism).to_kafka_record().expose_secret(), record);
        let read = ScramCredential::from_kafka_record(mechanism, record).unwrap();
        assert_eq!((read.salt(), read.iterations(), read.mechanism()), (&SALT[..], 4096, mechanism));
        assert!(read.verifies(&pencil()).unwrap());
        assert!(!read.verifies(&"pencils".into()).unwrap());
    }
}

/// The PBKDF2-HMAC-SHA-512 vector of 4096 rounds that follows RFC 6070's inputs.
#[test]
fn salted_password_is_pbkdf2() {
    let salted = ScramCredential::expose_salted_password(
        Mechanism::ScramSha512,
        &"password".into(),
        b"salt",
        Iterations::MIN,
    );
    let hex: String = salted.unwrap().expose_secret().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex,
        "d197b1b33db0143e018b12f3d1d1479e6cdebdcc97c5c0f87f6902e072f457b5\
         143f30602641b3d55cd335988cb36b84376060ecd532e039b742a239434af2d5"
    );
}

#[test]
fn cached_log_ins_derive_once_and_never_help_a_wrong_password() {
    let mut cache = SaltedPasswordCache::new();
    for round in 0..3 {
        for Vector { mechanism, signature, .. } in VECTORS {
            let client = client(mechanism).handle_server_first_cached(&mut cache, SERVER_FIRST.as_bytes());
            client.unwrap().verify(format!("v={signature}").as_bytes()).unwrap();
        }
        assert_eq!(cache.derivations(), 2, "round {round}");
    }
    let Vector { mechanism, signature, .. } = VECTORS[1];
    let wrong = ScramClient::danger_with_nonce(mechanism, "user", &"pencils".into(), CLIENT_NONCE).unwrap();
    let wrong = wrong.handle_server_first_cached(&mut cache, SERVER_FIRST.as_bytes()).unwrap();
    let outcome = wrong.verify(format!("v={signature}").as_bytes());
    assert!(matches!(outcome, Err(ScramError::ServerSignature { .. })), "{outcome:?}");
}

#[test]
fn client_refuses_what_a_server_must_not_say_first() {
    let refuse = |text: &str| {
        client(Mechanism::ScramSha512).handle_server_first(text.as_bytes()).expect_err(text).to_string()
    };
    for (text, why) in [
        (SERVER_FIRST.replace("4096", "4095"), "4095 iterations"),
        (SERVER_FIRST.replace("4096", "1000001"), "1000001 iterations"),
        (SERVER_FIRST.replace("4096", "4294967296"), "not a number"),
        (SERVER_FIRST.replace("4096", "+4096"), "not a number"),
        (SERVER_FIRST.replace("r=rO", "r=rX"), "nonce"),
        (format!("r={CLIENT_NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"), "nonce"),
        (SERVER_FIRST.replace("%hv", "%\u{e9}"), "nonce"),
        (SERVER_FIRST.replace("W22ZaJ0SNY7soEsUEjb6gQ==", ""), "salt (s=) is empty"),
        (SERVER_FIRST.replace("gQ==", "gQ"), "not base 64"),
        (SERVER_FIRST.replace(",i=4096", ""), "no iterations"),
        (format!("m=x,{SERVER_FIRST}"), "extension (m=)"),
        (format!("{SERVER_FIRST},"), "not an extension"),
        (String::new(), "no nonce"),
        ("\u{16}\u{3}\u{1}".to_owned(), "no nonce"),
    ] {
        let error = refuse(&text);
        assert!(error.contains(why) && error.contains("\"user\""), "{text:?}: {error}");
    }
    client(Mechanism::ScramSha512).handle_server_first(&[0xff]).expect_err("not UTF-8");
    let extended = format!("{SERVER_FIRST},ext=1");
    let extended = client(Mechanism::ScramSha512).handle_server_first(extended.as_bytes());
    assert!(extended.is_ok(), "extensions are ignored");
}

#[test]
fn client_tells_a_refusal_from_a_false_server() {
    let outcome = |text: &str| {
        let client = client(Mechanism::ScramSha512).handle_server_first(SERVER_FIRST.as_bytes()).unwrap();
        client.verify(text.as_bytes()).expect_err(text)
    };
    let refused = outcome("e=invalid-proof");
    assert!(matches!(&refused, ScramError::ServerRefused { error, .. } if error == "invalid-proof"));
    let of_sha_256 = format!("v={}", VECTORS[0].signature);
    for signature in ["v=", "v=AAAA", &of_sha_256] {
        assert!(matches!(outcome(signature), ScramError::ServerSignature { .. }), "{signature}");
    }
    for malformed in ["", "v=*", "x=1", "v", "e=x,"] {
        assert!(matches!(outcome(malformed), ScramError::ServerMessage { .. }), "{malformed}");
    }
}

#[test]
fn server_refuses_what_a_client_must_not_say() {
    let credential = credential(Mechanism::ScramSha256);
    let first = |text: &str| {
        let server = ScramServer::danger_with_nonce(&credential, SERVER_NONCE).unwrap();
        server.handle_client_first(text.as_bytes()).map(|server| server.username().to_owned())
    };
    assert_eq!(first("n,a=u=2Cv,n=u=2Cv,r=x").unwrap(), "u,v");
    assert_eq!(first("n,,n=u,r=x,tokenauth=true").unwrap(), "u");
    for bad in [
        "",
        "y,,n=u,r=x",
        "p=tls-exporter,,n=u,r=x",
        "n,a=v,n=u,r=x",
        "n,,m=1,n=u,r=x",
        "n,,n=u,r=",
        "n,,n=,r=x",
        "n,,n=a=b,r=x",
        "n,,n=u",
        "n,,n=u,r=x,",
        "n,,n=\u{e9},r=x",
    ] {
        assert!(matches!(first(bad), Err(ScramError::ClientMessage { .. })), "{bad:?}");
    }

    let proof = VECTORS[0].proof;
    let last = |text: &str| {
        let server = ScramServer::danger_with_nonce(&credential, SERVER_NONCE).unwrap();
        server.handle_client_first(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap().verify(text.as_bytes())
    };
    let good = format!("c=biws,r={CLIENT_NONCE}{SERVER_NONCE},p={proof}");
    last(&good).unwrap();
    for bad in [
        good.replace("biws", "eSws"),
        good.replace("$k0", "$k1"),
        good.replace(",p=", ",q="),
        good.replace("c=biws,", ""),
        good.replace(proof, "*"),
    ] {
        assert!(matches!(last(&bad), Err(ScramError::ClientMessage { .. })), "{bad:?}");
    }
    for bad in [good.replace("p=dH", "p=dG"), good.replace(proof, ""), good.replace(proof, VECTORS[1].proof)]
    {
        assert!(matches!(last(&bad), Err(ScramError::ClientProof { .. })), "{bad:?}");
    }
}

#[test]
fn records_that_are_not_kafkas_are_refused_without_being_quoted() {
    let Vector { mechanism, record, .. } = VECTORS[0];
    let reordered: Vec<&str> = record.split(',').rev().collect();
    ScramCredential::from_kafka_record(mechanism, &reordered.join(",")).expect("order does not matter");
    for (bad, why) in [
        (String::new(), "no `=`"),
        (record.replace("salt=", "slat="), "none of"),
        (record.replace("salt=W22ZaJ0SNY7soEsUEjb6gQ==", "salt="), "salt is empty"),
        (record.replace("gQ==", "gQ"), "salt is not base 64"),
        (record.replace("stored_key=WG5d", "stored_key="), "stored_key is not a key"),
        (record.replace("server_key=wfPL", "server_key=!fPL"), "server_key is not a key"),
        (record.replace("4096", "4095"), "iterations"),
        (record.replace("4096", "-4096"), "iterations"),
        (record.replace(",iterations=4096", ""), "iterations is missing"),
        (format!("{record},salt=AAAA"), "given twice"),
        (format!("{record},"), "no `=`"),
        (VECTORS[1].record.to_owned(), "stored_key is not a key of this mechanism"),
    ] {
        let error = ScramCredential::from_kafka_record(mechanism, &bad).expect_err(&bad).to_string();
        assert!(error.contains(why) && !error.contains("5d8oPm3O") && !error.contains("W22Z"), "{error}");
    }
}

#[test]
fn debug_shows_no_secret() {
    let Vector { mechanism, signature, record, proof } = VECTORS[0];
    let credential = credential(mechanism);
    let mut shown = vec![format!("{credential:?}"), format!("{:?}", credential.to_kafka_record())];
    let server = ScramServer::danger_with_nonce(&credential, SERVER_NONCE).unwrap();
    shown.push(format!("{server:?}"));
    let client = client(mechanism);
    shown.push(format!("{client:?}"));
    let server = server.handle_client_first(&client.first_message()).unwrap();
    shown.push(format!("{server:?}"));
    let mut cache = SaltedPasswordCache::new();
    let client = client.handle_server_first_cached(&mut cache, server.first_message()).unwrap();
    shown.extend([format!("{client:?}"), format!("{cache:?}")]);
    let keys: Vec<&str> = record.split(',').filter_map(|field| Some(field.split_once('=')?.1)).collect();
    for text in shown {
        for secret in ["pencil", signature, proof, keys[1], keys[2], "[91, 109"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
