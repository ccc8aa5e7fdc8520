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
    /// One path, one instance: two instances at one path are a mistake of the configuration.
    pub fn new(endpoints: impl IntoIterator<Item = Arc<Endpoint>>) -> Result<Self> {
        let mut by_path: HashMap<String, Arc<Endpoint>> = HashMap::new();
        for endpoint in endpoints {
            if let Some(other) = by_path.insert(endpoint.path.clone(), endpoint.clone()) {
                let (one, two) = (&other.instance.id, &endpoint.instance.id);
                return Err(Error::new(
                    Kind::Configuration,
                    format!("instances {one} and {two} would both receive at {}", endpoint.path),
                )
                .help("Give each instance an id of its own"));
            }
        }
        Ok(Self { endpoints: by_path })
    }

    /// The endpoint of a path, compared byte for byte as it came.
    pub(super) fn find(&self, path: &str) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(path)
    }
}
