//! The contracts, on the embedded chain always and on anvil where one is found.
//!
//! Each scenario is a function of a [`Chain`]; `PATH` or the variable `ANVIL` says where anvil is.

mod allowance;
pub(crate) mod blake3_slices;
pub(crate) mod chain;
mod data;
mod deposits;
mod disputes;
mod inclusion;
mod lane;
mod losses;
mod orders;
pub(crate) mod replacement;
mod rivals;
pub(crate) mod settlements;
mod trees;
pub(crate) mod world;

use chain::{AnvilChain, Chain, EmbeddedChain};

/// Runs a scenario on every chain there is.
fn on_every_chain(scenario: fn(&mut dyn Chain)) {
    scenario(&mut EmbeddedChain::new());
    match AnvilChain::start() {
        Some(mut anvil) => scenario(&mut anvil),
        None => eprintln!("no anvil found: the scenario ran on the embedded chain only"),
    }
}

/// Compares whole-transaction gas with the snapshot, which the variable `UPDATE_GAS` rewrites.
fn check_gas(measured: &[(&str, u64)], limits: &[(&str, u64)]) {
    for (name, limit) in limits {
        let gas = measured.iter().find(|(n, _)| n == name).expect("each limit is measured").1;
        assert!(gas <= *limit, "{name}: {gas} gas, at most {limit}");
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/gas-snapshot.json");
    let text = std::fs::read_to_string(path).unwrap_or_else(|_| "{}".into());
    let mut snapshot: std::collections::BTreeMap<String, u64> =
        serde_json::from_str(&text).unwrap();
    if std::env::var_os("UPDATE_GAS").is_some() {
        snapshot.extend(measured.iter().map(|(name, gas)| ((*name).to_owned(), *gas)));
        let text = serde_json::to_string_pretty(&snapshot).unwrap();
        std::fs::write(path, text + "\n").unwrap();
        return;
    }
    for (name, gas) in measured {
        let known = snapshot.get(*name).copied().unwrap_or_default();
        // Calldata holds hashes, whose zero bytes are cheaper: a run may differ by a little.
        assert!(gas.abs_diff(known) <= known / 100, "{name}: {gas} gas, the snapshot says {known}");
    }
}

#[test]
fn blake3_slices_verify_as_the_blake3_crate_says() {
    on_every_chain(blake3_slices::scenario);
}

#[test]
fn what_is_contributed_locks_a_deposit_by_its_bytes_until_its_time_is_over() {
    on_every_chain(data::scenario);
}

#[test]
fn what_is_earned_without_a_stake_is_held_until_it_is_one() {
    on_every_chain(lane::scenario);
}

#[test]
fn a_settlement_is_challenged_finalised_and_claimed() {
    on_every_chain(settlements::scenario);
}

#[test]
fn an_order_is_paid_for_when_it_is_made() {
    on_every_chain(orders::scenario);
}

#[test]
fn a_deposit_goes_back_in_its_window_and_at_no_other_time() {
    on_every_chain(deposits::scenario);
}

#[test]
fn a_storage_dispute_is_answered_or_slashed() {
    on_every_chain(disputes::scenario);
}

#[test]
fn two_disputes_that_nobody_answers_are_one_fault_and_no_lost_bond() {
    on_every_chain(disputes::at_once);
}

#[test]
fn taking_all_places_for_disputes_costs_more_than_an_epoch_pays() {
    on_every_chain(disputes::places);
}

#[test]
fn a_dispute_ends_before_the_cutoff_and_a_changed_key_escapes_none() {
    on_every_chain(disputes::times_and_keys);
}

#[test]
fn who_signs_with_a_stolen_key_and_disputes_that_earns_nothing_and_takes_no_more_than_allowed() {
    on_every_chain(disputes::stolen_key);
}

#[test]
fn a_key_is_changed_once_a_block() {
    on_every_chain(disputes::one_key_a_block);
}

#[test]
fn disputes_are_not_deployed_where_there_is_no_time_to_answer() {
    on_every_chain(disputes::no_time);
}

#[test]
fn another_contract_for_proposals_carries_on_with_what_is_final() {
    on_every_chain(replacement::scenario);
}

#[test]
fn bonds_in_a_contract_for_proposals_that_was_replaced_come_back_or_are_lost() {
    on_every_chain(replacement::bonds);
}

#[test]
fn receipts_of_an_escrow_that_was_replaced_are_paid_there_and_once() {
    on_every_chain(deposits::replaced);
}

#[test]
fn a_dispute_in_a_contract_that_was_replaced_ends_there_and_a_node_loses_once() {
    on_every_chain(disputes::replaced);
}

#[test]
fn a_right_proposal_waits_for_no_false_one() {
    on_every_chain(rivals::side_by_side);
}

#[test]
fn an_objection_to_what_is_right_delays_it_by_one_ruling() {
    on_every_chain(rivals::ruled_right);
}

#[test]
fn an_arbiter_that_is_away_stops_nothing_and_what_is_final_says_who_was_right() {
    on_every_chain(rivals::without_arbiter);
}

#[test]
fn who_objects_to_its_own_proposal_loses_money() {
    on_every_chain(rivals::self_objection);
}

#[test]
fn who_challenges_its_own_proposal_loses_money() {
    on_every_chain(rivals::self_challenge);
}

#[test]
fn who_ends_its_own_rival_loses_money() {
    on_every_chain(rivals::self_rival);
}

#[test]
fn who_copies_what_others_send_gains_nothing() {
    on_every_chain(rivals::front_running);
}

#[test]
fn the_first_seed_of_an_epoch_with_records_is_kept() {
    on_every_chain(inclusion::seeds);
}

#[test]
fn a_hot_key_loses_no_more_than_its_owner_allowed() {
    on_every_chain(allowance::scenario);
}

#[test]
fn paths_in_sum_trees_lead_where_rust_says() {
    trees::scenario();
}
