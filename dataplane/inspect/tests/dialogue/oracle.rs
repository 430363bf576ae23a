//! A matcher of plain `regex` patterns: slow, and nothing to get wrong.

use artifact::smtp::Region;
use inspect::scan::{CriterionSet, Matcher, NoStream, StreamId};
use regex::bytes::Regex;

use crate::policy::Rulebook;

#[derive(Debug)]
pub struct Oracle {
    patterns: Vec<(u16, Region, Regex)>,
    streams: Vec<Option<(Region, Vec<u8>)>>,
    /// Streams that may be open at once.
    pub stream_limit: usize,
}

impl Oracle {
    pub fn new(rulebook: &Rulebook) -> Self {
        let patterns = rulebook
            .patterns
            .iter()
            .map(|(criterion, region, pattern)| (*criterion, *region, Regex::new(pattern).unwrap()))
            .collect();
        Self { patterns, streams: Vec::new(), stream_limit: usize::MAX }
    }

    pub fn open_count(&self) -> usize {
        self.streams.iter().flatten().count()
    }

    fn find(patterns: &[(u16, Region, Regex)], region: Region, data: &[u8], hits: &mut CriterionSet) {
        for (criterion, of, pattern) in patterns {
            if *of == region && pattern.is_match(data) {
                hits.insert(*criterion);
            }
        }
    }
}

impl Matcher for Oracle {
    fn block(&mut self, policy: u16, region: Region, data: &[u8], hits: &mut CriterionSet) {
        assert_eq!(policy, POLICY);
        Self::find(&self.patterns, region, data, hits);
    }

    fn open(&mut self, policy: u16, region: Region) -> Result<Option<StreamId>, NoStream> {
        assert_eq!(policy, POLICY);
        if !self.patterns.iter().any(|(_, of, _)| *of == region) {
            return Ok(None);
        }
        if self.open_count() == self.stream_limit {
            return Err(NoStream);
        }
        self.streams.push(Some((region, Vec::new())));
        Ok(Some(StreamId(self.streams.len() as u32 - 1)))
    }

    fn stream(&mut self, stream: &StreamId, data: &[u8], hits: &mut CriterionSet) {
        let (region, text) = self.streams[stream.0 as usize].as_mut().expect("an open stream");
        text.extend_from_slice(data);
        Self::find(&self.patterns, *region, text, hits);
    }

    fn close(&mut self, stream: StreamId, _: &mut CriterionSet) {
        self.streams[stream.0 as usize].take().expect("closed once");
    }
}

/// Index of the policy under test; not 0, so that a mixed-up index shows.
pub const POLICY: u16 = 3;
