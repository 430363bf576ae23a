//! The policy compiler: C3PL text in, artifact or diagnostics out.
//!
//! | stage | lives in |
//! | --- | --- |
//! | text to lines of words | [`lexer`], [`token`], [`source`] |
//! | lines to what was written | [`parser`], [`cursor`], [`ast`]; one file per match kind in [`kind`] |
//! | does it make sense | [`check`], one file per restriction; [`pattern`] for regular expressions |
//! | what the gateway asks | [`lower`], [`mod@hyperscan`] for databases |
//! | all of it | [`compile()`](compile::compile) |
//! | and back into plain words | [`explain`] |
//! | what it does to a written dialogue | [`rehearsal`], with the gateway's own engine |
//!
//! Nothing that a policy holds makes this panic, and everything wrong with a file is said in one run.
#![deny(unsafe_code)]

pub mod ast;
pub mod check;
pub mod cli;
pub mod code;
pub mod compile;
pub mod cursor;
pub mod diagnostic;
pub mod explain;
pub mod hyperscan;
pub mod kind;
pub mod lexer;
pub mod lower;
pub mod parser;
pub mod pattern;
pub mod protocol;
pub mod rehearsal;
pub mod sign;
pub mod source;
pub mod token;
