//! Streams of messages between two nodes, as uses of models go over.

use daemon::net::{FrameWriter, Incoming, StreamError};
use protocol::NodeId;
use protocol::usage::MAX_USAGE_MESSAGE;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::net_support::{Node, PATIENCE};

type Messages = mpsc::Receiver<Vec<u8>>;

/// A stream from one node to another, and the same as it comes out there.
async fn stream(
    from: &Node,
    to: &mut Node,
) -> ((FrameWriter, Messages), (NodeId, FrameWriter, Messages)) {
    let (reader, mut writer) = from.net.open_stream(to.net.node()).await.unwrap();
    // The other side hears of a stream with its first message.
    writer.send(b"hello").await.unwrap();
    let incoming = timeout(PATIENCE, to.streams.recv()).await.expect("a stream comes out");
    let Incoming { peer, reader: heard, writer: back } = incoming.unwrap();
    let mut heard = heard.messages();
    assert_eq!(heard.recv().await.unwrap(), b"hello");
    ((writer, reader.messages()), (peer, back, heard))
}

#[tokio::test]
async fn messages_go_both_ways_whole_and_in_order() {
    let mut a = Node::alone(1).await;
    let mut b = Node::joining(2, &a).await;
    b.wait_up(a.net.node()).await;
    let ((mut writer, mut answers), (peer, mut back, mut heard)) = stream(&b, &mut a).await;
    assert_eq!(peer, b.net.node(), "it is known who speaks");
    let longest = vec![7; MAX_USAGE_MESSAGE];
    let sent = tokio::spawn({
        let longest = longest.clone();
        async move {
            for message in [&longest[..], b"", b"x"] {
                writer.send(message).await.unwrap();
            }
            writer
        }
    });
    for message in [&longest[..], b"", b"x"] {
        assert_eq!(timeout(PATIENCE, heard.recv()).await.unwrap().unwrap(), message);
    }
    back.send(b"answer").await.unwrap();
    assert_eq!(timeout(PATIENCE, answers.recv()).await.unwrap().unwrap(), b"answer");
    drop(sent.await.unwrap());
    assert_eq!(timeout(PATIENCE, heard.recv()).await.unwrap(), None, "the other side is done");
    // Another goes over the same connection.
    let (_kept, (again, ..)) = stream(&b, &mut a).await;
    assert_eq!(again, b.net.node());
}

#[tokio::test]
async fn what_is_too_long_ends_a_stream_and_who_hangs_up_is_noticed() {
    let mut a = Node::alone(1).await;
    let mut b = Node::joining(2, &a).await;
    b.wait_up(a.net.node()).await;
    let ((mut writer, answers), (_, mut back, mut heard)) = stream(&b, &mut a).await;
    // The other side may have gone before all of it was sent.
    let _ = writer.send(&vec![0; MAX_USAGE_MESSAGE + 1]).await;
    assert_eq!(timeout(PATIENCE, heard.recv()).await.unwrap(), None);
    drop((writer, answers));
    let deaf = async {
        while back.send(&[0; 1024]).await.is_ok() {}
        back.send(b"more").await
    };
    let deaf = timeout(PATIENCE, deaf).await.expect("who reads no more is noticed");
    assert_eq!(deaf, Err(StreamError::Broken));
}

#[tokio::test]
async fn who_reads_slowly_is_waited_for() {
    let mut a = Node::alone(1).await;
    let mut b = Node::joining(2, &a).await;
    b.wait_up(a.net.node()).await;
    let ((mut writer, _answers), (_, _back, mut heard)) = stream(&b, &mut a).await;
    const COUNT: usize = 4096;
    let sent = tokio::spawn(async move {
        for number in 0..COUNT {
            let mut message = vec![0; 4096];
            message[..8].copy_from_slice(&number.to_be_bytes());
            writer.send(&message).await.unwrap();
        }
        writer
    });
    // Far more than may be under way, and none of it is lost.
    for number in 0..COUNT {
        let message = timeout(PATIENCE, heard.recv()).await.unwrap().unwrap();
        assert_eq!(message[..8], number.to_be_bytes());
    }
    drop(sent.await.unwrap());
}

#[tokio::test]
async fn a_node_speaks_to_itself_as_to_any_other() {
    let mut a = Node::alone(1).await;
    let (reader, mut writer) = a.net.open_stream(a.net.node()).await.unwrap();
    let incoming = timeout(PATIENCE, a.streams.recv()).await.unwrap().unwrap();
    assert_eq!(incoming.peer, a.net.node());
    let (mut heard, mut back) = (incoming.reader.messages(), incoming.writer);
    writer.send(b"hello").await.unwrap();
    assert_eq!(heard.recv().await.unwrap(), b"hello");
    back.send(b"answer").await.unwrap();
    assert_eq!(reader.messages().recv().await.unwrap(), b"answer");
    drop(writer);
    assert_eq!(heard.recv().await, None);
}
