//! What a question costs, on the books of the key it was asked with: before anybody is asked all that is
//! left, then the most that the answer can cost, and what it cost when it has ended.

use std::sync::Arc;

use protocol::{Amount, Hash};
use tokio::sync::OwnedMutexGuard;

use super::backend::{Paid, Refused};
use super::error::HttpError;
use super::keys::{Booked, KeyError, KeyRing};
use super::turns::Turns;
use crate::words::amount_in_open;

/// An amount that is booked on a key.
#[derive(Debug)]
pub(crate) struct Booking {
    keys: Arc<KeyRing>,
    booked: Booked,
}

/// All that was left on a key, booked while somebody is asked for a price. Other questions with that key
/// wait meanwhile, rather than to be told that nothing is left.
#[derive(Debug)]
pub(crate) struct Reserved {
    booking: Booking,
    /// What is left; any amount where nothing is said.
    pub(crate) left: Option<Amount>,
    _turn: OwnedMutexGuard<()>,
}

impl Reserved {
    /// Books all that is left on a key.
    pub(crate) async fn take(
        keys: &Arc<KeyRing>,
        turns: &Turns,
        key: Hash,
    ) -> Result<Self, HttpError> {
        let turn = turns.of(key).await;
        let reserved = on_disk(keys, move |keys| keys.reserve(key)).await?;
        let (booked, left) = reserved.ok_or_else(HttpError::no_key)?;
        let booking = Booking { keys: Arc::clone(keys), booked };
        Ok(Self { booking, left, _turn: turn })
    }

    /// Books the most that the answer can cost instead.
    pub(crate) async fn narrow(self, most: Amount) -> Result<Booking, HttpError> {
        if let Some(left) = self.left.filter(|left| most > *left) {
            // Whoever answers knew what was left.
            let (price, most) = (amount_in_open(most), amount_in_open(left));
            self.release().await;
            return Err(Refused::OverBudget { price, most }.into());
        }
        self.booking.rebook(most).await
    }

    /// Nobody was asked, or nobody answers.
    pub(crate) async fn release(self) {
        self.booking.settle(None).await;
    }
}

impl Booking {
    pub(crate) fn amount(&self) -> Amount {
        self.booked.amount
    }

    /// Books what the answer cost; nothing where it was free.
    pub(crate) async fn settle(self, paid: Option<&Paid>) {
        let price = paid.map_or(Amount::ZERO, |paid| paid.price);
        // More than was booked stays booked; why was logged.
        let _ = self.rebook(price).await;
    }

    async fn rebook(self, amount: Amount) -> Result<Self, HttpError> {
        let booked = self.booked;
        if booked.amount == amount {
            return Ok(self);
        }
        let booked = on_disk(&self.keys, move |keys| keys.rebook(&booked, amount)).await?;
        Ok(Self { booked, ..self })
    }
}

async fn on_disk<T: Send + 'static>(
    keys: &Arc<KeyRing>,
    change: impl FnOnce(&KeyRing) -> Result<T, KeyError> + Send + 'static,
) -> Result<T, HttpError> {
    let keys = Arc::clone(keys);
    let changed = tokio::task::spawn_blocking(move || change(&keys)).await;
    let changed = changed.map_err(|error| HttpError::failed(error.to_string()))?;
    changed.map_err(|error| HttpError::keys(&error))
}
