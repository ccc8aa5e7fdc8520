//! Which instance receives at which path of one listener.

use std::collections::HashMap;
use std::sync::Arc;

use super::endpoint::Endpoint;
use crate::error::{Error, Kind, Result};

/// The endpoints of one listener, by path.
pub struct Router {
    endpoints: HashMap<String, Arc<Endpoint>>,
}

impl Router {
    /// One path, one instance, the paths of rules too: two instances at one path are a mistake of the configuration.
    pub fn new(endpoints: impl IntoIterator<Item = Arc<Endpoint>>) -> Result<Self> {
        let mut by_path: HashMap<String, Arc<Endpoint>> = HashMap::new();
        for endpoint in endpoints {
            for path in endpoint.paths() {
                let known = by_path.insert(path.to_owned(), endpoint.clone());
                if let Some(other) = known.filter(|known| !Arc::ptr_eq(known, &endpoint)) {
                    let (one, two) = (&other.instance.id, &endpoint.instance.id);
                    return Err(Error::new(
                        Kind::Configuration,
                        format!("instances {one} and {two} would both receive at {path}"),
                    )
                    .help("Give each instance an id of its own, or a process of its own"));
                }
            }
        }
        Ok(Self { endpoints: by_path })
    }

    /// Every path that something is received at, in order.
    pub fn paths(&self) -> Vec<String> {
        let mut paths: Vec<String> = self.endpoints.keys().cloned().collect();
        paths.sort();
        paths
    }

    /// The endpoint of a path, compared byte for byte as it came.
    pub(super) fn find(&self, path: &str) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(path)
    }
}
