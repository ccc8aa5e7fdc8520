//! Outgoing calls: what is connected to, what is sent, what is sent again, and what is said about it.

mod certificates;
mod server;
mod transport;
