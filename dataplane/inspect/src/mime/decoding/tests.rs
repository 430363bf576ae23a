use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use proptest::prelude::*;

use super::*;

fn decoder(encoding: &str) -> Decoder {
    Decoder::named(encoding.as_bytes(), Decode::Both).unwrap()
}

/// What the text stands for, when it comes in these pieces.
fn decoded<'a>(encoding: &str, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let (mut decoder, mut text) = (decoder(encoding), Vec::new());
    for piece in pieces {
        decoder.push(piece, |octets| text.extend_from_slice(octets));
    }
    decoder.finish(|octets| text.extend_from_slice(octets));
    text
}

fn base64(text: &str) -> String {
    decoded("base64", [text.as_bytes()]).escape_ascii().to_string()
}

fn quoted(text: &str) -> String {
    decoded("quoted-printable", [text.as_bytes()]).escape_ascii().to_string()
}

/// In lines, as mail has it.
fn wrapped(text: &str, len: usize, end: &str) -> String {
    let lines = text.as_bytes().chunks(len).map(|line| String::from_utf8_lossy(line).into_owned() + end);
    lines.collect()
}

#[test]
fn only_what_is_asked_for_is_decoded() {
    let named = |encoding: &str, decode| match Decoder::named(encoding.as_bytes(), decode) {
        Some(Decoder::Base64(_)) => "b",
        Some(Decoder::QuotedPrintable(_)) => "q",
        None => "",
    };
    for (decode, base64, quoted) in [
        (Decode::Off, "", ""),
        (Decode::Base64, "b", ""),
        (Decode::QuotedPrintable, "", "q"),
        (Decode::Both, "b", "q"),
    ] {
        assert_eq!(named("BASE64", decode), base64);
        assert_eq!(named("Quoted-Printable", decode), quoted);
        for other in ["", "7bit", "binary", "x-uuencode", "base64x"] {
            assert_eq!(named(other, decode), "", "{other}");
        }
    }
}

/// RFC 4648, 10; and what receivers make of what is none of it.
#[test]
fn base64_ignores_what_is_no_letter() {
    for (encoded, text) in [
        ("", ""),
        ("Zg==", "f"),
        ("Zm8=", "fo"),
        ("Zm9v", "foo"),
        ("Zm9vYmFy", "foobar"),
        ("Z\r\nm9\r\nvYmF\r\ny", "foobar"),
        ("Zm 9v-Y_m.F\0y!", "foobar"),
        ("Z=m9v", "foo"),
        ("Z", ""),
        ("Zg", "f"),
        ("Zm8", "fo"),
        ("Zm9vY", "foo"),
        ("====", ""),
        // Encoded texts one behind the other, as some programs write them.
        ("Zg==Zg==\r\nZm8=Zm9v", "fffofoo"),
        ("/+8=", "\\xff\\xef"),
    ] {
        assert_eq!(base64(encoded), text, "{encoded:?}");
    }
}

#[test]
fn quoted_printable_that_python_made() {
    for (encoded, text) in [
        (
            "caf=C3=A9 =3D \"buy now\" =20\nline two\twith tab=09\nx",
            "caf\\xc3\\xa9 = \\\"buy now\\\"  \\nline two\\twith tab\\t\\nx",
        ),
        ("=2E\n..\n--=20\n", ".\\n..\\n-- \\n"),
        (
            "=7F=80=81=82=83=84=85=86=87=88=89=8A=8B=8C=8D=8E=8F=\n=90=FE=FF",
            "\\x7f\\x80\\x81\\x82\\x83\\x84\\x85\\x86\\x87\\x88\\x89\\x8a\\x8b\\x8c\\x8d\\x8e\\x8f\\x90\\xfe\\xff",
        ),
    ] {
        assert_eq!(quoted(encoded), text, "{encoded:?}");
    }
    let long = "a".repeat(75) + "=\r\n" + &"=3Db".repeat(18) + "=3D=\r\nb\r\n";
    assert_eq!(quoted(&long), "a".repeat(75) + &"=b".repeat(19) + "\\r\\n");
}

/// RFC 2045, 6.7: the rules, and the notes on what is wrong.
#[test]
fn quoted_printable_of_other_programs() {
    for (encoded, text) in [
        ("sec=72et", "secret"),
        ("=6a=6B=4A", "jkJ"),
        // Soft line breaks, blanks added on the way, any line end.
        ("sec=\r\nret", "secret"),
        ("sec= \t \r\nret", "secret"),
        ("sec=\nret", "secret"),
        ("sec=\rret", "secret"),
        ("sec =\r\n ret", "sec  ret"),
        ("sec=\r\n\r\nret", "sec\\r\\nret"),
        ("sec=\r\n=\r\nret", "secret"),
        ("sec=", "sec"),
        ("sec=  ", "sec"),
        ("sec=\r", "sec"),
        // Blanks at the end of a line.
        ("a \t\r\nb c \nd  ", "a\\r\\nb c\\nd"),
        ("a=20 \r\n", "a \\r\\n"),
        (" \r\n", "\\r\\n"),
        // No code.
        ("a=b", "a=b"),
        ("a=bx", "a=bx"),
        ("a=4", "a=4"),
        ("a==41", "a=A"),
        ("a=4=41", "a=4A"),
        ("a=4\r\n", "a=4\\r\\n"),
        ("a=x", "a=x"),
        ("a= x", "a= x"),
        ("a= 41", "a= 41"),
        ("a= =41", "a= A"),
        ("a\0\x01b", "a\\x00\\x01b"),
    ] {
        assert_eq!(quoted(encoded), text, "{encoded:?}");
    }
}

#[test]
fn of_many_blanks_the_first_ones_are_text() {
    let blanks = |count| " ".repeat(count);
    assert_eq!(quoted(&(blanks(BLANKS_LIMIT) + "\r\n")), "\\r\\n");
    assert_eq!(quoted(&(blanks(BLANKS_LIMIT + 1) + "\r\n")), blanks(BLANKS_LIMIT) + "\\r\\n");
    assert_eq!(quoted(&(blanks(1000) + "x")), blanks(1000) + "x");
    assert_eq!(quoted(&format!("={}\r\nx", blanks(BLANKS_LIMIT))), "x");
    assert_eq!(
        quoted(&format!("={}\r\nx", blanks(BLANKS_LIMIT + 1))),
        format!("={}\\r\\nx", blanks(BLANKS_LIMIT))
    );
    assert_eq!(quoted(&format!("={}x", blanks(1000))), format!("={}x", blanks(1000)));
}

/// Octets that mean something to one of the decoders, or to both.
fn encoded() -> impl Strategy<Value = Vec<u8>> {
    let octet = prop_oneof![
        4 => prop::sample::select(b"=\r\n \t4aFZ-".to_vec()),
        1 => any::<u8>(),
    ];
    prop::collection::vec(octet, 0..300)
}

/// Text that is mostly lines of letters, as in mail, and some of what it should not have.
fn letters() -> impl Strategy<Value = Vec<u8>> {
    let pieces: [&[u8]; 12] = [
        &[b'a'; 76],
        &[b'Z'; 76],
        &[b'4'; 19],
        &[b'F'; BUFFER_LEN - 2],
        b"bcd",
        b"\r\n",
        b"\r\n",
        b"\r\n",
        b"=\r\n",
        b"==",
        b"\n",
        b"\r",
    ];
    let piece = prop_oneof![20 => prop::sample::select(pieces.to_vec()), 1 => Just(&b" "[..]), 1 => Just(&b"\xff"[..])];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn base64_is_what_the_base64_crate_makes_of_it(
        text in prop::collection::vec(any::<u8>(), 0..5000),
        len in 1usize..100,
        lf in any::<bool>(),
    ) {
        let end = if lf { "\n" } else { "\r\n" };
        let lines = wrapped(&STANDARD.encode(&text), len, end);
        prop_assert_eq!(&decoded("base64", [lines.as_bytes()]), &text);
        let lines = wrapped(&STANDARD_NO_PAD.encode(&text), len, end);
        prop_assert_eq!(decoded("base64", [lines.as_bytes()]), text);
    }

    #[test]
    fn quoted_printable_goes_there_and_back(
        text in prop::collection::vec(any::<u8>(), 0..3000),
        len in 1usize..25,
    ) {
        let codes: Vec<String> = text.iter().map(|octet| format!("={octet:02X}")).collect();
        let lines: Vec<String> = codes.chunks(len).map(<[String]>::concat).collect();
        let lines = lines.join("=\r\n");
        prop_assert_eq!(decoded("quoted-printable", [lines.as_bytes()]), text);
    }

    #[test]
    fn how_it_is_cut_does_not_matter(
        text in prop_oneof![encoded(), letters()],
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.sort_unstable();
        let ends = cuts.iter().copied().chain([text.len()]);
        let starts = [0].into_iter().chain(cuts.iter().copied());
        let pieces: Vec<&[u8]> = starts.zip(ends).map(|(start, end)| &text[start..end]).collect();
        for encoding in ["base64", "quoted-printable"] {
            let whole = decoded(encoding, [&text[..]]);
            prop_assert_eq!(&decoded(encoding, pieces.iter().copied()), &whole);
            prop_assert_eq!(&decoded(encoding, text.chunks(1)), &whole);
            prop_assert!(whole.len() <= text.len(), "decoding makes nothing longer");
        }
    }
}
