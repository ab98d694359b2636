//! What a person gets for what is wrong around a node: ports, RPCs, keys and files.

use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::Output;

use contracts_abi::devchain::DevConfig;
use contracts_abi::rpc::{DevChainServer, Mining, ServerConfig};
use daemon::network::{NETWORK_FILE, NetworkFile, Preset};

use super::cli::{json, openledger};
use super::cli_support::start_chain;

/// Runs a node that must not come up, and returns what it says.
async fn refused(dir: &Path, args: &[&str]) -> String {
    let ports = ["--mdns", "false", "--device", "cpu", "--listen-ip", "127.0.0.1"];
    let mut all = vec!["node", "run", "--json"];
    all.extend(ports);
    for port in ["--api-port", "--control-port", "--data-port"] {
        if !args.contains(&port) {
            all.extend([port, "0"]);
        }
    }
    all.extend(args);
    let (dir, all) = (dir.to_owned(), all.into_iter().map(str::to_owned).collect::<Vec<_>>());
    let run = move || openledger(&dir, &all.iter().map(String::as_str).collect::<Vec<_>>());
    let output: Output = tokio::task::spawn_blocking(run).await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    json(&output)["error"]["message"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_run_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let config = ServerConfig { mining: Mining::OnDemand, ..ServerConfig::default() };
    let (chain, network) = start_chain(config).await;
    let file = dir.path().join(NETWORK_FILE);
    network.write(&file).unwrap();
    let node = dir.path().join("node");
    let init = openledger(&node, &["init", "--light", "--network", file.to_str().unwrap()]);
    assert!(init.status.success());

    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp_port = tcp.local_addr().unwrap().port().to_string();
    let udp_port = udp.local_addr().unwrap().port().to_string();
    for (flag, port, word) in [
        ("--api-port", &tcp_port, "--api-port"),
        ("--control-port", &tcp_port, "control plane, TCP"),
        ("--data-port", &udp_port, "data plane, UDP"),
    ] {
        let said = refused(&node, &[flag, port]).await;
        assert!(said.contains(port.as_str()) && said.contains(word), "{said}");
        assert!(said.contains("in use"), "{said}");
    }

    let wrong = NetworkFile { params: Preset::Mainnet, ..network.clone() };
    wrong.write(&node.join(NETWORK_FILE)).unwrap();
    let said = refused(&node, &[]).await;
    assert!(said.contains("at a stake of 1 OPEN") && said.contains("1000 OPEN"), "{said}");
    network.write(&node.join(NETWORK_FILE)).unwrap();

    let other = ServerConfig {
        chain: DevConfig { chain_id: 5, ..DevConfig::default() },
        ..ServerConfig::default()
    };
    let other = DevChainServer::start(other).await.unwrap();
    let said = refused(&node, &["--rpc-url", &other.url()]).await;
    assert!(said.contains("serves chain 5, the network is on chain 31337"), "{said}");
    let reset = DevChainServer::start(ServerConfig::default()).await.unwrap();
    let said = refused(&node, &["--rpc-url", &reset.url()]).await;
    assert!(said.contains("the chain was reset"), "{said}");
    let down = tcp.local_addr().unwrap();
    drop(tcp);
    let verify =
        openledger(&node, &["verify", "epoch", "0", "--rpc-url", &format!("http://{down}")]);
    assert_eq!(verify.status.code(), Some(1));
    let said = String::from_utf8_lossy(&verify.stderr).into_owned();
    assert!(said.contains("check the URL and that it runs"), "{said}");
    assert_eq!(said.matches("Connection refused").count(), 1, "each cause is said once: {said}");

    let database = node.join("store/blobs/blobs.db");
    std::fs::write(&database, [7; 10_000]).unwrap();
    let said = refused(&node, &[]).await;
    assert!(said.contains("blobs.db away"), "{said}");
    assert!(std::fs::metadata(&database).unwrap().len() == 10_000, "nothing is overwritten");
    std::fs::write(node.join("keys/operator.json"), "{").unwrap();
    let said = refused(&node, &[]).await;
    assert!(said.contains("restore it from your backup"), "{said}");
    chain.shutdown().await;
    other.shutdown().await;
    reset.shutdown().await;
}
