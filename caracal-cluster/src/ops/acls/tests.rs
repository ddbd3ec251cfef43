use super::judge::{Policy, Question};
use super::*;
use crate::admin::acls::ALLOW;
use crate::plan::tests::default_plan;

fn planned() -> (ClusterPlan, Vec<AclBinding>) {
    let plan = default_plan();
    let rules = plan.acls.iter().map(AclBinding::from).collect();
    (plan, rules)
}

#[test]
fn the_plans_own_rules_are_known_as_planned_and_others_by_who_made_them() {
    let (mut plan, rules) = planned();
    assert!(rules.iter().all(|rule| origin(rule, &plan) == RuleOrigin::Planned));
    let own: Rule = "Read topic:orders".parse().unwrap();
    let own = own.binding("User:ledger");
    assert_eq!(origin(&own, &plan), RuleOrigin::Foreign);
    plan.own_rules.push(own.to_string());
    assert_eq!(origin(&own, &plan), RuleOrigin::Added);
}

#[test]
fn super_users_are_those_of_the_brokers_configuration() {
    let (plan, _) = planned();
    assert_eq!(explain::super_users(&plan), ["User:admin", "User:broker-a", "User:broker-b"]);
}

#[test]
fn the_roles_of_the_plan_are_judged_as_they_are_meant() {
    let (plan, rules) = planned();
    let super_users = explain::super_users(&plan);
    let policy = Policy { rules: &rules, super_users: &super_users, open_without_rules: false };
    for (user, operation, resource, allowed) in [
        ("admin", "Delete", "topic:caracal.dlq", true),
        ("producer", "Write", "topic:caracal.metering.events", true),
        ("producer", "Write", "topic:caracal.dlq", false),
        ("producer", "Write", "transactional-id:caracal-x", true),
        ("producer", "Write", "transactional-id:other", false),
        ("producer", "Create", "topic:new", false),
        ("consumer", "Read", "group:caracal-ledger", true),
        ("consumer", "Read", "group:other", false),
        ("consumer", "IdempotentWrite", "cluster", true),
        ("nobody", "Describe", "cluster", false),
    ] {
        let question = Question {
            principal: principal(user).unwrap(),
            host: "127.0.0.1".to_owned(),
            operation: operation.parse().unwrap(),
            resource: resource.parse().unwrap(),
        };
        assert_eq!(policy.judge(&question).allowed(), allowed, "{question:?}");
    }
}

#[test]
fn filters_find_what_covers_a_name_when_listing_and_the_very_rule_when_removing() {
    let rule: Rule = "Read topic:orders.*".parse().unwrap();
    let rule = rule.binding("User:x");
    let about = |text: &str| Filter { resource: Some(text.parse().unwrap()), ..Filter::default() };
    assert!(about("topic:orders.new").wants(&rule, true));
    assert!(!about("topic:orders.new").wants(&rule, false));
    assert!(about("topic:orders.*").wants(&rule, false));
    assert!(!Filter { principal: Some("User:y".to_owned()), ..Filter::default() }.wants(&rule, true));
}

#[test]
fn a_rule_is_shown_in_the_words_that_make_it_again() {
    let (plan, _) = planned();
    let rule: Rule = "Read topic:orders.*".parse().unwrap();
    let mut binding = rule.binding("User:x");
    let shown = ShownRule::of(&binding, &plan).arguments();
    assert_eq!(shown, "--principal User:x --operation Read --resource 'topic:orders.*'");
    (binding.permission, binding.host) = (DENY, "10.0.0.1".to_owned());
    assert!(ShownRule::of(&binding, &plan).arguments().ends_with("--host 10.0.0.1 --deny"));
    assert_ne!(ALLOW, DENY);
}

#[test]
fn principals_are_read_with_and_without_their_type() {
    for (text, read) in [("x", "User:x"), ("User:x", "User:x"), ("*", "User:*")] {
        assert_eq!(principal(text).unwrap(), read);
    }
    assert!(principal("").is_err() && principal("a b").is_err());
}
