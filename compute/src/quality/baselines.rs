//! What attribution is compared with.

use std::collections::{HashMap, HashSet};

use super::methods::{Methods, QualityError, Scores};
use crate::attribution::{Network, Targets};
use crate::engine::guarded;
use crate::seed::Stream;

impl<N: Network> Methods<'_, N> {
    /// The plain product of gradients at the end of training.
    pub fn grad_dot(&self) -> Result<Scores, QualityError> {
        let parameters = self.run.parameters();
        let directions = self.directions(parameters)?;
        Ok(self.by_contributor(&self.products(parameters, &directions)?))
    }

    /// TracIn: products of gradients, summed over checkpoints with their learning rates
    /// (arXiv 2002.08484).
    pub fn tracin(&self) -> Result<Scores, QualityError> {
        let mut sums = vec![vec![0.0; self.owners.len()]; self.queries.len()];
        for (parameters, rate) in self.run.checkpoints() {
            let products = self.products(parameters, &self.directions(parameters)?)?;
            for (sums, products) in sums.iter_mut().zip(products) {
                sums.iter_mut().zip(products).for_each(|(sum, product)| *sum += rate * product);
            }
        }
        Ok(self.by_contributor(&sums))
    }

    /// Cosine of mean activations entering the last linear map.
    pub fn embedding(&self) -> Result<Scores, QualityError> {
        let representation = |sample: usize| {
            let captured =
                self.network.capture(self.run.parameters(), &[sample], Targets::Given)?;
            let last = captured.last().expect("a network has linear maps").input.clone();
            let values: Vec<f32> = guarded(|| {
                last.mean_dim(1).try_into_vec_as().expect("an unreadable device is caught")
            })?;
            let norm = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
            Ok(values.into_iter().map(|v| f64::from(v) / norm.max(1e-30)).collect::<Vec<f64>>())
        };
        let training: Vec<Vec<f64>> =
            (0..self.owners.len()).map(representation).collect::<Result<_, QualityError>>()?;
        let mut scores = Vec::new();
        for &query in self.queries {
            let query = representation(query)?;
            let cosine = |unit: &Vec<f64>| unit.iter().zip(&query).map(|(a, b)| a * b).sum();
            scores.push(training.iter().map(cosine).collect());
        }
        Ok(self.by_contributor(&scores))
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
