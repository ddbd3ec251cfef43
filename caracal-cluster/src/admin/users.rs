//! SCRAM users of a running cluster (KIP-554): on ZooKeeper or KRaft alike, and known to every broker at once.

use bytes::Bytes;
use caracal_scram::{Iterations, Mechanism, ScramCredential, ScramError};
use kafka_protocol::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use kafka_protocol::messages::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse, DescribeUserScramCredentialsRequest,
};
use kafka_protocol::protocol::StrBytes;
use secrecy::{ExposeSecret, SecretString};

use super::{Admin, AdminError, Outcome, outcome};
use crate::wire::{ApiError, Deadline};

/// A user with the credentials that the cluster holds for it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ScramUser {
    /// Its name.
    pub name: String,
    /// Mechanism and iterations of each credential; of mechanisms that we know.
    pub credentials: Vec<(Mechanism, i32)>,
}

/// A credential to be written.
#[derive(Debug)]
pub struct ScramUpsert {
    user: String,
    mechanism: Mechanism,
    iterations: Iterations,
    salt: Vec<u8>,
    salted_password: secrecy::SecretSlice<u8>,
}

impl ScramUpsert {
    /// Derives a credential with a random salt. Some 10 ms of computing: not for an async thread.
    ///
    /// # Errors
    /// [`ScramError`] for a password of which no credential can be made.
    pub fn derive(
        user: impl Into<String>,
        password: &SecretString,
        mechanism: Mechanism,
        iterations: Iterations,
    ) -> Result<Self, ScramError> {
        let mut salt = vec![0; 32];
        ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut salt)
            .map_err(|_| ScramError::RandomUnavailable)?;
        let salted_password =
            ScramCredential::expose_salted_password(mechanism, password, &salt, iterations)?;
        Ok(Self { user: user.into(), mechanism, iterations, salt, salted_password })
    }
}

impl Admin {
    /// Every user that has a SCRAM credential, sorted by name.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn scram_users(&mut self, deadline: Deadline) -> Result<Vec<ScramUser>, AdminError> {
        const DOING: &str = "list users";
        // Empty means all, as null does; but a broker never answers null to a principal without the right,
        // because it trips over it while making its refusal (seen with 3.9.2).
        let request = DescribeUserScramCredentialsRequest::default().with_users(Some(Vec::new()));
        let moved = |code| ApiError::from_code(code, None, "").is_some_and(|error| error.is_not_controller());
        let response = self.call(DOING, &request, |answer| moved(answer.error_code), deadline).await?;
        let message = response.error_message.as_ref().map(|text| text.as_str());
        if let Err(error) = ApiError::check(response.error_code, message, "users") {
            return Err(self.controller(deadline).await?.error(DOING, error.into()).into());
        }
        let mut users: Vec<_> = response
            .results
            .into_iter()
            .map(|result| ScramUser {
                name: result.user.to_string(),
                credentials: result
                    .credential_infos
                    .iter()
                    .filter_map(|info| Some((mechanism_of(info.mechanism)?, info.iterations)))
                    .collect(),
            })
            .collect();
        users.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(users)
    }

    /// Writes credentials, new or in place of old ones.
    ///
    /// # Errors
    /// [`AdminError`] when the request as a whole failed.
    pub async fn put_scram_users(
        &mut self,
        upserts: &[ScramUpsert],
        deadline: Deadline,
    ) -> Result<Vec<Outcome<String>>, AdminError> {
        let upsertions = upserts.iter().map(|upsert| {
            ScramCredentialUpsertion::default()
                .with_name(text(&upsert.user))
                .with_mechanism(upsert.mechanism.kafka_type())
                .with_iterations(i32::try_from(upsert.iterations.count()).unwrap_or(i32::MAX))
                .with_salt(Bytes::copy_from_slice(&upsert.salt))
                .with_salted_password(Bytes::copy_from_slice(upsert.salted_password.expose_secret()))
        });
        let request = AlterUserScramCredentialsRequest::default().with_upsertions(upsertions.collect());
        self.alter_users(&request, "write users", deadline).await
    }

    /// Deletes credentials. One that is not there is an item's error.
    ///
    /// # Errors
    /// [`AdminError`] when the request as a whole failed.
    pub async fn delete_scram_users(
        &mut self,
        users: &[(&str, Mechanism)],
        deadline: Deadline,
    ) -> Result<Vec<Outcome<String>>, AdminError> {
        let deletions = users.iter().map(|(user, mechanism)| {
            ScramCredentialDeletion::default().with_name(text(user)).with_mechanism(mechanism.kafka_type())
        });
        let request = AlterUserScramCredentialsRequest::default().with_deletions(deletions.collect());
        self.alter_users(&request, "delete users", deadline).await
    }

    async fn alter_users(
        &mut self,
        request: &AlterUserScramCredentialsRequest,
        doing: &'static str,
        deadline: Deadline,
    ) -> Result<Vec<Outcome<String>>, AdminError> {
        let moved = |answer: &AlterUserScramCredentialsResponse| {
            answer.results.iter().any(|result| {
                ApiError::from_code(result.error_code, None, "")
                    .is_some_and(|error| error.is_not_controller())
            })
        };
        let response = self.call(doing, request, moved, deadline).await?;
        let outcomes = response.results.into_iter().map(|result| {
            let message = result.error_message.as_ref().map(|text| text.as_str());
            let user = result.user.to_string();
            let subject = format!("user {user}");
            outcome(user, result.error_code, message, subject)
        });
        Ok(outcomes.collect())
    }
}

fn mechanism_of(kafka_type: i8) -> Option<Mechanism> {
    [Mechanism::ScramSha256, Mechanism::ScramSha512]
        .into_iter()
        .find(|mechanism| mechanism.kafka_type() == kafka_type)
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kafkas_numbers_for_mechanisms() {
        assert_eq!(mechanism_of(1), Some(Mechanism::ScramSha256));
        assert_eq!(mechanism_of(2), Some(Mechanism::ScramSha512));
        assert_eq!(mechanism_of(0), None);
    }

    #[test]
    fn two_derivations_have_two_salts_and_show_neither_password_nor_key() {
        let iterations = Iterations::new(4096).unwrap();
        let derive = || {
            let password = "pencil-42".to_owned().into();
            ScramUpsert::derive("u", &password, Mechanism::ScramSha512, iterations).unwrap()
        };
        let (one, two) = (derive(), derive());
        assert_ne!(one.salt, two.salt);
        assert!(!format!("{one:?}").contains("pencil"));
        assert!(format!("{one:?}").contains("REDACTED"), "{one:?}");
    }
}
