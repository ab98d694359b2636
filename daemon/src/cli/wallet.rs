//! `openledger wallet`: what lies in escrow, what was promised of it, what keys may spend; and back with it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use contracts_abi::ChainClient;
use protocol::chain::{ChainView, Deposit, Transaction};
use protocol::{AccountId, Amount, BlockNumber, EvmAddress};
use serde::Serialize;
use serde_json::{Value, json};

use super::deposit::check_window;
use super::serve::{key_as_json, key_described};
use crate::client::{ChainReader, Counters};
use crate::gateway::keys::KeyRing;
use crate::keys::{NodeKeys, PassphraseSources};
use crate::network::NetworkFile;
use crate::output::Output;
use crate::words::{amount_in_open, explain};

#[derive(Debug, Args)]
pub(super) struct WalletArgs {
    /// A data directory whose operator key pays; the node's own by default
    #[arg(long, value_name = "DIR", global = true)]
    payer: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<WalletCommand>,
}

#[derive(Debug, Subcommand)]
enum WalletCommand {
    /// Ask for what is left of deposits; `wallet finish` takes it some blocks later, and until then, or until the
    /// request expires, nothing is served on them. A deposit comes back whole: the contract knows no parts
    Withdraw {
        /// Numbers of the accounts that serve; all by default
        payees: Vec<u64>,
    },
    /// Take what was asked for, in the blocks of the request
    Finish {
        /// Numbers of the accounts that serve; all by default
        payees: Vec<u64>,
    },
}

/// A deposit, with what was promised of it.
#[derive(Debug, Clone, Serialize)]
struct Line {
    escrow: EvmAddress,
    /// Whether something is served on it; what is in an escrow that was replaced can only be taken back.
    is_current: bool,
    payee: AccountId,
    balance: Amount,
    redeemed: Amount,
    /// All that receipts counted here have ever promised; at least what was redeemed.
    promised: Amount,
    /// What of that may still be redeemed.
    outstanding: Amount,
    /// What is left for further uses.
    available: Amount,
    withdrawal: Option<Window>,
}

/// The blocks in which a deposit may be taken.
#[derive(Debug, Clone, Copy, Serialize)]
struct Window {
    from: BlockNumber,
    until: BlockNumber,
    /// `waiting`, `open` or `expired`, in the next block.
    state: &'static str,
}

impl Line {
    fn new(
        (escrow, is_current): (EvmAddress, bool),
        (payee, deposit): (AccountId, Deposit),
        signed: Amount,
        next: BlockNumber,
    ) -> Self {
        let Deposit { balance, redeemed, withdrawal } = deposit;
        let promised = signed.max(redeemed);
        let window = |(from, until)| {
            let state = match next {
                next if next < from => "waiting",
                next if next > until => "expired",
                _ => "open",
            };
            Window { from, until, state }
        };
        Self {
            escrow,
            is_current,
            payee,
            balance,
            redeemed,
            promised,
            outstanding: promised.saturating_sub(redeemed).min(balance),
            available: deposit.available(promised),
            withdrawal: withdrawal.map(window),
        }
    }

    fn text(&self) -> String {
        let [balance, promised, redeemed, available] =
            [self.balance, self.promised, self.redeemed, self.available].map(amount_in_open);
        let window = match self.withdrawal {
            Some(Window { from, until, state: "waiting" }) => {
                format!(
                    "; asked for: `openledger wallet finish` takes it in blocks {from} to {until}"
                )
            }
            Some(Window { until, state: "open", .. }) => {
                format!("; `openledger wallet finish` takes it now, until block {until}")
            }
            Some(_) => "; it was asked for, and the request has expired".to_owned(),
            None => String::new(),
        };
        let escrow = match self.is_current {
            true => String::new(),
            false => format!(" in {}, which was replaced", self.escrow),
        };
        format!(
            "account {}{escrow}: {balance} in escrow, {promised} promised, {redeemed} of it redeemed, \
             {available} for further uses{window}",
            self.payee
        )
    }
}

/// An operator's key with the chain as it is now.
struct Purse {
    dir: PathBuf,
    network: NetworkFile,
    payer: EvmAddress,
    chain: ChainClient,
    reader: ChainReader,
}

pub(super) async fn wallet(dir: &Path, args: WalletArgs) -> Result<Output> {
    let payer = args.payer.as_deref().unwrap_or(dir);
    let mut purse = Purse::open(dir, payer).await?;
    match args.command {
        None => purse.show(dir).await,
        Some(WalletCommand::Withdraw { payees }) => {
            let asked = |line: &Line, _| match line.withdrawal {
                Some(window) if window.state != "expired" => Err(line.text()),
                _ => Ok(Transaction::RequestWithdrawal { escrow: line.escrow, payee: line.payee }),
            };
            purse.each(&payees, "asked for", asked).await
        }
        Some(WalletCommand::Finish { payees }) => {
            let taken = |line: &Line, next| {
                let window = line.withdrawal.map(|window| (window.from, window.until));
                let deposit = Deposit { withdrawal: window, ..Deposit::default() };
                match check_window(&deposit, next) {
                    Ok(()) => Ok(Transaction::Withdraw { escrow: line.escrow, payee: line.payee }),
                    Err(why) => Err(format!("account {}: {why}", line.payee)),
                }
            };
            purse.each(&payees, "taken back", taken).await
        }
    }
}

impl Purse {
    async fn open(dir: &Path, payer: &Path) -> Result<Self> {
        let network = NetworkFile::of_dir(dir)?;
        let keys = NodeKeys::open(payer, &PassphraseSources::from_env(None).find(payer)?)?;
        let deployment = network.deployment.clone();
        let chain = ChainClient::connect(&network.rpc_url, deployment, &keys.operator).await?;
        let reader = ChainReader::connect(&network).await?;
        let payer_address = chain.address();
        Ok(Self { dir: payer.to_owned(), network, payer: payer_address, chain, reader })
    }

    /// All deposits of the operator, and all promises in the escrows of this network.
    async fn lines(&mut self) -> Result<Vec<Line>> {
        let signed = Counters::promised(&self.dir)?;
        let deployment = &self.network.deployment;
        let replaced = deployment.replaced.escrows.iter().map(|escrow| (*escrow, false));
        let escrows: Vec<_> = std::iter::once((deployment.escrow, true)).chain(replaced).collect();
        let payer = self.payer;
        let view: &ChainView = self.reader.catch_up().await?;
        let next = view.head().map_or(BlockNumber(0), |head| head.number.next());
        let mut lines = Vec::new();
        for of in escrows {
            let mut signed = signed.get(&of.0).cloned().unwrap_or_default();
            for (payee, deposit) in view.deposits_in(of.0, payer) {
                let signed = signed.remove(&payee.0).unwrap_or_default();
                lines.push(Line::new(of, (payee, deposit), signed, next));
            }
            // What was promised and is not covered by any deposit.
            let rest = signed.into_iter().map(|(payee, signed)| (AccountId(payee), signed));
            lines.extend(
                rest.map(|(payee, signed)| {
                    Line::new(of, (payee, Deposit::default()), signed, next)
                }),
            );
        }
        Ok(lines)
    }

    async fn show(&mut self, dir: &Path) -> Result<Output> {
        let lines = self.lines().await?;
        let balance = self.chain.balance(self.payer).await?;
        let keys = KeyRing::of_dir(dir).all()?;
        let sum = |of: fn(&Line) -> Amount| {
            lines.iter().map(of).fold(Amount::ZERO, Amount::saturating_add)
        };
        let (escrow, outstanding) = (sum(|line| line.balance), sum(|line| line.outstanding));
        let [hand, lies, due] = [balance, escrow, outstanding].map(amount_in_open);
        let mut text = vec![format!(
            "{}: {hand} in hand, {lies} in escrow, of which {due} may still be redeemed",
            self.payer
        )];
        text.extend(lines.iter().map(Line::text));
        if lines.is_empty() {
            text.push("no deposits and no promises".to_owned());
        }
        text.extend(keys.iter().map(|key| format!("key {}", key_described(key))));
        let json = json!({
            "payer": self.payer,
            "balance": balance,
            "in_escrow": escrow,
            "outstanding": outstanding,
            "deposits": lines,
            "keys": keys.iter().map(key_as_json).collect::<Vec<_>>(),
        });
        Ok(Output::new(text.join("\n"), &json))
    }

    /// Sends a transaction for each deposit with something in it, or for those of some accounts. Everything is
    /// checked before the first is sent; what was done is told, also where the next one failed.
    async fn each(
        &mut self,
        payees: &[u64],
        what: &str,
        step: impl Fn(&Line, BlockNumber) -> Result<Transaction, String>,
    ) -> Result<Output> {
        let lines = self.lines().await?;
        let next = self.chain.head().await?.next();
        let lines: Vec<_> = lines.into_iter().filter(|line| line.balance > Amount::ZERO).collect();
        if lines.is_empty() {
            bail!("nothing of {} lies in escrow", self.payer);
        }
        if let Some(payee) = payees.iter().find(|id| !lines.iter().any(|l| l.payee.0 == **id)) {
            bail!(
                "nothing lies in escrow for account {payee}; `openledger wallet` shows what does"
            );
        }
        let is_meant = |line: &Line| payees.is_empty() || payees.contains(&line.payee.0);
        let (mut steps, mut told) = (Vec::new(), Vec::<String>::new());
        for line in lines.into_iter().filter(is_meant) {
            match step(&line, next) {
                Ok(transaction) => steps.push((line, transaction)),
                Err(why) => told.push(why),
            }
        }
        if steps.is_empty() {
            bail!("{}", told.join("\n"));
        }
        let (mut done, mut failure) = (Vec::<Value>::new(), None);
        for (line, transaction) in steps {
            if let Err(error) = self.chain.submit(&transaction).await {
                failure = Some(explain(&anyhow::Error::from(error)));
                break;
            }
            let after = self.chain.deposit_in(line.escrow, self.payer, line.payee).await;
            let window = after.context("it was done, and the chain does not say more")?.withdrawal;
            let mut words =
                format!("account {}: {} {what}", line.payee, amount_in_open(line.balance));
            if let Some((from, until)) = window {
                words.push_str(&format!(
                    "; `openledger wallet finish` takes it in blocks {from} to {until}"
                ));
            }
            told.push(words);
            let window = window.map(|(from, until)| json!({ "from": from, "until": until }));
            done.push(json!({
                "escrow": line.escrow, "payee": line.payee, "amount": line.balance,
                "withdrawal": window,
            }));
        }
        let is_failed = failure.is_some();
        told.extend(failure.iter().map(|why| format!("the chain did not take the next: {why}")));
        let json = json!({ "payer": self.payer, "done": done, "failed": failure });
        let output = Output::new(told.join("\n"), &json);
        Ok(if is_failed { output.failed() } else { output })
    }
}
