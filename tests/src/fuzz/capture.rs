//! A capture file, replayed.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use postern::config::{Checksum, UninspectedSessions};
use postern::edition::Editions;
use postern::journal::Scribe;
use postern::loaded::place;
use postern::replay::replay;

use super::house::loaded;

/// Replays twice.
///
/// # Panics
/// When the two differ, or an event is not a JSON object on one line.
pub fn run(data: &[u8]) {
    let Some((settings, data)) = data.split_first() else { return };
    let checksum = if settings & 1 == 0 { Checksum::Trust } else { Checksum::Verify };
    let uninspected =
        if settings & 2 == 0 { UninspectedSessions::Normalize } else { UninspectedSessions::Pass };
    let (frames, events) = once(data, checksum, uninspected);
    for line in events.split_inclusive(|octet| *octet == b'\n') {
        let event: serde_json::Value =
            serde_json::from_slice(line).unwrap_or_else(|error| panic!("{error}: {}", line.escape_ascii()));
        assert!(event.is_object() && line.ends_with(b"\n"));
    }
    let again = once(data, checksum, uninspected);
    assert!(again == (frames, events), "the same capture, other output");
}

fn once(data: &[u8], checksum: Checksum, uninspected: UninspectedSessions) -> (Vec<u8>, Vec<u8>) {
    let loaded = loaded();
    let Ok(sides) = place(&loaded.artifact.policy, &[]) else { return Default::default() };
    let events = Shared::default();
    let editions = Editions::new(&loaded.artifact);
    let register = Arc::new(postern::edition::Register::new(editions));
    let scribe = Scribe::new(register, 0, Some(Box::new(events.clone())), None);
    let mut frames = Vec::new();
    let (summary, _) = replay(loaded, sides, data, Some(&mut frames), scribe, checksum, uninspected);
    if let Some(summary) = summary {
        let counted = summary.counters.frames_transmitted_a + summary.counters.frames_transmitted_b;
        assert_eq!(summary.tally.written, counted);
    }
    let events = events.0.lock().map(|events| events.clone()).unwrap_or_default();
    (frames, events)
}

/// A place to write to that is read afterwards.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().map_err(|_| io::ErrorKind::Other)?.extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
