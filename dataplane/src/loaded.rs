//! A loaded artifact: policy, patterns, and which of its ports the two sides of the gateway are.

use std::collections::BTreeSet;
use std::path::Path;

use artifact::format::Artifact;
use artifact::model::{Form, Policy, PortIndex};
use inspect::unit::PortId;

use crate::config::{PortBinding, ZoneBinding};
use crate::failure::Failure;
use crate::matcher::Patterns;
use crate::placement::Placement;

/// Octets an artifact may have; far more than any policy needs.
pub const ARTIFACT_LEN_LIMIT: u64 = 1 << 30;

/// An artifact that can be used here.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// As it was read.
    pub artifact: Artifact,
    /// Its databases.
    pub patterns: Patterns,
}

impl Loaded {
    /// Reads an artifact from a file.
    ///
    /// # Errors
    /// When the file cannot be read, is no artifact, or was made for another pattern library; names the file.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let fail = |error: &dyn std::fmt::Display| Failure::file("--policy", path, error);
        let len = std::fs::metadata(path).map_err(|error| fail(&error))?.len();
        if len > ARTIFACT_LEN_LIMIT {
            return Err(fail(&"longer than 1 GiB, not an artifact"));
        }
        let bytes = std::fs::read(path).map_err(|error| fail(&error))?;
        let artifact = Artifact::read(&bytes).map_err(|error| fail(&error))?;
        Self::new(artifact).map_err(|error| fail(&error))
    }

    /// Loads the patterns of an artifact.
    ///
    /// # Errors
    /// As [`Patterns::load`].
    pub fn new(artifact: Artifact) -> Result<Self, crate::matcher::LoadError> {
        let patterns = Patterns::load(&artifact)?;
        let mut artifact = artifact;
        // The library has them now; a policy lives as long as the last session under it.
        for database in artifact.policy.smtp.iter_mut().flat_map(|smtp| &mut smtp.databases) {
            database.bytes = Vec::new();
        }
        Ok(Self { artifact, patterns })
    }
}

/// Which ports of the policy the two sides are; `None` is one that the policy does not know.
pub type Sides = [Option<PortIndex>; 2];

/// What `names` are in the policy.
///
/// # Errors
/// In the zone form every name must be a zone.
fn index_of(policy: &Policy, name: &str, option: &str) -> Result<Option<PortIndex>, Failure> {
    let found = policy.ports.iter().position(|port| port.name == name);
    match (found.and_then(|index| PortIndex::try_from(index).ok()), policy.form) {
        (None, Form::Zone) => {
            let names: Vec<_> = policy.ports.iter().map(|port| format!("`{}`", port.name)).collect();
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Err(Failure::Usage(format!("{option}: the policy has no zone `{name}` (it has {known})")))
        }
        (index, _) => Ok(index),
    }
}

/// Binds the ports of the command line, or the interfaces that the policy names and `exists` knows.
///
/// # Errors
/// When a name is not one of the policy's, or two ports cannot be found.
pub fn bind(
    policy: &Policy,
    ports: &[PortBinding],
    exists: impl Fn(&str) -> bool,
) -> Result<([PortBinding; 2], Sides), Failure> {
    let mut found: Vec<PortBinding> = Vec::new();
    let ports = if ports.is_empty() {
        found = policy
            .ports
            .iter()
            .flat_map(|port| port.interfaces.iter().map(|interface| (port.name.clone(), interface.clone())))
            .filter(|(_, interface)| exists(interface))
            .map(|(name, interface)| PortBinding { name, interface })
            .collect();
        &found
    } else {
        ports
    };
    let [a, b] = ports else {
        return Err(Failure::Usage(if found.is_empty() && !ports.is_empty() {
            format!("--port: a gateway has two ports, {} are given", ports.len())
        } else {
            format!(
                "--port NAME=INTERFACE must be given twice: {} of the policy's own interfaces are on this machine",
                ports.len()
            )
        }));
    };
    if a.interface == b.interface {
        return Err(Failure::Usage(format!("--port: `{}` is given for both ports", a.interface)));
    }
    let sides = sides(policy, [&a.name, &b.name])?;
    Ok(([a.clone(), b.clone()], sides))
}

/// What the two ports of a gateway are in a policy, by their names.
///
/// # Errors
/// When a name is not one of the policy's, or both are the same.
pub fn sides(policy: &Policy, [a, b]: [&str; 2]) -> Result<Sides, Failure> {
    let sides = [index_of(policy, a, "--port")?, index_of(policy, b, "--port")?];
    if sides[0].is_some() && sides[0] == sides[1] {
        return Err(Failure::Usage(format!(
            "--port: both ports are in `{a}`; within it nothing is inspected"
        )));
    }
    Ok(sides)
}

/// Which sides a capture's frames come from, and how to tell.
///
/// # Errors
/// When the policy has several zone-pairs and `zones` does not say which addresses are where.
pub fn place(policy: &Policy, zones: &[ZoneBinding]) -> Result<(Sides, Placement), Failure> {
    if zones.is_empty() {
        let sides = only_pair(policy)?;
        return Ok((sides, Placement::by_initiator(&policy.smtp_ports)));
    }
    let mut names: Vec<&str> = Vec::new();
    for zone in zones {
        if !names.contains(&zone.zone.as_str()) {
            names.push(&zone.zone);
        }
    }
    let (first, second) = match names[..] {
        [only] => (only, None),
        [first, second] => (first, Some(second)),
        _ => {
            return Err(Failure::Usage(format!(
                "--zone: {} zones are named, but a gateway stands between two; replay once for each pair",
                names.len()
            )));
        }
    };
    let a = index_of(policy, first, "--zone")?;
    let b = match second {
        Some(name) => index_of(policy, name, "--zone")?,
        None => partner(policy, a),
    };
    let sides = zones
        .iter()
        .map(|zone| (zone.cidr, if zone.zone == first { PortId::A } else { PortId::B }))
        .collect();
    Ok(([a, b], Placement::by_zone(sides, &policy.smtp_ports)))
}

/// The only port that can be opposite `port`: the policy's other one, if it has two.
fn partner(policy: &Policy, port: Option<PortIndex>) -> Option<PortIndex> {
    let count = PortIndex::try_from(policy.ports.len()).unwrap_or(PortIndex::MAX);
    let mut others = (0..count).filter(|other| Some(*other) != port);
    others.next().filter(|_| others.next().is_none())
}

/// The two sides of a policy whose paths all go one way: initiators on the first.
fn only_pair(policy: &Policy) -> Result<Sides, Failure> {
    let sources: BTreeSet<_> = policy.paths.iter().filter_map(|path| path.source).collect();
    let destinations: BTreeSet<_> = policy.paths.iter().filter_map(|path| path.destination).collect();
    let source = sources.first().copied();
    let destination = destinations.first().copied();
    if sources.len() > 1 || destinations.len() > 1 || (source.is_some() && source == destination) {
        let names: Vec<_> = policy.paths.iter().map(|path| format!("`{}`", path.zone_pair)).collect();
        return Err(Failure::Usage(format!(
            "the policy has {} zone-pairs or rules ({}): say with --zone CIDR=ZONE which addresses are where",
            names.len(),
            names.join(", ")
        )));
    }
    Ok(match (source, destination) {
        (Some(a), Some(b)) => [Some(a), Some(b)],
        (Some(a), None) => [Some(a), partner(policy, Some(a))],
        (None, Some(b)) => [partner(policy, Some(b)), Some(b)],
        (None, None) => [0, 1].map(|index| (usize::from(index) < policy.ports.len()).then_some(index)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::sample;
    use artifact::model::PortName;

    fn binding(text: &str) -> PortBinding {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_bound_to_the_policys_ports() {
        let policy = sample::policy();
        let bound = bind(&policy, &[binding("outside=eth0"), binding("inside=eth1")], |_| false);
        assert_eq!(bound.unwrap().1, [Some(1), Some(0)]);
        let error = bind(&policy, &[binding("dmz=eth0"), binding("inside=eth1")], |_| false).unwrap_err();
        assert_eq!(
            error,
            Failure::Usage("--port: the policy has no zone `dmz` (it has `inside`, `outside`)".into())
        );
        for (ports, expected) in [
            (&["inside=x", "outside=x"][..], "--port: `x` is given for both ports"),
            (&["inside=x"], "--port: a gateway has two ports, 1 are given"),
            (&["inside=x", "inside=y"], "--port: both ports are in `inside`; within it nothing is inspected"),
        ] {
            let ports: Vec<_> = ports.iter().map(|port| binding(port)).collect();
            assert_eq!(bind(&policy, &ports, |_| false), Err(Failure::Usage(expected.into())));
        }
        let classic = Policy { form: Form::Classic, ..policy };
        let bound = bind(&classic, &[binding("dmz=eth0"), binding("inside=eth1")], |_| false).unwrap();
        assert_eq!(bound.1, [None, Some(0)], "what a classic policy does not know passes");
    }

    #[test]
    fn the_policys_own_interfaces_do_where_they_exist() {
        let mut policy = sample::policy();
        policy.ports[0].interfaces = vec!["eth0".into(), "eth7".into()];
        policy.ports[1].interfaces = vec!["eth1".into()];
        let (ports, sides) = bind(&policy, &[], |name| name != "eth7").unwrap();
        assert_eq!(ports, [binding("inside=eth0"), binding("outside=eth1")]);
        assert_eq!(sides, [Some(0), Some(1)]);
        let error = bind(&policy, &[], |_| false).unwrap_err();
        assert!(error.to_string().contains("must be given twice: 0 of the policy's own"), "{error}");
        policy.ports[1].interfaces.clear();
        let error = bind(&policy, &[], |_| true).unwrap_err();
        assert!(error.to_string().contains("both ports are in `inside`"), "{error}");
    }

    #[test]
    fn a_single_zone_pair_needs_no_zone() {
        assert_eq!(place(&sample::policy(), &[]).unwrap().0, [Some(0), Some(1)]);
        let mut both = sample::policy();
        let mut back = both.paths[0].clone();
        (back.source, back.destination, back.zone_pair) = (Some(1), Some(0), "out-in".into());
        both.paths.push(back);
        let error = place(&both, &[]).unwrap_err().to_string();
        assert!(error.contains("2 zone-pairs or rules (`in-out`, `out-in`)"), "{error}");
        let zone = |text: &str| text.parse::<ZoneBinding>().unwrap();
        assert_eq!(place(&both, &[zone("10.0.0.0/8=outside")]).unwrap().0, [Some(1), Some(0)]);
        let two = [zone("10.0.0.0/8=inside"), zone("0.0.0.0/0=outside"), zone("11.0.0.0/8=inside")];
        assert_eq!(place(&both, &two).unwrap().0, [Some(0), Some(1)]);
        assert!(
            place(&both, &[zone("::/0=dmz")])
                .unwrap_err()
                .to_string()
                .starts_with("--zone: the policy has no")
        );
    }

    #[test]
    fn a_classic_rule_says_which_side_begins() {
        let mut policy = Policy { form: Form::Classic, ..sample::policy() };
        policy.paths[0].destination = None;
        assert_eq!(place(&policy, &[]).unwrap().0, [Some(0), Some(1)], "in");
        (policy.paths[0].source, policy.paths[0].destination) = (None, Some(0));
        assert_eq!(place(&policy, &[]).unwrap().0, [Some(1), Some(0)], "out");
        policy.ports.push(PortName { name: "third".into(), interfaces: Vec::new() });
        assert_eq!(place(&policy, &[]).unwrap().0, [None, Some(0)]);
        policy.paths.clear();
        assert_eq!(place(&policy, &[]).unwrap().0, [Some(0), Some(1)]);
    }

    #[test]
    fn a_file_that_is_no_artifact_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mail.postern");
        let error = Loaded::read(&path).unwrap_err();
        assert!(error.to_string().starts_with("--policy ") && error.status() == 1, "{error}");
        std::fs::write(&path, b"zone security inside").unwrap();
        let error = Loaded::read(&path).unwrap_err();
        assert!(error.to_string().contains("mail.postern: "), "{error}");
    }
}
