//! Who may do what, by role: said here once more, so that a mistake in the plan's own rules is found too.

use caracal_kafka_contract::events::TOPIC_DEAD_LETTERS;

use crate::plan::{ClusterPlan, PatternKind, ResourceKind, Role, TopicOwner, TopicPlan, UserPlan};

use super::Group;
use super::act::Act;
use super::attempt::Attempt;
use super::cells::{Names, Planned};
use super::judge::{Refusal, Resource};

const CLUSTER: &str = "cluster";
/// Every right that Kafka knows of a topic, as [`Act::Rights`] lists them.
const ALL: &str = "Alter, AlterConfigs, Create, Delete, Describe, DescribeConfigs, Read, Write";

/// A topic in the matrix.
#[derive(Clone, Copy, Debug)]
enum Topic<'a> {
    Planned(&'a TopicPlan),
    /// Made for this run; nobody's.
    Scratch(&'a str),
}

impl Topic<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Planned(topic) => topic.name.as_str(),
            Self::Scratch(name) => name,
        }
    }

    /// The rights of a role; nothing when it may not even see the topic.
    fn rights(&self, role: Role) -> &'static str {
        let owner = match self {
            Self::Planned(topic) => Some(topic.owner),
            Self::Scratch(_) => None,
        };
        let letters = self.name() == TOPIC_DEAD_LETTERS;
        match (role, owner) {
            (Role::Admin | Role::InterBroker, _) => ALL,
            (Role::Producer, Some(TopicOwner::Application)) if !letters => "Describe, Write",
            (Role::Consumer, Some(TopicOwner::Application)) if letters => "Describe, Read, Write",
            (Role::Consumer, Some(TopicOwner::Application)) => "Describe, Read",
            (Role::Registry, Some(TopicOwner::Registry)) => "Describe, DescribeConfigs, Read, Write",
            _ => "",
        }
    }

    fn may(&self, role: Role, right: &str) -> bool {
        self.rights(role).split(", ").any(|known| known == right)
    }
}

/// The cells of authorization.
pub(super) fn cells(cells: &mut Vec<Planned>, plan: &ClusterPlan, names: &Names) {
    let Some(admin) = plan.user_of(Role::Admin) else { return };
    let matrix = Matrix { admin, scratch: names.scratch(), application: names.application(), plan };
    matrix.scratch_topic(cells);
    matrix.topics(cells);
    matrix.groups(cells);
    matrix.producing(cells);
    matrix.cluster(cells);
}

struct Matrix<'a> {
    plan: &'a ClusterPlan,
    admin: &'a UserPlan,
    scratch: String,
    application: String,
}

impl<'a> Matrix<'a> {
    /// Whoever has a log-in of its own, the administrator first because its cells are the controls.
    fn users(&self) -> impl Iterator<Item = &'a UserPlan> {
        let others = self.plan.users.iter().filter(|user| {
            matches!(user.role, Role::Producer | Role::Consumer | Role::Registry)
                && user.certificate.is_some()
                // What an added user may do is said by its scope, not by its role alone.
                && !user.added
        });
        std::iter::once(self.admin).chain(others)
    }

    fn cell(&self, user: &UserPlan, slug: &str, target: &str, what: &str, act: Act) -> Planned {
        let attempt = Attempt::Kafka { user: user.name.clone(), act };
        let what = format!("{} {what}", user.name);
        Planned::new(Group::Authorization, slug, target, what, attempt).by(user.name.as_str())
    }

    /// The same act by everybody: the administrator's is the control of whoever is refused.
    fn by_all(
        &self,
        cells: &mut Vec<Planned>,
        (slug, target, what): (&str, &str, &str),
        act: &Act,
        resource: Resource,
        may: impl Fn(&UserPlan) -> bool,
    ) {
        let mut control = String::new();
        for user in self.users() {
            let cell = self.cell(user, slug, target, what, act.clone());
            if user.name == self.admin.name {
                control.clone_from(&cell.id);
            }
            let allowed = user.name == self.admin.name || may(user);
            cells.push(if allowed { cell } else { cell.refused(Refusal::NotAuthorized(resource), &control) });
        }
    }

    fn scratch_topic(&self, cells: &mut Vec<Planned>) {
        let topic = &self.scratch;
        let acts = [
            ("create", "creates a topic for this run", Act::MakeScratch),
            (
                "round-trip",
                "writes a record to it and reads it back",
                Act::RoundTrip { topic: topic.clone() },
            ),
            (
                "delete",
                "deletes it again, with the groups that this run and its clients used",
                Act::DropScratch,
            ),
        ];
        cells.extend(acts.map(|(slug, what, act)| self.cell(self.admin, slug, topic, what, act)));
    }

    fn topics(&self, cells: &mut Vec<Planned>) {
        let planned = self.plan.topics.iter().map(Topic::Planned);
        for topic in planned.chain([Topic::Scratch(&self.scratch)]) {
            let (name, owned) = (topic.name(), || topic.name().to_owned());
            let write = Act::Write { topic: owned() };
            self.by_all(cells, ("write", name, &format!("writes {name}")), &write, Resource::Topic, |user| {
                topic.may(user.role, "Write")
            });
            let read = Act::Read { topic: owned() };
            self.by_all(cells, ("read", name, &format!("reads {name}")), &read, Resource::Topic, |user| {
                topic.may(user.role, "Read")
            });
            let configs = Act::DescribeConfigs { topic: owned() };
            let what = format!("reads the configuration of {name}");
            self.by_all(cells, ("configs", name, &what), &configs, Resource::Topic, |user| {
                topic.may(user.role, "DescribeConfigs")
            });
            self.rights(cells, topic);
        }
    }

    /// Every right of every user to a topic; who has none is told that it may not see the topic.
    fn rights(&self, cells: &mut Vec<Planned>, topic: Topic<'_>) {
        let name = topic.name();
        let mut control = String::new();
        for user in self.users() {
            let rights = Act::Rights { topic: name.to_owned() };
            let cell = self.cell(user, "rights", name, &format!("asks for its rights to {name}"), rights);
            if user.name == self.admin.name {
                control.clone_from(&cell.id);
            }
            cells.push(match topic.rights(user.role) {
                "" => cell.refused(Refusal::NotAuthorized(Resource::Topic), &control),
                rights => cell.exactly(rights),
            });
        }
    }

    fn groups(&self, cells: &mut Vec<Planned>) {
        let applications = self.plan.topics.iter().find(|topic| topic.owner == TopicOwner::Application);
        let registrys = self.plan.topics.iter().find(|topic| topic.owner == TopicOwner::Registry);
        let registry = registry_group(self.plan, &self.scratch);
        let mut commit = |group: &str, topic: Option<&TopicPlan>, role: Option<Role>| {
            let Some(topic) = topic else { return };
            let act = Act::Commit { group: group.to_owned(), topic: topic.name.to_string() };
            let (target, what) =
                (format!("group {group}"), format!("commits and reads an offset in group {group}"));
            self.by_all(cells, ("commit", &target, &what), &act, Resource::Group, |user| {
                Some(user.role) == role
            });
        };
        commit(&self.application, applications, Some(Role::Consumer));
        commit(&self.scratch, applications, None);
        if let Some(group) = registry {
            commit(&group, registrys, Some(Role::Registry));
        }
    }

    fn producing(&self, cells: &mut Vec<Planned>) {
        let what = "gets the id of an idempotent producer";
        self.by_all(cells, ("idempotent", CLUSTER, what), &Act::Idempotent, Resource::Cluster, |_| true);
        for (id, role) in [(&self.application, Some(Role::Producer)), (&self.scratch, None)] {
            let (target, what) =
                (format!("transaction {id}"), format!("begins as transactional id {id}-..."));
            let act = Act::Transactional { id: id.clone() };
            let resource = Resource::TransactionalId;
            self.by_all(cells, ("begin", &target, &what), &act, resource, |user| Some(user.role) == role);
        }
    }

    fn cluster(&self, cells: &mut Vec<Planned>) {
        let name = format!("{}-new", self.scratch);
        let create = Act::CreateTopic { name };
        let what = "asks whether it may create a topic";
        self.by_all(cells, ("create-topic", CLUSTER, what), &create, Resource::Topic, |_| false);
        let acts = [
            ("look-up-user", "looks a user up", Act::LookUpUser),
            ("alter-users", "deletes the credential of a user that does not exist", Act::AlterUsers),
            ("list-rules", "lists access rules", Act::ListRules),
            ("alter-rules", "sends a rule that is invalid", Act::AlterRules),
        ];
        for (slug, what, act) in acts {
            self.by_all(cells, (slug, CLUSTER, what), &act, Resource::Cluster, |_| false);
        }
        let rules = self.cell(
            self.admin,
            "rules",
            CLUSTER,
            "compares the access rules with the plan's",
            Act::CompareRules,
        );
        cells.push(rules.exactly(planned_rules(self.plan.acls.len())));
    }
}

/// A group below the registry's own prefix.
fn registry_group(plan: &ClusterPlan, scratch: &str) -> Option<String> {
    let user = plan.user_of(Role::Registry)?;
    let rule = plan.acls.iter().find(|rule| {
        rule.user == user.name
            && rule.resource == ResourceKind::Group
            && rule.pattern == PatternKind::Prefixed
    })?;
    Some(format!("{}{scratch}", rule.name))
}

/// What [`Act::CompareRules`] says when nothing differs.
pub(super) fn planned_rules(number: usize) -> String {
    format!("the {number} planned rules")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{confluent_plan, default_plan};
    use crate::plan::{AclRule, Operation};

    /// The plan's own rules give each role just these rights: two statements of one policy.
    #[test]
    fn the_plans_rules_say_the_same() {
        the_rules_say_the_same(&default_plan());
        the_rules_say_the_same(&confluent_plan());
    }

    fn the_rules_say_the_same(plan: &ClusterPlan) {
        let has = |user: &UserPlan, topic: &str, operation: Operation| {
            let covers = |rule: &&AclRule| {
                rule.user == user.name
                    && rule.resource == ResourceKind::Topic
                    && rule.operation == operation
                    && match rule.pattern {
                        PatternKind::Literal => rule.name == topic,
                        PatternKind::Prefixed => topic.starts_with(&rule.name),
                    }
            };
            plan.acls.iter().any(|rule| covers(&rule))
        };
        let operations = [
            (Operation::Alter, "Alter"),
            (Operation::AlterConfigs, "AlterConfigs"),
            (Operation::Create, "Create"),
            (Operation::Delete, "Delete"),
            (Operation::Describe, "Describe"),
            (Operation::DescribeConfigs, "DescribeConfigs"),
            (Operation::Read, "Read"),
            (Operation::Write, "Write"),
        ];
        let topics = plan.topics.iter().map(Topic::Planned).chain([Topic::Scratch("verify-5a17")]);
        for topic in topics {
            for user in plan.users.iter().filter(|user| !user.super_user) {
                for (operation, name) in operations {
                    let planned = has(user, topic.name(), operation);
                    assert_eq!(topic.may(user.role, name), planned, "{} {name} {}", user.name, topic.name());
                }
            }
        }
    }
}
