//! What a node knows of a deployment before it has read a block.

use protocol::chain::ChainView;
use protocol::params::Params;

use crate::Deployment;

impl Deployment {
    /// An empty view of the chain, to fold blocks into.
    pub fn view(&self, params: Params) -> ChainView {
        ChainView::new(
            self.domain(),
            self.registry,
            self.escrow,
            self.schedule,
            self.budget,
            self.treasury,
            params,
        )
    }
}
