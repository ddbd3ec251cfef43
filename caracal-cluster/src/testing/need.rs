//! Which cluster a test needs.

use std::path::PathBuf;

use caracal_pki::store;

use super::home::Home;
use super::{FixtureError, SecureCluster};
use crate::dir::STATE_FORMAT;
use crate::spec::{ImageSet, Metadata, Overrides, Profile, RuntimeKind};

/// Which cluster a test needs: a builder whose last word is [`Need::shared`] or [`Need::exclusive`].
///
/// Tests that need the same share one cluster; another need is another cluster beside it.
///
/// ```no_run
/// use caracal_cluster::spec::{Metadata, Profile};
/// use caracal_cluster::testing::SecureCluster;
///
/// # async fn test() -> Result<(), Box<dyn std::error::Error>> {
/// let need = SecureCluster::builder().profile(Profile::Full).metadata(Metadata::Zookeeper);
/// let cluster = need.exclusive().await?;
/// cluster.node("kafka-2")?.kill()?;
/// cluster.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Need {
    profile: Profile,
    metadata: Metadata,
    runtime: RuntimeKind,
    registry: bool,
    images: Option<ImageSet>,
}

impl Default for Need {
    fn default() -> Self {
        Self {
            profile: Profile::Minimal,
            metadata: Metadata::Kraft,
            runtime: RuntimeKind::Native,
            registry: true,
            images: None,
        }
    }
}

impl Need {
    /// How much of a cluster; one node unless said.
    #[must_use]
    pub fn profile(self, profile: Profile) -> Self {
        Self { profile, ..self }
    }

    /// How it keeps its metadata; KRaft unless said.
    #[must_use]
    pub fn metadata(self, metadata: Metadata) -> Self {
        Self { metadata, ..self }
    }

    /// Where its nodes run; as processes unless said.
    #[must_use]
    pub fn runtime(self, runtime: RuntimeKind) -> Self {
        Self { runtime, ..self }
    }

    /// Without a schema registry: starts some seconds sooner, and no Avro client works on it.
    #[must_use]
    pub fn without_registry(self) -> Self {
        Self { registry: false, ..self }
    }

    /// Of which images containers are made.
    #[must_use]
    pub fn images(self, images: ImageSet) -> Self {
        Self { images: Some(images), ..self }
    }

    /// The cluster of this kind that all tests of this user share; started when there is none.
    ///
    /// # Errors
    /// [`FixtureError`].
    pub async fn shared(&self) -> Result<SecureCluster, FixtureError> {
        SecureCluster::shared_of(self).await
    }

    /// A cluster of this kind for one test alone.
    ///
    /// # Errors
    /// [`FixtureError`].
    pub async fn exclusive(&self) -> Result<SecureCluster, FixtureError> {
        SecureCluster::exclusive_of(self).await
    }

    /// As [`Need::shared`], for tests that are not async.
    ///
    /// # Errors
    /// [`FixtureError`].
    pub fn shared_blocking(&self) -> Result<SecureCluster, FixtureError> {
        blocking(self.shared())
    }

    /// As [`Need::exclusive`], for tests that are not async.
    ///
    /// # Errors
    /// [`FixtureError`].
    pub fn exclusive_blocking(&self) -> Result<SecureCluster, FixtureError> {
        blocking(self.exclusive())
    }

    /// What tells clusters of one kind from those of another, and from what another version made.
    pub(super) fn digest(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        let text = format!("{version} {STATE_FORMAT} {} {}", self.runtime.label(), self.spec("any"));
        let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        hex::encode(&digest.as_ref()[..6])
    }

    /// The description, as a file that `up` reads.
    pub(super) fn write(&self, home: &Home) -> Result<PathBuf, FixtureError> {
        let path = home.path.join("cluster.toml");
        store::write_private(&path, self.spec(home.name.as_str()).as_bytes())?;
        Ok(path)
    }

    pub(super) fn overrides(&self) -> Overrides {
        Overrides { runtime: Some(self.runtime), ..Overrides::default() }
    }

    fn spec(&self, name: &str) -> String {
        let images = self.images.clone().map(String::from);
        let images = images.map(|images| format!("[docker]\nimages = \"{images}\"\n")).unwrap_or_default();
        format!(
            "name = \"{name}\"\nprofile = \"{}\"\nmetadata = \"{}\"\n[registry]\nenabled = {}\n{images}",
            self.profile.label(),
            self.metadata.label(),
            self.registry,
        )
    }
}

/// Runs a call to its end on an executor of its own, also where the caller has one.
pub(super) fn blocking<T: Send>(
    call: impl Future<Output = Result<T, FixtureError>> + Send,
) -> Result<T, FixtureError> {
    let run = || {
        let executor = tokio::runtime::Builder::new_current_thread().enable_all().build();
        executor.map_err(FixtureError::Executor)?.block_on(call)
    };
    // The lines that the harness shows with a failing test are those of its own thread.
    if tokio::runtime::Handle::try_current().is_err() {
        return run();
    }
    std::thread::scope(|scope| scope.spawn(run).join().map_err(|_| FixtureError::Panicked)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::ClusterSpec;

    #[test]
    fn each_need_is_a_description_that_is_taken_and_a_kind_of_its_own() {
        let needs = [
            Need::default(),
            Need::default().without_registry(),
            Need::default().profile(Profile::Full),
            Need::default().metadata(Metadata::Zookeeper),
            Need::default().runtime(RuntimeKind::Docker),
            Need::default().images(ImageSet::LocalApache),
        ];
        let mut kinds: Vec<String> = needs.iter().map(Need::digest).collect();
        kinds.sort();
        kinds.dedup();
        assert_eq!(kinds.len(), needs.len());
        for need in needs {
            let spec = ClusterSpec::parse(&need.spec("fx1"), "the need").unwrap();
            assert_eq!((spec.profile, spec.metadata), (need.profile, need.metadata));
            assert_eq!(spec.registry.enabled, need.registry);
        }
    }

    #[tokio::test]
    async fn a_blocking_call_works_where_an_executor_is_already() {
        assert_eq!(blocking(async { Ok(1) }).unwrap(), 1);
    }

    #[test]
    fn a_blocking_call_works_where_there_is_none() {
        assert_eq!(blocking(async { Ok(1) }).unwrap(), 1);
    }
}
