//! What was added to a running cluster beside its description: users, and access rules of one's own.
//!
//! It is an input of the plan, so everything that is true of a described user (certificate, client files, proof)
//! is true of an added one.

use serde::{Deserialize, Serialize};

use super::model::{AclRule, PatternKind, Role};
use crate::names::UserName;
use crate::spec::ClusterSpec;

/// The version of the file's shape; a newer one is refused by name.
pub const ADDITIONS_FORMAT: u32 = 1;

/// Everything that was added.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Additions {
    /// [`ADDITIONS_FORMAT`].
    pub format: u32,
    /// Users, by name.
    pub users: Vec<AddedUser>,
    /// Access rules of no role, as [`AclBinding`](crate::admin::AclBinding) writes them.
    pub rules: Vec<String>,
}

impl Default for Additions {
    fn default() -> Self {
        Self { format: ADDITIONS_FORMAT, users: Vec::new(), rules: Vec::new() }
    }
}

impl Additions {
    /// The users whose names the description does not have: where both have one, the description counts.
    pub(super) fn users_beside<'a>(
        &'a self,
        spec: &'a ClusterSpec,
    ) -> impl Iterator<Item = &'a AddedUser> + use<'a> {
        self.users.iter().filter(|added| !spec.users.iter().any(|user| user.name == added.name))
    }
}

/// One added user.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AddedUser {
    /// Its name.
    pub name: UserName,
    /// What it may do.
    pub role: Role,
    /// On what.
    #[serde(default)]
    pub scope: Scope,
    /// Rules beside its role's.
    #[serde(default)]
    pub rules: Vec<AclRule>,
}

/// On what a role gives its rights; what is empty is the role's default.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Topics.
    #[serde(default)]
    pub topics: Vec<NamePattern>,
    /// Consumer groups.
    #[serde(default)]
    pub groups: Vec<NamePattern>,
    /// Transactional ids.
    #[serde(default)]
    pub transactional_ids: Vec<NamePattern>,
}

/// A name, or the start of names.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NamePattern {
    /// Whether it is a whole name.
    pub kind: PatternKind,
    /// The name; literally `*` is every name.
    pub name: String,
}

impl NamePattern {
    /// A whole name.
    pub fn literal(name: impl Into<String>) -> Self {
        Self { kind: PatternKind::Literal, name: name.into() }
    }

    /// Every name that starts so.
    pub fn prefixed(name: impl Into<String>) -> Self {
        Self { kind: PatternKind::Prefixed, name: name.into() }
    }

    /// As people type it: `orders` is a name, `orders.*` every name that starts with `orders.`, `*` every name.
    ///
    /// # Errors
    /// When it is empty, or has a star elsewhere than at its end.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::literal("*"));
        }
        let pattern = match text.strip_suffix('*') {
            Some(prefix) => Self::prefixed(prefix),
            None => Self::literal(text),
        };
        if pattern.name.is_empty() || pattern.name.contains('*') {
            return Err(format!("`{text}` is no name: write NAME, PREFIX* or *"));
        }
        if pattern.name.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(format!("`{text}` holds a space or a control character"));
        }
        Ok(pattern)
    }
}

impl std::fmt::Display for NamePattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            PatternKind::Literal => f.write_str(&self.name),
            PatternKind::Prefixed => write!(f, "{}*", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_starts_of_names_are_read_as_they_are_shown() {
        for text in ["orders", "orders.*", "*", "caracal-x"] {
            assert_eq!(NamePattern::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(NamePattern::parse("*").unwrap().kind, PatternKind::Literal);
        assert_eq!(NamePattern::parse("a*").unwrap(), NamePattern::prefixed("a"));
        for wrong in ["", "a*b", "**", "a b"] {
            assert!(NamePattern::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_was_added_survives_json_and_gives_way_to_the_description() {
        let user = |name: &str| AddedUser {
            name: name.parse().unwrap(),
            role: Role::ConsumerGroup,
            scope: Scope { groups: vec![NamePattern::literal("g")], ..Scope::default() },
            rules: Vec::new(),
        };
        let added = Additions { users: vec![user("ledger"), user("consumer")], ..Additions::default() };
        let text = serde_json::to_string(&added).unwrap();
        assert_eq!(serde_json::from_str::<Additions>(&text).unwrap(), added);
        let spec = ClusterSpec::default();
        let beside: Vec<_> = added.users_beside(&spec).map(|user| user.name.as_str()).collect();
        assert_eq!(beside, ["ledger"]);
    }
}
