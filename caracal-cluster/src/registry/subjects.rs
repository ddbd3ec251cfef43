//! Subjects one by one: versions, texts, compatibility levels of their own.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{RegisteredSchema, Registry, RegistryError};

/// A version that the registry holds.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[non_exhaustive]
pub struct SubjectVersion {
    /// Its subject.
    pub subject: String,
    /// Its number.
    pub version: i32,
    /// The id that records carry.
    pub id: i32,
    /// Its text.
    pub schema: String,
}

impl Registry {
    /// The numbers of a subject's versions, the oldest first; none for a subject that is not there.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn versions(&self, subject: &str) -> Result<Vec<i32>, RegistryError> {
        let request = self.client.get(self.path(&["subjects", subject, "versions"]));
        let mut versions: Vec<i32> = known(self.read("list versions", request).await)?.unwrap_or_default();
        versions.sort_unstable();
        Ok(versions)
    }

    /// A version of a subject, the latest unless a number is given; none where there is none.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn version(
        &self,
        subject: &str,
        version: Option<i32>,
    ) -> Result<Option<SubjectVersion>, RegistryError> {
        let number = version.map_or_else(|| "latest".to_owned(), |version| version.to_string());
        let request = self.client.get(self.path(&["subjects", subject, "versions", &number]));
        known(self.read("read a schema", request).await)
    }

    /// The text of a schema by the id that records carry; none for an id that the registry does not know.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn by_id(&self, id: i32) -> Result<Option<String>, RegistryError> {
        let request = self.client.get(self.path(&["schemas", "ids", &id.to_string()]));
        let found: Option<RegisteredSchema> =
            known(self.read::<Value>("read a schema by its id", request).await)?.map(|value| {
                RegisteredSchema {
                    id,
                    version: 0,
                    schema: value["schema"].as_str().unwrap_or_default().to_owned(),
                }
            });
        Ok(found.map(|found| found.schema))
    }

    /// A subject's own compatibility level; none where the cluster-wide one counts.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn compatibility_of(&self, subject: &str) -> Result<Option<String>, RegistryError> {
        let request = self.client.get(self.path(&["config", subject]));
        let answer: Option<Value> = known(self.read("read a subject's compatibility level", request).await)?;
        let level = answer.as_ref().and_then(|answer| {
            answer.get("compatibilityLevel").or_else(|| answer.get("compatibility"))?.as_str()
        });
        Ok(level.map(str::to_owned))
    }

    /// Sets a subject's own compatibility level.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn set_compatibility_of(&self, subject: &str, level: &str) -> Result<(), RegistryError> {
        let request =
            self.client.put(self.path(&["config", subject])).json(&json!({ "compatibility": level }));
        self.read::<Value>("set a subject's compatibility level", request).await.map(drop)
    }
}

/// What is not there is no failure.
fn known<T>(answer: Result<T, RegistryError>) -> Result<Option<T>, RegistryError> {
    match answer {
        Err(RegistryError::Refused { status: 404, .. }) => Ok(None),
        other => other.map(Some),
    }
}
