//! Certificates and passwords that are replaced while the service runs.
//!
//! The files are read again every now and then. When they say something new, it is proved by a log-in, and only then do
//! producers take it up, each once it has ended what it has under way. Whoever swaps the files should do so as a whole (a rename of their folder, or of a link
//! to it); half a swap does not fit together, is logged, and is looked at again.

use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use super::{Kafka, Shared};
use crate::credentials::Credentials;
use crate::error::ConnectError;

/// How long the log-in with new credentials may take.
const LOG_IN: Duration = Duration::from_secs(15);

/// How long a producer may take to end what it has under way; it is tried again with the next look.
const PATIENCE: Duration = Duration::from_secs(10);

/// Looks at the files for as long as somebody has the connection.
pub(super) fn watch(kafka: &Kafka) {
    let Some(interval) = kafka.shared.connection.renewal() else { return };
    let shared = Arc::downgrade(&kafka.shared);
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(interval);
        // The first one is at once, and the files were read a moment ago.
        tick.tick().await;
        loop {
            tick.tick().await;
            let Some(kafka) = Weak::upgrade(&shared).map(|shared: Arc<Shared>| Kafka { shared }) else {
                return;
            };
            if let Err(error) = kafka.look_again().await {
                tracing::warn!("new certificates or passwords are not taken up: {error}");
            }
        }
    });
}

impl Kafka {
    /// Reads certificates, key and passwords again, and has every producer, and whatever is made later, take them up if
    /// they are new; whether they were. Connections by files do so by themselves, see
    /// [`Connection::with_renewal`](crate::Connection::with_renewal). Consumers, transactions and the registry
    /// keep what they began with.
    ///
    /// # Errors
    /// [`ConnectError`]: what the files say now does not fit together, or no broker lets the client in with it. Everything
    /// goes on with what was there before.
    ///
    /// ```no_run
    /// # async fn swapped(kafka: caracal_kafka_client::Kafka) -> Result<(), caracal_kafka_client::ConnectError> {
    /// if kafka.renew().await? {
    ///     println!("new certificates are in use");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn renew(&self) -> Result<bool, ConnectError> {
        let news = Credentials::read(&self.shared.connection)?;
        if news.are(&self.credentials()) {
            return Ok(false);
        }
        self.log_in(&news, LOG_IN).await?;
        *self.shared.credentials.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(news);
        tracing::info!(principal = %self.profile().principal, "new certificates or passwords are taken up");
        if !self.replace_clients().await? {
            tracing::warn!("a producer has too much under way to take them up now, and goes on as it is");
        }
        Ok(true)
    }

    /// With producers that could not end what they had under way the last time.
    async fn look_again(&self) -> Result<(), ConnectError> {
        if !self.renew().await? {
            self.replace_producers().await?;
        }
        Ok(())
    }

    /// Whether every producer has a new client.
    pub(crate) async fn replace_clients(&self) -> Result<bool, ConnectError> {
        self.shared.renewals.send_modify(|count| *count += 1);
        self.replace_producers().await
    }

    async fn replace_producers(&self) -> Result<bool, ConnectError> {
        let open: Vec<_> = self.outboxes().open.iter().filter_map(Weak::upgrade).collect();
        let generation = *self.shared.renewals.borrow();
        let renewed = open.iter().map(|outbox| outbox.renew(generation, PATIENCE));
        let renewed = futures::future::try_join_all(renewed).await?;
        Ok(renewed.into_iter().all(|done| done))
    }
}
