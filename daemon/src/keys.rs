//! The two keys of a node, each in a V3 keystore file that opens unattended.
//!
//! `keys/node.json` holds the ed25519 secret from which libp2p's and iroh's names derive;
//! `keys/operator.json` holds the secp256k1 key that signs records, in the very format of Ethereum
//! wallets. Neither file is ever written without encryption, nor readable by others.

mod keystore;
mod passphrase;

use std::path::{Path, PathBuf};

use protocol::eip712::EvmKey;
use protocol::{EvmAddress, NodeId};
use storage::durable::{create_dir, write_atomic};

pub use self::keystore::{Cost, KeystoreError, open, seal};
pub use self::passphrase::{Passphrase, PassphraseError, PassphraseSources};

/// The folder of the keys in a data directory.
pub(crate) const KEYS_DIR: &str = "keys";
const NODE_FILE: &str = "node.json";
const OPERATOR_FILE: &str = "operator.json";

/// Why the keys of a node are not at hand.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// There are none.
    #[error("{} does not exist; run `openledger init` first", .0.display())]
    Missing(PathBuf),
    /// There are some already.
    #[error("{} exists: keys are never overwritten; choose another --dir", .0.display())]
    Exists(PathBuf),
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The keystore file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("cannot save the keys: {0}")]
    Write(#[from] storage::DiskError),
    /// The passphrase that was left beside the keys cannot be read.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// A file does not open.
    #[error("cannot open {}: {source}", path.display())]
    Keystore {
        /// The keystore file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeystoreError,
    },
    /// The secret inside is no key.
    #[error("{} does not hold a valid key; restore it from your backup", .0.display())]
    NotAKey(PathBuf),
    /// The operating system gave no randomness.
    #[error("the operating system gives no randomness: {0}")]
    Entropy(getrandom::Error),
}

/// The secrets of one node.
#[derive(Clone)]
pub struct NodeKeys {
    /// The ed25519 secret of transport and gossip.
    pub node: [u8; 32],
    /// The hot key that signs records and transactions.
    pub operator: EvmKey,
}

impl std::fmt::Debug for NodeKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NodeKeys({}, {})", self.node_id(), self.operator.address())
    }
}

impl NodeKeys {
    /// New keys from the operating system's randomness.
    ///
    /// # Errors
    /// [`KeysError::Entropy`] where there is none.
    pub fn generate() -> Result<Self, KeysError> {
        Ok(Self { node: random_bytes()?, operator: random_evm_key()? })
    }

    /// The node's name.
    pub fn node_id(&self) -> NodeId {
        crate::net::node_of_secret(&self.node)
    }

    /// The operator's address, which pays for gas.
    pub fn operator_address(&self) -> EvmAddress {
        self.operator.address()
    }

    /// Whether a data directory has keys.
    pub fn exist(dir: &Path) -> bool {
        dir.join(KEYS_DIR).join(NODE_FILE).exists()
    }

    /// Writes the keys into a data directory that has none, encrypted.
    ///
    /// # Errors
    /// [`KeysError::Exists`], or what the disk said.
    pub fn create(&self, dir: &Path, phrase: &Passphrase, cost: Cost) -> Result<(), KeysError> {
        let keys = dir.join(KEYS_DIR);
        create_dir(&keys)?;
        // The node's file last: its presence says that the pair is whole.
        let secrets = [
            (OPERATOR_FILE, self.operator.to_bytes(), Some(self.operator.address())),
            (NODE_FILE, self.node, None),
        ];
        for (name, secret, address) in secrets {
            let path = keys.join(name);
            if path.exists() {
                return Err(KeysError::Exists(path));
            }
            write_secret(&path, phrase, cost, (secret, address))?;
        }
        Ok(())
    }

    /// Opens the keys of a data directory, and makes those that it lacks: an `init` that was
    /// interrupted goes on with what it has written.
    ///
    /// # Errors
    /// As of [`Self::open`] and [`Self::create`].
    pub(crate) fn complete(dir: &Path, phrase: &Passphrase, cost: Cost) -> Result<Self, KeysError> {
        let keys = dir.join(KEYS_DIR);
        create_dir(&keys)?;
        let fresh = Self::generate()?;
        let (secret, address) = (fresh.operator.to_bytes(), Some(fresh.operator.address()));
        let path = keys.join(OPERATOR_FILE);
        let secret = find_or_write(&path, phrase, cost, (secret, address))?;
        let operator = EvmKey::from_bytes(&secret).ok_or(KeysError::NotAKey(path))?;
        let node = find_or_write(&keys.join(NODE_FILE), phrase, cost, (fresh.node, None))?;
        Ok(Self { node, operator })
    }

    /// Opens the keys of a data directory.
    ///
    /// # Errors
    /// [`KeysError`] naming the file and what to do.
    pub fn open(dir: &Path, phrase: &Passphrase) -> Result<Self, KeysError> {
        let keys = dir.join(KEYS_DIR);
        let operator_path = keys.join(OPERATOR_FILE);
        let node = read_secret(&keys.join(NODE_FILE), phrase)?;
        let operator = EvmKey::from_bytes(&read_secret(&operator_path, phrase)?)
            .ok_or(KeysError::NotAKey(operator_path))?;
        Ok(Self { node, operator })
    }
}

/// A secret with the address that wallets show for it, if it has one.
type Secret = ([u8; 32], Option<EvmAddress>);

fn find_or_write(
    path: &Path,
    phrase: &Passphrase,
    cost: Cost,
    fresh: Secret,
) -> Result<[u8; 32], KeysError> {
    match read_secret(path, phrase) {
        Err(KeysError::Missing(_)) => {
            write_secret(path, phrase, cost, fresh)?;
            Ok(fresh.0)
        }
        found => found,
    }
}

fn write_secret(
    path: &Path,
    phrase: &Passphrase,
    cost: Cost,
    (secret, address): Secret,
) -> Result<(), KeysError> {
    let sealed = seal(&secret, phrase, cost, address)
        .map_err(|source| KeysError::Keystore { path: path.to_owned(), source })?;
    Ok(write_atomic(path, sealed.as_bytes())?)
}

fn read_secret(path: &Path, phrase: &Passphrase) -> Result<[u8; 32], KeysError> {
    let text = std::fs::read_to_string(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => KeysError::Missing(path.to_owned()),
        _ => KeysError::Read { path: path.to_owned(), source },
    })?;
    open(&text, phrase).map_err(|source| KeysError::Keystore { path: path.to_owned(), source })
}

/// 32 bytes from the operating system.
///
/// # Errors
/// [`KeysError::Entropy`] where there is none.
pub(crate) fn random_bytes() -> Result<[u8; 32], KeysError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(KeysError::Entropy)?;
    Ok(bytes)
}

/// A new secp256k1 key.
///
/// # Errors
/// [`KeysError::Entropy`] where there is no randomness.
pub fn random_evm_key() -> Result<EvmKey, KeysError> {
    loop {
        // All but one in 2¹²⁸ random secrets are keys.
        if let Some(key) = EvmKey::from_bytes(&random_bytes()?) {
            return Ok(key);
        }
    }
}
