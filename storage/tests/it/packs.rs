//! Packs: they reassemble, keep their bounds, cut at the same places everywhere, and resynchronise.

use std::collections::BTreeSet;
use std::io::{self, Read};

use proptest::prelude::*;
use storage::hash_of;
use storage::packs::{Pack, PackError, PackRule, PackRuleError, pack_all, packs};

use crate::support::{Numbers, test_bytes};

const RULE: PackRule = PackRule::MINIMAL;

fn reassemble(packs: &[Pack]) -> Vec<u8> {
    packs.iter().flat_map(|pack| pack.bytes.iter().copied()).collect()
}

/// A reader that gives out few bytes at a time and is interrupted now and then.
struct Dribble<'a> {
    bytes: &'a [u8],
    numbers: Numbers,
}

impl Read for Dribble<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.numbers.below(5) == 0 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let most = buffer.len().min(1 + self.numbers.below(5000) as usize);
        self.bytes.read(&mut buffer[..most])
    }
}

/// Repeats a byte without ever holding it.
struct Endless(u64);

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(self.0 as usize);
        buffer[..len].fill(b'a');
        self.0 -= len as u64;
        Ok(len)
    }
}

fn check(bytes: &[u8], rule: PackRule) {
    let packs = pack_all(bytes, rule).unwrap();
    assert_eq!(reassemble(&packs), bytes);
    for (at, pack) in packs.iter().enumerate() {
        assert_eq!(hash_of(&pack.bytes), pack.hash);
        assert!(!pack.bytes.is_empty() && pack.bytes.len() <= rule.max_pack as usize);
        let last = at + 1 == packs.len();
        assert!(last || pack.bytes.len() + 3 >= rule.max_pack as usize / 2);
    }
    let dribbled = pack_all(Dribble { bytes, numbers: Numbers(7) }, rule).unwrap();
    assert_eq!(dribbled, packs, "the cut points do not depend on how the bytes arrive");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn packs_reassemble(seed in any::<u64>(), len in 0..400_000usize) {
        check(&test_bytes(seed, len), RULE);
    }

    #[test]
    fn text_packs_are_text(words in prop::collection::vec("\\PC{1,12}", 100..400), times in 1..60usize) {
        let text = words.join(" ").repeat(times);
        let rule = RULE.text();
        check(text.as_bytes(), rule);
        for pack in pack_all(text.as_bytes(), rule).unwrap() {
            prop_assert!(core::str::from_utf8(&pack.bytes).is_ok());
        }
    }
}

#[test]
fn text_rules_pass_bytes_that_are_no_text() {
    check(&[0x80; 200_000], RULE.text());
    check(&[0xf0; 200_000], RULE.text());
    check(&test_bytes(1, 300_000), RULE.text());
}

#[test]
fn nothing_is_no_pack() {
    assert!(pack_all(&[][..], RULE).unwrap().is_empty());
}

#[test]
fn packs_after_an_insertion_keep_their_addresses() {
    let before = test_bytes(3, 4 << 20);
    let mut after = before[..100_000].to_vec();
    after.extend_from_slice(b"a few words more");
    after.extend_from_slice(&before[100_000..]);
    let addresses = |bytes: &[u8]| -> BTreeSet<_> {
        pack_all(bytes, RULE).unwrap().into_iter().map(|pack| pack.hash).collect()
    };
    let (before, after) = (addresses(&before), addresses(&after));
    let kept = before.intersection(&after).count();
    assert!(kept * 10 >= before.len() * 8, "{kept} of {} packs kept", before.len());
}

/// The cut points are protocol. When this fails, the network forks: bump the protocol version.
#[test]
fn cut_points_are_pinned() {
    let packs = pack_all(&test_bytes(42, 300_000)[..], RULE).unwrap();
    let lengths: Vec<_> = packs.iter().map(|pack| pack.bytes.len()).collect();
    assert_eq!(lengths, PINNED_LENGTHS);
    assert_eq!(packs[0].hash.to_string(), PINNED_FIRST);
}

const PINNED_LENGTHS: [usize; 6] = [49_147, 63_953, 52_963, 49_498, 59_961, 24_478];
const PINNED_FIRST: &str = "702a1fd87ca3cc2977302175f7e1541bcdc90361e56567a6d82db73371345115";

#[test]
fn one_long_line_streams_in_bounded_memory() {
    let mut total = 0;
    for pack in packs(Endless(256 << 20), RULE).unwrap() {
        let pack = pack.unwrap();
        assert!(pack.bytes.len() <= RULE.max_pack as usize);
        total += pack.bytes.len() as u64;
    }
    assert_eq!(total, 256 << 20);
}

#[test]
fn a_read_error_ends_the_packs() {
    struct Broken(bool);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0 {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            self.0 = true;
            buffer[..10].fill(1);
            Ok(10)
        }
    }
    let mut packs = packs(Broken(false), RULE).unwrap();
    assert!(matches!(packs.next(), Some(Err(PackError::Read(_)))));
    assert!(packs.next().is_none());
}

#[test]
fn unusable_rules_are_refused() {
    let rule = PackRule { max_pack: 1, ..RULE };
    let refused = pack_all(&[][..], rule);
    assert!(matches!(refused, Err(PackError::Rule(PackRuleError::PackTooSmall { .. }))));
}
