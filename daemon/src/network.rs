//! What a node must know of its network before it reads the chain, as a file and as a ticket.
//!
//! The file is public: it holds addresses and numbers, no secret. The ticket is the same file with
//! the addresses of a node that is up, in one string that survives copy and paste.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use contracts_abi::Deployment;
use protocol::chain::ChainView;
use protocol::params::Params;
use serde::{Deserialize, Serialize};
use storage::durable::write_atomic;

use crate::net::JoinTicket;

/// The name of the file in a data directory.
pub const NETWORK_FILE: &str = "network.json";
/// Bytes of a network file at most.
const MAX_FILE: u64 = 64 * 1024;
/// The prefix of a ticket, with the format's version.
const PREFIX: &str = "olnet1";

/// The parameters that a network runs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Small numbers, for tests and the demo.
    Minimal,
    /// The production network.
    Mainnet,
}

impl Preset {
    /// The numbers themselves.
    pub const fn params(self) -> Params {
        match self {
            Self::Minimal => Params::minimal(),
            Self::Mainnet => Params::mainnet(),
        }
    }
}

/// One network: its contracts, and where its chain answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkFile {
    /// A name for people.
    pub name: String,
    /// The chain's JSON-RPC.
    pub rpc_url: String,
    /// The governed parameters.
    pub params: Preset,
    /// The contracts, the schedule, the budget and the treasury.
    pub deployment: Deployment,
}

/// Why a network is not known.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// There is no network file.
    #[error(
        "{} does not exist; run `openledger init --network FILE` or `openledger init --join TICKET`",
        path.display()
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The network file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("cannot save the network file: {0}")]
    Write(#[from] storage::DiskError),
    /// The file is far too long.
    #[error("{} is not a network file: it is longer than {MAX_FILE} bytes", path.display())]
    TooLarge {
        /// The network file.
        path: PathBuf,
    },
    /// The content is not that of a network file.
    #[error("{} is not a network file: {source}", path.display())]
    Content {
        /// The network file.
        path: PathBuf,
        /// Where it is not of the right form.
        source: serde_json::Error,
    },
}

impl NetworkFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`NetworkError`] saying what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, NetworkError> {
        let fail = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => NetworkError::Missing { path: path.to_owned() },
            _ => NetworkError::Read { path: path.to_owned(), source },
        };
        if std::fs::metadata(path).map_err(fail)?.len() > MAX_FILE {
            return Err(NetworkError::TooLarge { path: path.to_owned() });
        }
        let bytes = std::fs::read(path).map_err(fail)?;
        serde_json::from_slice(&bytes)
            .map_err(|source| NetworkError::Content { path: path.to_owned(), source })
    }

    /// Reads the file of a data directory.
    ///
    /// # Errors
    /// As [`NetworkFile::read`].
    pub fn of_dir(dir: &Path) -> Result<Self, NetworkError> {
        Self::read(&dir.join(NETWORK_FILE))
    }

    /// Writes a file, durably.
    ///
    /// # Errors
    /// [`NetworkError::Write`] when the disk refuses.
    pub fn write(&self, path: &Path) -> Result<(), NetworkError> {
        let mut text = serde_json::to_vec_pretty(self).expect("plain data has a JSON form");
        text.push(b'\n');
        Ok(write_atomic(path, &text)?)
    }

    /// The governed parameters.
    pub const fn params(&self) -> Params {
        self.params.params()
    }

    /// An empty view of the chain, to fold blocks into.
    pub fn view(&self) -> ChainView {
        self.deployment.view(self.params())
    }
}

/// Why a network ticket cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkTicketError {
    /// It does not begin as tickets do.
    #[error("a network ticket begins with {PREFIX}: copy the whole string that `status` prints")]
    Prefix,
    /// A character is missing or damaged.
    #[error("the ticket is damaged or incomplete: copy it again")]
    Damaged,
    /// The content is not that of a ticket.
    #[error("the ticket is of another version: {0}")]
    Content(String),
}

/// All that a machine needs to join: the network and a node that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkTicket {
    /// Its contracts, and where its chain answers.
    pub network: NetworkFile,
    /// A node of it; none when the network is only described.
    pub peer: Option<JoinTicket>,
}

/// The JSON inside a ticket.
#[derive(Serialize, Deserialize)]
struct TicketContent {
    network: NetworkFile,
    peer: Option<String>,
}

impl fmt::Display for NetworkTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = self.peer.as_ref().map(ToString::to_string);
        let content = TicketContent { network: self.network.clone(), peer };
        let mut bytes = serde_json::to_vec(&content).map_err(|_| fmt::Error)?;
        let checksum = *blake3::hash(&bytes).as_bytes();
        bytes.extend_from_slice(&checksum[..4]);
        write!(f, "{PREFIX}{}", hex::encode(bytes))
    }
}

impl FromStr for NetworkTicket {
    type Err = NetworkTicketError;

    fn from_str(text: &str) -> Result<Self, NetworkTicketError> {
        let digits = text.trim().strip_prefix(PREFIX).ok_or(NetworkTicketError::Prefix)?;
        let bytes = hex::decode(digits).map_err(|_| NetworkTicketError::Damaged)?;
        let (body, checksum) = bytes.split_last_chunk::<4>().ok_or(NetworkTicketError::Damaged)?;
        if blake3::hash(body).as_bytes()[..4] != checksum[..] {
            return Err(NetworkTicketError::Damaged);
        }
        let malformed = |error: &dyn fmt::Display| NetworkTicketError::Content(error.to_string());
        let content: TicketContent =
            serde_json::from_slice(body).map_err(|error| malformed(&error))?;
        let peer = content.peer.map(|peer| peer.parse()).transpose();
        Ok(Self { network: content.network, peer: peer.map_err(|error| malformed(&error))? })
    }
}

#[cfg(test)]
mod tests {
    use contracts_abi::{DataDeposit, Replaced};
    use protocol::params::Schedule;
    use protocol::{AccountId, Amount, BlockNumber, Blocks, EvmAddress};

    use super::*;

    fn network() -> NetworkFile {
        NetworkFile {
            name: "test".to_owned(),
            rpc_url: "http://127.0.0.1:8545".to_owned(),
            params: Preset::Minimal,
            deployment: Deployment {
                chain_id: 31_337,
                genesis_block: BlockNumber(1),
                schedule: Schedule {
                    genesis_block: BlockNumber(20),
                    epoch_blocks: Blocks(24),
                    commit_blocks: Blocks(6),
                    settle_blocks: Blocks(8),
                    challenge_blocks: Blocks(4),
                },
                cell_bytes: 16 << 10,
                data_deposit: DataDeposit { per_byte: Amount(7), blocks: 9 },
                budget: Amount::ONE_OPEN,
                treasury: AccountId(1),
                open: EvmAddress([1; 20]),
                registry: EvmAddress([2; 20]),
                datanets: EvmAddress([3; 20]),
                models: EvmAddress([4; 20]),
                coordinator: EvmAddress([5; 20]),
                settlements: EvmAddress([9; 20]),
                disputes: EvmAddress([10; 20]),
                verifier: EvmAddress([6; 20]),
                escrow: EvmAddress([7; 20]),
                vault: EvmAddress([8; 20]),
                timelock: EvmAddress([11; 20]),
                replaced: Replaced {
                    settlements: vec![(EvmAddress([12; 20]), BlockNumber(7))],
                    ..Replaced::default()
                },
            },
        }
    }

    #[test]
    fn a_ticket_survives_the_clipboard_and_says_when_it_did_not() {
        let ticket = NetworkTicket { network: network(), peer: None };
        let text = ticket.to_string();
        assert_eq!(format!("  {text}\n").parse::<NetworkTicket>(), Ok(ticket));
        assert_eq!(
            text[..text.len() - 2].parse::<NetworkTicket>(),
            Err(NetworkTicketError::Damaged)
        );
        assert_eq!("hello".parse::<NetworkTicket>(), Err(NetworkTicketError::Prefix));
    }

    #[test]
    fn the_file_round_trips_and_its_absence_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let missing = NetworkFile::of_dir(dir.path()).unwrap_err().to_string();
        assert!(missing.contains("init --join"), "{missing}");
        let path = dir.path().join(NETWORK_FILE);
        network().write(&path).unwrap();
        assert_eq!(NetworkFile::of_dir(dir.path()).unwrap(), network());
        std::fs::write(&path, b"{}").unwrap();
        assert!(matches!(NetworkFile::of_dir(dir.path()), Err(NetworkError::Content { .. })));
    }
}
