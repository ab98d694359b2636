//! Units of text, cut from the packs of a contribution.

use protocol::hash::blake3;
use protocol::manifest::{Unit, cut_units};
use protocol::{AccountId, Hash};

/// The text of a unit, with its address and who contributed it.
pub type Text = (Hash, AccountId, String);

/// The text of every unit of a contribution, cut by the network's rule from the bytes of its packs in
/// their order. What the contributor says of its units is not read: it could list none, or one of them
/// a million times.
pub fn texts<B: AsRef<[u8]>>(packs: &[B], unit_bytes: u32, owner: AccountId) -> Vec<Text> {
    let of_pack = |bytes: &[u8]| -> Vec<Text> {
        let text = |unit: &Unit| {
            let (from, length) = (unit.offset as usize, unit.length as usize);
            let unit = bytes.get(from..from.checked_add(length)?)?;
            Some((blake3(unit), owner, String::from_utf8_lossy(unit).into_owned()))
        };
        cut_units(0, bytes, unit_bytes).iter().filter_map(text).collect()
    };
    packs.iter().flat_map(|pack| of_pack(pack.as_ref())).collect()
}
