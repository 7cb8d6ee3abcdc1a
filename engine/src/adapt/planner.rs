//! Keeps a plan until there is good reason for another.

use super::{Path, Plan, plan, plan_near};
use std::time::Duration;
use undertone_media::Timestamp;

/// Keeps a plan until there is good reason for another.
///
/// A worse path is answered at once: every packet that is too many fills a queue, and every loss without protection is
/// heard. Packet time and patience move only for what is clearly better.
#[derive(Clone, Debug)]
pub struct Planner {
    current: Plan,
    path: Path,
    considered: Timestamp,
    /// How long the listener waits, and since when it need not wait so long.
    held: (Duration, Timestamp),
}

/// While losses come, a listener does not move playout for a shorter wait that has sufficed for less long; so long the
/// longer one costs nothing more.
pub(crate) const HELD_FOR: Duration = Duration::from_secs(20);

/// A path that has not changed for the worse is considered again after so long.
const INTERVAL: Duration = Duration::from_millis(200);

impl Planner {
    /// Begins with the plan for `path`.
    pub fn new(path: &Path) -> Planner {
        Planner { current: plan(path), path: *path, considered: Timestamp::ZERO, held: Default::default() }
    }

    /// The plan in force.
    pub fn current(&self) -> Plan {
        self.current
    }

    /// Keeps to this plan, whatever the path is.
    pub fn set(&mut self, plan: Plan) {
        self.current = plan;
    }

    /// Reconsiders; returns the plan now in force.
    pub fn update(&mut self, now: Timestamp, path: &Path) -> Plan {
        let dear = self.current.cost(path.overhead) > path.budget;
        let worse = path.loss.permille > self.path.loss.permille + 10;
        let due = now.since(self.considered) >= INTERVAL;
        if *path == self.path || !(due || dear || worse) {
            return self.current;
        }
        self.considered = now;
        self.path = *path;
        let (held, since) = self.held;
        let held =
            if path.loss.permille == 0 || now.since(since) >= HELD_FOR { Duration::ZERO } else { held };
        self.current = plan_near(path, Some(&self.current), held);
        if self.current.patience >= held {
            self.held = (self.current.patience, now);
        }
        self.current
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::Protection;
    use crate::adapt::tests::{OVERHEAD, path};
    use undertone_media::Bitrate;

    #[test]
    fn worse_is_answered_at_once() {
        let mut planner = Planner::new(&path(95, 0));
        let lossy = planner.update(Timestamp::from_millis(20), &path(95, 200));
        assert!(matches!(lossy.protection, Protection::Code { .. }));
        let thin = planner.update(Timestamp::from_millis(40), &path(30, 200));
        assert!(thin.cost(OVERHEAD) <= Bitrate::from_kbps(30));
        let wide = planner.update(Timestamp::from_millis(60), &path(95, 200));
        assert_eq!(wide, thin, "better can wait a moment");
        assert_ne!(planner.update(Timestamp::from_millis(400), &path(95, 200)), thin);
    }
}
