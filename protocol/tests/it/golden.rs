//! Golden vectors: what is on the wire today must be on the wire tomorrow.

use protocol::{
    AccountId, Amount, BlobRef, Digest, Epoch, EvmAddress, Hash, ModelId, Round,
    ask::{Ask, Line, Prompt},
    codec::{DecodeError, Wire},
    eip712::{EvmKey, Signature},
    hash::keccak,
    limits::MAX_PROMPT_BYTES,
    manifest::{Document, Manifest, Unit},
    message::{Answer, Gossip, Request},
    model::{AdapterOrder, RunModel, Shape},
    ranges::Ranges,
    receipt::{Receipt, SignedReceipt},
    record::{
        AttributionBody, AuditBody, Body, Finding, Record, ReplayReport, RoundCloseBody, ShardBody,
        SignedRecord, StorageCommitBody, StorageProofBody, Verdict,
    },
    sync::{Part, Sum},
    training::{Contributions, RunConfig},
    usage::{Cause, FromConsumer, FromServer},
};

use crate::chain::domain;

fn fill(byte: &str, count: usize) -> String {
    byte.repeat(count)
}

/// Checks an encoding against annotated hexadecimal, both ways.
#[track_caller]
fn golden<T: Wire + PartialEq + std::fmt::Debug>(value: &T, parts: &[String]) {
    assert_eq!(hex::encode(value.to_bytes()), parts.concat());
    assert_eq!(T::from_bytes(&value.to_bytes()).as_ref(), Ok(value));
}

macro_rules! hex {
    ($($part:expr),* $(,)?) => { &[$($part.to_string()),*] };
}

fn proof() -> StorageProofBody {
    StorageProofBody { commit: Digest([0x11; 32]), openings: Hash([0x22; 32]), length: 200 }
}

fn record() -> SignedRecord {
    let record = Record {
        epoch: Epoch(3),
        account: AccountId(4),
        subject: Digest([0x55; 32]),
        body: Body::StorageProof(proof()),
    };
    SignedRecord { record, signature: Signature([0x77; 65]) }
}

fn receipt() -> SignedReceipt {
    let receipt = Receipt {
        escrow: EvmAddress([0xee; 20]),
        payer: EvmAddress([0xaa; 20]),
        payee: AccountId(4),
        model: ModelId(9),
        cumulative: Amount::ONE_OPEN,
        price: Amount(7),
        nonce: 1,
        request: Digest([0x66; 32]),
    };
    SignedReceipt { receipt, signature: Signature([0x77; 65]) }
}

fn config() -> RunConfig {
    RunConfig {
        model: RunModel::Preset(0),
        tokenizer: Hash([0x33; 32]),
        tokenizer_length: 5,
        seed: 6,
        rounds: 7,
        units_per_shard: 8,
        steps: 11,
        batch: 9,
        context: 96,
        warmup: 2,
        learning_rate: 10,
        final_rate: 100_000,
        top_k: 64,
        alpha: 700_000,
        data: vec![Contributions { first: 2, last: 4 }],
    }
}

fn manifest() -> Manifest {
    Manifest {
        documents: vec![Document { name: "a.md".into(), length: 10, hash: Hash([0x44; 32]) }],
        packs: vec![BlobRef::new(Hash([0x22; 32]), 10)],
        units: vec![Unit { pack: 0, offset: 1, length: 9 }],
    }
}

fn attribution() -> AttributionBody {
    AttributionBody {
        model: ModelId(9),
        checkpoint: Hash([0x22; 32]),
        receipt: receipt(),
        ranges: Ranges::default(),
        transcript: Hash([0x33; 32]),
        length: 2,
        tokens_in: 3,
        tokens_out: 4,
        lambda: 5,
        shares: vec![(AccountId(4), 1_000_000)],
    }
}

/// Encodings from which hostile inputs are made.
pub(crate) fn samples() -> Vec<Vec<u8>> {
    vec![
        Gossip::Record(record()).to_bytes(),
        Gossip::Have(vec![BlobRef::new(Hash([1; 32]), 2)]).to_bytes(),
        Request::Records { epoch: Epoch(1), part: Part::ALL, after: Digest([2; 32]) }.to_bytes(),
        Request::Sums { epoch: Epoch(1), part: Part::ALL }.to_bytes(),
        Answer::Sums(vec![Sum { count: 1, digest: [3; 16] }]).to_bytes(),
        Answer::Records(vec![record()]).to_bytes(),
        attribution().to_bytes(),
        config().to_bytes(),
        manifest().to_bytes(),
    ]
}

fn record_hex() -> String {
    hex![
        "02",               // kind
        "0000000000000003", // epoch
        "0000000000000004", // account
        fill("55", 32),     // subject
        "00000044",         // bytes of the body
        fill("11", 32),     // commit
        fill("22", 32),     // openings
        "000000c8",         // their length
        fill("77", 65),     // signature
    ]
    .concat()
}

fn receipt_hex() -> String {
    hex![
        fill("ee", 20),                     // escrow
        fill("aa", 20),                     // payer
        "0000000000000004",                 // payee
        "0000000000000009",                 // model
        "00000000000000000de0b6b3a7640000", // cumulative
        "00000000000000000000000000000007", // price
        "0000000000000001",                 // nonce
        fill("66", 32),                     // request
        fill("77", 65),                     // signature
    ]
    .concat()
}

#[test]
fn storage_bodies() {
    let commit = StorageCommitBody {
        inventory: Digest([0x11; 32]),
        rows: Digest([0x22; 32]),
        bytes: 4096,
        cells: 3,
        seed: 0x44,
        absent: vec![Hash([0x33; 32])],
    };
    golden(
        &commit,
        hex![
            fill("11", 32),     // inventory
            fill("22", 32),     // rows
            "0000000000001000", // bytes
            "00000003",         // cells
            "0000000000000044", // seed
            "00000001",         // absent packs
            fill("33", 32),
        ],
    );
    golden(&proof(), hex![fill("11", 32), fill("22", 32), "000000c8"]);
}

#[test]
fn training_bodies() {
    let shard = ShardBody {
        model: ModelId(1),
        round: Round(2),
        slot: 3,
        base: Hash([0x11; 32]),
        payload: Hash([0x22; 32]),
        length: 4,
        loss_first: 5,
        loss_last: 6,
        tokens: 7,
    };
    golden(
        &shard,
        hex![
            "0000000000000001",                 // model
            "00000002",                         // round
            "00000003",                         // slot
            fill("11", 32),                     // base
            fill("22", 32),                     // payload
            "00000004000000050000000600000007", // length, losses, tokens
        ],
    );
    let close = RoundCloseBody {
        model: ModelId(1),
        round: Round(2),
        base: Hash([0x11; 32]),
        shards: vec![Digest([0x33; 32])],
        next: Hash([0x22; 32]),
    };
    golden(
        &close,
        hex![
            "0000000000000001",
            "00000002",
            fill("11", 32), // base
            "00000001",     // shards
            fill("33", 32),
            fill("22", 32), // next
        ],
    );
    let audit = AuditBody {
        of: AccountId(4),
        work: Digest([0x11; 32]),
        finding: Finding::Shard {
            record: Digest([0x22; 32]),
            verdict: Verdict::Fail,
            report: ReplayReport { overlap: 2, cosine: 3, norm: 4 },
        },
    };
    golden(
        &audit,
        hex![
            "03",                       // kind judged
            "0000000000000004",         // whose work
            fill("11", 32),             // its subject
            fill("22", 32),             // its record
            "01",                       // verdict
            "000000020000000300000004", // overlap, cosine, norm
        ],
    );
}

#[test]
fn attributions_and_receipts() {
    golden(&receipt(), &[receipt_hex()]);
    golden(
        &attribution(),
        hex![
            "0000000000000009", // model
            fill("22", 32),     // checkpoint
            receipt_hex(),
            "00000000",     // promises that pay for it, beyond its receipt's own
            fill("33", 32), // transcript
            "00000002000000030000000400000005", // length, tokens in, tokens out, lambda
            "00000001",     // shares
            "0000000000000004000f4240",
        ],
    );
}

#[test]
fn uses_that_were_paid_step_by_step() {
    let paid = receipt().receipt;
    let (paid, ranges) = Ranges::default()
        .raised(&paid, (Amount(paid.cumulative.0 + 5), Amount(paid.cumulative.0 + 8)))
        .unwrap();
    assert_eq!((paid.price, paid.nonce), (Amount(10), 1));
    let bytes = [
        "00000002", // ranges
        "00000000000000000de0b6b3a763fff9",
        "00000000000000000de0b6b3a7640000",
        "00000000000000000de0b6b3a7640005",
        "00000000000000000de0b6b3a7640008",
    ];
    golden(&ranges, &[bytes.concat(), fill("66", 32)]);
    let named =
        [b"openledger/ranges".to_vec(), vec![0x66; 32], hex::decode(bytes.concat()).unwrap()];
    assert_eq!(paid.request, keccak(&[&named.concat()]));
}

#[test]
fn a_conversation() {
    let line = |role: &str, content: &str| Line { role: role.into(), content: content.into() };
    let lines = vec![line("system", "ab"), line("user", "c")];
    let bytes = hex![
        "01",
        "00000002", // lines
        "00000006",
        "73797374656d", // system
        "000000026162",
        "00000004",
        "75736572", // user
        "0000000163",
    ];
    golden(&Prompt::Chat(lines), bytes);
    let line = line("user", &"x".repeat(MAX_PROMPT_BYTES - 12));
    let longest = Prompt::Chat(vec![line.clone()]);
    assert_eq!(Prompt::from_bytes(&longest.to_bytes()), Ok(longest));
    let over = Prompt::Chat(vec![line, Line { role: String::new(), content: String::new() }]);
    assert!(matches!(Prompt::from_bytes(&over.to_bytes()), Err(DecodeError::Invalid(_))));
}

#[test]
fn a_use_of_a_model() {
    let ask = Ask {
        payer: EvmAddress([0xaa; 20]),
        model: ModelId(9),
        prompt: Prompt::Text("ab".into()),
        max_tokens: 3,
        temperature_ppm: 4,
        top_p_ppm: 5,
        top_k: 6,
        seed: 7,
    };
    golden(
        &FromConsumer::Ask(ask),
        hex![
            "01",
            fill("aa", 20),                     // payer
            "0000000000000009",                 // model
            "00000000026162",                   // prompt: a text
            "00000003000000040000000500000006", // tokens, temperature, top p, top k
            "0000000000000007",                 // seed
        ],
    );
    golden(&FromConsumer::Pay(receipt()), hex!["02", receipt_hex()]);
    golden(&FromConsumer::Enough, hex!["03"]);
    let quoted = FromServer::Quoted {
        payee: AccountId(4),
        promised: Amount(7),
        tokens_in: 2,
        tokens_out: 3,
    };
    let seven = "00000000000000000000000000000007";
    golden(&quoted, hex!["01", "0000000000000004", seven, "0000000200000003"]);
    golden(&FromServer::Paid { tokens: 3 }, hex!["02", "00000003"]);
    let unpaid = FromServer::Unpaid { promised: Amount(7), reason: "no".into() };
    golden(&unpaid, hex!["03", seven, "000000026e6f"]);
    golden(
        &FromServer::Text { text: "no".into(), tokens: 1 },
        hex!["04", "000000026e6f", "00000001"],
    );
    let done = FromServer::Done { tokens: 3, price: Amount(7), record: Digest([0x11; 32]) };
    golden(&done, hex!["05", "00000003", seven, fill("11", 32)]);
    let refused = FromServer::Refused { cause: Cause::Busy, reason: "no".into() };
    golden(&refused, hex!["06", "05", "000000026e6f"]);
}

#[test]
fn records_and_messages() {
    golden(&record(), &[record_hex()]);
    golden(&Gossip::Record(record()), hex!["02", record_hex()]);
    let have = Gossip::Have(vec![BlobRef::new(Hash([0x22; 32]), 10)]);
    golden(&have, hex!["01", "00000001", fill("22", 32), "000000000000000a"]);
    let part = Part::ALL.parts().nth(10).unwrap();
    let request = Request::Records { epoch: Epoch(3), part, after: Digest([0x11; 32]) };
    golden(&request, hex!["01", "0000000000000003", "01a0000000", fill("11", 32)]);
    let sums = Request::Sums { epoch: Epoch(3), part };
    golden(&sums, hex!["03", "0000000000000003", "01a0000000"]);
    let sum = Sum { count: 2, digest: [0x55; 16] };
    golden(&Answer::Sums(vec![sum]), hex!["03", "00000001", "00000002", fill("55", 16)]);
    let has = Request::Has(vec![Hash([0x22; 32])]);
    golden(&has, hex!["02", "00000001", fill("22", 32)]);
    golden(&Answer::Records(vec![record()]), hex!["01", "00000001", record_hex()]);
    let answer =
        Answer::Has { account: AccountId(4), blobs: vec![BlobRef::new(Hash([0x22; 32]), 10)] };
    let blob = fill("22", 32) + "000000000000000a";
    golden(&answer, hex!["02", "0000000000000004", "00000001", blob]);
}

#[test]
fn manifests_runs_and_logs() {
    golden(
        &manifest(),
        hex![
            "01",       // version
            "00000001", // documents
            "00000004612e6d64",
            "000000000000000a",
            fill("44", 32),
            "00000001", // packs
            fill("22", 32),
            "000000000000000a",
            "00000001", // units
            "000000000000000100000009",
        ],
    );
    golden(
        &config(),
        hex![
            "01",               // version
            "00",               // a model from nothing:
            "00",               // preset
            fill("33", 32),     // tokenizer
            "00000005",         // its length
            "0000000000000006", // seed
            "00000007",         // rounds
            "00000008",         // units of a shard
            "0000000b",         // steps
            "00000009",         // batch
            "00000060",         // context
            "00000002",         // warm-up
            "0000000a",         // learning rate
            "000186a0",         // final rate
            "00000040",         // top k
            "000aae60",         // alpha
            "00000001",         // ranges of contributions
            "00000000000000020000000000000004",
        ],
    );
}

#[test]
fn the_order_of_an_adapter() {
    let shape = Shape {
        vocab: 512,
        context: 128,
        width: 64,
        layers: 3,
        heads: 4,
        ffn: 96,
        parameters: 200_000,
    };
    let order = AdapterOrder {
        base: BlobRef::new(Hash([0x11; 32]), 800_512),
        card: BlobRef::new(Hash([0x22; 32]), 300),
        shape,
        rank: 8,
        scale: 2_000_000,
        targets: 5,
    };
    golden(
        &RunModel::Adapter(order),
        hex![
            "01",               // an adapter
            fill("11", 32),     // base
            "00000000000c3700", // its length
            fill("22", 32),     // card
            "000000000000012c", // its length
            "00000200",         // vocabulary
            "00000080",         // context
            "00000040",         // width
            "00000003",         // layers
            "00000004",         // heads
            "00000060",         // inner width of SwiGLU
            "0000000000030d40", // parameters
            "00000008",         // rank
            "001e8480",         // scale
            "05",               // targets
        ],
    );
}

/// Computed with `eth_account` from the typed data alone.
#[test]
fn typed_data_digests_and_signatures_are_those_of_ordinary_wallets() {
    let key = EvmKey::from_bytes(&[7; 32]).unwrap();
    let id = "8ac8a2b7c29a0a4f9f99f2c2769977a7fb3671098a66fbd4a70c9147341daf09";
    let signature = "6a5c015b140c78fd59e756523b6fa6879b3cf1992323f12635fe87df2a400ba97c07fba2cc\
                     ef1da81cd624ce58d6854bef086c0a2b56b561a0f4d748115365ed1c";
    let record = record().record;
    assert_eq!(record.id(&domain()), id.parse().unwrap());
    let signed = record.sign(&domain(), &key).unwrap();
    assert_eq!(hex::encode(signed.signature.0), signature);

    let digest = "eccc59abbf6b67d29aeda5ca6f1ff7238a568397dbea496a42cc0193673851bf";
    let signature = "befc1ba61fe16edf9998220f32c6ddcd9fc506b5cde8c8bfbce3f4cee72c8f6372f50b1a95\
                     fd58806d98cf5f69673831233d412ebfc815317be808f1872c53851c";
    let receipt = Receipt { payer: key.address(), ..receipt().receipt };
    assert_eq!(receipt.payer, "0x4a62316623ad457F02cDC5D997deD67a383EC569".parse().unwrap());
    assert_eq!(receipt.digest(&domain()), digest.parse().unwrap());
    let signed = receipt.sign(&domain(), &key).unwrap();
    assert_eq!(hex::encode(signed.signature.0), signature);
    assert_eq!(signed.verify(&domain()), Ok(()));
}
