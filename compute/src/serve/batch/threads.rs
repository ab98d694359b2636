//! The threads of one model.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Pieces of work for each thread, so that one which is held up leaves some to others.
const PIECES: usize = 4;

/// Threads that share the work of a pass; with one, whoever calls does it.
pub(super) struct Threads {
    pool: Option<ThreadPool>,
    count: usize,
}

impl Threads {
    /// So many threads; none: as many as there are processors.
    pub(super) fn new(count: Option<NonZeroUsize>) -> Result<Self, rayon::ThreadPoolBuildError> {
        let one = NonZeroUsize::MIN;
        let count = count.unwrap_or_else(|| available_parallelism().unwrap_or(one)).get();
        let named = |number| format!("serving-{number}");
        let pool = ThreadPoolBuilder::new().num_threads(count).thread_name(named);
        let pool = (count > 1).then(|| pool.build()).transpose()?;
        Ok(Self { pool, count })
    }

    /// Does work in which [`each`](Self::each) is called often.
    pub(super) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    /// Does work for each `size` values of `data`, with their number; less than `least` of them are not
    /// worth waking a thread for. `room` is what a thread keeps from one to the next.
    pub(super) fn each<T: Send, R>(
        &self,
        (data, size): (&mut [T], usize),
        least: usize,
        room: impl Fn() -> R + Sync + Send,
        work: impl Fn(&mut R, usize, &mut [T]) + Sync + Send,
    ) {
        let count = data.len() / size;
        if self.pool.is_none() || count <= least {
            let mut room = room();
            for (at, values) in data.chunks_exact_mut(size).enumerate() {
                work(&mut room, at, values);
            }
            return;
        }
        let piece = count.div_ceil(self.count * PIECES).max(least);
        let chunks = data.par_chunks_exact_mut(size).with_min_len(piece).enumerate();
        chunks.for_each_init(room, |room, (at, values)| work(room, at, values));
    }
}
