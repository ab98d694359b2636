//! The same words on the page and in the terminal.

use crate::api::types::{AttributionReport, EvidenceKind};

/// A part per million as a person reads it.
pub(super) fn percent(ppm: u32) -> String {
    match ppm {
        0 => "0 %".to_owned(),
        1..500 => "< 0.1 %".to_owned(),
        999_500..1_000_000 => "> 99.9 %".to_owned(),
        1_000_000.. => "100 %".to_owned(),
        _ => {
            let tenths = (ppm + 500) / 1_000;
            format!("{}.{} %", tenths / 10, tenths % 10)
        }
    }
}

/// Evidence in whole bits.
pub(super) fn bits(millibits: u64) -> String {
    match millibits / 1_000 {
        1 => "1 bit".to_owned(),
        bits => format!("{bits} bits"),
    }
}

/// A number of things, in their singular or plural.
pub(super) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number as u64), if number == 1 { one } else { many })
}

/// Digits in groups of three.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// What speaks for a unit.
pub(super) fn kind(kind: EvidenceKind) -> &'static str {
    match kind {
        EvidenceKind::Gradient => "gradient",
        EvidenceKind::Span => "span",
        EvidenceKind::Both => "gradient + span",
        EvidenceKind::Pool => "declared pool",
        EvidenceKind::None => "none",
    }
}

/// How often a span occurs in the data.
pub(super) fn occurrences(number: u32) -> String {
    match number {
        1 => "once in the data".to_owned(),
        2 => "twice in the data".to_owned(),
        _ => format!("{number} times in the data"),
    }
}

/// The part of the output's tokens that spans cover, in ppm.
pub(super) fn covered(report: &AttributionReport) -> u32 {
    let tokens: u64 = report.spans.iter().map(|span| u64::from(span.tokens)).sum();
    let whole = (report.tokens_out as u64).max(1);
    u32::try_from((tokens.min(whole) * 1_000_000) / whole).unwrap_or(1_000_000)
}

/// What was found, in two sentences.
pub(super) fn finding(report: &AttributionReport) -> String {
    if report.is_pool {
        return "Nothing in the data stands out for this text, so each contributor would be paid \
                for the amount of text that they gave."
            .to_owned();
    }
    let Some(first) = report.contributors.first() else {
        return "Nobody would be paid.".to_owned();
    };
    let verbatim = match report.spans.len() {
        0 => "No long enough run of the text stands word for word in the data; gradients alone \
              decide."
            .to_owned(),
        spans => format!(
            "{}, {} of its tokens, {} word for word in the data; spans decide {} of the payment, \
             gradients the rest.",
            count(spans, "run of the text", "runs of the text"),
            percent(covered(report)),
            if spans == 1 { "stands" } else { "stand" },
            percent(report.lambda_ppm),
        ),
    };
    format!(
        "Account {} would be paid {} of the contributors’ share. {verbatim}",
        first.account,
        percent(first.share_ppm)
    )
}

/// What the numbers say and what they do not, as headed paragraphs.
pub(super) fn limits(report: &AttributionReport) -> [(&'static str, String); 3] {
    let parameters = grouped(report.sources.parameters);
    let least = bits(report.rule.span_min_millibits);
    [
        (
            "Gradients",
            format!(
                "A gradient share estimates how much training on somebody’s text made this \
                 exchange, prompt and output, likelier. In a model of {parameters} parameters \
                 that mostly says which text the exchange resembles, in words and style. It does \
                 not say that the model looked a unit up, understood it, or is right."
            ),
        ),
        (
            "Spans",
            format!(
                "A span says that these very words stand in that unit, with at least {least} of \
                 evidence beyond chance. The earliest commitment owns them. It does not say that \
                 its author wrote them first, nor that the model knows them from there alone."
            ),
        ),
        (
            "Shares",
            "A share is what the payment rule makes of both, in integers that anybody with the \
             same data gets again. It is not the probability of being the source. This record was \
             computed by the node for its owner: nobody was paid for it."
                .to_owned(),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn parts_and_numbers_are_readable() {
        let parts = [0, 1, 500, 123_456, 999_499, 999_999, 1_000_000].map(percent);
        let expected = ["0 %", "< 0.1 %", "0.1 %", "12.3 %", "99.9 %", "> 99.9 %", "100 %"];
        assert_eq!(parts, expected);
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!((grouped(12), bits(1_999)), ("12".to_owned(), "1 bit".to_owned()));
    }

    #[test]
    fn the_finding_names_who_leads_and_what_decides() {
        let mut report = sample::report();
        let text = finding(&report);
        assert!(text.starts_with("Account 7 would be paid 61.0 %"), "{text}");
        assert!(text.contains("2 runs of the text") && text.contains("21.4 %"), "{text}");
        report.spans.clear();
        assert!(finding(&report).contains("gradients alone decide"));
        report.is_pool = true;
        assert!(finding(&report).contains("Nothing in the data stands out"));
    }
}
