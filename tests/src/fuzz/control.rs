//! What an operator types or sends: questions on the control socket, dialogues for `posternc test`, addresses.

use postern::control::Question;
use postern::placement::Cidr;
use posternc::rehearsal;

use super::house::compiled;

/// Reads the text in every way.
///
/// # Panics
/// When what was understood does not say the same when it is written again.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    if let Ok(question) = serde_json::from_slice::<Question>(data) {
        let written = serde_json::to_string(&question).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(serde_json::from_str::<Question>(&written).ok(), Some(question));
    }
    if let Ok(cidr) = text.parse::<Cidr>() {
        assert_eq!(cidr.to_string().parse::<Cidr>().map(|again| again.to_string()), Ok(cidr.to_string()));
    }
    match rehearsal::read(&text) {
        Ok(lines) if lines.len() <= 64 => {
            let steps = rehearsal::run(&compiled().policy, 0, &lines);
            assert_eq!(steps.len(), lines.len());
            let _ = serde_json::to_string(&steps).unwrap_or_else(|error| panic!("{error}"));
        }
        Ok(_) => {}
        Err(error) => assert!(!error.is_empty()),
    }
}
