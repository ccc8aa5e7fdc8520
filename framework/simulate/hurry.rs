//! Waits of a spec that only take time: how often a step asks whether something at the vendor is done, how often a
//! stream is checked and renewed. A stand-in is done after so many questions and not after so many seconds, so a life or
//! a case loses nothing when they come faster.

use std::sync::Arc;
use std::time::Duration;

use crate::connector::instance::Instance;
use crate::connector::model::{Connector, Due, RenewWay, Step};

/// How long a step waits between two questions at most.
const QUICK_QUESTION: Duration = Duration::from_millis(50);

/// How long a life waits for what only takes time.
#[derive(Debug, Clone, Copy)]
pub struct Tempo {
    /// How often a stream is checked where it is going to be suspended.
    pub check: Duration,
    /// How often a stream is renewed that is renewed at fixed times; the overlap with the next is half of it.
    pub renewal: Duration,
    /// How much of a lifetime is left at least when it is renewed, in hundredths.
    pub left: u8,
    /// How long the vendor waits at most before it sends a push again, whatever it was asked for. A shorter wait than that
    /// of [`Tempo::SEEN`] is had more often, so that its patience is the same.
    pub push: Duration,
    /// How many seconds the vendor has a client wait that asks too often.
    pub throttled_seconds: u32,
}

impl Tempo {
    /// For people who look on.
    pub const SEEN: Self = Self {
        check: Duration::from_secs(1),
        renewal: Duration::from_secs(2),
        left: 0,
        push: Duration::from_secs(5),
        throttled_seconds: 1,
    };

    /// For nobody.
    pub const REHEARSED: Self = Self {
        check: Duration::from_millis(100),
        renewal: Duration::from_secs(1),
        left: 75,
        push: Duration::from_millis(100),
        throttled_seconds: 0,
    };

    /// How often a push is sent again where a vendor does so once.
    pub fn again(&self) -> u32 {
        u32::try_from(Self::SEEN.push.as_millis() / self.push.as_millis().max(1)).unwrap_or(1).max(1)
    }

    /// Makes questions and renewals and, where a stream is going to be suspended, checks of every resource frequent, so
    /// that they are seen within the simulation.
    pub fn quicken(&self, instance: &mut Instance, checks: bool) {
        let Some(connector) = Arc::get_mut(&mut instance.connector) else { return };
        hurry(connector);
        for resource in connector.provision.iter_mut().flat_map(|provision| &mut provision.resources) {
            if let Some(renew) = &mut resource.renew {
                match &mut renew.due {
                    Due::Every(every) => *every = (*every).min(self.renewal),
                    Due::Left(left) => *left = (*left).max(self.left),
                }
                if let RenewWay::Replace { overlap } = &mut renew.way {
                    *overlap = (*overlap).min(self.renewal / 2);
                }
            }
            if let (Some(check), true) = (&mut resource.check, checks) {
                check.every = check.every.min(self.check);
            }
        }
    }
}

/// Makes every step of a connector ask often.
pub fn hurry(connector: &mut Connector) {
    for resource in connector.provision.iter_mut().flat_map(|provision| &mut provision.resources) {
        let renew: &mut [Step] = match &mut resource.renew {
            Some(renew) => match &mut renew.way {
                RenewWay::Call(steps) => steps,
                RenewWay::Replace { .. } => &mut [],
            },
            None => &mut [],
        };
        let steps = [
            &mut resource.create[..],
            &mut resource.adopt,
            &mut resource.update,
            &mut resource.repair,
            &mut resource.delete,
            renew,
        ];
        for until in steps.into_iter().flatten().filter_map(|step| step.until.as_mut()) {
            until.every = until.every.min(QUICK_QUESTION);
        }
    }
}
