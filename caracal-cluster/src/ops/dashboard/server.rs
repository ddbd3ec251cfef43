//! The HTTP side: one page, three files, one stream of events; loopback only.
//!
//! Whoever may look is whoever knows the address, which holds a random word. A page of another origin cannot read it:
//! the `Host` header must name loopback (a name that somebody else's DNS leads here is refused), nothing is shared
//! across origins, and the page itself may load only what this server gives it.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use ring::rand::SecureRandom as _;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::snapshot::Looker;
use crate::ops::OpsError;

const PAGE: &str = include_str!("page.html");
const SCRIPT: &str = include_str!("page.js");
const STYLE: &str = include_str!("page.css");

/// What the page may do: run and look as this server says, ask this server, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// How long a request may take to be sent.
const PATIENCE: Duration = Duration::from_secs(10);

/// How old a look may be to be shown to who opens the page; nobody looks while no page is open.
const FRESH: Duration = Duration::from_secs(10);

type Body = BoxBody<Bytes, Infallible>;

/// A snapshot as it is sent, and when it was made.
type Told = (Instant, Bytes);

/// A dashboard that listens.
#[derive(Debug)]
pub struct Dashboard {
    listener: TcpListener,
    shared: Arc<Shared>,
    looker: Looker,
    every: Duration,
    tell: watch::Sender<Option<Told>>,
}

#[derive(Debug)]
struct Shared {
    port: u16,
    /// The random word of the address; it is on every path.
    word: String,
    told: watch::Receiver<Option<Told>>,
}

/// Listens on loopback; on a free port when `port` is 0.
///
/// # Errors
/// When the port is in use, or the system gives no random bytes.
pub async fn serve(looker: Looker, port: u16, every: Duration) -> Result<Dashboard, OpsError> {
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = TcpListener::bind(at).await.map_err(|error| {
        OpsError::refused(format!(
            "{at} cannot be listened on ({error}); choose another --port, or 0 for a free one"
        ))
    })?;
    let port = listener.local_addr().map_or(port, |at| at.port());
    let mut random = [0; 16];
    ring::rand::SystemRandom::new()
        .fill(&mut random)
        .map_err(|_| OpsError::refused("the system gives no random bytes"))?;
    let (tell, told) = watch::channel(None);
    let shared = Arc::new(Shared { port, word: hex::encode(random), told });
    Ok(Dashboard { listener, shared, looker, every, tell })
}

impl Dashboard {
    /// Where it is to be opened. Whoever has it may look.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}/{}/", self.shared.port, self.shared.word)
    }

    /// Serves until the future ends.
    pub async fn until(self, cancelled: impl Future<Output = ()>) {
        let Self { listener, shared, looker, every, tell } = self;
        tokio::select! {
            () = cancelled => {}
            () = looked(looker, every, tell) => {}
            () = accepted(listener, shared) => {}
        }
    }
}

/// Looks at the cluster as long as somebody watches, and once at the beginning.
async fn looked(mut looker: Looker, every: Duration, tell: watch::Sender<Option<Told>>) {
    loop {
        let snapshot = looker.look().await;
        if let Ok(text) = serde_json::to_vec(&snapshot) {
            tell.send_replace(Some((Instant::now(), Bytes::from(text))));
        }
        tokio::time::sleep(every).await;
        // The server itself holds one receiver; each open page one more.
        while tell.receiver_count() <= 1 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

async fn accepted(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Too many open files, most likely: they get fewer.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let answer = service_fn(|request| {
                let response = respond(&shared, &request);
                async move { Ok::<_, Infallible>(response) }
            });
            let mut server = hyper::server::conn::http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(16 * 1024);
            // A browser that goes away in the middle is no error of ours.
            let _ = server.serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

fn respond<B>(shared: &Shared, request: &Request<B>) -> Response<Body> {
    if !is_loopback(shared, request) {
        return plain(StatusCode::MISDIRECTED_REQUEST, "this address is not served under that name\n");
    }
    let Some(rest) = within(shared, request.uri().path()) else {
        return plain(
            StatusCode::NOT_FOUND,
            "not found; the address that the command printed has more in it\n",
        );
    };
    if request.method() != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
    }
    match rest {
        "" => whole("text/html; charset=utf-8", Bytes::from_static(PAGE.as_bytes())),
        "page.js" => whole("text/javascript; charset=utf-8", Bytes::from_static(SCRIPT.as_bytes())),
        "page.css" => whole("text/css; charset=utf-8", Bytes::from_static(STYLE.as_bytes())),
        "snapshot.json" => match shared.told.borrow().clone() {
            Some((_, text)) => whole("application/json", text),
            None => plain(StatusCode::SERVICE_UNAVAILABLE, "not looked yet\n"),
        },
        "events" => events(shared),
        _ => plain(StatusCode::NOT_FOUND, "not found\n"),
    }
}

/// Whether the request was sent to loopback by its own name: a foreign name that was made to lead here (DNS
/// rebinding) has another one.
fn is_loopback<B>(shared: &Shared, request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).into_iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    ["127.0.0.1", "localhost"]
        .iter()
        .any(|name| host.as_bytes() == format!("{name}:{}", shared.port).as_bytes())
}

/// What follows the random word in a path; compared by digest, so that its length of agreement takes no time.
fn within<'p>(shared: &Shared, path: &'p str) -> Option<&'p str> {
    let (word, rest) = path.strip_prefix('/')?.split_once('/')?;
    let digest = |text: &str| ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    (digest(word).as_ref() == digest(&shared.word).as_ref()).then_some(rest)
}

/// Each new snapshot as an event (WHATWG, server-sent events).
fn events(shared: &Shared) -> Response<Body> {
    let told = shared.told.clone();
    let stream = futures::stream::unfold((told, true), |(mut told, first)| async move {
        loop {
            let fresh = told.borrow().as_ref().is_some_and(|(at, _)| at.elapsed() < FRESH);
            if !first || !fresh {
                told.changed().await.ok()?;
            }
            let seen = told.borrow_and_update().clone();
            if let Some((_, text)) = seen {
                return Some((text, (told, false)));
            }
        }
    });
    // JSON of one line: it cannot break out of its event.
    let frames = stream.map(|text| {
        let event = [&b"data: "[..], &text, b"\n\n"].concat();
        Ok::<_, Infallible>(Frame::data(Bytes::from(event)))
    });
    answer(StatusCode::OK, "text/event-stream", BodyExt::boxed(StreamBody::new(frames)))
}

fn whole(kind: &'static str, bytes: Bytes) -> Response<Body> {
    answer(StatusCode::OK, kind, Full::new(bytes).boxed())
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    answer(status, "text/plain; charset=utf-8", Full::new(Bytes::from_static(text.as_bytes())).boxed())
}

fn answer(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared() -> Shared {
        let (_tell, told) = watch::channel(Some((Instant::now(), Bytes::from_static(b"{}"))));
        Shared { port: 4000, word: "0123".to_owned(), told }
    }

    fn asked(path: &str, host: Option<&str>, method: Method) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(host) = host {
            request = request.header(header::HOST, host);
        }
        respond(&shared(), &request.body(()).unwrap())
    }

    #[test]
    fn only_who_knows_the_word_and_calls_loopback_by_name_gets_in() {
        let get = |path, host| asked(path, host, Method::GET).status().as_u16();
        for path in ["/0123/", "/0123/page.js", "/0123/page.css", "/0123/snapshot.json", "/0123/events"] {
            assert_eq!(get(path, Some("127.0.0.1:4000")), 200, "{path}");
            assert_eq!(get(path, Some("localhost:4000")), 200, "{path}");
        }
        for host in [
            None,
            Some("127.0.0.1"),
            Some("127.0.0.1:4001"),
            Some("evil.example:4000"),
            Some("localhost.evil.example:4000"),
        ] {
            assert_eq!(get("/0123/", host), 421, "{host:?}");
        }
        for path in ["/", "/0123", "/012/", "/01234/", "/0123/other", "//", "/0123//"] {
            assert_eq!(get(path, Some("127.0.0.1:4000")), 404, "{path}");
        }
        assert_eq!(asked("/0123/", Some("127.0.0.1:4000"), Method::POST).status(), 405);
    }

    #[test]
    fn every_answer_forbids_what_the_page_does_not_need() {
        for path in ["/0123/", "/0123/events", "/nothing"] {
            let response = asked(path, Some("127.0.0.1:4000"), Method::GET);
            let of =
                |name: header::HeaderName| response.headers().get(name).unwrap().to_str().unwrap().to_owned();
            assert!(of(header::CONTENT_SECURITY_POLICY).starts_with("default-src 'none'"));
            assert_eq!(of(header::X_CONTENT_TYPE_OPTIONS), "nosniff");
            assert!(!response.headers().contains_key("access-control-allow-origin"));
        }
    }

    #[test]
    fn the_page_loads_only_its_own_files_and_builds_no_markup_from_names() {
        for (name, text) in [("page", PAGE), ("script", SCRIPT), ("style", STYLE)] {
            assert!(!text.contains("//cdn") && !text.contains("http:") && !text.contains("https:"), "{name}");
        }
        for danger in ["innerHTML", "outerHTML", "document.write", "eval(", "insertAdjacentHTML"] {
            assert!(!SCRIPT.contains(danger), "{danger}");
        }
        assert!(!PAGE.contains("<style") && !PAGE.contains("style=") && !PAGE.contains("onclick"));
    }
}
