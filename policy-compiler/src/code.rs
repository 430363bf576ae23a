//! Codes of diagnostics, each with an explanation, a wrong and a right example in `code/PNNNN.md`.

use std::fmt;

/// Names a sort of diagnostic: `P0012`. A code never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(u16);

macro_rules! codes {
    ($($number:literal $name:ident)*) => {
        impl Code {
            $(
                #[doc = concat!("See `code/P", stringify!($number), ".md`.")]
                pub const $name: Code = Code(decimal(stringify!($number)));
            )*
        }

        /// Every code with its explanation, in order.
        pub static CODES: &[(Code, &str)] = &[
            $((Code::$name, include_str!(concat!("code/P", stringify!($number), ".md"))),)*
        ];
    };
}

/// A literal such as `0012` is written so that it can be searched for; this reads it.
const fn decimal(digits: &str) -> u16 {
    let bytes = digits.as_bytes();
    let (mut value, mut at) = (0, 0);
    while at < bytes.len() {
        value = value * 10 + (bytes[at] - b'0') as u16;
        at += 1;
    }
    value
}

codes! {
    0001 CONTROL_CHARACTER
    0002 UNKNOWN_COMMAND
    0003 AMBIGUOUS_WORD
    0004 UNEXPECTED_WORD
    0005 MISSING_WORD
    0006 TRAILING_WORDS
    0007 BAD_NUMBER
    0008 BAD_NAME
    0009 MISPLACED
    0010 PROMPT
    0011 TWO_FORMS
    0012 LINE_LENGTH_ALONE
    0013 VERB_ALONE
    0014 MASK_FILTERS
    0015 HEADER_LENGTH_ACTIONS
    0016 CONTRADICTORY_ACTIONS
    0017 UNSATISFIABLE
    0018 CHUNKING
    0019 NOT_DEFINED
    0020 DEFINED_TWICE
    0021 UNUSED
    0022 EMPTY
    0023 NO_ACTION
    0024 REPEATED
    0025 ONE_VERDICT
    0026 SERVICE_WITHOUT_INSPECT
    0027 SERVICE_WITHOUT_SMTP
    0028 CLASS_DEFAULT
    0029 NO_PROTOCOL
    0030 TWO_ZONES
    0031 IDLE_ZONE_PAIR
    0032 SAME_ZONE_PAIR
    0033 ZONE_ENDS
    0034 COEXIST
    0035 TWO_RULES
    0036 NO_EFFECT
    0037 NOTHING_TO_REMOVE
    0038 PATTERN_SYNTAX
    0039 GLOB_STAR
    0040 PATTERN_COST
    0041 PATTERN_ALWAYS
    0042 PATTERN_TRAP
    0043 STRICT_CISCO
    0044 PATTERN_LIMITS
    0045 POLICY_LIMITS
    0046 THRESHOLDS
    0047 UNREACHABLE
    0048 SHORT_LINE_LIMIT
    0049 STARTTLS_MASKED
    0050 NOTHING_APPLIED
    0051 PINHOLE
    0052 CIRCULAR
    0053 ACCESS_LIST
    0055 TAKEN_FOR_TOP
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "P{:04}", self.0)
    }
}

impl Code {
    /// The code that a user wrote: `P0012`, in any case of letters, zeros optional.
    #[must_use]
    pub fn parse(text: &str) -> Option<Code> {
        let digits = text.strip_prefix(['P', 'p']).filter(|_| Self::looks_like(text))?;
        let code = Code(digits.parse().ok()?);
        CODES.iter().find(|(known, _)| *known == code).map(|(known, _)| *known)
    }

    /// Whether a word is written as a code is, known or not.
    #[must_use]
    pub fn looks_like(text: &str) -> bool {
        text.strip_prefix(['P', 'p']).is_some_and(|digits| {
            (1..=4).contains(&digits.len()) && digits.bytes().all(|octet| octet.is_ascii_digit())
        })
    }

    /// Its explanation, in Markdown.
    #[must_use]
    pub fn explanation(self) -> &'static str {
        CODES.iter().find(|(code, _)| *code == self).map_or("", |(_, text)| text)
    }

    /// The policy after `Wrong:` or `Right:` in the explanation.
    #[must_use]
    pub fn example(self, heading: &str) -> String {
        let text = self.explanation();
        let after = text.split_once(heading).map_or("", |(_, after)| after);
        let block = after.lines().skip_while(|line| line.trim().is_empty());
        let block = block.take_while(|line| line.starts_with("    ") || line.is_empty());
        let mut example = String::new();
        for line in block {
            // An explanation has no control characters either: it shows the picture of one.
            example.push_str(&line.strip_prefix("    ").unwrap_or(line).replace('\u{2401}', "\u{1}"));
            example.push('\n');
        }
        let mut example = example.trim_end().to_owned();
        example.push('\n');
        example
    }
}
