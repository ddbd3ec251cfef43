//! Which passwords and user names are let in: those that mean the same bytes to every client and broker.
//!
//! RFC 5802 has both sides apply SASLprep (RFC 4013). Kafka does not: its `ScramFormatter.normalize` takes the
//! UTF-8 bytes as they are, and so does librdkafka, while other clients (e.g. Go's) follow the RFC. A password
//! that SASLprep changes would therefore log in with some clients only. Such a password is refused instead of
//! changed; for all others SASLprep and Kafka's way give the same bytes.

use secrecy::{ExposeSecret as _, SecretString};
use stringprep::saslprep;

use crate::error::ScramError;

/// The password's bytes as every client would hash them.
pub(crate) fn password(password: &SecretString) -> Result<&[u8], ScramError> {
    let given = password.expose_secret();
    if given.is_empty() {
        return Err(ScramError::PasswordEmpty);
    }
    // The source is dropped on purpose: its text quotes a character of the password.
    let prepared = saslprep(given).map_err(|_| ScramError::PasswordProhibited)?;
    // SASLprep without a change borrows or copies; a copy is wiped.
    let prepared = zeroize::Zeroizing::new(prepared.into_owned());
    if *prepared != given { Err(ScramError::PasswordNotNormal) } else { Ok(given.as_bytes()) }
}

/// The user name as it stands in a message: `,` and `=` are escaped (RFC 5802 section 5.1).
///
/// Kafka's parser of the client's first message takes ASCII only, so any other name could be given a credential
/// but never log in; control characters are prohibited by SASLprep.
pub(crate) fn sasl_name(username: &str) -> Result<String, ScramError> {
    if username.is_empty() || !username.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        return Err(ScramError::UsernameInvalid { username: username.chars().take(64).collect() });
    }
    Ok(username.replace('=', "=3D").replace(',', "=2C"))
}

/// The reverse of [`sasl_name`]: `None` for a `=` that begins no escape, and for what it would not have made.
pub(crate) fn username(sasl_name: &str) -> Option<String> {
    let mut parts = sasl_name.split('=');
    let mut username = parts.next()?.to_owned();
    for part in parts {
        let (escaped, rest) = if let Some(rest) = part.strip_prefix("2C") {
            (',', rest)
        } else {
            ('=', part.strip_prefix("3D")?)
        };
        username.push(escaped);
        username.push_str(rest);
    }
    (self::sasl_name(&username).ok()? == sasl_name).then_some(username)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: &str) -> Result<Vec<u8>, ScramError> {
        password(&given.into()).map(<[u8]>::to_vec)
    }

    #[test]
    fn passwords_that_saslprep_keeps_are_their_own_bytes() {
        for good in ["pencil", "a b,c=d", "pa\u{df}word", "\u{e9}t\u{e9}", "\u{627}\u{628}"] {
            assert_eq!(check(good).unwrap(), good.as_bytes(), "{good}");
        }
    }

    #[test]
    fn passwords_that_saslprep_changes_or_prohibits_are_refused() {
        // RFC 4013 section 3: soft hyphen and ligature are mapped, BEL and mixed direction are prohibited.
        for changed in ["I\u{ad}X", "\u{2168}", "\u{aa}", "e\u{301}", "a\u{a0}b", "\u{ad}"] {
            assert_eq!(check(changed), Err(ScramError::PasswordNotNormal), "{changed:?}");
        }
        for prohibited in ["\u{7}", "\u{627}1", "pencil\n", "\u{e000}", "\u{1f600}"] {
            assert_eq!(check(prohibited), Err(ScramError::PasswordProhibited), "{prohibited:?}");
        }
        assert_eq!(check(""), Err(ScramError::PasswordEmpty));
    }

    #[test]
    fn user_names_are_escaped_and_read_back() {
        for (name, escaped) in
            [("user", "user"), ("a,b=c", "a=2Cb=3Dc"), ("=2C", "=3D2C"), ("CN=x y", "CN=3Dx y")]
        {
            assert_eq!(sasl_name(name).unwrap(), escaped);
            assert_eq!(username(escaped).as_deref(), Some(name));
        }
        for bad in ["", "=", "a=2cb", "a=", "=4D", "a,b", "\u{e9}"] {
            assert_eq!(username(bad), None, "{bad:?}");
        }
        for bad in ["", "\u{e9}t\u{e9}", "a\nb", "\u{7f}"] {
            assert!(matches!(sasl_name(bad), Err(ScramError::UsernameInvalid { .. })), "{bad:?}");
        }
    }
}
