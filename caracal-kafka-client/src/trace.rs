//! W3C trace context (level 1) in record headers, and the spans that say what happens to records.

use std::fmt;
use std::str::FromStr;

use ring::rand::{SecureRandom as _, SystemRandom};

use crate::producer::RecordOptions;
use crate::record::{Position, RecordHeader};

/// The headers' names, lower case as the recommendation wants them.
const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";

/// Longest state that is passed on (section 3.3.1.5 asks for 512 characters at least).
const STATE_MAX: usize = 512;

/// Where in a trace a record stands: the W3C trace context that its headers carry.
///
/// A service that makes records from records hands on the trace: [`of`](Self::of) the one that it read,
/// [`child`](Self::child) for the step that it is, [`RecordOptions::with_trace`] on what it writes.
///
/// ```
/// use caracal_kafka_client::{RecordOptions, TraceContext};
///
/// let parent: TraceContext = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse()?;
/// let child = parent.child();
/// assert_eq!(child.trace_id(), parent.trace_id());
/// assert_ne!(child.span_id(), parent.span_id());
///
/// let options = RecordOptions::default().with_trace(&child);
/// assert_eq!(TraceContext::of(&options.headers), Some(child));
/// # Ok::<(), caracal_kafka_client::NoTraceContext>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    flags: u8,
    state: Option<String>,
}

/// A text that is no `traceparent`. It is not repeated.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "this is no traceparent of the W3C's recommendation: 00-(32 hex digits)-(16 hex digits)-(2 hex digits)"
)]
#[non_exhaustive]
pub struct NoTraceContext;

impl TraceContext {
    /// The beginning of a trace, sampled, with ids that nobody else has.
    pub fn root() -> Self {
        let trace_id = u128::from_be_bytes(random());
        Self { trace_id: trace_id.max(1), span_id: span(), flags: 1, state: None }
    }

    /// A step below this one, in the same trace.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span_id: span(), ..self.clone() }
    }

    /// The one that a record carries; `None` when it carries none, two, or one that is malformed.
    pub fn of(headers: &[RecordHeader]) -> Option<Self> {
        let text = |header: &RecordHeader| String::from_utf8(header.value.clone()?).ok();
        let mut parents = headers.iter().filter(|header| header.name == PARENT);
        let (Some(parent), None) = (parents.next(), parents.next()) else { return None };
        let mut context: Self = text(parent)?.parse().ok()?;
        let states: Option<Vec<String>> =
            headers.iter().filter(|header| header.name == STATE).map(text).collect();
        // Several are one list (section 3.3.1.1); what is too long or no visible text is left out as a whole.
        let state = states.map(|states| states.join(",")).filter(|state| {
            !state.is_empty()
                && state.len() <= STATE_MAX
                && state.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        });
        context.state = state;
        Some(context)
    }

    /// The trace, as 32 hexadecimal digits.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// The step, as 16 hexadecimal digits.
    pub fn span_id(&self) -> String {
        format!("{:016x}", self.span_id)
    }

    /// Whether the trace is recorded.
    pub const fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }
}

/// The value of `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

impl FromStr for TraceContext {
    type Err = NoTraceContext;

    fn from_str(text: &str) -> Result<Self, NoTraceContext> {
        let parts: Vec<&str> = text.split('-').collect();
        let (version, rest) = parts.split_first().ok_or(NoTraceContext)?;
        let [trace, span, flags, more @ ..] = rest else { return Err(NoTraceContext) };
        // A later version may have more parts, and is read as far as this one goes (section 4.3).
        if hex(version, 2)? == 0xff || (*version == "00" && !more.is_empty()) {
            return Err(NoTraceContext);
        }
        let trace_id = hex(trace, 32)?;
        let span_id = u64::try_from(hex(span, 16)?).map_err(|_| NoTraceContext)?;
        let flags = u8::try_from(hex(flags, 2)?).map_err(|_| NoTraceContext)?;
        if trace_id == 0 || span_id == 0 {
            return Err(NoTraceContext);
        }
        Ok(Self { trace_id, span_id, flags, state: None })
    }
}

fn hex(text: &str, digits: usize) -> Result<u128, NoTraceContext> {
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != digits || !text.bytes().all(lower) {
        return Err(NoTraceContext);
    }
    u128::from_str_radix(text, 16).map_err(|_| NoTraceContext)
}

fn span() -> u64 {
    u64::from_be_bytes(random()).max(1)
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Without the system's randomness ids are zero, which the caller makes one: a trace is no secret.
    let _ = SystemRandom::new().fill(&mut bytes);
    bytes
}

impl RecordOptions {
    /// With the headers of this trace, in place of those of another one.
    #[must_use]
    pub fn with_trace(mut self, context: &TraceContext) -> Self {
        self.headers.retain(|header| header.name != PARENT && header.name != STATE);
        let options = self.with_header(PARENT, context.to_string());
        match &context.state {
            Some(state) => options.with_header(STATE, state.clone()),
            None => options,
        }
    }
}

/// Around a handler. Nothing is worked out when nobody listens.
pub(crate) fn process(group: &str, at: &Position, headers: &[RecordHeader]) -> tracing::Span {
    let span = new_process(group, at);
    if !span.is_disabled()
        && let Some(context) = TraceContext::of(headers)
    {
        span.record("trace_id", context.trace_id());
        span.record("parent_span_id", context.span_id());
    }
    span
}

#[cfg(not(feature = "otel-names"))]
fn new_process(group: &str, at: &Position) -> tracing::Span {
    let Position { topic, partition, offset } = at;
    let empty = tracing::field::Empty;
    tracing::debug_span!("process", group, topic, partition, offset, trace_id = empty, parent_span_id = empty)
}

/// The names of OpenTelemetry's semantic conventions for messaging (1.27) and of what carries spans to it.
#[cfg(feature = "otel-names")]
fn new_process(group: &str, at: &Position) -> tracing::Span {
    tracing::debug_span!(
        "process",
        otel.name = format_args!("process {}", at.topic),
        otel.kind = "consumer",
        messaging.system = "kafka",
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = at.topic,
        messaging.destination.partition.id = at.partition,
        messaging.kafka.offset = at.offset,
        messaging.consumer.group.name = group,
        trace_id = tracing::field::Empty,
        parent_span_id = tracing::field::Empty,
    )
}

/// Around what hands a record to librdkafka.
#[cfg(not(feature = "otel-names"))]
pub(crate) fn send(topic: &str) -> tracing::Span {
    tracing::trace_span!("send", topic)
}

/// Around what hands a record to librdkafka, by OpenTelemetry's names.
#[cfg(feature = "otel-names")]
pub(crate) fn send(topic: &str) -> tracing::Span {
    tracing::trace_span!(
        "send",
        otel.name = format_args!("send {topic}"),
        otel.kind = "producer",
        messaging.system = "kafka",
        messaging.operation.name = "send",
        messaging.operation.type = "send",
        messaging.destination.name = topic,
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT_TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn header(name: &str, value: &str) -> RecordHeader {
        RecordHeader { name: name.into(), value: Some(value.into()) }
    }

    #[test]
    fn what_is_no_traceparent_is_refused() {
        let context: TraceContext = PARENT_TEXT.parse().expect("the recommendation's own");
        assert_eq!(context.to_string(), PARENT_TEXT);
        assert!(context.is_sampled());
        for wrong in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(wrong.parse::<TraceContext>(), Err(NoTraceContext), "{wrong}");
        }
        let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
        assert_eq!(later.parse::<TraceContext>().expect("a later version").to_string(), PARENT_TEXT);
    }

    #[test]
    fn headers_carry_one_context_and_its_state() {
        let headers = [header(PARENT, PARENT_TEXT), header(STATE, "a=1"), header(STATE, "b=2")];
        let context = TraceContext::of(&headers).expect("one");
        let options = RecordOptions::default().with_trace(&TraceContext::root()).with_trace(&context.child());
        let values: Vec<_> = options.headers.iter().filter(|header| header.name == STATE).collect();
        assert_eq!((options.headers.len(), values.len()), (2, 1));
        assert_eq!(values[0].value.as_deref(), Some(&b"a=1,b=2"[..]));
        let twice = [header(PARENT, PARENT_TEXT), header(PARENT, PARENT_TEXT)];
        assert_eq!(TraceContext::of(&twice), None);
        let long = [header(PARENT, PARENT_TEXT), header(STATE, &"a".repeat(STATE_MAX + 1))];
        assert_eq!(TraceContext::of(&long).map(|context| context.state), Some(None));
    }

    proptest! {
        #[test]
        fn arbitrary_headers_never_panic(parent in "\\PC{0,80}", state: Vec<u8>) {
            let state = RecordHeader { name: STATE.into(), value: Some(state) };
            if let Some(found) = TraceContext::of(&[header(PARENT, &parent), state]) {
                prop_assert_eq!(found.to_string().parse::<TraceContext>().map(|read| read.trace_id), Ok(found.trace_id));
            }
        }
    }
}
