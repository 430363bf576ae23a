//! Sets of patterns of any size, and text that each of them matches.
//!
//! Body patterns are made of the words that the mails are made of, so that the matcher meets as many beginnings of
//! matches as it would in real mail; but each ends in a number, which the mails do not have. So there is a hit where
//! the traffic generator put one and nowhere else, and hits can be counted. No pattern is anchored, so that the same
//! set can be run over a field, a body and a raw stream.

use std::fmt::Write as _;

use crate::traffic::mail::WORDS;
use crate::traffic::seed::Seed;

/// What a set of patterns is run over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The text of bodies.
    Body,
    /// The arguments of MAIL FROM and RCPT TO.
    Address,
}

impl Target {
    /// As the table says it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Target::Body => "body",
            Target::Address => "address",
        }
    }
}

/// The pattern number `index` of the set for `target`, in a syntax that the policy language and Hyperscan share. Of ten
/// body patterns seven are literals, two have alternatives of case, one has a repetition and a choice; of four address
/// patterns three are domains and one has a repetition.
#[must_use]
pub fn pattern(target: Target, index: usize) -> String {
    match target {
        Target::Body => {
            let [first, second, third] = words(index);
            match index % 10 {
                0..=6 => format!("{first} {second} #{index};"),
                7 | 8 => format!("{} {} #{index};", either_case(first), either_case(second)),
                _ => format!("{first} +({second}|{third}) #[0-9]*-{index};"),
            }
        }
        Target::Address => match index % 4 {
            3 => format!(r"news[0-9]+@list{index}\.example"),
            _ => format!(r"@bulk{index}\.example"),
        },
    }
}

/// The first `count` patterns of the set.
#[must_use]
pub fn patterns(target: Target, count: usize) -> Vec<String> {
    (0..count).map(|index| pattern(target, index)).collect()
}

/// Text that pattern `index` matches, and no other pattern does.
#[must_use]
pub fn sample(target: Target, index: usize) -> String {
    match target {
        Target::Body => {
            let [first, second, _] = words(index);
            match index % 10 {
                0..=8 => format!("{first} {second} #{index};"),
                _ => format!("{first}  {second} #40-{index};"),
            }
        }
        Target::Address => match index % 4 {
            3 => format!("news17@list{index}.example"),
            _ => format!("offers@bulk{index}.example"),
        },
    }
}

fn words(index: usize) -> [&'static str; 3] {
    let mut seed = Seed::new(0x7061_7474_6572_6e73).part(index as u64);
    [(); 3].map(|()| seed.pick(WORDS))
}

fn either_case(word: &str) -> String {
    let mut text = String::new();
    for letter in word.chars() {
        // Writing to a string cannot fail.
        let _ = write!(text, "[{}{letter}]", letter.to_ascii_uppercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ops::ControlFlow;
    use hyperscan::Scratch;
    use hyperscan::compile::{Mode, compile};

    #[test]
    fn each_sample_is_found_by_its_pattern_alone() {
        for target in [Target::Body, Target::Address] {
            let texts = patterns(target, 120);
            let numbered: Vec<_> = texts.iter().zip(0..).map(|(text, id)| (text.as_str(), id)).collect();
            let database = compile(&numbered, Mode::Block).unwrap();
            let mut scratch = Scratch::new();
            scratch.fit(&database).unwrap();
            for (index, pattern) in texts.iter().enumerate() {
                let mut ids = Vec::new();
                let text = format!("<{}>", sample(target, index));
                database
                    .scan(text.as_bytes(), &mut scratch, |hit| {
                        ids.push(hit.id as usize);
                        ControlFlow::Continue(())
                    })
                    .unwrap();
                assert_eq!(ids, [index], "{text} and {pattern}");
            }
        }
    }
}
