//! What filters make of requests and answers. Pure.

mod mirror;
mod url;

pub use self::{
    mirror::takes,
    url::{Origin, Target, location, redirect, target},
};
