//! One answer as whoever asked gets it: up to a stop string, and paid from a key's budget.

use std::collections::VecDeque;
use std::time::Duration;

use compute::formats::Detokenizer;
use protocol::Amount;
use tokio::time::timeout;

use super::backend::{Answering, Finish, Paid, Refused, Said, Token};
use super::booking::Booking;
use super::error::HttpError;
use super::stops::Stops;

/// How long the end of an answer may take of which enough was read.
const END: Duration = Duration::from_secs(20);

/// A token with the likeliest ones in its place.
pub(crate) type Scored = (Token, Vec<Token>);

/// A part of an answer.
#[derive(Debug)]
pub(crate) enum Piece {
    Text { text: String, tokens: Vec<Scored> },
    End { finish: Finish, tokens_out: u32, paid: Option<Paid> },
}

/// An answer that is being read. Whoever drops it before its end hangs up: the server is told, and what it
/// still says of the price is booked.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) tokens_in: u32,
    /// None once it has ended.
    open: Option<(Answering, Booking)>,
    stops: Stops,
    /// Whether a stop string was found: only the end is waited for.
    is_stopped: bool,
    /// Bytes of text that were shown, and that all tokens so far make.
    shown: usize,
    made: usize,
    characters: Detokenizer,
    /// Tokens whose text was not shown yet, each with the byte at which it begins.
    waiting: VecDeque<(usize, Scored)>,
    /// What comes next, before anything more is read.
    next: VecDeque<Piece>,
}

impl Choice {
    pub(crate) fn new(answering: Answering, booking: Booking, stops: Vec<String>) -> Self {
        Self {
            tokens_in: answering.tokens_in,
            open: Some((answering, booking)),
            stops: Stops::new(stops),
            is_stopped: false,
            shown: 0,
            made: 0,
            characters: Detokenizer::default(),
            waiting: VecDeque::new(),
            next: VecDeque::new(),
        }
    }

    /// The next part; none after the end, and after an error.
    pub(crate) async fn next(&mut self) -> Option<Result<Piece, HttpError>> {
        loop {
            if let Some(piece) = self.next.pop_front() {
                return Some(Ok(piece));
            }
            let (answering, _) = self.open.as_mut()?;
            let said = if self.is_stopped {
                timeout(END, answering.said.recv()).await.unwrap_or(None)
            } else {
                answering.said.recv().await
            };
            match said {
                Some(Ok(Said::Text { text, tokens })) => self.text(&text, tokens),
                Some(Ok(Said::End { finish, tokens_out, paid })) => {
                    self.end(finish, tokens_out, paid).await;
                }
                Some(Err(refused)) => return Some(Err(self.broken(refused).into())),
                None => {
                    let what = "who served the model went away in the middle of the answer";
                    return Some(Err(self.broken(Refused::Failed(what.to_owned())).into()));
                }
            }
        }
    }

    fn text(&mut self, text: &str, tokens: Vec<Scored>) {
        if self.is_stopped {
            return;
        }
        for scored in tokens {
            let begins = self.made;
            self.made += self.characters.push(&scored.0.bytes).len();
            self.waiting.push_back((begins, scored));
        }
        let shown = self.stops.push(text);
        self.is_stopped = shown.is_stopped;
        if let Some((answering, _)) = self.open.as_ref().filter(|_| shown.is_stopped) {
            answering.enough.cancel();
        }
        self.show(shown.text);
        if shown.is_stopped {
            self.waiting.clear();
        }
    }

    /// Shows text, and the tokens that begin in it.
    fn show(&mut self, text: String) {
        self.shown += text.len();
        let mut tokens = Vec::new();
        while self.waiting.front().is_some_and(|(begins, _)| *begins < self.shown) {
            tokens.extend(self.waiting.pop_front().map(|(_, scored)| scored));
        }
        if !text.is_empty() || !tokens.is_empty() {
            self.next.push_back(Piece::Text { text, tokens });
        }
    }

    async fn end(&mut self, finish: Finish, tokens_out: u32, paid: Option<Paid>) {
        let rest = self.stops.rest();
        self.show(rest);
        // What is left has no text of its own.
        let tokens: Vec<_> = self.waiting.drain(..).map(|(_, scored)| scored).collect();
        if !tokens.is_empty() {
            self.next.push_back(Piece::Text { text: String::new(), tokens });
        }
        let finish = if self.is_stopped { Finish::Stop } else { finish };
        if let Some((_, booking)) = self.open.take() {
            booking.settle(paid.as_ref()).await;
        }
        self.next.push_back(Piece::End { finish, tokens_out, paid });
    }

    /// What it cost is not known: all that was booked stays booked.
    fn broken(&mut self, refused: Refused) -> Refused {
        self.open = None;
        refused
    }
}

impl Drop for Choice {
    fn drop(&mut self) {
        let Some((mut answering, booking)) = self.open.take() else { return };
        answering.enough.cancel();
        if booking.amount() == Amount::ZERO {
            return;
        }
        // Outside of a runtime nobody could say the price either.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let price = async {
                while let Some(said) = answering.said.recv().await {
                    if let Ok(Said::End { paid, .. }) = said {
                        return booking.settle(paid.as_ref()).await;
                    }
                }
            };
            // Without a price all that was booked stays booked.
            let _ = timeout(END, price).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use protocol::Digest;
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::super::booking::Reserved;
    use super::super::keys::{Budget, Key, KeyRing};
    use super::super::turns::Turns;
    use super::*;

    /// A question with a key of 100, whose answer may cost 60, and who answers it.
    struct Asked {
        keys: Arc<KeyRing>,
        choice: Choice,
        say: mpsc::Sender<Result<Said, Refused>>,
        enough: CancellationToken,
        _dir: tempfile::TempDir,
    }

    impl Asked {
        async fn new(stops: &[&str]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let keys = Arc::new(KeyRing::of_dir(dir.path()));
            let budget = Budget { per_day: None, in_all: Some(Amount(100)) };
            let text = keys.add("a", budget).unwrap();
            let key = keys.find(&text).unwrap().unwrap().hash;
            let reserved = Reserved::take(&keys, &Turns::default(), key).await.unwrap();
            assert_eq!((reserved.left, Self::spent_of(&keys)), (Some(Amount(100)), Amount(100)));
            let booking = reserved.narrow(Amount(60)).await.unwrap();
            let (say, said) = mpsc::channel(16);
            let enough = CancellationToken::new();
            let (tokens_in, most) = (3, Amount(60));
            let answering = Answering { tokens_in, most, enough: enough.clone(), said };
            let stops = stops.iter().map(|stop| (*stop).to_owned()).collect();
            let choice = Choice::new(answering, booking, stops);
            Self { keys, choice, say, enough, _dir: dir }
        }

        fn spent_of(keys: &KeyRing) -> Amount {
            let all: Vec<Key> = keys.all().unwrap();
            all[0].spent
        }

        fn spent(&self) -> Amount {
            Self::spent_of(&self.keys)
        }

        async fn text(&self, text: &str) {
            let token = Token { bytes: text.as_bytes().to_vec(), logprob: -1.0 };
            let tokens = vec![(token, Vec::new())];
            self.say.send(Ok(Said::Text { text: text.to_owned(), tokens })).await.unwrap();
        }

        async fn end(&self, price: u128) {
            let (server, receipt) = (4, Digest([1; 32]));
            let paid = Some(Paid { price: Amount(price), server, receipt, record: None });
            let end = Said::End { finish: Finish::Length, tokens_out: 9, paid };
            self.say.send(Ok(end)).await.unwrap();
        }
    }

    fn parts(piece: Piece) -> (String, usize) {
        match piece {
            Piece::Text { text, tokens } => (text, tokens.len()),
            Piece::End { finish, tokens_out, .. } => (format!("{finish:?}"), tokens_out as usize),
        }
    }

    #[tokio::test]
    async fn text_and_its_tokens_come_together_and_the_price_is_booked() {
        let mut asked = Asked::new(&["end"]).await;
        assert_eq!(asked.spent(), Amount(60), "the most that it can cost");
        for text in ["Hello", " en", "d of"] {
            asked.text(text).await;
        }
        asked.end(25).await;
        assert_eq!(parts(asked.choice.next().await.unwrap().unwrap()), ("Hello".to_owned(), 1));
        // The space before it is shown, the token that it is half of with it.
        assert_eq!(parts(asked.choice.next().await.unwrap().unwrap()), (" ".to_owned(), 1));
        assert_eq!(parts(asked.choice.next().await.unwrap().unwrap()), ("Stop".to_owned(), 9));
        assert!(asked.enough.is_cancelled(), "the server is told");
        assert!(asked.choice.next().await.is_none());
        assert_eq!(asked.spent(), Amount(25));
    }

    #[tokio::test]
    async fn who_hangs_up_pays_what_the_server_says_at_last() {
        let asked = Asked::new(&[]).await;
        let Asked { keys, choice, say, enough, _dir } = asked;
        drop(choice);
        enough.cancelled().await;
        let paid = Paid { price: Amount(7), server: 4, receipt: Digest([1; 32]), record: None };
        let end = Said::End { finish: Finish::Length, tokens_out: 1, paid: Some(paid) };
        say.send(Ok(end)).await.unwrap();
        let booked = async {
            while Asked::spent_of(&keys) != Amount(7) {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(60), booked).await.expect("it is booked");
    }

    #[tokio::test]
    async fn without_an_end_all_that_was_booked_stays_booked() {
        let mut asked = Asked::new(&[]).await;
        asked.text("Hel").await;
        asked.say = mpsc::channel(1).0;
        assert_eq!(parts(asked.choice.next().await.unwrap().unwrap()), ("Hel".to_owned(), 1));
        let error = asked.choice.next().await.unwrap().unwrap_err();
        assert_eq!(error.status, 502);
        assert!(asked.choice.next().await.is_none());
        drop(asked.choice);
        assert_eq!(Asked::spent_of(&asked.keys), Amount(60));
    }

    #[tokio::test]
    async fn a_server_that_asks_for_more_than_is_left_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Arc::new(KeyRing::of_dir(dir.path()));
        let text = keys.add("a", Budget { per_day: Some(Amount(5)), in_all: None }).unwrap();
        let key = keys.find(&text).unwrap().unwrap().hash;
        let turns = Turns::default();
        let reserved = Reserved::take(&keys, &turns, key).await.unwrap();
        // Another question with that key waits for its turn, rather than to find nothing left.
        let next = tokio::spawn({
            let keys = Arc::clone(&keys);
            async move { Reserved::take(&keys, &turns, key).await.unwrap().left }
        });
        let error = reserved.narrow(Amount(6)).await.unwrap_err();
        assert_eq!(error.status, 429);
        assert_eq!(next.await.unwrap(), Some(Amount(5)));
    }
}
