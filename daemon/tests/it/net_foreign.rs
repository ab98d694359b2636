//! Peers that are not ours: stock ones are served, hostile ones survived.

use std::io::Write;
use std::net::{TcpStream, UdpSocket};

use daemon::net::PROTOCOL_VERSION;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt};
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, StreamProtocol, Swarm, SwarmBuilder};
use libp2p::{gossipsub, identify, noise as noise_transport, tcp, yamux};
use tokio::time::timeout;

use crate::net_support::{Node, PATIENCE, noise};

#[derive(NetworkBehaviour)]
struct Stock {
    identify: identify::Behaviour,
    gossip: gossipsub::Behaviour,
}

fn swarm<B: NetworkBehaviour>(make: impl FnOnce(&libp2p::identity::Keypair) -> B) -> Swarm<B> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise_transport::Config::new, yamux::Config::default)
        .unwrap()
        .with_quic()
        .with_behaviour(make)
        .unwrap()
        .build()
}

#[tokio::test]
async fn a_stock_peer_connects_identifies_and_sees_the_topics() {
    let node = Node::alone(1).await;
    for transport in ["tcp", "udp"] {
        let mut stock = swarm(|key| Stock {
            identify: identify::Behaviour::new(identify::Config::new(
                "/stock/1".into(),
                key.public(),
            )),
            gossip: gossipsub::Behaviour::new(
                gossipsub::MessageAuthenticity::Signed(key.clone()),
                gossipsub::Config::default(),
            )
            .unwrap(),
        });
        stock.dial(node.multiaddr(transport).await.parse::<Multiaddr>().unwrap()).unwrap();
        let (mut version, mut topics) = (None, Vec::new());
        let watch =
            async {
                while version.is_none() || topics.len() < 2 {
                    match stock.select_next_some().await {
                        SwarmEvent::Behaviour(StockEvent::Identify(
                            identify::Event::Received { info, .. },
                        )) => {
                            let key = info.public_key.to_peer_id();
                            assert_eq!(daemon::net::node_id(&key), Some(node.net.node()));
                            version = Some(info.protocol_version);
                        }
                        SwarmEvent::Behaviour(StockEvent::Gossip(
                            gossipsub::Event::Subscribed { topic, .. },
                        )) => topics.push(topic.to_string()),
                        _ => {}
                    }
                }
            };
        timeout(PATIENCE, watch).await.expect("identify and both subscriptions");
        topics.sort();
        assert_eq!(version.as_deref(), Some(PROTOCOL_VERSION));
        assert_eq!(topics, ["announce", "records"]);
    }
    assert!(node.net.status().await.unwrap().peers.is_empty(), "a stock peer is not one of ours");
}

/// Writes what it is given, and reads anything.
#[derive(Clone, Default)]
struct Raw;

impl request_response::Codec for Raw {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> std::io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        self.read_response(&StreamProtocol::new("/"), io).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> std::io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut bytes = Vec::new();
        io.take(1 << 20).read_to_end(&mut bytes).await?;
        match bytes.is_empty() {
            true => Err(std::io::ErrorKind::UnexpectedEof.into()),
            false => Ok(bytes),
        }
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> std::io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&bytes).await
    }

    async fn write_response<T>(
        &mut self,
        protocol: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> std::io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        self.write_request(protocol, io, bytes).await
    }
}

/// Asserts that the node still answers an honest peer, and still serves blobs.
async fn assert_serving(node: &mut Node, seed: u8) {
    let mut honest = Node::joining(seed, node).await;
    let (id, pack) = (node.net.node(), noise(50_000, u64::from(seed)));
    honest.wait_up(id).await;
    let asker = honest.net.clone();
    let asked = tokio::spawn(async move { asker.request(id, b"alive?".to_vec()).await });
    let (_, bytes, reply) = node.wait_request().await;
    assert_eq!(bytes, b"alive?");
    reply.send(b"yes".to_vec());
    assert_eq!(timeout(PATIENCE, asked).await.unwrap().unwrap().unwrap(), b"yes");
    let hash = node.add(&pack).await;
    honest.net.fetch(hash, 50_000, vec![id]).await.unwrap();
}

#[tokio::test]
async fn garbage_on_every_socket_leaves_the_node_serving() {
    let mut node = Node::alone(1).await;
    let tcp = node.socket("tcp").await;
    for seed in 0..8 {
        let mut stream = TcpStream::connect(tcp).unwrap();
        // The node may hang up before it has read all.
        let _ = stream.write_all(&noise(64 << 10, seed));
    }
    let data = node.net.status().await.unwrap().data_addresses[0].parse().unwrap();
    for to in [node.socket("udp").await, data] {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for seed in 0..200 {
            let mut datagram = noise(1200, seed);
            // Half of them look like the first packet of a QUIC connection.
            if seed % 2 == 0 {
                datagram[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]);
            }
            socket.send_to(&datagram, to).unwrap();
        }
    }
    assert_serving(&mut node, 2).await;
}

/// A peer that speaks nothing but garbage of the request protocol.
fn hostile() -> Swarm<request_response::Behaviour<Raw>> {
    swarm(|_| {
        request_response::Behaviour::with_codec(
            Raw,
            [(StreamProtocol::new("/openledger/request/1"), ProtocolSupport::Full)],
            request_response::Config::default(),
        )
    })
}

fn garbage() -> Vec<Vec<u8>> {
    vec![
        vec![],
        vec![0],
        vec![9, 0, 0, 0, 0],                              // an unknown kind
        vec![0, 0xff, 0xff, 0xff, 0xff],                  // 4 GiB announced
        vec![0, 0, 0, 1, 0, 7],                           // 256 bytes announced, one sent
        vec![1, 0, 0, 0, 1, 255],                         // 255 data addresses, none sent
        [&[1, 0, 0, 4, 0][..], &noise(1024, 1)].concat(), // a data address of noise
    ]
}

/// Sends garbage until the node hangs up; a new connection is made after each so many refusals. How
/// many there were.
async fn attack(node: &Node, per_connection: usize) -> usize {
    let (mut hostile, garbage) = (hostile(), garbage());
    let address = node.multiaddr("udp").await.parse::<Multiaddr>().unwrap();
    hostile.dial(address.clone()).unwrap();
    let mut next = garbage.iter().cycle();
    let (mut refused, mut is_leaving) = (0, false);
    let attack = async {
        loop {
            match hostile.select_next_some().await {
                SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                    hostile.behaviour_mut().send_request(&peer_id, next.next().unwrap().clone());
                }
                SwarmEvent::Behaviour(request_response::Event::OutboundFailure {
                    peer, ..
                }) if !is_leaving => {
                    refused += 1;
                    is_leaving = refused % per_connection == 0;
                    if is_leaving {
                        hostile.disconnect_peer_id(peer).unwrap();
                    } else {
                        hostile.behaviour_mut().send_request(&peer, next.next().unwrap().clone());
                    }
                }
                SwarmEvent::Behaviour(request_response::Event::Message {
                    peer,
                    message: request_response::Message::Response { .. },
                    ..
                }) => {
                    hostile.behaviour_mut().send_request(&peer, next.next().unwrap().clone());
                }
                SwarmEvent::ConnectionClosed { num_established: 0, .. } if is_leaving => {
                    is_leaving = false;
                    hostile.dial(address.clone()).unwrap();
                }
                SwarmEvent::ConnectionClosed { num_established: 0, .. }
                | SwarmEvent::OutgoingConnectionError { .. } => break,
                _ => {}
            }
        }
    };
    timeout(PATIENCE, attack).await.expect("the node hangs up on the hostile peer");
    refused
}

#[tokio::test]
async fn garbage_in_the_request_protocol_gets_its_sender_refused() {
    let mut node = Node::alone(1).await;
    let refused = attack(&node, usize::MAX).await;
    assert!(refused >= 7, "{refused}");
    assert_serving(&mut node, 2).await;
}

#[tokio::test]
async fn what_a_peer_did_is_remembered_when_it_comes_again() {
    let mut node = Node::alone(1).await;
    // Never as much over one connection as would have it refused.
    let refused = attack(&node, 4).await;
    assert!((16..=100).contains(&refused), "{refused}");
    assert_serving(&mut node, 2).await;
}
