//! The configuration of a node: flags, then `OPENLEDGER_*` variables, then the file, then defaults.
//!
//! The file is strict: an unknown key is an error that names its line and the nearest right key, so
//! that a slip is never passed over in silence. It holds no secret.

mod size;
mod template;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Args;
use compute::device::DeviceChoice;
use serde::{Deserialize, Serialize};
use storage::durable::write_atomic;

pub use self::size::{ByteSize, SizeError};
pub(crate) use self::template::TEMPLATE;

/// The name of the file in a data directory.
pub(crate) const CONFIG_FILE: &str = "config.toml";
/// Bytes of a configuration file at most.
const MAX_FILE: u64 = 1 << 20;

/// Declares every option once, with its default: as a key of the file, as a flag, as a variable, and as
/// a field of the group that the part of the node which uses it is given.
macro_rules! options {
    ($(
        $(#[doc = $group_doc:literal])+
        $group:ident: $Group:ident {
            $($(#[doc = $doc:literal])+ $name:ident: $type:ty $(= $default:expr)?, $env:literal;)*
        }
    )*) => {
        /// One layer of the configuration; what is `None` is left to the next layer.
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Args)]
        #[serde(deny_unknown_fields)]
        pub struct Layer {
            $($(
                $(#[doc = $doc])+
                #[arg(long, env = $env, hide_env_values = true)]
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $name: Option<$type>,
            )*)*
        }

        /// The keys of the file.
        const KEYS: &[&str] = &[$($(stringify!($name),)*)*];

        impl Layer {
            /// Fills what is missing from the layer below.
            #[must_use]
            pub fn over(self, below: Self) -> Self {
                Self { $($($name: self.$name.or(below.$name),)*)* }
            }
        }

        /// The configuration with every gap filled.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Config {
            $($(#[doc = $group_doc])+ pub $group: $Group,)*
        }

        impl From<Layer> for Config {
            fn from(layer: Layer) -> Self {
                Self {
                    $($group: $Group {
                        $($name: options!(@value layer.$name $(, $default)?),)*
                    },)*
                }
            }
        }

        $(
            $(#[doc = $group_doc])+
            #[derive(Debug, Clone, PartialEq, Eq)]
            pub struct $Group {
                $($(#[doc = $doc])+ pub $name: options!(@type $type $(, $default)?),)*
            }

            impl Default for $Group {
                fn default() -> Self {
                    Config::from(Layer::default()).$group
                }
            }
        )*
    };
    (@type $type:ty) => { Option<$type> };
    (@type $type:ty, $default:expr) => { $type };
    (@value $value:expr) => { $value };
    (@value $value:expr, $default:expr) => { $value.unwrap_or_else(|| $default) };
}

options! {
    /// How the node takes part in the network.
    net: NetOptions {
        /// The address that both planes listen on
        listen_ip: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED), "OPENLEDGER_LISTEN_IP";
        /// Port of the control plane (TCP and UDP); 0 takes any
        control_port: u16 = 7410, "OPENLEDGER_CONTROL_PORT";
        /// Port of the data plane (UDP); 0 takes any
        data_port: u16 = 7411, "OPENLEDGER_DATA_PORT";
        /// Multiaddrs of nodes to join through, separated by commas
        bootstrap: List = List::default(), "OPENLEDGER_BOOTSTRAP";
        /// Look for nodes on the local network
        mdns: bool = true, "OPENLEDGER_MDNS";
        /// Relay for nodes that cannot be reached directly
        relay_server: bool = false, "OPENLEDGER_RELAY_SERVER";
        /// Relays to be reachable through, separated by commas: multiaddrs, or https URLs of iroh relays
        relays: List = List::default(), "OPENLEDGER_RELAYS";
        /// Most strangers that are connected from one address, on each plane
        max_per_address: u32 = 8, "OPENLEDGER_MAX_PER_ADDRESS";
        /// Most strangers that are connected from one subnet (/24, in IPv6 /48), on each plane
        max_per_subnet: u32 = 16, "OPENLEDGER_MAX_PER_SUBNET";
        /// Most upload of the data plane per second, like "2 MiB"
        max_upload: ByteSize, "OPENLEDGER_MAX_UPLOAD";
    }
    /// What the node works with, and what it does by itself.
    work: WorkOptions {
        /// Most space for blobs, like "50 GiB"
        max_disk: ByteSize, "OPENLEDGER_MAX_DISK";
        /// Most memory that training runs may need, like "8 GiB"; half of the machine's by default
        max_memory: ByteSize, "OPENLEDGER_MAX_MEMORY";
        /// Where to compute: auto, cpu, or a part of a GPU's name (built with `--features gpu`)
        device: Device = Device(DeviceChoice::Auto), "OPENLEDGER_DEVICE";
        /// Claim what is owed every so many epochs; 0 leaves it to `openledger claim`
        claim_epochs: u64 = 24, "OPENLEDGER_CLAIM_EPOCHS";
    }
    /// How the node follows the chain, and what it pays there.
    chain: ChainOptions {
        /// Blocks that follow one before the node believes it; 0 on a chain that replaces none
        confirmations: u64 = 1, "OPENLEDGER_CONFIRMATIONS";
        /// Blocks that the chain may replace after the node has read them
        reorg_blocks: u64 = 96, "OPENLEDGER_REORG_BLOCKS";
        /// Most that is paid for a unit of gas, tip included, in gwei
        max_fee_gwei: u64 = 200, "OPENLEDGER_MAX_FEE_GWEI";
        /// Most tip for a unit of gas, in gwei
        max_tip_gwei: u64 = 10, "OPENLEDGER_MAX_TIP_GWEI";
        /// Most gas of one transaction
        max_gas: u64 = 16_777_216, "OPENLEDGER_MAX_GAS";
    }
    /// Where the node answers OpenAI's clients, and what it may pay for that.
    gateway: GatewayOptions {
        /// Answer OpenAI's clients at this address of the machine, like 127.0.0.1:11435: with the base models
        /// here, and models of the network, for which the operator's key pays
        gateway: SocketAddr, "OPENLEDGER_GATEWAY";
        /// Most OPEN that may lie in deposits for such answers at a time
        gateway_deposits: u64 = 100, "OPENLEDGER_GATEWAY_DEPOSITS";
    }
    /// How the process finds its chain and its keys, and where its API listens.
    process: ProcessOptions {
        /// The chain's JSON-RPC, instead of the network file's
        rpc_url: String, "OPENLEDGER_RPC_URL";
        /// Port of the HTTP API on this machine; 0 takes any
        api_port: u16 = 7412, "OPENLEDGER_API_PORT";
        /// The file that holds the passphrase of the keystore
        passphrase_file: PathBuf, "OPENLEDGER_PASSPHRASE_FILE";
    }
}

/// The device to compute on, as people write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Device(pub DeviceChoice);

impl From<String> for Device {
    fn from(text: String) -> Self {
        Self(match text.as_str() {
            "auto" => DeviceChoice::Auto,
            "cpu" => DeviceChoice::Cpu,
            _ => DeviceChoice::Named(text),
        })
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        match device.0 {
            DeviceChoice::Auto => "auto".to_owned(),
            DeviceChoice::Cpu => "cpu".to_owned(),
            DeviceChoice::Named(name) => name,
        }
    }
}

impl std::str::FromStr for Device {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.to_owned().into())
    }
}

/// A list that is written as an array in the file and with commas elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct List(pub Vec<String>);

impl std::str::FromStr for List {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        Ok(Self(parts.map(str::to_owned).collect()))
    }
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The configuration file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The file is far too long.
    #[error("{} is longer than {MAX_FILE} bytes; is it a configuration?", .0.display())]
    TooLarge(PathBuf),
    /// A key that does not exist.
    #[error("{}, line {line}: there is no key `{key}`{}", path.display(), hint(nearest))]
    UnknownKey {
        /// The configuration file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// The key as it is written.
        key: String,
        /// The key that was probably meant.
        nearest: Option<&'static str>,
    },
    /// A value that cannot be used.
    #[error("{}, line {line}: {reason}", path.display())]
    Value {
        /// The configuration file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong with it, in the parser's words.
        reason: String,
    },
    /// The template cannot be written.
    #[error("cannot save the configuration: {0}")]
    Write(#[from] storage::DiskError),
}

fn hint(nearest: &Option<&'static str>) -> String {
    match nearest {
        Some(key) => format!("; did you mean `{key}`?"),
        None => format!("; the keys are {}", KEYS.join(", ")),
    }
}

impl Config {
    /// The configuration of a data directory, with the flags and variables of this process on top.
    ///
    /// # Errors
    /// [`ConfigError`] when the file is wrong; its absence is not an error.
    pub fn load(dir: &Path, flags: Layer) -> Result<Self, ConfigError> {
        Ok(flags.over(read_file(&dir.join(CONFIG_FILE))?).into())
    }
}

/// Writes the commented template with the nodes to join through, unless there is a file.
///
/// # Errors
/// [`ConfigError::Write`] when the disk refuses.
pub(crate) fn write_template(dir: &Path, bootstrap: &[String]) -> Result<(), ConfigError> {
    let path = dir.join(CONFIG_FILE);
    if path.exists() {
        return Ok(());
    }
    let list = toml::Value::from(bootstrap.to_vec());
    let text = match bootstrap {
        [] => TEMPLATE.to_owned(),
        _ => TEMPLATE.replace("# bootstrap = []", &format!("bootstrap = {list}")),
    };
    Ok(write_atomic(&path, text.as_bytes())?)
}

fn read_file(path: &Path) -> Result<Layer, ConfigError> {
    let fail = |source| ConfigError::Read { path: path.to_owned(), source };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Layer::default()),
        Err(error) => return Err(fail(error)),
        Ok(found) if found.len() > MAX_FILE => return Err(ConfigError::TooLarge(path.to_owned())),
        Ok(_) => {}
    }
    parse(&std::fs::read_to_string(path).map_err(fail)?, path)
}

fn parse(text: &str, path: &Path) -> Result<Layer, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let span = error.span().unwrap_or_default();
        let line = 1 + text.bytes().take(span.start).filter(|byte| *byte == b'\n').count();
        let unknown = error.message().strip_prefix("unknown field `");
        match unknown.and_then(|rest| rest.split_once('`')) {
            Some((key, _)) => ConfigError::UnknownKey {
                path: path.to_owned(),
                line,
                key: key.to_owned(),
                nearest: nearest(key),
            },
            None => ConfigError::Value {
                path: path.to_owned(),
                line,
                reason: error.message().replace('\n', " "),
            },
        }
    })
}

/// The key that is at most a third of its letters away.
fn nearest(wrong: &str) -> Option<&'static str> {
    let normal = wrong.to_ascii_lowercase().replace('-', "_");
    let ranked = KEYS.iter().map(|key| (distance(&normal, key), *key));
    let (changes, key) = ranked.min()?;
    (changes <= key.len().div_ceil(3)).then_some(key)
}

/// Insertions, deletions and substitutions between two words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(text: &str) -> Result<Layer, ConfigError> {
        parse(text, Path::new("config.toml"))
    }

    #[test]
    fn an_unknown_key_names_its_line_and_the_nearest_right_one() {
        let error = parse_text("mdns = false\n\nmax-disc = \"1 GiB\"\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "config.toml, line 3: there is no key `max-disc`; did you mean `max_disk`?"
        );
        let strange = parse_text("colour = 1").unwrap_err().to_string();
        assert!(strange.contains("the keys are listen_ip"), "{strange}");
    }

    #[test]
    fn a_wrong_value_names_its_line() {
        let error = parse_text("\napi_port = 70000\n").unwrap_err().to_string();
        assert!(error.starts_with("config.toml, line 2:"), "{error}");
        let error = parse_text("max_disk = \"much\"\n").unwrap_err().to_string();
        assert!(error.contains("50 GiB"), "{error}");
        assert!(parse_text("api_port = 1\napi_port = 2").is_err());
    }

    #[test]
    fn the_layers_cover_each_other_in_order() {
        let file =
            parse_text("api_port = 1\ncontrol_port = 2\nrelays = [\"/ip4/1.2.3.4\"]").unwrap();
        let flags = Layer { api_port: Some(9), ..Layer::default() };
        let config = Config::from(flags.over(file));
        let Config { net, process, .. } = config;
        assert_eq!((process.api_port, net.control_port, net.data_port), (9, 2, 7411));
        assert_eq!(net.relays.0, ["/ip4/1.2.3.4"]);
    }

    #[test]
    fn the_template_says_the_defaults_and_every_key() {
        assert_eq!(parse_text(TEMPLATE).unwrap(), Layer::default(), "all of it is commented out");
        for key in KEYS {
            assert!(TEMPLATE.contains(&format!("\n# {key} = ")), "{key} is not explained");
        }
        let uncommented: String = TEMPLATE
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| KEYS.iter().any(|key| line.starts_with(&format!("{key} = "))))
            .fold(String::new(), |text, line| text + line + "\n");
        parse_text(&uncommented).expect("every example is a right one");
    }
}
