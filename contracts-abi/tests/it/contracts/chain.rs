//! The little that the suite asks of a chain.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use alloy::primitives::{Address, B256, Bytes};
use contracts_abi::devchain::{
    Block, CallError, DEFAULT_CHAIN_ID, DevChain, DevConfig, Message, Status,
};
use serde_json::{Value, json};

/// A transaction that was mined.
#[derive(Debug)]
pub(crate) struct Mined {
    /// Whole-transaction gas.
    pub(crate) gas: u64,
    /// Whether it succeeded.
    pub(crate) is_success: bool,
    /// The contract it created.
    pub(crate) created: Option<Address>,
    /// What it was refused with, where the chain keeps that.
    pub(crate) reverted: Option<Bytes>,
}

/// A chain whose development accounts sign without being asked, one transaction a block.
pub(crate) trait Chain {
    /// Sends a transaction; `to` is `None` for a creation.
    fn send(&mut self, from: Address, to: Option<Address>, data: Bytes) -> Mined;
    /// Sends calls of one account in one block; whether each succeeded.
    fn send_together(&mut self, from: Address, to: Address, calls: &[Bytes]) -> Vec<bool>;
    /// Calls on the next block's state; an error carries the revert data.
    fn call(&mut self, from: Address, to: Address, data: Bytes) -> Result<Bytes, Bytes>;
    /// Number of the newest block.
    fn head(&mut self) -> u64;
    /// Hash of a block.
    fn hash_of(&mut self, number: u64) -> B256;
    /// Mines empty blocks until `number` is the newest.
    fn advance_to(&mut self, number: u64);
    /// Blocks since it was last asked, where somebody follows the chain.
    fn take_mined(&mut self) -> Vec<Arc<Block>> {
        Vec::new()
    }
}

/// The embedded chain, without a server.
pub(crate) struct EmbeddedChain {
    chain: DevChain,
    /// Blocks that are kept for a follower.
    mined: Option<Vec<Arc<Block>>>,
}

impl EmbeddedChain {
    pub(crate) fn new() -> Self {
        Self { chain: DevChain::new(DevConfig::default()), mined: None }
    }

    /// One that forgets blocks once a follower has them.
    pub(crate) fn followed() -> Self {
        let config = DevConfig::simulation(DEFAULT_CHAIN_ID);
        Self { chain: DevChain::light(config), mined: Some(Vec::new()) }
    }

    fn keep(&mut self) {
        let head = Arc::clone(self.chain.head());
        self.mined.iter_mut().for_each(|mined| mined.push(Arc::clone(&head)));
    }
}

impl Chain for EmbeddedChain {
    fn send(&mut self, from: Address, to: Option<Address>, data: Bytes) -> Mined {
        let message = match to {
            Some(to) => Message::call(from, to, data),
            None => Message::create(from, data),
        };
        let outcome = self.chain.transact_impersonated(&message).unwrap();
        self.keep();
        let is_success = outcome.status.is_success();
        let reverted = match outcome.status {
            Status::Revert(data) => Some(data),
            Status::Success(_) | Status::Halt(_) => None,
        };
        Mined { gas: outcome.gas_used, is_success, created: outcome.created, reverted }
    }

    fn send_together(&mut self, from: Address, to: Address, calls: &[Bytes]) -> Vec<bool> {
        let timestamp = self.chain.head().header.timestamp + 1;
        let messages: Vec<_> =
            calls.iter().map(|data| Message::call(from, to, data.clone())).collect();
        let mined = self.chain.mine_messages(timestamp, &messages).unwrap();
        self.keep();
        let outcomes = mined.block.outcomes.iter();
        outcomes.map(|outcome| matches!(outcome.status, Status::Success(_))).collect()
    }

    fn call(&mut self, from: Address, to: Address, data: Bytes) -> Result<Bytes, Bytes> {
        self.chain.call(&Message::call(from, to, data), true).map_err(|error| match error {
            CallError::Revert(data) => data,
            other => panic!("{other}"),
        })
    }

    fn head(&mut self) -> u64 {
        self.chain.head().number()
    }

    fn hash_of(&mut self, number: u64) -> B256 {
        self.chain.block(number).unwrap().hash
    }

    fn advance_to(&mut self, number: u64) {
        while self.head() < number {
            let timestamp = self.chain.head().header.timestamp + 1;
            self.chain.mine(timestamp).unwrap();
            self.keep();
        }
    }

    fn take_mined(&mut self) -> Vec<Arc<Block>> {
        self.mined.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

/// An anvil process on a port of its own choice, ended when dropped.
pub(crate) struct AnvilChain {
    process: Child,
    port: u16,
}

impl Drop for AnvilChain {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl AnvilChain {
    /// Starts anvil on the embedded chain's hard fork; `None` where there is none.
    pub(crate) fn start() -> Option<Self> {
        let program = std::env::var_os("ANVIL").unwrap_or_else(|| "anvil".into());
        let mut process = Command::new(program)
            .args(["--port", "0", "--hardfork", "osaka", "--gas-limit", "60000000"])
            // Past states would stay on the disk, since it is killed.
            .args(["--max-persisted-states", "0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut output = BufReader::new(process.stdout.take()?);
        let mut line = String::new();
        let port = loop {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "anvil ended before it listened");
            if let Some(address) = line.trim().strip_prefix("Listening on ") {
                break address.rsplit(':').next()?.parse().unwrap();
            }
        };
        // Whatever it prints from now on must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        Some(Self { process, port })
    }

    fn request(&self, method: &str, params: Value) -> Result<Value, Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let body = body.to_string();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let head = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut answer: Value = serde_json::from_str(body).unwrap();
        match answer.get_mut("error") {
            Some(error) => Err(error.take()),
            None => Ok(answer["result"].take()),
        }
    }

    fn quantity(value: &Value) -> u64 {
        u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
    }
}

impl Chain for AnvilChain {
    fn send(&mut self, from: Address, to: Option<Address>, data: Bytes) -> Mined {
        let mut tx = json!({ "from": from, "data": data, "gas": "0xf42400" });
        if let Some(to) = to {
            tx["to"] = json!(to);
        }
        let hash = self.request("eth_sendTransaction", json!([tx])).unwrap();
        let receipt = loop {
            let receipt = self.request("eth_getTransactionReceipt", json!([hash])).unwrap();
            if !receipt.is_null() {
                break receipt;
            }
        };
        Mined {
            gas: Self::quantity(&receipt["gasUsed"]),
            is_success: Self::quantity(&receipt["status"]) == 1,
            created: serde_json::from_value(receipt["contractAddress"].clone()).unwrap(),
            reverted: None,
        }
    }

    fn send_together(&mut self, from: Address, to: Address, calls: &[Bytes]) -> Vec<bool> {
        self.request("evm_setAutomine", json!([false])).unwrap();
        let send = |data: &Bytes| {
            let tx = json!({ "from": from, "to": to, "data": data, "gas": "0xf42400" });
            self.request("eth_sendTransaction", json!([tx])).unwrap()
        };
        let hashes: Vec<_> = calls.iter().map(send).collect();
        self.request("evm_mine", json!([])).unwrap();
        self.request("evm_setAutomine", json!([true])).unwrap();
        let is_success = |hash: &Value| {
            let receipt = self.request("eth_getTransactionReceipt", json!([hash])).unwrap();
            Self::quantity(&receipt["status"]) == 1
        };
        hashes.iter().map(is_success).collect()
    }

    fn call(&mut self, from: Address, to: Address, data: Bytes) -> Result<Bytes, Bytes> {
        let tx = json!({ "from": from, "to": to, "data": data });
        match self.request("eth_call", json!([tx, "pending"])) {
            Ok(output) => Ok(serde_json::from_value(output).unwrap()),
            Err(error) => Err(serde_json::from_value(error["data"].clone()).unwrap()),
        }
    }

    fn head(&mut self) -> u64 {
        Self::quantity(&self.request("eth_blockNumber", json!([])).unwrap())
    }

    fn hash_of(&mut self, number: u64) -> B256 {
        let number = format!("{number:#x}");
        let block = self.request("eth_getBlockByNumber", json!([number, false])).unwrap();
        serde_json::from_value(block["hash"].clone()).unwrap()
    }

    fn advance_to(&mut self, number: u64) {
        let head = self.head();
        if number > head {
            let blocks = format!("{:#x}", number - head);
            self.request("anvil_mine", json!([blocks])).unwrap();
        }
    }
}
