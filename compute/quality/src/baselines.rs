//! What attribution is compared with.

use std::collections::{HashMap, HashSet};

use crate::methods::{Methods, QualityError, Scores};
use compute::attribute::{Direction, Network, Targets, batches, products};
use compute::device::guarded;
use compute::math::Stream;

impl<N: Network> Methods<'_, N> {
    /// The plain product of gradients at the end of training.
    pub fn grad_dot(&self) -> Result<Scores, QualityError> {
        self.plain_products(self.run.parameters())
    }

    /// TracIn: products of gradients, summed over checkpoints with their learning rates
    /// (arXiv 2002.08484).
    pub fn tracin(&self) -> Result<Scores, QualityError> {
        let mut sums = vec![vec![0.0; self.contributors]; self.queries.len()];
        for (parameters, rate) in self.run.checkpoints() {
            for (sums, products) in sums.iter_mut().zip(self.plain_products(parameters)?) {
                sums.iter_mut().zip(products).for_each(|(sum, product)| *sum += rate * product);
            }
        }
        Ok(sums)
    }

    /// Products of every query's gradient with every contributor's summed one.
    fn plain_products(&self, parameters: &[f32]) -> Result<Scores, QualityError> {
        let of = |contributor: usize| {
            let own = (0..self.owners.len()).filter(|&i| self.owners[i] == contributor);
            Direction::sum(self.network, parameters, &own.collect::<Vec<_>>())
        };
        let directions = (0..self.contributors).map(of).collect::<Result<Vec<_>, _>>()?;
        let products = products(self.network, parameters, self.queries, &directions)?;
        let of_query = |query: usize| products.iter().map(|scores| scores[query]).collect();
        Ok((0..self.queries.len()).map(of_query).collect())
    }

    /// Cosine of mean activations entering the last linear map, summed over a contributor's samples.
    pub fn embedding(&self) -> Result<Scores, QualityError> {
        let training: Vec<usize> = (0..self.owners.len()).collect();
        let (training, queries) =
            (self.representations(&training)?, self.representations(self.queries)?);
        let cosines = |query: &Vec<f64>| {
            let cosine = |unit: &Vec<f64>| unit.iter().zip(query).map(|(a, b)| a * b).sum();
            training.iter().map(cosine).collect()
        };
        Ok(self.by_contributor(&queries.iter().map(cosines).collect::<Vec<_>>()))
    }

    /// Mean activations, scaled to length one.
    fn representations(&self, samples: &[usize]) -> Result<Vec<Vec<f64>>, QualityError> {
        let mut found = vec![Vec::new(); samples.len()];
        for (places, batch) in batches(self.network, samples) {
            let captured = self.network.capture(self.run.parameters(), &batch, Targets::Given)?;
            let last = captured.last().expect("a network has linear maps").input.clone();
            let width = last.dims()[2];
            let means: Vec<f32> = guarded(|| {
                last.mean_dim(1).try_into_vec_as().expect("an unreadable device is caught")
            })?;
            for (&place, means) in places.iter().zip(means.chunks_exact(width)) {
                let norm = means.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
                let scaled = means.iter().map(|&v| f64::from(v) / norm.max(1e-30));
                found[place] = scaled.collect();
            }
        }
        Ok(found)
    }

    /// Numbers without meaning.
    pub fn random(&self, seed: u64) -> Scores {
        let mut stream = Stream::new("random baseline", &seed.to_be_bytes());
        let row = |_: &usize| (0..self.contributors).map(|_| stream.unit()).collect();
        self.queries.iter().map(row).collect()
    }

    /// To everybody by the amount of data: the targets of each contributor.
    pub fn equal_split(&self) -> Scores {
        let sizes: Vec<f64> =
            (0..self.owners.len()).map(|sample| self.network.size(sample) as f64).collect();
        self.by_contributor(&vec![sizes; self.queries.len()])
    }
}

/// BM25 of documents for queries, both as words (Robertson and Zaragoza, 2009; k₁ = 1.2, b = 0.75).
pub fn bm25(documents: &[Vec<String>], queries: &[Vec<String>]) -> Vec<Vec<f64>> {
    const K1: f64 = 1.2;
    const B: f64 = 0.75;
    let counts: Vec<HashMap<&str, f64>> = documents
        .iter()
        .map(|words| {
            let mut counts = HashMap::new();
            words.iter().for_each(|word| *counts.entry(word.as_str()).or_default() += 1.0);
            counts
        })
        .collect();
    let mut containing: HashMap<&str, f64> = HashMap::new();
    counts.iter().flat_map(HashMap::keys).for_each(|w| *containing.entry(w).or_default() += 1.0);
    let total = documents.len() as f64;
    let length = documents.iter().map(Vec::len).sum::<usize>() as f64 / total.max(1.0);
    let score = |query: &Vec<String>, document: usize| -> f64 {
        let norm = K1 * (1.0 - B + B * documents[document].len() as f64 / length.max(1.0));
        let words: HashSet<&str> = query.iter().map(String::as_str).collect();
        let mut parts: Vec<f64> = words
            .into_iter()
            .filter_map(|word| {
                let count = counts[document].get(word)?;
                let holders = containing.get(word)?;
                let rarity = ((total - holders + 0.5) / (holders + 0.5) + 1.0).ln();
                Some(rarity * count * (K1 + 1.0) / (count + norm))
            })
            .collect();
        // Sums must not depend on the order of a hash table.
        parts.sort_by(f64::total_cmp);
        parts.iter().sum()
    };
    queries.iter().map(|q| (0..documents.len()).map(|d| score(q, d)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bm25_prefers_the_document_with_the_rare_word() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let documents = [words("the cat sat"), words("the dog sat"), words("the zebra the the")];
        let scores = bm25(&documents, &[words("the zebra")]);
        assert!(scores[0][2] > scores[0][0] && scores[0][0] == scores[0][1], "{scores:?}");
    }
}
