//! Broker settings that the tool owns: overriding one would break what the plan promises.

/// Keys and key prefixes (ending in `.`) that `kafka.config` may not set, each with the reason.
pub fn owned_keys() -> &'static [(&'static str, &'static str)] {
    &[
        ("advertised.listeners", "derived from the listener table; certificates carry these names"),
        ("allow.everyone.if.no.acl.found", "would turn deny-by-default off"),
        ("authorizer.class.name", "access rules depend on it"),
        ("auto.create.topics.enable", "topics are declared in `topics`"),
        ("broker.id", "given by the plan"),
        ("controller.listener.names", "the controllers' listener is mutual TLS, given by the plan"),
        ("controller.quorum.", "given by the plan"),
        ("config.providers", "passwords are read through it"),
        ("config.providers.", "passwords are read through it"),
        ("default.replication.factor", "use `replication.factor`"),
        ("inter.broker.listener.name", "given by the plan"),
        ("listener.name.", "every listener is mutual TLS and SCRAM-SHA-512"),
        ("listener.security.protocol.map", "every listener is mutual TLS and SCRAM-SHA-512"),
        ("listeners", "given by the listener table"),
        ("log.dir", "given by the state directory"),
        ("log.dirs", "given by the state directory"),
        ("metadata.log.dir", "given by the state directory"),
        ("min.insync.replicas", "use `replication.min_isr`"),
        ("node.id", "given by the plan"),
        ("offsets.topic.replication.factor", "use `replication.factor`"),
        ("principal.builder.class", "access rules depend on it"),
        ("process.roles", "given by `metadata`"),
        (
            "sasl.",
            "every listener is mutual TLS and SCRAM-SHA-512, but for the controllers' own, where Kafka has no SCRAM: \
             there mutual TLS alone",
        ),
        ("security.inter.broker.protocol", "every listener is mutual TLS and SCRAM-SHA-512"),
        ("ssl.", "counts only with a listener's prefix, which the plan owns"),
        ("super.users", "derived from the roles in `users`"),
        ("transaction.state.log.min.isr", "use `replication.min_isr`"),
        ("transaction.state.log.replication.factor", "use `replication.factor`"),
        ("zookeeper.", "the ensemble is reached over mutual TLS only"),
    ]
}

/// Why a key may not be set, if so.
pub(super) fn owner_of(key: &str) -> Option<&'static str> {
    owned_keys()
        .iter()
        .find(|(owned, _)| {
            if let Some(stem) = owned.strip_suffix('.') {
                key.strip_prefix(stem).is_some_and(|rest| rest.starts_with('.'))
            } else {
                key == *owned
            }
        })
        .map(|(_, why)| *why)
}
