//! A record for tests, small and whole.

use protocol::{AccountId, DatanetId, Digest, EvmAddress, Hash, ModelId};

use crate::api::types::{
    AttributionReport, ContributorReport, EvidenceKind, MarkedSpan, Place, RuleReport, Sources,
    UnitLine,
};

const OUTPUT: &str =
    " is a temporary insanity curable by marriage, and all the king’s horses were gone.";

fn contributor(account: u64, parts: [u32; 3]) -> ContributorReport {
    let [share_ppm, gradient_ppm, span_ppm] = parts;
    ContributorReport {
        account: AccountId(account),
        address: EvmAddress([u8::try_from(account).unwrap(); 20]),
        share_ppm,
        gradient_ppm,
        span_ppm,
        confidence_ppm: None,
    }
}

fn span(words: &str, owner: u64, millibits: u64) -> MarkedSpan {
    let from = OUTPUT.find(words).unwrap();
    MarkedSpan {
        from,
        to: from + words.len(),
        tokens: u32::try_from(words.split(' ').count()).unwrap(),
        unit: Hash([u8::try_from(owner).unwrap(); 32]),
        owner: AccountId(owner),
        count: 1,
        millibits,
    }
}

fn unit(owner: u64, share_ppm: u32, kind: EvidenceKind, text: &str) -> UnitLine {
    UnitLine {
        unit: Hash([u8::try_from(owner).unwrap(); 32]),
        rank: u32::try_from(owner).unwrap(),
        owner: AccountId(owner),
        tokens: 120,
        cluster: owner,
        score: i64::from(share_ppm) * 1_000,
        span_millibits: 0,
        kind,
        share_ppm,
        document: Some(format!("document-{owner}.txt")),
        text: Some(text.to_owned()),
        places: Vec::new(),
    }
}

/// A record of two spans, three contributors and three units.
pub(crate) fn report() -> AttributionReport {
    let [quote, rhyme] = ["a temporary insanity curable by marriage", "all the king’s horses"];
    let text = format!("Love, n. {quote} or by removal of the patient.\n");
    let mut bierce = unit(7, 410_000, EvidenceKind::Both, &text);
    bierce.document = Some("devils-dictionary.txt".to_owned());
    bierce.span_millibits = 41_300;
    let from = text.find(quote).unwrap();
    bierce.places.push(Place { span: 0, from, to: from + quote.len() });
    let plain = unit(9, 130_000, EvidenceKind::Gradient, "It is a truth universally known.");
    let mut goose = unit(12, 90_000, EvidenceKind::Span, &format!("{rhyme} and all his men"));
    goose.span_millibits = 18_000;
    goose.places.push(Place { span: 1, from: 0, to: rhyme.len() });
    AttributionReport {
        schema: 1,
        model: ModelId(1),
        datanet: DatanetId(1),
        prompt: "Love".to_owned(),
        output: OUTPUT.to_owned(),
        seed: Some(5),
        tokens_in: 1,
        tokens_out: 16,
        contributors: vec![
            contributor(7, [610_000, 590_000, 700_000]),
            contributor(9, [299_700, 380_000, 0]),
            contributor(12, [90_300, 30_000, 300_000]),
        ],
        lambda_ppm: 214_000,
        is_pool: false,
        output_millibits: 140_000,
        spans: vec![span(quote, 7, 41_300), span(rhyme, 12, 18_000)],
        units: vec![bierce, plain, goose],
        sources: Sources {
            checkpoint: Hash([1; 32]),
            sketch_root: Digest([2; 32]),
            snapshot: Hash([3; 32]),
            tokenizer: Hash([4; 32]),
            parameters: 1_234_567,
            units: 1_432,
            owners: 3,
        },
        rule: RuleReport {
            floor_per_token: 0,
            lambda_max_ppm: 500_000,
            span_min_millibits: 16_000,
            span_max_count: 64,
            echo_millibits: 16_000,
        },
    }
}
