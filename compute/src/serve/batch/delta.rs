//! What is added to the linear maps of single sequences: the place of adapters.

use super::kernel::lanes::{LANES, Numbers};

/// The name of a sequence in a batch; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(pub(super) u64);

/// Adds to the outputs of linear maps, row by row. A row must depend on its own input and sequence alone:
/// then an answer is the same in any batch.
pub trait Delta: Send + Sync {
    /// Adds to what a linear map gave. `linear` is its number in the order of
    /// [`layout::linears`](crate::model::layout::linears); of each row, `sequences` has whose it is, and
    /// `inputs` what the map read, row by row, before it was rounded to eight bits.
    fn add(&self, linear: usize, sequences: &[SequenceId], inputs: &[f32], outputs: Outputs<'_>);
}

/// What a linear map gave, of all rows.
pub struct Outputs<'a> {
    pub(super) values: &'a mut [Numbers],
    pub(super) rows: usize,
}

impl Outputs<'_> {
    /// Adds numbers to the outputs of a row, from the first on.
    ///
    /// # Panics
    /// If there is no such row, or there are more numbers than outputs in whole sixteens.
    pub fn add(&mut self, row: usize, added: &[f32]) {
        assert!(
            row < self.rows && added.len() * self.rows <= self.values.len() * LANES,
            "no such output"
        );
        let sixteens = self.values[row..].iter_mut().step_by(self.rows);
        for (values, added) in sixteens.zip(added.chunks(LANES)) {
            for (value, added) in values.iter_mut().zip(added) {
                *value += added;
            }
        }
    }
}
