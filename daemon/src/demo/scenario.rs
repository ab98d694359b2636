//! The demo from beginning to end.

use anyhow::Result;

use super::crash::Phase;
use super::options::DemoArgs;
use super::progress::Progress;
use super::report::{Report, checkpoints, node_lines};
use super::steps::{data, lie, model, money, nodes};
use super::workspace::Workspace;
use super::world::World;

/// Runs every step in turn; the report is made at the end, of what the steps gave.
pub(super) async fn run(
    args: &DemoArgs,
    progress: &Progress,
    workspace: &mut Workspace,
) -> Result<Report> {
    let world = &mut World::set_up(args, progress, workspace).await?;
    let node_accounts = nodes::start(world).await?;
    let accounts = world.people.register(world.members(), world.server, node_accounts).await?;
    let published = data::publish(world, &accounts).await?;
    nodes::crash(world, &args.kill, Phase::Publish).await?;
    nodes::count(world, &accounts.nodes).await?;
    let model = model::order(world, published.datanet).await?;
    nodes::crash(world, &args.kill, Phase::Train).await?;
    model::train(world, model).await?;
    nodes::crash(world, &args.kill, Phase::Offer).await?;
    let losses = model::offer(world, model).await?;
    let attribution = model::consume(world, &accounts, model).await?;
    nodes::crash(world, &args.kill, Phase::Settle).await?;
    let false_settlement = if args.honest { None } else { Some(lie::refuse(world).await?) };
    let last = money::settle(world, attribution.outputs()).await?;
    money::claim(world, &accounts).await?;
    let books = money::balance(world, &accounts).await?;
    let totals = money::totals(world);
    let ordered = model::cost(world, model).await?;
    let payouts = money::statement(world, &accounts).await?;
    let statuses = world.workspace.cluster.statuses().await?;
    let verified_root = money::verify(world, last).await?;
    let pids = world.members().iter().map(|member| member.pid);
    Ok(Report {
        nodes: node_lines(pids, &statuses),
        units: published.units,
        packs: published.packs,
        totals,
        ordered,
        checkpoint_hashes: checkpoints(&statuses, model),
        losses,
        inferences: attribution.outputs(),
        attribution,
        epochs: last.0 + 1,
        books,
        verified_root,
        false_settlement,
        payouts,
        seconds: world.progress.seconds(),
    })
}
