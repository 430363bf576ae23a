//! What lines mean: the tables that come of them.
#![forbid(unsafe_code)]

use artifact::defence::{
    Auth, Defences, EightBit, Limits, RelayProbes, SaslLayers, Synchronization, VerbGroup,
};
use artifact::model::{Condition, Form, Policy, TopAction};
use artifact::settings::{Chunking, Decode, EndOfData, Settings, StartTls};
use artifact::smtp::{Base, Encoding, Region, Terminal, Test};
use posternc::compile::{Options, compile};
use posternc::kind::KINDS;
use posternc::source::SourceFile;

fn policy(text: &str) -> Policy {
    policy_with(text, Options::default())
}

fn policy_with(text: &str, options: Options) -> Policy {
    let file = SourceFile::new("test.policy", text);
    let compiled = compile(&file, options);
    let said: Vec<String> = compiled.diagnostics.iter().map(|found| found.render(&file, false)).collect();
    compiled.artifact.unwrap_or_else(|| panic!("{}", said.join("\n"))).policy
}

/// Without what differs between two ways to write the same: the text and its lines.
fn meaning(text: &str) -> Policy {
    without_places(policy(text))
}

fn without_places(mut policy: Policy) -> Policy {
    policy.source = Default::default();
    for class in policy.paths.iter_mut().flat_map(|path| &mut path.classes) {
        class.line = 0;
    }
    for smtp in &mut policy.smtp {
        smtp.classes.iter_mut().for_each(|class| class.line = 0);
        smtp.criteria.iter_mut().for_each(|criterion| criterion.line = 0);
    }
    for entry in policy.access_lists.iter_mut().flat_map(|list| &mut list.entries) {
        entry.line = 0;
    }
    policy
}

/// An SMTP policy around some class.
fn with_class(mode: &str, lines: &str, actions: &str) -> String {
    format!(
        "parameter-map type regex map\n pattern x\nclass-map type inspect smtp {mode} c\n{lines}\
         policy-map type inspect smtp p\n class type inspect smtp c\n{actions}\
         class-map type inspect mail\n match protocol smtp\n\
         policy-map type inspect top\n class type inspect mail\n  inspect\n  service-policy smtp p\n\
         zone security a\nzone security b\nzone-pair security ab source a destination b\n service-policy type inspect top\n"
    )
}

const WRITTEN_OUT: &str = "\
parameter-map type regex spam
 pattern spam
class-map type inspect smtp match-any bad
 match sender address regex spam
policy-map type inspect smtp p
 class type inspect smtp bad
  log
  reset
class-map type inspect match-all mail
 match protocol smtp
policy-map type inspect top
 class type inspect mail
  inspect
  service-policy smtp p
zone security outside
zone security inside
zone-pair security a source outside destination inside
 service-policy type inspect top
";

#[test]
fn abbreviations_case_and_removed_lines_mean_the_same() {
    let short = include_str!("golden/abbreviated.policy");
    assert_eq!(meaning(short), meaning(WRITTEN_OUT));
    assert_eq!(meaning(&WRITTEN_OUT.replace("\n ", "\n").replace('\n', "\r\n")), meaning(WRITTEN_OUT));
    let removed = format!(
        "{WRITTEN_OUT}class-map type inspect smtp match-any extra\n match cmd verb EVIL\nno class-map type inspect smtp extra\n\
         policy-map type inspect smtp q\n parameters\n  base smtp\nno policy-map type inspect smtp q\n\
         zone security c\nno zone security c\nparameter-map type regex y\n pattern y\nno parameter-map type regex y\n\
         access-list 9 permit any\nno access-list 9\nzone-pair security z source inside destination outside\n\
         no zone-pair security z\n"
    );
    assert_eq!(meaning(&removed), meaning(WRITTEN_OUT));
    let mended = WRITTEN_OUT
        .replace("  reset\n", "  mask\n  no mask\n  reset\n")
        .replace(" pattern spam\n", " pattern ham\n no pattern ham\n pattern spam\n");
    assert_eq!(meaning(&mended), meaning(WRITTEN_OUT));
}

#[test]
fn the_first_policy_has_the_expected_shape() {
    let policy = policy(include_str!("../../deploy/policies/first-light.policy"));
    assert_eq!(policy.form, Form::Zone);
    assert_eq!(policy.ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>(), ["outside", "inside"]);
    let [path] = policy.paths.as_slice() else { panic!("one path") };
    assert_eq!((path.source, path.destination), (Some(0), Some(1)));
    let [mail, default] = path.classes.as_slice() else { panic!("two classes") };
    assert_eq!(mail.action, TopAction::Inspect { parameters: 0, smtp: Some(0) });
    assert_eq!(policy.conditions[usize::from(mail.condition)], Condition::Smtp);
    assert_eq!((default.name.as_str(), default.action), ("class-default", TopAction::Drop { log: false }));
    assert_ne!(default.line, 0, "it is written, not implicit");
    let [smtp] = policy.smtp.as_slice() else { panic!("one SMTP policy") };
    assert_eq!(smtp.base, Base::None);
    let does: Vec<_> = smtp.classes.iter().map(|class| (class.log, class.terminal)).collect();
    let (mask, reset) = (Some(Terminal::Mask), Some(Terminal::Reset));
    assert_eq!(
        does,
        [(true, mask), (false, mask), (true, reset), (true, reset), (true, reset), (true, None)]
    );
    let regions: Vec<_> = smtp.databases.iter().map(|database| database.region).collect();
    assert_eq!(regions, [Region::Sender, Region::Recipient, Region::Body]);
    for database in &smtp.databases {
        let streaming = database.region.is_streaming();
        assert_eq!((database.streaming, database.stream_len > 0), (streaming, streaming), "{database:?}");
    }
}

#[test]
fn example_policies_have_no_findings() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/policies");
    let mut count = 0;
    for entry in std::fs::read_dir(directory).expect("the examples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "policy") {
            let file = SourceFile::new(path.display().to_string(), std::fs::read_to_string(&path).unwrap());
            let compiled = compile(&file, Options::default());
            let said: Vec<String> =
                compiled.diagnostics.iter().map(|found| found.render(&file, false)).collect();
            assert!(said.is_empty(), "{}", said.join("\n"));
            count += 1;
        }
    }
    assert!(count >= 3, "the examples are found");
}

#[test]
fn class_default_is_last_and_drops_unless_said_otherwise() {
    let implicit = policy(WRITTEN_OUT);
    let last = implicit.paths[0].classes.last().unwrap();
    assert_eq!(
        (last.name.as_str(), last.line, last.action),
        ("class-default", 0, TopAction::Drop { log: false })
    );
    let first = WRITTEN_OUT.replace(
        " class type inspect mail\n",
        " class class-default\n  pass log\n class type inspect mail\n",
    );
    let explicit = policy(&first);
    assert_eq!(explicit.paths[0].classes.len(), 2);
    assert_eq!(explicit.paths[0].classes[1].action, TopAction::Pass { log: true });
}

#[test]
fn every_match_kind_becomes_its_test() {
    let cases = [
        ("sender address regex map", Test::SenderAddress),
        ("recipient address regex map", Test::RecipientAddress),
        ("recipient count gt 100", Test::RecipientCount(100)),
        ("recipient invalid count gt 5", Test::RecipientInvalidCount(5)),
        ("cmd verb vrfy", Test::CommandVerb("VRFY".into())),
        ("cmd line length gt 512", Test::CommandLineLength(512)),
        ("cmd-line length gt 512", Test::CommandLineLength(512)),
        ("header length gt 16384", Test::HeaderLength(16384)),
        ("header regex map", Test::Header),
        ("body regex map", Test::Body),
        ("data-length gt 4294967295", Test::DataLength(4_294_967_295)),
        ("mime content-type regex map", Test::MimeContentType),
        ("mime encoding unknown", Test::MimeEncoding(Encoding::Unknown)),
        ("mime encoding 7-bit", Test::MimeEncoding(Encoding::Token("7bit".into()))),
        ("mime encoding X-Odd", Test::MimeEncoding(Encoding::Token("x-odd".into()))),
        ("reply ehlo 8bitmime", Test::ReplyEhlo("8BITMIME".into())),
        ("ehlo reply etrn", Test::ReplyEhlo("ETRN".into())),
    ];
    for (line, test) in &cases {
        let plain = policy(&with_class("match-any", &format!(" match {line}\n"), "  log\n"));
        let criterion = &plain.smtp[0].criteria[0];
        assert_eq!((&criterion.test, criterion.negated, criterion.line), (test, false, 4), "{line}");
        let negated = policy(&with_class("match-any", &format!(" match not {line}\n"), "  log\n"));
        assert!(
            negated.smtp[0].criteria[0].negated && negated.smtp[0].criteria[0].text.starts_with("not "),
            "{line}"
        );
        let regions: Vec<_> = plain.smtp[0].databases.iter().map(|database| database.region).collect();
        assert_eq!(regions, test.region().into_iter().collect::<Vec<_>>(), "{line}");
        assert_ne!(posternc::kind::describe(test, "map"), "anything", "{line} is described");
    }
    for kind in KINDS {
        let words = kind.keywords().join(" ");
        assert!(kind.syntax().contains(&words), "the syntax of `{words}`");
        assert!(kind.documentation().len() > 40, "the documentation of `{words}`");
        assert!(cases.iter().any(|(line, _)| line.starts_with(&words)), "`{words}` has a case");
    }
}

#[test]
fn words_are_printed_as_they_should_have_been_written() {
    let policy = policy(&with_class("match-any", " ma cmd-line le g 512\n m REC c g 7\n", "  log\n"));
    let texts: Vec<_> = policy.smtp[0].criteria.iter().map(|criterion| criterion.text.as_str()).collect();
    assert_eq!(texts, ["cmd line length gt 512", "recipient count gt 7"]);
}

#[test]
fn both_spellings_of_the_line_length_are_the_same() {
    let with = |line: &str| meaning(&with_class("match-any", line, "  log\n"));
    assert_eq!(with(" match cmd-line length gt 600\n"), with(" match cmd line length gt 600\n"));
}

/// The two examples as they stand with the zones they need, and what they are taken for.
#[test]
fn misplaced_lines_mean_what_the_top_level_says() {
    let zones = "zone security a\nzone security b\nzone-pair security ab source a destination b\n service-policy type inspect pin\n";
    for mode in ["", "match-any ", "match-all "] {
        let misplaced = format!(
            "class-map type inspect smtp {mode}c1\nmatch protocol smtp\npolicy-map type inspect smtp pin\n\
             class type inspect smtp c1\ninspect\n{zones}"
        );
        let options = Options { seed_compat: true, ..Options::default() };
        let taken = without_places(policy_with(&misplaced, options));
        assert_eq!(taken, meaning(&misplaced.replace(" smtp ", " ")), "{mode}");
        assert!(matches!(taken.paths[0].classes[0].action, TopAction::Inspect { smtp: None, .. }));
        let file = SourceFile::new("test.policy", misplaced);
        assert_eq!(
            compile(&file, Options::default()).counts().0,
            3,
            "two misplaced lines, and no such policy"
        );
    }
    // A good policy means the same with the option.
    let options = Options { seed_compat: true, ..Options::default() };
    assert_eq!(policy_with(WRITTEN_OUT, options), policy(WRITTEN_OUT));
}

#[test]
fn default_class_and_parameters_of_an_smtp_policy() {
    let text = with_class("match-any", " match cmd verb EVIL\n", "  mask\n class class-default\n  log\n").replace(
        "policy-map type inspect smtp p\n",
        "policy-map type inspect smtp p\n parameters\n  base esmtp\n  max-data 1000\n  alert off\n  audit-trail on\n",
    );
    let policy = policy(&text);
    let smtp = &policy.smtp[0];
    assert_eq!(
        (smtp.base, smtp.max_data, smtp.alert, smtp.audit_trail),
        (Base::Esmtp, Some(1000), false, true)
    );
    let last = smtp.classes.last().unwrap();
    assert_eq!(last.name, "class-default");
    assert_eq!(smtp.criteria[usize::from(last.criteria[0])].test, Test::Always);
}

#[test]
fn what_becomes_of_bdat_is_explained() {
    for (line, words) in [
        (
            "  chunking allow\n",
            "BDAT is let through where the server offers CHUNKING, and its chunks are inspected",
        ),
        ("  chunking mask\n", "BDAT is refused and the EHLO keyword CHUNKING masked"),
    ] {
        let text = with_class("match-any", " match cmd verb EVIL\n", "  mask\n").replace(
            "policy-map type inspect smtp p\n",
            &format!("policy-map type inspect smtp p\n parameters\n{line}"),
        );
        let compiled = compile(&SourceFile::new("test.policy", text), Options::default());
        let explained = posternc::explain::artifact(&compiled.artifact.expect("the policy is good"));
        assert!(explained.contains(words), "{explained}");
    }
}

#[test]
fn what_a_policy_says_of_the_protocol_itself() {
    let with = |lines: &str| {
        let text = with_class("match-any", " match cmd verb EVIL\n", "  mask\n").replace(
            "policy-map type inspect smtp p\n",
            &format!("policy-map type inspect smtp p\n parameters\n{lines}"),
        );
        policy(&text).smtp[0].settings.clone()
    };
    assert_eq!(with(""), Settings::default());
    assert_eq!(
        with("  signature 3101 off\n  no signature 3101\n  starttls mask\n  no starttls\n"),
        Settings::default()
    );
    let set = with("  end-of-data strict\n  starttls require\n  signature 3101 off\n  sig 3110 on\n");
    assert_eq!((set.end_of_data, set.starttls), (EndOfData::Strict, StartTls::Require));
    assert!(
        !set.signatures.contains(&3101) && set.signatures.contains(&3110) && set.signatures.contains(&3102)
    );
    let defences = with(
        "  sasl-layers opaque\n  auth require-tls\n  auth-line 2048\n  eight-bit allow\n  synch strict\n  relay refuse\n  allow-verbs \
         proxy\n  allow-verbs exchange\n  allow-verbs proxy\n  limit junk 20\n  limit session-time 5\n  limit command-time off\n",
    )
    .defences;
    let expected = Defences {
        sasl_layers: SaslLayers::Opaque,
        auth: Auth::RequireTls,
        auth_line_limit: 2048,
        eight_bit: EightBit::Allow,
        synchronization: Synchronization::Strict,
        relay_probes: RelayProbes::Refuse,
        allowed_verbs: vec![VerbGroup::Exchange, VerbGroup::Proxy],
        limits: Limits {
            junk_commands: Some(20),
            command_time: None,
            session_time: Some(5),
            ..Limits::default()
        },
        ..Defences::default()
    };
    assert_eq!(defences, expected);
    assert_eq!(
        with(
            "  sasl-layers opaque\n  no sasl-layers\n  auth require-tls\n  no auth\n  limit data-rate 5\n  no limit data-rate\n  \
             allow-verbs debug\n  no allow-verbs debug\n  relay-probes allow\n  no relay-probes\n"
        ),
        Settings::default()
    );
    assert_eq!(with("  end-of-data off\n").end_of_data, EndOfData::Off);
    assert_eq!(with("  starttls mask\n").starttls, StartTls::Mask);
    assert_eq!(with("").chunking, Chunking::Mask);
    assert_eq!(with("  chunking allow\n").chunking, Chunking::Allow);
    assert_eq!(with("  chunking allow\n  no chunking allow\n").chunking, Chunking::Mask);
    for (line, decode) in [
        ("decode base64", Decode::Base64),
        ("decode quoted-printable", Decode::QuotedPrintable),
        ("decode q", Decode::QuotedPrintable),
        ("decode both", Decode::Both),
        ("decode off", Decode::Off),
        ("decode both\n  no decode", Decode::Off),
    ] {
        assert_eq!(with(&format!("  {line}\n")).decode, decode, "{line}");
    }
}

#[test]
fn the_threshold_of_spam_is_for_all_policies() {
    let spam = |lines: &str| {
        let classic =
            format!("{lines}ip inspect name guard esmtp\ninterface Ethernet0\n ip inspect guard in\n");
        policy(&classic).smtp[0].settings.defences.spam_recipients
    };
    assert_eq!(spam(""), 250);
    assert_eq!(spam("ip audit smtp spam 65535\n"), 65_535);
    assert_eq!(spam("ip audit smtp spam 1\nno ip audit smtp spam\n"), 250);
    let zone = with_class("match-any", " match cmd verb EVIL\n", "  mask\n");
    let zone = policy(&format!("ip audit smtp spam 7\n{zone}"));
    assert_eq!(zone.smtp[0].settings.defences.spam_recipients, 7);
}

#[test]
fn classic_rules_become_paths() {
    let policy = policy(
        "ip port-map smtp port tcp 587\nip inspect tcp idle-time 1800\nip inspect audit-trail\n\
         ip inspect name guard esmtp alert off max-data 1000 timeout 30\nip inspect name guard tcp\n\
         ip inspect name plain esmtp\n\
         interface Ethernet 0\n ip inspect guard in\ninterface Ethernet1\n ip inspect guard out\n ip inspect plain in\n",
    );
    assert_eq!(policy.form, Form::Classic);
    assert_eq!(policy.smtp_ports, [25, 587]);
    let ways: Vec<_> =
        policy.paths.iter().map(|path| (path.zone_pair.as_str(), path.source, path.destination)).collect();
    assert_eq!(ways, [("guard", Some(0), None), ("guard", None, Some(1)), ("plain", Some(1), None)]);
    assert_eq!(policy.ports[0].name, "Ethernet0");
    assert_eq!(policy.ports[0].interfaces, ["Ethernet0"]);
    // A rule applied twice shares its tables.
    assert_eq!(policy.smtp.len(), 2);
    let guard = &policy.smtp[0];
    assert_eq!(
        (guard.base, guard.alert, guard.audit_trail, guard.max_data),
        (Base::Esmtp, false, true, Some(1000))
    );
    assert_eq!(policy.smtp[1].max_data, Some(20_000_000), "the default that `show` prints");
    let [esmtp, tcp] = policy.paths[0].classes.as_slice() else { panic!("two protocols, no class-default") };
    let TopAction::Inspect { parameters, smtp: Some(0) } = esmtp.action else { panic!("{esmtp:?}") };
    assert_eq!(policy.parameters[usize::from(parameters)].tcp_idle_time, 30);
    assert!(!policy.parameters[usize::from(parameters)].alert);
    let TopAction::Inspect { parameters, smtp: None } = tcp.action else { panic!("{tcp:?}") };
    assert_eq!(policy.parameters[usize::from(parameters)].tcp_idle_time, 1800);
    assert_eq!(policy.conditions[usize::from(tcp.condition)], Condition::Protocol(6));
}

#[test]
fn pasted_lines_of_the_top_level_end_an_interface() {
    let policy = policy(
        "interface Ethernet0\n ip inspect late in\nip inspect name late esmtp\nip port-map smtp port tcp 2525\n",
    );
    assert_eq!(policy.paths.len(), 1);
    assert_eq!(policy.smtp_ports, [25, 2525]);
}

/// What a condition says of a first packet.
fn holds(policy: &Policy, index: u16, protocol: u8, port: u16) -> bool {
    match &policy.conditions[usize::from(index)] {
        Condition::Any => true,
        Condition::Smtp => protocol == 6 && policy.smtp_ports.contains(&port),
        Condition::Protocol(number) => *number == protocol,
        Condition::Port { protocol: number, port: wanted } => (*number, *wanted) == (protocol, port),
        Condition::AccessList(_) => panic!("not in these tests"),
        Condition::Not(part) => !holds(policy, *part, protocol, port),
        Condition::All(parts) => parts.iter().all(|part| holds(policy, *part, protocol, port)),
        Condition::AnyOf(parts) => parts.iter().any(|part| holds(policy, *part, protocol, port)),
    }
}

#[test]
fn top_level_classes_nest_and_negate() {
    let text = "\
class-map type inspect match-any name-service
 match protocol dns
class-map type inspect match-any mail
 match protocol smtp
 match protocol imap
class-map type inspect match-all other
 match not class-map mail
 match protocol tcp
class-map type inspect match-any all
 match class-map name-service
 match class-map other
policy-map type inspect top
 class type inspect all
  pass
 class type inspect mail
  drop log
zone security a
zone security b
zone-pair security ab source a destination b
 service-policy type inspect top
";
    let policy = policy(text);
    let all = policy.paths[0].classes[0].condition;
    let cases =
        [(17, 53, true), (6, 53, true), (6, 80, true), (6, 25, false), (6, 143, false), (17, 80, false)];
    for (protocol, port, expected) in cases {
        assert_eq!(holds(&policy, all, protocol, port), expected, "{protocol}/{port}");
    }
    assert_eq!(policy.paths[0].classes[1].action, TopAction::Drop { log: true });
    assert_eq!(policy.paths[0].classes[1].matches, ["protocol smtp", "protocol imap"]);
}

#[test]
fn access_lists_have_masks_and_ports() {
    use artifact::model::AddressMatch;
    let text = WRITTEN_OUT.replace(
        "class-map type inspect match-all mail\n",
        "access-list 101 permit tcp 192.0.2.77 0.0.0.255 gt 1023 host 198.51.100.25 eq smtp\naccess-list 101 deny ip any any\n\
         ipv6 access-list six\n permit tcp 2001:db8::1/32 any range 25 587\n\
         class-map type inspect match-any lists\n match access-group 101\n match access-group name six\n\
         class-map type inspect match-all mail\n match class-map lists\n",
    );
    let policy = policy(&text);
    let [v4, v6] = policy.access_lists.as_slice() else { panic!("two lists") };
    let entry = &v4.entries[0];
    assert_eq!(entry.source, Some(AddressMatch::V4 { address: [192, 0, 2, 0], mask: [255, 255, 255, 0] }));
    assert_eq!(entry.source_ports, Some((1024, 65535)));
    assert_eq!(entry.destination, Some(AddressMatch::V4 { address: [198, 51, 100, 25], mask: [255; 4] }));
    assert_eq!((entry.destination_ports, entry.line), (Some((25, 25)), 9));
    assert!(!v4.entries[1].permit && v4.entries[1].protocol.is_none());
    let Some(AddressMatch::V6 { address, mask }) = v6.entries[0].source else { panic!("{v6:?}") };
    assert_eq!(
        (&address[..5], &mask[..5]),
        (&[0x20, 0x01, 0x0d, 0xb8, 0][..], &[0xff, 0xff, 0xff, 0xff, 0][..])
    );
    assert_eq!(v6.entries[0].destination_ports, Some((25, 587)));
}

#[test]
fn standard_lists_with_names_are_those_with_numbers() {
    let with = |list: &str| {
        let text = WRITTEN_OUT.replace(
            "class-map type inspect match-all mail\n",
            &format!("{list}class-map type inspect match-all mail\n match access-group name known\n"),
        );
        policy(&text).access_lists[0]
            .entries
            .iter()
            .map(|entry| (entry.permit, entry.source))
            .collect::<Vec<_>>()
    };
    let named = with(
        "ip access-list standard known\n deny 192.0.2.1\n 20 permit 192.0.2.0 0.0.0.255\n no deny 192.0.2.1\n \
         deny host 192.0.2.2 log\n permit any\n",
    );
    let v4 = |last, mask| Some(artifact::model::AddressMatch::V4 { address: [192, 0, 2, last], mask });
    assert_eq!(named, [(true, v4(0, [255, 255, 255, 0])), (false, v4(2, [255; 4])), (true, None)]);
}

#[test]
fn inspect_parameters_reach_their_class() {
    let text = WRITTEN_OUT.replace("  inspect\n", "  inspect strict\n").replace(
        "class-map type inspect match-all mail\n",
        "parameter-map type inspect strict\n alert off\n audit-trail on\n tcp idle-time 60 ageout-time 30\n tcp synwait-time 10\n \
         tcp finwait-time 2\n udp idle-time 20\n icmp idle-time 5\n max-incomplete low 400\n max-incomplete high 500\n one-minute high 900\n sessions maximum 1000\n \
         tcp max-incomplete host 50 block-time 2\nclass-map type inspect match-all mail\n",
    );
    let policy = policy(&text);
    let TopAction::Inspect { parameters, .. } = policy.paths[0].classes[0].action else {
        panic!("inspected")
    };
    let parameters = &policy.parameters[usize::from(parameters)];
    assert_eq!(parameters.name, "strict");
    assert!(!parameters.alert && parameters.audit_trail);
    assert_eq!(
        (parameters.tcp_idle_time, parameters.tcp_synwait_time, parameters.tcp_finwait_time),
        (60, 10, 2)
    );
    assert_eq!((parameters.udp_idle_time, parameters.icmp_idle_time), (20, 5));
    let limits = parameters.max_incomplete.unwrap();
    assert_eq!((limits.low, limits.high), (400, 500));
    assert_eq!(parameters.one_minute.map(|limits| (limits.low, limits.high)), Some((899, 900)));
    assert_eq!((parameters.sessions_maximum, parameters.max_incomplete_host), (Some(1000), Some((50, 2))));
    // What nobody asked for stays the default.
    let default = &policy.parameters[0];
    assert_eq!((default.tcp_idle_time, default.udp_idle_time, default.icmp_idle_time), (3600, 30, 10));
}
