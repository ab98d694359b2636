//! The tokenizer: nothing is lost, training repeats, hostile files have typed errors.

use compute::formats::{MAX_TOKENIZER_BYTES, Tokenizer, TokenizerError};
use proptest::prelude::*;

use crate::fixture;

#[test]
fn training_repeats_and_bytes_round_trip() {
    let text = fixture::text(1, 400);
    let again = Tokenizer::train(std::iter::once(text.as_str()), 300).unwrap();
    let first = fixture::tokenizer();
    assert_eq!(first.hash(), again.hash());
    let read = Tokenizer::from_bytes(first.to_bytes()).unwrap();
    assert_eq!(read.hash(), first.hash());
    assert_eq!(read.encode(&text).unwrap(), first.encode(&text).unwrap());
    let other = Tokenizer::train(std::iter::once(text.as_str()), 310).unwrap();
    assert_ne!(other.hash(), first.hash());
    assert!(first.encode(&text).unwrap().len() * 2 < text.len());
}

proptest! {
    #[test]
    fn any_text_comes_back(text in "\\PC{0,80}|[ \\n\\t\u{0}a-zéあ]{0,60}") {
        let ids = fixture::tokenizer().encode(&text).unwrap();
        prop_assert!(ids.iter().all(|id| *id < fixture::tokenizer().vocab()));
        prop_assert_eq!(fixture::tokenizer().decode(&ids).unwrap(), text);
    }

    #[test]
    fn hostile_bytes_are_errors(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Tokenizer::from_bytes(&bytes).is_err());
    }
}

#[test]
fn added_tokens_are_made_by_no_text() {
    let plain = fixture::tokenizer();
    let good = String::from_utf8(plain.to_bytes().to_vec()).unwrap();
    let added = r#""added_tokens":[{"id":300,"content":"<|end|>"},{"id":301,"content":"river"}]"#;
    let file = good.replacen("\"added_tokens\":[]", added, 1);
    let tokenizer = Tokenizer::from_bytes(file.as_bytes()).unwrap();
    assert_eq!((tokenizer.vocab(), tokenizer.control()[&300].as_str()), (302, "<|end|>"));
    for text in ["<|end|>", "the river", "a<|end|>b river<|end|>"] {
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(ids, plain.encode(text).unwrap());
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    }
    assert_eq!(tokenizer.decode(&[300, 40, 301, 41, 300]), plain.decode(&[40, 41]));
}

#[test]
fn every_way_of_splitting_keeps_the_text_however_long_it_is() {
    let file: serde_json::Value = serde_json::from_slice(fixture::tokenizer().to_bytes()).unwrap();
    let bytes = |use_regex: bool| serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": use_regex});
    let pattern = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let split = serde_json::json!({
        "type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false,
    });
    let digits = serde_json::json!({"type": "Digits", "individual_digits": true});
    let sequence = |first: &serde_json::Value, use_regex| serde_json::json!({"type": "Sequence", "pretokenizers": [first, bytes(use_regex)]});
    for splitting in [bytes(true), sequence(&digits, true), sequence(&split, false)] {
        let mut file = file.clone();
        file["pre_tokenizer"] = splitting;
        let tokenizer = Tokenizer::from_bytes(file.to_string().as_bytes()).unwrap();
        for text in [
            "It's 1234567 rivers,\r\n  and\tmore…\n\n".to_owned(),
            "a".repeat(300_000),
            " ".repeat(300_000) + "x",
            "\n".repeat(300_000),
            "1 ".repeat(100_000),
        ] {
            let ids = tokenizer.encode(&text).unwrap();
            assert_eq!(tokenizer.decode(&ids).unwrap(), text);
        }
    }
    let mut other = file;
    other["pre_tokenizer"] = sequence(
        &serde_json::json!({
            "type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": false,
        }),
        false,
    );
    let refused = Tokenizer::from_bytes(other.to_string().as_bytes()).unwrap_err();
    assert!(matches!(refused, TokenizerError::Kind(_)));
}

#[test]
fn each_error_has_its_bytes() {
    let good = String::from_utf8(fixture::tokenizer().to_bytes().to_vec()).unwrap();
    let error = |bytes: &[u8]| Tokenizer::from_bytes(bytes).err().unwrap();
    assert!(matches!(error(&vec![b' '; MAX_TOKENIZER_BYTES + 1]), TokenizerError::TooLarge(_)));
    assert!(matches!(error(&good.as_bytes()[..good.len() / 2]), TokenizerError::Parse { .. }));
    let edits = [
        ("\"normalizer\":null", "\"normalizer\":{\"type\":\"NFC\"}"),
        ("\"add_prefix_space\":false", "\"add_prefix_space\":true"),
        ("\"byte_fallback\":false", "\"byte_fallback\":true"),
        ("\"dropout\":null", "\"dropout\":0.5"),
    ];
    for (from, to) in edits {
        assert!(good.contains(from), "{from}");
        let bad = good.replacen(from, to, 1);
        assert!(matches!(error(bad.as_bytes()), TokenizerError::Kind(_)), "{from}");
    }
    let file: serde_json::Value = serde_json::from_str(&good).unwrap();
    let id_of = |token: &str| file["model"]["vocab"][token].as_u64().unwrap();
    let added = |tokens: &str, vocab: &str| {
        let added =
            good.replacen("\"added_tokens\":[]", &format!("\"added_tokens\":[{tokens}]"), 1);
        added.replacen("\"vocab\":{", &format!("\"vocab\":{{{vocab}"), 1)
    };
    for (tokens, vocab) in [
        (r#"{"id":300,"content":"<a>"},{"id":300,"content":"<b>"}"#, ""),
        (r#"{"id":300,"content":"<a>"},{"id":301,"content":"<a>"}"#, ""),
        (r#"{"id":300,"content":"<a>"}"#, r#""<a>":299,"#),
        (r#"{"id":4294967295,"content":"<a>"}"#, ""),
        (r#"{"id":300,"content":""}"#, ""),
        (r#"{"id":300,"content":"<a>","lstrip":true}"#, ""),
        // The token of a byte is no text any more: characters that hold it are read as U+FFFD, which
        // has that very byte.
        (&format!(r#"{{"id":{},"content":"½"}}"#, id_of("½")), ""),
    ] {
        let bad = added(tokens, vocab);
        assert!(matches!(error(bad.as_bytes()), TokenizerError::Kind(_)), "{tokens}");
    }
    let none = std::iter::empty::<&str>;
    assert!(matches!(Tokenizer::train(none(), 10), Err(TokenizerError::VocabSize(10))));
    assert!(matches!(
        Tokenizer::train(none(), 300),
        Err(TokenizerError::TooLittleText { wanted: 300, found: 256 })
    ));
    let decoded = fixture::tokenizer().decode(&[5, 300]);
    assert_eq!(decoded, Err(TokenizerError::UnknownId { id: 300, vocab: 300 }));
}
