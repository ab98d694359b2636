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
        "adverse_return",
        "1",
        "What adversaries earned and lost for each unit of stake that they began with, against what \
         honest nodes did: above 1, cheating pays more than work.",
    ),
    kpi(
        "settlement_delay",
        "blocks",
        "From the end of an epoch until its settlement was final, in the worst one.",
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
        "What all operators spend on power, wear and upload, per GiB that is proven for a month. Small \
         packs make it large: a node costs the same however little it holds.",
    ),
    kpi(
        "attack_profit",
        "USD per node",
        "Income of an adversary's node at the price of its time, less its power, wear and upload.",
    ),
    kpi("operators_quit", "operators", "Honest operators that quit because of losses."),
    kpi("operators_back", "operators", "Operators that came back after they had quit."),
    kpi(
        "emission_earned",
        "share of budget",
        "Emission of the settled epochs that somebody earned; the rest stays in the vault.",
    ),
    kpi(
        "fees_to_emission",
        "OPEN per OPEN",
        "Fees that consumers paid, against the emission that was earned in the same epochs.",
    ),
    kpi("retrieval_p50", "s", "Time in which half of the packs that nodes fetched were there."),
    kpi("retrieval_p99", "s", "Time in which 99 of 100 packs that nodes fetched were there."),
    kpi("bytes_fetched_per_node", "B", "Bytes that a node fetched, on average."),
    kpi("gas_per_transaction", "gas", "Gas of a transaction that succeeded, on average."),
    kpi("shards_verified", "shards", "Shards, sketches among them, that the settlements pay for."),
    kpi("shards_rejected", "share of shards", "Shards that their auditors rejected."),
    kpi("shards_late", "share of shards", "Shards that nobody audited before the settlement."),
    kpi(
        "honest_shards_unpaid",
        "share of shards",
        "Shards that an honest worker computed and nobody was paid for, of all that were computed.",
    ),
    kpi(
        "forged_paid",
        "share of forged shards",
        "Shards that their worker did not compute and was paid for.",
    ),
    kpi(
        "forged_detection_time",
        "s",
        "From the claim of a wrong shard until an honest auditor rejects it, on average over those \
         that are rejected.",
    ),
    kpi(
        "cost_per_shard",
        "USD",
        "Power of the devices for all shards and replays, per shard that is paid.",
    ),
    kpi("rounds_closed", "rounds", "Training rounds that some node saw closed."),
    kpi("models_ready", "models", "Models whose run some node saw finished."),
    kpi(
        "loss_before",
        "nat/token",
        "Mean loss of the first model on its data before training; only with training.real_compute.",
    ),
    kpi("loss_after", "nat/token", "The same after the last round that closed."),
    kpi("requests_served", "share of requests", "Requests of consumers that were answered."),
    kpi("inference_p50", "s", "Median time from a consumer's question to its answer."),
    kpi("inference_p95", "s", "Time in which 95 % of the answers came."),
    kpi("inference_p99", "s", "Time in which 99 % of the answers came."),
    kpi("fees_redeemed", "OPEN", "Fees that consumers paid, as far as they are settled."),
    kpi("fees_contributors", "OPEN", "Of these, what contributors of data got."),
    kpi("fees_developers", "OPEN", "Of these, what model developers got."),
    kpi("fees_stakers", "OPEN", "Of these, what stakers got."),
    kpi("fees_nodes", "OPEN", "Of these, what the nodes got that served and stored."),
    kpi("fees_treasury", "OPEN", "Of these, what the treasury got."),
    kpi(
        "adverse_data",
        "share of units",
        "Units of the first model's data that adversaries contributed: copies, or split.",
    ),
    kpi(
        "adverse_attribution",
        "share of fees_contributors",
        "What adversaries got of the contributors' part for that data.",
    ),
    kpi(
        "self_dealing_profit",
        "OPEN",
        "What a self-dealing adversary got for the uses of its own model, less what it paid for them.",
    ),
    kpi(
        "self_ordering_profit",
        "OPEN",
        "What an adversary got for work on runs that it ordered itself, less what it paid for them.",
    ),
    kpi(
        "fees_unpaid",
        "OPEN",
        "Answers that nothing stands behind: neither redeemed nor covered by the deposit.",
    ),
    kpi(
        "lookup_p50",
        "ms",
        "Time within which half of the lookups of an address found it; none without net.dht.",
    ),
    kpi("lookup_p99", "ms", "Time within which 99 of 100 lookups of an address found it."),
    kpi(
        "lookups_failed",
        "share of lookups",
        "Lookups that found nobody who answers, or took longer than a minute.",
    ),
    kpi("records_per_epoch", "records", "Records that went out in an epoch, on average."),
    kpi(
        "bytes_per_node",
        "bytes per epoch",
        "What a node sends and receives in an epoch, headers and all, on average without the first \
         epoch.",
    ),
    kpi("bytes_control", "bytes per epoch", "Of these, gossip, pull sync and connections."),
    kpi("bytes_data", "bytes per epoch", "Of these, blobs."),
    kpi("bytes_chain", "bytes per epoch", "Of these, the chain's RPC."),
    kpi(
        "reorg_stops",
        "stops per node",
        "How often a node stopped since blocks that it had read were replaced, on average.",
    ),
    kpi(
        "quantum_shift",
        "ms",
        "What rounding up to the time quantum added to the time of an event, on average; none at 1us.",
    ),
];
