//! Egress and the tool against real servers on loopback: everything but the jail between them.

mod ends;
mod fakes;
mod names;
mod plain;
mod proxy;
mod redirects;
mod trust;
mod upstream;
mod world;
