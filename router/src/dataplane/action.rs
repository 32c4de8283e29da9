//! What a rule does with the requests it matches.

use std::{fmt, sync::Arc};

use k8s::model::{Affinity, Filter, ObjectName, Retry, Route, Share, Target, Timeouts, WeightedBackend};
use metrics::Counter;

use super::Authorizer;
use crate::{
    control::Cells,
    metrics::{RouteMetrics, Series, mirrors_lost},
    upstream::BackendCell,
};

/// What a matched rule does.
#[derive(Debug)]
pub struct Action {
    pub route: ObjectName,
    /// The rule's place in its route, from 0.
    pub rule: usize,
    /// As its author calls it.
    pub name: Option<Arc<str>>,
    pub filters: Vec<Filter>,
    /// Those among the filters.
    pub mirrors: Vec<Mirror>,
    /// The first of those among the filters.
    pub authorizer: Option<Authorizer>,
    pub backends: Vec<WeightedCell>,
    /// The sum of the backends' weights.
    pub total_weight: u64,
    pub timeouts: Timeouts,
    pub retry: Option<Retry>,
    pub affinity: Option<Affinity>,
    pub metrics: Arc<RouteMetrics>,
}

#[derive(Debug)]
pub struct WeightedCell {
    pub weight: u32,
    pub target: CellTarget,
    pub filters: Vec<Filter>,
    /// Those among the filters.
    pub mirrors: Vec<Mirror>,
}

/// Who gets requests, too.
#[derive(Debug)]
pub struct Mirror {
    pub cell: Arc<BackendCell>,
    pub share: Share,
    /// How many it should have got, and did not.
    pub lost: Counter,
}

#[derive(Debug)]
pub enum CellTarget {
    Cell(Arc<BackendCell>),
    /// Answers 500, and why.
    Invalid(Arc<str>),
}

impl Action {
    /// Of the route's rule in that place.
    pub fn new(entry_point: &Arc<str>, route: &Route, place: usize, cells: &Cells, series: &Series) -> Self {
        let rule = route.rules.get(place);
        let backends: Vec<WeightedCell> =
            rule.iter().flat_map(|rule| &rule.backends).map(|backend| WeightedCell::new(backend, cells)).collect();
        Self {
            route: route.source.clone(),
            rule: place,
            name: rule.and_then(|rule| rule.name.clone()),
            filters: rule.map(|rule| rule.filters.clone()).unwrap_or_default(),
            mirrors: rule.map(|rule| mirrors(&rule.filters, cells)).unwrap_or_default(),
            authorizer: rule.and_then(|rule| authorizer(&rule.filters, cells)),
            total_weight: backends.iter().map(|backend| u64::from(backend.weight)).sum(),
            backends,
            timeouts: rule.map(|rule| rule.timeouts).unwrap_or_default(),
            retry: rule.and_then(|rule| rule.retry.clone()),
            affinity: rule.and_then(|rule| rule.affinity.clone()),
            metrics: series.of(entry_point, format!("{}/{}", route.source.namespace, route.source.name)),
        }
    }

    /// By weight, with its place; `at` is anything that spreads over requests. None where no backend has any weight.
    pub fn backend(&self, at: u64) -> Option<(usize, &WeightedCell)> {
        let mut left = at.checked_rem(self.total_weight)?;
        self.backends.iter().enumerate().find(|(_, backend)| match left.checked_sub(u64::from(backend.weight)) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        })
    }

    /// The one that has the endpoint of this token, among those that get requests at all.
    pub fn backend_of(&self, token: u64) -> Option<(usize, &WeightedCell)> {
        let has_it = |target: &CellTarget| match target {
            CellTarget::Cell(cell) => cell.has_token(token),
            CellTarget::Invalid(_) => false,
        };
        self.backends.iter().enumerate().find(|(_, backend)| backend.weight > 0 && has_it(&backend.target))
    }
}

/// `HTTPRoute media/jellyfin rule 0 (streams)`, with the name of the rule where it has one.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rule {}", self.route, self.rule)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, " ({name})"))
    }
}

impl WeightedCell {
    fn new(backend: &WeightedBackend, cells: &Cells) -> Self {
        let target = match &backend.target {
            Target::Backend(id) => cells.get(id).map_or_else(
                || CellTarget::Invalid(format!("Service {} is not in the model", id.service).into()),
                |cell| CellTarget::Cell(Arc::clone(cell)),
            ),
            Target::Invalid(why) => CellTarget::Invalid(Arc::clone(why)),
        };
        let mirrors = mirrors(&backend.filters, cells);
        Self { weight: backend.weight, target, filters: backend.filters.clone(), mirrors }
    }
}

fn mirrors(filters: &[Filter], cells: &Cells) -> Vec<Mirror> {
    let one = |filter: &Filter| {
        let Filter::Mirror(mirror) = filter else { return None };
        let cell = Arc::clone(cells.get(&mirror.backend)?);
        let lost = mirrors_lost(&mirror.backend.service);
        Some(Mirror { cell, share: mirror.share, lost })
    };
    filters.iter().filter_map(one).collect()
}

fn authorizer(filters: &[Filter], cells: &Cells) -> Option<Authorizer> {
    filters.iter().find_map(|filter| match filter {
        Filter::ExternalAuth(auth) => Some(Authorizer::new(auth, cells)),
        _ => None,
    })
}
