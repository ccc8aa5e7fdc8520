//! Waits of a spec that only take time: how often a step asks whether something at the vendor is done. A stand-in is done
//! after so many questions and not after so many seconds, so a life or a case loses nothing when they come faster.

use std::time::Duration;

use crate::connector::model::{Connector, RenewWay, Step};

/// How long a step waits between two questions at most.
const QUICK_QUESTION: Duration = Duration::from_millis(50);

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
