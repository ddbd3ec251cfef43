//! SCRAM users in ZooKeeper, written exactly as Kafka would.
//!
//! Kafka keeps a user's credentials under `/config/users/<name>` as JSON
//! `{"version":1,"config":{"SCRAM-SHA-512":"salt=..,stored_key=..,server_key=..,iterations=.."}}`. With
//! `zookeeper.set.acl=true` its `ZkData.defaultAcls` gives every path to its creator and lets the world read
//! it, except below the sensitive `/config/users`, which only the creator may read. The same lists are set
//! here, so that a broker that finds the paths finds them as its own.
//!
//! A running broker learns of changes by notifications that are not written here: while brokers run, users are
//! changed through [`crate::admin::users`].

use caracal_scram::{Iterations, Mechanism, ScramCredential, ScramError};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use super::client::{Acl, CreateMode, Stat, ZooKeeper};
use super::error::{ZkCode, ZkError};
use crate::wire::Deadline;

const CONFIG: &str = "/config";
const USERS: &str = "/config/users";

/// What had to be done for a user.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum UserChange {
    /// It was not there and is now.
    Created,
    /// It was there with another credential, or readable by others, and is right now.
    Updated,
    /// It was right already.
    Unchanged,
}

/// Why a user could not be made or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UserError {
    /// ZooKeeper did not do its part.
    #[error(transparent)]
    ZooKeeper(#[from] ZkError),
    /// No credential can be made from the password.
    #[error("no credential can be made for user `{user}`")]
    Scram {
        /// The user.
        user: String,
        /// Why.
        #[source]
        source: ScramError,
    },
}

/// Makes sure that a user exists with this password, mechanism and number of iterations.
///
/// An existing credential that is right stays, so a second run changes nothing. Other settings of the user
/// (quotas, other mechanisms) and other users are left alone.
///
/// # Errors
/// [`UserError`].
pub async fn ensure_scram_user(
    zookeeper: &mut ZooKeeper,
    user: &str,
    password: &SecretString,
    mechanism: Mechanism,
    iterations: Iterations,
    deadline: Deadline,
) -> Result<UserChange, UserError> {
    let existing = match scram_credential(zookeeper, user, mechanism, deadline).await {
        Ok(found) => found,
        // A damaged credential is drift like any other; damage around it is not ours to repair.
        Err(ZkError::Record { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let password = password.clone();
    let settled = tokio::task::spawn_blocking(move || settle(existing, &password, mechanism, iterations));
    let credential = match settled.await {
        Ok(result) => result.map_err(|source| UserError::Scram { user: user.to_owned(), source })?,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    };
    Ok(put_scram_user(zookeeper, user, &credential, deadline).await?)
}

/// Writes a user's credential; changes nothing when the very same one is there.
///
/// # Errors
/// [`ZkError`].
pub async fn put_scram_user(
    zookeeper: &mut ZooKeeper,
    user: &str,
    credential: &ScramCredential,
    deadline: Deadline,
) -> Result<UserChange, ZkError> {
    create_if_absent(zookeeper, CONFIG, &[Acl::creator_all(), Acl::world_read()], deadline).await?;
    create_if_absent(zookeeper, USERS, &[Acl::creator_all()], deadline).await?;
    let path = user_path(user);
    let Some((mut record, stat)) = read_record(zookeeper, user, deadline).await? else {
        let mut record = empty_record();
        put_credential(&mut record, credential);
        let data = Value::Object(record).to_string();
        let acl = [Acl::creator_all()];
        zookeeper.create(&path, data.as_bytes(), &acl, CreateMode::Persistent, deadline).await?;
        return Ok(UserChange::Created);
    };
    let closed = close_to_others(zookeeper, &path, deadline).await?;
    if !put_credential(&mut record, credential) {
        return Ok(if closed { UserChange::Updated } else { UserChange::Unchanged });
    }
    let data = Value::Object(record).to_string();
    zookeeper.set_data(&path, data.as_bytes(), stat.version, deadline).await?;
    Ok(UserChange::Updated)
}

/// A user's credential for a mechanism; none when there is none.
///
/// # Errors
/// [`ZkError`]; [`ZkError::Record`] when the record is damaged.
pub async fn scram_credential(
    zookeeper: &mut ZooKeeper,
    user: &str,
    mechanism: Mechanism,
    deadline: Deadline,
) -> Result<Option<ScramCredential>, ZkError> {
    let Some((record, _)) = read_record(zookeeper, user, deadline).await? else {
        return Ok(None);
    };
    let Some(text) = record.get("config").and_then(|config| config.get(mechanism.name())) else {
        return Ok(None);
    };
    let text = text.as_str().ok_or_else(|| damaged(user, "its credential is not text"))?;
    ScramCredential::from_kafka_record(mechanism, text)
        .map(Some)
        .map_err(|error| damaged(user, &error.to_string()))
}

/// The names of all users that have any setting, sorted.
///
/// # Errors
/// [`ZkError`].
pub async fn user_names(zookeeper: &mut ZooKeeper, deadline: Deadline) -> Result<Vec<String>, ZkError> {
    match zookeeper.children(USERS, deadline).await {
        Ok(names) => Ok(names.iter().map(|name| unsanitized(name)).collect()),
        Err(error) if error.code() == Some(ZkCode::NoNode) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The znode of a user.
///
/// ```
/// use caracal_cluster::zookeeper::users::user_path;
///
/// assert_eq!(user_path("producer"), "/config/users/producer");
/// assert_eq!(user_path("CN=a, O=*"), "/config/users/CN%3Da%2C%20O%3D%2A");
/// ```
pub fn user_path(user: &str) -> String {
    format!("{USERS}/{}", sanitized(user))
}

/// The existing credential when it is right, else a new one.
fn settle(
    existing: Option<ScramCredential>,
    password: &SecretString,
    mechanism: Mechanism,
    iterations: Iterations,
) -> Result<ScramCredential, ScramError> {
    if let Some(existing) = existing
        && existing.iterations() == iterations.count()
        && existing.verifies(password)?
    {
        return Ok(existing);
    }
    ScramCredential::derive(mechanism, password, iterations)
}

async fn create_if_absent(
    zookeeper: &mut ZooKeeper,
    path: &str,
    acl: &[Acl],
    deadline: Deadline,
) -> Result<(), ZkError> {
    if zookeeper.exists(path, deadline).await?.is_some() {
        return Ok(());
    }
    match zookeeper.create(path, &[], acl, CreateMode::Persistent, deadline).await {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some(ZkCode::NodeExists) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Takes a credential that the world can read away from it; says whether that was needed.
async fn close_to_others(zookeeper: &mut ZooKeeper, path: &str, deadline: Deadline) -> Result<bool, ZkError> {
    let open = zookeeper.acl(path, deadline).await?.iter().any(|entry| entry.scheme == "world");
    if open {
        zookeeper.set_acl(path, &[Acl::creator_all()], -1, deadline).await?;
    }
    Ok(open)
}

async fn read_record(
    zookeeper: &mut ZooKeeper,
    user: &str,
    deadline: Deadline,
) -> Result<Option<(Map<String, Value>, Stat)>, ZkError> {
    match zookeeper.data(&user_path(user), deadline).await {
        Ok((data, stat)) => {
            let record = parse_record(&data).map_err(|reason| damaged(user, reason))?;
            Ok(Some((record, stat)))
        }
        Err(error) if error.code() == Some(ZkCode::NoNode) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The reasons are fixed texts: a parser's own message could quote the record.
fn parse_record(data: &[u8]) -> Result<Map<String, Value>, &'static str> {
    if data.is_empty() {
        return Ok(empty_record());
    }
    let Ok(Value::Object(record)) = serde_json::from_slice(data) else {
        return Err("it is not a JSON object");
    };
    if record.get("version").and_then(Value::as_i64) != Some(1) {
        return Err("its version is not 1");
    }
    match record.get("config") {
        Some(Value::Object(_)) => Ok(record),
        _ => Err("it has no object `config`"),
    }
}

fn empty_record() -> Map<String, Value> {
    let mut record = Map::new();
    record.insert("version".to_owned(), json!(1));
    record.insert("config".to_owned(), json!({}));
    record
}

/// Says whether anything changed.
fn put_credential(record: &mut Map<String, Value>, credential: &ScramCredential) -> bool {
    let text = Value::from(credential.to_kafka_record().expose_secret());
    let Some(Value::Object(config)) = record.get_mut("config") else {
        return false;
    };
    let key = credential.mechanism().name();
    if config.get(key) == Some(&text) {
        return false;
    }
    config.insert(key.to_owned(), text);
    true
}

fn damaged(user: &str, reason: &str) -> ZkError {
    ZkError::Record { user: user.to_owned(), path: user_path(user), reason: reason.to_owned() }
}

/// Kafka's `Sanitizer.sanitize`: URL encoding, but `*` and the space as `%2A` and `%20`.
fn sanitized(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push_str(&hex::encode_upper([byte]));
        }
    }
    text
}

fn unsanitized(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let decoded = after.get(..2).filter(|_| first == b'%').and_then(|pair| hex::decode(pair).ok());
        match decoded {
            Some(pair) => {
                bytes.extend_from_slice(&pair);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn credential() -> ScramCredential {
        let iterations = Iterations::new(4096).unwrap();
        ScramCredential::derive(Mechanism::ScramSha512, &"pencil".to_owned().into(), iterations).unwrap()
    }

    #[test]
    fn a_record_has_kafkas_shape_and_keeps_what_else_is_there() {
        let mut record = parse_record(br#"{"version":1,"config":{"producer_byte_rate":"1024"}}"#).unwrap();
        assert!(put_credential(&mut record, &credential()));
        let text = Value::Object(record).to_string();
        assert!(text.contains(r#""producer_byte_rate":"1024""#), "{text}");
        assert!(text.contains(r#""SCRAM-SHA-512":"salt="#), "{text}");
        assert!(text.contains(r#""version":1"#), "{text}");
    }

    #[test]
    fn the_same_credential_changes_nothing() {
        let credential = credential();
        let mut record = empty_record();
        assert!(put_credential(&mut record, &credential));
        assert!(!put_credential(&mut record, &credential));
    }

    #[test]
    fn a_right_credential_is_kept_and_a_wrong_one_replaced() {
        let kept = credential();
        let salt = kept.salt().to_vec();
        let iterations = Iterations::new(4096).unwrap();
        let same =
            settle(Some(kept), &"pencil".to_owned().into(), Mechanism::ScramSha512, iterations).unwrap();
        assert_eq!(same.salt(), salt);
        let other =
            settle(Some(same), &"crayon".to_owned().into(), Mechanism::ScramSha512, iterations).unwrap();
        assert_ne!(other.salt(), salt);
    }

    #[test]
    fn damage_is_named_without_quoting() {
        for (data, reason) in [
            (&b"nonsense"[..], "it is not a JSON object"),
            (br#"{"version":2,"config":{}}"#, "its version is not 1"),
            (br#"{"version":1}"#, "it has no object `config`"),
        ] {
            assert_eq!(parse_record(data), Err(reason));
        }
        assert_eq!(parse_record(b""), Ok(empty_record()));
    }

    proptest! {
        #[test]
        fn names_survive_their_path(name in "\\PC{0,30}") {
            let path = sanitized(&name);
            prop_assert!(!path.contains('/'));
            prop_assert_eq!(unsanitized(&path), name);
        }

        #[test]
        fn any_record_is_read_or_refused(data: Vec<u8>) {
            let _ = parse_record(&data);
        }
    }
}
