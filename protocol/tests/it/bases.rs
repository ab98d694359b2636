//! Models that no run made: what their answers pay, and to whom.

use protocol::{
    AccountId, Amount, BlobRef, Digest, Epoch, Hash, ModelId,
    base::BaseModel,
    chain::{ModelPublication, Registration, Transaction},
    codec::Wire,
    model::Shape,
    record::Kind,
    rules::attribution_auditors,
    settle::{Division, Source, verify},
};

use crate::{
    chain::{CONTRIBUTOR, TREASURY},
    net::Net,
    scenarios::{assert_conserved, earned},
    serving::{SERVER, ask, request, request_of, served},
};

/// Who registers the base.
const OWNER: AccountId = AccountId(2);
/// The base, after the run.
const BASE: ModelId = ModelId(2);

fn registration() -> Transaction {
    let file = |byte, length| BlobRef::new(Hash([byte; 32]), length);
    let base = BaseModel {
        checkpoint: file(1, 2_000_000),
        tokenizer: file(2, 20_000),
        card: file(3, 400),
        shape: Shape::of(0).unwrap(),
        name: "tales".to_owned(),
        licence: String::new(),
        origin: String::new(),
    };
    let config = base.to_bytes();
    Transaction::RegisterBase(Registration { id: ModelId(0), developer: OWNER, config })
}

fn offer() -> Transaction {
    Transaction::PublishModel(ModelPublication {
        model: BASE,
        checkpoint: Hash([1; 32]),
        sketch_root: Digest::ZERO,
        server: SERVER,
        price_in: Amount(10),
        price_out: Amount(20),
        price_use: Amount(51),
    })
}

/// A served run, and beside it a base by the same server.
fn with_base() -> Net {
    let mut net = served(21);
    net.chain.waiting.extend([registration(), offer()]);
    net.run_to(86);
    net
}

/// Whoever has a model trained on the data of others could register its weights as a base, and be paid in
/// their place.
#[test]
fn of_a_base_nobody_is_paid_as_its_contributor() {
    let mut net = with_base();
    assert_eq!(net.chain.view.base(BASE).unwrap().developer, OWNER);
    assert_eq!(ask(&mut net, request_of(BASE, 1, 1, (0, 1_000))), None);
    net.run_epochs(3);
    assert_conserved(&net, 2, 1_000);
    assert_eq!(earned(&net, 2, CONTRIBUTOR.0, Source::Attribution), 0);
    assert_eq!(earned(&net, 2, OWNER.0, Source::Attribution), 0);
    assert_eq!(earned(&net, 2, TREASURY.0, Source::Attribution), 450);
    // What its owner has of it is what it would have of the run.
    let own = earned(&net, 2, OWNER.0, Source::Model);
    let mut run = served(21);
    assert_eq!(ask(&mut run, request(1, 1, (0, 1_000))), None);
    run.run_epochs(3);
    assert_eq!(earned(&run, 2, CONTRIBUTOR.0, Source::Model), own);
    assert!(own > 0);
}

#[test]
fn of_an_output_of_a_base_there_is_nothing_to_audit() {
    let mut net = with_base();
    assert_eq!(ask(&mut net, request_of(BASE, 1, 1, (0, 1_000))), None);
    net.run_epochs(3);
    let mut known = net.peers[0].pool.values();
    let output = known.find(|record| record.record().body.kind() == Kind::Attribution).unwrap();
    assert_eq!(attribution_auditors(&net.chain.view, output), None);
    let work = &net.outcome(2).works[&output.id()];
    let division = work.output.as_ref().unwrap().division;
    assert_eq!((work.model, division), (BASE, Some(Division::Declared)));
}

/// Ids follow each other, so anybody can sign an output of a model that there will be. Were it settled by what the
/// chain says later, whoever proposed and whoever checks would come to different sums.
#[test]
fn what_comes_after_an_output_changes_nothing_of_its_settlement() {
    for is_base in [true, false] {
        let mut net = served(21);
        net.chain.waiting.push(offer());
        net.run_to(86);
        assert_eq!(ask(&mut net, request_of(BASE, 1, 1, (0, 1_000))), None);
        net.run_epochs(3);
        let before = net.outcome(2).clone();
        match is_base {
            true => net.chain.waiting.push(registration()),
            false => net.order_model(2),
        }
        net.chain.mine();
        assert!(net.chain.view.base(BASE).is_some() || net.chain.view.order(BASE).is_ok());
        let again = verify(&net.chain.view, &before.settlement, &net.parent(Epoch(2)));
        assert_eq!(again, Ok(before));
    }
}
