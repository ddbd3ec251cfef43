//! caracal-kafka-client/contract
