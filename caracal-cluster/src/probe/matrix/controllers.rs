//! Cells of KRaft's controllers: their listener takes certificates of the control plane and no log-in, and whom it
//! takes may do nothing unless the plan named it.

use crate::plan::{ClusterPlan, ListenerPlan, NodePlan};
use crate::wire::Endpoint;

use super::Group;
use super::attempt::Attempt;
use super::cells::{self, Planned};
use super::identities::Presented;
use super::judge::{Refusal, Resource};

pub(super) fn listener(
    cells: &mut Vec<Planned>,
    plan: &ClusterPlan,
    node: &NodePlan,
    listener: &ListenerPlan,
) {
    let mut wrong = cells::wrong_certificates(Refusal::Certificate, Refusal::Certificate);
    wrong.extend(cells::applications(plan));
    let (group, at) = (Group::ControlPlane, (node, listener));
    cells::tls_port(cells, group, at, Presented::MetadataClient, wrong, false);
    let (target, at) = (cells::target(node, listener), Endpoint::of(node, listener));
    let ask = |slug, what, presented| {
        let attempt = Attempt::Quorum { at: at.clone(), presented };
        Planned::new(Group::ControlPlane, slug, &target, what, attempt)
    };
    let what = "whoever the plan names looks at the quorum";
    let control = ask("describes-quorum", what, Presented::MetadataClient);
    let what = "another certificate of the control authority looks at the quorum";
    let stranger = ask("stranger-describes-quorum", what, Presented::Minted)
        .refused(Refusal::NotAuthorized(Resource::Cluster), &control.id);
    cells.extend([control, stranger]);
}

/// Whether a listener is the controllers'.
pub(super) fn is_theirs(listener: &ListenerPlan) -> bool {
    listener.name.as_str() == crate::plan::CONTROLLER_LISTENER
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan;
    use crate::plan::tests::golden_inputs;
    use crate::spec::ClusterSpec;

    #[test]
    fn every_controller_refuses_every_application_and_strangers_each_with_its_control() {
        let spec = ClusterSpec::parse("metadata = \"kraft\"", "x").unwrap();
        let plan = plan::plan(&spec, &golden_inputs(&spec)).unwrap();
        for (node, at) in plan.controllers() {
            let mut cells = Vec::new();
            listener(&mut cells, &plan, node, at);
            let refused = cells.iter().filter(|cell| cell.control.is_some()).count();
            let applications = plan.users.iter().filter(|user| user.certificate.is_some()).count();
            assert_eq!(applications, 4);
            // No certificate, foreign, expired, early, plaintext, TLS 1.1, from outside, a stranger's question.
            assert_eq!(
                refused,
                applications + 8,
                "{:?}",
                cells.iter().map(|cell| &cell.id).collect::<Vec<_>>()
            );
            for cell in &cells {
                let known = |control: &String| cells.iter().any(|other| other.id == *control);
                assert!(cell.control.as_ref().is_none_or(known), "{}", cell.id);
            }
        }
        assert_eq!(plan.controllers().count(), 3);
    }
}
