//! Retraining without some contributors.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::stats::{mean, spearman};
use compute::attribute::Network;
use compute::attribute::unrolled::{Recipe, Run, UnrollError};
use compute::math::Stream;

/// Losses after real retraining.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    /// Per retraining, which contributors stayed.
    pub masks: Vec<Vec<bool>>,
    /// Per retraining, the loss of every query.
    pub losses: Vec<Vec<f64>>,
}

/// Random halves of the contributors.
pub fn draw_masks(contributors: usize, count: usize, seed: u64) -> Vec<Vec<bool>> {
    let mut stream = Stream::new("retraining masks", &seed.to_be_bytes());
    (0..count)
        .map(|_| {
            let mut mask = vec![false; contributors];
            let order = stream.permutation(contributors);
            order[..contributors.div_ceil(2)].iter().for_each(|&stays| mask[stays] = true);
            mask
        })
        .collect()
}

impl Truth {
    /// Retrains once per mask, on all processors. `owners` names the contributor of each of the first
    /// samples of the network, the training set; `queries` are further samples.
    pub fn retrain<N: Network>(
        network: &N,
        start: &[f32],
        recipe: Recipe,
        owners: &[usize],
        queries: &[usize],
        masks: Vec<Vec<bool>>,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<Self, UnrollError> {
        let done = AtomicUsize::new(0);
        let retrain = |index: usize| {
            let weight = |&owner: &usize| f32::from(u8::from(masks[index][owner]));
            let weights: Vec<f32> = owners.iter().map(weight).collect();
            let trained = Run::train(network, start, recipe, &weights)?;
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
            Ok::<_, UnrollError>(network.losses(&trained, queries)?)
        };
        let losses = parallel(masks.len(), &retrain)?;
        Ok(Self { masks, losses })
    }

    /// The linear datamodelling score of `scores`, per query and contributor, positive where the
    /// contributor lowers the query's loss.
    ///
    /// # Panics
    /// If the shapes differ from those of the masks and losses.
    pub fn lds(&self, scores: &[Vec<f64>]) -> f64 {
        let of_query = |(query, scores): (usize, &Vec<f64>)| {
            let kept = |mask: &Vec<bool>| {
                mask.iter().zip(scores).map(|(&m, s)| if m { *s } else { 0.0 }).sum()
            };
            let predicted: Vec<f64> = self.masks.iter().map(kept).collect();
            let gained: Vec<f64> = self.losses.iter().map(|losses| -losses[query]).collect();
            spearman(&predicted, &gained)
        };
        mean(&scores.iter().enumerate().map(of_query).collect::<Vec<_>>())
    }
}

/// `work(0), work(1)…` on all processors, in order.
pub(super) fn parallel<T: Send, E: Send>(
    count: usize,
    work: &(dyn Fn(usize) -> Result<T, E> + Sync),
) -> Result<Vec<T>, E> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(count));
    let worker = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                break;
            }
            let result = work(index);
            results.lock().expect("no worker panics").push((index, result));
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from).min(count);
    thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(worker))));
    let mut results = results.into_inner().expect("no worker panics");
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
