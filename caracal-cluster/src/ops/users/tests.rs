use super::*;
use crate::plan::tests::default_plan;
use crate::plan::{AddedUser, Additions, Role, Scope};
use crate::spec::ClusterSpec;

fn plan_with(names: &[(&str, Role)]) -> ClusterPlan {
    let spec = ClusterSpec::default();
    let mut inputs = crate::plan::tests::golden_inputs(&spec);
    inputs.additions = Additions {
        users: names
            .iter()
            .map(|(name, role)| AddedUser {
                name: name.parse().unwrap(),
                role: *role,
                scope: Scope::default(),
                rules: Vec::new(),
            })
            .collect(),
        ..Additions::default()
    };
    crate::plan::plan(&spec, &inputs).unwrap()
}

#[test]
fn an_added_user_has_certificate_and_rules_and_changes_no_node() {
    let (before, after) = (default_plan(), plan_with(&[("ledger", Role::Admin)]));
    assert_eq!(before.nodes, after.nodes, "a running node must not drift");
    let user = after.user("ledger").unwrap();
    assert!(user.added && !user.super_user && user.certificate.as_deref() == Some("client.ledger"));
    assert!(after.pki.certificates.iter().any(|certificate| certificate.id == "client.ledger"));
    assert!(after.acls.iter().any(|rule| rule.user == user.name));
    assert_eq!(Origin::of(&after, "ledger"), Origin::Added);
    assert_eq!(Origin::of(&after, "admin"), Origin::Described);
    assert_eq!(Origin::of(&after, "somebody"), Origin::Foreign);
    assert!(
        crate::plan::check::check(&after)
            .iter()
            .all(|note| { note.severity != crate::plan::check::Severity::Error })
    );
}

#[test]
fn nobody_is_removed_without_whom_the_cluster_ends() {
    let plan = plan_with(&[("ledger", Role::Consumer)]);
    for (user, part) in [
        ("admin", "last administrator"),
        ("broker-a", "brokers log in"),
        ("broker-b", "brokers log in"),
        ("schema-registry", "registry logs in"),
        ("consumer", "would make it again"),
    ] {
        let why = remove::refuse(&plan, user).unwrap_err().to_string();
        assert!(why.contains(part), "{user}: {why}");
    }
    for user in ["ledger", "somebody"] {
        assert!(remove::refuse(&plan, user).is_ok(), "{user}");
    }
}

#[test]
fn names_that_are_taken_or_raise_their_user_are_refused() {
    let plan = plan_with(&[("ledger", Role::Consumer)]);
    for name in ["admin", "consumer", "broker-a", "broker-b"] {
        assert!(add::refuse_name(&plan, &name.parse().unwrap()).is_err(), "{name}");
    }
    assert!(add::refuse_name(&plan, &"payments".parse().unwrap()).is_ok());
}

#[test]
fn nodes_that_log_in_as_a_user_are_known() {
    let plan = default_plan();
    let nodes = |user: &str| {
        password::nodes_of(&plan, &user.parse().unwrap()).iter().map(|node| node.role).collect::<Vec<_>>()
    };
    use crate::plan::NodeRole::{Broker, SchemaRegistry};
    assert_eq!(nodes("broker-a"), [Broker, Broker, Broker]);
    assert_eq!(nodes("schema-registry"), [SchemaRegistry]);
    assert!(nodes("producer").is_empty() && nodes("admin").is_empty());
}

#[test]
fn a_password_that_no_reader_could_carry_is_refused_without_being_shown() {
    let given = SecretString::from("with \"quotes\"".to_owned());
    let why = usable(&"x".parse().unwrap(), Some(&given)).unwrap_err().to_string();
    assert!(why.contains("cannot be used") && !why.contains("quotes\""), "{why}");
    assert!(usable(&"x".parse().unwrap(), None).is_ok());
}
