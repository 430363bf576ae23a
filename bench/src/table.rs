//! The table that a run prints, and the same as JSON.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

/// What is to be reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reach {
    /// Not less than this.
    AtLeast(f64),
    /// Not more than this.
    AtMost(f64),
}

impl Reach {
    fn holds(self, measured: f64) -> bool {
        match self {
            Reach::AtLeast(limit) => measured >= limit,
            Reach::AtMost(limit) => measured <= limit,
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reach::AtLeast(limit) => write!(f, ">= {limit}"),
            Reach::AtMost(limit) => write!(f, "<= {limit}"),
        }
    }
}

/// One measure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What was measured; unique, the same in every run.
    pub name: String,
    /// `ratio`, `ns/frame`, …
    pub unit: Cow<'static, str>,
    /// Such as `>= 0.5`; `null` where the number only informs.
    pub reach: Option<String>,
    /// The median of the rounds.
    pub measured: f64,
    /// Whether it reaches; `null` without a reach.
    pub holds: Option<bool>,
    /// What else was seen.
    pub detail: String,
    #[serde(skip)]
    is_void: bool,
}

impl Row {
    /// A number that only informs.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        unit: impl Into<Cow<'static, str>>,
        measured: f64,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            unit: unit.into(),
            reach: None,
            measured,
            holds: None,
            detail: detail.into(),
            is_void: false,
        }
    }

    /// The same with something to reach.
    #[must_use]
    pub fn reaching(self, reach: Reach) -> Self {
        let holds = Some(!self.is_void && reach.holds(self.measured));
        Self { reach: Some(reach.to_string()), holds, ..self }
    }

    /// The same, but what was measured did not do what it should have, so it can hold nothing.
    #[must_use]
    pub fn void(self) -> Self {
        Self {
            is_void: true,
            holds: self.holds.map(|_| false),
            detail: format!("void, see below; {}", self.detail),
            ..self
        }
    }
}

/// Rows that belong together.
#[derive(Debug, Clone, Default)]
pub struct Section {
    /// What they are about.
    pub title: String,
    /// The rows.
    pub rows: Vec<Row>,
    /// What is wrong with the numbers above: traffic refused, nothing scanned. A run with any of these has failed.
    pub faults: Vec<String>,
}

impl Section {
    /// One without rows.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }
}

/// What a run found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What was measured where.
    pub heading: String,
    /// Sections in order.
    pub sections: Vec<Section>,
}

impl Report {
    /// Whether the numbers mean what they say.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.sections.iter().all(|section| section.faults.is_empty())
    }

    /// One table of what has something to reach, and of what is wrong.
    #[must_use]
    pub fn summary(&self) -> Report {
        let mut all = Section::new("what is to be reached");
        for section in &self.sections {
            all.rows.extend(section.rows.iter().filter(|row| row.reach.is_some()).cloned());
            all.faults.extend(section.faults.iter().map(|fault| format!("{}: {fault}", section.title)));
            if section.title.contains(": skipped, ") {
                all.faults.push(section.title.clone());
            }
        }
        Report { heading: self.heading.clone(), sections: vec![all] }
    }

    /// The rows as a JSON list, a row a line.
    #[must_use]
    pub fn json(&self) -> String {
        let rows: Vec<_> = self
            .sections
            .iter()
            .flat_map(|section| &section.rows)
            .map(|row| serde_json::to_string(row).expect("plain data"))
            .collect();
        format!("[\n  {}\n]\n", rows.join(",\n  "))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = || self.sections.iter().flat_map(|section| &section.rows);
        let name_width = rows().map(|row| row.name.chars().count()).max().unwrap_or(0).max("measure".len());
        let texts: Vec<_> = rows().map(|row| format!("{} {}", number(row.measured), row.unit)).collect();
        let width = texts.iter().map(|text| text.chars().count()).max().unwrap_or(0).max("measured".len());
        writeln!(f, "{}", self.heading)?;
        let mut texts = texts.iter();
        for section in &self.sections {
            writeln!(f, "\n{}", section.title)?;
            writeln!(f, "  {:name_width$}  {:>8}  {:width$}  holds", "measure", "reach", "measured")?;
            for (row, text) in section.rows.iter().zip(&mut texts) {
                let reach = row.reach.as_deref().unwrap_or("-");
                let holds = match row.holds {
                    None => "-",
                    Some(true) => "yes",
                    Some(false) => "NO",
                };
                let line = format!("  {:name_width$}  {reach:>8}  {text:width$}  {holds:5}", row.name);
                writeln!(f, "{}", format!("{line}  {}", row.detail).trim_end())?;
            }
            for fault in &section.faults {
                writeln!(f, "  ! {fault}")?;
            }
        }
        Ok(())
    }
}

/// A number with three digits that say something.
fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 1000.0 {
        grouped(value)
    } else if size >= 100.0 || value == 0.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// A whole number, thousands apart: `24,000`.
#[must_use]
pub fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut section = Section::new("small mails");
        section.rows.push(Row::new("pipeline", "ns/frame", 41.23, "24 Mframes/s"));
        section.rows.push(Row::new("of raw Hyperscan", "ratio", 0.523, "").reaching(Reach::AtLeast(0.5)));
        section.rows.push(Row::new("idle", "ns/frame", 12345.0, "").reaching(Reach::AtMost(60.0)));
        section.faults.push("nothing was scanned".into());
        Report { heading: "Postern bench".into(), sections: vec![section] }
    }

    #[test]
    fn the_table_to_the_letter() {
        let expected = "\
Postern bench

small mails
  measure              reach  measured         holds
  pipeline                 -  41.2 ns/frame    -      24 Mframes/s
  of raw Hyperscan    >= 0.5  0.52 ratio       yes
  idle                 <= 60  12,345 ns/frame  NO
  ! nothing was scanned
";
        assert_eq!(report().to_string(), expected);
        assert!(!report().is_sound());
    }

    #[test]
    fn the_summary_has_what_is_to_be_reached_and_what_was_not_measured() {
        let mut report = report();
        report.sections.push(Section::new("wire: skipped, not root"));
        let summary = report.summary();
        let [all] = &summary.sections[..] else { panic!("one table") };
        let names: Vec<_> = all.rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["of raw Hyperscan", "idle"]);
        assert_eq!(all.faults, ["small mails: nothing was scanned", "wire: skipped, not root"]);
    }

    #[test]
    fn the_same_as_json() {
        let rows: Vec<serde_json::Value> = serde_json::from_str(&report().json()).unwrap();
        assert_eq!(rows.len(), 3);
        assert_eq!(
            rows[1],
            serde_json::json!({
                "name": "of raw Hyperscan", "unit": "ratio", "reach": ">= 0.5", "measured": 0.523,
                "holds": true, "detail": "",
            })
        );
        assert_eq!(rows[0]["reach"], serde_json::Value::Null);
    }

    #[test]
    fn what_is_void_holds_nothing() {
        let row = Row::new("a", "ratio", 0.9, "x").reaching(Reach::AtLeast(0.5));
        assert_eq!(row.holds, Some(true));
        assert_eq!(
            (row.clone().void().holds, row.void().detail.as_str()),
            (Some(false), "void, see below; x")
        );
        let row = Row::new("a", "ratio", 0.9, "x").void().reaching(Reach::AtLeast(0.5));
        assert_eq!(row.holds, Some(false));
    }

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, 0.126, 12.34, 123.4, 1_234_567.0, -1234.0].map(number);
        assert_eq!(texts, ["0", "0.13", "12.3", "123", "1,234,567", "-1,234"]);
    }
}
