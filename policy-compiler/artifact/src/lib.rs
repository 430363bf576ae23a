//! A compiled policy: rule tables and matcher databases.
//!
//! The compiler writes it, the gateway loads it. It is a build product: the same policy text gives the
//! same bytes. The loader trusts none of them: whatever is damaged, cut short or inconsistent is an
//! [`Error`](format::Error) that says what was being read, never a panic.
//!
//! - [`model`]: paths between ports, classes, actions;
//! - [`smtp`]: what is asked of a mail session, and the databases that answer;
//! - [`settings`]: what is done about the protocol itself;
//! - [`defence`]: what is refused whatever the classes say;
//! - [`format`](mod@format): the file;
//! - [`validate`]: what must hold between the parts, whoever wrote the file.
#![forbid(unsafe_code)]

pub mod defence;
pub mod format;
pub mod model;
pub mod settings;
pub mod smtp;
pub mod validate;
