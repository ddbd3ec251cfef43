//! A running broker's own settings (KIP-226).

use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::protocol::StrBytes;

use super::{Admin, AdminError};
use crate::wire::{ApiError, Deadline};

/// `ConfigResource.Type.BROKER`.
const BROKER: i8 = 4;

/// `AlterConfigOp.OpType`: set a value, and take it away.
const SET: i8 = 0;
const DELETE: i8 = 1;

impl Admin {
    /// Sets settings of one broker, or takes them away (no value), so that its file counts again. The request goes
    /// to that broker: no other one can read its files.
    ///
    /// # Errors
    /// [`AdminError`] when the request as a whole failed; the inner result is the broker's own.
    pub async fn alter_broker_config(
        &self,
        broker: i32,
        settings: &[(&str, Option<&str>)],
        deadline: Deadline,
    ) -> Result<Result<(), ApiError>, AdminError> {
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let configs = settings.iter().map(|(key, value)| {
            AlterableConfig::default()
                .with_name(text(key))
                .with_config_operation(if value.is_some() { SET } else { DELETE })
                .with_value(value.map(text))
        });
        let resource = AlterConfigsResource::default()
            .with_resource_type(BROKER)
            .with_resource_name(text(&broker.to_string()))
            .with_configs(configs.collect());
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let mut connection = self.connect(broker, deadline).await?;
        let response = connection.call_as("change a broker's settings", &request, i16::MAX, deadline).await?;
        let subject = format!("broker {broker}");
        let result = response.responses.into_iter().next();
        Ok(result.map_or(Ok(()), |result| {
            let message = result.error_message.as_ref().map(|text| text.as_str());
            ApiError::check(result.error_code, message, subject)
        }))
    }
}
