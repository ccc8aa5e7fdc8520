//! Outgoing calls: what is connected to, what is sent, what is sent again, and what is said about it.

mod assertions;
mod auths;
mod certificates;
mod documented;
mod judging;
mod outward;
mod rendering;
mod renewing;
mod sending;
mod server;
mod signing;
mod strict;
mod transport;
mod vendor;
