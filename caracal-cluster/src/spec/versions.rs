//! Which versions of Kafka have a vulnerability that is known and mended.

use std::fmt;

/// A known vulnerability of a version.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Vulnerability {
    /// Its number.
    pub cve: &'static str,
    /// What it does.
    pub what: &'static str,
    /// The first version of the same line without it.
    pub fixed_in: &'static str,
}

impl fmt::Display for Vulnerability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.cve, self.what)
    }
}

/// The vulnerability that keeps a version from being used, if there is one.
///
/// The floor of every line that is still maintained: 3.9.2, 4.0.2, 4.1.2, 4.2.0. The one that set it is the
/// Java producer's, which the brokers' tools and the schema registry use.
///
/// ```
/// use caracal_cluster::spec::vulnerability;
///
/// assert_eq!(vulnerability("3.9.1").map(|known| known.cve), Some("CVE-2026-35554"));
/// assert!(vulnerability("3.9.2").is_none() && vulnerability("4.3.1").is_none());
/// ```
pub fn vulnerability(version: &str) -> Option<Vulnerability> {
    let numbers = numbers(version)?;
    let fixed_in = match (numbers[0], numbers[1], numbers[2]) {
        (major, minor, patch) if (major, minor, patch) < (3, 9, 2) => "3.9.2",
        (4, 0, patch) if patch < 2 => "4.0.2",
        (4, 1, patch) if patch < 2 => "4.1.2",
        _ => return None,
    };
    let what = "the Java producer can write a record to another topic and report success";
    Some(Vulnerability { cve: "CVE-2026-35554", what, fixed_in })
}

/// The first number of a version.
pub(super) fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

fn numbers(version: &str) -> Option<[u32; 3]> {
    let mut numbers = [0; 3];
    for (number, part) in numbers.iter_mut().zip(version.split('.')) {
        *number = part.parse().ok()?;
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_of_each_line() {
        for (below, floor) in
            [("2.8.0", "3.9.2"), ("3.9", "3.9.2"), ("3.9.1", "3.9.2"), ("4.0.1", "4.0.2"), ("4.1.1", "4.1.2")]
        {
            assert_eq!(vulnerability(below).map(|known| known.fixed_in), Some(floor), "{below}");
        }
        for right in ["3.9.2", "3.10.0", "4.0.2", "4.1.2", "4.2.0", "4.3.1", "5.0.0", "latest"] {
            assert_eq!(vulnerability(right), None, "{right}");
        }
        assert_eq!((major("4.3.1"), major("x")), (Some(4), None));
    }
}
