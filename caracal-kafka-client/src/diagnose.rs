//! From librdkafka's symptom to a likely cause and a next step.

/// Likely cause and next step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Diagnosis {
    pub(crate) cause: &'static str,
    pub(crate) next: &'static str,
    /// Waiting longer would not help.
    pub(crate) settled: bool,
    /// The TLS handshake was over by then.
    pub(crate) beyond_tls: bool,
}

const fn found(cause: &'static str, next: &'static str) -> Diagnosis {
    Diagnosis { cause, next, settled: true, beyond_tls: false }
}

const fn refused(cause: &'static str, next: &'static str) -> Diagnosis {
    Diagnosis { beyond_tls: true, ..found(cause, next) }
}

const fn transient(cause: &'static str, next: &'static str) -> Diagnosis {
    Diagnosis { cause, next, settled: false, beyond_tls: false }
}

/// The listener has other mechanisms.
const MECHANISM: [&str; 4] =
    ["unsupported sasl mechanism", "mechanism not supported", "is not enabled", "unsupported mechanism"];

/// The user is not known, or not by this password.
const REFUSED: [&str; 3] = ["authentication fail", "invalid credentials", "sasl authentication error"];

/// Reads the reason that librdkafka gives with an error. The most telling words come first.
pub(crate) fn diagnose(reason: &str) -> Diagnosis {
    let reason = reason.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    if says(&["plaintext broker", "wrong version number", "record layer failure", "packet length too long"]) {
        return found(
            "the port does not speak TLS",
            "check `kafka.bootstrap`: it must name the SASL_SSL listener",
        );
    }
    if says(&["hostname mismatch", "ip address mismatch", "not match the target host"]) {
        return found(
            "the broker's certificate is not for the name that was dialled",
            "use a name or address that the certificate has, or have the broker's certificate issued with it",
        );
    }
    if says(&["certificate has expired", "certificate expired"]) {
        return found("a certificate has expired", "have it issued again; check this machine's clock too");
    }
    if says(&["alert number", "tlsv1 alert", "tlsv13 alert", "sslv3 alert", "certificate required"]) {
        return found(
            "the broker refused this client's certificate",
            "let the cluster write its client files again: the certificate must come from a CA that the broker trusts",
        );
    }
    if says(&["certificate verify failed", "unable to get local issuer", "self-signed", "self signed"]) {
        return found(
            // librdkafka has the same words for both.
            "the broker's certificate does not come from a CA in `kafka.tls.ca_file`, or is not for the name that \
             was dialled",
            "take the CA's certificate of this very cluster, which changes when the cluster is made anew, and dial a \
             name that the broker's certificate has",
        );
    }
    if says(&["not valid in current sasl state", "illegal sasl state", "illegal_sasl_state"]) {
        return refused(
            "the port speaks TLS but knows no log-in",
            "check `kafka.bootstrap`: it must name the SASL_SSL listener, not an SSL or controller one",
        );
    }
    if says(&MECHANISM) {
        return refused(
            "the broker does not offer the mechanism",
            "set `kafka.sasl.mechanism` to one that the listener has",
        );
    }
    if says(&REFUSED) {
        return refused(
            "the broker refused user name and password",
            "let the cluster write its client files again, and check that the user exists with this mechanism",
        );
    }
    if says(&["failed to resolve", "name or service not known", "temporary failure in name resolution"]) {
        return transient("a broker's name has no address", "check `kafka.bootstrap` and the name service");
    }
    if says(&["connection refused"]) {
        return transient(
            "nothing listens there",
            "start the cluster, or check the ports in `kafka.bootstrap`",
        );
    }
    if says(&["ssl handshake", "ssl error", "disconnected"]) {
        return transient(
            "a broker closed the connection before letting the client in",
            "check that `kafka.bootstrap` names a SASL_SSL listener, and look into the broker's log",
        );
    }
    transient(
        "no broker answered in time",
        "check that the cluster is up and that no firewall stands between",
    )
}

#[cfg(test)]
mod tests {
    use super::diagnose;

    /// Reasons as librdkafka 2.12 words them.
    #[test]
    fn symptoms_lead_to_causes() {
        let cases = [
            (
                "sasl_ssl://localhost:1/bootstrap: SASL authentication error: Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-512 (after 12ms in state AUTH_REQ)",
                "refused user name and password",
                true,
            ),
            (
                "sasl_ssl://localhost:1/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate could not be verified, verify that ssl.ca.location is correctly configured",
                "ca_file",
                true,
            ),
            (
                "sasl_ssl://localhost:1/bootstrap: SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?",
                "does not speak TLS",
                true,
            ),
            (
                "ssl://localhost:1/bootstrap: SSL handshake failed: error:0A000412:SSL routines::ssl/tls alert bad certificate: SSL alert number 42",
                "refused this client's certificate",
                true,
            ),
            (
                "sasl_ssl://localhost:1/bootstrap: SASL SCRAM-SHA-512 mechanism handshake failed: Broker: Request not valid in current SASL state: broker's supported mechanisms: (n/a) (after 1ms in state AUTH_HANDSHAKE)",
                "knows no log-in",
                true,
            ),
            (
                "sasl_ssl://localhost:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)",
                "nothing listens",
                false,
            ),
            ("", "no broker answered", false),
        ];
        for (reason, cause, settled) in cases {
            let diagnosis = diagnose(reason);
            assert!(diagnosis.cause.contains(cause), "{reason}: {diagnosis:?}");
            assert_eq!(diagnosis.settled, settled, "{reason}");
            assert!(!diagnosis.next.is_empty());
        }
    }
}
