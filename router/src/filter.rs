//! What filters make of requests and answers. Pure.

mod url;

pub use self::url::{Origin, Target, location, redirect, target};
