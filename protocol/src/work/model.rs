//! What a training run makes: a model from nothing, or an adapter of one that there is.

use alloc::{string::String, vec::Vec};

use crate::{
    blob::BlobRef,
    codec::{DecodeError, Reader, Wire},
};

/// The largest value that any dimension of a model may have.
const MAX_DIM: u32 = 1 << 18;
/// The largest inner width of an adapter.
const MAX_RANK: u32 = 64;
/// The largest factor of an adapter's addition, in ppm.
const MAX_SCALE: u32 = 1_000_000_000;
/// The linear maps of a layer, as the Llama family's files call them; the bits of
/// [`AdapterOrder::targets`], from the lowest.
pub const TARGETS: [&str; 7] =
    ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
/// All of them.
const ALL_TARGETS: u8 = 0b0111_1111;
/// Bytes of a base's checkpoint beside its weights: the names and places of its tensors.
const MAX_HEADER: u64 = 1 << 20;
/// The longest card of a base, in bytes.
const MAX_CARD: u64 = 1 << 18;

/// The shape of a model, as far as the cost of its jobs follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Number of token ids.
    pub vocab: u32,
    /// Most tokens in one sequence.
    pub context: u32,
    /// Width of the residual stream.
    pub width: u32,
    /// Decoder layers, each of attention and a SwiGLU block.
    pub layers: u32,
    /// Query heads of a layer.
    pub heads: u32,
    /// Inner width of the SwiGLU block.
    pub ffn: u32,
    /// Number of parameters.
    pub parameters: u64,
}

/// An adapter that a run trains: low-rank additions to linear maps of a base, which stays as it is
/// (LoRA; Hu et al., arXiv 2106.09685).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdapterOrder {
    /// The base's canonical checkpoint, by whose hash it is known.
    pub base: BlobRef,
    /// The base's card: how texts and conversations are written for it, and what ends an answer.
    pub card: BlobRef,
    /// The base's shape. Who takes part holds it against the checkpoint before anything is computed.
    pub shape: Shape,
    /// Inner width of each addition; a power of two.
    pub rank: u32,
    /// The factor of the additions in ppm; elsewhere known as `alpha / rank`.
    pub scale: u32,
    /// Which linear maps of every layer have one: a bit for each of [`TARGETS`].
    pub targets: u8,
}

/// The bits of linear maps that are named.
///
/// # Errors
/// The first name that is none of [`TARGETS`].
pub fn targets(names: &[String]) -> Result<u8, &str> {
    names.iter().try_fold(0, |all, name| {
        let place = TARGETS.iter().position(|target| target == name);
        let bit = place.and_then(|place| u32::try_from(place).ok());
        let bit = bit.and_then(|place| 1u8.checked_shl(place)).ok_or(name.as_str())?;
        Ok(all | bit)
    })
}

/// What a training run makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunModel {
    /// A model from nothing, of the network's preset of that number: `nano`, `micro`, `small`,
    /// `smol-135m`.
    Preset(u8),
    /// An adapter of a base.
    Adapter(AdapterOrder),
}

impl Shape {
    /// The shape of a preset.
    pub const fn of(preset: u8) -> Option<Self> {
        let (vocab, context, width, layers, heads, ffn, parameters) = match preset {
            0 => (512, 128, 128, 3, 4, 256, 508_800),
            1 => (2_048, 256, 256, 5, 8, 640, 3_967_744),
            2 => (16_384, 512, 512, 8, 8, 1_344, 31_203_840),
            3 => (49_152, 2_048, 576, 30, 9, 1_536, 134_515_008),
            _ => return None,
        };
        Some(Self { vocab, context, width, layers, heads, ffn, parameters })
    }

    /// Whether its numbers are within the network's bounds, and the files of a base may be of it.
    pub(crate) fn is_of(&self, checkpoint: &BlobRef, card: &BlobRef) -> bool {
        let dims = [self.vocab, self.context, self.width, self.layers, self.heads, self.ffn];
        let weights = self.parameters.checked_mul(4);
        let longest = weights.and_then(|bytes| bytes.checked_add(MAX_HEADER));
        dims.iter().all(|dim| (1..=MAX_DIM).contains(dim))
            && self.parameters > 0
            && longest.is_some_and(|longest| (1..=longest).contains(&checkpoint.length))
            && (1..=MAX_CARD).contains(&card.length)
    }
}

impl AdapterOrder {
    /// Parameters of the adapter, at most: keys and values are counted as wide as queries.
    pub fn parameters(&self) -> Option<u64> {
        let (width, ffn) = (u64::from(self.shape.width), u64::from(self.shape.ffn));
        let (square, wide) = (width.checked_mul(2)?, width.checked_add(ffn)?);
        let of_layer = [square, square, square, square, wide, wide, wide]
            .into_iter()
            .zip(0u32..)
            .filter(|(_, bit)| self.targets.checked_shr(*bit).is_some_and(|rest| rest & 1 == 1))
            .try_fold(0u64, |sum, (ends, _)| sum.checked_add(ends))?;
        of_layer.checked_mul(self.rank.into())?.checked_mul(self.shape.layers.into())
    }

    /// Whether its numbers are within the network's bounds, and hide no cost.
    pub fn is_sane(&self) -> bool {
        self.shape.is_of(&self.base, &self.card)
            && self.rank.is_power_of_two()
            && self.rank <= MAX_RANK
            && (1..=MAX_SCALE).contains(&self.scale)
            && (1..=ALL_TARGETS).contains(&self.targets)
    }
}

impl RunModel {
    /// The shape of what runs: of the model, or of the adapter's base. `None` for a number of no preset.
    pub const fn shape(&self) -> Option<Shape> {
        match self {
            Self::Preset(preset) => Shape::of(*preset),
            Self::Adapter(order) => Some(order.shape),
        }
    }

    pub(crate) fn is_sane(&self) -> bool {
        match self {
            Self::Preset(_) => true,
            Self::Adapter(order) => order.is_sane(),
        }
    }
}

impl Wire for Shape {
    fn encode(&self, out: &mut Vec<u8>) {
        for dim in [self.vocab, self.context, self.width, self.layers, self.heads, self.ffn] {
            dim.encode(out);
        }
        self.parameters.encode(out);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            vocab: Wire::decode(input)?,
            context: Wire::decode(input)?,
            width: Wire::decode(input)?,
            layers: Wire::decode(input)?,
            heads: Wire::decode(input)?,
            ffn: Wire::decode(input)?,
            parameters: Wire::decode(input)?,
        })
    }
}

impl Wire for RunModel {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Preset(preset) => {
                0u8.encode(out);
                preset.encode(out);
            }
            Self::Adapter(order) => {
                1u8.encode(out);
                order.base.encode(out);
                order.card.encode(out);
                order.shape.encode(out);
                order.rank.encode(out);
                order.scale.encode(out);
                order.targets.encode(out);
            }
        }
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(input)? {
            0 => Ok(Self::Preset(Wire::decode(input)?)),
            1 => Ok(Self::Adapter(AdapterOrder {
                base: Wire::decode(input)?,
                card: Wire::decode(input)?,
                shape: Wire::decode(input)?,
                rank: Wire::decode(input)?,
                scale: Wire::decode(input)?,
                targets: Wire::decode(input)?,
            })),
            tag => Err(DecodeError::Tag(tag)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Hash;

    fn order() -> AdapterOrder {
        let shape = Shape::of(3).unwrap();
        AdapterOrder {
            base: BlobRef::new(Hash([1; 32]), 4 * shape.parameters + 30_000),
            card: BlobRef::new(Hash([2; 32]), 4_000),
            shape,
            rank: 8,
            scale: 2_000_000,
            targets: 0b101,
        }
    }

    #[test]
    fn an_adapters_parameters_are_never_fewer_than_it_has() {
        // Queries 576 -> 576 and values 576 -> 192 of 30 layers: 460,800 in truth.
        assert_eq!(order().parameters(), Some(8 * 30 * 4 * 576));
        let all = AdapterOrder { targets: ALL_TARGETS, rank: 64, ..order() };
        assert_eq!(all.parameters(), Some(64 * 30 * (8 * 576 + 3 * (576 + 1_536))));
        let wide = Shape { width: u32::MAX, ffn: u32::MAX, layers: u32::MAX, ..order().shape };
        assert_eq!(AdapterOrder { shape: wide, ..all }.parameters(), None);
    }

    #[test]
    fn linear_maps_are_named_as_in_files() {
        let named = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| String::from(*name)).collect();
            targets(&names).map_err(String::from)
        };
        assert_eq!(named(&["q_proj", "v_proj"]), Ok(order().targets));
        assert_eq!(named(&TARGETS), Ok(ALL_TARGETS));
        assert_eq!(named(&["q_proj", "lm_head"]), Err("lm_head".into()));
        assert_eq!(named(&[]), Ok(0));
    }

    #[test]
    fn an_order_whose_numbers_hide_a_cost_is_refused() {
        assert!(order().is_sane());
        let long = BlobRef::new(Hash([1; 32]), 4 * order().shape.parameters + MAX_HEADER + 1);
        let (empty, deep) = (BlobRef::new(Hash::ZERO, 0), Shape { layers: 0, ..order().shape });
        for bad in [
            AdapterOrder { base: long, ..order() },
            AdapterOrder { base: empty, ..order() },
            AdapterOrder { card: empty, ..order() },
            AdapterOrder { shape: deep, ..order() },
            AdapterOrder { rank: 0, ..order() },
            AdapterOrder { rank: 12, ..order() },
            AdapterOrder { rank: 128, ..order() },
            AdapterOrder { scale: 0, ..order() },
            AdapterOrder { targets: 0, ..order() },
            AdapterOrder { targets: 128, ..order() },
        ] {
            assert!(!bad.is_sane(), "{bad:?}");
        }
    }
}
