//! Units of text, cut from the packs of a contribution.

use protocol::hash::blake3;
use protocol::manifest::{Manifest, Unit};
use protocol::{AccountId, Hash};

/// The text of a unit, with its address and who contributed it.
pub type Text = (Hash, AccountId, String);

/// The text of every unit of a contribution, from the bytes of its packs in the manifest's order;
/// `None` where a unit is not in its pack.
pub fn texts<B: AsRef<[u8]>>(
    manifest: &Manifest,
    packs: &[B],
    owner: AccountId,
) -> Option<Vec<Text>> {
    let text = |unit: &Unit| {
        let (from, to) =
            (unit.offset as usize, (unit.offset as usize).checked_add(unit.length as usize)?);
        let bytes = packs.get(unit.pack as usize)?.as_ref().get(from..to)?;
        Some((blake3(bytes), owner, String::from_utf8_lossy(bytes).into_owned()))
    };
    manifest.units.iter().map(text).collect()
}
