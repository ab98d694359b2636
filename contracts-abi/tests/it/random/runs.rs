//! The ModelRegistry: who orders runs, what is paid for them, and who offers what came out. All that is paid is
//! in the vault, as fees of the epoch in which it was.

use std::collections::BTreeMap;

use alloy::primitives::{B256, U256};
use protocol::chain::ChainView;
use protocol::{Amount, ModelId};

use super::account::{self, Account};
use super::driver::{Done, Draw, Encoded, Model, Step, need};
use super::token;
use crate::contracts::world::abi::datanets::DatanetRegistry;
use crate::contracts::world::abi::models::IModelRegistry::Permit;
use crate::contracts::world::abi::models::ModelRegistry;
use crate::contracts::world::abi::open::Open;
use crate::contracts::world::{ACCOUNTS, EPOCH_BLOCKS, OPEN, RewardVault, World, who};

/// Development accounts that send: each of the first accounts is of the one of its number, the next has the hot
/// key of account 3, and the last has nothing.
const PEOPLE: usize = 6;
const HOT: usize = 4;
const MAX_CONFIG: usize = 4_096;
/// Datanets that there are.
const DATANETS: u64 = 2;

#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    developer: u64,
    datanet: u64,
    escrow: u128,
    config: usize,
}

#[derive(Clone, Debug)]
pub(super) enum Call {
    Approve(u128),
    Order(Order),
    /// With a permit of somebody, which has the number of the next one or not.
    Permitted {
        order: Order,
        signer: usize,
        nonce: u64,
    },
    Register {
        developer: u64,
        config: usize,
    },
    Publish {
        model: u64,
        checkpoint: u8,
        server: u64,
    },
}

#[derive(Clone)]
pub(super) struct Runs {
    genesis: u64,
    accounts: Vec<Account>,
    held: Vec<u128>,
    /// What each lets the contract take; the greatest is without an end.
    allowed: Vec<u128>,
    nonces: Vec<u64>,
    /// Developer, Datanet and checkpoint.
    models: Vec<(u64, u64, u8)>,
    fees: BTreeMap<u64, u128>,
    vault: u128,
}

impl Runs {
    fn order(&mut self, from: usize, order: &Order, block: u64) -> Done {
        let Order { developer, datanet, escrow, config } = *order;
        self.controls(developer, from)?;
        need(escrow > 0, "NothingPaid")?;
        need((1..=DATANETS).contains(&datanet), "UnknownDatanet")?;
        need((1..=MAX_CONFIG).contains(&config), "BadConfig")?;
        if self.allowed[from] != u128::MAX {
            let left = self.allowed[from].checked_sub(escrow);
            self.allowed[from] = left.ok_or("ERC20InsufficientAllowance")?;
        }
        let left = self.held[from].checked_sub(escrow);
        self.held[from] = left.ok_or("ERC20InsufficientBalance")?;
        self.models.push((developer, datanet, 0));
        let epoch = block.saturating_sub(self.genesis) / EPOCH_BLOCKS;
        *self.fees.entry(epoch).or_default() += escrow;
        self.vault += escrow;
        Ok(())
    }

    fn controls(&self, account: u64, from: usize) -> Done {
        need(account::controls(&self.accounts, account, who(from)), "NotController")
    }

    fn drawn(&self, draw: &mut Draw, from: usize) -> Order {
        Order {
            developer: draw.below(ACCOUNTS as usize + 2) as u64,
            datanet: draw.of(&[0, 1, 1, 2, 2, 2, DATANETS + 1, u64::MAX]),
            escrow: draw.of(&[
                0,
                1,
                OPEN,
                7 * OPEN,
                self.held[from],
                self.held[from] + 1,
                u128::MAX / 2,
            ]),
            config: draw.of(&[0, 1, 90, 90, 90, MAX_CONFIG, MAX_CONFIG + 1]),
        }
    }
}

fn created(order: &Order) -> ModelRegistry::createModelCall {
    ModelRegistry::createModelCall {
        developer: order.developer,
        datanet: order.datanet,
        escrow: order.escrow,
        config: vec![7; order.config].into(),
    }
}

impl Model for Runs {
    type Call = Call;
    const CALLS: &'static [&'static str] = &[
        "ModelRegistry.createModel",
        "ModelRegistry.createModelWithPermit",
        "ModelRegistry.registerBase",
        "ModelRegistry.publish",
    ];

    fn start(world: &mut World<'_>) -> Self {
        for _ in 0..DATANETS {
            let (name, domain) = ("verse".into(), "poetry".into());
            let (licence, policy, owner) = (1, 0, 1);
            let create =
                DatanetRegistry::createDatanetCall { name, domain, licence, policy, owner };
            world.send(1, world.datanets, &create);
        }
        for person in 1..PEOPLE - 1 {
            let value = U256::from(1_000 * OPEN);
            world.send(0, world.open, &Open::transferCall { to: who(person), value });
        }
        let accounts = account::with_hot_key(world, who(HOT));
        Self {
            genesis: world.genesis,
            accounts,
            held: (0..PEOPLE).map(|person| world.balance(who(person)).to()).collect(),
            allowed: vec![0; PEOPLE],
            nonces: vec![0; PEOPLE],
            models: Vec::new(),
            fees: BTreeMap::new(),
            vault: world.balance(world.vault).to(),
        }
    }

    fn draw(&self, draw: &mut Draw, _block: u64) -> Step<Call> {
        let from = draw.below(PEOPLE);
        let order = self.drawn(draw, from);
        let own = if from == HOT { 3 } else { from as u64 };
        let order = if draw.one_in(6) { order } else { Order { developer: own, ..order } };
        let call = match draw.below(9) {
            0 => Call::Approve(draw.of(&[0, 5 * OPEN, 100 * OPEN, u128::MAX])),
            1..=3 => Call::Order(order),
            4 | 5 => {
                let signer = if draw.one_in(5) { draw.below(PEOPLE) } else { from };
                let nonce = self.nonces[signer] + u64::from(draw.one_in(5));
                Call::Permitted { order, signer, nonce }
            }
            6 => Call::Register { developer: order.developer, config: order.config },
            _ => Call::Publish {
                model: draw.below(self.models.len() + 2) as u64,
                checkpoint: 1 + draw.below(9) as u8,
                server: draw.of(&[1, 2, 3, 9, 0]),
            },
        };
        let wait = if draw.one_in(8) { draw.below(EPOCH_BLOCKS as usize) as u64 } else { 0 };
        Step { wait, from, call }
    }

    fn encode(&self, world: &mut World<'_>, call: &Call) -> Encoded {
        let at = world.models;
        match *call {
            Call::Approve(amount) => {
                let value = if amount == u128::MAX { U256::MAX } else { U256::from(amount) };
                let call = Open::approveCall { spender: at, value };
                Encoded::new("Open.approve", world.open, &call)
            }
            Call::Order(order) => Encoded::new("ModelRegistry.createModel", at, &created(&order)),
            Call::Permitted { order, signer, nonce } => {
                let deadline = U256::MAX;
                let words =
                    (who(signer), at, U256::from(order.escrow), U256::from(nonce), deadline);
                let (v, r, s) = token::permit(world.open, signer, words);
                let call = created(&order);
                let call = ModelRegistry::createModelWithPermitCall {
                    developer: call.developer,
                    datanet: call.datanet,
                    escrow: call.escrow,
                    config: call.config,
                    permit: Permit { deadline, v, r, s },
                };
                Encoded::new("ModelRegistry.createModelWithPermit", at, &call)
            }
            Call::Register { developer, config } => {
                let call =
                    ModelRegistry::registerBaseCall { developer, config: vec![7; config].into() };
                Encoded::new("ModelRegistry.registerBase", at, &call)
            }
            Call::Publish { model, checkpoint, server } => {
                let checkpoint = B256::repeat_byte(checkpoint);
                let call = ModelRegistry::publishCall {
                    id: model,
                    checkpoint,
                    sketchRoot: checkpoint,
                    server,
                    priceIn: 1,
                    priceOut: u128::MAX,
                    priceUse: 0,
                };
                Encoded::new("ModelRegistry.publish", at, &call)
            }
        }
    }

    fn apply(&mut self, from: usize, call: &Call, block: u64) -> Done {
        match *call {
            Call::Approve(amount) => {
                self.allowed[from] = amount;
                Ok(())
            }
            Call::Order(order) => self.order(from, &order, block),
            Call::Permitted { order, signer, nonce } => {
                if signer == from && nonce == self.nonces[from] {
                    self.nonces[from] += 1;
                    self.allowed[from] = order.escrow;
                }
                self.order(from, &order, block)
            }
            Call::Register { developer, config } => {
                self.controls(developer, from)?;
                need((1..=MAX_CONFIG).contains(&config), "BadConfig")?;
                self.models.push((developer, 0, 0));
                Ok(())
            }
            Call::Publish { model, checkpoint, server } => {
                let index = usize::try_from(model).unwrap().checked_sub(1);
                let known = index.filter(|index| *index < self.models.len());
                let index = known.ok_or("UnknownModel")?;
                self.controls(self.models[index].0, from)?;
                need((1..=ACCOUNTS).contains(&server), "UnknownServer")?;
                self.models[index].2 = checkpoint;
                Ok(())
            }
        }
    }

    fn compare(&self, world: &mut World<'_>, from: usize, call: &Call) {
        let count = world.read(world.models, &ModelRegistry::modelsCall {});
        assert_eq!(count, self.models.len() as u64);
        let id = if let Call::Publish { model, .. } = call { *model } else { count };
        let known = id.checked_sub(1).and_then(|index| self.models.get(index as usize));
        let (developer, datanet, checkpoint) = known.copied().unwrap_or_default();
        let found = world.read(world.models, &ModelRegistry::modelCall { id });
        let found = (found.developer, found.datanet, found.checkpoint);
        assert_eq!(found, (developer, datanet, B256::repeat_byte(checkpoint)));
        assert_eq!(world.balance(who(from)), U256::from(self.held[from]));
        assert_eq!(world.balance(world.vault), U256::from(self.vault));
        assert_eq!(world.balance(world.models), U256::ZERO, "what is paid is in the vault");
    }

    fn compare_all(&self, world: &mut World<'_>) {
        for (person, held) in self.held.iter().enumerate() {
            assert_eq!(world.balance(who(person)), U256::from(*held), "{person}");
        }
        let mut all = 0;
        for (epoch, fees) in &self.fees {
            all += fees;
            let call = RewardVault::feesUpToCall { epoch: *epoch };
            assert_eq!(world.read(world.vault, &call), all, "up to {epoch}");
        }
    }

    fn compare_view(&self, _world: &mut World<'_>, view: &ChainView) {
        let ordered = self.models.iter().filter(|(_, datanet, _)| *datanet > 0).count();
        assert_eq!(view.models().count(), ordered);
        assert_eq!(
            view.bases().count(),
            0,
            "what they were registered with says nothing of a base"
        );
        for (index, (_, _, checkpoint)) in self.models.iter().enumerate() {
            let id = ModelId(index as u64 + 1);
            let offered = view.publication(id).map(|publication| publication.checkpoint.0);
            let expected = (*checkpoint > 0).then_some([*checkpoint; 32]);
            assert_eq!(offered, expected);
        }
        let escrows =
            view.models().map(|(_, model)| model.escrow).fold(0, |all, Amount(of)| all + of);
        assert_eq!(escrows, self.fees.values().sum::<u128>());
    }
}
