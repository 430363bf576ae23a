//! SMTP service extensions: what the server offers, and what MAIL and RCPT may say because of it.
//!
//! | file | what |
//! | --- | --- |
//! | `advertised.rs` | extensions, and those that a session's server offered |
//! | `parameter.rs` | parameters of MAIL and RCPT: one row each |
//! | `value.rs` | what their values may look like |

mod advertised;
mod parameter;
mod value;

pub(super) use advertised::LOOKED_AT;
pub use advertised::{
    Advertised, CHUNKING, ENHANCEDSTATUSCODES, EXTENSIONS, Extension, Keyword, PIPELINING, PRIVATE_LIMIT,
    SMTPUTF8, STARTTLS,
};
pub use parameter::{Invalid, PARAMETERS, Parameter, Scope, Wrong, check, is_binary};
pub(super) use value::xtext as is_xtext;
