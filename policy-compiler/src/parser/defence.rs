//! Lines of a `parameters` block that say what is refused whatever the classes say.

use artifact::defence::{
    Auth, Defences, EightBit, MAX_LIMIT, RelayProbes, SaslLayers, Synchronization, VerbGroup,
};

use crate::cursor::Cursor;

/// Their first words.
pub(super) const COMMANDS: [&str; 8] = [
    "allow-verbs",
    "auth",
    "auth-line-limit",
    "eight-bit",
    "limit",
    "relay-probes",
    "sasl-layers",
    "synchronization",
];

/// Words behind `limit`, as [`artifact::defence::Limits::rows`] has them.
const LIMITS: [&str; 5] = ["auth-failures", "command-time", "data-rate", "junk-commands", "session-time"];

/// Reads the rest of such a line. `None` if it is none; `Some(None)` if it is wrong, which is reported.
pub(super) fn defence(
    defences: &mut Defences,
    command: &str,
    negated: bool,
    cursor: &mut Cursor<'_, '_>,
) -> Option<Option<()>> {
    COMMANDS.contains(&command).then(|| read(defences, command, negated, cursor))
}

fn read(defences: &mut Defences, command: &str, negated: bool, cursor: &mut Cursor<'_, '_>) -> Option<()> {
    let default = Defences::default();
    match command {
        "allow-verbs" => {
            let word = cursor.keyword(&VerbGroup::ALL.map(VerbGroup::word))?;
            cursor.finish()?;
            let group = VerbGroup::ALL.into_iter().find(|group| group.word() == word)?;
            defences.allowed_verbs.retain(|known| *known != group);
            if !negated {
                defences.allowed_verbs.push(group);
                defences.allowed_verbs.sort();
            }
        }
        "limit" => {
            let word = cursor.keyword(&LIMITS)?;
            let mut standard = default.limits;
            let value = if negated {
                cursor.skip();
                *standard.by_word(word)?
            } else if cursor.optional(&["off"]).is_some() {
                None
            } else {
                Some(cursor.number("the limit, or `off`,", 1..=u64::from(MAX_LIMIT))? as u32)
            };
            cursor.finish()?;
            *defences.limits.by_word(word)? = value;
        }
        _ if negated => {
            cursor.skip();
            match command {
                "auth" => defences.auth = default.auth,
                "auth-line-limit" => defences.auth_line_limit = default.auth_line_limit,
                "eight-bit" => defences.eight_bit = default.eight_bit,
                "relay-probes" => defences.relay_probes = default.relay_probes,
                "sasl-layers" => defences.sasl_layers = default.sasl_layers,
                _ => defences.synchronization = default.synchronization,
            }
        }
        "auth" => {
            let choices = [("allow", Auth::Allow), ("require-tls", Auth::RequireTls)];
            defences.auth = cursor.last(|cursor| cursor.choice(&choices))?.value;
        }
        "auth-line-limit" => {
            let read = |cursor: &mut Cursor<'_, '_>| cursor.number("the number of octets", 512..=65_535);
            defences.auth_line_limit = cursor.last(read)?.value as u32;
        }
        "eight-bit" => {
            let choices = [("allow", EightBit::Allow), ("smtputf8", EightBit::Smtputf8)];
            defences.eight_bit = cursor.last(|cursor| cursor.choice(&choices))?.value;
        }
        "relay-probes" => {
            let choices =
                [("allow", RelayProbes::Allow), ("log", RelayProbes::Log), ("refuse", RelayProbes::Refuse)];
            defences.relay_probes = cursor.last(|cursor| cursor.choice(&choices))?.value;
        }
        "sasl-layers" => {
            let choices = [("mask", SaslLayers::Mask), ("opaque", SaslLayers::Opaque)];
            defences.sasl_layers = cursor.last(|cursor| cursor.choice(&choices))?.value;
        }
        _ => {
            let choices = [("lenient", Synchronization::Lenient), ("strict", Synchronization::Strict)];
            defences.synchronization = cursor.last(|cursor| cursor.choice(&choices))?.value;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_the_artifact() {
        assert_eq!(Defences::default().limits.rows().map(|row| row.0), LIMITS);
    }
}
