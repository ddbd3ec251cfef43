//! A registry of the tests': what Confluent's interface says, in memory, and a count of each request.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// Requests by method and path, and what is registered.
#[derive(Default)]
pub(super) struct State {
    pub(super) requests: BTreeMap<String, usize>,
    /// By id from 1: subject, version, body.
    schemas: Vec<(String, u32, Value)>,
    /// What each request must carry.
    login: Option<String>,
    /// What to answer instead, by the beginning of method and path.
    pub(super) faults: Vec<(&'static str, u16, u32)>,
}

#[derive(Clone, Default)]
pub(super) struct Stub {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) url: String,
}

impl Stub {
    pub(super) fn start() -> Self {
        Self::serve(None, None)
    }

    pub(super) fn with_login(login: &str) -> Self {
        Self::serve(Some(login.to_owned()), None)
    }

    pub(super) fn with_tls(tls: rustls::ServerConfig) -> Self {
        Self::serve(None, Some(Arc::new(tls)))
    }

    fn serve(login: Option<String>, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let state = Arc::new(Mutex::new(State { login, ..State::default() }));
        let stub = Self { state, url: format!("{scheme}://localhost:{port}") };
        let serving = stub.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), stub, tls) = (stream, serving.clone(), tls.clone()) else { return };
                std::thread::spawn(move || match tls {
                    None => stub.talk(stream),
                    Some(tls) => {
                        let connection = rustls::ServerConnection::new(tls).expect("a configuration");
                        stub.talk(rustls::StreamOwned::new(connection, stream));
                    }
                });
            }
        });
        stub
    }

    /// Registers by hand.
    pub(super) fn put(&self, subject: &str, body: Value) -> u32 {
        self.state.lock().expect("sound").register(subject, body)
    }

    pub(super) fn count(&self, request: &str) -> usize {
        self.state.lock().expect("sound").requests.get(request).copied().unwrap_or_default()
    }

    pub(super) fn total(&self) -> usize {
        self.state.lock().expect("sound").requests.values().sum()
    }

    fn talk<S: Read + Write>(&self, stream: S) {
        let mut stream = BufReader::new(stream);
        while let Some((request, login, body)) = next(&mut stream) {
            let (status, answer) =
                self.state.lock().expect("sound").answer(&request, login.as_deref(), &body);
            let body = answer.to_string();
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            if stream.get_mut().write_all(format!("{head}{body}").as_bytes()).is_err() {
                return;
            }
        }
    }
}

/// Method with path, authorization, body.
fn next<S: Read>(stream: &mut BufReader<S>) -> Option<(String, Option<String>, Vec<u8>)> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let request = line.rsplit_once(' ')?.0.to_owned();
    let (mut length, mut login) = (0, None);
    loop {
        line.clear();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "authorization" => login = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((request, login, body))
}

impl State {
    fn register(&mut self, subject: &str, body: Value) -> u32 {
        let version = self.schemas.iter().filter(|(known, ..)| known == subject).count() + 1;
        self.schemas.push((subject.to_owned(), u32::try_from(version).expect("few"), body));
        u32::try_from(self.schemas.len()).expect("few")
    }

    fn found(&self, at: usize) -> Value {
        let (subject, version, body) = &self.schemas[at];
        json!({ "subject": subject, "version": version, "id": at + 1, "schema": body["schema"],
                "references": body.get("references").cloned().unwrap_or(json!([])) })
    }

    fn answer(&mut self, request: &str, login: Option<&str>, body: &[u8]) -> (u16, Value) {
        let fail = |status: u16, code: u32| (status, json!({ "error_code": code, "message": "told so" }));
        *self.requests.entry(request.to_owned()).or_default() += 1;
        if self.login.is_some() && self.login.as_deref() != login {
            return fail(401, 40101);
        }
        if let Some((_, status, code)) = self.faults.iter().find(|(begin, ..)| request.starts_with(begin)) {
            return fail(*status, *code);
        }
        let (method, path) = request.split_once(' ').unwrap_or_default();
        let parts: Vec<&str> = path.split('?').next().unwrap_or_default().split('/').skip(1).collect();
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let of = |subject: &str| -> Vec<usize> {
            (0..self.schemas.len()).filter(|at| self.schemas[*at].0 == subject).collect()
        };
        let exact = |at: &usize| {
            let known = &self.schemas[*at].2;
            known["schema"] == body["schema"] && known["references"] == body["references"]
        };
        match (method, parts.as_slice()) {
            ("GET", ["schemas", "types"]) => (200, json!(["AVRO"])),
            ("GET", ["schemas", "ids", id]) => match id.parse::<usize>() {
                Ok(id) if (1..=self.schemas.len()).contains(&id) => (200, self.found(id - 1)),
                _ => fail(404, 40403),
            },
            ("GET", ["schemas", "ids", id, "versions"]) => {
                let known = id.parse::<usize>().ok().and_then(|id| self.schemas.get(id.checked_sub(1)?));
                let entry = |(subject, version, _): &(String, u32, Value)| json!([{ "subject": subject, "version": version }]);
                known.map_or_else(|| fail(404, 40403), |schema| (200, entry(schema)))
            }
            ("GET", ["subjects", subject, "versions", "latest"]) => match of(subject).last() {
                Some(at) => (200, self.found(*at)),
                None => fail(404, 40401),
            },
            ("GET", ["subjects", subject, "versions", version]) => {
                match of(subject).iter().find(|at| self.schemas[**at].1.to_string() == *version) {
                    Some(at) => (200, self.found(*at)),
                    None => fail(404, 40402),
                }
            }
            ("POST", ["subjects", subject]) => match (of(subject).iter().find(|at| exact(at)), of(subject)) {
                (Some(at), _) => (200, self.found(*at)),
                (None, versions) if versions.is_empty() => fail(404, 40401),
                (None, _) => fail(404, 40403),
            },
            ("POST", ["subjects", subject, "versions"]) => {
                let known = of(subject).into_iter().find(exact).map(|at| at + 1);
                let id = known.unwrap_or_else(|| self.register(subject, body.clone()) as usize);
                (200, json!({ "id": id }))
            }
            _ => fail(404, 404),
        }
    }
}
