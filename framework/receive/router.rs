//! Which instance receives at which path of one listener.
//!
//! A path is one instance's, but for the well-known paths of rules: several instances may serve one, where their
//! answers can be put together or told apart ([`super::shared`]).

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use super::endpoint::Endpoint;
use super::shared;
use crate::error::Result;
use crate::spec::nearest::nearest;

/// The endpoints of one listener, by path.
pub struct Router {
    routes: HashMap<String, Vec<Route>>,
}

/// An endpoint at a path.
pub(super) struct Route {
    pub endpoint: Arc<Endpoint>,
    /// Bytes at the beginning of the path that stand in the public address alone.
    pub prefix: usize,
}

impl Router {
    /// Two instances at one path are an error of the configuration, unless it is a path of rules that can be shared.
    pub fn new(endpoints: impl IntoIterator<Item = Arc<Endpoint>>) -> Result<Self> {
        let mut routes: BTreeMap<String, Vec<Route>> = BTreeMap::new();
        for endpoint in endpoints {
            for path in endpoint.paths() {
                // With a prefix in the public address both forms are served: a proxy may hand on the whole path.
                let prefix = endpoint.prefix.as_str();
                let whole = (!prefix.is_empty()).then(|| (format!("{prefix}{path}"), prefix.len()));
                for (at, prefix) in [(path.to_owned(), 0)].into_iter().chain(whole) {
                    let known = routes.entry(at).or_default();
                    if known.iter().any(|route| Arc::ptr_eq(&route.endpoint, &endpoint)) {
                        continue;
                    }
                    if let Some(other) = known.first() {
                        shared::can_share(&other.endpoint, &endpoint, path)?;
                    }
                    known.push(Route { endpoint: endpoint.clone(), prefix });
                }
            }
        }
        Ok(Self { routes: routes.into_iter().collect() })
    }

    /// Every path that something is received at, in order.
    pub fn paths(&self) -> Vec<String> {
        let mut paths: Vec<String> = self.routes.keys().cloned().collect();
        paths.sort();
        paths
    }

    /// The endpoints of a path, compared byte for byte as it came.
    pub(super) fn find(&self, path: &str) -> &[Route] {
        self.routes.get(path).map_or(&[], Vec::as_slice)
    }

    /// The path that was probably meant by one that nothing is received at.
    pub(super) fn meant(&self, path: &str) -> Option<&str> {
        let plain = |path: &str| {
            let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
            parts.join("/").to_ascii_lowercase()
        };
        let same = self.routes.keys().filter(|known| plain(known) == plain(path)).min();
        same.map(String::as_str).or_else(|| nearest(path, self.routes.keys().map(String::as_str)))
    }

    /// Every endpoint, as often as it has paths.
    fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.routes.values().flatten().map(|route| &route.endpoint)
    }

    /// Bytes of the greatest body that is read here, and after inflating.
    pub(super) fn greatest(&self) -> Option<(usize, usize)> {
        let body = self.endpoints().map(|endpoint| endpoint.body).max()?;
        Some((body, self.endpoints().map(|endpoint| endpoint.inflated).max()?))
    }

    /// Bytes of the greatest body that is read before it is known who sent it.
    pub(super) fn greatest_unproven(&self) -> usize {
        let unproven = self.endpoints().filter(|endpoint| endpoint.reads_before_proof());
        unproven.map(|endpoint| endpoint.body).max().unwrap_or(0)
    }
}
