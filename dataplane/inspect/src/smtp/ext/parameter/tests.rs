use super::*;
use crate::smtp::ext::EXTENSIONS;
use Verb::{Mail, Rcpt};

fn offering(keywords: &[&str]) -> Advertised {
    let mut advertised = Advertised::default();
    keywords.iter().for_each(|keyword| advertised.add(keyword.as_bytes()));
    advertised
}

fn everything() -> Advertised {
    let mut all = offering(&EXTENSIONS.map(|extension| extension.keyword));
    all.add(b"X-PRIVATE");
    all.add(b"XOORG");
    all
}

fn judge(verb: Verb, parameters: &str, scope: Scope, advertised: &Advertised) -> Option<(Wrong, String)> {
    let start = match verb {
        Mail => "MAIL FROM:<a@b>",
        _ => "RCPT TO:<a@b>",
    };
    let line = format!("{start}{parameters}");
    let invalid = check(line.as_bytes(), start.len(), verb, scope, advertised).err()?;
    Some((invalid.why, line[invalid.at].to_owned()))
}

fn repeat(text: &str, len: usize) -> String {
    text.repeat(len)
}

/// Command, parameter, and whether its value is legal.
fn rows() -> Vec<(Verb, String, bool)> {
    let fixed: &[(Verb, &str, bool)] = &[
        (Mail, "SIZE=0", true),
        (Mail, "size=1236", true),
        (Mail, "SIZE=18446744073709551615", true),
        (Mail, "SIZE=184467440737095516150", false),
        (Mail, "SIZE=", false),
        (Mail, "SIZE", false),
        (Mail, "SIZE=-1", false),
        (Mail, "SIZE=+1", false),
        (Mail, "SIZE=0x10", false),
        (Mail, "SIZE=1=2", false),
        (Mail, "BODY=7BIT", true),
        (Mail, "body=8bitmime", true),
        (Mail, "BODY=BINARYMIME", true),
        (Mail, "BODY=9BIT", false),
        (Mail, "BODY=", false),
        (Mail, "BODY", false),
        (Mail, "RET=FULL", true),
        (Mail, "RET=hdrs", true),
        (Mail, "RET=NONE", false),
        (Mail, "RET=FULLX", false),
        (Mail, "RET", false),
        (Mail, "ENVID=a+2Bb", true),
        (Mail, "ENVID=a+20b", true),
        (Mail, "ENVID=a+2bb", false),
        (Mail, "ENVID=a+0Ab", false),
        (Mail, "ENVID=a+2", false),
        (Mail, "ENVID=a=b", false),
        (Mail, "ENVID=", false),
        (Mail, "AUTH=<>", true),
        (Mail, "AUTH=a@b.example", true),
        (Mail, "AUTH=e+3Dmc2@example.com", true),
        (Mail, "AUTH=e+3dmc2@example.com", false),
        (Mail, "AUTH=", false),
        (Mail, "AUTH", false),
        (Mail, "AUTH=a=b", false),
        (Mail, "SMTPUTF8", true),
        (Mail, "smtputf8", true),
        (Mail, "SMTPUTF8=", false),
        (Mail, "SMTPUTF8=1", false),
        (Mail, "BY=120;R", true),
        (Mail, "BY=-999999999;NT", true),
        (Mail, "BY=+1;rt", true),
        (Mail, "BY=0;N", true),
        (Mail, "BY=0;R", false),
        (Mail, "BY=-5;R", false),
        (Mail, "BY=1000000000;R", false),
        (Mail, "BY=120", false),
        (Mail, "BY=120;X", false),
        (Mail, "BY=120;RTT", false),
        (Mail, "BY=;R", false),
        (Mail, "BY", false),
        (Mail, "HOLDFOR=1", true),
        (Mail, "HOLDFOR=999999999", true),
        (Mail, "HOLDFOR=1000000000", false),
        (Mail, "HOLDFOR=0", false),
        (Mail, "HOLDFOR=", false),
        (Mail, "HOLDFOR", false),
        (Mail, "HOLDUNTIL=2026-01-31T23:59:60Z", true),
        (Mail, "HOLDUNTIL=2026-01-31T23:59:60+00:00", false),
        (Mail, "HOLDUNTIL=2026-13-31T23:59:59Z", false),
        (Mail, "HOLDUNTIL=2026-01-00T23:59:59Z", false),
        (Mail, "HOLDUNTIL=2026-01-31T24:00:00Z", false),
        (Mail, "HOLDUNTIL=2026-01-31T23:59Z", false),
        (Mail, "HOLDUNTIL=20260131", false),
        (Mail, "HOLDUNTIL", false),
        (Mail, "MT-PRIORITY=9", true),
        (Mail, "MT-PRIORITY=0", true),
        (Mail, "mt-priority=-9", true),
        (Mail, "MT-PRIORITY=10", false),
        (Mail, "MT-PRIORITY=+1", false),
        (Mail, "MT-PRIORITY=-0", false),
        (Mail, "MT-PRIORITY=01", false),
        (Mail, "MT-PRIORITY", false),
        (Mail, "MTRK=abc+/9==", true),
        (Mail, "MTRK=abcd:999999999", true),
        (Mail, "MTRK=abcd:1000000000", false),
        (Mail, "MTRK=abcd:", false),
        (Mail, "MTRK=abcd===", false),
        (Mail, "MTRK==abc", false),
        (Mail, "MTRK=:1", false),
        (Mail, "MTRK", false),
        (Mail, "SOLICIT=org.example:ADV:ADLT,net.example:X_1", true),
        (Mail, "SOLICIT=a,", false),
        (Mail, "SOLICIT=1a", false),
        (Mail, "SOLICIT=", false),
        (Mail, "SOLICIT", false),
        (Mail, "CONPERM", true),
        (Mail, "CONPERM=1", false),
        (Mail, "TRANSID=<12345@a.example>", true),
        (Mail, "TRANSID=<>", false),
        (Mail, "TRANSID=1", false),
        (Mail, "TRANSID", false),
        (Mail, "SUBMITTER=a@b", true),
        (Mail, "SUBMITTER=", false),
        (Mail, "XVERP", true),
        (Mail, "XVERP=+=", true),
        (Mail, "XVERP=+", false),
        (Mail, "XVERP=", false),
        (Rcpt, "NOTIFY=NEVER", true),
        (Rcpt, "notify=success", true),
        (Rcpt, "NOTIFY=SUCCESS,FAILURE,DELAY", true),
        (Rcpt, "NOTIFY=SUCCESS,FAILURE,DELAY,DELAY", false),
        (Rcpt, "NOTIFY=NEVER,DELAY", false),
        (Rcpt, "NOTIFY=DELAY,", false),
        (Rcpt, "NOTIFY=", false),
        (Rcpt, "NOTIFY", false),
        (Rcpt, "ORCPT=rfc822;a@b.example", true),
        (Rcpt, "ORCPT=utf-8;\u{e9}@b.example", true),
        (Rcpt, "ORCPT=utf-8;a\\x{E9}@b.example", true),
        (Rcpt, "ORCPT=rfc822;\u{e9}@b.example", false),
        (Rcpt, "ORCPT=rfc822;a+3d@b", false),
        (Rcpt, "ORCPT=rfc822;", false),
        (Rcpt, "ORCPT=;a@b", false),
        (Rcpt, "ORCPT=a@b", false),
        (Rcpt, "ORCPT", false),
        (Rcpt, "RRVS=2014-04-03T23:01:00Z", true),
        (Rcpt, "RRVS=2014-04-03T23:01:00-07:00;R", true),
        (Rcpt, "RRVS=2014-04-03T23:01:00.5Z;C", true),
        (Rcpt, "RRVS=2014-04-03T23:01:00.5-07:00;C", false),
        (Rcpt, "RRVS=2014-04-03T23:01:00-0700", false),
        (Rcpt, "RRVS=2014-04-03T23:01:00", false),
        (Rcpt, "RRVS=2014-04-03T23:01:00Z;X", false),
        (Rcpt, "RRVS", false),
        (Rcpt, "CONNEG", true),
        (Rcpt, "CONNEG=1", false),
        (Mail, "X-PRIVATE", true),
        (Mail, "x-private=a<b>", true),
        (Rcpt, "XOORG=b.example", true),
        (Mail, "X-PRIVATE=", false),
        (Mail, "X-PRIVATE=a=b", false),
    ];
    let mut rows: Vec<_> =
        fixed.iter().map(|(verb, text, legal)| (*verb, (*text).to_owned(), *legal)).collect();
    for (verb, prefix, limit) in
        [(Mail, "ENVID=", 100), (Mail, "AUTH=", 499), (Rcpt, "ORCPT=rfc822;", 500), (Mail, "SOLICIT=", 999)]
    {
        rows.push((verb, prefix.to_owned() + &repeat("a", limit - prefix.len()), true));
        rows.push((verb, prefix.to_owned() + &repeat("a", limit + 1 - prefix.len()), false));
    }
    rows.push((Mail, format!("TRANSID=<{}>", repeat("a", 80)), true));
    rows.push((Mail, format!("TRANSID=<{}>", repeat("a", 81)), false));
    rows
}

#[test]
fn every_row_at_its_limits() {
    let all = everything();
    for (verb, text, legal) in rows() {
        let expected = if legal { None } else { Some((Wrong::Value, text.clone())) };
        assert_eq!(judge(verb, &format!(" {text}"), Scope::Advertised, &all), expected, "{verb:?} {text}");
    }
    let named = |row: &Parameter| {
        rows().iter().any(|(verb, text, legal)| {
            let name = text.split('=').next().unwrap_or_default();
            *legal && *verb == row.verb && name.eq_ignore_ascii_case(row.name)
        })
    };
    for row in &PARAMETERS {
        assert!(named(row) || row.name == "REQUIRETLS", "{} has no legal example", row.name);
    }
}

#[test]
fn each_is_legal_only_with_its_keyword_offered_and_not_after_helo() {
    for (verb, text, _) in rows().into_iter().filter(|(_, _, legal)| *legal) {
        let parameter = format!(" {text}");
        let name = text.split('=').next().unwrap_or_default().to_ascii_uppercase();
        let unknown = Some((Wrong::Unknown, text.clone()));
        assert_eq!(judge(verb, &parameter, Scope::Advertised, &Advertised::default()), unknown, "{text}");
        assert_eq!(judge(verb, &parameter, Scope::Nothing, &everything()), unknown, "{text}");
        let keywords: Vec<&str> = EXTENSIONS.iter().map(|extension| extension.keyword).collect();
        let own: Vec<&str> = PARAMETERS
            .iter()
            .filter(|row| row.name == name)
            .flat_map(|row| row.keywords.iter().chain(row.besides.iter()).copied())
            .collect();
        let others: Vec<&str> = keywords.iter().copied().filter(|keyword| !own.contains(keyword)).collect();
        assert_eq!(judge(verb, &parameter, Scope::Advertised, &offering(&others)), unknown, "{text}");
        let supported = PARAMETERS.iter().any(|row| row.name == name && row.supported);
        if supported {
            assert_eq!(judge(verb, &parameter, Scope::Supported, &everything()), None, "{text}");
        } else {
            assert!(judge(verb, &parameter, Scope::Supported, &everything()).is_some(), "{text}");
        }
        let other = if verb == Mail { Rcpt } else { Mail };
        if !name.starts_with("XOORG") && !name.starts_with("X-PRIVATE") {
            assert_eq!(judge(other, &parameter, Scope::Advertised, &everything()), unknown, "{text}");
        }
    }
}

#[test]
fn binary_bodies_need_both_their_keywords() {
    let of = |keywords: &[&str], text: &str| {
        judge(Mail, text, Scope::Advertised, &offering(keywords)).map(|(why, _)| why)
    };
    let binary = " BODY=BINARYMIME";
    assert_eq!(of(&["BINARYMIME", "CHUNKING"], binary), None);
    assert_eq!(of(&["BINARYMIME", "8BITMIME"], binary), Some(Wrong::Value));
    assert_eq!(of(&["CHUNKING", "8BITMIME"], binary), Some(Wrong::Value));
    assert_eq!(of(&["BINARYMIME"], binary), Some(Wrong::Unknown));
    assert_eq!(of(&["BINARYMIME", "CHUNKING"], " BODY=8BITMIME"), Some(Wrong::Value));
    assert_eq!(of(&["SMTPUTF8"], " BODY=8BITMIME"), None);
}

#[test]
fn tls_is_not_required_outside_tls() {
    let verdict = judge(Mail, " REQUIRETLS", Scope::Advertised, &everything());
    assert_eq!(verdict, Some((Wrong::Unknown, "REQUIRETLS".into())));
}

#[test]
fn each_comes_once() {
    let all = everything();
    for (parameters, second) in [
        (" SIZE=1 SIZE=1", "SIZE=1"),
        (" SIZE=1 BODY=7BIT size=2", "size=2"),
        (" BODY=7BIT BODY=BINARYMIME", "BODY=BINARYMIME"),
        (" HOLDFOR=60 HOLDUNTIL=2026-01-31T23:59:59Z", "HOLDUNTIL=2026-01-31T23:59:59Z"),
        (" SMTPUTF8 SMTPUTF8", "SMTPUTF8"),
        (" XOORG=a X-PRIVATE xoorg=b", "xoorg=b"),
    ] {
        let expected = Some((Wrong::Value, second.to_owned()));
        assert_eq!(judge(Mail, parameters, Scope::Advertised, &all), expected, "{parameters}");
    }
}

#[test]
fn what_real_clients_say() {
    let postfix = offering(&[
        "PIPELINING",
        "SIZE",
        "VRFY",
        "ETRN",
        "STARTTLS",
        "AUTH",
        "ENHANCEDSTATUSCODES",
        "8BITMIME",
        "DSN",
        "SMTPUTF8",
        "CHUNKING",
    ]);
    for (verb, parameters) in [
        (Mail, " size=1236"),
        (Mail, " SIZE=1236 BODY=8BITMIME"),
        (Mail, " SIZE=1236 SMTPUTF8"),
        (Mail, " SIZE=1236 RET=HDRS ENVID=4dY+2B AUTH=<>"),
        (Mail, "\tBODY=8bitmime  SIZE=1 "),
        (Mail, ""),
        (Rcpt, " NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a@b"),
        (Rcpt, " "),
    ] {
        assert_eq!(judge(verb, parameters, Scope::Advertised, &postfix), None, "{parameters}");
    }
}

#[test]
fn what_is_no_parameter_is_refused() {
    let all = everything();
    for parameters in [" =", " =1", " SIZE:1", " <c@d>", ",<c@d>", ">", " PIPELINING", " EVIL", " \u{e9}"] {
        let expected = Some((Wrong::Unknown, parameters.trim_start().to_owned()));
        assert_eq!(judge(Mail, parameters, Scope::Advertised, &all), expected, "{parameters}");
    }
}
