//! `dashboard`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::super::{exit, signal};
use super::{Call, Common, Failure, ended, words};
use crate::names::ClusterName;
use crate::ops::dashboard::serve;
use crate::ops::dashboard::snapshot::Looker;

/// Arguments of `dashboard`.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct DashboardArgs {
    /// The port on 127.0.0.1; 0: a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub port: u16,
    /// How long between two looks at the cluster
    #[arg(long, value_name = "SPAN", value_parser = words::span, default_value = "2s")]
    pub every: Duration,
    /// Which cluster, and how it is shown.
    #[command(flatten)]
    pub common: Common,
}

/// Where it listens.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
struct Opened {
    cluster: ClusterName,
    address: String,
}

pub(super) async fn run(args: &DashboardArgs) -> ExitCode {
    let call = Call::new("dashboard", &args.common);
    ended(&call, served(&call, args)).await
}

async fn served(call: &Call, args: &DashboardArgs) -> Result<u8, Failure> {
    let cancelled = signal::cancelled();
    let looker = Looker::new(&call.selection()?)?;
    let cluster = looker.operated().cluster().plan.cluster.clone();
    let dashboard = serve(looker, args.port, args.every.max(Duration::from_millis(200))).await?;
    let opened = Opened { cluster, address: dashboard.address() };
    call.report(&opened, || {
        format!(
            "cluster {} is shown at\n\n    {}\n\nuntil Ctrl-C; whoever has this address may look",
            opened.cluster, opened.address
        )
    })?;
    dashboard.until(cancelled).await;
    Ok(exit::OK)
}
