//! Publishing the contributors' text.

use anyhow::{Context, Result};
use protocol::DatanetId;

use crate::api::types::{AddReport, Contribute, CreateDatanet, Created, DatanetInfo};
use crate::demo::participants::Accounts;
use crate::demo::world::World;
use crate::ingest::{batches, pack};

/// What was published.
pub(in crate::demo) struct Published {
    pub(in crate::demo) datanet: DatanetId,
    pub(in crate::demo) units: usize,
    pub(in crate::demo) packs: usize,
}

/// Creates a Datanet, publishes every corpus through its host, and waits until the server sees it.
pub(in crate::demo) async fn publish(
    world: &mut World<'_>,
    accounts: &Accounts,
) -> Result<Published> {
    let create = CreateDatanet {
        name: "demo".to_owned(),
        domain: "public-domain prose".to_owned(),
        licence: 0,
    };
    let Created { id: datanet } = world.server()?.post("/datanets", &create).await?;
    let (mut units, mut packs, mut count) = (0, 0, 0);
    for (person, account) in world.people.contributors.iter().zip(&accounts.contributors) {
        let client = world.members()[person.host].client()?;
        let mut bytes = 0;
        for documents in batches(person.corpus.documents.clone()) {
            // Its host sends the contribution, and so locks the deposit; here the sponsor gives the money.
            let packed = pack(&documents, &world.network.params())?;
            let deposit = world.network.deployment.data_deposit.of(&packed.manifest.packs);
            let host = world.members()[person.host].operator;
            world.sponsor.transfer(host, deposit).await.context("the contributor has no OPEN")?;
            let documents = documents.into_iter().map(Into::into).collect();
            let contribute = Contribute { owner: Some(person.owner), documents };
            let path = format!("/datanets/{datanet}/contributions");
            let added: AddReport = client.post(&path, &contribute).await?;
            units += added.units;
            packs += added.packs;
            bytes += added.bytes;
            count += 1;
        }
        let name = &person.corpus.name;
        world.progress.line(format!("{name} publishes {bytes} bytes as account {account}"));
    }
    await_contributions(world, datanet, count).await?;
    Ok(Published { datanet, units, packs })
}

async fn await_contributions(world: &World<'_>, datanet: DatanetId, count: usize) -> Result<()> {
    let mut wait = world.wait_for("the contributions");
    loop {
        let seen: Vec<DatanetInfo> = world.server()?.get("/datanets").await?;
        let found = seen.iter().find(|one| one.id == datanet);
        if found.is_some_and(|one| one.contributions.len() >= count) {
            return Ok(());
        }
        world.pause(&mut wait, "the contributions to be admitted").await?;
    }
}
