//! Outgoing calls: what is connected to, what is sent, what is sent again, and what is said about it.

mod auths;
mod certificates;
mod judging;
mod rendering;
mod sending;
mod server;
mod signing;
mod transport;
mod vendor;
