//! caracal-kafka-client
