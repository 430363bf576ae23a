//! Patterns that are nothing but texts: what the matcher looks for without an automaton.

use super::{Node, Octets, Pattern};

/// Shortest text that counts (octets). Shorter ones the matcher may put into an automaton with others.
const MIN_LEN: usize = 4;

impl Pattern {
    /// The texts that the pattern stands for, if it is a plain text of four octets or more, or alternatives of such
    /// texts. A letter may stand for both of its cases if all letters of its text do; the text has then one of them.
    #[must_use]
    pub fn plain(&self) -> Option<Vec<Vec<u8>>> {
        let alternatives = match &self.node {
            Node::Alternate(nodes) => nodes.as_slice(),
            node => std::slice::from_ref(node),
        };
        alternatives.iter().map(plain).collect()
    }
}

fn plain(node: &Node) -> Option<Vec<u8>> {
    let (mut text, mut one_case, mut both_cases) = (Vec::new(), false, false);
    append(node, &mut text, &mut one_case, &mut both_cases)?;
    (text.len() >= MIN_LEN && !(one_case && both_cases)).then_some(text)
}

fn append(node: &Node, text: &mut Vec<u8>, one_case: &mut bool, both_cases: &mut bool) -> Option<()> {
    match node {
        Node::Octets(set) => {
            let octet = (0..=u8::MAX).find(|octet| set.contains(*octet))?;
            if *set == Octets::one(octet) {
                *one_case |= octet.is_ascii_alphabetic();
            } else if *set == Octets::one(octet).with_other_case() {
                *both_cases = true;
            } else {
                return None;
            }
            text.push(octet);
            Some(())
        }
        Node::Concat(nodes) => nodes.iter().try_for_each(|node| append(node, text, one_case, both_cases)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use crate::ast::Text;
    use crate::source::Span;

    #[test]
    fn texts_are_told_from_patterns() {
        let cases: &[(&str, Option<&[&str]>)] = &[
            ("casino", Some(&["casino"])),
            ("casino nocase", Some(&["casino"])),
            ("a\\.b\\x21", Some(&["a.b!"])),
            ("(buy now|pay never)", Some(&["buy now", "pay never"])),
            ("(bu)y(1)", Some(&["buy1"])),
            ("[bB][Uu][yY] 1", Some(&["BUY 1"])),
            ("[bB]uy now", None),
            ("buy", None),
            ("casino|buy", None),
            ("^casino", None),
            ("casino$", None),
            ("cas.no", None),
            ("casino+", None),
            ("cas[il]no", None),
            ("[^a]casino", None),
            ("a|", None),
        ];
        for (text, expected) in cases {
            let line = Text { text: (*text).into(), span: Span::new(0, text.len()) };
            let pattern = parse(&line, false, &mut Vec::new()).unwrap();
            let expected =
                expected.map(|texts| texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>());
            assert_eq!(pattern.plain(), expected, "{text}");
        }
    }
}
