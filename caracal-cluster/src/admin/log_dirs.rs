//! What a broker keeps on its disks (KIP-113, KIP-827).

use std::collections::BTreeMap;

use kafka_protocol::messages::DescribeLogDirsRequest;

use crate::wire::{ApiError, Connection, Deadline, WireError};

/// One log directory of a broker.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct LogDir {
    /// Its path, as the broker sees it.
    pub path: String,
    /// Why it cannot be used, if so: `KafkaStorageError` for a failed disk.
    pub error: Option<ApiError>,
    /// Bytes of each partition in it, by topic and number.
    pub partitions: BTreeMap<(String, i32), i64>,
}

impl LogDir {
    /// Bytes of everything in it.
    pub fn bytes(&self) -> i64 {
        self.partitions.values().sum()
    }
}

/// Every log directory of the broker at the other end, with all partitions in it.
///
/// # Errors
/// [`WireError`]; a directory's own error is a value in its entry.
pub async fn log_dirs(connection: &mut Connection, deadline: Deadline) -> Result<Vec<LogDir>, WireError> {
    const DOING: &str = "look at the log directories";
    let request = DescribeLogDirsRequest::default().with_topics(None);
    let response = connection.call_as(DOING, &request, i16::MAX, deadline).await?;
    ApiError::check(response.error_code, None, "log directories")
        .map_err(|error| connection.error(DOING, error.into()))?;
    let found = response.results.into_iter().map(|dir| {
        let path = dir.log_dir.to_string();
        let partitions = dir.topics.into_iter().flat_map(|topic| {
            let name = topic.name.to_string();
            topic
                .partitions
                .into_iter()
                .map(move |partition| ((name.clone(), partition.partition_index), partition.partition_size))
        });
        LogDir {
            partitions: partitions.collect(),
            error: ApiError::from_code(dir.error_code, None, format!("log directory {path}")),
            path,
        }
    });
    Ok(found.collect())
}
