//! The requests that we send, each with its response.
//!
//! The message crate pairs them only when it also compiles a broker's half of the protocol, which would cost
//! every first build time for code that nothing here runs.

use kafka_protocol::messages as m;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message};

/// A request with the response that answers it.
pub trait WireRequest: Encodable + HeaderVersion + Message {
    /// Its number in the protocol.
    const KEY: m::ApiKey;
    /// What answers it.
    type Response: Decodable + HeaderVersion + Message;
}

/// The name of a request by its number in the protocol; none for one that is newer than we are.
pub fn name_of(key: i16) -> Option<String> {
    m::ApiKey::try_from(key).ok().map(|key| format!("{key:?}"))
}

macro_rules! requests {
    ($($key:ident: $request:ident => $response:ident,)*) => {
        $(impl WireRequest for m::$request {
            const KEY: m::ApiKey = m::ApiKey::$key;
            type Response = m::$response;
        })*
    };
}

requests! {
    AlterUserScramCredentials: AlterUserScramCredentialsRequest => AlterUserScramCredentialsResponse,
    ApiVersions: ApiVersionsRequest => ApiVersionsResponse,
    CreateAcls: CreateAclsRequest => CreateAclsResponse,
    CreatePartitions: CreatePartitionsRequest => CreatePartitionsResponse,
    CreateTopics: CreateTopicsRequest => CreateTopicsResponse,
    DeleteAcls: DeleteAclsRequest => DeleteAclsResponse,
    DeleteGroups: DeleteGroupsRequest => DeleteGroupsResponse,
    DeleteTopics: DeleteTopicsRequest => DeleteTopicsResponse,
    DescribeAcls: DescribeAclsRequest => DescribeAclsResponse,
    DescribeCluster: DescribeClusterRequest => DescribeClusterResponse,
    DescribeConfigs: DescribeConfigsRequest => DescribeConfigsResponse,
    DescribeGroups: DescribeGroupsRequest => DescribeGroupsResponse,
    DescribeLogDirs: DescribeLogDirsRequest => DescribeLogDirsResponse,
    DescribeQuorum: DescribeQuorumRequest => DescribeQuorumResponse,
    DescribeUserScramCredentials: DescribeUserScramCredentialsRequest => DescribeUserScramCredentialsResponse,
    Fetch: FetchRequest => FetchResponse,
    FindCoordinator: FindCoordinatorRequest => FindCoordinatorResponse,
    IncrementalAlterConfigs: IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse,
    InitProducerId: InitProducerIdRequest => InitProducerIdResponse,
    ListGroups: ListGroupsRequest => ListGroupsResponse,
    ListOffsets: ListOffsetsRequest => ListOffsetsResponse,
    Metadata: MetadataRequest => MetadataResponse,
    OffsetCommit: OffsetCommitRequest => OffsetCommitResponse,
    OffsetFetch: OffsetFetchRequest => OffsetFetchResponse,
    Produce: ProduceRequest => ProduceResponse,
    SaslAuthenticate: SaslAuthenticateRequest => SaslAuthenticateResponse,
    SaslHandshake: SaslHandshakeRequest => SaslHandshakeResponse,
}
