//! Certificates: as they lie in the cluster's directory, as listeners present them, and new ones in their place.
//!
//! Only leaves are renewed; authorities stay. A new leaf has the subject and the names of the old one (they come from
//! the plan), a key and a serial number of its own.

mod renew;
mod served;

pub use self::renew::{RenewOptions, RenewReport, Renewed, Way, renew};
pub use self::served::{ServedBy, ShowReport, show};
