//! What the kernel is told while one policy follows another, so that the gate never opens in between.
//!
//! The kernel decides by TCP port and protocol what is dropped, bridged past the gateway, or given to a worker. A worker
//! decides with the whole policy, so giving it more than needed is always right, only slower. Hence the order:
//!
//! 1. The kernel is told what both the old policies and the new one allow: a worker gets what any of them inspects, and
//!    nothing is bridged that one of them drops. If the kernel refuses, nothing has happened.
//! 2. Every worker takes the new policy over. Sessions that exist go on under theirs.
//! 3. The kernel is told the new policy, except that a worker still gets what an older one inspects:
//!    a session under way must not be cut out of its inspection because its port is bridged now.
//! 4. When no session is left under an older policy, the kernel is told the new one alone.

use crate::port::xdp::{Action, Classification};

/// The kernel's part of every policy in use.
#[derive(Debug)]
pub struct Gate {
    /// By generation, ascending; the last is in force.
    parts: Vec<(u32, Classification)>,
}

impl Gate {
    /// A gate under one policy.
    #[must_use]
    pub fn new(generation: u32, part: Classification) -> Self {
        Self { parts: vec![(generation, part)] }
    }

    /// What all policies in use allow and `next` too.
    #[must_use]
    pub fn before(&self, next: &Classification) -> Classification {
        self.parts.iter().fold(next.clone(), |all, (_, part)| {
            combine(&all, part, |one, other| match (one, other) {
                (Action::Inspect, _) | (_, Action::Inspect) => Action::Inspect,
                (Action::Drop, _) | (_, Action::Drop) => Action::Drop,
                (Action::Bridge, Action::Bridge) => Action::Bridge,
            })
        })
    }

    /// Another policy is in force.
    pub fn push(&mut self, generation: u32, part: Classification) {
        self.parts.push((generation, part));
    }

    /// The policy in force, and to the workers what older ones inspect.
    #[must_use]
    pub fn now(&self) -> Classification {
        let (_, newest) = &self.parts[self.parts.len() - 1];
        self.parts.iter().fold(newest.clone(), |all, (_, part)| {
            combine(&all, part, |new, old| if old == Action::Inspect { old } else { new })
        })
    }

    /// Forgets the policies that are not in use; the one in force stays. Says whether there were any.
    pub fn forget(&mut self, in_use: impl Fn(u32) -> bool) -> bool {
        let count = self.parts.len();
        let last = self.parts[count - 1].0;
        self.parts.retain(|(generation, _)| *generation == last || in_use(*generation));
        self.parts.len() < count
    }
}

/// Two classifications, field by field.
fn combine(
    one: &Classification,
    other: &Classification,
    pick: impl Fn(Action, Action) -> Action,
) -> Classification {
    let mut all = one.clone();
    for (all, other) in all.ingress.iter_mut().zip(&other.ingress) {
        for port in 0..=u16::MAX {
            let action = pick(all.tcp(port), other.tcp(port));
            if action != all.tcp(port) {
                all.set_tcp(port, action);
            }
        }
        all.udp = pick(all.udp, other.udp);
        all.icmp = pick(all.icmp, other.icmp);
        all.icmp_error = pick(all.icmp_error, other.icmp_error);
        all.other = pick(all.other, other.other);
        all.fragment = pick(all.fragment, other.fragment);
        all.fragment_v6 = pick(all.fragment_v6, other.fragment_v6);
        all.link_control = pick(all.link_control, other.link_control);
        all.ethertype = pick(all.ethertype, other.ethertype);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::xdp::classification::Ingress;

    const ALL: [Action; 3] = [Action::Drop, Action::Bridge, Action::Inspect];

    fn uniform(action: Action) -> Classification {
        Classification { ingress: [Ingress::uniform(action), Ingress::uniform(action)] }
    }

    #[test]
    fn at_no_step_passes_uninspected_what_a_policy_then_in_force_does_not_let_pass() {
        for old in ALL {
            for new in ALL {
                let mut gate = Gate::new(0, uniform(old));
                let before = gate.before(&uniform(new)).ingress[1].udp;
                gate.push(1, uniform(new));
                let now = gate.now().ingress[1].udp;
                let both = old == Action::Bridge && new == Action::Bridge;
                assert_eq!(before == Action::Bridge, both, "{old:?} {new:?}: {before:?}");
                if old == Action::Inspect {
                    assert_eq!((before, now), (Action::Inspect, Action::Inspect), "sessions go on");
                } else {
                    assert_eq!(now, new);
                }
                assert!(gate.forget(|_| false) && !gate.forget(|_| false));
                assert_eq!(gate.now(), uniform(new));
            }
        }
    }

    #[test]
    fn a_port_that_is_no_longer_inspected_stays_with_the_workers_until_its_sessions_are_gone() {
        let mut gate = Gate::new(3, Classification::inspecting(&[25, 2525]));
        gate.push(4, Classification::inspecting(&[25]));
        gate.push(5, Classification::inspecting(&[25, 587]));
        let tcp = |gate: &Gate| [25, 587, 2525, 80].map(|port| gate.now().ingress[0].tcp(port));
        use Action::{Bridge, Inspect};
        assert_eq!(tcp(&gate), [Inspect, Inspect, Inspect, Bridge]);
        gate.forget(|generation| generation >= 4);
        assert_eq!(tcp(&gate), [Inspect, Inspect, Bridge, Bridge]);
        gate.forget(|_| false);
        assert_eq!(gate.now(), Classification::inspecting(&[25, 587]), "the one in force stays");
    }
}
