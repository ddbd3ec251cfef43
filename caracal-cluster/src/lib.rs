//! caracal-cluster
