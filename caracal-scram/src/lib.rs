//! caracal-scram
