//! What the key figures mean.

/// A key figure, explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KpiWords {
    /// Its stable name.
    pub name: &'static str,
    /// In what it is.
    pub unit: &'static str,
    /// What it says.
    pub about: &'static str,
}

const fn kpi(name: &'static str, unit: &'static str, about: &'static str) -> KpiWords {
    KpiWords { name, unit, about }
}

/// All key figures, in the order of reports.
pub const KPIS: &[KpiWords] = &[
    kpi(
        "durability",
        "share of packs",
        "Packs of which at least one assigned replica is on a node that is online, at the end of \
         the worst epoch.",
    ),
    kpi(
        "replicas_live",
        "share of assigned",
        "Assigned replicas that are really on a node that is online, over all epochs.",
    ),
    kpi(
        "replicas_proven",
        "share of assigned",
        "Assigned replicas that the settlements pay for, over all epochs.",
    ),
    kpi("epochs_settled", "share of epochs", "Epochs whose settlement became final."),
    kpi(
        "adverse_caught",
        "share of adverse holders",
        "Holders run by an adversary against whom an auditor found a fault, over all epochs.",
    ),
    kpi(
        "honest_unpaid",
        "share of honest holders",
        "Holders run by nobody's adversary that a settlement does not pay, over all epochs.",
    ),
    kpi(
        "detection_time_mean",
        "s",
        "From the first epoch in which a cheating node owes a proof until an honest auditor catches \
         it, on average over those that are caught.",
    ),
    kpi(
        "adverse_nodes_caught",
        "share of adverse nodes",
        "Cheating nodes that an honest auditor caught at least once.",
    ),
    kpi("pay_honest_mean", "OPEN", "Paid to a node that is no adversary's, on average."),
    kpi("pay_adverse_mean", "OPEN", "Paid to an adversary's node, on average."),
    kpi(
        "reward_gini",
        "1",
        "Gini coefficient of what nodes were paid: 0 when all have the same, near 1 when one has \
         all.",
    ),
    kpi(
        "pay_concentration",
        "HHI",
        "Herfindahl-Hirschman index of pay over operators: 1 for a monopoly. All nodes of a kind of \
         adversary count as one operator.",
    ),
    kpi(
        "cost_per_gib_month",
        "USD",
        "What all operators spend on power and wear, per GiB that is proven for a month.",
    ),
    kpi(
        "attack_profit",
        "USD per node",
        "Income of an adversary's node at the price of its time, less its power and wear.",
    ),
    kpi("operators_quit", "operators", "Honest operators that quit because of losses."),
    kpi("operators_back", "operators", "Operators that came back after they had quit."),
    kpi(
        "emission_earned",
        "share of budget",
        "Emission of the settled epochs that somebody earned; the rest stays in the vault.",
    ),
    kpi("bytes_fetched_per_node", "B", "Bytes that a node fetched, on average."),
    kpi("gas_per_transaction", "gas", "Gas of a transaction that succeeded, on average."),
];
