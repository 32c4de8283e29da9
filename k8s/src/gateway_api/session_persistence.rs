//! What keeps the requests of one session at one endpoint.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionPersistence {
    /// `Cookie` where not set, or `Header`.
    #[serde(rename = "type")]
    pub type_: Option<String>,
    /// A Gateway API duration.
    pub absolute_timeout: Option<String>,
    pub cookie: Option<SessionCookie>,
    pub header: Option<SessionHeader>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionCookie {
    pub name: Option<String>,
    /// `/` where not set.
    pub path: Option<String>,
    /// `Session` where not set, or `Permanent`, which needs an absolute timeout.
    pub lifetime_type: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct SessionHeader {
    pub name: String,
}
