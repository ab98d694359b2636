//! `openledger rule N`: the arbiter rules on the objection to a settlement, by recomputing it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use contracts_abi::ChainClient;
use protocol::chain::{ProposalAct, Transaction};
use protocol::eip712::EvmKey;
use serde_json::json;

use super::verify::{EpochArgs, find};

use crate::output::Output;

#[derive(Debug, Args)]
pub(super) struct RuleArgs {
    #[command(flatten)]
    of: EpochArgs,
    /// A file with the arbiter's key in 64 hexadecimal digits
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

/// Upholds the objection where the settlement does not follow from the chain, and overrules it where it
/// does; half of the loser's bond goes to the winner.
pub(super) async fn rule(dir: &Path, args: RuleArgs) -> Result<Output> {
    let key = read_key(&args.key)?;
    let found = find(dir, &args.of).await?;
    let state = found.judged.state;
    let epoch = state.settlement.epoch;
    if state.is_final {
        bail!("the settlement of epoch {epoch} is final: nothing can be ruled about it any more");
    }
    let Some(objector) = state.objector else {
        bail!("nobody objected to the settlement of epoch {epoch}: there is nothing to rule on");
    };
    let fault = found.judged.outcome.err().map(|error| error.to_string());
    let deployment = found.network.deployment.clone();
    let client = ChainClient::connect(&found.network.rpc_url, deployment, &key).await?;
    let ruling =
        Transaction::AboutProposal { epoch, act: ProposalAct::Rule { uphold: fault.is_some() } };
    client.submit(&ruling).await.context("the chain did not take the ruling")?;
    let text = match &fault {
        Some(reason) => format!("upheld: the settlement of epoch {epoch} fell, since {reason}"),
        None => format!(
            "overruled: the settlement of epoch {epoch} follows from the chain; account {objector} \
             lost its bond"
        ),
    };
    let json = json!({ "epoch": epoch, "upheld": fault.is_some(), "reason": fault });
    Ok(Output::new(text, &json))
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
