//! Ctrl-C and SIGTERM: the first one asks for an orderly end, the second one ends at once.

use std::future::Future;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::exit;

/// Resolves at the first SIGINT or SIGTERM. Without a handler (the system refused one) it never does, and
/// the signal ends the process as usual.
pub(super) fn cancelled() -> impl Future<Output = ()> {
    let (tell, told) = oneshot::channel::<()>();
    if let (Ok(interrupt), Ok(terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    {
        tokio::spawn(watch(interrupt, terminate, tell));
    } else {
        // Kept open for ever: a closed channel must not look like a signal.
        std::mem::forget(tell);
    }
    async move {
        if told.await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn watch(mut interrupt: Signal, mut terminate: Signal, tell: oneshot::Sender<()>) {
    either(&mut interrupt, &mut terminate).await;
    let _ = tell.send(());
    either(&mut interrupt, &mut terminate).await;
    std::process::exit(i32::from(exit::INTERRUPTED));
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
