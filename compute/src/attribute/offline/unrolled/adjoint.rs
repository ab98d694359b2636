//! The walk backwards.
//!
//! With `g_t = c_t · Σ_i w_i ∇l_i(θ_t) / n_t` (`c_t` the clipping factor), `m ← µ m + g_t` and
//! `θ ← θ − η_t (m + d θ)`, let `a = df/dθ` and `b = df/dm` after step `t`. Then, going back over it,
//!
//! ```text
//! v   = b − η_t a                      (what a change of g_t does to f)
//! u   = c_t (v − ĝ ⟨ĝ, v⟩)             if the step was clipped, else v
//! df/dw_i += ⟨u, ∇l_i(θ_t)⟩ / n_t      for the samples i of the batch
//! a  ← (1 − η_t d) a + H_t u           H_t the Hessian of Σ_i w_i l_i / n_t
//! b  ← µ v
//! ```
//!
//! Both products are central differences along `u`: of the batch's gradient for `H_t u`, of the
//! samples' losses for `⟨u, ∇l_i⟩`; two passes a step give both.

use super::run::{Run, State, UnrollError, check};
use crate::attribute::offline::network::Network;

/// How far central differences reach, as the length of the displacement over the length of the
/// parameters, in parts per million. Too short drowns in rounding, too long bends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference(pub u32);

impl Difference {
    /// A thousandth: flat within a factor of three either way on digits and on text.
    pub const DEFAULT: Self = Self(1_000);
}

/// `df/dθ` and `df/dm` after a step.
struct Adjoint {
    parameters: Vec<f64>,
    momentum: Vec<f64>,
}

impl<N: Network> Run<'_, N> {
    /// The influence of every training sample on a measurement whose gradient by the final parameters
    /// is `measurement`: how much an increase of the sample's weight lowers it, to first order.
    /// Positive for samples that helped, if the measurement is a loss.
    pub fn influence(
        &self,
        measurement: &[f32],
        difference: Difference,
    ) -> Result<Vec<f64>, UnrollError> {
        check("values of the measurement", self.network.parameters(), measurement.len())?;
        let mut scores = vec![0.0; self.weights.len()];
        let mut adjoint = Adjoint {
            parameters: measurement.iter().map(|&value| f64::from(value)).collect(),
            momentum: vec![0.0; measurement.len()],
        };
        for (index, start) in self.kept.iter().enumerate().rev() {
            let first = index * self.stride;
            let states = self.states(first, start)?;
            for (offset, state) in states.iter().enumerate().rev() {
                self.back(first + offset, state, &mut adjoint, difference, &mut scores)?;
            }
        }
        Ok(scores)
    }

    /// The states before the steps from `first` up to the next kept one, recomputed.
    fn states(&self, first: usize, start: &State) -> Result<Vec<State>, UnrollError> {
        let last = (first + self.stride).min(self.order.len());
        let mut states = vec![start.clone()];
        for step in first..last - 1 {
            let next = self.after(step, &states[states.len() - 1])?;
            states.push(next);
        }
        Ok(states)
    }

    /// Takes the adjoint back over one step.
    fn back(
        &self,
        step: usize,
        state: &State,
        adjoint: &mut Adjoint,
        difference: Difference,
        scores: &mut [f64],
    ) -> Result<(), UnrollError> {
        let rate = self.recipe.rate(step);
        let change = adjoint.momentum.iter().zip(&adjoint.parameters);
        let change: Vec<f64> = change.map(|(b, a)| b - rate * a).collect();
        let through = self.through_clip(step, state, &change)?;
        let kept = 1.0 - rate * self.recipe.decay();
        adjoint.parameters.iter_mut().for_each(|a| *a *= kept);
        let norm = length(through.iter().copied());
        if norm > 0.0 {
            // A displacement of one length whatever the adjoint's own: it shrinks and grows by orders of
            // magnitude over a run.
            let reach = f64::from(difference.0) / 1e6;
            let reach = reach * length(state.parameters.iter().map(|&p| f64::from(p))) / norm;
            let there =
                self.batch_gradient(step, &displaced(&state.parameters, &through, reach))?;
            let back =
                self.batch_gradient(step, &displaced(&state.parameters, &through, -reach))?;
            let share = self.share(step);
            let losses = there.losses.iter().zip(&back.losses);
            for (&sample, (up, down)) in self.order[step].iter().zip(losses) {
                scores[sample] -= (up - down) / (2.0 * reach) * share;
            }
            let curvature = there.values.iter().zip(&back.values);
            for (a, (&up, &down)) in adjoint.parameters.iter_mut().zip(curvature) {
                *a += (f64::from(up) - f64::from(down)) / (2.0 * reach);
            }
        }
        let momentum = self.recipe.momentum();
        adjoint.momentum = change.into_iter().map(|v| momentum * v).collect();
        match adjoint.parameters.iter().all(|a| a.is_finite()) {
            true => Ok(()),
            false => Err(UnrollError::Diverged { step: step as u32 }),
        }
    }

    /// The adjoint of clipping the step's gradient.
    fn through_clip(
        &self,
        step: usize,
        state: &State,
        change: &[f64],
    ) -> Result<Vec<f64>, UnrollError> {
        if self.recipe.clip_milli == 0 {
            return Ok(change.to_vec());
        }
        let gradient = self.batch_gradient(step, &state.parameters)?.values;
        let gradient: Vec<f64> = gradient.into_iter().map(f64::from).collect();
        let clip = self.recipe.clip(&gradient);
        if clip >= 1.0 {
            return Ok(change.to_vec());
        }
        let square: f64 = gradient.iter().map(|g| g * g).sum();
        let along: f64 = gradient.iter().zip(change).map(|(g, v)| g * v).sum::<f64>() / square;
        Ok(change.iter().zip(&gradient).map(|(v, g)| clip * (v - along * g)).collect())
    }
}

fn length(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

fn displaced(parameters: &[f32], direction: &[f64], reach: f64) -> Vec<f32> {
    let pairs = parameters.iter().zip(direction);
    pairs.map(|(&p, d)| (f64::from(p) + reach * d) as f32).collect()
}
