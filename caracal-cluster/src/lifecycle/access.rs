//! How we ourselves reach a cluster's nodes: certificates, log-ins and addresses, read once.

use caracal_scram::Mechanism;
use secrecy::SecretString;
use time::OffsetDateTime;

use crate::admin::{Admin, BrokerEndpoint};
use crate::credentials::{Credentials, CredentialsError};
use crate::dir::ClusterDir;
use crate::plan::{BOOTSTRAP_CERTIFICATE, Ca, ClusterPlan, NodePlan, NodeRole, Role, UserPlan};
use crate::wire::{Endpoint, Login, SharedSaltedPasswords, TlsConfig, TlsConfigError, TlsIdentity};

/// What keeps us from reaching a cluster.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// A certificate or password.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// A certificate that TLS cannot use.
    #[error("the certificate {id} cannot be used for TLS")]
    Tls {
        /// Which one.
        id: String,
        /// The cause.
        #[source]
        source: TlsConfigError,
    },
    /// No user has a role that is needed.
    #[error("no user of the plan has the role {role:?}")]
    NoUser {
        /// The role.
        role: Role,
    },
}

/// Reaches one cluster. Salted passwords are shared, so that thirty log-ins of five users derive five times.
#[derive(Clone, Debug)]
pub struct Access<'a> {
    dir: &'a ClusterDir,
    plan: &'a ClusterPlan,
    now: OffsetDateTime,
    cache: SharedSaltedPasswords,
}

impl<'a> Access<'a> {
    /// Access to a cluster whose credentials lie in a directory.
    pub fn new(dir: &'a ClusterDir, plan: &'a ClusterPlan, cache: SharedSaltedPasswords) -> Self {
        Self { dir, plan, now: OffsetDateTime::now_utc(), cache }
    }

    /// The credentials behind it.
    pub fn credentials(&self) -> Credentials<'a> {
        Credentials::new(self.dir, self.plan, self.now)
    }

    /// TLS with a certificate of the plan, trusting the authority that signed it.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn tls(&self, certificate: &str) -> Result<TlsConfig, AccessError> {
        let known = self.plan.pki.certificates.iter().find(|known| known.id == certificate);
        let ca = known.map_or(Ca::Data, |known| known.ca);
        self.tls_trusting(certificate, ca)
    }

    /// TLS with a certificate of the plan, trusting the authority `ca`, whoever signed it.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn tls_trusting(&self, certificate: &str, ca: Ca) -> Result<TlsConfig, AccessError> {
        let credentials = self.credentials();
        let issued = credentials.issued(certificate)?;
        let identity = TlsIdentity {
            ca_pem: credentials.authority_pem(ca)?,
            chain_pem: issued.chain_pem().to_owned(),
            key_pem: SecretString::from(issued.key_pem().expose_pem().to_owned()),
        };
        TlsConfig::mutual(&identity).map_err(|source| AccessError::Tls { id: certificate.to_owned(), source })
    }

    /// TLS that presents nothing, trusting one authority.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn tls_without_certificate(&self, ca: Ca) -> Result<TlsConfig, AccessError> {
        let pem = self.credentials().authority_pem(ca)?;
        TlsConfig::without_certificate(&pem)
            .map_err(|source| AccessError::Tls { id: ca.stem().to_owned(), source })
    }

    /// TLS as a user presents itself; a user without a certificate of its own borrows the administrator's,
    /// which Kafka does not hold against it.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn user_tls(&self, user: &UserPlan) -> Result<TlsConfig, AccessError> {
        match &user.certificate {
            Some(certificate) => self.tls(certificate),
            None => self.tls(self.user(Role::Admin)?.certificate.as_deref().unwrap_or_default()),
        }
    }

    /// TLS towards the ZooKeeper ensemble, as whoever writes the first users.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn zookeeper_tls(&self) -> Result<TlsConfig, AccessError> {
        self.tls(BOOTSTRAP_CERTIFICATE)
    }

    /// TLS towards KRaft's controllers, as whoever looks at their quorum for us.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn controllers_tls(&self) -> Result<TlsConfig, AccessError> {
        self.tls(BOOTSTRAP_CERTIFICATE)
    }

    /// A user's log-in.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn login(&self, user: &UserPlan) -> Result<Login, AccessError> {
        let password = self.credentials().expect_password(&user.name)?;
        Ok(Login::new(user.name.as_str(), password)
            .with_mechanism(Mechanism::ScramSha512)
            .with_cache(self.cache.clone()))
    }

    /// The first user of a role.
    ///
    /// # Errors
    /// [`AccessError::NoUser`].
    pub fn user(&self, role: Role) -> Result<&'a UserPlan, AccessError> {
        self.plan.user_of(role).ok_or(AccessError::NoUser { role })
    }

    /// What an administrator needs to log in by a connection of its own.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn administrator(&self) -> Result<(TlsConfig, Login), AccessError> {
        let user = self.user(Role::Admin)?;
        Ok((self.user_tls(user)?, self.login(user)?))
    }

    /// An administrator on the `EXTERNAL` listeners.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn admin(&self) -> Result<Admin, AccessError> {
        self.as_user(self.user(Role::Admin)?)
    }

    /// An administrator of each broker by itself, on its `EXTERNAL` listener, with the broker's number.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn admins(&self) -> Result<Vec<(i32, Admin)>, AccessError> {
        let (tls, login) = self.administrator()?;
        let one = |broker: BrokerEndpoint| {
            (broker.id, Admin::new(vec![broker], tls.clone(), login.clone()).asking_anybody())
        };
        Ok(self.brokers("EXTERNAL").into_iter().map(one).collect())
    }

    /// Somebody else on the `EXTERNAL` listeners.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn as_user(&self, user: &UserPlan) -> Result<Admin, AccessError> {
        Ok(Admin::new(self.brokers("EXTERNAL"), self.user_tls(user)?, self.login(user)?))
    }

    /// Every broker's listener of a name, with the broker's id.
    pub fn brokers(&self, listener: &str) -> Vec<BrokerEndpoint> {
        self.plan
            .nodes_of(NodeRole::Broker)
            .filter_map(|node| {
                let endpoint = Endpoint::of(node, node.listener(listener)?);
                Some(BrokerEndpoint { id: i32::try_from(node.id).unwrap_or(i32::MAX), endpoint })
            })
            .collect()
    }

    /// Every KRaft controller's listener, with its id; none with ZooKeeper.
    pub fn controllers(&self) -> Vec<BrokerEndpoint> {
        self.plan
            .controllers()
            .map(|(node, listener)| BrokerEndpoint {
                id: i32::try_from(node.id).unwrap_or(i32::MAX),
                endpoint: Endpoint::of(node, listener),
            })
            .collect()
    }

    /// Every endpoint of a role's nodes.
    pub fn endpoints(&self, role: NodeRole) -> Vec<Endpoint> {
        self.plan.nodes_of(role).flat_map(endpoints_of).collect()
    }

    /// Every ZooKeeper node's client port.
    pub fn zookeepers(&self) -> Vec<Endpoint> {
        self.plan
            .nodes_of(NodeRole::Zookeeper)
            .filter_map(|node| Some(Endpoint::of(node, node.listener("CLIENT")?)))
            .collect()
    }
}

fn endpoints_of(node: &NodePlan) -> impl Iterator<Item = Endpoint> {
    node.listeners.iter().map(|listener| Endpoint::of(node, listener))
}
