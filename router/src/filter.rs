//! What filters make of requests and answers. Pure.

mod cors;
mod mirror;
mod url;

pub use self::{
    cors::{cors, preflight, share},
    mirror::takes,
    url::{Origin, Target, location, redirect, target},
};
