//! `openledger rule N`: the arbiter rules on the objections to settlements of an epoch, by recomputing it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use contracts_abi::ChainClient;
use protocol::chain::{ProposalAct, Transaction};
use protocol::eip712::EvmKey;
use serde_json::json;

use super::verify::{EpochArgs, Found, find};

use crate::client::Judged;
use crate::output::Output;

#[derive(Debug, Args)]
pub(super) struct RuleArgs {
    #[command(flatten)]
    of: EpochArgs,
    /// A file with the arbiter's key in 64 hexadecimal digits
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

/// Upholds each objection to a proposal that does not follow from the chain, and overrules it where that
/// does; half of the loser's bond goes to the winner.
pub(super) async fn rule(dir: &Path, args: RuleArgs) -> Result<Output> {
    let key = read_key(&args.key)?;
    let Found { network, judged } = find(dir, &args.of).await?;
    let epoch = args.of.epoch();
    if judged.iter().any(|judged| judged.state.is_final) {
        bail!("the settlement of epoch {epoch} is final: nothing can be ruled about it any more");
    }
    let objected = judged.into_iter().filter_map(|Judged { state, outcome }| {
        let fault = outcome.err().map(|error| error.to_string());
        state.objector.map(|objector| (state, objector, fault))
    });
    let objected: Vec<_> = objected.collect();
    if objected.is_empty() {
        bail!("nobody objected to a settlement of epoch {epoch}: there is nothing to rule on");
    }
    let client = ChainClient::connect(&network.rpc_url, network.deployment, &key).await?;
    let (mut texts, mut rulings) = (Vec::new(), Vec::new());
    for (state, objector, fault) in objected {
        let act = ProposalAct::Rule { uphold: fault.is_some() };
        let ruling = Transaction::AboutProposal { settlement: state.settlement, act };
        client.submit(&ruling).await.context("the chain did not take the ruling")?;
        let id = state.id;
        texts.push(match &fault {
            Some(reason) => {
                format!("upheld: settlement {id} of epoch {epoch} fell, since {reason}")
            }
            None => format!(
                "overruled: settlement {id} of epoch {epoch} follows from the chain; account \
                 {objector} lost its bond"
            ),
        });
        rulings.push(json!({ "id": id, "upheld": fault.is_some(), "reason": fault }));
    }
    let json = json!({ "epoch": epoch, "rulings": rulings });
    Ok(Output::new(texts.join("\n"), &json))
}

fn read_key(path: &Path) -> Result<EvmKey> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let digits = text.trim().trim_start_matches("0x");
    let mut bytes = [0; 32];
    let is_hex = hex::decode_to_slice(digits, &mut bytes).is_ok();
    let key = is_hex.then(|| EvmKey::from_bytes(&bytes)).flatten();
    key.with_context(|| format!("{shown} is not a key: 64 hexadecimal digits are expected"))
}
