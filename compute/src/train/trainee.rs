//! What a shard trains, on its device: all of a model, or an adapter beside it.

use burn::tensor::{Int, Tensor};

use crate::device::{Engine, guarded};
use crate::formats::Checkpoint;
use crate::lora::{AdaptedModel, Adapter, LoadError};
use crate::model::{Decoder, token_losses};

/// Parameters that an optimiser changes, and the model that they are part of.
pub(super) enum Trainee {
    /// A whole model.
    Model(Box<Decoder>),
    /// An adapter alone: its base has no gradient.
    Adapter {
        /// The model on the autodiff device, whose factors are replaced at each step.
        twin: Box<AdaptedModel>,
        params: Vec<Tensor<2>>,
    },
}

impl Trainee {
    /// Puts what is trained onto the engine's device: an adapter of a checkpoint, or all of it.
    pub(super) fn load(
        engine: &Engine,
        checkpoint: &Checkpoint,
        adapter: Option<&Adapter>,
    ) -> Result<Self, LoadError> {
        Ok(match adapter {
            None => guarded(|| {
                let (config, values) = (checkpoint.config(), checkpoint.values());
                Self::Model(Box::new(Decoder::new(config, values, engine.device())))
            })?,
            Some(adapter) => {
                let model = AdaptedModel::new(engine, checkpoint, adapter)?;
                let factors = model.factors().iter().flat_map(|f| [f.a.clone(), f.b.clone()]);
                let params = factors.collect();
                Self::Adapter { twin: Box::new(model.probing()), params }
            }
        })
    }

    /// The parameters, in the one order of their kind.
    pub(super) fn params(&self) -> &[Tensor<2>] {
        match self {
            Self::Model(model) => model.params(),
            Self::Adapter { params, .. } => params,
        }
    }

    /// The same, to be changed in place.
    pub(super) fn params_mut(&mut self) -> &mut [Tensor<2>] {
        match self {
            Self::Model(model) => model.params_mut(),
            Self::Adapter { params, .. } => params,
        }
    }

    /// The mean loss of windows, each one token longer than it is predicted, and its gradients. The
    /// parameters themselves carry no graph: their tracked twins live for one step, and memory with them.
    pub(super) fn gradients(&mut self, windows: &[&[u32]]) -> (Tensor<1>, Vec<Tensor<2>>) {
        let (loss, leaves) = match self {
            Self::Model(model) => {
                let twin = model.tracked();
                let [inputs, targets] = ends(model, windows);
                (token_losses(twin.forward(inputs), targets).mean(), twin.params().to_vec())
            }
            Self::Adapter { twin, params } => {
                let leaves: Vec<Tensor<2>> =
                    params.iter().map(|p| p.clone().autodiff().require_grad()).collect();
                twin.set_factors(leaves.clone());
                let [inputs, targets] = ends(twin.base(), windows);
                (token_losses(twin.forward(inputs), targets).mean(), leaves)
            }
        };
        let grads = loss.backward();
        let grad =
            |leaf: &Tensor<2>| leaf.grad(&grads).expect("every parameter takes part in the loss");
        (loss.inner(), leaves.iter().map(grad).collect())
    }
}

/// What windows give to read, and what is to follow.
fn ends(model: &Decoder, windows: &[&[u32]]) -> [Tensor<2, Int>; 2] {
    let inputs: Vec<&[u32]> = windows.iter().map(|w| &w[..w.len() - 1]).collect();
    let targets: Vec<&[u32]> = windows.iter().map(|w| &w[1..]).collect();
    [model.tokens(&inputs), model.tokens(&targets)]
}
