//! Why something was not done, with the exit code that says it to a program.

use std::io;

use rdkafka::error::KafkaError;

/// Arguments or input that cannot be used.
pub(crate) const USAGE: u8 = 2;
/// The cluster did not do it, or a proof failed.
pub(crate) const CLUSTER: u8 = 10;
/// User name or password was refused.
pub(crate) const AUTHENTICATION: u8 = 12;
/// A TLS handshake was refused.
pub(crate) const TLS: u8 = 13;

#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) text: String,
    pub(crate) closed_pipe: bool,
}

impl Failure {
    fn new(code: u8, text: String) -> Self {
        Self { code, text, closed_pipe: false }
    }

    pub(crate) fn usage(text: String) -> Self {
        Self::new(USAGE, text)
    }

    pub(crate) fn cluster(text: String) -> Self {
        Self::new(CLUSTER, text)
    }

    pub(crate) fn authentication(text: String) -> Self {
        Self::new(AUTHENTICATION, text)
    }

    pub(crate) fn tls(text: String) -> Self {
        Self::new(TLS, text)
    }

    /// A reader that has gone away (`| head`) is no failure.
    pub(crate) fn output(error: io::Error) -> Self {
        let closed_pipe = error.kind() == io::ErrorKind::BrokenPipe;
        Self { code: CLUSTER, text: format!("the output cannot be written: {error}"), closed_pipe }
    }

    pub(crate) fn file(what: &str, path: &std::path::Path, error: &io::Error) -> Self {
        Self::usage(format!("{what} {}: {error}", path.display()))
    }

    /// librdkafka's error, without any value that was configured.
    pub(crate) fn kafka(doing: &str, error: &KafkaError) -> Self {
        Self::cluster(format!("cannot {doing}: {}", shown(error)))
    }

    pub(crate) fn is_closed_pipe(&self) -> bool {
        self.closed_pipe
    }

    /// A hint where the command line itself was wrong.
    pub(crate) fn of(self, command: &str) -> Self {
        match self.text.strip_prefix("unknown option") {
            Some(rest) => Self { text: format!("`{command}` has no option{rest}"), ..self },
            None => self,
        }
    }
}

/// An error as text. The one for a refused setting repeats its value, which may be the password.
pub(crate) fn shown(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, _, key, _) => format!("librdkafka refuses the setting `{key}`"),
        other => match other.rdkafka_error_code() {
            Some(code) => code.to_string(),
            None => "librdkafka failed without saying why".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::types::RDKafkaConfRes;

    use super::*;

    #[test]
    fn a_refused_setting_never_shows_its_value() {
        let refused = RDKafkaConfRes::RD_KAFKA_CONF_INVALID;
        let mark = || "hunter2".to_owned();
        let error = KafkaError::ClientConfig(refused, mark(), "sasl.password".to_owned(), mark());
        let failure = Failure::kafka("connect", &error);
        assert!(
            failure.text.contains("sasl.password") && !failure.text.contains("hunter2"),
            "{}",
            failure.text
        );
        let broken = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(Failure::output(broken).is_closed_pipe());
    }
}
