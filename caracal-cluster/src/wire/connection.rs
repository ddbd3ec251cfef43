//! One authenticated connection to one broker.

use std::collections::BTreeMap;
use std::fmt;

use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message, StrBytes, VersionRange};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::deadline::Deadline;
use super::error::{ApiError, WireError, WireErrorKind};
use super::requests::WireRequest;
use super::sasl::{self, Login};
use super::tls::TlsConfig;
use super::transport::{self, Endpoint};

/// What the broker's request log shows for us.
const CLIENT_ID: &str = "caracal-cluster";

/// `ApiVersions` is asked before anything is known; version 3 is spoken since Kafka 2.4.
const API_VERSIONS: i16 = 3;

/// An authenticated connection. One request at a time; dropping it closes it.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    endpoint: Endpoint,
    principal: Option<Box<str>>,
    versions: BTreeMap<i16, VersionRange>,
    next_correlation: i32,
    // After a failure half-way, the answer to the last request may still arrive and would be read as the
    // answer to the next one.
    usable: bool,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("endpoint", &self.endpoint)
            .field("principal", &self.principal)
            .field("usable", &self.usable)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects, shakes hands, learns the broker's versions and logs in.
    ///
    /// # Errors
    /// [`WireError`] with the endpoint, the principal and why.
    pub async fn open(
        endpoint: &Endpoint,
        tls: &TlsConfig,
        login: &Login,
        deadline: Deadline,
    ) -> Result<Self, WireError> {
        let mut connection = Self::open_unauthenticated(endpoint, tls, deadline)
            .await
            .map_err(|error| WireError { principal: Some(login.principal().into()), ..error })?;
        connection.principal = Some(login.principal().into());
        sasl::log_in(&mut connection, login, deadline).await?;
        Ok(connection)
    }

    /// Connects, shakes hands and learns the broker's versions, without logging in.
    ///
    /// That the versions arrive proves that the broker accepted our certificate: in TLS 1.3 the handshake
    /// alone does not.
    ///
    /// # Errors
    /// [`WireError`] with the endpoint and why.
    pub async fn open_unauthenticated(
        endpoint: &Endpoint,
        tls: &TlsConfig,
        deadline: Deadline,
    ) -> Result<Self, WireError> {
        let stream = transport::dial_tls(endpoint, tls, deadline).await?;
        let mut connection = Self {
            stream,
            endpoint: endpoint.clone(),
            principal: None,
            versions: BTreeMap::new(),
            next_correlation: 0,
            usable: true,
        };
        connection.learn_versions(deadline).await?;
        Ok(connection)
    }

    /// Whom this connection talks to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// As whom (`User:name`), once logged in.
    pub fn principal(&self) -> Option<&str> {
        self.principal.as_deref()
    }

    /// What the broker speaks: each request's number, lowest and highest version.
    pub fn versions(&self) -> impl Iterator<Item = (i16, i16, i16)> {
        self.versions.iter().map(|(key, range)| (*key, range.min, range.max))
    }

    /// Whether another call may be made.
    pub fn is_usable(&self) -> bool {
        self.usable
    }

    /// Sends a request in the highest version that both sides speak and reads its response.
    ///
    /// # Errors
    /// [`WireError`] when no version fits, the deadline passes or the connection fails. After a failure
    /// half-way every later call fails with [`WireErrorKind::Unusable`]. Error codes *inside* the response
    /// are the caller's.
    pub async fn call<R: WireRequest>(
        &mut self,
        request: &R,
        deadline: Deadline,
    ) -> Result<R::Response, WireError> {
        self.call_as("call", request, i16::MAX, deadline).await
    }

    /// As [`call`](Self::call), in no version above `highest`, with words for the error.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn call_as<R: WireRequest>(
        &mut self,
        doing: &'static str,
        request: &R,
        highest: i16,
        deadline: Deadline,
    ) -> Result<R::Response, WireError> {
        let version = self.version_of::<R>(highest).map_err(|kind| self.error(doing, kind))?;
        let body = self.round_trip(doing, request, version, deadline).await?;
        decode::<R::Response>(body, version).map_err(|source| WireError {
            source: Some(source),
            ..self.error(doing, WireErrorKind::Protocol(format!("unreadable {:?} response", R::KEY)))
        })
    }

    /// An error on this connection.
    pub(crate) fn error(&self, doing: &'static str, kind: WireErrorKind) -> WireError {
        WireError { principal: self.principal.clone(), ..self.endpoint.error(doing, kind) }
    }

    async fn learn_versions(&mut self, deadline: Deadline) -> Result<(), WireError> {
        const DOING: &str = "learn the broker's versions";
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str(CLIENT_ID))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let body = self.round_trip(DOING, &request, API_VERSIONS, deadline).await?;
        // An older broker answers in version 0, with the code of an unsupported version.
        let unsupported = ResponseError::UnsupportedVersion.code().to_be_bytes();
        let version = if body.starts_with(&unsupported) { 0 } else { API_VERSIONS };
        let response = decode::<ApiVersionsResponse>(body, version).map_err(|source| WireError {
            source: Some(source),
            ..self.error(DOING, WireErrorKind::Protocol("unreadable ApiVersions response".to_owned()))
        })?;
        ApiError::check(response.error_code, None, "ApiVersions")
            .map_err(|error| self.error(DOING, error.into()))?;
        self.versions = response
            .api_keys
            .iter()
            .map(|key| (key.api_key, VersionRange { min: key.min_version, max: key.max_version }))
            .collect();
        Ok(())
    }

    /// Sends a request and returns the response's body, its header checked and taken off.
    async fn round_trip<R: WireRequest>(
        &mut self,
        doing: &'static str,
        request: &R,
        version: i16,
        deadline: Deadline,
    ) -> Result<Bytes, WireError> {
        if !self.usable {
            return Err(self.error(doing, WireErrorKind::Unusable));
        }
        let correlation = self.next_correlation;
        self.next_correlation = correlation.wrapping_add(1);
        let message = encode(request, version, correlation).map_err(|source| WireError {
            source: Some(source),
            ..self.error(doing, WireErrorKind::Protocol(format!("unsendable {:?} request", R::KEY)))
        })?;
        self.usable = false;
        let mut frame = deadline
            .run(transport::exchange(&mut self.stream, &message))
            .await
            .map_err(|over| self.error(doing, WireErrorKind::timeout("answer", over)))?
            .map_err(|error| WireError {
                principal: self.principal.clone(),
                ..self.endpoint.io_error(doing, error)
            })?;
        let header_version = <R::Response as HeaderVersion>::header_version(version);
        let header = ResponseHeader::decode(&mut frame, header_version).map_err(|source| WireError {
            source: Some(source.into()),
            ..self.error(doing, WireErrorKind::Protocol("unreadable response header".to_owned()))
        })?;
        if header.correlation_id != correlation {
            let found = header.correlation_id;
            let text = format!("the answer to request {found} came for request {correlation}");
            return Err(self.error(doing, WireErrorKind::Protocol(text)));
        }
        self.usable = true;
        Ok(frame)
    }

    fn version_of<R: WireRequest>(&self, highest: i16) -> Result<i16, WireErrorKind> {
        let (request, response) = (R::VERSIONS, <R::Response as Message>::VERSIONS);
        let ours = VersionRange {
            min: request.min.max(response.min),
            max: request.max.min(response.max).min(highest),
        };
        let theirs = self.versions.get(&(R::KEY as i16));
        best_version(ours, theirs).ok_or_else(|| {
            let theirs = theirs.map_or_else(|| "none".to_owned(), spelled);
            let versions = format!("the broker speaks {theirs}, we speak {}", spelled(&ours));
            WireErrorKind::UnsupportedVersion { request: format!("{:?}", R::KEY), versions }
        })
    }
}

/// The highest version that both ranges hold.
fn best_version(ours: VersionRange, theirs: Option<&VersionRange>) -> Option<i16> {
    let theirs = theirs?;
    let best = ours.max.min(theirs.max);
    (best >= ours.min.max(theirs.min)).then_some(best)
}

fn spelled(range: &VersionRange) -> String {
    format!("{} to {}", range.min, range.max)
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

fn encode<R: WireRequest>(request: &R, version: i16, correlation: i32) -> Result<BytesMut, Cause> {
    let mut message = BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(R::KEY as i16)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str(CLIENT_ID)))
        .encode(&mut message, R::header_version(version))?;
    request.encode(&mut message, version)?;
    Ok(message)
}

fn decode<M: Decodable>(mut body: Bytes, version: i16) -> Result<M, Cause> {
    Ok(M::decode(&mut body, version)?)
}

/// A plain `ApiVersions` request as a whole frame, for probes that speak without TLS or after it.
pub(crate) fn api_versions_frame() -> Result<Bytes, Cause> {
    Ok(super::frame::framed(&encode(&ApiVersionsRequest::default(), 0, 0)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(min: i16, max: i16) -> VersionRange {
        VersionRange { min, max }
    }

    #[test]
    fn the_highest_common_version_is_chosen() {
        assert_eq!(best_version(range(0, 9), Some(&range(2, 7))), Some(7));
        assert_eq!(best_version(range(3, 4), Some(&range(0, 3))), Some(3));
        assert_eq!(best_version(range(4, 9), Some(&range(0, 3))), None);
        assert_eq!(best_version(range(0, 9), None), None);
    }

    #[test]
    fn an_api_versions_request_has_the_documented_bytes() {
        let frame = api_versions_frame().unwrap();
        let mut expected = vec![0, 0, 0, 25, 0, 18, 0, 0, 0, 0, 0, 0, 0, 15];
        expected.extend_from_slice(b"caracal-cluster");
        assert_eq!(&frame[..], &expected[..]);
    }

    #[test]
    fn a_response_of_nonsense_is_an_error() {
        assert!(decode::<ApiVersionsResponse>(Bytes::from_static(b"\0\0\0\0"), 3).is_err());
    }
}
