//! `openledger init`: keys, configuration and network file of a new node.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use serde_json::json;
use storage::durable::create_dir;

use crate::config::{CONFIG_FILE, write_template};
use crate::keys::{Cost, KEYS_DIR, KeysError, NodeKeys, Passphrase, PassphraseSources};
use crate::network::{NETWORK_FILE, NetworkFile, NetworkTicket};
use crate::output::Output;

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// Join the network of a node: the ticket that its `openledger status` prints
    #[arg(long, value_name = "TICKET", conflicts_with = "network")]
    join: Option<String>,
    /// Join the network that a file describes, like the one that `openledger devchain` writes
    #[arg(long, value_name = "FILE")]
    network: Option<PathBuf>,
    /// The file that holds the passphrase of the keystore; one is made if there is none
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Encrypt the keys with little work: for tests only
    #[arg(long, hide = true)]
    light: bool,
}

pub(super) fn init(dir: &Path, args: &InitArgs) -> Result<Output> {
    // What may be wrong is looked at before anything is written.
    let ticket = args.join.as_deref().map(str::parse::<NetworkTicket>).transpose()?;
    let network = match (&ticket, &args.network) {
        (Some(ticket), _) => Some(ticket.network.clone()),
        (None, Some(file)) => Some(NetworkFile::read(file)?),
        (None, None) => None,
    };
    if is_complete(dir, network.as_ref()) {
        return Err(KeysError::Exists(dir.join(KEYS_DIR)).into());
    }
    create_dir(dir)?;
    let sources = PassphraseSources::from_env(args.passphrase_file.clone());
    let (phrase, made) = if sources.any() {
        (sources.find(dir)?, None)
    } else {
        let (phrase, path) = Passphrase::generate(dir)?;
        (phrase, Some(path))
    };
    let cost = if args.light { Cost::Light } else { Cost::Standard };
    let keys = NodeKeys::complete(dir, &phrase, cost)?;
    let peers = ticket.and_then(|ticket| ticket.peer).map(|peer| peer.bootstrap());
    write_template(dir, peers.as_deref().unwrap_or_default())?;
    if let Some(network) = &network {
        network.write(&dir.join(NETWORK_FILE))?;
    }
    Ok(report(dir, &keys, made.as_deref(), network.as_ref()))
}

/// Whether an earlier run wrote all that this one would. Each step leaves a whole file or none, in this
/// order, so one that was killed is taken up where it ended; nothing that is there is written again.
fn is_complete(dir: &Path, network: Option<&NetworkFile>) -> bool {
    NodeKeys::exist(dir)
        && dir.join(CONFIG_FILE).exists()
        && (network.is_none() || dir.join(NETWORK_FILE).exists())
}

fn report(
    dir: &Path,
    keys: &NodeKeys,
    passphrase: Option<&Path>,
    network: Option<&NetworkFile>,
) -> Output {
    let shown = dir.display();
    let mut text = format!(
        "Keys and configuration are in {shown}.\n\
         node      {}\noperator  {}\n\n",
        keys.node_id(),
        keys.operator_address()
    );
    if let Some(path) = passphrase {
        text += &format!(
            "A passphrase was written to {}; to keep it apart from the keys, move the file and set \
             OPENLEDGER_PASSPHRASE_FILE to its new path.\n",
            path.display()
        );
    }
    text += "Copy the folder keys/ to a safe place.\nNext: ";
    match network {
        Some(network) => {
            text += &format!(
                "send some of chain {}'s coin to the operator for gas, then \
                 `openledger node run --dir {shown}`.",
                network.deployment.chain_id
            );
        }
        None => text += &format!("copy the network's {NETWORK_FILE} into {shown}."),
    }
    let json = json!({
        "dir": dir,
        "node": keys.node_id(),
        "operator": keys.operator_address(),
        "passphrase_file": passphrase,
        "network": network.map(|network| &network.name),
    });
    Output::new(text, &json)
}
