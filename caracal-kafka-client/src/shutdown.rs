//! When to stop.

use std::future::Future;
use std::io;

use tokio::sync::watch;

/// Tells a running consumer to end. Cheap to clone; all clones hear the same.
#[derive(Clone, Debug)]
pub struct Shutdown {
    heard: watch::Receiver<bool>,
}

/// Ends whoever has the [`Shutdown`] that it was made with, also by being dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the consumer"]
pub struct ShutdownTrigger {
    tell: watch::Sender<bool>,
}

impl ShutdownTrigger {
    /// Ends it now.
    pub fn shut_down(&self) {
        self.tell.send_replace(true);
    }
}

impl Shutdown {
    /// One that the program triggers itself.
    ///
    /// ```
    /// let (shutdown, trigger) = caracal_kafka_client::Shutdown::by_hand();
    /// assert!(!shutdown.is_due());
    /// trigger.shut_down();
    /// assert!(shutdown.is_due());
    /// ```
    pub fn by_hand() -> (Self, ShutdownTrigger) {
        let (tell, heard) = watch::channel(false);
        (Self { heard }, ShutdownTrigger { tell })
    }

    /// When the future ends. Must be called within a tokio runtime.
    pub fn when(future: impl Future<Output = ()> + Send + 'static) -> Self {
        let (shutdown, trigger) = Self::by_hand();
        tokio::spawn(async move {
            future.await;
            trigger.shut_down();
        });
        shutdown
    }

    /// On Ctrl-C, and on Unix on SIGTERM, which is how a service is told to end. Must be called within
    /// a tokio runtime.
    ///
    /// # Errors
    /// The signal's handler cannot be installed.
    pub fn on_signal() -> io::Result<Self> {
        #[cfg(unix)]
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        Ok(Self::when(async move {
            #[cfg(unix)]
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            #[cfg(not(unix))]
            let _ = tokio::signal::ctrl_c().await;
        }))
    }

    /// Whether it is time.
    pub fn is_due(&self) -> bool {
        *self.heard.borrow() || self.heard.has_changed().is_err()
    }

    pub(crate) async fn due(&mut self) {
        // An error is a trigger that was dropped.
        let _ = self.heard.wait_for(|due| *due).await;
    }
}
