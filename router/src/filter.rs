//! What filters make of requests and answers. Pure.

mod auth;
pub mod check;
mod cors;
mod mirror;
mod url;

pub use self::{
    auth::{Verdict, admit, question, verdict},
    cors::{cors, preflight, share},
    mirror::takes,
    url::{Origin, Target, location, redirect, target},
};
