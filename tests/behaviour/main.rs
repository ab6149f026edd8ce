//! How a store behaves, seen through its public API alone: real files, and devices so small that their zones turn over
//! many times in a second.

mod api;
mod collection;
mod devices;
mod events;
mod linearizable;
mod loop_device;
mod model;
mod support;
mod threads;
