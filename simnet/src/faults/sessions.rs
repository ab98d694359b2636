//! How nodes come and go.

use crate::{
    kernel::{Draws, Purpose, Time, ratio, real, scale, whole},
    scenario::{Churn, ChurnModel},
    units::Span,
};

const HOUR: u64 = Span::hours(1).0;
/// Hours after midnight at which most nodes are there.
const BUSIEST_HOUR: f64 = 20.0;

/// How a node comes and goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rhythm {
    /// It stays online but for faults.
    Steady,
    /// By sessions and pauses.
    Sessions,
    /// It is there in the evening of its place.
    Evening,
}

/// The sessions of all nodes that come and go.
#[derive(Debug, Clone, Copy)]
pub struct Sessions {
    churn: Churn,
    draws: Draws,
}

impl Sessions {
    /// The sessions of a scenario.
    pub const fn new(churn: Churn, draws: Draws) -> Self {
        Self { churn, draws }
    }

    /// How a node comes and goes.
    pub(crate) fn rhythm(&self, node: u32) -> Rhythm {
        let draw = |which| self.draws.share(Purpose::Session, node.into(), which);
        if draw(u64::MAX) >= self.churn.share {
            Rhythm::Steady
        } else if self.churn.evening > 0.0 && draw(u64::MAX - 1) < self.churn.evening {
            Rhythm::Evening
        } else if self.churn.model == ChurnModel::None {
            Rhythm::Steady
        } else {
            Rhythm::Sessions
        }
    }

    /// The evening of a node's place that is on at a time, or else the next one: from when until when.
    /// Each node has its own hours, up to an hour before and after the usual ones.
    pub fn evening(&self, node: u32, now: Time, ahead_of_utc: f64) -> (Time, Time) {
        let shift = |which: u64| {
            let word = self.draws.word(Purpose::Session, node.into(), u64::MAX - which);
            signed(2 * scale(word, HOUR)) - signed(HOUR)
        };
        let (day, earlier, later) = (signed(24 * HOUR), shift(2), shift(3));
        let from = signed(self.churn.evening_from.0) + earlier - hours_as_micros(ahead_of_utc);
        let lasts = self.churn.evening_until.0.saturating_sub(self.churn.evening_from.0);
        let lasts = (signed(lasts) + later - earlier).max(1);
        // The first evening whose end is yet to come.
        let days = (signed(now.0) - from - lasts).div_euclid(day) + 1;
        let start = from + days * day;
        let at = |micros: i64| Time(u64::try_from(micros).unwrap_or(0));
        (at(start), at(start + lasts))
    }

    /// How long the `which`th session of a node lasts, in microseconds: by inversion of the
    /// distribution function.
    pub fn session(&self, node: u32, which: u64) -> u64 {
        let rest = 1.0 - ratio(self.draws.word(Purpose::Session, node.into(), which * 2));
        let (unit, shape) = (real(self.churn.session.0), self.churn.shape);
        whole(match self.churn.model {
            ChurnModel::None => return u64::MAX,
            ChurnModel::Exponential => -rest.ln() * unit,
            ChurnModel::Weibull => unit * (-rest.ln()).powf(1.0 / shape),
            ChurnModel::Pareto => unit * rest.powf(-1.0 / shape),
        })
        .max(1)
    }

    /// When a node that leaves at `now` comes back. At the quiet hours of its day it thinks better of
    /// it and tries again an hour later.
    pub fn returns(&self, node: u32, which: u64, now: Time, ahead_of_utc: f64) -> Time {
        let word = self.draws.word(Purpose::Session, node.into(), which * 2 + 1);
        let pause = -(1.0 - ratio(word)).ln() * real(self.churn.pause.0);
        let mut back = now.after(whole(pause).max(1));
        if self.churn.diurnal > 0.0 {
            for attempt in 0..24 {
                let quiet = self.churn.diurnal * quietness(back, ahead_of_utc);
                let about = u64::from(node) << 32 | which;
                if self.draws.share(Purpose::Session, about, attempt) >= quiet {
                    break;
                }
                back = back.after(HOUR);
            }
        }
        back
    }
}

/// 0 at the busiest hour of a place, 1 twelve hours later. A run starts at midnight UTC.
fn quietness(at: Time, ahead_of_utc: f64) -> f64 {
    let hour = real(at.0 % (24 * HOUR)) / real(HOUR) + ahead_of_utc;
    (1.0 - ((hour - BUSIEST_HOUR) / 24.0 * std::f64::consts::TAU).cos()) / 2.0
}

fn signed(micros: u64) -> i64 {
    i64::try_from(micros).expect("a run lasts less than 2^63 microseconds")
}

#[expect(clippy::cast_possible_truncation, reason = "a day at most")]
fn hours_as_micros(hours: f64) -> i64 {
    (hours * real(HOUR)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(model: ChurnModel, shape: f64) -> f64 {
        let session = Span::hours(1);
        let churn = Churn { model, shape, session, ..Churn::default() };
        let sessions = Sessions::new(churn, Draws::new(5));
        let sum: f64 = (0..40_000).map(|node| real(sessions.session(node, 0))).sum();
        sum / 40_000.0 / real(session.0)
    }

    #[test]
    fn sessions_have_the_means_of_their_distributions() {
        // 1; Γ(1 + 1/2) = √π/2; α/(α-1) = 1.5: each within five standard deviations of the mean.
        assert!((mean(ChurnModel::Exponential, 1.0) - 1.0).abs() < 0.025);
        assert!((mean(ChurnModel::Weibull, 2.0) - 0.886).abs() < 0.012);
        assert!((mean(ChurnModel::Pareto, 3.0) - 1.5).abs() < 0.022);
    }

    #[test]
    fn evenings_are_where_the_clock_of_a_place_says() {
        let churn = Churn { share: 0.9, evening: 0.5, ..Churn::default() };
        let sessions = Sessions::new(churn, Draws::new(5));
        let at = |hours: u64| Time(hours * HOUR);
        for node in 0..200 {
            for (now, ahead) in [(at(0), 0.0), (at(12), 1.0), (at(50), -6.0), (at(23), 10.0)] {
                let (start, end) = sessions.evening(node, now, ahead);
                assert!(end > now && start.0 < now.0 + 24 * HOUR, "{start:?} {end:?}");
                assert!((3 * HOUR..=7 * HOUR).contains(&(end.0 - start.0)) || start.0 == 0);
                let local = (real(end.0) / real(HOUR) + ahead).rem_euclid(24.0);
                assert!(local >= 22.0 || local <= 0.01, "ends at {local}");
                let (next, after) = sessions.evening(node, end, ahead);
                assert_eq!(after.0 - end.0, 24 * HOUR);
                assert!(next > end, "it is over");
            }
        }
        let of = |rhythm| (0..4_000).filter(|node| sessions.rhythm(*node) == rhythm).count();
        // 45 % each way of 90 %; without a model of sessions the others stay. Five standard
        // deviations are 158.
        assert!((1_642..=1_958).contains(&of(Rhythm::Evening)), "{}", of(Rhythm::Evening));
        assert_eq!(of(Rhythm::Sessions), 0);
    }

    #[test]
    fn nodes_come_back_at_the_busy_hours_of_their_own_place() {
        let churn = Churn {
            model: ChurnModel::Exponential,
            pause: Span::hours(1),
            diurnal: 1.0,
            ..Churn::default()
        };
        let sessions = Sessions::new(churn, Draws::new(5));
        let returns = |ahead: f64, from: u64| {
            let back = (0..4_000).map(|node| {
                sessions.returns(node, 0, Time(u64::from(node) * HOUR), ahead).0 / HOUR % 24
            });
            back.filter(|hour| (from..from + 6).contains(hour)).count()
        };
        // Around 20:00 and around 8:00, here and half a day ahead.
        assert!(returns(0.0, 17) > 3 * returns(0.0, 5));
        assert!(returns(12.0, 5) > 3 * returns(12.0, 17));
    }
}
