//! `cluster up` and `cluster down`, as a first cut.

#![allow(missing_docs, clippy::print_stdout, clippy::print_stderr)]

use crate::dir::StateRoot;
use crate::lifecycle::engine::{self, Event, Reporter, Step};
use crate::lifecycle::{Cluster, ClusterWorld, down};

pub async fn up(name: Option<String>) -> Result<(), Box<dyn std::error::Error>> {
    let root = StateRoot::from_environment()?;
    let name = name.map(|n| n.parse()).transpose()?;
    let cluster = Cluster::for_change(&root, name.as_ref(), None)?;
    let _lock = cluster.dir.lock("up")?;
    let reporter = Reporter::new(|event| match event {
        Event::Finished(step, outcome, took) => {
            println!("{:>6} ms {} {outcome:?}", took.as_millis(), step.title())
        }
        Event::Progress { .. } => {}
        other => println!("          {other:?}"),
    });
    let mut world = ClusterWorld::new(cluster, reporter.clone());
    let r = engine::run(&mut world, &Step::ALL, &reporter, std::future::pending()).await;
    if let Err(e) = r {
        println!("{}", crate::lifecycle::chain(&e));
        return Err("failed".into());
    }
    Ok(())
}

pub async fn down_(name: Option<String>, volumes: bool) -> Result<(), Box<dyn std::error::Error>> {
    let root = StateRoot::from_environment()?;
    let name = name.map(|n| n.parse()).transpose()?;
    let cluster = Cluster::existing(&root, name.as_ref())?;
    let lock = cluster.dir.lock("down")?;
    down::stop(&cluster, &|r| println!("{r:?}")).await;
    if volumes {
        down::delete(&cluster, lock)?;
    } else {
        down::tidy(&cluster)?;
    }
    Ok(())
}
