//! The engine over a model that dies on command.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// A cluster as a set of finished half-steps: each step is two writes, and death can come before, between
/// or after them.
#[derive(Clone, Debug, Default)]
struct Model {
    done: BTreeSet<(Step, u8)>,
    applied: Vec<Step>,
    fuel: Option<u32>,
    steps: &'static [Step],
}

/// Models of both kinds of clusters.
fn models() -> [Model; 2] {
    [&Step::ZOOKEEPER[..], &Step::KRAFT].map(|steps| Model { steps, ..Model::default() })
}

#[derive(Debug, thiserror::Error)]
#[error("killed")]
struct Killed;

impl Model {
    fn burn(&mut self) -> Result<(), Killed> {
        match &mut self.fuel {
            None => Ok(()),
            Some(0) => Err(Killed),
            Some(fuel) => {
                *fuel -= 1;
                Ok(())
            }
        }
    }
}

impl World for Model {
    type Error = Killed;

    async fn observe(&mut self, step: Step) -> Result<Observed, Killed> {
        self.burn()?;
        Ok(match (self.done.contains(&(step, 0)), self.done.contains(&(step, 1))) {
            (true, true) => Observed::Satisfied("there".to_owned()),
            (true, false) => Observed::Drifted(vec!["half made".to_owned()]),
            _ => Observed::Absent("not there".to_owned()),
        })
    }

    async fn apply(&mut self, step: Step, _: &Observed) -> Result<Applied, Killed> {
        for before in self.steps.iter().take_while(|before| **before != step) {
            assert!(self.done.contains(&(*before, 1)), "{step:?} before {before:?}");
        }
        for half in 0..2 {
            self.burn()?;
            self.done.insert((step, half));
        }
        self.applied.push(step);
        Ok("made".into())
    }
}

async fn up(model: &mut Model) -> Result<Vec<StepReport>, EngineError<Killed>> {
    run(model, model.steps, &Reporter::silent(), std::future::pending()).await
}

#[tokio::test]
async fn a_second_run_changes_nothing() {
    for mut model in models() {
        up(&mut model).await.unwrap();
        assert_eq!(model.applied, model.steps);
        let reports = up(&mut model).await.unwrap();
        assert_eq!(model.applied.len(), model.steps.len(), "nothing was applied again");
        assert!(reports.iter().all(|report| matches!(report.outcome, Outcome::Unchanged(_))));
    }
}

#[tokio::test]
async fn killed_at_every_point_the_next_run_converges() {
    for fresh in models() {
        let mut whole = fresh.clone();
        up(&mut whole).await.unwrap();
        for fuel in 0..(fresh.steps.len() as u32 * 3) {
            let mut model = Model { fuel: Some(fuel), ..fresh.clone() };
            let error = up(&mut model).await.unwrap_err();
            assert!(matches!(error, EngineError::Step { .. }));
            model.fuel = None;
            up(&mut model).await.unwrap();
            assert_eq!(model.done, whole.done, "killed after {fuel} actions");
        }
    }
}

#[test]
fn a_plans_steps_are_those_of_its_mode_and_its_nodes() {
    let mut plan = crate::plan::tests::default_plan();
    assert_eq!(Step::of(&plan), Step::ZOOKEEPER);
    plan.metadata = Metadata::Kraft;
    plan.nodes.retain(|node| node.role == NodeRole::Broker);
    let steps = Step::of(&plan);
    assert!(steps.contains(&Step::Format) && !steps.contains(&Step::Controllers), "{steps:?}");
    assert_eq!(steps.last(), Some(&Step::Logins), "{steps:?}");
}

#[tokio::test]
async fn cancellation_names_the_step_and_stops() {
    let [mut model, _] = models();
    let error =
        run(&mut model, &Step::ZOOKEEPER, &Reporter::silent(), std::future::ready(())).await.unwrap_err();
    assert!(matches!(error, EngineError::Interrupted { step: Step::Preflight }));
    assert!(model.done.is_empty());
}

proptest! {
    #[test]
    fn any_sequence_of_deaths_converges(deaths in prop::collection::vec(0_u32..60, 0..6)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for mut model in models() {
                for fuel in &deaths {
                    model.fuel = Some(*fuel);
                    let _ = up(&mut model).await;
                }
                model.fuel = None;
                up(&mut model).await.unwrap();
                assert_eq!(model.done.len(), model.steps.len() * 2);
            }
        });
    }
}
