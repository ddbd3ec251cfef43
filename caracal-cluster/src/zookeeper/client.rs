//! The session and its operations.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::error::{ZkCode, ZkError};
use super::jute::{JuteError, Reader, Writer};
use crate::wire::{Deadline, Endpoint, TlsConfig, WireErrorKind, transport};

/// Operation numbers (`ZooDefs.OpCode`).
mod op {
    pub(super) const CREATE: i32 = 1;
    pub(super) const DELETE: i32 = 2;
    pub(super) const EXISTS: i32 = 3;
    pub(super) const GET_DATA: i32 = 4;
    pub(super) const SET_DATA: i32 = 5;
    pub(super) const GET_ACL: i32 = 6;
    pub(super) const SET_ACL: i32 = 7;
    pub(super) const GET_CHILDREN: i32 = 8;
    pub(super) const PING: i32 = 11;
    pub(super) const CLOSE: i32 = -11;
}

/// The transaction id of a ping, and of a watch event (`ClientCnxn`).
const PING_XID: i32 = -2;
const EVENT_XID: i32 = -1;

/// How long one server of several may take, and how long to wait before the next is tried.
const TURN: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

/// What may be done with a znode (`ZooDefs.Perms`), as a set of bits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Permissions(pub i32);

impl Permissions {
    /// Read its data and children.
    pub const READ: Self = Self(1);
    /// Read, write, create, delete, administer.
    pub const ALL: Self = Self(31);
}

/// One entry of an access list: `ACL {int perms; Id {ustring scheme; ustring id}}`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Acl {
    /// What is allowed.
    pub permissions: Permissions,
    /// How the identity was proved: `auth`, `world`, `x509`.
    pub scheme: String,
    /// Who: for `x509` the certificate's subject.
    pub id: String,
}

impl Acl {
    /// Everything for whoever creates the znode; the server replaces it by `x509:<subject>`.
    pub fn creator_all() -> Self {
        Self { permissions: Permissions::ALL, scheme: "auth".to_owned(), id: String::new() }
    }

    /// Reading for anybody who can connect.
    pub fn world_read() -> Self {
        Self { permissions: Permissions::READ, scheme: "world".to_owned(), id: "anyone".to_owned() }
    }
}

/// How long a znode lives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CreateMode {
    /// Until it is deleted.
    Persistent,
    /// Until the session ends.
    Ephemeral,
    /// Until it is deleted, and ZooKeeper appends a number to its name.
    PersistentSequential,
}

/// A znode's state, the parts of `Stat` that anybody here asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Stat {
    /// How often the data were set; to be given to a set or delete that must not overwrite.
    pub version: i32,
    /// How often the ACL was set.
    pub acl_version: i32,
    /// Length of the data in bytes.
    pub data_length: i32,
    /// Number of children.
    pub children: i32,
}

/// A session with one ZooKeeper server.
pub struct ZooKeeper {
    stream: TlsStream<TcpStream>,
    endpoint: Endpoint,
    session_id: i64,
    session_timeout: Duration,
    next_xid: i32,
    usable: bool,
}

impl fmt::Debug for ZooKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZooKeeper")
            .field("endpoint", &self.endpoint)
            .field("session_timeout", &self.session_timeout)
            .finish_non_exhaustive()
    }
}

impl ZooKeeper {
    /// Connects over TLS and opens a session.
    ///
    /// Sends `ConnectRequest {int protocolVersion; long lastZxidSeen; int timeOut; long sessionId;
    /// buffer passwd; boolean readOnly}` and reads `ConnectResponse {int protocolVersion; int timeOut;
    /// long sessionId; buffer passwd; boolean readOnly}`.
    ///
    /// # Errors
    /// [`ZkError::Connection`]; a server without a quorum closes the connection.
    pub async fn connect(
        endpoint: &Endpoint,
        tls: &TlsConfig,
        session_timeout: Duration,
        deadline: Deadline,
    ) -> Result<Self, ZkError> {
        const DOING: &str = "open a ZooKeeper session";
        let stream = transport::dial_tls(endpoint, tls, deadline).await?;
        let mut zookeeper = Self {
            stream,
            endpoint: endpoint.clone(),
            session_id: 0,
            session_timeout,
            next_xid: 1,
            usable: true,
        };
        let asked = i32::try_from(session_timeout.as_millis()).unwrap_or(i32::MAX);
        let mut request = Writer::default();
        request.int(0).long(0).int(asked).long(0).buffer(&[0; 16]).boolean(false);
        let mut answer = zookeeper.exchange(DOING, request.finish(), deadline).await?;
        let (timeout, session) =
            connect_response(&mut answer).map_err(|error| zookeeper.malformed(DOING, error))?;
        zookeeper.session_timeout = Duration::from_millis(u64::try_from(timeout).unwrap_or(0));
        zookeeper.session_id = session;
        zookeeper.usable = true;
        if timeout <= 0 {
            let kind = WireErrorKind::Protocol("the server refused to open a session".to_owned());
            return Err(endpoint.error(DOING, kind).into());
        }
        Ok(zookeeper)
    }

    /// Opens a session with whichever server takes one first, trying all in turn until the deadline.
    ///
    /// A server that is starting or has no quorum yet is absent, not wrong; a refused certificate is an
    /// error at once.
    ///
    /// # Errors
    /// [`ZkError::Connection`]: the last server's reason.
    pub async fn connect_any(
        endpoints: &[Endpoint],
        tls: &TlsConfig,
        session_timeout: Duration,
        deadline: Deadline,
    ) -> Result<Self, ZkError> {
        let mut servers = endpoints.iter().cycle();
        loop {
            let Some(endpoint) = servers.next() else {
                return Err(ZkError::NoServers);
            };
            let turn = deadline.at_most(TURN);
            match Self::connect(endpoint, tls, session_timeout, turn).await {
                Err(ZkError::Connection(error)) if error.kind.is_absence() && !deadline.is_over() => {
                    tokio::time::sleep(PAUSE.min(deadline.remaining())).await;
                }
                settled => return settled,
            }
        }
    }

    /// The session time-out that the server granted.
    pub fn session_timeout(&self) -> Duration {
        self.session_timeout
    }

    /// The session's number, as the server's log shows it in hexadecimal.
    pub fn session_id(&self) -> i64 {
        self.session_id
    }

    /// Creates a znode and returns its path.
    ///
    /// `CreateRequest {ustring path; buffer data; vector<ACL> acl; int flags}` → `{ustring path}`.
    ///
    /// # Errors
    /// [`ZkError`]; [`ZkCode::NodeExists`], [`ZkCode::NoNode`] without its parent.
    pub async fn create(
        &mut self,
        path: &str,
        data: &[u8],
        acl: &[Acl],
        mode: CreateMode,
        deadline: Deadline,
    ) -> Result<String, ZkError> {
        const DOING: &str = "create";
        let mut body = Writer::default();
        body.string(path).buffer(data);
        put_acl(&mut body, acl);
        body.int(match mode {
            CreateMode::Persistent => 0,
            CreateMode::Ephemeral => 1,
            CreateMode::PersistentSequential => 2,
        });
        let mut answer = self.call(DOING, op::CREATE, path, &body.finish(), deadline).await?;
        answer.string().map_err(|error| self.malformed(DOING, error))
    }

    /// Sets a znode's data; `version` -1 overwrites whatever is there.
    ///
    /// `SetDataRequest {ustring path; buffer data; int version}` → `{Stat stat}`.
    ///
    /// # Errors
    /// [`ZkError`]; [`ZkCode::BadVersion`] when somebody else was faster.
    pub async fn set_data(
        &mut self,
        path: &str,
        data: &[u8],
        version: i32,
        deadline: Deadline,
    ) -> Result<Stat, ZkError> {
        const DOING: &str = "write";
        let mut body = Writer::default();
        body.string(path).buffer(data).int(version);
        let mut answer = self.call(DOING, op::SET_DATA, path, &body.finish(), deadline).await?;
        stat(&mut answer).map_err(|error| self.malformed(DOING, error))
    }

    /// A znode's data.
    ///
    /// `GetDataRequest {ustring path; boolean watch}` → `{buffer data; Stat stat}`.
    ///
    /// # Errors
    /// [`ZkError`]; [`ZkCode::NoNode`].
    pub async fn data(&mut self, path: &str, deadline: Deadline) -> Result<(Bytes, Stat), ZkError> {
        const DOING: &str = "read";
        let mut answer = self.call(DOING, op::GET_DATA, path, &unwatched(path), deadline).await?;
        let mut read = || Ok((answer.buffer()?.unwrap_or_default(), stat(&mut answer)?));
        read().map_err(|error| self.malformed(DOING, error))
    }

    /// A znode's state; none when it does not exist.
    ///
    /// `ExistsRequest {ustring path; boolean watch}` → `{Stat stat}`.
    ///
    /// # Errors
    /// [`ZkError`].
    pub async fn exists(&mut self, path: &str, deadline: Deadline) -> Result<Option<Stat>, ZkError> {
        const DOING: &str = "look for";
        match self.call(DOING, op::EXISTS, path, &unwatched(path), deadline).await {
            Ok(mut answer) => stat(&mut answer).map(Some).map_err(|error| self.malformed(DOING, error)),
            Err(error) if error.code() == Some(ZkCode::NoNode) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The names of a znode's children, sorted.
    ///
    /// `GetChildrenRequest {ustring path; boolean watch}` → `{vector<ustring> children}`.
    ///
    /// # Errors
    /// [`ZkError`]; [`ZkCode::NoNode`].
    pub async fn children(&mut self, path: &str, deadline: Deadline) -> Result<Vec<String>, ZkError> {
        const DOING: &str = "list the children of";
        let mut answer = self.call(DOING, op::GET_CHILDREN, path, &unwatched(path), deadline).await?;
        let mut names = answer.vector(Reader::string).map_err(|error| self.malformed(DOING, error))?;
        names.sort();
        Ok(names)
    }

    /// A znode's access list.
    ///
    /// `GetACLRequest {ustring path}` → `{vector<ACL> acl; Stat stat}`.
    ///
    /// # Errors
    /// [`ZkError`]; [`ZkCode::NoNode`].
    pub async fn acl(&mut self, path: &str, deadline: Deadline) -> Result<Vec<Acl>, ZkError> {
        const DOING: &str = "read the ACL of";
        let mut body = Writer::default();
        body.string(path);
        let mut answer = self.call(DOING, op::GET_ACL, path, &body.finish(), deadline).await?;
        answer.vector(acl).map_err(|error| self.malformed(DOING, error))
    }

    /// Replaces a znode's access list; `version` -1 replaces whatever is there.
    ///
    /// `SetACLRequest {ustring path; vector<ACL> acl; int version}` → `{Stat stat}`.
    ///
    /// # Errors
    /// [`ZkError`]; [`ZkCode::NoAuth`] for another owner's znode.
    pub async fn set_acl(
        &mut self,
        path: &str,
        acl: &[Acl],
        version: i32,
        deadline: Deadline,
    ) -> Result<Stat, ZkError> {
        const DOING: &str = "change the ACL of";
        let mut body = Writer::default();
        body.string(path);
        put_acl(&mut body, acl);
        body.int(version);
        let mut answer = self.call(DOING, op::SET_ACL, path, &body.finish(), deadline).await?;
        stat(&mut answer).map_err(|error| self.malformed(DOING, error))
    }

    /// Deletes a znode; `version` -1 deletes whatever is there.
    ///
    /// `DeleteRequest {ustring path; int version}` → nothing.
    ///
    /// # Errors
    /// [`ZkError`]; [`ZkCode::NoNode`], [`ZkCode::NotEmpty`].
    pub async fn delete(&mut self, path: &str, version: i32, deadline: Deadline) -> Result<(), ZkError> {
        let mut body = Writer::default();
        body.string(path).int(version);
        self.call("delete", op::DELETE, path, &body.finish(), deadline).await.map(drop)
    }

    /// Keeps the session alive.
    ///
    /// # Errors
    /// [`ZkError::Connection`].
    pub async fn ping(&mut self, deadline: Deadline) -> Result<(), ZkError> {
        self.call_as(PING_XID, "ping", op::PING, "/", &[], deadline).await.map(drop)
    }

    /// Ends the session, so that the server frees it now rather than after its time-out.
    ///
    /// # Errors
    /// [`ZkError::Connection`].
    pub async fn close(mut self, deadline: Deadline) -> Result<(), ZkError> {
        self.call("close", op::CLOSE, "/", &[], deadline).await.map(drop)
    }

    async fn call(
        &mut self,
        doing: &'static str,
        operation: i32,
        path: &str,
        body: &[u8],
        deadline: Deadline,
    ) -> Result<Reader, ZkError> {
        let xid = self.next_xid;
        self.next_xid = if xid == i32::MAX { 1 } else { xid + 1 };
        self.call_as(xid, doing, operation, path, body, deadline).await
    }

    /// `RequestHeader {int xid; int type}` and the body → `ReplyHeader {int xid; long zxid; int err}` and,
    /// when `err` is 0, the answer's body.
    async fn call_as(
        &mut self,
        xid: i32,
        doing: &'static str,
        operation: i32,
        path: &str,
        body: &[u8],
        deadline: Deadline,
    ) -> Result<Reader, ZkError> {
        let mut request = Writer::default();
        request.int(xid).int(operation);
        let message = [&request.finish()[..], body].concat();
        let mut answer = self.exchange(doing, message.into(), deadline).await?;
        let (found, code) = reply_header(&mut answer).map_err(|error| self.malformed(doing, error))?;
        if found != xid {
            let what = if found == EVENT_XID { "a watch event" } else { "an answer" };
            let text = format!("{what} with xid {found} came for request {xid}");
            return Err(self.endpoint.error(doing, WireErrorKind::Protocol(text)).into());
        }
        self.usable = true;
        match ZkCode::from_wire(code) {
            None => Ok(answer),
            Some(code) => Err(ZkError::Refused {
                endpoint: Box::new(self.endpoint.clone()),
                doing,
                path: path.to_owned(),
                code,
            }),
        }
    }

    /// Sends one frame and reads one. The session is unusable until the caller has checked the answer.
    async fn exchange(
        &mut self,
        doing: &'static str,
        message: Bytes,
        deadline: Deadline,
    ) -> Result<Reader, ZkError> {
        if !std::mem::replace(&mut self.usable, false) {
            return Err(self.endpoint.error(doing, WireErrorKind::Unusable).into());
        }
        let frame = deadline
            .run(transport::exchange(&mut self.stream, &message))
            .await
            .map_err(|over| self.endpoint.error(doing, WireErrorKind::timeout("answer", over)))?
            .map_err(|error| self.endpoint.io_error(doing, error))?;
        Ok(Reader::new(frame))
    }

    fn malformed(&self, doing: &'static str, error: JuteError) -> ZkError {
        self.endpoint.error(doing, WireErrorKind::Protocol(error.to_string())).into()
    }
}

fn put_acl(body: &mut Writer, acl: &[Acl]) {
    body.count(acl.len());
    for entry in acl {
        body.int(entry.permissions.0).string(&entry.scheme).string(&entry.id);
    }
}

fn unwatched(path: &str) -> Bytes {
    let mut body = Writer::default();
    body.string(path).boolean(false);
    body.finish()
}

/// Time-out in milliseconds and session number.
fn connect_response(answer: &mut Reader) -> Result<(i32, i64), JuteError> {
    let _protocol_version = answer.int()?;
    Ok((answer.int()?, answer.long()?))
}

/// Transaction id and error code.
fn reply_header(answer: &mut Reader) -> Result<(i32, i32), JuteError> {
    let xid = answer.int()?;
    let _zxid = answer.long()?;
    Ok((xid, answer.int()?))
}

fn acl(answer: &mut Reader) -> Result<Acl, JuteError> {
    Ok(Acl { permissions: Permissions(answer.int()?), scheme: answer.string()?, id: answer.string()? })
}

/// `Stat {long czxid, mzxid, ctime, mtime; int version, cversion, aversion; long ephemeralOwner;
/// int dataLength, numChildren; long pzxid}`.
fn stat(answer: &mut Reader) -> Result<Stat, JuteError> {
    for _ in 0..4 {
        answer.long()?;
    }
    let version = answer.int()?;
    let _child_version = answer.int()?;
    let acl_version = answer.int()?;
    let _owner = answer.long()?;
    let (data_length, children) = (answer.int()?, answer.int()?);
    let _last_child_change = answer.long()?;
    Ok(Stat { version, acl_version, data_length, children })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_stat_of_sixty_eight_bytes_is_read() {
        let mut writer = Writer::default();
        writer.long(1).long(2).long(3).long(4).int(5).int(6).int(7).long(8).int(9).int(10).long(11);
        let bytes = writer.finish();
        assert_eq!(bytes.len(), 68);
        let found = stat(&mut Reader::new(bytes)).unwrap();
        assert_eq!(found, Stat { version: 5, acl_version: 7, data_length: 9, children: 10 });
    }

    #[test]
    fn headers_and_lists_are_read() {
        let mut writer = Writer::default();
        writer.int(3).long(99).int(-102);
        assert_eq!(reply_header(&mut Reader::new(writer.finish())), Ok((3, -102)));
        let mut writer = Writer::default();
        writer.count(1).int(31).string("x509").string("CN=a");
        let list = Reader::new(writer.finish()).vector(acl).unwrap();
        assert_eq!(list[0].id, "CN=a");
        assert_eq!(ZkCode::from_wire(-102), Some(ZkCode::NoAuth));
        assert_eq!(ZkCode::from_wire(0), None);
    }

    #[tokio::test]
    async fn absent_servers_are_tried_until_the_deadline() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let endpoint = Endpoint {
            node: "zk".to_owned(),
            listener: "CLIENT".to_owned(),
            dial: closed,
            server_name: "localhost".to_owned(),
        };
        let (tls, session) = (TlsConfig::trusting_nobody(), Duration::from_secs(5));
        let deadline = Deadline::after(Duration::from_millis(200));
        let error = ZooKeeper::connect_any(&[endpoint], &tls, session, deadline).await.unwrap_err();
        assert!(deadline.is_over());
        assert!(matches!(error, ZkError::Connection(_)), "{error}");
        let error = ZooKeeper::connect_any(&[], &tls, session, deadline).await.unwrap_err();
        assert!(matches!(error, ZkError::NoServers), "{error}");
    }

    proptest! {
        #[test]
        fn answers_of_any_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let reader = Reader::new(Bytes::from(bytes));
            let _ = stat(&mut reader.clone());
            let _ = connect_response(&mut reader.clone());
            let _ = reply_header(&mut reader.clone());
            let _ = reader.clone().vector(acl);
        }
    }
}
