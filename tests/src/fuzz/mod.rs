//! What the fuzzer calls: one function for each place where octets of a stranger come in.
//!
//! A function takes octets, does with them what the product would, and panics when a promise is broken. The engine that makes
//! up the octets is in `tests/fuzz`; what it finds is a file there, and `tests/tests/findings.rs` gives each of them to its function again on
//! every `cargo test`.
//!
//! | target | octets are | promised, besides no panic |
//! | --- | --- | --- |
//! | [`wire`] | a frame | what is parsed stands in the frame; edits keep it well-formed; a second reader agrees |
//! | [`frames`] | frames of both ports, with times | what leaves is well-formed; nothing is kept; budgets hold |
//! | [`hostile`] | moves of two hostile peers | every receiver is given the same octets, in order, and no banned command |
//! | [`smtp`] | what client and server say, and how it is cut | the server does nothing forbidden; reports are one line |
//! | [`mime`] | content of a mail, and how it is cut | the decisions do not depend on the cuts |
//! | [`artifact`] | a file, or tables with a right digest around | what is taken can be run |
//! | [`policy`] | a policy text | findings can be shown; what compiles is read back |
//! | [`pattern`] | a pattern and a text | the matcher library agrees with a matcher of twenty lines |
//! | [`capture`] | a pcap or pcapng file | two replays are the same; events are JSON |
//! | [`control`] | a line on the control socket, a dialogue, addresses | what is understood is written the same way |

pub mod artifact;
pub mod capture;
pub mod control;
pub mod frame;
pub mod frames;
pub mod hostile;
pub mod house;
pub mod mime;
pub mod octets;
pub mod pattern;
pub mod policy;
pub mod receiver;
pub mod smtp;
pub mod wire;

/// A target: takes octets, panics when a promise is broken.
pub type Target = fn(&[u8]);

/// Every target by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("wire", wire::run),
    ("frames", frames::run),
    ("hostile", hostile::run),
    ("smtp", smtp::run),
    ("mime", mime::run),
    ("artifact", artifact::run),
    ("policy", policy::run),
    ("pattern", pattern::run),
    ("capture", capture::run),
    ("control", control::run),
];
