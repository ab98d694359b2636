//! The control plane between our own nodes.

use std::collections::BTreeSet;
use std::net::TcpListener;

use daemon::net::{MAX_REQUEST, NetError, NetEvent, Network, Plane, Verdict};
use iroh_blobs::store::mem::MemStore;
use protocol::NodeId;
use protocol::rules::Standing;
use tokio::time::timeout;

use crate::net_support::{Node, PATIENCE, config, noise};

async fn wait_subscribed(node: &mut Node, mut peers: BTreeSet<NodeId>) {
    while !peers.is_empty() {
        let peer = node
            .wait(|event| match event {
                NetEvent::Subscribed { peer, topic: 1 } => Some(peer),
                _ => None,
            })
            .await;
        peers.remove(&peer);
    }
}

/// Accepts gossip until `last` comes; returns all bodies, `last` included.
async fn gossip_until(node: &mut Node, last: &[u8], author: NodeId) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    while bodies.last().is_none_or(|body| body != last) {
        let (from, topic, bytes, id) = node
            .wait(|event| match event {
                NetEvent::Gossip { from, topic, bytes, id } => Some((from, topic, bytes, id)),
                _ => None,
            })
            .await;
        assert_eq!((from, topic), (author, 1));
        node.net.validate(id, Verdict::Accept).await.unwrap();
        bodies.push(bytes);
    }
    bodies
}

#[tokio::test]
async fn gossip_reaches_every_node_of_a_mesh_once() {
    let mut a = Node::alone(1).await;
    let mut b = Node::joining(2, &a).await;
    let mut c = Node::joining(3, &a).await;
    let (ida, idb, idc) = (a.net.node(), b.net.node(), c.net.node());
    wait_subscribed(&mut a, BTreeSet::from([idb, idc])).await;
    wait_subscribed(&mut b, BTreeSet::from([ida])).await;
    wait_subscribed(&mut c, BTreeSet::from([ida])).await;

    b.net.publish(1, b"first".to_vec()).await.unwrap();
    assert!(matches!(b.net.publish(1, b"first".to_vec()).await, Err(NetError::Duplicate)));
    let first = |node| async move { gossip_until(node, b"first", idb).await };
    assert_eq!(first(&mut a).await.len(), 1);
    assert_eq!(first(&mut c).await.len(), 1);
    // A second message is the fence behind which no copy of the first may come.
    b.net.publish(1, b"last".to_vec()).await.unwrap();
    let last = |node| async move { gossip_until(node, b"last", idb).await };
    assert_eq!(last(&mut a).await, [b"last".to_vec()]);
    assert_eq!(last(&mut c).await, [b"last".to_vec()]);
}

#[tokio::test]
async fn nodes_find_each_other_through_a_third() {
    let a = Node::alone(1).await;
    let mut b = Node::joining(2, &a).await;
    let mut c = Node::joining(3, &a).await;
    b.wait_up(c.net.node()).await;
    c.wait_up(b.net.node()).await;
}

#[tokio::test]
async fn publishing_says_what_is_wrong() {
    let a = Node::alone(1).await;
    assert!(matches!(a.net.publish(0, vec![1]).await, Err(NetError::NoPeers)));
    assert!(matches!(a.net.publish(9, vec![1]).await, Err(NetError::UnknownTopic(9))));
    let long = vec![0; daemon::net::MAX_GOSSIP + 1];
    assert!(matches!(a.net.publish(0, long).await, Err(NetError::TooLarge { .. })));
}

#[tokio::test]
async fn requests_are_answered_and_refused() {
    let mut a = Node::alone(1).await;
    let mut b = Node::joining(2, &a).await;
    let (ida, idb) = (a.net.node(), b.net.node());
    b.wait_up(ida).await;

    let asker = b.net.clone();
    let longest = noise(MAX_REQUEST, 1);
    let asked = tokio::spawn({
        let longest = longest.clone();
        async move { asker.request(ida, longest).await }
    });
    let (from, bytes, reply) = a.wait_request().await;
    assert_eq!((from, bytes == longest), (idb, true));
    reply.send(longest.clone());
    assert!(asked.await.unwrap().unwrap() == longest, "the longest request and answer pass");

    let asker = b.net.clone();
    let asked = tokio::spawn(async move { asker.request(ida, vec![1]).await });
    drop(a.wait_request().await);
    assert!(matches!(asked.await.unwrap(), Err(NetError::Refused(node)) if node == ida));

    let asker = b.net.clone();
    let asked = tokio::spawn(async move { asker.request(ida, vec![2]).await });
    a.wait_request().await.2.send(vec![0; MAX_REQUEST + 1]);
    assert!(matches!(asked.await.unwrap(), Err(NetError::Refused(_))), "an oversize answer");

    let oversize = b.net.request(ida, vec![0; MAX_REQUEST + 1]).await;
    assert!(matches!(oversize, Err(NetError::TooLarge { limit: MAX_REQUEST, .. })));
    let nobody = daemon::net::node_of_secret(&[99; 32]);
    assert!(matches!(b.net.request(nobody, vec![]).await, Err(NetError::Unreachable(_))));
}

#[tokio::test]
async fn peers_come_and_go() {
    let mut a = Node::alone(1).await;
    let b = Node::joining(2, &a).await;
    let idb = b.net.node();
    a.wait_up(idb).await;
    let status = a.net.status().await.unwrap();
    assert_eq!(status.peers.iter().map(|peer| peer.node).collect::<Vec<_>>(), [idb]);

    b.net.shutdown().await;
    a.wait(|event| matches!(event, NetEvent::PeerDown { peer } if peer == idb).then_some(())).await;
    assert!(matches!(b.net.status().await, Err(NetError::Stopped)));
}

#[tokio::test]
async fn dialling_finds_out_who_is_there() {
    let (mut a, b) = (Node::alone(1).await, Node::alone(2).await);
    let found = b.net.dial(&a.multiaddr("tcp").await).await.unwrap();
    assert_eq!(found, a.net.node());
    a.wait_up(b.net.node()).await;
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let refused = b.net.dial(&format!("/ip4/127.0.0.1/tcp/{closed}")).await;
    assert!(matches!(refused, Err(NetError::Dial { .. })));
    assert!(matches!(b.net.dial("127.0.0.1:1").await, Err(NetError::BadMultiaddr { .. })));
}

#[tokio::test]
async fn a_blocked_peer_stays_out() {
    let mut a = Node::alone(1).await;
    let b = Node::joining(2, &a).await;
    let idb = b.net.node();
    a.wait_up(idb).await;
    a.net.block(idb).await.unwrap();
    a.wait(|event| matches!(event, NetEvent::PeerDown { peer } if peer == idb).then_some(())).await;
    let refused = a.net.request(idb, vec![]).await;
    assert!(matches!(refused, Err(NetError::Unreachable(_))), "{refused:?}");
}

#[tokio::test]
async fn a_member_finds_a_place_where_strangers_have_taken_all_of_theirs() {
    let mut few = config(1, Vec::new());
    few.max_connections = 8;
    let mut a = Node::with(few).await;
    let mut strangers = Vec::new();
    for seed in 10..14 {
        let mut stranger = Node::joining(seed, &a).await;
        stranger.wait_up(a.net.node()).await;
        strangers.push(stranger);
    }
    // Half of the places for those that come are all that strangers get.
    let late = Node::alone(20).await;
    let address = a.multiaddr("udp").await;
    let member = Node::alone(21).await;
    a.net.set_standings([(member.net.node(), Standing::Member)].into());
    member.net.dial(&address).await.unwrap();
    a.wait_up(member.net.node()).await;
    let dialled = late.net.dial(&address).await;
    // Whether the handshake or the first request is refused depends on who is faster.
    if dialled.is_ok() {
        assert!(late.net.request(a.net.node(), vec![1]).await.is_err());
    }
    let peers = a.net.status().await.unwrap().peers;
    assert!(peers.iter().any(|peer| peer.node == member.net.node()));
    assert!(peers.iter().all(|peer| peer.node != late.net.node()));
}

#[tokio::test]
async fn a_consumer_that_sleeps_loses_gossip_and_nothing_else() {
    let mut a = Node::alone(1).await;
    let mut b = Node::joining(2, &a).await;
    wait_subscribed(&mut b, BTreeSet::from([a.net.node()])).await;
    a.wait_up(b.net.node()).await;
    for number in 0..1200_u32 {
        let publish = async {
            while let Err(error) = b.net.publish(1, number.to_be_bytes().to_vec()).await {
                assert!(matches!(error, NetError::Busy), "{error}");
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, publish).await.unwrap();
    }
    let dropped = async { while a.net.status().await.unwrap().dropped.gossip == 0 {} };
    timeout(PATIENCE, dropped).await.expect("the network goes on, and counts what it drops");
    b.net.shutdown().await;
    let idb = b.net.node();
    a.wait(|event| matches!(event, NetEvent::PeerDown { peer } if peer == idb).then_some(())).await;
}

#[tokio::test]
async fn a_busy_port_is_named() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let mut busy = config(1, Vec::new());
    busy.options.control_port = port;
    let error = Network::start(busy, (*MemStore::new()).clone()).await.unwrap_err();
    assert!(
        matches!(error, NetError::AddressInUse { port: p, plane: Plane::ControlTcp } if p == port)
    );
    assert!(error.to_string().contains(&port.to_string()));

    let holder = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let mut busy = config(1, Vec::new());
    busy.options.data_port = port;
    let error = Network::start(busy, (*MemStore::new()).clone()).await.unwrap_err();
    assert!(matches!(error, NetError::AddressInUse { port: p, plane: Plane::Data } if p == port));
}

#[tokio::test]
async fn a_shut_down_node_frees_its_port_and_leaves_the_store_open() {
    let first = Node::alone(1).await;
    let port = first.socket("tcp").await.port();
    first.net.shutdown().await;
    let hash = first.add(b"still here").await;
    assert_eq!(first.get(hash).await, b"still here");

    let mut again = config(1, Vec::new());
    again.options.control_port = port;
    let second = Node::with(again).await;
    assert_eq!(second.socket("tcp").await.port(), port);
    assert_eq!(second.net.node(), first.net.node());
}
