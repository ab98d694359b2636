//! Eight-bit weights as the products read them.

use half::f16;

use super::kernel::lanes::{BIAS, BLOCK, Halves, LANES, Panel, Tile};
use crate::formats::QUANT_BYTES;

/// Linear maps that read the same input, one below the other.
///
/// Sixteen rows lie interleaved, four values of each after the other, so that one instruction multiplies
/// four values of all of them; the last rows of each map are filled up with zeros. What is multiplied is
/// read once from front to back.
pub(super) struct Matrix {
    /// Blocks of one row.
    width: usize,
    tiles: Vec<Tile>,
    scales: Vec<Halves>,
    /// Where each map begins, in panels; and where the last ends.
    starts: Vec<usize>,
}

impl Matrix {
    /// Packs maps, each given as its rows in Q8_0, of `columns` inputs.
    pub(super) fn pack(maps: &[&[u8]], columns: usize) -> Self {
        let width = columns / BLOCK;
        let mut matrix = Self { width, tiles: Vec::new(), scales: Vec::new(), starts: vec![0] };
        for map in maps {
            for rows in map.chunks(LANES * width * QUANT_BYTES) {
                for block in 0..width {
                    matrix.push(rows, block);
                }
            }
            matrix.starts.push(matrix.tiles.len() / width);
        }
        matrix
    }

    fn push(&mut self, rows: &[u8], block: usize) {
        let mut tile = [[BIAS; 4 * LANES]; BLOCK / 4];
        let mut scales = [0; LANES];
        for (lane, row) in rows.chunks_exact(self.width * QUANT_BYTES).enumerate() {
            let (scale, quants) = row[block * QUANT_BYTES..][..QUANT_BYTES].split_at(2);
            scales[lane] = u16::from_le_bytes([scale[0], scale[1]]);
            for (four, quants) in tile.iter_mut().zip(quants.chunks_exact(4)) {
                for (to, quant) in four[lane * 4..].iter_mut().zip(quants) {
                    *to = quant ^ BIAS;
                }
            }
        }
        self.tiles.push(tile);
        self.scales.push(scales);
    }

    /// Blocks of one row of input.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Panels of sixteen rows.
    pub(super) fn panels(&self) -> usize {
        self.tiles.len() / self.width
    }

    /// Where each map's panels begin, and where the last map's end.
    pub(super) fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// Sixteen rows of weights.
    pub(super) fn panel(&self, panel: usize) -> Panel<'_> {
        let range = panel * self.width..(panel + 1) * self.width;
        Panel { tiles: &self.tiles[range.clone()], scales: &self.scales[range] }
    }

    /// The numbers that one row of the first map stands for.
    pub(super) fn row(&self, row: usize, out: &mut [f32]) {
        let (panel, lane) = (self.panel(row / LANES), row % LANES);
        let blocks = panel.tiles.iter().zip(panel.scales);
        for ((tile, scales), out) in blocks.zip(out.chunks_exact_mut(BLOCK)) {
            let scale = f16::from_bits(scales[lane]).to_f32();
            for (four, out) in tile.iter().zip(out.chunks_exact_mut(4)) {
                for (quant, out) in four[lane * 4..].iter().zip(out) {
                    *out = f32::from((quant ^ BIAS) as i8) * scale;
                }
            }
        }
    }
}
