//! The file format against damage and against malice.
#![forbid(unsafe_code)]

use artifact::format::{Artifact, Error, MAX_TABLE_LEN, source_digest};
use artifact::model::{
    AccessEntry, AccessList, AddressMatch, Condition, Form, InspectParameters, Mode, Path, Policy, PortName,
    Source, Thresholds, TopAction, TopClass,
};
use artifact::smtp::{Base, Criterion, Database, Encoding, Region, SmtpClass, SmtpPolicy, Terminal, Test};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

const SEED: [u8; 32] = [7; 32];

fn criterion(test: Test) -> Criterion {
    Criterion { negated: false, test, text: "as written".into(), line: 4 }
}

fn policy() -> Policy {
    let smtp = SmtpPolicy {
        name: "mail".into(),
        base: Base::Esmtp,
        classes: vec![
            SmtpClass {
                name: "bad".into(),
                mode: Mode::Any,
                criteria: vec![0, 1],
                log: true,
                terminal: Some(Terminal::Reset),
                line: 9,
            },
            SmtpClass {
                name: "verbs".into(),
                mode: Mode::All,
                criteria: vec![2],
                log: false,
                terminal: Some(Terminal::Mask),
                line: 12,
            },
        ],
        criteria: vec![
            criterion(Test::SenderAddress),
            criterion(Test::Body),
            criterion(Test::CommandVerb("EVIL".into())),
            criterion(Test::MimeEncoding(Encoding::Token("x-odd".into()))),
        ],
        databases: vec![
            Database {
                region: Region::Sender,
                pattern_count: 1,
                streaming: false,
                stream_len: 0,
                bytes: vec![1; 100],
            },
            Database {
                region: Region::Body,
                pattern_count: 2,
                streaming: true,
                stream_len: 20,
                bytes: vec![2; 64],
            },
        ],
        alert: true,
        audit_trail: false,
        max_data: Some(20_000_000),
        settings: artifact::settings::Settings::default(),
    };
    Policy {
        source: Source { name: "mail.policy".into(), text: "! text\n".into() },
        form: Form::Zone,
        ports: vec![
            PortName { name: "outside".into(), interfaces: vec!["eth0".into()] },
            PortName { name: "inside".into(), interfaces: vec![] },
        ],
        paths: vec![Path {
            source: Some(0),
            destination: Some(1),
            zone_pair: "out-in".into(),
            policy: "top".into(),
            classes: vec![
                TopClass {
                    name: "smtp".into(),
                    mode: Mode::All,
                    condition: 3,
                    matches: vec!["protocol smtp".into()],
                    action: TopAction::Inspect { parameters: 0, smtp: Some(0) },
                    line: 20,
                },
                TopClass {
                    name: "class-default".into(),
                    mode: Mode::Any,
                    condition: 0,
                    matches: vec![],
                    action: TopAction::Drop { log: false },
                    line: 0,
                },
            ],
        }],
        conditions: vec![
            Condition::Any,
            Condition::Smtp,
            Condition::AccessList(0),
            Condition::All(vec![1, 2]),
        ],
        access_lists: vec![AccessList {
            name: "101".into(),
            entries: vec![AccessEntry {
                permit: true,
                protocol: Some(6),
                source: None,
                source_ports: None,
                destination: Some(AddressMatch::V4 { address: [192, 0, 2, 0], mask: [255, 255, 255, 0] }),
                destination_ports: Some((25, 25)),
                line: 1,
            }],
        }],
        parameters: vec![InspectParameters::default()],
        smtp: vec![smtp],
        smtp_ports: vec![25, 587],
    }
}

fn artifact(policy: Policy) -> Artifact {
    Artifact {
        library: "5.4.9".into(),
        target: "x86_64 generic".into(),
        source_digest: source_digest(&policy.source.text),
        signed_by: None,
        policy,
    }
}

/// Makes the digest of an unsigned file right again.
fn mend(bytes: &mut [u8]) {
    if let Some(end) = bytes.len().checked_sub(32) {
        let digest = Sha256::digest(&bytes[..end]);
        bytes[end..].copy_from_slice(&digest);
    }
}

/// What the loader says of a policy that somebody changed.
fn refusal(change: impl FnOnce(&mut Policy)) -> String {
    let mut changed = policy();
    change(&mut changed);
    match Artifact::read(&artifact(changed).write()) {
        Err(Error::Invalid(invalid)) => invalid.to_string(),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn reads_back_what_was_written() {
    let written = artifact(policy());
    assert_eq!(Artifact::read(&written.write()), Ok(written.clone()));
    let signed = Artifact::read(&written.write_signed(&SEED)).unwrap();
    assert!(signed.signed_by.is_some());
    assert_eq!(signed.policy, written.policy);
}

#[test]
fn same_policy_same_bytes() {
    assert_eq!(artifact(policy()).write(), artifact(policy()).write());
    assert_eq!(artifact(policy()).write_signed(&SEED), artifact(policy()).write_signed(&SEED));
}

#[test]
fn databases_are_aligned() {
    let bytes = artifact(policy()).write();
    for octet in [1u8, 2] {
        let needle = [octet; 64];
        let at = bytes.windows(64).position(|window| window == needle).unwrap();
        assert_eq!(at % 64, 0, "the database of {octet}s");
    }
}

#[test]
fn every_flipped_bit_is_an_error() {
    for good in [artifact(policy()).write(), artifact(policy()).write_signed(&SEED)] {
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                assert!(Artifact::read(&bad).is_err(), "bit {bit} of octet {at}");
            }
        }
    }
}

#[test]
fn every_truncation_and_any_excess_is_an_error() {
    for good in [artifact(policy()).write(), artifact(policy()).write_signed(&SEED)] {
        for len in 0..good.len() {
            assert!(Artifact::read(&good[..len]).is_err(), "cut to {len}");
        }
        let mut longer = good.clone();
        longer.push(0);
        assert_eq!(Artifact::read(&longer), Err(Error::Trailing { after: "the artifact", excess: 1 }));
    }
}

#[test]
fn a_signature_cannot_be_taken_off_or_changed_for_another() {
    let signed = artifact(policy()).write_signed(&SEED);
    let other = artifact(policy()).write_signed(&[8; 32]);
    let mut mixed = signed.clone();
    let end = mixed.len();
    mixed[end - 64..].copy_from_slice(&other[end - 64..]);
    assert_eq!(Artifact::read(&mixed), Err(Error::Signature));
    assert!(matches!(Artifact::read(&signed[..end - 96]), Err(Error::Truncated { reading: "the file", .. })));
}

#[test]
fn a_digest_made_right_again_helps_nobody() {
    let good = artifact(policy()).write();
    let original = artifact(policy());
    let mut accepted = 0;
    for at in 12..good.len() - 32 {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] = value;
            mend(&mut bad);
            // Whatever is accepted must be consistent, and has one form only.
            if let Ok(read) = Artifact::read(&bad) {
                assert_eq!(read.policy.validate(), Ok(()));
                assert_eq!(read.write(), bad, "octet {at} as {value}");
                accepted += usize::from(read != original);
            }
        }
    }
    assert!(accepted > 0, "the test reaches the tables: a changed name or number is legal");
}

#[test]
fn a_number_has_one_form() {
    let mut bad = artifact(policy()).write();
    let at = bad.windows(5).position(|octets| octets == b"\x04mail").unwrap();
    // The length of "ail", 3, in two octets.
    bad[at..at + 2].copy_from_slice(&[0x83, 0]);
    mend(&mut bad);
    let refused = Artifact::read(&bad).unwrap_err().to_string();
    assert_eq!(refused, "the table section cannot be decoded: a number is longer than it must be");
}

#[test]
fn lengths_beyond_the_file_or_the_limits_are_named() {
    let good = artifact(policy()).write();
    let with = |at: usize, value: u64| {
        let mut bad = good.clone();
        bad[at..at + 8].copy_from_slice(&value.to_le_bytes());
        mend(&mut bad);
        Artifact::read(&bad).unwrap_err().to_string()
    };
    assert_eq!(
        with(16, u64::MAX),
        "the length of the body is 18446744073709551615, more than the limit of 1073741824"
    );
    assert_eq!(
        with(24, MAX_TABLE_LEN as u64 + 1),
        "the length of the table section is 16777217, more than the limit of 16777216"
    );
    assert!(
        with(24, MAX_TABLE_LEN as u64).starts_with("cut short: the table section needs 16777216 octets, ")
    );
    assert!(with(196, 1 << 29).starts_with("cut short: a database needs 536870912 octets, "));
}

#[test]
fn every_reference_is_checked() {
    let cases: Vec<(String, &str)> = vec![
        (refusal(|p| p.paths[0].source = Some(9)), "path 0: refers to a port that does not exist"),
        (
            refusal(|p| p.paths[0].classes[0].condition = 9),
            "path 0: class 0: refers to a condition that does not exist",
        ),
        (
            refusal(|p| p.paths[0].classes[0].action = TopAction::Inspect { parameters: 1, smtp: None }),
            "path 0: class 0: refers to inspect parameters that do not exist",
        ),
        (
            refusal(|p| p.paths[0].classes[0].action = TopAction::Inspect { parameters: 0, smtp: Some(1) }),
            "path 0: class 0: refers to an application policy that does not exist",
        ),
        (refusal(|p| drop(p.paths[0].classes.pop())), "path 0: its last class is not class-default"),
        (
            refusal(|p| p.conditions[3] = Condition::All(vec![3])),
            "condition 3: refers to a condition that is not before it",
        ),
        (
            refusal(|p| p.conditions[3] = Condition::Not(3)),
            "condition 3: refers to a condition that is not before it",
        ),
        (
            refusal(|p| p.conditions[2] = Condition::AccessList(1)),
            "condition 2: refers to an access list that does not exist",
        ),
        (
            refusal(|p| p.conditions[2] = Condition::Port { protocol: 1, port: 25 }),
            "condition 2: a port without TCP or UDP",
        ),
        (
            refusal(|p| p.smtp[0].classes[0].criteria.push(4)),
            "application policy 0: class 0: refers to a criterion that does not exist",
        ),
        (refusal(|p| p.smtp[0].classes[0].criteria.clear()), "application policy 0: class 0: asks nothing"),
        (
            refusal(|p| p.smtp[0].classes[0].terminal = Some(Terminal::Mask)),
            "application policy 0: class 0: masks something that is no verb and no keyword",
        ),
        (
            refusal(|p| p.smtp[0].criteria = vec![criterion(Test::Always); 257]),
            "application policy 0: too many criteria",
        ),
        (
            refusal(|p| p.smtp[0].criteria[2] = criterion(Test::CommandVerb("evil".into()))),
            "application policy 0: criterion 2: its word is empty, too long, or of the wrong case",
        ),
        (
            refusal(|p| drop(p.smtp[0].databases.pop())),
            "application policy 0: a region is asked about without a database",
        ),
        (
            refusal(|p| p.smtp[0].databases[1].region = Region::Sender),
            "application policy 0: database 1: no criterion asks about its region, or another has it",
        ),
        (
            refusal(|p| p.smtp[0].databases[0].stream_len = 1),
            "application policy 0: database 0: its stream state has a size that its mode cannot have",
        ),
        (
            refusal(|p| p.smtp[0].databases[1].streaming = false),
            "application policy 0: database 1: its region comes in pieces, but it takes none",
        ),
        (refusal(|p| p.smtp[0].databases[0].bytes.clear()), "application policy 0: database 0: is empty"),
        (refusal(|p| p.parameters.clear()), "inspect parameters: the first is missing"),
        (
            refusal(|p| p.parameters[0].max_incomplete = Some(Thresholds { low: 5, high: 5 })),
            "inspect parameters 0: a low threshold is not below its high one",
        ),
        (refusal(|p| p.smtp_ports = vec![587, 25]), "smtp ports: not sorted, unique and above 0"),
        (refusal(|p| p.ports[1].name = "outside".into()), "port 1: another port has its name"),
        (
            refusal(|p| p.paths[0].zone_pair = "a\nb".into()),
            "path 0: a name is empty, too long, or has control characters",
        ),
        (
            refusal(|p| p.access_lists[0].entries[0].destination_ports = Some((26, 25))),
            "access list 0: entry 0: a range of ports runs backwards",
        ),
        (
            refusal(|p| {
                p.access_lists[0].entries[0].source =
                    Some(AddressMatch::V6 { address: [0; 16], mask: [0; 16] })
            }),
            "access list 0: entry 0: source and destination are of two IP versions",
        ),
    ];
    for (said, expected) in cases {
        assert_eq!(said, expected);
    }
}

#[test]
fn a_condition_that_doubles_at_each_link_is_refused() {
    let said = refusal(|p| {
        for _ in 0..40 {
            let last = p.conditions.len() as u16 - 1;
            p.conditions.push(Condition::All(vec![last, last]));
        }
    });
    assert!(said.ends_with("costs too many tests"), "{said}");
    let said = refusal(|p| {
        for _ in 0..70 {
            p.conditions.push(Condition::Not(p.conditions.len() as u16 - 1));
        }
    });
    assert!(said.ends_with("is nested too deeply"), "{said}");
}

#[test]
fn a_text_that_is_not_the_named_one_is_refused() {
    let mut other = artifact(policy());
    let mut bytes = other.write();
    other.policy.source.text = "! tex!\n".into();
    let changed = other.write();
    // Everything of the changed file but the digest of the text, which is that of the old one.
    bytes.splice(64.., changed[64..].iter().copied());
    mend(&mut bytes);
    assert_eq!(Artifact::read(&bytes), Err(Error::SourceDigest));
}

#[test]
fn other_files_are_told_apart() {
    assert_eq!(Artifact::read(b""), Err(Error::NotAnArtifact));
    assert_eq!(Artifact::read(b"class-map type inspect smtp x\n"), Err(Error::NotAnArtifact));
    let mut newer = artifact(policy()).write();
    newer[8] = 1;
    assert_eq!(Artifact::read(&newer), Err(Error::Version { found: 1 }));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn garbage_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(Artifact::read(&bytes).is_err());
    }

    /// Garbage behind a valid start, lengths and digest made right, so that every layer is reached.
    #[test]
    fn garbage_behind_a_valid_start_never_panics(
        keep in 0usize..900,
        garbage in proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xff), any::<u8>()], 0..600),
        fix_table in any::<bool>(),
    ) {
        let good = artifact(policy()).write();
        let mut bytes = good[..keep.min(good.len())].to_vec();
        bytes.extend_from_slice(&garbage);
        bytes.resize(bytes.len().max(300), 0);
        let len = bytes.len() as u64;
        bytes[16..24].copy_from_slice(&len.to_le_bytes());
        if fix_table {
            bytes[24..32].copy_from_slice(&(len.saturating_sub(212 + 32)).to_le_bytes());
        }
        mend(&mut bytes);
        if let Ok(read) = Artifact::read(&bytes) {
            prop_assert_eq!(read.policy.validate(), Ok(()));
        }
    }
}
