//! What librdkafka tells us from its own threads: errors, log lines, deliveries.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Statistics, TopicPartitionList};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::mpsc;

use crate::diagnose::{Diagnosis, diagnose};
use crate::share::{ShareChange, ShareHook};
use crate::statistics::Board;

/// librdkafka repeats a complaint whose reason lasts; one that is older than this explains nothing.
const STALE: Duration = Duration::from_secs(60);

/// Shared by a client and whoever watches it.
#[derive(Clone)]
pub(crate) struct Context {
    inner: Arc<Inner>,
    /// Where statistics go, when anybody wants them.
    board: Option<Arc<Board>>,
}

struct Inner {
    password: SecretString,
    /// The most telling complaint of late.
    symptom: Mutex<Option<Symptom>>,
    /// Whether there may be one: what goes well asks a million times as often as what does not.
    troubled: AtomicBool,
    /// Who wants to carry out rebalances itself.
    rebalances: Mutex<Option<mpsc::UnboundedSender<Rebalance>>>,
    /// Partitions that were taken away and that nobody has asked about; the flag is for those who ask often.
    taken_away: Mutex<Vec<i32>>,
    any_taken_away: AtomicBool,
    hook: Mutex<ShareHook>,
}

/// What the group wants of this member.
#[derive(Debug)]
pub(crate) enum Rebalance {
    Assign(TopicPartitionList),
    /// `lost`: they are somebody else's already.
    Revoke {
        partitions: TopicPartitionList,
        lost: bool,
    },
}

/// What is done about a share.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    Assign,
    Revoke,
    /// They are somebody else's already.
    Lose,
}

impl Part {
    pub(crate) const fn away(lost: bool) -> Self {
        if lost { Self::Lose } else { Self::Revoke }
    }
}

/// A complaint of librdkafka's, free of secrets.
#[derive(Clone, Debug)]
pub(crate) struct Symptom {
    pub(crate) reason: String,
    pub(crate) diagnosis: Diagnosis,
    at: Instant,
}

impl Symptom {
    fn is_stale(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) > STALE
    }
}

impl Context {
    pub(crate) fn new(password: SecretString) -> Self {
        let inner = Inner {
            password,
            symptom: Mutex::default(),
            troubled: AtomicBool::new(false),
            rebalances: Mutex::default(),
            taken_away: Mutex::default(),
            any_taken_away: AtomicBool::new(false),
            hook: Mutex::default(),
        };
        Self { inner: Arc::new(inner), board: None }
    }

    /// Has this hook told of what changes from now on.
    pub(crate) fn tell_of_shares(&self, hook: ShareHook) {
        *self.inner.hook.lock().unwrap_or_else(PoisonError::into_inner) = hook;
    }

    /// Partitions that were taken away since the last call, also when they came back: what was read of them is
    /// read again from where the group stands.
    pub(crate) fn taken_away(&self) -> Vec<i32> {
        if !self.inner.any_taken_away.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        std::mem::take(&mut *self.inner.taken_away.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Does what the group wants, and says so to the hook: before partitions go, after they came. A failure
    /// shows in the assignment, and the group asks again.
    pub(crate) fn take_part(
        &self,
        consumer: &impl rdkafka::consumer::Consumer<Self>,
        partitions: &TopicPartitionList,
        part: Part,
    ) {
        let numbers: Vec<i32> = partitions.elements().iter().map(|element| element.partition()).collect();
        let hook = self.inner.hook.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match part {
            Part::Assign => {}
            Part::Revoke => hook.tell(ShareChange::Revoked(&numbers)),
            Part::Lose => hook.tell(ShareChange::Lost(&numbers)),
        }
        take_part(consumer, part == Part::Assign, partitions);
        if part == Part::Assign {
            hook.tell(ShareChange::Assigned(&numbers));
        } else {
            self.inner.taken_away.lock().unwrap_or_else(PoisonError::into_inner).extend(numbers);
            self.inner.any_taken_away.store(true, Ordering::Release);
        }
    }

    /// Has statistics reported there.
    pub(crate) fn reporting_to(mut self, board: Option<Arc<Board>>) -> Self {
        self.board = board;
        self
    }

    pub(crate) fn symptom(&self) -> Option<Symptom> {
        self.symptom_at(Instant::now())
    }

    fn symptom_at(&self, now: Instant) -> Option<Symptom> {
        self.lock().clone().filter(|symptom| !symptom.is_stale(now))
    }

    /// A broker did what it was asked: what was wrong before explains nothing that comes after.
    pub(crate) fn forget(&self) {
        // Read first: a write would take the cache line from the other threads each time.
        if self.inner.troubled.load(Ordering::Relaxed) && self.inner.troubled.swap(false, Ordering::Relaxed) {
            *self.lock() = None;
        }
    }

    /// From now on rebalances are reported instead of carried out at once; the receiver has to.
    pub(crate) fn report_rebalances(&self) -> mpsc::UnboundedReceiver<Rebalance> {
        let (tell, told) = mpsc::unbounded_channel();
        *self.inner.rebalances.lock().unwrap_or_else(PoisonError::into_inner) = Some(tell);
        told
    }

    /// From now on rebalances are carried out at once again.
    pub(crate) fn carry_out_rebalances(&self) {
        *self.inner.rebalances.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// librdkafka does not print passwords; should a version ever do, this is where it ends.
    pub(crate) fn scrub(&self, text: &str) -> String {
        text.replace(self.inner.password.expose_secret(), "[redacted]")
    }

    fn lock(&self) -> MutexGuard<'_, Option<Symptom>> {
        // The value is replaced as a whole, so a panic elsewhere leaves nothing half done.
        self.inner.symptom.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, code: Option<RDKafkaErrorCode>, reason: &str) {
        // It only says that each broker had its own trouble, which was told before.
        if code == Some(RDKafkaErrorCode::AllBrokersDown) {
            return;
        }
        let at = Instant::now();
        let symptom = Symptom { reason: self.scrub(reason), diagnosis: diagnose(reason), at };
        let mut known = self.lock();
        let stays = known.as_ref().is_some_and(|known| known.diagnosis.settled && !known.is_stale(at));
        if symptom.diagnosis.settled || !stays {
            *known = Some(symptom);
            self.inner.troubled.store(true, Ordering::Relaxed);
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let message = self.scrub(message);
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => tracing::error!(target: "librdkafka", facility, "{message}"),
            RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, "{message}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: "librdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
        }
    }

    fn stats(&self, statistics: Statistics) {
        if let Some(board) = &self.board {
            board.note(statistics);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        self.note(code, reason);
        let reason = self.scrub(reason);
        tracing::warn!(target: "librdkafka", code = ?code, "{reason}");
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        error: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let assign = error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let reporter = self.inner.rebalances.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reporter) = &*reporter {
            let partitions = partitions.clone();
            let event = if assign {
                Rebalance::Assign(partitions)
            } else {
                Rebalance::Revoke { partitions, lost: consumer.assignment_lost() }
            };
            if reporter.send(event).is_ok() {
                return;
            }
        }
        drop(reporter);
        let part = if assign { Part::Assign } else { Part::away(consumer.assignment_lost()) };
        self.take_part(consumer, partitions, part);
    }

    fn commit_callback(&self, result: rdkafka::error::KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::warn!(target: "librdkafka", "commit failed: {}", crate::error::code(&error));
        }
    }
}

fn take_part<C: ConsumerContext>(
    consumer: &impl rdkafka::consumer::Consumer<C>,
    assign: bool,
    partitions: &TopicPartitionList,
) {
    let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
    let done = match (assign, cooperative) {
        (true, true) => consumer.incremental_assign(partitions),
        (true, false) => consumer.assign(partitions),
        (false, true) => consumer.incremental_unassign(partitions),
        (false, false) => consumer.unassign(),
    };
    if let Err(error) = done {
        tracing::warn!(target: "librdkafka", "a rebalance failed: {}", crate::error::code(&error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_telling_symptom_stays_and_is_clean() {
        let context = Context::new(SecretString::from("hunter2"));
        let authentication = KafkaError::Global(RDKafkaErrorCode::Authentication);
        context.error(KafkaError::Global(RDKafkaErrorCode::Resolve), "Failed to resolve hunter2");
        context.error(authentication, "SASL authentication error: Authentication failed for hunter2");
        context.error(KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure), "Disconnected");
        context.error(KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "3/3 brokers are down");
        let symptom = context.symptom().expect("noted");
        assert!(symptom.diagnosis.settled, "{symptom:?}");
        assert!(symptom.reason.contains("[redacted]") && !symptom.reason.contains("hunter2"), "{symptom:?}");
    }

    #[test]
    fn an_old_symptom_or_one_before_a_success_explains_nothing() {
        let context = Context::new(SecretString::from("hunter2"));
        let refused = KafkaError::Global(RDKafkaErrorCode::Authentication);
        context.error(refused.clone(), "SASL authentication error: Authentication failed");
        let now = Instant::now();
        assert!(context.symptom_at(now + Duration::from_secs(50)).is_some());
        assert!(context.symptom_at(now + STALE + Duration::from_secs(1)).is_none());
        context.forget();
        assert!(context.symptom().is_none());
        context.error(refused, "SASL authentication error: Authentication failed");
        assert!(context.symptom().is_some(), "it came again");
    }
}
