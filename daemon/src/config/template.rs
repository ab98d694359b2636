//! The file that `init` writes.

/// Every key with its default, commented out.
pub(crate) const TEMPLATE: &str = r#"# Configuration of an openledger node. Every line shows a default or an example; remove the `# ` to
# change it. Flags of `openledger node run` and OPENLEDGER_* variables come before this file.

# The chain's JSON-RPC, where it is not that of network.json.
# rpc_url = "http://127.0.0.1:8545"

# Blocks that follow one before the node believes it: 0 on a chain that replaces none.
# confirmations = 1

# Blocks that the chain may replace after the node has read them; if it replaces more, the node stops.
# It keeps what they said, and goes back when it must.
# reorg_blocks = 96

# Most that is paid for a unit of gas (tip included), most tip, and most gas of one transaction,
# whatever the RPC asks. A node whose work waits for a cheaper chain says so in its log.
# max_fee_gwei = 200
# max_tip_gwei = 10
# max_gas = 16777216

# --- gateway

# Answer OpenAI's clients at this address of the machine: with the base models here, and with models of the
# network, for which the operator's key pays. Off by default. Most OPEN that may lie in deposits for that.
# gateway = "127.0.0.1:11435"
# gateway_deposits = 100

# --- network

# The address that both planes listen on.
# listen_ip = "0.0.0.0"

# Port of the control plane (TCP and UDP) and of the data plane (UDP): open these in your router to
# be reachable. 0 takes any free port.
# control_port = 7410
# data_port = 7411

# Nodes to join through; `init --join` fills this in.
# bootstrap = []

# Look for nodes on the local network.
# mdns = true

# Relay for nodes that cannot be reached directly; costs bandwidth.
# relay_server = false

# Relays to be reachable through: multiaddrs of nodes, or https URLs of iroh relays.
# relays = []

# --- limits

# Most strangers (nodes without stake) that are connected from one address and from one subnet, on
# each plane. More than the default only where many nodes share an address.
# max_per_address = 8
# max_per_subnet = 16

# Most space for blobs; none by default.
# max_disk = "50 GiB"

# Most memory that training runs may need; half of the machine's by default. A run that needs more is
# not worked on, and `openledger status` says so.
# max_memory = "8 GiB"

# Most upload of the data plane per second; none by default.
# max_upload = "2 MiB"

# Where to compute: "auto" takes a GPU that passes its self-test, else the CPU; "cpu"; or a part of
# a GPU's name. GPUs need a build with `--features gpu`.
# device = "auto"

# --- money

# Epochs between two claims of what is owed, each a transaction; 0 leaves it to `openledger claim`.
# claim_epochs = 24

# --- this machine

# Port of the HTTP API, on this machine only. 0 takes any free port.
# api_port = 7412

# The file that holds the passphrase of the keystore. Without it the systemd credential
# openledger-passphrase, the variable OPENLEDGER_PASSPHRASE, and keys/passphrase are tried.
# passphrase_file = "/etc/openledger/passphrase"
"#;
